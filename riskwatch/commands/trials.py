"""Runs a case of the scoreboard under every contender."""

from __future__ import annotations

from heapq import merge
from typing import TYPE_CHECKING, Any

import msgspec

from riskwatch import scenarios
from riskwatch.bench.case import Case
from riskwatch.bench.static import PLAIN, Seen, alarms
from riskwatch.bench.timeline import Change
from riskwatch.bench.trial import ALONE, LADDER, RULES, Score, Trial, alone, generations
from riskwatch.core.clock import SECOND, micros
from riskwatch.core.events import Quote
from riskwatch.core.outputs import DataQualityRaised, DecisionMade, ScoreUpdated
from riskwatch.core.readings import CounterpartyReading, MarketReading
from riskwatch.core.reasons import Cause, QualityIssue, State
from riskwatch.core.scopes import BOOK, FIRM, parse
from riskwatch.errors import FeedError
from riskwatch.feeds.importer import plan, read_quotes
from riskwatch.feeds.record import Tally
from riskwatch.shell.rehearsal import decided, overheard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from riskwatch.bench.recordings import Recording
    from riskwatch.core.events import Event
    from riskwatch.core.reference import Reference
    from riskwatch.scenarios.episode import Episode
    from riskwatch.shell.config import Config

FEEDS = (QualityIssue.FEED_STALE, QualityIssue.FEED_OUTLIER, QualityIssue.FEED_SPIKE)
SILENT = (Cause.LIMIT, Cause.OPERATOR)
"""Causes that say nothing of whom the scope names."""


def rules_alone(config: Config) -> Config:
    """Return the same policy without models, so that static rules alone decide."""
    policy = config.policy
    models = msgspec.structs.replace(policy.models, targets=(), generations=())
    risk = msgspec.structs.replace(policy.risk, asks=())
    return msgspec.structs.replace(
        config, policy=msgspec.structs.replace(policy, models=models, risk=risk)
    )


def episode_trial(config: Config, episode: Episode, seed: int) -> Trial:
    """Run an episode of the pack with one seed."""
    events = scenarios.events(episode, seed)
    return _trial(config, Case.of(episode), seed, events, episode.tick_s * SECOND)


def recording_trial(config: Config, recording: Recording, folder: Path) -> Trial:
    """Run a recorded window.

    Raises
    ------
    FeedError
        If a pattern finds no file, or a file cannot be read.
    """
    streams = []
    for pattern in recording.files:
        found = sorted(folder.glob(pattern))
        if not found:
            raise FeedError(f"{recording.name}: {folder} has no {pattern}")
        for file in found:
            made = plan(
                file,
                venue=recording.venue,
                base=recording.base,
                quote=recording.quote,
                since_us=micros(recording.start),
                until_us=micros(recording.end),
            )
            streams.append(read_quotes(made, Tally()))
    events = merge(*streams, key=lambda event: event.ts)
    tick_us = recording.tick_s * SECOND
    return _trial(config, recording.case(), 0, events, tick_us, as_quoted=recording.as_quoted)


def _trial(
    config: Config,
    case: Case,
    seed: int,
    events: Iterable[Event],
    tick_us: int,
    *,
    as_quoted: bool = False,
) -> Trial:
    prices = Prices(config.reference)
    heard, said = overheard(config, prices.noted(events), tick_us)
    seen, parties = _seen(heard, config.reference, as_quoted=as_quoted)
    rules, _ = _run(rules_alone(config), heard)
    ladder, scores = _run(config, heard)
    changes = {RULES: rules, LADDER: ladder, PLAIN.name: alarms(PLAIN, seen, State.WATCH)}
    changes |= {ALONE + name: alone(scores, name) for name in generations(scores)}
    return Trial(
        case=case,
        seed=seed,
        seen=seen,
        feeds=[o.subject for o in said if isinstance(o, DataQualityRaised) and o.issue in FEEDS],
        parties=parties,
        changes=changes,
        scores=scores,
        prices=prices.by_feed,
    )


class Prices:
    """Notes the prices of one direct feed per pegged coin as events go by: for the eye alone."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._feed: dict[str, str] = {}
        self.by_feed: dict[str, list[tuple[int, float]]] = {}

    def noted(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield events as they are, and note what they say; the first feed of a coin is kept."""
        for event in events:
            if isinstance(event, Quote) and event.last is not None:
                self._note(event, float(event.last))
            yield event

    def _note(self, quote: Quote, last: float) -> None:
        peg = self._reference.asset(quote.base).peg
        if peg is None or peg not in (quote.quote, self._reference.asset(quote.quote).peg):
            return
        feed = f"{quote.venue}:{quote.base}/{quote.quote}"
        if self._feed.setdefault(quote.base, feed) == feed:
            points = self.by_feed.setdefault(feed, [])
            points.append((micros(quote.ts), (last - 1.0) * 1e4))


def _seen(
    heard: list[Any], reference: Reference, *, as_quoted: bool
) -> tuple[dict[str, list[Seen]], int]:
    """Deviations of the pegged coins, and how many counterparties were watched."""
    seen: dict[str, list[Seen]] = {}
    parties: dict[str, None] = {}
    for reading in heard:
        if isinstance(reading, CounterpartyReading):
            parties[reading.counterparty] = None
        elif isinstance(reading, MarketReading):
            parties |= {venue.venue: None for venue in reading.venues}
            for asset in reading.assets:
                if reference.asset(asset.asset).peg is not None:
                    trusted = asset.live > 0 and (asset.fiat_path or as_quoted)
                    series = seen.setdefault(asset.asset, [])
                    series.append(Seen(reading.us, asset.deviation_bp, trusted))
    return seen, len(parties)


def _run(config: Config, heard: list[Any]) -> tuple[list[Change], list[Score]]:
    """Let one configuration decide; returns its changes and its scores."""
    changes: list[Change] = []
    scores: list[Score] = []
    for made in decided(config, heard):
        if isinstance(made, ScoreUpdated):
            us = micros(made.ts)
            scores.append(Score(us, made.scope, made.target, made.generation, made.probability))
        elif isinstance(made, DecisionMade) and _counts(made):
            dollars = float(made.exposure_usd)
            change = (made.scope, made.previous, made.state, made.cause, dollars)
            changes.append(Change(micros(made.ts), *change))
    return changes, scores


def _counts(made: DecisionMade) -> bool:
    """Whether a decision says something of whom its scope names."""
    return parse(made.scope).kind not in (BOOK, FIRM) and made.cause not in SILENT
