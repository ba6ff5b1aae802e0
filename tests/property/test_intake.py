"""The event-time merge under any interleaving of fetches, high watermarks and takes."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from riskwatch.engine.record import NO_EVENT_TIME, InputRecord
from riskwatch.worker.merge import EventTimeMerge, InboundMessage, PartitionCursor, PartitionDecoder
from tests.support.toy import quote_line

NAMES = ("t/0", "t/1", "u/0")
names = st.sampled_from(NAMES)
moments = st.lists(st.integers(NO_EVENT_TIME, 30), max_size=5)


class Story(RuleBasedStateMachine):
    """Partitions of a broker that are fetched and taken in any order."""

    def __init__(self) -> None:
        super().__init__()
        lanes = {n: PartitionCursor("id", 0, 0, 0, 0) for n in NAMES}
        self.intake = EventTimeMerge(
            lanes, dict.fromkeys(NAMES, PartitionDecoder("riskwatch.quotes/0", 1))
        )
        self.broker: dict[str, list[InboundMessage]] = {n: [] for n in NAMES}
        self.next: dict[str, int] = dict.fromkeys(NAMES, 0)
        self.fetched: dict[str, int] = dict.fromkeys(NAMES, 0)
        self.put: dict[str, list[InputRecord]] = {n: [] for n in NAMES}
        self.out: dict[str, list[InputRecord]] = {n: [] for n in NAMES}
        self.told: dict[str, int] = dict.fromkeys(NAMES, 0)

    @rule(name=names, times=moments, gap=st.integers(0, 2))
    def arrive(self, name: str, times: list[int], gap: int) -> None:
        """Append records to a partition of the broker, and offsets without a record after them."""
        for second in times:
            value = b"" if second == NO_EVENT_TIME else quote_line(self.next[name], second)
            self.broker[name].append(InboundMessage(self.next[name], 0, None, value, ()))
            self.next[name] += 1
        self.next[name] += gap

    @rule(name=names, count=st.integers(0, 4))
    def fetch(self, name: str, count: int) -> None:
        """Fetch the next records of a partition, and the offset after them."""
        behind = [m for m in self.broker[name] if m.offset >= self.fetched[name]]
        found = behind[:count]
        if len(found) == len(behind):
            to = self.next[name]
        else:
            to = found[-1].offset + 1 if found else self.fetched[name]
        records = self.intake.put(name, found, to)
        assert [r.position for r in records] == [m.offset for m in found]
        self.put[name] += records
        self.fetched[name] = to

    @rule(name=names)
    def note_end(self, name: str) -> None:
        """Update the high watermark of a partition, as any fetch does."""
        self.intake.note_end(name, self.next[name])

    @rule(limit=st.integers(1, 6))
    def take(self, limit: int) -> None:
        """Take records; none is later than a record that another partition holds or may bring."""
        before = {n: list(self.put[n][len(self.out[n]) :]) for n in NAMES}
        found = self.intake.take(limit)
        assert len(found) <= limit
        for record in found:
            for name in NAMES:
                if name != record.stream and before[name]:
                    assert record.us <= before[name][0].us
            assert before[record.stream].pop(0) is record
            self.out[record.stream].append(record)
        if len(found) < limit:
            assert self.intake.missing() or not len(self.intake)

    @rule(limit=st.integers(1, 6))
    def take_by_force(self, limit: int) -> None:
        """Take records without waiting for partitions that are behind."""
        waiting = len(self.intake)
        found = self.intake.take(limit, force=True)
        assert len(found) == min(limit, waiting)
        for record in found:
            self.out[record.stream].append(record)

    @precondition(lambda self: self.intake.missing())
    @rule(limit=st.integers(1, 6))
    def nothing_passes_what_is_missing(self, limit: int) -> None:
        """No record passes a partition with unfetched records."""
        assert self.intake.take(limit) == []

    @rule()
    def commit(self) -> None:
        """Committed offsets only grow, and are those after the taken records."""
        for offset in self.intake.offsets():
            name = offset.stream
            assert offset.position > self.told[name]
            assert offset.records == len(self.out[name])
            left = self.put[name][len(self.out[name]) :]
            if left:
                assert offset.position <= left[0].position
            else:
                assert offset.position == max(
                    [self.fetched[name], *(r.position + 1 for r in self.out[name])]
                )
            if self.out[name]:
                assert offset.position > self.out[name][-1].position
            self.told[name] = offset.position

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        """The taken records of a partition are a prefix of its records, in order."""
        for name in NAMES:
            assert self.out[name] == self.put[name][: len(self.out[name])]
        assert len(self.intake) == sum(len(self.put[n]) - len(self.out[n]) for n in NAMES)

    @invariant()
    def idle_means_that_all_is_done(self) -> None:
        """Idle means that no record waits and the broker has no more."""
        ends = all(self.intake.cursor(n).fetched >= self.intake.cursor(n).end for n in NAMES)
        assert self.intake.idle == (ends and not len(self.intake))
        assert all(lag >= 0 for lag in self.intake.lag().values())


TestStory = Story.TestCase
TestStory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
