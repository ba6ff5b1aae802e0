"""State of the ledger stage, as rows.

========================================================== =================================
row                                                        holds
========================================================== =================================
``party/<counterparty>``                                   watermark, throttle, slippage
``flow/<counterparty>``                                    hourly flows, withdrawal baseline
``cell/<place>/<asset>/<kind>``                            snapshot and folded deltas of a holding
``position/<place>/<side>/<instrument>``                   the same for a position
``delta/<time>.<n>/<cell or position>``                    deltas kept for late snapshots
``transfer/<counterparty>/<id>``                           received statuses of a withdrawal
``deposit/<counterparty>/<id>``                            the same of a deposit
``adjustment/<counterparty>/<account>/<id>``               entry of the venue's ledger
``trade/<counterparty>/<book>/<account>/<id>``             fill, settlements, bust
``executions/...``, ``fills/...``, ``traded/...``           :mod:`riskwatch.core.ledger.memory`
``heard/<counterparty>/<transfer or trade>/<id>``          when an old fact about it was heard
``order/<counterparty>/<book>/<account>/<id>``             latest snapshot
``loan/<counterparty>/<id>``                               latest snapshot
``shown/<place>/<component>/<name>``                       amounts not zero in the last reading
``stated/<counterparty>/<account>/<source>``               :mod:`riskwatch.core.ledger.freshness`
``refused/<source>``                                       when a fact of it had no room last
``forgotten/counterparties``                               newest fact of those that were forgotten
========================================================== =================================

A place is ``<counterparty>/<book>/<account>/<wallet>``; a wallet or a side that is not stated is
empty. Sums that follow from these rows are not stored; loading computes them again, which is exact.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import msgspec

from riskwatch.core.ledger.activity import OrderRow
from riskwatch.core.ledger.entries import AdjustmentRow
from riskwatch.core.ledger.flow import TransferFlowRow
from riskwatch.core.ledger.freshness import SourceRow
from riskwatch.core.ledger.holding import (
    NEVER,
    DeltaChunk,
    DirtyRows,
    LedgerHolding,
    LedgerHoldingRow,
)
from riskwatch.core.ledger.memory import ExecutionsRow, LoggedFill
from riskwatch.core.ledger.party import (
    HeardRow,
    LedgerParty,
    LedgerPartyRow,
    LoanRow,
    add_balance_components,
    heard_key,
    transfer_row_key,
)
from riskwatch.core.ledger.statements import link_loaded
from riskwatch.core.ledger.trades import TradeRow
from riskwatch.core.ledger.transfers import TransferRow, transfer_effect
from riskwatch.core.stage import Row, RowChanges, encode_row

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class RowSource(Protocol):
    """An object that can be written as a row."""

    def row(self) -> object:
        """Return the row's value."""
        ...


class RefusedRow(msgspec.Struct, array_like=True):
    """When a fact of a source had no room last, microseconds."""

    us: int

    def row(self) -> object:
        """Return the row's value."""
        return self


class ForgottenRow(msgspec.Struct, array_like=True):
    """Time of the newest fact of all counterparties that were forgotten, microseconds."""

    us: int

    def row(self) -> object:
        """Return the row's value."""
        return self


