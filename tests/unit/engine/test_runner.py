"""The runner: counts, refusals, repeats, journal, sequence numbers, publication and failures."""

from __future__ import annotations

from typing import Any

import pytest

from riskwatch.contracts.outputs import decode_internal
from riskwatch.core.clock import MINUTE
from riskwatch.core.enums import RejectReason
from riskwatch.core.events import Tick
from riskwatch.core.readings import CounterpartyReading
from riskwatch.engine.clock import TickGrid
from riskwatch.engine.pipeline import Pipeline, StageSlot
from riskwatch.engine.publish import NullPublisher
from riskwatch.engine.replay import ReplayLimits, replay_records
from riskwatch.engine.runner import Runner
from riskwatch.errors import BatchRefusedError, FencedError, RiskwatchError, StoreError
from riskwatch.store.batch import Counts, StreamOffset
from tests.support.fakes import ListPublisher, MemoryStore, ScriptSource, record
from tests.support.toy import (
    BAD_BOOK,
    BUG_BOOK,
    START_S,
    Rows,
    ToyMarket,
    credit_line,
    fill_line,
    ledger_slot,
    market_slot,
    quote_line,
    toy_lines,
    toy_pipeline,
)


def runner_on(
    store: MemoryStore,
    publisher: Any = None,
    pipeline: Pipeline | None = None,
    grid: TickGrid | None = None,
) -> Runner:
    """Make a runner of the toy pipeline."""
    return Runner(
        store,
        pipeline or toy_pipeline(),
        publisher or ListPublisher(),
        worker="w",
        holder="test",
        grid=grid or TickGrid(MINUTE),
    )


def run(store: MemoryStore, lines: list[Any], **changes: Any) -> Runner:
    """Offer lines, commit once."""
    runner = runner_on(store, **changes)
    runner.begin()
    for at, line in enumerate(lines):
        runner.apply(record(line, at))
    runner.commit([StreamOffset("script", "x", len(lines), len(lines))])
    return runner


def test_every_record_is_applied_a_duplicate_or_rejected() -> None:
    """The three add up to what was read, across runs."""
    store = MemoryStore()
    run(store, [fill_line(1, 0), fill_line(1, 0), b"?", fill_line(2, 9, book=BAD_BOOK)])
    assert store.last is not None
    assert store.last.counts == Counts(read=4, applied=1, duplicate=1, rejected=2)
    run(store, [fill_line(1, 0), fill_line(3, 20)])
    assert store.last.counts == Counts(read=6, applied=2, duplicate=2, rejected=2)


def test_refusals_keep_their_bytes_place_and_reason() -> None:
    """Of the codec, of a stage, and of a worker that has no stage for it."""
    store = MemoryStore()
    bad, quote = fill_line(1, 0, book=BAD_BOOK), quote_line(1, 1)
    run(store, [b"{", bad, quote], pipeline=Pipeline([ledger_slot()]))
    found = [(d.position, d.reason, d.payload, d.detail) for d in store.dead.values()]
    assert found[0][:3] == (0, RejectReason.JSON_MALFORMED, b"{")
    assert found[1:] == [
        (1, RejectReason.LIMIT_REACHED, bad, "max_toys=1"),
        (2, RejectReason.NOT_ROUTED, quote, "type=quote"),
    ]
    assert not store.outputs, "a refusal is a dead letter and no output"


def test_a_refused_event_may_be_sent_again() -> None:
    """It had no effect, so it is not a duplicate when the reason is gone."""
    store = MemoryStore()
    run(store, [fill_line(1, 0, book=BAD_BOOK), fill_line(1, 0)])
    assert store.last is not None
    assert store.last.counts == Counts(read=2, applied=1, rejected=1)


def test_what_has_no_effect_moves_no_time() -> None:
    """A known identity from the far future, or an event for nobody, brings no ticks."""
    store, grid = MemoryStore(), TickGrid(MINUTE)
    lines = [fill_line(1, 0), fill_line(1, 1e6), quote_line(1, 1e6)]
    run(store, lines, grid=grid, pipeline=Pipeline([ledger_slot()]))
    assert grid.reached == START_S * 1_000_000


