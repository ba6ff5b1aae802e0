"""Units without servers: messages, partitions, and a crash tracker in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from riskwatch.core.clock import SECOND
from riskwatch.core.readings import Holding
from riskwatch.engine.clock import TickGrid
from riskwatch.engine.pipeline import Pipeline
from riskwatch.engine.runner import Runner
from riskwatch.errors import FencedError
from riskwatch.store.faults import Fault
from riskwatch.worker.crashes import MAX_CRASHES, CrashTracker
from riskwatch.worker.merge import (
    EventTimeMerge,
    InboundMessage,
    PartitionCursor,
    PartitionDecoder,
    PartitionMetadata,
)
from riskwatch.worker.metrics import Metrics
from riskwatch.worker.unit import Unit, UnitTiming
from tests.support.fakes import ListPublisher, MemoryStore
from tests.support.toy import START_S, ledger_slot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from riskwatch.engine.pipeline import StageSlot
    from riskwatch.engine.record import InputRecord
    from riskwatch.store.batch import OutboxRecord
    from riskwatch.store.faults import FaultPlace

FILLS = "riskwatch.fills/0"
BALANCES = "riskwatch.balances/0"
START_US = START_S * SECOND


class MemoryCrashTracker(CrashTracker):
    """A crash tracker in memory, which records faults, passages and leases."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.aside: dict[FaultPlace, str] = {}
        self.crashes: dict[FaultPlace, int] = {}
        self.renewed: list[int] = []
        self.released: list[int] = []
        self.passed: list[dict[str, int]] = []
        self.heard: list[FaultPlace] = []
        self.ahead: list[str] = []
        self._open: dict[str, list[Fault]] = {}
        self._skipped: dict[str, int] = {}

    def begin(self, runner: Runner) -> None:
        """Do nothing: there is no earlier alert."""

    def report_fault(self, runner: Runner, fault: Fault, us: int) -> None:
        """Record that a fault was reported."""
        del runner, us
        self.heard.append((fault.stream, fault.position))

    def current_fault(self, runner: Runner) -> Fault | None:
        """Return a place with too many crashes that is not quarantined."""
        del runner
        for (stream, position), n in self.crashes.items():
            if n >= MAX_CRASHES and (stream, position) not in self.aside:
                return Fault(stream, position, n, "ValueError: bad")
        return None

    def report_ahead(self, runner: Runner, why: str, us: int) -> None:
        """Record that a time ahead of the clock was reported."""
        del runner, us
        self.ahead.append(why)

    def end_ahead(self, worker: str) -> None:
        """Record that the clock got there."""
        del worker
        self.ahead.append("")

    def quarantine_reason(self, worker: str, place: FaultPlace) -> str | None:
        """Return the reason of a quarantine."""
        del worker
        return self.aside.get(place)

    def record_crash(self, worker: str, place: FaultPlace, error: str) -> int:
        """Count a crash."""
        del worker, error
        self.crashes[place] = self.crashes.get(place, 0) + 1
        return self.crashes[place]

    def record_passage(
        self, runner: Runner, offsets: Mapping[str, int], us: int, *, ticked: bool
    ) -> None:
        """Record the offsets that are passed."""
        del runner, us, ticked
        self.passed.append(dict(offsets))

    def clear_passed(self, worker: str) -> None:
        """Do nothing: there is no database."""

    def renew(self, worker: str, epoch: int) -> None:
        """Renew a lease, unless another epoch holds it."""
        del worker
        if epoch != self.store.epoch:
            raise FencedError("the lease is gone")
        self.renewed.append(epoch)

    def release(self, worker: str, epoch: int) -> None:
        """Record that a lease was released."""
        del worker
        self.released.append(epoch)


@dataclass
class Bench:
    """A unit of a toy ledger with store, publisher and metrics, and a clock set by the test."""

    pace: UnitTiming = field(default_factory=UnitTiming)
    tick_s: int = 1
    worker: str = "ledger/0"
    store: MemoryStore = field(default_factory=MemoryStore)
    publisher: ListPublisher = field(default_factory=ListPublisher)
    now_us: int = START_US
    slot: Callable[[], StageSlot] = ledger_slot
    told: list[tuple[str, int, list[int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.book = MemoryCrashTracker(self.store)
        self.metrics = Metrics()
        self.grid = TickGrid(self.tick_s * SECOND)
        self.unit = self.made()

    def made(self) -> Unit:
        """Make a new unit on the same store, as another process or a restart does."""
        self.grid = TickGrid(self.tick_s * SECOND)
        self.runner = Runner(
            self.store, Pipeline([self.slot()]), self.publisher,
            worker=self.worker, holder="test", grid=self.grid,
        )  # fmt: skip
        self.unit = Unit(self.runner, self.book, self.metrics, self.pace, self._mirrored)
        return self.unit

    def _mirrored(self, worker: str, epoch: int, records: Sequence[OutboxRecord]) -> None:
        self.told.append((worker, epoch, [r.seq for r in records]))

    def open(self, end: int = 0, *, streams: tuple[str, ...] = (FILLS,)) -> dict[str, int]:
        """Open on partitions that end at `end`."""
        return self.unit.open(placements(end, streams), self.now_us)

    def put(self, *lines: bytes, first: int = 0, end: int = 0, stream: str = FILLS) -> None:
        """Put messages from offset `first` on into the unit."""
        found = [message(first + n, line, self.now_us) for n, line in enumerate(lines)]
        self.unit.put(stream, found, max(end, first + len(lines)), self.now_us)

    def work(self, after_s: float = 0.0) -> int:
        """Advance the clock, then run one batch."""
        self.now_us += round(after_s * SECOND)
        return self.unit.work(self.now_us)

    @property
    def waiting(self) -> int:
        """Records in the unit's memory."""
        return len(self.unit._merge)

    @property
    def idle(self) -> bool:
        """Whether the unit has nothing to do until messages arrive."""
        return self.unit._merge.idle

    def sample(self, name: str, **labels: str) -> float | None:
        """Read a metric."""
        return self.metrics.registry.get_sample_value(name, labels)


def placements(
    end: int, streams: tuple[str, ...] = (FILLS,), first: int = 0
) -> dict[str, PartitionMetadata]:
    """Make the metadata of partitions."""
    return {stream: PartitionMetadata("cluster", 1, first, end) for stream in streams}


def message(offset: int, value: bytes, arrived_us: int = 0) -> InboundMessage:
    """Make a message without key and headers."""
    return InboundMessage(offset, arrived_us, None, value, ())


def read_last(stream: str, partitions: int, *messages: InboundMessage) -> InputRecord:
    """Make records of messages of one partition as a worker does; returns the last."""
    first, behind = messages[0].offset, messages[-1].offset + 1
    cursors = {stream: PartitionCursor("cluster", first, first, 0, behind)}
    return EventTimeMerge(cursors, {stream: PartitionDecoder(stream, partitions)}).put(
        stream, messages, behind
    )[-1]


def holding(amount: str) -> Holding:
    """Make a holding of bitcoin."""
    return Holding("b", "a", "BTC", "custody", Decimal(amount))
