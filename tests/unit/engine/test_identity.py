"""The identity of events: repeats, conflicts, and the alert about a source that reuses ids."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskwatch.contracts.outputs import encode_internal, encode_output
from riskwatch.core.clock import MINUTE
from riskwatch.core.conflicts import MAX_SOURCES
from riskwatch.core.dedupe import older_identity_digest
from riskwatch.core.enums import QualityIssue, RejectReason
from riskwatch.core.events import Tick
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved
from riskwatch.core.readings import CounterpartyReading, FlowFeatures
from riskwatch.engine.clock import TickGrid
from riskwatch.engine.pipeline import Pipeline, StageSlot
from riskwatch.engine.record import InputRecord
from riskwatch.engine.runner import SEEN, Runner
from riskwatch.store.batch import Counts, StreamOffset
from tests.support.fakes import ListPublisher, MemoryStore, record
from tests.support.toy import (
    START_S,
    Rows,
    ToyRisk,
    credit_line,
    fill_line,
    quote_line,
    toy_lines,
    toy_pipeline,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def run(
    store: MemoryStore, lines: Iterable[bytes], *, first: int = 0, cuts: Sequence[int] = ()
) -> Runner:
    """Offer lines to a new runner, and commit at the cuts and at the end."""
    runner = Runner(
        store, toy_pipeline(), ListPublisher(), worker="w", holder="test", grid=TickGrid(MINUTE)
    )
    runner.begin()
    at = first
    for at, line in enumerate(lines, start=first):
        runner.apply(record(line, at))
        if at in cuts:
            runner.commit([StreamOffset("script", "x", at + 1, at + 1)])
    runner.commit([StreamOffset("script", "x", at + 1, at + 1)])
    return runner


def counts(store: MemoryStore) -> Counts:
    """Return the cumulative counts of the last batch."""
    assert store.last is not None
    return store.last.counts


def issues(store: MemoryStore) -> list[DataQualityRaised | DataQualityResolved]:
    """Return the outputs about reused identities."""
    return [
        o
        for _, o in sorted(store.outputs.items())
        if isinstance(o, DataQualityRaised | DataQualityResolved)
        and o.issue is QualityIssue.IDENTITY_REUSED
    ]


def test_an_identity_of_another_topic_swallows_nothing() -> None:
    """A quote with the identity of an insolvency leaves the insolvency its effect."""
    store = MemoryStore()
    quote = quote_line(1, 0, event_id="ftx-1", source="court")
    news = json.loads(credit_line(1, 1)) | {"event_id": "ftx-1", "source": "court"}
    fill = fill_line(1, 2, event_id="ftx-1", source="court")
    run(store, [quote, json.dumps(news).encode(), fill])
    assert counts(store) == Counts(read=3, applied=3)
    assert not issues(store)


def test_other_content_under_a_known_identity_is_a_dead_letter_and_told() -> None:
    """The bytes are kept with the reason, and the alert names source, topic and id."""
    store, other = MemoryStore(), fill_line(1, 5, qty="7")
    run(store, [fill_line(1, 0), other])
    assert counts(store) == Counts(read=2, applied=1, rejected=1)
    (letter,) = store.dead.values()
    assert (letter.position, letter.reason, letter.payload) == (
        1,
        RejectReason.FACT_CONFLICT,
        other,
    )
    assert letter.detail == "event_id=f1 of desk had other content on riskwatch.fills"
    (told,) = issues(store)
    assert isinstance(told, DataQualityRaised)
    assert told.subject == "script|desk"
    for part in ("desk", "event_id=f1", "riskwatch.fills", "FACT_CONFLICT", "counter of ids"):
        assert part in told.detail


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"arrived": "2023-03-11T02:00:07Z"},
        {"qty": "1.000"},
        {"price": "2E+4"},
        {"ts": "2023-03-11T03:00:00+01:00"},
        {"a_later_field": 1},
    ],
)
def test_the_same_said_again_is_a_repeat(changes: dict[str, Any]) -> None:
    """Arrival, spelling of numbers and of times, and unknown fields are not content."""
    store = MemoryStore()
    run(store, [fill_line(1, 0), fill_line(1, 0, **changes)])
    assert counts(store) == Counts(read=2, applied=1, duplicate=1)


@pytest.mark.parametrize(
    "changes",
    [{"qty": "1.001"}, {"ts": "2023-03-11T02:00:00.000001Z"}, {"source_seq": 3}, {"side": "sell"}],
)
def test_every_field_is_content(changes: dict[str, Any]) -> None:
    """The smallest difference is another content."""
    store = MemoryStore()
    run(store, [fill_line(1, 0), fill_line(1, 0, **changes)])
    assert counts(store) == Counts(read=2, applied=1, rejected=1)


def test_a_restarted_counter_is_told_once_and_until_it_is_quiet_for_an_hour() -> None:
    """One alert for all its conflicts, also across a restart of the worker; then its end."""
    store = MemoryStore()
    run(store, [fill_line(n, n) for n in range(5)])
    run(store, [fill_line(n, 100 + n) for n in range(3)], first=5)
    run(store, [fill_line(n, 110 + n) for n in range(3, 5)], first=8)
    assert counts(store) == Counts(read=10, applied=5, rejected=5)
    assert [type(o) for o in issues(store)] == [DataQualityRaised]
    run(store, [fill_line(100, 3_500)], first=10)
    assert len(issues(store)) == 1, "not yet an hour of event time"
    run(store, [fill_line(101, 2 * 3_600)], first=11)
    _, end = issues(store)
    assert isinstance(end, DataQualityResolved)
    assert end.subject == "script|desk"
    assert end.ts.timestamp() == START_S + 4 + 56 + 3_600, "the first tick an hour after"
    assert sorted(store.rows[SEEN]) == ["block/00", "content/00"], "its row is gone"
    run(store, [fill_line(0, 7_300)], first=12)
    assert [type(o) for o in issues(store)] == [
        DataQualityRaised,
        DataQualityResolved,
        DataQualityRaised,
    ]
    assert len({o.id for o in store.outputs.values()}) == len(store.outputs)


def test_a_conflict_moves_no_time() -> None:
    """An event that is not applied brings no ticks, however late its time."""
    store = MemoryStore()
    runner = run(store, [fill_line(1, 0), fill_line(1, 1e6)])
    assert runner.us == START_S * 1_000_000


def test_entries_of_an_older_build_keep_their_meaning() -> None:
    """They count across topics, and no content of theirs is known."""
    store = MemoryStore()
    store.rows[SEEN] = {
        "block/00": bytes(8) + older_identity_digest("desk/f1") + older_identity_digest("feed/q1")
    }
    lines = [fill_line(1, 0), fill_line(1, 5), quote_line(1, 6), fill_line(2, 7), fill_line(2, 7)]
    swallowed = fill_line(9, 8, source="feed", event_id="q1")
    run(store, [*lines, swallowed])
    assert counts(store) == Counts(read=6, applied=1, duplicate=5)
    run(store, [fill_line(2, 9), fill_line(1, 10)], first=6)
    assert counts(store) == Counts(read=8, applied=1, duplicate=6, rejected=1)


def test_alerts_about_sources_are_bounded() -> None:
    """Beyond the bound one alert of the stream is about all others."""
    store, count = MemoryStore(), MAX_SOURCES + 9
    first = [fill_line(1, 0, source=f"s{n}") for n in range(count)]
    again = [fill_line(1, 1, source=f"s{n}") for n in range(count)]
    run(store, [*first, *again])
    assert counts(store).rejected == count
    subjects = [o.subject for o in issues(store)]
    assert len(subjects) == MAX_SOURCES + 1
    assert subjects[-1] == "script|*"


def test_a_reading_that_another_worker_repeats_has_no_content() -> None:
    """Identity alone decides about messages between workers, and no event can take theirs."""
    taken: list[Any] = []

    class Noting(ToyRisk):
        def step(self, state: Rows, event: Any) -> list[Any]:
            del state
            if not isinstance(event, Tick):
                taken.append(event)
            return []

    us = START_S * 1_000_000
    store = MemoryStore()
    pipeline = Pipeline([StageSlot(Noting(), Rows(), (CounterpartyReading, Tick))])
    reading = CounterpartyReading(us, "kraken", [], [], FlowFeatures(0, 0, 0, 0, 0, {}, {}, 0, 0))
    other = CounterpartyReading(us, "kraken", [], [], FlowFeatures(9, 0, 0, 1, 0, {}, {}, 0, 0))
    runner = Runner(store, pipeline, ListPublisher(), worker="w", holder="t", grid=TickGrid(MINUTE))
    runner.begin()
    for at, fact in enumerate((reading, reading, other)):
        runner.apply(InputRecord("riskwatch.readings/0", at, encode_internal(fact), fact, us))
    runner.commit([StreamOffset("script", "x", 3, 3)])
    assert counts(store) == Counts(read=3, applied=1, duplicate=2)
    assert taken == [reading]


@given(st.sets(st.integers(0, 119)))
def test_results_do_not_depend_on_where_batches_end(cuts: set[int]) -> None:
    """Conflicts, alerts and rows are the same for every cut into batches."""
    lines = toy_lines(60, step_s=70.0)
    lines += [line.replace(b'"BTC"', b'"ETH"').replace(b"1.0", b"1.1") for line in lines]
    whole, cut = MemoryStore(), MemoryStore()
    run(whole, lines)
    run(cut, lines, cuts=sorted(cuts))
    assert counts(whole) == counts(cut)
    assert counts(whole).rejected > 20, "the second half conflicts"
    assert whole.rows == cut.rows
    assert [encode_output(o) for o in whole.outputs.values()] == [
        encode_output(o) for o in cut.outputs.values()
    ]