def test_arrival_is_stamped_where_it_is_missing() -> None:
    """A replay stamps event time, and keeps a stamp that is there."""
    seen: list[Any] = []

    class Noting(ToyMarket):
        def step(self, state: Rows, event: Any) -> list[Any]:
            seen.append(event)
            return super().step(state, event)

    pipeline = Pipeline([StageSlot(Noting(), Rows(), market_slot().takes)])
    early = quote_line(2, 5, arrived="2023-03-11T02:00:07Z")
    run(MemoryStore(), [quote_line(1, 5), early], pipeline=pipeline)
    assert [(e.arrived - e.ts).total_seconds() for e in seen] == [0, 2]


def test_the_journal_has_what_risk_was_told() -> None:
    """Readings and ticks as encoded, events by their bytes; seqs have no hole."""
    store, credit = MemoryStore(), credit_line(1, 61)
    run(store, [fill_line(1, 0), fill_line(2, 60.5), credit])
    assert list(store.journal) == list(range(len(store.journal)))
    kinds = [kind for _, kind, _ in store.journal.values()]
    assert kinds == ["reading", "tick", "tick", "credit"]
    facts = [decode_internal(store.journal[n][2]) for n in range(3)]
    assert isinstance(facts[0], CounterpartyReading)
    assert facts[1:] == [Tick(START_S * 1_000_000), Tick((START_S + 60) * 1_000_000)]
    assert store.journal[3] == ((START_S + 61) * 1_000_000, "credit", credit)


def test_every_event_is_journalled_on_demand() -> None:
    """With `keep_events`, the bytes of each applied event are there."""
    store = MemoryStore()
    lines = [fill_line(1, 0), quote_line(1, 1), fill_line(1, 2), b"x"]
    run(store, lines, pipeline=toy_pipeline(keep_events=True))
    kept = [(kind, payload) for _, kind, payload in store.journal.values()]
    assert kept[0] == ("fill", lines[0])
    assert ("quote", lines[1]) in kept
    assert len([k for k, _ in kept if k in ("fill", "quote")]) == 2


def test_outputs_are_numbered_and_published_after_the_commit() -> None:
    """From 1, without a hole; what has a topic goes out, and then the outbox is emptied."""
    store, publisher = MemoryStore(), ListPublisher()
    runner = run(store, toy_lines(60), publisher=publisher)
    assert list(store.outputs) == list(range(1, len(store.outputs) + 1))
    assert [line[0] for line in publisher.lines] == list(store.outputs)
    assert sorted(store.outbox) == list(store.outputs)
    runner.commit([])
    assert not store.outbox


def test_without_a_relay_nothing_is_kept_to_be_sent() -> None:
    """Tables alone."""
    store = MemoryStore()
    run(store, toy_lines(60), publisher=NullPublisher())
    assert store.outputs
    assert not store.outbox


def test_what_a_crash_left_unpublished_goes_first() -> None:
    """After a failed publication, the next start publishes the same bytes, then goes on."""
    clean = ListPublisher()
    run(MemoryStore(), toy_lines(90), publisher=clean)
    store, broken, after = MemoryStore(), ListPublisher(fail_at=1), ListPublisher()
    with pytest.raises(BrokenPipeError):
        run(store, toy_lines(90), publisher=broken)
    runner = runner_on(store, after)
    runner.begin()
    assert after.lines == clean.lines
    assert not store.outbox


def test_readings_for_another_worker_go_through_the_outbox() -> None:
    """A ledger worker forwards them on their topic, by counterparty, numbered among outputs."""
    store, publisher = MemoryStore(), ListPublisher()
    lines = [fill_line(1, 0), fill_line(2, 61, counterparty="okx"), fill_line(3, 121)]
    run(store, lines, publisher=publisher, pipeline=Pipeline([ledger_slot()]))
    found = [line[:3] for line in publisher.lines]
    assert found == [(1, "riskwatch.readings", "kraken"), (2, "riskwatch.readings", "okx")]
    assert isinstance(decode_internal(publisher.lines[0][3]), CounterpartyReading)


