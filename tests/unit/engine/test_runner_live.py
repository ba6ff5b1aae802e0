"""The runner as a worker on Kafka uses it: arrival, readings, dead letters, publication held."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.core.clock import SECOND
from riskwatch.core.enums import RejectReason
from riskwatch.core.readings import CounterpartyReading, FlowFeatures
from riskwatch.engine.clock import TickGrid
from riskwatch.engine.dead_letters import MAX_WHOLE_BYTES, has_dead_letter_topic
from riskwatch.engine.pipeline import Pipeline
from riskwatch.engine.record import InputRecord
from riskwatch.engine.runner import OUTBOX_CHUNK, Runner
from riskwatch.errors import RiskwatchError
from riskwatch.store.batch import Batch, Counts, OutboxRecord, StreamOffset
from riskwatch.worker.merge import InboundMessage
from tests.support.fakes import ListPublisher, MemoryStore, record
from tests.support.toy import START_S, fill_line, ledger_slot, quote_line, risk_slot, toy_pipeline
from tests.support.units import holding, read_last

if TYPE_CHECKING:
    from riskwatch.core.events import WireEvent

STREAM = "riskwatch.fills/3"
START_US = START_S * SECOND


def runner_on(
    store: MemoryStore,
    publisher: ListPublisher | None = None,
    pipeline: Pipeline | None = None,
    grid: TickGrid | None = None,
) -> Runner:
    """Make a runner that did not begin."""
    return Runner(
        store, pipeline or Pipeline([ledger_slot()]), publisher or ListPublisher(),
        worker="w", holder="test", grid=grid,
    )  # fmt: skip


def arrived(
    raw: bytes,
    position: int,
    at_s: float,
    *,
    key: bytes | None = None,
    headers: tuple[tuple[str, bytes], ...] = (),
) -> InputRecord:
    """Make the record of a message that the broker took so many seconds after the start."""
    us = START_US + round(at_s * SECOND)
    return read_last(STREAM, 1, InboundMessage(position, us, key, raw, headers))


def last(store: MemoryStore) -> Batch:
    """Return what was committed last."""
    assert store.last is not None
    return store.last


def test_an_event_from_the_future_is_refused() -> None:
    """More than five seconds ahead of the broker's clock, whoever stamped it."""
    store = MemoryStore()
    runner = runner_on(store)
    runner.begin()
    own = fill_line(3, 8, arrived="2023-03-11T02:00:08Z")
    for n, raw in enumerate((fill_line(1, 5), fill_line(2, 5.001), own)):
        runner.apply(arrived(raw, n, 0))
    runner.commit([])
    assert last(store).counts == Counts(read=3, applied=1, rejected=2)
    assert {d.reason for d in store.dead.values()} == {RejectReason.TS_FROM_FUTURE}
    assert [d.payload for d in store.dead.values()] == [fill_line(2, 5.001), own]


def test_a_sender_that_is_ahead_moves_nobodys_time() -> None:
    """The grid goes to the broker's clock at most; the event counts when it happened."""
    store, grid = MemoryStore(), TickGrid(SECOND)
    runner = runner_on(store, grid=grid)
    runner.begin()
    runner.apply(arrived(fill_line(1, 0), 0, 0))
    runner.apply(arrived(fill_line(2, 4), 1, 1.5))
    assert grid.reached == START_US + 1_500_000
    assert runner.us == START_US + 4 * SECOND


def test_arrival_is_the_brokers_where_nobody_stamped_it() -> None:
    """The first stamp stays; without a clock it is the event's own time."""
    seen: list[WireEvent] = []

    class Noting(type(ledger_slot().stage)):  # type: ignore[misc]
        def step(self, state: Any, event: Any) -> list[Any]:
            del state
            seen.append(event)
            return []

    slot = ledger_slot()
    pipeline = Pipeline([type(slot)(Noting(), slot.state, slot.takes)])
    runner = runner_on(MemoryStore(), pipeline=pipeline)
    runner.begin()
    runner.apply(arrived(fill_line(1, 1), 0, 3))
    runner.apply(arrived(fill_line(2, 1, arrived="2023-03-11T02:00:02Z"), 1, 3))
    runner.apply(record(fill_line(3, 1), 2))
    found = [(e.arrived - e.ts).total_seconds() for e in seen if e.arrived is not None]
    assert found == [2, 1, 0]


