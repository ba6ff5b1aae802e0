"""The ledger's state of one counterparty: holdings, open transfers and trades, and watermark.

Every counterparty has its own watermark, the newest event time of its facts. Lateness therefore
does not depend on other counterparties in the partition, and a venue whose stream catches up after
an outage is not late because others went on.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final, get_args

import msgspec

from riskwatch.core.events import HoldingKind
from riskwatch.core.ledger import statements
from riskwatch.core.ledger.activity import OrderRow, RecentFills, RestingSums
from riskwatch.core.ledger.config import FILL_HOLDINGS, SOURCE_SHARE
from riskwatch.core.ledger.flow import TransferFlow
from riskwatch.core.ledger.freshness import AccountFreshness
from riskwatch.core.ledger.holding import (
    NEVER,
    DirtyRows,
    LedgerHolding,
    PositionTerms,
    ReportedAmount,
)
from riskwatch.core.ledger.memory import AccountExecutions
from riskwatch.core.ledger.outputs import fact_conflict, fact_too_late, limit_reached
from riskwatch.core.ledger.trades import TradeRow, trade_effect
from riskwatch.core.readings import FillGroup, FillSlippage

if TYPE_CHECKING:
    from riskwatch.core.ledger.config import LedgerConfig
    from riskwatch.core.ledger.entries import AdjustmentKey, AdjustmentRow
    from riskwatch.core.ledger.outputs import LedgerParameters
    from riskwatch.core.ledger.transfers import TransferKey, TransferRow
    from riskwatch.core.reference import Reference


# Loans: the latest snapshot of each counts.


class LoanRow(msgspec.Struct, array_like=True):
    """Latest snapshot of one loan; `overdue` says that it was told as such."""

    snap: tuple[int, int, str]
    book: str
    account: str
    asset: str
    direction: str
    amount: Decimal
    wallet: str = ""
    due_us: int | None = None
    overdue: bool = False

    def row(self) -> object:
        """Return the row's value."""
        return self

    @property
    def component(self) -> str:
        """Component under which it is reported; both components are positive."""
        return "loan" if self.direction == "lent" else "borrowed"


class HeardRow(msgspec.Struct, array_like=True):
    """When an old fact about an open withdrawal or trade was heard, microseconds."""

    us: int

    def row(self) -> object:
        """Return the row's value."""
        return self


def transfer_row_key(party: str, key: TransferKey) -> str:
    """Return the key of the row of a transfer; that of a withdrawal begins with ``transfer``."""
    kind = "transfer" if key[0] == "withdrawal" else "deposit"
    return f"{kind}/{party}/{key[1]}"


def heard_key(kind: str, *place: str) -> str:
    """Return the key of a time of hearing: kind and id of the transfer or trade."""
    return "/".join((kind, *place))


LATER: Final = 2**62
"""A time after every event time."""
MAX_ROUTES: Final = 65_536
"""Maximum number of cached routes; a full cache is cleared."""
MAX_SLIPS: Final = 64
"""Maximum number of fills of one reading from which slippage is learned."""

HoldingKey = tuple[str, str, str, str, str]
"""(book, account, wallet, asset, kind); the wallet is empty if it is not stated."""
PositionKey = tuple[str, str, str, str, str]
"""(book, account, wallet, side, instrument); wallet and side are empty if they are not stated."""
BALANCE_KINDS: Final[tuple[str, ...]] = get_args(HoldingKind)
"""Kinds of holdings that a balance states."""
EntityKey = tuple[str, str, str]
"""(book, account, id) of a trade or an order."""
Route = tuple[LedgerHolding, LedgerHolding, LedgerHolding, AccountExecutions]
"""Holdings of base, quote and fee that fills of one kind change, and what their account keeps."""


