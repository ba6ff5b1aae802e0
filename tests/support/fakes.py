"""Fakes of what the runner works with, written by hand: store, publisher, scripted source."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from riskwatch.contracts.codec import decode
from riskwatch.core.clock import micros
from riskwatch.engine.record import NO_EVENT_TIME, InputRecord
from riskwatch.errors import FencedError
from riskwatch.store.batch import Batch, OutboxRecord, ResumePoint, StreamOffset

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from riskwatch.core.outputs import Output


@dataclass
class MemoryStore:
    """A store in memory that keeps what a real one must: all or nothing, by lease and by seq."""

    epoch: int = 0
    rows: dict[str, dict[str, bytes]] = field(default_factory=dict)
    offsets: dict[str, StreamOffset] = field(default_factory=dict)
    last: Batch | None = None
    outputs: dict[int, Output] = field(default_factory=dict)
    journal: dict[int, tuple[int, str, bytes]] = field(default_factory=dict)
    dead: dict[tuple[str, int], Any] = field(default_factory=dict)
    outbox: dict[int, OutboxRecord] = field(default_factory=dict)
    commits: int = 0

    def take_lease(self, worker: str, holder: str) -> ResumePoint:
        """Raise the epoch and hand out a copy of everything."""
        del worker, holder
        self.epoch += 1
        last = self.last or Batch("", 0)
        return ResumePoint(
            epoch=self.epoch,
            rows={stage: dict(rows) for stage, rows in self.rows.items()},
            offsets=dict(self.offsets),
            counts=replace(last.counts),
            us=last.us,
            next_seq=max((*self.outputs, *self._forwarded()), default=-1) + 1,
            next_journal=len(self.journal),
        )

    def _forwarded(self) -> list[int]:
        return [seq for seq in self.outbox if seq not in self.outputs]

    def commit(self, batch: Batch) -> None:
        """Apply a batch."""
        if batch.epoch != self.epoch:
            raise FencedError("the lease is gone")
        assert batch.counts.is_conserved()
        self.commits += 1
        for stage, changes in batch.rows.items():
            kept = self.rows.setdefault(stage, {})
            for key, row in changes.items():
                if row is None:
                    kept.pop(key, None)
                else:
                    kept[key] = row
        self.offsets |= {o.stream: o for o in batch.offsets}
        self.outputs |= {s.seq: s.output for s in batch.outputs}
        self.journal |= {e.seq: (e.us, e.kind, e.payload) for e in batch.journal}
        self.dead |= {(d.stream, d.position): d for d in batch.dead_letters}
        self.outbox = {s: r for s, r in self.outbox.items() if s > batch.published_seq}
        self.outbox |= {record.seq: record for record in batch.outbox()}
        self.last = batch

    def pending(self, worker: str, limit: int, *, latest_only: bool = False) -> list[OutboxRecord]:
        """Return unpublished records, in order."""
        del worker
        last = {(r.topic, r.key): seq for seq, r in sorted(self.outbox.items())}
        seqs = sorted(last.values() if latest_only else self.outbox)
        return [self.outbox[seq] for seq in seqs[:limit]]

    def content(self) -> Any:
        """Everything but the lease, to compare."""
        rows = {s: dict(sorted(r.items())) for s, r in sorted(self.rows.items()) if r}
        last = self.last or Batch("", 0)
        return (
            rows, self.offsets, self.outputs, self.journal, self.dead, last.counts, last.us,
            self.outbox,
        )  # fmt: skip


@dataclass
class ListPublisher:
    """Stores what it publishes; fails at the batch `fail_at`."""

    relay: bool = True
    dead_letters: bool = False
    epoch: int = 0
    lines: list[tuple[int, str, str, bytes]] = field(default_factory=list)
    fail_at: int = -1
    calls: int = 0

    def set_leader(self, worker: str, epoch: int) -> None:
        """Note the epoch."""
        del worker
        self.epoch = epoch

    def publish(self, records: Iterable[OutboxRecord]) -> None:
        """Keep `records`, or break like a closed pipe."""
        self.calls += 1
        if self.calls == self.fail_at:
            raise BrokenPipeError("the reader went away")
        self.lines += [(r.seq, r.topic, r.key, r.value) for r in records]


class CrashError(Exception):
    """What a scripted crash raises."""


@dataclass(frozen=True)
class Crash:
    """The process dies here: everything uncommitted is gone. Once."""


@dataclass(frozen=True)
class Duplicate:
    """The line before comes once more, as another record."""


@dataclass(frozen=True)
class Gap:
    """The next `skip` lines never come, and their positions are passed over."""

    skip: int = 1


@dataclass(frozen=True)
class Pause:
    """The source ends for now; the next run continues behind it."""


Item = bytes | Crash | Duplicate | Gap | Pause


@dataclass
class ScriptSource:
    """A stream in memory: a list of lines and of faults.

    Positions count lines that came or were skipped. `Crash` and `Pause` act once each, because
    the source outlives the runs that read it.
    """

    script: list[Item]
    name: str = "script"
    more: bool = False
    _next: int = 0
    _records: int = 0
    _reported: int = 0
    _spent: list[int] = field(default_factory=list)

    def resume(self, offsets: Mapping[str, StreamOffset]) -> None:
        """Go back to the stored offset."""
        offset = offsets.get(self.name)
        self._next = self._reported = 0 if offset is None else offset.position
        self._records = 0 if offset is None else offset.records

    def records(self, until_us: int | None = None) -> Iterator[InputRecord]:
        """Yield the rest of the script."""
        assert until_us is None, "scripts have no end time"
        while self._next < len(self.script):
            at, item = self._next, self.script[self._next]
            if isinstance(item, (Crash, Pause)) and at not in self._spent:
                self._spent.append(at)
                if isinstance(item, Crash):
                    raise CrashError(f"at {at}")
                self.more = True
                self._next += 1
                return
            self._next += 1
            if isinstance(item, Gap):
                self._next += item.skip
            elif isinstance(item, (bytes, Duplicate)):
                raw = item if isinstance(item, bytes) else self._before(at)
                self._records += 1
                yield record(raw, at, self.name)

    def _before(self, at: int) -> bytes:
        found = self.script[at - 1]
        assert isinstance(found, bytes), "only a line can be repeated"
        return found

    def offsets(self) -> list[StreamOffset]:
        """Position behind the last record, if it is new."""
        if self._reported == self._next:
            return []
        self._reported = self._next
        return [StreamOffset(self.name, "script", self._next, self._records)]

    def progress(self) -> tuple[int, int]:
        """Items done, items there are."""
        return self._next, len(self.script)


def record(raw: bytes, position: int, stream: str = "script") -> InputRecord:
    """Decode a line as a shell does."""
    event = decode(raw)
    us = micros(event.ts) if hasattr(event, "ts") else NO_EVENT_TIME
    return InputRecord(stream, position, raw, event, us)
