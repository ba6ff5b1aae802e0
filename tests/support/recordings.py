"""Public recordings, where they are present: imported as a user would, and run in memory."""

from __future__ import annotations

from datetime import UTC, datetime
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

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from riskwatch.config.config import Config

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
    return list(merge(book_events(begin, end, hold=hold), quotes, key=lambda event: event.ts))


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