def test_a_reading_that_is_sent_again_is_a_duplicate() -> None:
    """By counterparty and time: a ledger worker that crashed repeats what it had sent."""
    store = MemoryStore()
    runner = runner_on(store, pipeline=Pipeline([risk_slot()]))
    runner.begin()
    flow = FlowFeatures(0.1, 0.0, 0, 0, 0, {}, {}, 0.0, 0)
    for n, us in enumerate((START_US, START_US, START_US + 1)):
        fact = runner_reading(flow, us)
        runner.apply(InputRecord("riskwatch.readings/0", n, b"", fact, us))
    runner.commit([])
    assert last(store).counts == Counts(read=3, applied=2, duplicate=1)


def runner_reading(flow: FlowFeatures, us: int) -> CounterpartyReading:
    """Make a reading of a counterparty that has nothing but a name."""
    return CounterpartyReading(us, "kraken", [holding("1")], [], flow)


def test_what_is_refused_goes_back_with_its_reason() -> None:
    """To the dead-letter topic of its stream: key, bytes and headers as they came, and why."""
    store, publisher = MemoryStore(), ListPublisher(dead_letters=True)
    runner = runner_on(store, publisher)
    runner.begin()
    raw, headers = quote_line(1, 1), (("trace", b"1"), ("trace", b"2"))
    runner.apply(arrived(raw, 17, 2, key=b"\xff", headers=headers))
    runner.commit([StreamOffset(STREAM, "x", 18, 1)])
    (found,) = store.outbox.values()
    assert (found.topic, found.value, found.key_bytes) == ("riskwatch.fills.dlq", raw, b"\xff")
    assert found.headers[:2] == headers
    assert dict(found.headers[2:]) == {
        "rw-dlq-reason": b"NOT_ROUTED",
        "rw-dlq-detail": b"type=quote is not of riskwatch.fills",
        "rw-dlq-stream": STREAM.encode(), "rw-dlq-position": b"17", "rw-dlq-worker": b"w",
    }  # fmt: skip
    assert [line[:2] for line in publisher.lines] == [(1, "riskwatch.fills.dlq")]
    assert len(store.dead) == 1


def test_a_dead_letter_without_a_key_goes_back_without_one() -> None:
    """It is not given one that it never had."""
    store = MemoryStore()
    runner = runner_on(store, ListPublisher(dead_letters=True))
    runner.begin()
    runner.apply(arrived(b"{", 0, 0))
    runner.commit([])
    (found,) = store.outbox.values()
    assert found.key_bytes is None


@pytest.mark.parametrize("part", ["value", "key", "headers"])
def test_what_is_too_large_goes_back_by_size_and_digest(part: str) -> None:
    """Whatever of it is large: nothing can wedge the outbox. The bytes are in SQL."""
    store = MemoryStore()
    runner = runner_on(store, ListPublisher(dead_letters=True))
    runner.begin()
    much = b"x" * (MAX_WHOLE_BYTES + 1)
    raw = much if part == "value" else b"{"
    key = much if part == "key" else b"k"
    headers = (("h", much),) if part == "headers" else ()
    runner.apply(arrived(raw, 0, 0, key=key, headers=headers))
    runner.commit([])
    (found,) = store.outbox.values()
    why = dict(found.headers)
    assert (found.value, found.key_bytes, "h" in why) == (b"", None, False)
    assert why["rw-dlq-bytes"] == str(len(raw)).encode()
    assert why["rw-dlq-sha256"] == sha256(raw).hexdigest().encode()
    (letter,) = store.dead.values()
    assert letter.payload == raw


def test_refused_readings_have_no_topic_to_go_back_to() -> None:
    """They stay in SQL."""
    assert not has_dead_letter_topic("riskwatch.readings/0")
    store = MemoryStore()
    runner = runner_on(store, ListPublisher(dead_letters=True))
    runner.begin()
    runner.apply(record(b"{", 0, "riskwatch.readings/0"))
    runner.commit([])
    assert not store.outbox
    assert len(store.dead) == 1


