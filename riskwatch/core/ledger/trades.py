"""The effect of a settling or corrected trade, as a pure function of the facts known about it.

A plain fill is not tracked: its legs are deltas at its own time. A fill with `settles_at` is
tracked until it is delivered, fails or is busted. Corrections and settlements are tracked, too; all
may arrive before their fill. A correction restates the fill as it was applied. It has no effect
until that fill is known.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from riskwatch.core.clock import micros
from riskwatch.core.money import ZERO, canonical, mul, sub

if TYPE_CHECKING:
    from riskwatch.core.events import Fill, FillCorrection

Legs = list[tuple[str, Decimal]]


class TradeFacts(NamedTuple):
    """What two reports of one trade must agree about; `instrument` is empty for spot."""

    instrument: str
    base: str
    quote: str
    side: str
    qty: Decimal
    price: Decimal

    @property
    def market(self) -> str:
        """Instrument, or the pair of a spot trade."""
        return self.instrument or f"{self.base}/{self.quote}"

    def text(self) -> str:
        """Return the facts as ``key=value`` pairs."""
        qty, price = canonical(self.qty), canonical(self.price)
        return f"market={self.market} side={self.side} qty={qty} price={price}"


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


class Amendment(msgspec.Struct, array_like=True):
    """A change of the quantity or price of a trade: what it was, and what it is."""

    before: TradeFill
    after: TradeFill
    facts_before: TradeFacts
    facts_after: TradeFacts


class TradeRow(msgspec.Struct, array_like=True):
    """The facts known about one trade; each settlement status has its earliest (ts, seq).

    Attributes
    ----------
    fill : TradeFill or None
        A fill that settles later; the ledger does not keep others here.
    bust, bust_facts : TradeFill, TradeFacts
        The fill that a bust restates.
    pending : bool
        The bust waits for its fill.
    fee_waits : bool
        The bust returns a fee that no report has stated yet.
    facts : TradeFacts or None
        Facts in force; ``None`` while no report is known, and in rows of older builds.
    amendments : list of Amendment
        Those in force.
    amending : Amendment or None
        One that waits for its fill.
    others : list of TradeFacts
        Facts of reports from before or after an amendment, which are no conflict.
    mark : str
        Digest of the trade id, hexadecimal; empty without one.
    fill_ids : list of str
        Ids of its fills beyond that of the row.
    checked_us : int
        Time of the newest correction that was checked against the trade, microseconds.
    """

    fill: TradeFill | None = None
    bust: TradeFill | None = None
    delivered: tuple[int, int] | None = None
    failed: tuple[int, int] | None = None
    overdue: bool = False
    bust_facts: TradeFacts | None = None
    pending: bool = False
    fee_waits: bool = False
    facts: TradeFacts | None = None
    amendments: list[Amendment] = []
    amending: Amendment | None = None
    others: list[TradeFacts] = []
    mark: str = ""
    fill_ids: list[str] = []
    checked_us: int = 0

    def row(self) -> object:
        """Return the row's value."""
        return self

    @property
    def wallet(self) -> str:
        """Wallet that the trade changes; empty if it is not stated."""
        amended = [each.before for each in self.amendments]
        amended += [self.amending.before] if self.amending is not None else []
        parts = [self.fill, self.bust, *amended]
        return next((part.wallet for part in parts if part is not None), "")

    def last_us(self) -> int:
        """Return the event time of the newest fact, microseconds."""
        times = [part.us for part in (self.fill, self.bust) if part is not None]
        times += [part[0] for part in (self.delivered, self.failed) if part is not None]
        amended = [*self.amendments] + ([self.amending] if self.amending is not None else [])
        times += [each.after.us for each in amended]
        return max(times, default=self.checked_us)

    @property
    def waits(self) -> bool:
        """Whether a correction waits for the trade."""
        return self.pending or self.amending is not None


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


def facts_of(event: Fill | FillCorrection) -> TradeFacts:
    """Return the facts that a fill reports or a correction restates."""
    instrument = "" if event.kind == "spot" else instrument_of(event)
    return TradeFacts(instrument, event.base, event.quote, event.side, event.qty, event.price)


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
    bust = None if t.pending else t.bust
    if t.fill is not None:
        open_legs = _settle(coins, t, t.fill)
    elif bust is not None and bust.settles_us is None:
        _move(coins, bust.legs, bust.us, back=True)
    for each in t.amendments:
        _move(coins, each.before.legs, each.after.us, back=True)
        _move(coins, each.after.legs, each.after.us, back=False)
        if each.after.lots != each.before.lots:
            change = sub(each.after.lots, each.before.lots)
            lots.append((each.after.instrument, each.after.us, change))
    if bust is not None:
        if not t.fee_waits:
            _charge(coins, bust, bust.us, back=True)
        if bust.lots:
            lots.append((bust.instrument, bust.us, bust.lots.copy_negate()))
    return TradeEffect(coins=coins, lots=lots, open_legs=open_legs)


def _settle(coins: list[tuple[str, int, Decimal]], t: TradeRow, fill: TradeFill) -> Legs:
    """Add the effect of a fill that settles later to `coins`; return the legs that wait."""
    bust = None if t.pending else t.bust
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
        return fill.legs
    return []


def _undone_us(t: TradeRow, delivered: tuple[int, int]) -> int | None:
    """Return when a delivery was reversed, by a later failure or by a bust; else ``None``."""
    times = []
    if t.failed is not None and t.failed >= delivered:
        times.append(t.failed[0])
    if t.bust is not None and not t.pending:
        times.append(max(t.bust.us, delivered[0]))
    return min(times) if times else None


def _move(coins: list[tuple[str, int, Decimal]], legs: Legs, us: int, *, back: bool) -> None:
    for asset, amount in legs:
        coins.append((asset, us, amount.copy_negate() if back else amount))


def _charge(coins: list[tuple[str, int, Decimal]], fill: TradeFill, us: int, *, back: bool) -> None:
    if fill.fee:
        coins.append((fill.fee_asset, us, fill.fee if back else fill.fee.copy_negate()))


def resolve_corrections(t: TradeRow) -> str:
    """Put the waiting corrections of a trade in force that fit its facts, and drop the others.

    Parameters
    ----------
    t : TradeRow
        A trade whose facts are known; it is changed.

    Returns
    -------
    str
        The facts that a dropped correction restates; empty if none was dropped.
    """
    dropped = ""
    amending = t.amending
    if amending is not None:
        t.amending, t.checked_us = None, max(t.checked_us, amending.after.us)
        if amending.facts_before == t.facts:
            t.amendments = [*t.amendments, amending]
            t.others = [*t.others, amending.facts_before]
            t.facts = amending.facts_after
        elif amending.facts_after == t.facts:  # the first report had the change already
            t.others = [*t.others, amending.facts_before]
        else:
            dropped = amending.facts_before.text()
    if t.pending and t.bust is not None and t.bust_facts is not None:
        t.pending, t.checked_us = False, max(t.checked_us, t.bust.us)
        if t.bust_facts != t.facts:
            dropped = t.bust_facts.text()
            t.bust = t.bust_facts = None
    return dropped


def join_trades(t: TradeRow, other: TradeRow) -> TradeRow:
    """Return a trade with what was heard about it under another id, before that was known."""
    first = [each for each in (t.delivered, other.delivered) if each is not None]
    failed = [each for each in (t.failed, other.failed) if each is not None]
    joined = msgspec.structs.replace(t)
    joined.delivered = min(first, default=None)
    joined.failed = min(failed, default=None)
    return joined
