"""The effect of a settling or busted trade, as a pure function of the facts known about it.

A plain spot fill is not tracked: its legs are deltas at its own time. A fill with `settles_at` is
tracked until it is delivered, fails or is busted. Busts and settlements are tracked, too; both may
arrive before their fill. A bust reverses the fill that it restates, so it must restate `settles_at`
if and only if the fill had it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from riskwatch.core.clock import micros
from riskwatch.core.money import ZERO, mul

if TYPE_CHECKING:
    from riskwatch.core.events import Fill, FillCorrection

Legs = list[tuple[str, Decimal]]


class TradeFill(msgspec.Struct, array_like=True):
    """A fill, or the fill that a bust restates; times in microseconds, amounts signed.

    Attributes
    ----------
    legs : list of (asset, amount)
        Amounts that a spot trade moves; empty for a derivative.
    instrument, lots : str, Decimal
        Position change of a derivative trade.
    fee_asset, fee : str, Decimal
        Fee, charged to custody at the time of the trade, whenever the legs settle.
    settles_us : int or None
        Settlement time of a spot trade, if it is stated.
    """

    us: int
    legs: Legs
    instrument: str
    base: str
    quote: str
    lots: Decimal
    fee_asset: str
    fee: Decimal
    settles_us: int | None
    wallet: str = ""


class TradeRow(msgspec.Struct, array_like=True):
    """The facts known about one trade; each settlement status has its earliest (ts, seq)."""

    fill: TradeFill | None = None
    bust: TradeFill | None = None
    delivered: tuple[int, int] | None = None
    failed: tuple[int, int] | None = None
    overdue: bool = False

    def row(self) -> object:
        """Return the row's value."""
        return self

    @property
    def wallet(self) -> str:
        """Wallet that the trade changes; empty if it is not stated."""
        part = self.fill or self.bust
        return "" if part is None else part.wallet

    def last_us(self) -> int:
        """Return the event time of the newest fact, microseconds."""
        times = [part.us for part in (self.fill, self.bust) if part is not None]
        times += [part[0] for part in (self.delivered, self.failed) if part is not None]
        return max(times)


class TradeEffect(msgspec.Struct, frozen=True):
    """The effect of a trade.

    Attributes
    ----------
    coins, lots : list of (asset or instrument, int, Decimal)
        Changes of custody and of positions at event times, microseconds.
    open_legs : list of (asset, amount)
        Legs that wait for settlement.
    """

    coins: list[tuple[str, int, Decimal]] = msgspec.field(default_factory=list)
    lots: list[tuple[str, int, Decimal]] = msgspec.field(default_factory=list)
    open_legs: Legs = msgspec.field(default_factory=list)


def instrument_of(event: Fill | FillCorrection) -> str:
    """Return the instrument of a derivative fill, or its pair if it names no instrument."""
    return event.instrument or f"{event.base}/{event.quote}"


def trade_fill(event: Fill | FillCorrection) -> TradeFill:
    """Return a fill, or the fill that a bust restates, as signed amounts; fees default to quote."""
    sign = 1 if event.side == "buy" else -1
    spot = event.kind == "spot"
    cost = mul(event.qty, event.price)
    settles = event.settles_at if spot else None
    return TradeFill(
        us=micros(event.ts),
        legs=[
            (event.base, event.qty if sign > 0 else event.qty.copy_negate()),
            (event.quote, cost.copy_negate() if sign > 0 else cost),
        ]
        if spot
        else [],
        instrument="" if spot else instrument_of(event),
        base=event.base,
        quote=event.quote,
        lots=ZERO if spot else (event.qty if sign > 0 else event.qty.copy_negate()),
        fee_asset=event.fee_asset or event.quote,
        fee=event.fee or ZERO,
        settles_us=None if settles is None else micros(settles),
        wallet=event.wallet or "",
    )


def trade_effect(t: TradeRow) -> TradeEffect:
    """Return the effect of a trade."""
    coins: list[tuple[str, int, Decimal]] = []
    lots: list[tuple[str, int, Decimal]] = []
    open_legs: Legs = []
    fill, bust = t.fill, t.bust
    if fill is not None:
        _charge(coins, fill, fill.us, back=False)
        if fill.settles_us is None or fill.settles_us <= fill.us:
            _move(coins, fill.legs, fill.us, back=False)
            if bust is not None:
                _move(coins, fill.legs, bust.us, back=True)
        elif t.delivered is not None:
            _move(coins, fill.legs, t.delivered[0], back=False)
            undone = _undone_us(t, t.delivered)
            if undone is not None:
                _move(coins, fill.legs, undone, back=True)
        elif t.failed is None and bust is None:
            open_legs = fill.legs
    elif bust is not None and bust.settles_us is None:
        _move(coins, bust.legs, bust.us, back=True)
    if bust is not None:
        _charge(coins, bust, bust.us, back=True)
        if bust.lots:
            lots.append((bust.instrument, bust.us, bust.lots.copy_negate()))
    return TradeEffect(coins=coins, lots=lots, open_legs=open_legs)


def _undone_us(t: TradeRow, delivered: tuple[int, int]) -> int | None:
    """Return when a delivery was reversed, by a later failure or by a bust; else ``None``."""
    times = []
    if t.failed is not None and t.failed >= delivered:
        times.append(t.failed[0])
    if t.bust is not None:
        times.append(max(t.bust.us, delivered[0]))
    return min(times) if times else None


def _move(coins: list[tuple[str, int, Decimal]], legs: Legs, us: int, *, back: bool) -> None:
    for asset, amount in legs:
        coins.append((asset, us, amount.copy_negate() if back else amount))


def _charge(coins: list[tuple[str, int, Decimal]], fill: TradeFill, us: int, *, back: bool) -> None:
    if fill.fee:
        coins.append((fill.fee_asset, us, fill.fee if back else fill.fee.copy_negate()))
