"""Public recordings, where they are present: imported as a user would, and run in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from heapq import merge
from typing import TYPE_CHECKING

import msgspec
import pytest

from riskwatch.core.clock import micros
from riskwatch.core.enums import State
from riskwatch.core.events import Event, Quote, Tick
from riskwatch.core.outputs import DecisionMade, Output
from riskwatch.engine import bootstrap
from riskwatch.engine.clock import TickGrid
from riskwatch.engine.pipeline import Effects
from riskwatch.feeds.importer import plan, read_quotes
from riskwatch.feeds.record import Tally
from riskwatch.scenarios.book import book_events
from riskwatch.scenarios.path import PricePath

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from riskwatch.config.config import Config
    from riskwatch.scenarios.simulation import PriceOf

HOLD = ("USDC", "USDT", "BTC")


def at(text: str) -> datetime:
    """Time of the form ``2023-03-11 03:45``, UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@cache
def _quotes(
    recordings: Path, folder: str, pattern: str, since: datetime, until: datetime
) -> tuple[Quote, ...]:
    files = sorted((recordings / folder).glob(pattern))
    if not files:
        pytest.skip(f"no recording {folder}/{pattern} here, RISKWATCH_RECORDINGS names another")
    streams = [
        read_quotes(
            plan(
                file,
                venue=None if folder == "usdc_svb_2023" else "binance",
                since_us=micros(since),
                until_us=micros(until),
            ),
            Tally(),
        )
        for file in files
    ]
    return tuple(merge(*streams, key=lambda event: event.ts))


def recording(
    recordings: Path,
    folder: str,
    pattern: str,
    since: str,
    until: str,
    *,
    hold: Sequence[str] = HOLD,
) -> list[Event]:
    """Quotes of a recording with the account events of the sample firm, in order of time."""
    begin, end = at(since), at(until)
    quotes = _quotes(recordings, folder, pattern, begin, end)
    book = book_events(begin, end, hold=hold, price=_recorded_prices(quotes))
    return list(merge(book, quotes, key=lambda event: event.ts))


def _recorded_prices(quotes: Sequence[Quote]) -> PriceOf | None:
    """Return prices of the sample firm's fills: BTC as recorded by the hour, coins at a dollar.

    The firm's own fills value what no feed prices, so they must agree with the recorded market.
    """
    points: list[tuple[datetime, float]] = []
    for quote in quotes:
        price = quote.last or quote.bid or quote.ask
        is_new = not points or quote.ts - points[-1][0] >= timedelta(hours=1)
        if quote.base == "BTC" and price is not None and is_new:
            points.append((quote.ts, float(price)))
    if not points:
        return None
    bitcoin = PricePath(points)

    def value(asset: str, us: int) -> float:
        return bitcoin.at(us) if asset == "BTC" else 1.0

    def price_of(venue: str, base: str, quote: str, us: int) -> float | None:
        del venue  # the path is the same everywhere
        return value(base, us) / value(quote, us)

    return price_of


def outputs(events: Iterable[Event], config: Config | None = None) -> Iterator[Output]:
    """Everything that the whole pipeline puts out, ticked as a replay is."""
    pipeline = bootstrap.pipeline(config or bootstrap.configuration())
    grid, effects = TickGrid(), Effects()

    def emptied() -> Iterator[Output]:
        yield from effects.outputs  # type: ignore[misc] # no reading leaves this pipeline
        effects.outputs.clear()

    for event in events:
        for us in grid.before(micros(event.ts)):
            pipeline.apply(Tick(us), effects)
            yield from emptied()
        pipeline.apply(event, effects)
        yield from emptied()
    for us in grid.closing():
        pipeline.apply(Tick(us), effects)
        yield from emptied()


def decisions(made: Iterable[Output]) -> list[DecisionMade]:
    """The decisions among outputs."""
    return [output for output in made if isinstance(output, DecisionMade)]


def reached(made: Sequence[DecisionMade], scope: str, state: State) -> datetime | None:
    """When a scope first came to a state at least as strict."""
    return next((d.ts for d in made if d.scope == scope and d.state.rank >= state.rank), None)


def strictest(made: Sequence[DecisionMade], kind: str = "") -> State:
    """Strictest state that any scope of a kind came to."""
    found = [d.state for d in made if d.scope.startswith(kind)]
    return max(found, key=lambda state: state.rank, default=State.NORMAL)


def scaled(config: Config, factor: float) -> Config:
    """Every threshold that is about prices multiplied by `factor`."""
    rules = [
        msgspec.structs.replace(
            rule,
            any=tuple(
                msgspec.structs.replace(c, at=c.at * factor) if c.unit == "bp" else c
                for c in rule.any
            ),
        )
        for rule in config.rules.rules
    ]
    pack = msgspec.structs.replace(config.rules, rules=tuple(rules))
    return msgspec.structs.replace(config, rules=pack)