class LedgerState:
    """Counterparties by name, and the rows that changed since the last :meth:`drain`.

    Attributes
    ----------
    refused : dict of str to RefusedRow
        Sources whose facts have no room, with an open issue; ``*`` stands for all beyond a number.
    forgotten_us : int
        Event time of the newest fact of all counterparties that were forgotten, microseconds. A
        fact up to this time of an unlisted and unknown counterparty could contradict one of them.
    counts : dict of str to int, or None
        Number of unlisted counterparties by source, derived from the rows.
    """

    def __init__(self) -> None:
        self.parties: dict[str, LedgerParty] = {}
        self.refused: dict[str, RefusedRow] = {}
        self.forgotten_us = NEVER
        self.counts: dict[str, int] | None = None
        self.dirty: DirtyRows = {}

    def party(self, name: str) -> LedgerParty:
        """Return the counterparty `name`, created on first use."""
        party = self.parties.get(name)
        if party is None:
            party = self.parties[name] = LedgerParty(name, self.dirty)
        return party

    def forget(self, party: LedgerParty) -> None:
        """Drop a counterparty of which the last sweep left nothing but its own rows."""
        self.forgotten_us = max(self.forgotten_us, party.wm)
        self.dirty["forgotten/counterparties"] = ForgottenRow(self.forgotten_us)
        for executions in party.executions.values():
            executions.forget()
        for key in list(party.freshness.sources):
            party.freshness.drop(key)
        del self.parties[party.name]
        self.counts = None
        self.dirty[party.key] = self.dirty[party.flow.key] = None

    def note_refused(self, source: str, us: int | None) -> None:
        """Store when a fact of a source had no room, or forget it with ``None``."""
        key = f"refused/{source}"
        if us is None:
            del self.refused[source]
            self.dirty[key] = None
        else:
            self.dirty[key] = self.refused[source] = RefusedRow(us)

    def drain(self) -> RowChanges:
        """Return the rows that changed since the last call, keys sorted."""
        out: RowChanges = {}
        for key in sorted(self.dirty):
            value = self.dirty[key]
            out[key] = None if value is None else encode_row(cast("RowSource", value).row())
        self.dirty.clear()
        return out

    def load(self, rows: dict[str, Row]) -> None:
        """Load the state from its rows.

        Raises
        ------
        ValueError
            If a row is of an unknown kind.
        """
        by_kind: dict[str, list[tuple[str, Row]]] = {kind: [] for kind in _LOADERS}
        for key in sorted(rows):
            kind, _, rest = key.partition("/")
            if kind not in by_kind:
                raise ValueError(f"row {key!r} is of no kind that the ledger knows")
            by_kind[kind].append((rest, rows[key]))
        for kind, loader in _LOADERS.items():
            for rest, row in by_kind[kind]:
                loader(self, rest, row)
        for name in sorted(self.parties):
            party = self.parties[name]
            for holding in (*party.cells.values(), *party.positions.values()):
                for group in holding.chunks.values():
                    group.sort(key=lambda chunk: chunk.ordinal)
                holding.line.add(holding.amount())
            for peers in party.places.values():
                link_loaded(peers)


def _decode(row: Row, kind: type[T]) -> T:
    return msgspec.json.decode(row, type=kind)


def _load_party(state: LedgerState, rest: str, row: Row) -> None:
    state.party(rest).restore(_decode(row, LedgerPartyRow))


def _load_flow(state: LedgerState, rest: str, row: Row) -> None:
    state.party(rest).flow.restore(_decode(row, TransferFlowRow))


def _load_cell(state: LedgerState, rest: str, row: Row) -> None:
    name, book, account, wallet, asset, kind = rest.split("/")
    party = state.party(name)
    key = (book, account, wallet, asset, kind)
    holding = party.make_holding(key)
    holding.restore(_decode(row, LedgerHoldingRow))
    add_balance_components(party, key, holding.borrowed, holding.pnl)


def _load_position(state: LedgerState, rest: str, row: Row) -> None:
    name, book, account, wallet, side, instrument = rest.split("/", 5)
    state.party(name).make_position((book, account, wallet, side, instrument)).restore(
        _decode(row, LedgerHoldingRow)
    )


def _load_delta(state: LedgerState, rest: str, row: Row) -> None:
    place, kind, name, owner = rest.split("/", 3)
    party = state.party(name)
    holding: LedgerHolding
    if kind == "cell":
        book, account, wallet, asset, holding_kind = owner.split("/")
        holding = party.cells[book, account, wallet, asset, holding_kind]
    else:
        book, account, wallet, side, instrument = owner.split("/", 4)
        holding = party.positions[book, account, wallet, side, instrument]
    index, _, ordinal = place.partition(".")
    chunk = DeltaChunk(holding.key, int(index), int(ordinal))
    chunk.deltas = _decode(row, list[tuple[int, Decimal]])
    holding.chunks.setdefault(chunk.index, []).append(chunk)


def _load_transfer(state: LedgerState, rest: str, row: Row) -> None:
    name, _, transfer_id = rest.partition("/")
    party = state.party(name)
    transfer = _decode(row, TransferRow)
    key = (transfer.direction, transfer_id)
    party.store_transfer(key, transfer)
    del state.dirty[transfer_row_key(name, key)]
    if not transfer.told:
        party.untold[key] = None
    effect = transfer_effect(transfer)
    if not transfer.released:
        line = (transfer.book, transfer.account, transfer.wallet, transfer.asset, "in_transit")
        party.add(line, effect.in_transit)
    if effect.pending_us is not None:
        heard = party.heard.get(heard_key("transfer", transfer_id), 0)
        party.flow.pending[transfer_id] = max(effect.pending_us, heard)


