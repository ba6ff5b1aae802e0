"""The drawdown of the firm: a unitised equity, and its high-water mark.

The unit value is time-weighted. At each tick it is multiplied by one plus the gain on what was held
before the tick, divided by the equity before the tick. The gain is quantity times change of price,
positions of derivatives included. A deposit, a withdrawal, a transfer or a fill changes quantities
and not the unit value.

    100 USD fall to 90, then 45 are withdrawn: the drawdown is 10 %, before and after.

What the unit value does not contain: fees, funding, interest, and the difference between the price
of a fill and the price of the asset at the next tick.

An asset without a live price of two venues keeps its last price, or its price of one venue, and
lowers the coverage. While too little is known, the high-water mark does not rise. While the equity
is less than :data:`MIN_EQUITY_SHARE` of all that is held, a gain cannot be related to it: the unit
value does not move, and ``linked`` says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import SECOND
from riskwatch.core.money import EXACT, ZERO, quantise, saturated, usd
from riskwatch.core.outputs import DrawdownMeasured, HighWaterMarkSet, Origin
from riskwatch.core.risk.exposure import (
    BORROWED_COMPONENT,
    OPEN_ORDER_COMPONENT,
    base_delta,
    price_of,
)
from riskwatch.core.risk.features import is_live
from riskwatch.core.risk.state import EquityRow, HeldQuantity
from riskwatch.core.rules import COVERAGE_FEATURE, DRAWDOWN_FEATURE, MIN_COVERAGE
from riskwatch.core.scopes import FIRM

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.features import Features
    from riskwatch.core.risk.stakes import TickContext
    from riskwatch.core.risk.state import ApprovalRequest, AssetRow, RiskState

MIN_EQUITY_SHARE: Final = 0.02
"""Smallest equity, as a share of the gross value that is held, at which the unit value moves."""
MIN_VENUES: Final = 2
"""Number of venues from which a price counts as known."""
MAX_UNIT_VALUE: Final = 1e12
IN_TRANSIT_COMPONENT: Final = "in_transit"
_FULL_BP: Final = 1e4
_CASH: Final = "USD"


def drawdown_bp(row: EquityRow) -> float:
    """Return how far the unit value is below its high-water mark, bp.

    Examples
    --------
    >>> drawdown_bp(EquityRow(0, unit_value=0.9))
    1000.0
    """
    return quantise(max(0.0, 1.0 - row.unit_value / row.high_water_mark) * _FULL_BP)


class DrawdownMeter:
    """Updates the unit value at each tick.

    Parameters
    ----------
    config : RiskConfig
        `move_bp` and `report_s` say when the drawdown is published.
    """

    def __init__(self, config: RiskConfig) -> None:
        self.config = config

    def update(self, state: RiskState, tick: TickContext) -> Iterator[DrawdownMeasured]:
        """Move the unit value by the prices of this tick, and store what is held now."""
        row = state.equities.get(FIRM)
        if row is None:
            lots = _lots(state)
            if not lots:
                return
            row = state.equities[FIRM] = EquityRow(tick.us, lots=lots)
            changed = True
        else:
            changed = self._move(state, row)
            if state.meta.holdings or tick.due or state.faults:
                lots = _lots(state)
                changed = changed or lots != row.lots
                row.lots = lots
        changed = self._revalue(state, row, tick.us) or changed
        if row.coverage >= MIN_COVERAGE:
            row.high_water_mark = max(row.high_water_mark, row.unit_value)
        if changed:
            row.us = tick.us
        yield from self._report(row, tick.us)
        if changed or row.sent_us == tick.us:
            state.mark(f"equity/{FIRM}")

    def _move(self, state: RiskState, row: EquityRow) -> bool:
        """Move the unit value by the change of prices; return whether it changed."""
        gain = 0.0
        for asset in sorted(row.lots):
            before, now = row.prices.get(asset), price_of(asset, state)
            if before is not None and now is not None and now != before:
                gain += saturated(row.lots[asset].delta * (now - before))
        if not row.linked or gain == 0.0:
            return False
        row.unit_value = min(row.unit_value * max(0.0, 1.0 + gain / row.equity), MAX_UNIT_VALUE)
        return True

    def _revalue(self, state: RiskState, row: EquityRow, us: int) -> bool:
        """Value what is held now; return whether anything changed."""
        before = (row.prices, row.equity, row.coverage, row.linked)
        prices: dict[str, float] = {}
        equity = gross = certain = 0.0
        for asset in sorted(row.lots):
            price = price_of(asset, state)
            if price is None:
                continue
            prices[asset] = price
            lot = row.lots[asset]
            equity += saturated(lot.held * price)
            gross += saturated(lot.gross * price)
            if asset == _CASH or _is_confirmed(state.assets.get(asset), us):
                certain += saturated((lot.gross - lot.unknown) * price)
        row.prices, row.equity = prices, saturated(equity)
        row.coverage = quantise(min(1.0, max(0.0, certain / gross))) if gross else 1.0
        row.linked = equity > 0.0 and equity >= MIN_EQUITY_SHARE * gross
        return before != (row.prices, row.equity, row.coverage, row.linked)

    def _report(self, row: EquityRow, us: int) -> Iterator[DrawdownMeasured]:
        """Publish the drawdown if it moved, or if it is due."""
        fall = drawdown_bp(row)
        moved = abs(fall - row.sent_bp) >= self.config.move_bp
        if row.sent_us and not moved and us - row.sent_us < self.config.report_s * SECOND:
            return
        row.sent_us, row.sent_bp = us, fall
        yield DrawdownMeasured(
            **Origin.tick(us).stamp(DrawdownMeasured, FIRM),
            scope=FIRM,
            unit_value=quantise(row.unit_value, 9),
            high_water_mark=quantise(row.high_water_mark, 9),
            drawdown_bp=fall,
            equity_usd=usd(row.equity),
            coverage=row.coverage,
            unpriced=sum(1 for asset in row.lots if asset not in row.prices),
            linked=row.linked,
        )


def drawdown_features(state: RiskState) -> Features:
    """Return the features of the firm; none before its equity could be related to a gain."""
    row = state.equities.get(FIRM)
    if row is None or not (row.linked or row.unit_value < row.high_water_mark):
        return {}
    return {DRAWDOWN_FEATURE: drawdown_bp(row), COVERAGE_FEATURE: row.coverage}


def rebase(
    row: EquityRow, request: ApprovalRequest, approved_by: str, origin: Origin
) -> HighWaterMarkSet:
    """Set the high-water mark to the unit value at the request, or now if that is higher.

    A loss between the request and its approval is therefore still a drawdown. After the loss of
    everything a new unit begins.
    """
    former, former_bp = row.high_water_mark, drawdown_bp(row)
    asked = float(request.args["unit_value"])
    if max(asked, row.unit_value) <= 0.0:
        row.unit_value = asked = 1.0
    row.high_water_mark = max(asked, row.unit_value)
    row.sent_us = 0  # publish it at the next tick
    return HighWaterMarkSet(
        **origin.stamp(HighWaterMarkSet, FIRM),
        scope=FIRM,
        former=quantise(former, 9),
        high_water_mark=quantise(row.high_water_mark, 9),
        unit_value=quantise(row.unit_value, 9),
        former_bp=former_bp,
        drawdown_bp=drawdown_bp(row),
        equity_usd=usd(row.equity),
        coverage=row.coverage,
        requested_by=request.by,
        approved_by=approved_by,
        reason=request.reason,
    )


def _is_confirmed(row: AssetRow | None, us: int) -> bool:
    """Whether the price of an asset is live, and of two venues or more."""
    return row is not None and is_live(row, us) and row.reading.venues >= MIN_VENUES


def _lots(state: RiskState) -> dict[str, HeldQuantity]:
    """Return what the firm holds of each asset, assets sorted."""
    failed = {name: None for names in state.faults.values() for name in names}
    sums: dict[str, list[Decimal]] = {}
    for name in sorted(state.parties):
        row = state.parties[name]
        for h in row.holdings:
            if not h.amount or h.component == OPEN_ORDER_COMPONENT:
                continue
            owed = h.component == BORROWED_COMPONENT
            amount = h.amount.copy_negate() if owed else h.amount
            unsure = name in failed or h.component == IN_TRANSIT_COMPONENT
            _add(sums, h.asset, amount, amount, unsure=unsure)
        for p in row.positions:
            if p.qty:
                _add(sums, p.base, ZERO, base_delta(state, row, p), unsure=name in failed)
    return {asset: HeldQuantity(*(float(x) for x in sums[asset])) for asset in sorted(sums)}


def _add(
    sums: dict[str, list[Decimal]], asset: str, held: Decimal, delta: Decimal, *, unsure: bool
) -> None:
    """Add one holding or position to the sums of its asset."""
    size = delta.copy_abs()
    parts = (held, delta, size, size if unsure else ZERO)
    known = sums.get(asset)
    sums[asset] = (
        list(parts)
        if known is None
        else [EXACT.add(a, b) for a, b in zip(known, parts, strict=True)]
    )