def test_a_market_without_risk_has_nobody_to_tell() -> None:
    """No topic carries market readings: the two stages share a worker."""
    with pytest.raises(StoreError, match="no stage of w takes a MarketReading"):
        run(
            MemoryStore(),
            [quote_line(1, 0), quote_line(2, 61)],
            pipeline=Pipeline([market_slot()]),
        )


def test_an_exception_of_a_stage_is_logged_once_and_raised(logged: list[Any]) -> None:
    """Nothing of its batch is written, and the runner takes nothing more."""
    store = MemoryStore()
    runner = runner_on(store)
    runner.begin()
    runner.apply(record(fill_line(1, 0), 0))
    with pytest.raises(ZeroDivisionError):
        runner.apply(record(fill_line(2, 1, book=BUG_BOOK), 17))
    (line,) = [entry for entry in logged if entry["log_level"] == "error"]
    assert (line["stream"], line["position"], line["type"]) == ("script", 17, "fill")
    assert line["error"] == "ZeroDivisionError: a bug of the toy"
    with pytest.raises(RiskwatchError, match="until its first failure"):
        runner.apply(record(fill_line(3, 2), 18))
    with pytest.raises(RiskwatchError, match="until its first failure"):
        runner.commit([StreamOffset("script", "x", 1, 1)])
    with pytest.raises(RiskwatchError, match="until its first failure"):
        runner.tick(1)
    assert store.commits == 0


def test_who_lost_the_lease_writes_nothing() -> None:
    """A second runner fences the first."""
    store = MemoryStore()
    first = runner_on(store)
    first.begin()
    first.apply(record(fill_line(1, 0), 0))
    runner_on(store).begin()
    with pytest.raises(FencedError):
        first.commit([StreamOffset("script", "x", 1, 1)])
    assert store.commits == 0


def test_state_of_other_stages_is_refused() -> None:
    """A worker that would ignore stored rows would decide on half of the facts."""
    store = MemoryStore()
    run(store, toy_lines(30))
    with pytest.raises(StoreError, match="holds state of market, risk, this worker runs ledger"):
        runner_on(store, pipeline=Pipeline([ledger_slot()])).begin()


def test_nothing_new_commits_nothing() -> None:
    """An empty batch costs no transaction."""
    store = MemoryStore()
    runner = runner_on(store)
    runner.begin()
    runner.commit([])
    assert store.commits == 0


def test_one_line_per_batch_says_what_it_did(logged: list[Any]) -> None:
    """The canonical line has this batch's counts, and is for debugging."""
    store = MemoryStore()
    source = ScriptSource([*toy_lines(25)])
    replay_records(runner_on(store), source, ReplayLimits(batch=10))
    batches = [entry for entry in logged if entry["event"] == "batch" and entry["read"]]
    assert [entry["read"] for entry in batches] == [10, 10, 5]
    assert all(
        e["read"] == e["applied"] + e["duplicate"] + e["rejected"] and e["log_level"] == "debug"
        for e in batches
    )


def test_a_skipped_tick_is_in_no_journal() -> None:
    """Time passes, a dead letter says why, and no record is counted."""
    store = MemoryStore()
    runner = runner_on(store)
    runner.begin()
    runner.skip_tick(START_S * 1_000_000, 0, "ann: x; bob: x")
    runner.tick((START_S + 60) * 1_000_000)
    runner.commit([])
    assert [us // 1_000_000 - START_S for us, *_ in store.journal.values()] == [60]
    (letter,) = store.dead.values()
    assert (letter.stream, letter.position, letter.payload) == ("tick", 0, b"")
    assert "ann: x; bob: x" in letter.detail
    assert runner.counts == Counts()


def test_a_row_that_cannot_be_encoded_is_a_refused_batch() -> None:
    """The runner accepts nothing after it."""
    store = MemoryStore()
    runner = runner_on(store)
    runner.begin()
    runner.apply(record(fill_line(0, 0), 0))
    state = runner.pipeline.slots[0].state
    assert isinstance(state, Rows)
    state.put("odd", object())
    with pytest.raises(BatchRefusedError, match="TypeError"):
        runner.commit([])
    with pytest.raises(RiskwatchError, match="until its first failure"):
        runner.commit([])
    assert store.commits == 0
