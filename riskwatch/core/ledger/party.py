"""One counterparty: its holdings, its unfinished business, and how far its time has come.

Every counterparty has a watermark of its own (the newest event time of its facts). So what is
late never depends on who else shares the partition, and a venue whose stream is caught up after
an outage is not late merely because the others went on.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.ledger.flow import TransferFlow
from riskwatch.core.ledger.holding import (
    NEVER,
    DirtyRows,
    LedgerHolding,
    PositionTerms,
    ReportedAmount,
)
from riskwatch.core.ledger.outputs import fact_conflict, fact_too_late, limit_reached
from riskwatch.core.ledger.trades import TradeRow, trade_effect
from riskwatch.core.money import ZERO
from riskwatch.core.readings import FillSlippage

if TYPE_CHECKING:
    from riskwatch.core.ledger.config import LedgerConfig
    from riskwatch.core.ledger.transfers import TransferRow


# Resting orders and loans: what counts is the latest snapshot of each.


class OrderRow(msgspec.Struct, array_like=True):
    """Latest snapshot of one resting order."""

    snap: tuple[int, int, str]
    base: str
    side: str
    qty: Decimal

    def row(self) -> object:
        """Return the row's value."""
        return self

    @property
    def fills(self) -> Decimal:
        """Base quantity that could still come in: an open buy's; a sell brings none."""
        return self.qty if self.side == "buy" else ZERO


class LoanRow(msgspec.Struct, array_like=True):
    """Latest snapshot of one loan."""

    snap: tuple[int, int, str]
    book: str
    account: str
    asset: str
    direction: str
    amount: Decimal

    def row(self) -> object:
        """Return the row's value."""
        return self

    @property
    def component(self) -> str:
        """Component under which it is reported; both are stated positive."""
        return "loan" if self.direction == "lent" else "borrowed"


LATER: Final = 2**62
"""After every event time."""
MAX_ROUTES: Final = 65_536
"""Most remembered routes; they are a cache, and are forgotten all at once."""
MAX_SLIPS: Final = 64
"""Most fills of one reading that slippage is learned from."""

HoldingKey = tuple[str, str, str, str]
"""(book, account, asset, kind)."""
PositionKey = tuple[str, str, str]
"""(book, account, instrument)."""
EntityKey = tuple[str, str, str]
"""(book, account, id) of a trade or an order."""


class LedgerPartyRow(msgspec.Struct, array_like=True):
    """What a counterparty's row holds; see :class:`Party`."""

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


