"""The event-time merge, by examples; the property tests cover any interleaving."""

from __future__ import annotations

import pytest

from riskwatch.core.clock import SECOND
from riskwatch.engine.record import NO_EVENT_TIME, InputRecord
from riskwatch.errors import StreamIdentityError
from riskwatch.store.batch import StreamOffset
from riskwatch.worker.merge import EventTimeMerge, InboundMessage, PartitionCursor, PartitionDecoder
from tests.support.toy import START_S, quote_line


def lane(at: int = 0, end: int = 0) -> PartitionCursor:
    """A partition that is read up to `at`."""
    return PartitionCursor("id", at, at, at, end)


def intake_of(**lanes: PartitionCursor) -> EventTimeMerge:
    """An intake of partitions of quotes."""
    return EventTimeMerge(lanes, dict.fromkeys(lanes, PartitionDecoder("riskwatch.quotes/0", 1)))


def messages(*at: tuple[int, int]) -> list[InboundMessage]:
    """Messages by offset and event time, seconds after the start."""
    return [
        InboundMessage(offset, 0, None, b"" if s == NO_EVENT_TIME else quote_line(offset, s), ())
        for offset, s in at
    ]


def seconds(record: InputRecord) -> int:
    """Event time, seconds after the start."""
    return record.us // SECOND - START_S


def test_partitions_are_merged_by_event_time() -> None:
    """Whatever came in first; within a partition the order is the broker's."""
    intake = intake_of(b=lane(), a=lane())
    intake.put("b", messages((0, 5), (1, 1), (2, 9)), 3)
    intake.put("a", messages((0, 4), (1, 6)), 2)
    assert intake.streams == ("a", "b")
    found = [(r.stream, seconds(r)) for r in intake.take(10)]
    assert found == [("a", 4), ("b", 5), ("b", 1), ("a", 6), ("b", 9)]


def test_a_partition_that_has_more_is_waited_for() -> None:
    """Its next record may be the earliest; by force, or when it comes, things go on."""
    intake = intake_of(a=lane(), b=lane(end=1))
    intake.put("a", messages((0, 5)), 1)
    assert (intake.missing(), intake.take(9), intake.idle) == (["b"], [], False)
    intake.put("b", messages((0, 3)), 1)
    assert [seconds(r) for r in intake.take(9)] == [3, 5]
    assert intake.idle
    intake.note_end("b", 2)
    intake.put("a", messages((1, 6)), 2)
    assert [seconds(r) for r in intake.take(9, force=True)] == [6]
    assert intake.lag() == {"a": 0, "b": 1}


def test_refusals_hold_nothing_up() -> None:
    """What has no event time goes first."""
    intake = intake_of(a=lane(), b=lane())
    intake.put("a", messages((0, 1)), 1)
    intake.put("b", messages((0, NO_EVENT_TIME), (1, NO_EVENT_TIME), (2, 2)), 3)
    assert [(r.stream, r.position) for r in intake.take(9)] == [
        ("b", 0), ("b", 1), ("a", 0), ("b", 2),
    ]  # fmt: skip


def test_offsets_are_told_once_and_pass_over_gaps() -> None:
    """Behind what was taken; over offsets without a record once nothing waits before them."""
    intake = intake_of(a=lane(at=10))
    assert intake.offsets() == []
    intake.put("a", messages((12, 1), (14, 2)), 20)
    assert len(intake) == 2
    intake.take(1)
    assert intake.offsets() == [StreamOffset("a", "id", 13, 11)]
    assert intake.offsets() == []
    intake.take(1)
    assert intake.offsets() == [StreamOffset("a", "id", 20, 12)]


def test_a_fetch_without_records_passes_over_its_offsets() -> None:
    """Ends of transactions have offsets, and nothing to hand out."""
    intake = intake_of(a=lane(end=2))
    found = [intake.idle]
    intake.put("a", [], 2)
    assert [*found, intake.idle] == [False, True]
    assert intake.offsets() == [StreamOffset("a", "id", 2, 0)]


def test_offsets_that_run_backwards_are_another_partition() -> None:
    """The error says where it was and what came."""
    intake = intake_of(a=lane(at=5))
    with pytest.raises(StreamIdentityError, match="a: offset 4 came after offset 4: the topic was"):
        intake.put("a", messages((4, 1)), 5)
