"""Equity, result, loss and drawdown of the firm, of books and of accounts.

The unit value is time-weighted. At each tick it is multiplied by one plus what was earned since the
tick before, divided by the equity then. Of a book it is what was earned divided by its capital that
is added. The change of prices earns quantity times change of price, positions of derivatives
included; :mod:`riskwatch.core.risk.pnl` adds fills, fees and entries of ledgers. A deposit, a
withdrawal, a transfer or an allocation changes quantities and not the unit value.

    100 USD fall to 90, then 45 are withdrawn: the drawdown is 10 %, before and after.

A loss is measured from midnight UTC and from 24 hours before, so midnight ends no loss.

An asset without a live price of two venues keeps its last price, or its price of one venue, and
lowers the coverage. While too little is known, the high-water mark does not rise. While the equity
is less than :data:`MIN_EQUITY_SHARE` of all that is held, a gain cannot be related to it: the unit
value does not move, and ``linked`` says so. A book is always linked, because its capital is known.

The equity has the profit of a position that is not realised, unless its account states that profit
as a balance.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import DAY, MINUTE, SECOND, moment
from riskwatch.core.instruments import INVERSE, OPTION, QUANTO, settlement_asset
from riskwatch.core.money import EXACT, ZERO, canonical, quantise, saturated, usd
from riskwatch.core.outputs import DrawdownMeasured, HighWaterMarkSet, Origin, PnlMeasured
from riskwatch.core.risk.exposure import (
    BORROWED_COMPONENT,
    OPEN_ORDER_COMPONENT,
    base_delta,
    price_of,
)
from riskwatch.core.risk.features import is_live
from riskwatch.core.risk.pnl import scopes_of_result
from riskwatch.core.risk.state import EquityRow, HeldQuantity, PnlSums, UnitMark
from riskwatch.core.risk.transit import IN_TRANSIT_COMPONENT
from riskwatch.core.rules import (
    COVERAGE_FEATURE,
    DRAWDOWN_FEATURE,
    LOSS_FEATURES,
    MIN_COVERAGE,
)
from riskwatch.core.scopes import BOOK, FIRM, kind_of_scope, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.readings import OpenPosition
    from riskwatch.core.reference import LimitsConfig
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.features import Features
    from riskwatch.core.risk.stakes import TickContext
    from riskwatch.core.risk.state import ApprovalRequest, AssetRow, PartyRow, RiskState

MIN_EQUITY_SHARE: Final = 0.02
"""Smallest equity, as a share of the gross value that is held, at which the unit value moves."""
MIN_VENUES: Final = 2
"""Number of venues from which a price counts as known."""
MAX_UNIT_VALUE: Final = 1e12
MARK_STEP: Final = 15 * MINUTE
"""Distance of the marks of the last day, microseconds."""
PNL_COMPONENT: Final = "unrealized_pnl"
_FULL_BP: Final = 1e4
_CASH: Final = "USD"


def drawdown_bp(row: EquityRow) -> float:
    """Return how far the unit value is below its high-water mark, bp.

    Examples
    --------
    >>> drawdown_bp(EquityRow(0, unit_value=0.9))
    1000.0
    """
    return _fall_bp(row, row.high_water_mark)


def losses_bp(row: EquityRow) -> tuple[float, float]:
    """Return the loss since midnight UTC and that of the last 24 hours, bp.

    Examples
    --------
    >>> losses_bp(EquityRow(0, unit_value=0.9, day_unit=0.95, marks=[UnitMark(0, 1.0, 0.0)]))
    (526.315789, 1000.0)
    """
    first = row.marks[0].unit_value if row.marks else row.day_unit
    return _fall_bp(row, row.day_unit), _fall_bp(row, first)


def _fall_bp(row: EquityRow, start: float) -> float:
    """Return how far the unit value is below `start`, bp of the capital or of the equity then."""
    whole = 1.0 if row.capital else start
    return quantise(max(0.0, (start - row.unit_value) / whole) * _FULL_BP) if whole else 0.0


class DrawdownMeter:
    """Updates the equity of every scope at each tick.

    Parameters
    ----------
    config : RiskConfig
        `move_bp` and `report_s` say when the drawdown is published.
    limits : LimitsConfig
        States the capital of books.
    """

    def __init__(self, config: RiskConfig, limits: LimitsConfig) -> None:
        self.config = config
        self.limits = limits

    def update(
        self, state: RiskState, tick: TickContext, booked: dict[str, PnlSums]
    ) -> Iterator[DrawdownMeasured | PnlMeasured]:
        """Move the unit values by what was earned, and store what is held now.

        Parameters
        ----------
        state : RiskState
            Its equities are changed.
        tick : TickContext
            The tick.
        booked : dict of str to PnlSums
            What fills and entries of ledgers earned since the tick before, by scope.
        """
        lots = None
        if state.meta.holdings or tick.due or state.faults or FIRM not in state.equities:
            lots = _lots(state)
        for scope in sorted(dict.fromkeys([*state.equities, *(lots or {})])):
            row = state.equities.get(scope)
            if row is None:
                row = state.equities[scope] = EquityRow(tick.us, lots=(lots or {})[scope])
                changed = True
            else:
                changed = _begin(row, tick.us)
                changed = self._move(state, row, booked.get(scope)) or changed
                if lots is not None:
                    held = lots.get(scope, {})
                    changed = changed or held != row.lots
                    row.lots = held
            at = parse(scope)
            row.capital = self.limits.capital_of(at.name) if at.kind == BOOK else 0.0
            changed = self._revalue(state, row, tick.us) or changed
            if row.day < 0:
                _begin(row, tick.us)
            if row.coverage >= MIN_COVERAGE:
                row.high_water_mark = max(row.high_water_mark, row.unit_value)
            if changed:
                row.us = tick.us
            yield from self._report(scope, row, tick.us)
            if changed or row.sent_us == tick.us:
                state.mark(f"equity/{scope}")

    def _move(self, state: RiskState, row: EquityRow, booked: PnlSums | None) -> bool:
        """Move the unit value by what was earned; return whether anything changed."""
        moved = 0.0
        for asset in sorted(row.lots):
            before, now = row.prices.get(asset), price_of(asset, state)
            if before is not None and now is not None and now != before:
                moved += saturated(row.lots[asset].delta * (now - before))
        earned = PnlSums(revaluation=saturated(moved))
        if booked is not None:
            earned.add(booked)
        gain = saturated(earned.total)
        if booked is None and gain == 0.0:
            return False
        row.pnl.add(earned)
        row.earned = saturated(row.earned + gain)
        if row.capital:
            unit = max(0.0, row.unit_value + gain / row.capital)
            row.unit_value = min(unit, MAX_UNIT_VALUE)
        elif row.linked:
            unit = row.unit_value * max(0.0, 1.0 + gain / row.equity)
            row.unit_value = min(unit, MAX_UNIT_VALUE)
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
        row.linked = bool(row.capital) or (equity > 0.0 and equity >= MIN_EQUITY_SHARE * gross)
        return before != (row.prices, row.equity, row.coverage, row.linked)

    def _report(
        self, scope: str, row: EquityRow, us: int
    ) -> Iterator[DrawdownMeasured | PnlMeasured]:
        """Publish drawdown and result if one of them moved, or if they are due."""
        fall, (day, rolling) = drawdown_bp(row), losses_bp(row)
        moved = abs(fall - row.sent_bp) >= self.config.move_bp
        moved = moved or abs(max(day, rolling) - row.sent_loss_bp) >= self.config.move_bp
        is_new = row.sent_us // DAY < row.day
        due = us - row.sent_us >= self.config.report_s * SECOND
        if row.sent_us and not (moved or due or is_new):
            return
        row.sent_us, row.sent_bp, row.sent_loss_bp = us, fall, max(day, rolling)
        yield DrawdownMeasured(
            **Origin.tick(us).stamp(DrawdownMeasured, scope),
            scope=scope,
            unit_value=quantise(row.unit_value, 9),
            high_water_mark=quantise(row.high_water_mark, 9),
            drawdown_bp=fall,
            equity_usd=usd(row.equity),
            coverage=row.coverage,
            unpriced=sum(1 for asset in row.lots if asset not in row.prices),
            linked=row.linked,
            loss_day_bp=day,
            loss_24h_bp=rolling,
        )
        yield _pnl(scope, row, us)


def _begin(row: EquityRow, us: int) -> bool:
    """Begin a day, and set a mark, before anything is earned; return whether one of them began."""
    day = us // DAY
    begins = day > row.day
    if begins:
        row.day, row.day_unit, row.day_equity = day, row.unit_value, row.equity
        row.pnl = PnlSums()
    marks = row.marks
    if marks and us - marks[-1].us < MARK_STEP:
        return begins
    if marks and us - row.us >= MARK_STEP and row.us > marks[-1].us:
        marks = [*marks, UnitMark(row.us, row.unit_value, row.earned)]  # it has stood since then
    marks = [*marks, UnitMark(us, row.unit_value, row.earned)]
    while len(marks) > 1 and marks[1].us <= us - DAY:
        del marks[0]
    row.marks = marks
    return True


def _pnl(scope: str, row: EquityRow, us: int) -> PnlMeasured:
    """Return the result of the day; its parts sum to the change of the equity to the cent."""
    parts = [usd(getattr(row.pnl, name)) for name in PnlSums.__struct_fields__]
    trading, fees, funding, interest, revaluation, other = parts
    total = sum(parts, Decimal("0.00"))
    equity, start = usd(row.equity), usd(row.day_equity)
    return PnlMeasured(
        **Origin.tick(us).stamp(PnlMeasured, scope),
        scope=scope,
        day=moment(row.day * DAY),
        equity_usd=equity,
        equity_start_usd=start,
        pnl_usd=total,
        trading_usd=trading,
        fees_usd=fees,
        funding_usd=funding,
        interest_usd=interest,
        revaluation_usd=revaluation,
        unexplained_usd=other,
        flow_usd=equity - start - total,
        pnl_24h_usd=usd(row.earned - (row.marks[0].earned if row.marks else 0.0)),
        coverage=row.coverage,
    )


def equity_features(state: RiskState) -> dict[str, Features]:
    """Return the features of firm and books; none of a firm whose gains nothing relates to it."""
    out: dict[str, Features] = {}
    for scope, row in state.equities.items():
        known = row.linked or row.unit_value < row.high_water_mark
        if known and kind_of_scope(scope) in (FIRM, BOOK):
            losses = dict(zip(LOSS_FEATURES, losses_bp(row), strict=True))
            drawdown = {DRAWDOWN_FEATURE: drawdown_bp(row), COVERAGE_FEATURE: row.coverage}
            out[scope] = drawdown | losses
    return out


def rebase(
    scope: str,
    row: EquityRow,
    request: ApprovalRequest,
    approved_by: str,
    origin: Origin,
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
        **origin.stamp(HighWaterMarkSet, scope),
        scope=scope,
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


Sums = dict[str, list[Decimal]]
"""By asset, the parts of a :class:`HeldQuantity`."""


def _lots(state: RiskState) -> dict[str, dict[str, HeldQuantity]]:
    """Return what each scope holds of each asset, assets sorted."""
    failed = {name: None for names in state.faults.values() for name in names}
    found: dict[str, Sums] = {}
    for name in sorted(state.parties):
        row = state.parties[name]
        stating: dict[str, None] = {}
        for h in row.holdings:
            if h.component == PNL_COMPONENT:
                stating[h.account] = None
            if not h.amount or h.component == OPEN_ORDER_COMPONENT:
                continue
            owed = h.component == BORROWED_COMPONENT
            amount = h.amount.copy_negate() if owed else h.amount
            unsure = name in failed or h.component == IN_TRANSIT_COMPONENT
            for scope in scopes_of_result(name, h.account, h.book):
                sums = found.setdefault(scope, {})
                _add(sums, h.asset, amount, amount, amount, unsure=unsure)
        for p in row.positions:
            legs = list(_legs(state, row, p, is_stated=p.account in stating)) if p.qty else []
            for scope in scopes_of_result(name, p.account, p.book):
                for asset, *amounts in legs:
                    _add(found.setdefault(scope, {}), asset, *amounts, unsure=name in failed)
    return {
        scope: {asset: HeldQuantity(*(float(x) for x in sums[asset])) for asset in sorted(sums)}
        for scope, sums in found.items()
    }


def _legs(
    state: RiskState, row: PartyRow, p: OpenPosition, *, is_stated: bool
) -> Iterator[tuple[str, Decimal, Decimal, Decimal]]:
    """Return asset, amount held, amount that moves with the price, and size, of a position.

    Its profit is that of the amount held, so what was paid at the entry is held as a debt. An
    account that states profits as a balance holds nothing more.
    """
    delta, entry = base_delta(state, row, p), p.entry_price
    settle = settlement_asset(p.form, p.base, p.quote, p.settle)
    if p.kind == OPTION or p.form == QUANTO or not entry or entry <= ZERO:
        yield p.base, ZERO, delta, delta
        worth = p.option_value if p.kind == OPTION else p.unrealized_pnl
        if worth is not None and not is_stated:
            signed = worth.copy_abs().copy_sign(p.qty) if p.kind == OPTION else worth
            yield settle, signed, ZERO, ZERO
        return
    base, quote = delta, EXACT.multiply(p.qty, entry)
    if p.form == INVERSE:
        base, quote = canonical(Decimal(f"{float(p.qty) / float(entry):.8f}")), p.qty
    held = ZERO if is_stated else base
    paid = quote.copy_negate()
    yield p.base, held, base, delta
    yield p.quote, ZERO if is_stated else paid, paid, ZERO


def _add(
    sums: Sums, asset: str, held: Decimal, delta: Decimal, size: Decimal, *, unsure: bool
) -> None:
    """Add one holding or position to the sums of its asset."""
    size = size.copy_abs()
    parts = (held, delta, size, size if unsure else ZERO)
    known = sums.get(asset)
    sums[asset] = (
        list(parts)
        if known is None
        else [EXACT.add(a, b) for a, b in zip(known, parts, strict=True)]
    )