class LedgerParty:
    """State of one counterparty.

    Attributes
    ----------
    wm : int
        Newest event time seen, microseconds.
    breaks : dict
        Holdings and positions by row key whose last snapshot differs from what was expected.
    changed : bool
        Whether a reading is due.
    emitted, swept : int
        Event time of the last reading, and watermark at the last sweep, microseconds.
    slippage_bp : float or None
        Mean of signed slippage, bp; None before the first fill with a reference price.
    slips : list of Slip
        Fills with a reference price since the last reading, the first :data:`SLIPS` of them.
    next_due : int
        No waiting trade is due before this event time (a lower bound), microseconds.
    overdue : int
        How many trades are past their settlement time.
    cell_horizon, trade_horizon, order_horizon, loan_horizon : int
        Newest event time among the entities that were forgotten: facts up to there about
        unknown ones could contradict what is no longer known, and are refused.
    """

    __slots__ = (
        "breaks", "cell_horizon", "cells", "changed", "dirty", "emitted", "flow", "key", "lines",
        "loan_horizon", "loans", "name", "next_due", "order_horizon", "orders", "overdue",
        "positions", "routes", "slippage_bp", "slips", "swept", "trade_horizon", "trades",
        "transfers", "wm",
    )  # fmt: skip

    def __init__(self, name: str, dirty: DirtyRows) -> None:
        self.name = name
        self.key = f"party/{name}"
        self.dirty = dirty
        self.wm = self.emitted = self.swept = NEVER
        self.changed = False
        self.slippage_bp: float | None = None
        self.slips: list[FillSlippage] = []
        self.cell_horizon = self.trade_horizon = self.order_horizon = self.loan_horizon = NEVER
        self.breaks: dict[str, LedgerHolding] = {}
        self.cells: dict[HoldingKey, LedgerHolding] = {}
        self.positions: dict[PositionKey, LedgerHolding] = {}
        self.lines: dict[HoldingKey, ReportedAmount] = {}
        self.transfers: dict[str, TransferRow] = {}
        self.trades: dict[EntityKey, TradeRow] = {}
        self.orders: dict[EntityKey, OrderRow] = {}
        self.loans: dict[str, LoanRow] = {}
        self.flow = TransferFlow(name)
        self.next_due = LATER
        self.overdue = 0
        self.routes: dict[tuple[str, ...], tuple[LedgerHolding, LedgerHolding, LedgerHolding]] = {}

    def touch(self, us: int) -> None:
        """Take note of an accepted fact at `us`."""
        self.wm = max(self.wm, us)
        self.changed = True
        self.dirty[self.key] = self

    def line(self, book: str, account: str, asset: str, component: str) -> ReportedAmount:
        """Where (book, account, asset, component) is reported; made on first use."""
        key = (book, account, asset, component)
        line = self.lines.get(key)
        if line is None:
            line = self.lines[key] = ReportedAmount(self.name, book, account, asset, component)
        return line

    def add(self, book: str, account: str, asset: str, component: str, amount: Decimal) -> None:
        """Add `amount` to a line that no snapshot governs."""
        if amount:
            self.line(book, account, asset, component).add(amount)

    def admit(self, cells: list[HoldingKey], us: int, config: LedgerConfig) -> None:
        """Check that the holdings `cells` are known or may be made for a fact at `us`.

        Raises
        ------
        Refusal
            ``LIMIT_REACHED``, or ``FACT_TOO_LATE`` where one could have been forgotten.
        """
        new = [key for key in dict.fromkeys(cells) if key not in self.cells]
        if new and len(self.cells) + len(new) > config.max_holdings:
            raise limit_reached("max_holdings", config.max_holdings)
        if new and us <= self.cell_horizon:
            raise fact_too_late(f"us={us} horizon={self.cell_horizon} collection=holdings")

    def admit_position(
        self, key: PositionKey, pair: tuple[str, str], us: int, config: LedgerConfig
    ) -> None:
        """Check the same for a position of instrument `key` on `pair` (base, quote).

        Raises
        ------
        Refusal
            ``LIMIT_REACHED``, ``FACT_TOO_LATE``, or ``FACT_CONFLICT`` where the instrument is
            known with another pair.
        """
        cell = self.positions.get(key)
        if cell is None:
            if len(self.positions) >= config.max_positions:
                raise limit_reached("max_positions", config.max_positions)
            if us <= self.cell_horizon:
                raise fact_too_late(f"us={us} horizon={self.cell_horizon} collection=positions")
            return
        known = cell.extra
        if known is not None and (known.base, known.quote) != pair:
            raise fact_conflict(
                f"instrument={key[2]} pair={pair[0]}/{pair[1]} was={known.base}/{known.quote}"
            )

    def holding(self, key: HoldingKey) -> LedgerHolding:
        """Find the holding `key`, made where it is new; it was admitted before."""
        cell = self.cells.get(key)
        if cell is None:
            cell = self.make_holding(key)
            self.dirty[cell.key] = cell
        return cell

    def make_holding(self, key: HoldingKey) -> LedgerHolding:
        """Make the holding `key`."""
        book, account, asset, kind = key
        name = f"cell/{self.name}/{book}/{account}/{asset}/{kind}"
        cell = self.cells[key] = LedgerHolding(name, self.line(*key), self.dirty, self.breaks)
        return cell

    def position(self, key: PositionKey, pair: tuple[str, str]) -> LedgerHolding:
        """Position `key` on `pair`, made where it is new; it was admitted before."""
        cell = self.positions.get(key)
        if cell is None:
            cell = self.make_position(key)
            cell.extra = PositionTerms(*pair)
            self.dirty[cell.key] = cell
        return cell

    def make_position(self, key: PositionKey) -> LedgerHolding:
        """Make the position `key`."""
        name = f"position/{self.name}/{key[0]}/{key[1]}/{key[2]}"
        line = ReportedAmount(self.name, key[0], key[1], key[2], "position")
        cell = self.positions[key] = LedgerHolding(name, line, self.dirty, self.breaks)
        return cell

    def add_open_legs(self, key: EntityKey, trade: TradeRow, sign: int) -> None:
        """Add (or take back, with `sign` -1) the legs of `trade` that wait for settlement."""
        legs = trade_effect(trade).open_legs
        if not legs:
            return
        component = "overdue" if trade.overdue else "unsettled"
        for asset, amount in legs:
            signed = amount if sign > 0 else amount.copy_negate()
            self.add(key[0], key[1], asset, component, signed)
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
        )

    def restore(self, row: LedgerPartyRow) -> None:
        """Become what `row` says."""
        for name in LedgerPartyRow.__struct_fields__:
            setattr(self, name, getattr(row, name))


def add_balance_components(
    party: LedgerParty, key: HoldingKey, borrowed: Decimal, pnl: Decimal
) -> None:
    """Add changes of `borrowed` and unrealised PnL to the lines of a balance."""
    party.add(*key[:3], "borrowed", borrowed)
    party.add(*key[:3], "unrealized_pnl", pnl)
