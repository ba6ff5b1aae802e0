"""A partition manager without servers, with units of a toy ledger."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from riskwatch.contracts.connection import KafkaConnection
from riskwatch.engine.retry import Retry
from riskwatch.worker.merge import PartitionMetadata
from riskwatch.worker.metrics import Metrics
from riskwatch.worker.partitions import Partition, PartitionManager
from riskwatch.worker.unit import UnitTiming
from tests.support.toy import fill_line, ledger_slot
from tests.support.units import START_US, Bench, message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from riskwatch.engine.clock import LiveClock
    from riskwatch.engine.pipeline import StageSlot
    from riskwatch.worker.unit import Unit

ZERO, ONE = ("riskwatch.fills", 0), ("riskwatch.fills", 1)
BATCH = 5


def own_unit(partition: Partition) -> str:
    """Name the unit of a ledger's partition."""
    return f"ledger/{partition[1]}"


class LocalPartitions(PartitionManager):
    """A partition manager whose cluster is a dict of the end offsets of partitions."""

    def __init__(
        self,
        unit_of: Callable[[Partition], str] = own_unit,
        slot: Callable[[], StageSlot] = ledger_slot,
        live: LiveClock | None = None,
    ) -> None:
        self.slot = slot
        self.benches: dict[str, Bench] = {}
        self.ends: dict[Partition, int] = {ZERO: 0, ONE: 0}
        self.now_us = START_US
        super().__init__(
            KafkaConnection(), Retry(threading.Event(), Metrics()),
            unit_of, self._new, batch=BATCH,
            clock=lambda: self.now_us, live=live,
        )  # fmt: skip

    def _new(self, name: str) -> Unit:
        """Make a unit on the store of that name."""
        if name in self.benches:
            return self.benches[name].made()
        self.benches[name] = Bench(UnitTiming(batch=BATCH), worker=name, slot=self.slot)
        return self.benches[name].unit

    def _read_metadata(self, partitions: Sequence[Partition]) -> dict[Partition, PartitionMetadata]:
        return {p: PartitionMetadata("cluster", 1, 0, self.ends[p]) for p in partitions}

    def _check_identities(self) -> None:
        self._checked_us = self.now_us

    def bring(self, partition: Partition, first: int, count: int) -> None:
        """Queue a fetch."""
        end = self.ends[partition] = max(self.ends[partition], first + count)
        lines = [fill_line(first + n, (first + n) / 1e3) for n in range(count)]
        self.enqueue(partition, [message(first + n, x) for n, x in enumerate(lines)], end)

    def applied(self, name: str) -> int:
        """Return how many records a unit has committed as applied."""
        last = self.benches[name].store.last
        return 0 if last is None else last.counts.applied
