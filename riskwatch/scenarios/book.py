"""Account events of a sample firm: fills, transfers, orders, a position, hourly snapshots.

The firm has two books. *market-making* (:mod:`.trading`) trades a few times a minute and always
drifts back to its opening holdings. *treasury* (:mod:`.transfers`) moves coins between venues. A
withdrawal stays locked at the venue until it is sent. A deposit counts once it is confirmed. Every
snapshot equals the opening balance plus all earlier fills and transfers, to the last digit
(:mod:`.accounts`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import HOUR, MICRO, micros
from riskwatch.scenarios.accounts import Accounts
from riskwatch.scenarios.market import generator
from riskwatch.scenarios.path import PricePath
from riskwatch.scenarios.simulation import FirmSimulation, PriceOf
from riskwatch.scenarios.trading import MarketMaker
from riskwatch.scenarios.transfers import Treasury

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from riskwatch.core.events import Event

VENUES: Final = ("kraken", "coinbase", "binanceus")
HOLD: Final = ("USDC", "USDT", "BTC")


def book_events(
    start: datetime,
    end: datetime,
    seed: int = 1,
    *,
    hold: Sequence[str] = HOLD,
    venues: Sequence[str] = VENUES,
    price: PriceOf | None = None,
) -> Iterator[Event]:
    """Return the account events of the sample firm from `start` to `end`, in order of time.

    Parameters
    ----------
    start, end : datetime
        The window, with a time zone.
    seed : int
        The same arguments give the same events.
    hold : sequence of str
        Coins held beside USD, some of BTC, USDC and USDT.
    venues : sequence of str
        The venues; the first also carries a perpetual position (if BTC is held).
    price : callable, optional
        Prices of fills and orders. The default is a seeded coarse path (BTC from 20,000 USD, coins
        at their peg).

    Raises
    ------
    RiskwatchError
        If the sample firm does not trade an asset of `hold`, or there is no venue.

    Examples
    --------
    >>> from datetime import UTC, datetime, timedelta
    >>> start = datetime(2023, 3, 1, tzinfo=UTC)
    >>> events = list(book_events(start, start + timedelta(hours=2)))
    >>> type(events[-1]).__name__, all(a.ts <= b.ts for a, b in zip(events, events[1:]))
    ('Balance', True)
    """
    firm = FirmSimulation(
        Accounts.open(hold, venues),
        hold=tuple(hold),
        venues=tuple(venues),
        price=price or random_walk_prices(start, end, seed),
        seed=seed,
    )
    begin = micros(start)
    trading = MarketMaker(firm)
    firm.at(begin, trading.hour)
    firm.at(begin + firm.span(5.0, 30.0), trading.fill)
    if firm.hold and len(firm.venues) > 1:
        firm.at(begin + firm.span(600.0, 2_400.0), Treasury(firm).withdraw)
    return firm.run(micros(end))


def random_walk_prices(start: datetime, end: datetime, seed: int) -> PriceOf:
    """Return default prices: BTC walks half a per cent an hour, coins are worth a dollar.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> begin, end = datetime(2023, 3, 1, tzinfo=UTC), datetime(2023, 3, 2, tzinfo=UTC)
    >>> price = random_walk_prices(begin, end, 1)
    >>> round(price("kraken", "BTC", "USDC", 0))
    20000
    """
    rng = generator("coarse", seed)
    points, level = [], 20_000.0
    for i in range((end - start) // (HOUR * MICRO) + 2):
        points.append((start + i * HOUR * MICRO, level))
        level *= 1.0 + max(-0.02, min(0.02, rng.gauss(0.0, 0.005)))
    bitcoin = PricePath(points)

    def value(asset: str, us: int) -> float:
        return bitcoin.at(us) if asset == "BTC" else 1.0

    def price(venue: str, base: str, quote: str, us: int) -> float | None:
        del venue  # the coarse path is the same everywhere
        return value(base, us) / value(quote, us)

    return price
