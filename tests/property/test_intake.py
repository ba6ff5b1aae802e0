"""The intake under any interleaving of fetches, high watermarks and takes."""

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
    """Partitions of a broker, fetched and taken in any order."""

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
        """The broker gets records, and offsets without one behind them."""
        for second in times:
            value = b"" if second == NO_EVENT_TIME else quote_line(self.next[name], second)
            self.broker[name].append(InboundMessage(self.next[name], 0, None, value, ()))
            self.next[name] += 1
        self.next[name] += gap

    @rule(name=names, count=st.integers(0, 4))
    def fetch(self, name: str, count: int) -> None:
        """A fetch brings what comes next, and the offset behind it."""
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
        """The high watermark comes with a fetch of anything."""
        self.intake.note_end(name, self.next[name])

    @rule(limit=st.integers(1, 6))
    def take(self, limit: int) -> None:
        """Nothing later than what another partition holds, or may still bring."""
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
        """Whatever is missing is not waited for."""
        waiting = len(self.intake)
        found = self.intake.take(limit, force=True)
        assert len(found) == min(limit, waiting)
        for record in found:
            self.out[record.stream].append(record)

    @precondition(lambda self: self.intake.missing())
    @rule(limit=st.integers(1, 6))
    def nothing_passes_what_is_missing(self, limit: int) -> None:
        """A partition that has more, and none of it here, holds all others up."""
        assert self.intake.take(limit) == []

    @rule()
    def commit(self) -> None:
        """Offsets only grow, and are those behind what was handed out."""
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
        """What was handed out is the beginning of what was put, in its order."""
        for name in NAMES:
            assert self.out[name] == self.put[name][: len(self.out[name])]
        assert len(self.intake) == sum(len(self.put[n]) - len(self.out[n]) for n in NAMES)

    @invariant()
    def idle_means_that_all_is_done(self) -> None:
        """Nothing waits, and the broker is known to have nothing more."""
        ends = all(self.intake.cursor(n).fetched >= self.intake.cursor(n).end for n in NAMES)
        assert self.intake.idle == (ends and not len(self.intake))
        assert all(lag >= 0 for lag in self.intake.lag().values())


TestStory = Story.TestCase
TestStory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
