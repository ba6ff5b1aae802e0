"""Short ways to drive the market stage: quotes at minutes after a start, then ticks."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from riskwatch.core.clock import MINUTE, micros
from riskwatch.core.events import Peg, Quote, Tick
from riskwatch.core.market.config import MarketConfig
from riskwatch.core.market.stage import MarketStage
from riskwatch.core.market.state import MarketState
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved
from riskwatch.core.readings import AssetReading, MarketReading, VenueReading
from tests.support.risk import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from riskwatch.core.enums import QualityIssue
    from riskwatch.core.market.stage import MarketOutput

START = datetime(2023, 3, 11, tzinfo=UTC)
BTC = 20_000.0
CALM: Mapping[str, float] = {
    "kraken:USDC/USD": 1.0, "kraken:USDT/USD": 1.0, "kraken:BTC/USD": BTC,
    "kraken:BTC/USDC": BTC, "coinbase:BTC/USD": BTC, "coinbase:USDT/USD": 1.0,
    "coinbase:USDC/USD": 1.0, "bitstamp:USDC/USD": 1.0, "bitstamp:BTC/USD": BTC,
}  # fmt: skip
"""Nine feeds of three venues at par."""


def at(minutes: float) -> int:
    """Event time, microseconds."""
    return micros(START) + round(minutes * MINUTE)


def quote(feed: str, minutes: float, price: float, volume: float = 10.0) -> Quote:
    """Quote of ``venue:BASE/QUOTE``."""
    venue, _, pair = feed.partition(":")
    base, quoted = pair.split("/")
    return Quote(
        v=1, event_id=f"{feed}@{minutes}", ts=START + timedelta(minutes=minutes), source=venue,
        venue=venue, base=base, quote=quoted, last=Decimal(f"{price:.10f}"),
        volume=Decimal(str(volume)),
    )  # fmt: skip


@dataclass
class Floor:
    """The market stage with its state, and all that it put out."""

    config: MarketConfig = field(default_factory=MarketConfig)
    state: MarketState = field(default_factory=MarketState)
    out: list[MarketOutput] = field(default_factory=list)
    reading: MarketReading | None = None

    def __post_init__(self) -> None:
        self.stage = MarketStage(self.config, REFERENCE)

    def tell(self, *events: Quote | Peg | Tick) -> list[MarketOutput]:
        """Hand events over."""
        made = [output for event in events for output in self.stage.step(self.state, event)]
        self.out += made
        for output in made:
            if isinstance(output, MarketReading):
                self.reading = output
        return made

    def minutes(
        self,
        first: int,
        last: int,
        prices: Mapping[str, float] = CALM,
        *,
        moved: Callable[[str, int], float | None] = lambda feed, minute: 1.0,  # noqa: ARG005
        volume: Callable[[str], float] = lambda feed: 10.0,  # noqa: ARG005
    ) -> list[MarketOutput]:
        """Quote every feed each minute, times `moved` (``None``: not at all), and tick.

        Prices wobble by a basis point so that feeds have a noise of their own.
        """
        made: list[MarketOutput] = []
        for minute in range(first, last + 1):
            for i, (feed, price) in enumerate(sorted(prices.items())):
                factor = moved(feed, minute)
                if factor is None:
                    continue
                wobble = 1.0 + 1e-4 * ((minute * 7 + i * 3) % 5 - 2) / 2.0
                said = quote(feed, minute, price * factor * wobble, volume(feed))
                made += self.tell(said)
            made += self.tell(Tick(at(minute)))
        return made

    def asset(self, name: str) -> AssetReading:
        """Where an asset stands by the last reading."""
        assert self.reading is not None
        return next(a for a in self.reading.assets if a.asset == name)

    def venue(self, name: str) -> VenueReading:
        """Where a venue stands by the last reading."""
        assert self.reading is not None
        return next(v for v in self.reading.venues if v.venue == name)

    def issues(self, issue: QualityIssue) -> list[str]:
        """Feeds of which an issue was raised, in order."""
        return [
            o.subject for o in self.out if isinstance(o, DataQualityRaised) and o.issue is issue
        ]

    def resolved(self, issue: QualityIssue) -> list[str]:
        """Feeds of which an issue was resolved."""
        return [
            o.subject for o in self.out if isinstance(o, DataQualityResolved) and o.issue is issue
        ]


def usdc(bp: float, *but: str) -> Callable[[str, int], float]:
    """Move USDC by `bp` on every feed that trades it, but some."""

    def factor(feed: str, minute: int) -> float:
        del minute
        if feed in but or "USDC" not in feed:
            return 1.0
        moved = 1.0 + bp * 1e-4
        return 1.0 / moved if feed.endswith("/USDC") else moved

    return factor


def one(feed: str, factor: float | None) -> Callable[[str, int], float | None]:
    """Move one feed, or silence it."""
    return lambda name, minute: factor if name == feed else 1.0  # noqa: ARG005