class HoldingNames:
    """Names of the holdings of a counterparty that the reference data does not list.

    An asset that is not listed is one, in each place; so is a place, a book and an account, that a
    listed asset opened. It follows from the holdings and is not stored.

    Attributes
    ----------
    places : set
        (book, account) of all holdings.
    counts : dict of str to int
        Number of names by the source that brought them up.
    """

    __slots__ = ("counts", "places", "reference")

    def __init__(self, cells: dict[HoldingKey, LedgerHolding], reference: Reference) -> None:
        self.reference = reference
        self.places: set[tuple[str, str]] = set()
        self.counts: dict[str, int] = {}
        for key, holding in cells.items():
            self.add(key, holding)

    def add(self, key: HoldingKey, holding: LedgerHolding) -> None:
        """Add a holding."""
        self.places.add(key[:2])
        names = int(not self.is_listed(key)) + int(holding.opens)
        if names:
            self.counts[holding.by] = self.counts.get(holding.by, 0) + names

    def is_listed(self, key: HoldingKey) -> bool:
        """Whether the reference data lists the asset of a holding."""
        return key[3] in self.reference.assets

    def opens(self, key: HoldingKey) -> bool:
        """Whether a new holding opens its place with a listed asset."""
        return self.is_listed(key) and key[:2] not in self.places

    def check(self, keys: list[HoldingKey], source: str, most: int) -> None:
        """Check that there is room for the new holdings `keys` of a source.

        Raises
        ------
        FactRefusedError
            ``LIMIT_REACHED``.
        """
        names, opened = 0, set()
        for key in keys:
            if not self.is_listed(key) or (self.opens(key) and key[:2] not in opened):
                names += 1
            opened.add(key[:2])
        if not names:
            return
        if sum(self.counts.values()) + names > most:
            raise limit_reached("max_holdings", most)
        share = max(FILL_HOLDINGS, most // SOURCE_SHARE)
        if self.counts.get(source, 0) + names > share:
            raise limit_reached("max_holdings", most, share)


class LedgerPartyRow(msgspec.Struct, array_like=True):
    """The stored row of a :class:`LedgerParty`."""

    wm: int
    changed: bool
    emitted: int
    swept: int
    slippage_bp: float | None
    cell_horizon: int
    trade_horizon: int
    order_horizon: int
    loan_horizon: int
    slips: list[FillSlippage] = []
    fills: list[tuple[int, FillGroup]] = []
    fills_missed: int = 0
    by: str = ""
    transfer_horizons: dict[str, int] = {}
    adjustment_horizons: dict[str, int] = {}


class LedgerParty:
    """State of one counterparty.

    Attributes
    ----------
    wm : int
        Watermark: newest event time of its facts, microseconds.
    by : str
        Source of its first fact; empty in rows of older builds.
    names : HoldingNames or None
        Unlisted names of its holdings; ``None`` if they must be counted again.
    breaks : dict
        Holdings and positions whose last snapshot differs from the expected amount, by row key.
    changed : bool
        Whether a reading is due.
    emitted, swept : int
        Event time of the last reading, and watermark at the last sweep, microseconds.
    slippage_bp : float or None
        Mean signed slippage, bp; ``None`` before the first fill with a reference price.
    slips : list of FillSlippage
        The first :data:`MAX_SLIPS` fills with a reference price since the last reading.
    recent : RecentFills
        All fills since the last reading, in groups.
    resting : RestingSums
        Open quantities of all orders.
    places : dict
        Holdings and positions by kind of row, account, and asset or instrument.
    next_due : int
        Lower bound of the settlement times of open trades, microseconds.
    overdue : int
        Number of trades past their settlement time.
    heard : dict of str to int
        When old facts about open withdrawals and trades were heard, microseconds: a wait or a delay
        counts from then.
    transfer_counts : dict of str to int
        Number of transfers by account.
    transfer_horizons : dict of str to int
        By account that was full: newest event time of the transfers that were dropped for room.
    untold : dict
        Keys of transfers whose leg no reading had as it is now.
    adjustment_counts, adjustment_horizons, unread
        The same for adjustments.
    next_repayment : int
        Lower bound of the due times of loans that are not told as overdue, microseconds.
    freshness : AccountFreshness
        When each source last stated each account, and which accounts are stale.
    executions : dict of str to AccountExecutions
        Latest fills and trade ids, by account.
    awaiting, links, aliases : dict
        Keys of trades: of those whose corrections wait, by the id of the fill or by account and
        mark; of all with a trade id, by account and mark; by further ids of their fills. They
        follow from the trades and are not stored.
    cell_horizon, trade_horizon, order_horizon, loan_horizon : int
        Newest event time of the entities that were dropped, microseconds. A fact up to this time
        about an unknown entity could contradict a dropped one, and is refused.
    """

    __slots__ = (
        "adjustment_counts", "adjustment_horizons", "adjustments", "aliases", "awaiting", "breaks",
        "by", "cell_horizon", "cells", "changed", "dirty", "emitted", "executions", "flow",
        "freshness", "heard", "key", "lines", "links", "loan_horizon", "loans", "name", "names",
        "next_due", "next_repayment", "order_horizon", "orders", "overdue", "places", "positions",
        "recent", "resting", "routes", "slippage_bp", "slips", "swept", "trade_horizon", "trades",
        "transfer_counts", "transfer_horizons", "transfers", "unread", "untold", "wm",
    )  # fmt: skip

    def __init__(self, name: str, dirty: DirtyRows) -> None:
        self.name = name
        self.key = f"party/{name}"
        self.dirty = dirty
        self.wm = self.emitted = self.swept = NEVER
        self.by = ""
        self.names: HoldingNames | None = None
        self.changed = False
        self.slippage_bp: float | None = None
        self.slips: list[FillSlippage] = []
        self.recent = RecentFills()
        self.resting = RestingSums()
        self.cell_horizon = self.trade_horizon = self.order_horizon = self.loan_horizon = NEVER
        self.breaks: dict[str, LedgerHolding] = {}
        self.cells: dict[HoldingKey, LedgerHolding] = {}
        self.positions: dict[PositionKey, LedgerHolding] = {}
        self.places: dict[tuple[str, str, str], list[LedgerHolding]] = {}
        self.lines: dict[HoldingKey, ReportedAmount] = {}
        self.transfers: dict[TransferKey, TransferRow] = {}
        self.transfer_counts: dict[str, int] = {}
        self.transfer_horizons: dict[str, int] = {}
        self.untold: dict[TransferKey, None] = {}
        self.adjustments: dict[AdjustmentKey, AdjustmentRow] = {}
        self.adjustment_counts: dict[str, int] = {}
        self.adjustment_horizons: dict[str, int] = {}
        self.unread: dict[AdjustmentKey, None] = {}
        self.next_repayment = LATER
        self.trades: dict[EntityKey, TradeRow] = {}
        self.orders: dict[EntityKey, OrderRow] = {}
        self.loans: dict[str, LoanRow] = {}
        self.flow = TransferFlow(name)
        self.next_due = LATER
        self.overdue = 0
        self.heard: dict[str, int] = {}
        self.routes: dict[tuple[str, ...], Route] = {}
        self.executions: dict[str, AccountExecutions] = {}
        self.awaiting: dict[tuple[str, ...], EntityKey] = {}
        self.links: dict[tuple[str, str], EntityKey] = {}
        self.aliases: dict[EntityKey, EntityKey] = {}
        self.freshness = AccountFreshness(name, dirty)

    @property
    def has_entities(self) -> bool:
        """Whether anything is known of it but its name: a holding, an order, a break, a wait."""
        return bool(
            self.cells
            or self.positions
            or self.transfers
            or self.adjustments
            or self.trades
            or self.orders
            or self.loans
            or self.breaks
            or self.heard
            or self.flow.pending
            or self.untold
        )

    def touch(self, us: int) -> None:
        """Advance the watermark to an accepted fact at `us`, and mark the party as changed."""
        self.wm = max(self.wm, us)
        self.changed = True
        self.dirty[self.key] = self

    def note_heard(self, key: str, us: int) -> None:
        """Store when an old fact was heard, or forget it with 0."""
        if us:
            self.heard[key] = us
        elif self.heard.pop(key, None) is None:
            return
        self.dirty[f"heard/{self.name}/{key}"] = HeardRow(us) if us else None

    def store_transfer(self, key: TransferKey, transfer: TransferRow) -> None:
        """Store a new or changed transfer."""
        if key not in self.transfers:
            account = transfer.account
            self.transfer_counts[account] = self.transfer_counts.get(account, 0) + 1
        self.transfers[key] = transfer
        self.dirty[transfer_row_key(self.name, key)] = transfer

    def drop_transfer(self, key: TransferKey) -> None:
        """Drop a transfer."""
        transfer = self.transfers.pop(key)
        left = self.transfer_counts[transfer.account] - 1
        if left:
            self.transfer_counts[transfer.account] = left
        else:
            del self.transfer_counts[transfer.account]
        self.dirty[transfer_row_key(self.name, key)] = None

    def store_adjustment(self, key: AdjustmentKey, row: AdjustmentRow) -> None:
        """Store a new adjustment, of which the next reading tells."""
        self.adjustments[key] = row
        self.adjustment_counts[key[0]] = self.adjustment_counts.get(key[0], 0) + 1
        self.unread[key] = None
        self.dirty[f"adjustment/{self.name}/{key[0]}/{key[1]}"] = row

    def drop_adjustment(self, key: AdjustmentKey) -> None:
        """Forget an adjustment."""
        del self.adjustments[key]
        self.unread.pop(key, None)
        self.adjustment_counts[key[0]] -= 1
        if not self.adjustment_counts[key[0]]:
            del self.adjustment_counts[key[0]]
        self.dirty[f"adjustment/{self.name}/{key[0]}/{key[1]}"] = None

    def account(self, name: str) -> AccountExecutions:
        """Return what is remembered of the executions of an account, created if new."""
        account = self.executions.get(name)
        if account is None:
            account = self.executions[name] = AccountExecutions(self.name, name, self.dirty)
        return account

    def link_trade(self, key: EntityKey, trade: TradeRow) -> None:
        """Make a trade found by its other names; called again after each change."""
        names: list[tuple[str, ...]] = [key]
        for fill_id in trade.fill_ids:
            self.aliases[key[0], key[1], fill_id] = key
            names.append((key[0], key[1], fill_id))
        if trade.mark:
            self.links[key[1], trade.mark] = key
            names.append((key[1], trade.mark))
        for name in names:
            if trade.waits:
                self.awaiting[name] = key
            else:
                self.awaiting.pop(name, None)

    def drop_trade(self, key: EntityKey) -> TradeRow:
        """Forget a trade, and return it."""
        trade = self.trades.pop(key)
        self.dirty[f"trade/{self.name}/{'/'.join(key)}"] = None
        self.awaiting.pop(key, None)
        self.links.pop((key[1], trade.mark), None)
        self.awaiting.pop((key[1], trade.mark), None)
        for fill_id in trade.fill_ids:
            self.aliases.pop((key[0], key[1], fill_id), None)
            self.awaiting.pop((key[0], key[1], fill_id), None)
        return trade

    def line(self, key: HoldingKey) -> ReportedAmount:
        """Return the reported amount `key`, whose kind is its component, created if new."""
        line = self.lines.get(key)
        if line is None:
            *place, asset, component = key
            book, account, wallet = place
            line = ReportedAmount(self.name, (book, account, wallet), component, asset)
            self.lines[key] = line
        return line

    def add(self, key: HoldingKey, amount: Decimal) -> None:
        """Add `amount` to a reported amount that no snapshot determines."""
        if amount:
            self.line(key).add(amount)

    def confirmed_us(self, key: HoldingKey) -> int:
        """Return when a snapshot last stated a reported amount, microseconds; 0 for never.

        A balance also states what is borrowed and not realised beside it.
        """
        kinds = BALANCE_KINDS if key[4] in ("borrowed", "unrealized_pnl") else (key[4],)
        found = [self.cells.get((*key[:4], kind)) for kind in kinds]
        return max((max(0, each.snap_us) for each in found if each is not None), default=0)

    def admit(
        self, keys: list[HoldingKey], us: int, parameters: LedgerParameters, source: str
    ) -> None:
        """Check that the holdings `keys` are known or may be created for a fact of a source.

        Raises
        ------
        FactRefusedError
            ``LIMIT_REACHED``, or ``FACT_TOO_LATE`` if a holding could have been dropped.
        """
        new = [key for key in dict.fromkeys(keys) if key not in self.cells]
        if not new:
            return
        self._counted(parameters).check(new, source, parameters.config.max_holdings)
        if us <= self.cell_horizon:
            raise fact_too_late(f"us={us} horizon={self.cell_horizon} collection=holdings")

    def _counted(self, parameters: LedgerParameters) -> HoldingNames:
        if self.names is None:
            self.names = HoldingNames(self.cells, parameters.reference)
        return self.names

    def admit_position(
        self, key: PositionKey, pair: tuple[str, str], us: int, config: LedgerConfig
    ) -> None:
        """Check the same for a position of instrument `key` on `pair` (base, quote).

        Raises
        ------
        FactRefusedError
            ``LIMIT_REACHED``, ``FACT_TOO_LATE``, or ``FACT_CONFLICT`` if the instrument is known
            with another pair.
        """
        holding = self.positions.get(key)
        if holding is None:
            if len(self.positions) >= config.max_positions:
                raise limit_reached("max_positions", config.max_positions)
            if us <= self.cell_horizon:
                raise fact_too_late(f"us={us} horizon={self.cell_horizon} collection=positions")
            return
        known = holding.extra
        if known is not None and (known.base, known.quote) != pair:
            raise fact_conflict(
                f"instrument={key[4]} pair={pair[0]}/{pair[1]} was={known.base}/{known.quote}"
            )

    def holding(self, key: HoldingKey, parameters: LedgerParameters, source: str) -> LedgerHolding:
        """Return the holding `key`, created by `source` if new; the caller has admitted it."""
        holding = self.cells.get(key)
        if holding is None:
            names = self._counted(parameters)
            holding = self.make_holding(key)
            holding.by, holding.opens = source, names.opens(key)
            names.add(key, holding)
            statements.link_new(holding, self.peers(key))
            self.dirty[holding.key] = holding
        return holding

    def drop_holdings(self, keys: list[HoldingKey]) -> None:
        """Drop holdings. If one of them stood for its account, another takes its place."""
        opened = set()
        for key in keys:
            holding = self.cells.pop(key)
            self.leave_peers(key, holding)
            self.cell_horizon = max(self.cell_horizon, holding.snap_us, holding.fold_us)
            holding.line.pins -= 1
            self.dirty[holding.key] = None
            if holding.opens:
                opened.add(key[:2])
        self.routes.clear()
        self.names = None
        for key in sorted(self.cells) if opened else ():
            if key[:2] in opened:
                opened.remove(key[:2])
                heir = self.cells[key]
                heir.opens = True
                self.dirty[heir.key] = heir

    def make_holding(self, key: HoldingKey) -> LedgerHolding:
        """Create the holding `key`."""
        name = f"cell/{self.name}/{'/'.join(key)}"
        at = (key[0], (key[2], key[4]))
        holding = LedgerHolding(name, self.line(key), self.dirty, self.breaks, at)
        self.cells[key] = holding
        self.places.setdefault(("cell", key[1], key[3]), []).append(holding)
        return holding

    def peers(self, key: HoldingKey) -> list[LedgerHolding]:
        """Return the holdings of the account and asset of `key`, of all books and wallets."""
        return self.places.get(("cell", key[1], key[3]), [])

    def position_peers(self, key: PositionKey) -> list[LedgerHolding]:
        """Return the positions of the account and instrument of `key`."""
        return self.places.get(("position", key[1], key[4]), [])

    def leave_peers(self, key: HoldingKey | PositionKey, holding: LedgerHolding) -> None:
        """Take a holding or position that is dropped from those of its account."""
        kind = holding.key.partition("/")[0]
        place = (kind, key[1], key[3] if kind == "cell" else key[4])
        self.places[place].remove(holding)
        if not self.places[place]:
            del self.places[place]

    def position(self, key: PositionKey, pair: tuple[str, str]) -> LedgerHolding:
        """Return the position `key` on `pair`, created if it is new; the caller has admitted it."""
        holding = self.positions.get(key)
        if holding is None:
            holding = self.make_position(key)
            holding.extra = PositionTerms(*pair)
            statements.link_new(holding, self.position_peers(key))
            self.dirty[holding.key] = holding
        return holding

    def make_position(self, key: PositionKey) -> LedgerHolding:
        """Create the position `key`."""
        name = f"position/{self.name}/{'/'.join(key)}"
        line = ReportedAmount(self.name, key[:3], "position", f"{key[3]}/{key[4]}")
        at = (key[0], (key[2], key[3]))
        holding = LedgerHolding(name, line, self.dirty, self.breaks, at)
        self.positions[key] = holding
        self.places.setdefault(("position", key[1], key[4]), []).append(holding)
        return holding

    def add_open_legs(self, key: EntityKey, trade: TradeRow, sign: int) -> None:
        """Add (or subtract, with `sign` -1) the legs of `trade` that wait for settlement."""
        legs = trade_effect(trade).open_legs
        if not legs:
            return
        component = "overdue" if trade.overdue else "unsettled"
        for asset, amount in legs:
            signed = amount if sign > 0 else amount.copy_negate()
            self.add((key[0], key[1], trade.wallet, asset, component), signed)
        if trade.overdue:
            self.overdue += sign
        elif sign > 0 and trade.fill is not None and trade.fill.settles_us is not None:
            self.next_due = min(self.next_due, trade.fill.settles_us)

    def row(self) -> object:
        """Return the row's value."""
        return LedgerPartyRow(
            self.wm,
            self.changed,
            self.emitted,
            self.swept,
            self.slippage_bp,
            self.cell_horizon,
            self.trade_horizon,
            self.order_horizon,
            self.loan_horizon,
            self.slips,
            self.recent.rows(),
            self.recent.missed,
            self.by,
            self.transfer_horizons,
            self.adjustment_horizons,
        )

    def restore(self, row: LedgerPartyRow) -> None:
        """Load the party from its row."""
        for name in LedgerPartyRow.__struct_fields__:
            if not name.startswith("fills"):
                setattr(self, name, getattr(row, name))
        self.recent.restore(row.fills, row.fills_missed)


def add_balance_components(
    party: LedgerParty, key: HoldingKey, borrowed: Decimal, pnl: Decimal
) -> None:
    """Add changes of `borrowed` and of the unrealised PnL of a balance to the reported amounts."""
    party.add((*key[:4], "borrowed"), borrowed)
    party.add((*key[:4], "unrealized_pnl"), pnl)
