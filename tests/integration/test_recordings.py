"""The required results on recorded episodes, under the one shipped policy and rule pack."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from riskwatch.core.enums import Cause, QualityIssue, State
from riskwatch.core.outputs import (
    AlertRaised,
    AssetValued,
    DataQualityRaised,
    DecisionMade,
    Output,
    ScoreUpdated,
)
from riskwatch.engine import bootstrap
from riskwatch.feeds.corrupt import FeedKey, bad_print, stale_book
from tests.support.recordings import (
    at,
    decisions,
    outputs,
    reached,
    recording,
    scaled,
    strictest,
)

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.core.events import Event

USDC = ("usdc_svb_2023", "*.parquet")
UST = ("ust_2022", "USTUSDT_15m.csv")
THIN = FeedKey("binanceus", "USDC", "USDT")
FEEDS = (
    FeedKey("kraken", "USDC", "USD"),
    FeedKey("kraken", "USDT", "USD"),
    FeedKey("kraken", "BTC", "USD"),
    FeedKey("kraken", "BTC", "USDC"),
    FeedKey("kraken", "BTC", "USDT"),
    FeedKey("coinbase", "BTC", "USD"),
    FeedKey("coinbase", "USDT", "USD"),
    THIN,
    FeedKey("binanceus", "BTC", "USDC"),
    FeedKey("binanceus", "BTC", "USDT"),
    FeedKey("coinbase", "BTC", "USDT"),
)


def of(made: list[DecisionMade], scope: str) -> list[DecisionMade]:
    """Decisions on one scope."""
    return [d for d in made if d.scope == scope]


def test_usdc_march_2023(recordings: Path) -> None:
    """Nine calm days without a word above WATCH; then WATCH, REDUCE, HALT in time, by cause."""
    made = list(outputs(recording(recordings, *USDC, "2023-03-01", "2023-03-11 08:00")))
    decided = decisions(made)
    calm = [d for d in decided if d.ts <= at("2023-03-10")]
    assert strictest(calm).rank <= State.WATCH.rank, calm
    for state, by in (
        (State.WATCH, "2023-03-10 22:50"),
        (State.REDUCE, "2023-03-11 03:20"),
        (State.HALT, "2023-03-11 03:45"),
    ):
        when = reached(decided, "asset:USDC", state)
        assert when is not None
        assert when <= at(by), f"{state} at {when}"
    halt = of(decided, "asset:USDC")[-1]
    assert (halt.state, halt.cause) == (State.HALT, Cause.ISSUER)
    assert halt.support
    assert halt.exposure_usd > 0
    assert strictest(of(decided, "asset:USDT")).rank <= State.WATCH.rank
    assert strictest(decided, "counterparty:") is not State.HALT
    assert any(
        isinstance(o, AlertRaised) and o.scope == "asset:USDC" and o.severity is State.HALT
        for o in made
    )


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_usdc_survives_moved_thresholds(recordings: Path, factor: float) -> None:
    """With every threshold a fifth lower or higher the order of things is the same."""
    config = scaled(bootstrap.configuration(), factor)
    decided = decisions(
        outputs(recording(recordings, *USDC, "2023-03-07", "2023-03-11 08:00"), config)
    )
    assert strictest([d for d in decided if d.ts <= at("2023-03-10")]).rank <= State.WATCH.rank
    halted = reached(decided, "asset:USDC", State.HALT)
    assert halted is not None
    assert halted <= at("2023-03-11 04:00")
    assert strictest(of(decided, "asset:USDT")).rank <= State.WATCH.rank
    assert strictest(decided, "counterparty:") is not State.HALT


def test_holding_none_of_it_changes_no_score_and_pages_nobody(recordings: Path) -> None:
    """State follows the hazard, paging follows our dollars.

    A venue's scores rest on our own withdrawals from it too, and without the coin there are others.
    """
    window = ("2023-03-10 12:00", "2023-03-11 06:00")
    with_it = list(outputs(recording(recordings, *USDC, *window)))
    without = list(outputs(recording(recordings, *USDC, *window, hold=("USDT", "BTC"))))

    def coins(made: list[Output]) -> list[Output]:
        """Values and scores of coins."""
        scores = [o for o in made if isinstance(o, ScoreUpdated) and o.scope.startswith("asset:")]
        return [*scores, *(o for o in made if isinstance(o, AssetValued))]

    assert len(coins(with_it)) > 1_000
    assert coins(with_it) == coins(without)
    hazard = [(d.ts, d.state, d.rule, d.cause) for d in of(decisions(with_it), "asset:USDC")]
    unheld = of(decisions(without), "asset:USDC")
    assert hazard == [(d.ts, d.state, d.rule, d.cause) for d in unheld]
    assert hazard[-1][1] is State.HALT
    pages = [o for o in without if isinstance(o, AlertRaised) and o.scope == "asset:USDC"]
    assert all(page.severity.rank <= State.WATCH.rank for page in pages), pages


def test_ust_january_2022(recordings: Path) -> None:
    """A wobble of a hundred basis points is never a HALT, and is over by the end of the month."""
    decided = decisions(outputs(recording(recordings, *UST, "2022-01-22", "2022-02-01")))
    ust = of(decided, "asset:UST")
    assert strictest(ust) is not State.HALT
    assert [d for d in ust if d.ts <= at("2022-01-31")][-1].state is State.NORMAL


def test_ust_may_2022(recordings: Path) -> None:
    """REDUCE on the first evening, HALT before a plain two-per-cent rule knows."""
    decided = decisions(outputs(recording(recordings, *UST, "2022-05-03", "2022-05-10")))
    reduced = reached(decided, "asset:UST", State.REDUCE)
    halted = reached(decided, "asset:UST", State.HALT)
    assert reduced is not None
    assert at("2022-05-07") < reduced <= at("2022-05-07 23:30")
    assert halted is not None
    assert halted <= at("2022-05-09 18:15")


@pytest.mark.parametrize(
    ("folder", "since", "until"),
    [
        ("busd_2023", "2023-02-13", "2023-03-01"),
        ("celsius_2022", "2022-06-12", "2022-06-21"),
    ],
)
def test_negative_controls(recordings: Path, folder: str, since: str, until: str) -> None:
    """An orderly wind-down, and a calm coin in a stressed market, reduce nothing."""
    decided = decisions(outputs(recording(recordings, folder, "*.parquet", since, until)))
    assert strictest(decided, "asset:").rank <= State.WATCH.rank, decided


def test_single_bad_prints_change_no_state(recordings: Path) -> None:
    """One wrong price per feed, a tenth up or down: a data-quality alert of the feed, no more."""
    start = at("2023-03-03 06:00")
    events: list[Event] = recording(recordings, *USDC, "2023-03-02", "2023-03-03 20:00")
    for i, feed in enumerate(FEEDS):
        factor = Decimal("0.9") if i % 2 else Decimal("1.1")
        when = start + timedelta(hours=i)
        events = list(bad_print(events, at=when, feed=feed, factor=factor))
    made = list(outputs(events))
    assert not [d for d in decisions(made) if d.scope.startswith(("asset:", "venue", "counter"))]
    issues = (QualityIssue.FEED_SPIKE, QualityIssue.FEED_OUTLIER)
    for i, feed in enumerate(FEEDS):
        when = start + timedelta(hours=i)
        name = f"{feed.venue}:{feed.base}/{feed.quote}"
        assert any(
            isinstance(o, DataQualityRaised)
            and o.issue in issues
            and o.subject == name
            and o.cause is Cause.FEED
            and when <= o.ts <= when + timedelta(minutes=59)
            for o in made
        ), f"{name} at {when}"


def test_stale_books_change_no_state(recordings: Path) -> None:
    """A book that stands still for hours: a data-quality alert of the feed, no more."""
    begin = at("2023-03-05 18:00")
    events: list[Event] = recording(recordings, *USDC, "2023-03-04 22:00", "2023-03-07 20:00")
    frozen = []
    for feed in FEEDS:
        # A feed that trades twice an hour is told from a frozen one only after half a day.
        end = begin + timedelta(hours=12 if feed == THIN else 3)
        events = list(stale_book(events, start=begin, end=end, feed=feed))
        frozen.append((feed, begin, end))
        begin = end
    made = list(outputs(events))
    assert not [d for d in decisions(made) if d.scope.startswith(("asset:", "venue", "counter"))]
    for feed, start, end in frozen:
        name = f"{feed.venue}:{feed.base}/{feed.quote}"
        assert any(
            isinstance(o, DataQualityRaised)
            and o.issue in (QualityIssue.FEED_STALE, QualityIssue.FEED_OUTLIER)
            and o.subject == name
            and start <= o.ts <= end + timedelta(minutes=5)
            for o in made
        ), f"{name} from {start}"