def _load_adjustment(state: LedgerState, rest: str, row: Row) -> None:
    name, account, adjustment_id = rest.split("/", 2)
    party, key = state.party(name), (account, adjustment_id)
    adjustment = _decode(row, AdjustmentRow)
    party.store_adjustment(key, adjustment)
    del state.dirty[f"adjustment/{rest}"]
    if adjustment.told:
        del party.unread[key]


def _load_heard(state: LedgerState, rest: str, row: Row) -> None:
    name, _, key = rest.partition("/")
    state.party(name).heard[key] = _decode(row, HeardRow).us


def _load_trade(state: LedgerState, rest: str, row: Row) -> None:
    name, book, account, trade_id = rest.split("/", 3)
    key = (book, account, trade_id)
    party = state.party(name)
    trade = party.trades[key] = _decode(row, TradeRow)
    party.add_open_legs(key, trade, 1)
    party.link_trade(key, trade)


def _load_executions(state: LedgerState, rest: str, row: Row) -> None:
    name, _, account = rest.partition("/")
    state.party(name).account(account).restore(_decode(row, ExecutionsRow))


def _load_fills(state: LedgerState, rest: str, row: Row) -> None:
    name, account, number = rest.split("/")
    log = state.parties[name].executions[account].log
    log.restore(int(number), _decode(row, list[LoggedFill]))


def _load_traded(state: LedgerState, rest: str, row: Row) -> None:
    name, account, place = rest.split("/")
    hour, _, number = place.partition(".")
    memory = state.parties[name].executions[account].memory
    memory.restore(int(hour), int(number), _decode(row, tuple[int, bytes]))


def _load_order(state: LedgerState, rest: str, row: Row) -> None:
    name, book, account, order_id = rest.split("/", 3)
    party = state.party(name)
    order = party.orders[book, account, order_id] = _decode(row, OrderRow)
    party.add((book, account, order.wallet, order.base, "open_order"), order.fills)
    party.resting.add(book, account, order, 1)


def _load_loan(state: LedgerState, rest: str, row: Row) -> None:
    name, _, loan_id = rest.partition("/")
    party = state.party(name)
    loan = party.loans[loan_id] = _decode(row, LoanRow)
    if loan.due_us is not None and not loan.overdue:
        party.next_repayment = min(party.next_repayment, loan.due_us)
    party.add((loan.book, loan.account, loan.wallet, loan.asset, loan.component), loan.amount)


def _load_shown(state: LedgerState, rest: str, row: Row) -> None:
    name, book, account, wallet, component, asset = rest.split("/", 5)
    party = state.party(name)
    if component == "position":
        side, _, instrument = asset.partition("/")
        line = party.positions[book, account, wallet, side, instrument].line
    else:
        line = party.line((book, account, wallet, asset, component))
    line.shown = bool(_decode(row, int))


def _load_stated(state: LedgerState, rest: str, row: Row) -> None:
    name, account, source = rest.split("/", 2)
    state.party(name).freshness.restore((account, source), _decode(row, SourceRow))


def _load_refused(state: LedgerState, rest: str, row: Row) -> None:
    state.refused[rest] = _decode(row, RefusedRow)


def _load_forgotten(state: LedgerState, rest: str, row: Row) -> None:
    del rest
    state.forgotten_us = _decode(row, ForgottenRow).us


_LOADERS: dict[str, Callable[[LedgerState, str, Row], None]] = {
    "party": _load_party,
    "flow": _load_flow,
    "heard": _load_heard,  # before the transfers, whose waits depend on it
    "cell": _load_cell,
    "position": _load_position,
    "delta": _load_delta,
    "transfer": _load_transfer,
    "deposit": _load_transfer,
    "adjustment": _load_adjustment,
    "trade": _load_trade,
    "executions": _load_executions,
    "fills": _load_fills,
    "traded": _load_traded,
    "order": _load_order,
    "loan": _load_loan,
    "shown": _load_shown,
    "stated": _load_stated,
    "refused": _load_refused,
    "forgotten": _load_forgotten,
}