def test_what_is_set_aside_is_refused_unread() -> None:
    """Counted like any other refusal, and no stage sees it."""
    store = MemoryStore()
    runner = runner_on(store)
    runner.begin()
    runner.refuse(arrived(fill_line(1, 0), 0, 0), RejectReason.QUARANTINED, "two people")
    done = runner.commit([])
    assert done.rejects == {(STREAM, "QUARANTINED"): 1}
    assert last(store).counts == Counts(read=1, rejected=1)
    assert not store.rows


def held(store: MemoryStore, publisher: ListPublisher, fills: int) -> Runner:
    """Begin with publication held, and commit a reading per fill."""
    runner = runner_on(store, publisher, grid=TickGrid(SECOND))
    runner.begin(hold=True)
    for n in range(fills):
        runner.apply(arrived(fill_line(n, n), n, n))
        runner.tick(START_US + n * SECOND)
        runner.commit([])
    return runner


def test_what_is_held_is_true_and_not_out() -> None:
    """Until it is let go: all of it, in order, once; then everything at once."""
    store, publisher = MemoryStore(), ListPublisher()
    runner = held(store, publisher, 3)
    assert (publisher.lines, sorted(store.outbox)) == ([], [1, 2, 3])
    runner.release_outputs(latest_only=False)
    runner.release_outputs(latest_only=False)
    assert [line[0] for line in publisher.lines] == [1, 2, 3]
    assert not store.outbox
    runner.apply(arrived(fill_line(9, 9), 9, 9))
    runner.tick(START_US + 9 * SECOND)
    runner.commit([])
    assert [line[0] for line in publisher.lines] == [1, 2, 3, 4]


def test_of_history_the_last_of_each_key_goes_out() -> None:
    """And all dead letters; the rest leaves the outbox unsent."""
    store, publisher = MemoryStore(), ListPublisher(dead_letters=True)
    runner = held(store, publisher, 3)
    runner.apply(arrived(b"{", 4, 4))
    runner.apply(arrived(b"[", 5, 4))
    runner.commit([])
    runner.release_outputs(latest_only=True)
    assert [line[:2] for line in publisher.lines] == [
        (3, "riskwatch.readings"), (4, "riskwatch.fills.dlq"), (5, "riskwatch.fills.dlq"),
    ]  # fmt: skip
    assert not store.outbox


def test_a_long_outbox_goes_out_in_chunks() -> None:
    """Each is noted, so that a crash repeats one at most."""
    store, publisher = MemoryStore(), ListPublisher(fail_at=2)
    runner = held(store, publisher, OUTBOX_CHUNK + 5)
    with pytest.raises(BrokenPipeError):
        runner.release_outputs(latest_only=False)
    assert len(publisher.lines) == OUTBOX_CHUNK
    assert sorted(store.outbox) == list(range(OUTBOX_CHUNK + 1, OUTBOX_CHUNK + 6))


def test_without_an_outbox_nothing_is_held() -> None:
    """A runner that did not begin cannot let go."""
    with pytest.raises(RiskwatchError, match="works after begin"):
        runner_on(MemoryStore()).release_outputs(latest_only=False)


def test_a_commit_says_what_it_was() -> None:
    """Counts of this batch, refusals by stream and reason, records and rows."""
    store = MemoryStore()
    runner = runner_on(store, pipeline=toy_pipeline(), grid=TickGrid(SECOND))
    runner.begin()
    for n, raw in enumerate((fill_line(1, 0), b"{", b"[", fill_line(1, 0), fill_line(2, 3))):
        runner.apply(arrived(raw, n, 3))
    done = runner.commit([StreamOffset(STREAM, "x", 5, 5)])
    assert done.counts == {"read": 5, "applied": 2, "duplicate": 1, "rejected": 2}
    assert sum(done.rejects.values()) == 2
    assert {stream for stream, _ in done.rejects} == {STREAM}
    assert done.records
    assert [type(r) for r in done.records] == [OutboxRecord] * len(done.records)
    assert set(done.rows) >= {"ledger", "seen", "grid"}
    again = runner.commit([])
    assert (again.rejects, again.records) == ({}, [])
