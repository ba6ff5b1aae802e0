"""The market-making book of the sample firm: fills, resting orders, a perpetual, balances."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import HOUR, SECOND, moment
from riskwatch.core.events import Balance, Fill, OpenOrder, Position, Side
from riskwatch.core.money import ZERO, add, mul, sub
from riskwatch.scenarios.accounts import MARKET_MAKING
from riskwatch.scenarios.market import decimal
from riskwatch.scenarios.simulation import digits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.events import Event
    from riskwatch.scenarios.accounts import Key
    from riskwatch.scenarios.simulation import FirmSimulation


PAIRS: Final = (
    ("BTC", "USD"),
    ("BTC", "USDC"),
    ("BTC", "USDT"),
    ("USDC", "USD"),
    ("USDT", "USD"),
    ("USDC", "USDT"),
)
_FILL_GAP_S: Final = 20.0
_MARGIN: Final = Decimal(400_000)
_PERP: Final = "BTC-USD-PERP"
_PERP_QTY: Final = Decimal(-15)
_RESTING: Final[tuple[tuple[int, str, Side, float, Decimal], ...]] = (
    (0, "BTC", "buy", 0.99, Decimal("1.5")),
    (0, "BTC", "sell", 1.01, Decimal("1.5")),
    (-1, "BTC", "buy", 0.985, Decimal("0.8")),
    (0, "USDC", "buy", 0.998, Decimal(50_000)),
)
"""Index of the venue, base (against USD), side, price as a share of the mid, quantity."""


class MarketMaker:
    """Trades a few times a minute, drifts back to its opening holdings, and reports hourly."""

    def __init__(self, firm: FirmSimulation) -> None:
        self._firm = firm
        held = {"USD", *firm.hold}
        self._pairs = [pair for pair in PAIRS if held.issuperset(pair)]
        self._resting: list[OpenOrder] = []
        self._entry: Decimal | None = None

    def hour(self, us: int) -> Iterator[Event]:
        """Replace the resting orders, report every balance and the position; every hour."""
        self._firm.at(us + HOUR, self.hour)
        yield from self._cancel(us)
        yield from self._place(us)
        for venue in self._firm.venues:
            yield from self._firm.accounts.snapshots(venue, us, self._firm.numbers[venue])
        if "BTC" in self._firm.hold:
            yield from self._mark(us)

    def _cancel(self, us: int) -> Iterator[Event]:
        for old in self._resting:
            self._firm.accounts.unlock(old.order_id)
            yield self._order(us, old.counterparty, old, ZERO)
        self._resting = []

    def _place(self, us: int) -> Iterator[Event]:
        for index, base, side, share, qty in _RESTING:
            venue = self._firm.venues[index]
            mid = self._firm.price(venue, base, "USD", us) if base in self._firm.hold else None
            if mid is None:
                continue
            price = decimal(mid * share, digits(base)[0])
            order = self._order(us, venue, (base, side, price), qty)
            asset, needed = (base, qty) if side == "sell" else ("USD", mul(qty, price))
            key = (venue, MARKET_MAKING, asset)
            if self._firm.accounts.lock(order.order_id, key, needed):
                self._resting.append(order)
                yield order

    def _order(
        self, us: int, venue: str, what: OpenOrder | tuple[str, Side, Decimal], qty: Decimal
    ) -> OpenOrder:
        """Return the event of a new order (base, side, price), or of an old one with `qty` left."""
        n = next(self._firm.numbers[venue])
        if isinstance(what, OpenOrder):
            order_id, base, side, price = what.order_id, what.base, what.side, what.price
        else:
            order_id, (base, side, price) = f"{venue}-order-{n}", what
        return OpenOrder(
            v=1,
            event_id=f"order-{n}",
            ts=moment(us),
            source=f"{venue}-account",
            source_seq=n,
            order_id=order_id,
            counterparty=venue,
            account=MARKET_MAKING,
            book=MARKET_MAKING,
            base=base,
            quote="USD",
            side=side,
            qty=qty,
            price=price,
        )

    def _mark(self, us: int) -> Iterator[Event]:
        """Report the perpetual and its margin; its entry price is the first mark."""
        venue = self._firm.venues[0]
        price = self._firm.price(venue, "BTC", "USD", us)
        if price is None:
            return
        mark = decimal(price, 2)
        entry = self._entry = self._entry or mark
        n, m = next(self._firm.numbers[venue]), next(self._firm.numbers[venue])
        yield Position(
            v=1,
            event_id=f"position-{n}",
            ts=moment(us),
            source=f"{venue}-account",
            source_seq=n,
            counterparty=venue,
            account="futures",
            book=MARKET_MAKING,
            base="BTC",
            quote="USD",
            qty=_PERP_QTY,
            instrument=_PERP,
            entry_price=entry,
            mark_price=mark,
            liquidation_price=mul(entry, Decimal("1.9")),
        )
        yield Balance(
            v=1,
            event_id=f"balance-{m}",
            ts=moment(us),
            source=f"{venue}-account",
            source_seq=m,
            counterparty=venue,
            account="futures",
            book=MARKET_MAKING,
            asset="USD",
            free=_MARGIN,
            unrealized_pnl=mul(_PERP_QTY, sub(mark, entry)),
            kind="margin",
        )

    def fill(self, us: int) -> Iterator[Event]:
        """Trade once, if the accounts allow it, and schedule the next trade."""
        rng = self._firm.rng
        gap = min(rng.expovariate(1.0 / _FILL_GAP_S), 10.0 * _FILL_GAP_S)
        self._firm.at(us + int(gap * 1000 + 1) * (SECOND // 1000), self.fill)
        if not self._pairs:
            return
        venue, (base, quote) = rng.choice(self._firm.venues), rng.choice(self._pairs)
        size, slip, rest = rng.random(), rng.gauss(0.4, 1.2), rng.random()
        mid = self._firm.price(venue, base, quote, us)
        if mid is None:
            return
        price_digits, lots = digits(base)
        qty = decimal(0.02 + 0.4 * size if base == "BTC" else 500.0 + 9_000.0 * size, lots)
        key = (venue, MARKET_MAKING, base)
        side = self._side(key)
        price = decimal(mid * (1.0 + slip * (1e-4 if side == "buy" else -1e-4)), price_digits)
        cost = mul(qty, price)
        maker = rest < 0.6
        fee = decimal(float(cost) * (1e-4 if maker else 3e-4), 6)
        signed = (qty, sub(-cost, fee)) if side == "buy" else (-qty, sub(cost, fee))
        if not self._move(key, quote, signed):
            return
        n = next(self._firm.numbers[venue])
        yield Fill(
            v=1,
            event_id=f"fill-{n}",
            ts=moment(us),
            source=f"{venue}-account",
            source_seq=n,
            counterparty=venue,
            account=MARKET_MAKING,
            book=MARKET_MAKING,
            base=base,
            quote=quote,
            side=side,
            qty=qty,
            price=price,
            fee=fee,
            fee_asset=quote,
            reference_price=decimal(mid, price_digits + 2),
            order_id=f"{venue}-order-{n}",
            liquidity="maker" if maker else "taker",
        )

    def _side(self, key: Key) -> Side:
        """Trade back towards the opening amount after a drift of 5 %, otherwise either way."""
        either: Side = "buy" if self._firm.rng.random() < 0.5 else "sell"
        opening = self._firm.accounts.opening[key]
        drift = sub(self._firm.accounts.total[key], opening)
        if mul(abs(drift), Decimal(20)) < opening:
            return either
        return "sell" if drift > 0 else "buy"

    def _move(self, key: Key, quote: str, signed: tuple[Decimal, Decimal]) -> bool:
        """Add `signed` to base and quote; return false if either is too small."""
        money = (key[0], key[1], quote)
        accounts = self._firm.accounts
        if add(accounts.free(key), signed[0]) < 0 or add(accounts.free(money), signed[1]) < 0:
            return False
        accounts.move(key, signed[0])
        accounts.move(money, signed[1])
        return True
