"""The partition manager: it opens, feeds and closes the units of one process.

The consumer thread calls :meth:`PartitionManager.enqueue` and :meth:`PartitionManager.is_full`.
Only the working thread calls the other methods.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final

import structlog

from riskwatch.core.clock import SECOND
from riskwatch.engine.clock import wall_us
from riskwatch.engine.dead_letters import topic_of
from riskwatch.errors import BrokerError, StreamIdentityError
from riskwatch.kafka import topics
from riskwatch.worker.merge import PartitionMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from riskwatch.contracts.connection import KafkaConnection
    from riskwatch.engine.clock import LiveClock
    from riskwatch.engine.retry import Retry
    from riskwatch.worker.merge import InboundMessage
    from riskwatch.worker.unit import Unit

Partition = tuple[str, int]
"""Plain name of the topic, and number of the partition."""
BUFFER: Final = 4
"""Most batches of one partition in memory."""
IDENTITY_US: Final = 30 * SECOND
"""Interval at which the identity of the topics is checked."""

log = structlog.get_logger("riskwatch.partitions")


class PartitionManager:
    """Opens, feeds, runs and closes units.

    Parameters
    ----------
    connection : KafkaConnection
        The cluster.
    retry : Retry
        How calls to the cluster are retried.
    unit_of : callable
        Returns the name of the unit that a partition belongs to.
    make : callable
        Returns a new unit of a given name.
    batch : int
        Most records in one transaction of a unit.
    clock : callable, optional
        The time of the process, by which intervals are measured, microseconds.
    live : LiveClock, optional
        The time that live units may reach; without it, that of `clock`.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        retry: Retry,
        unit_of: Callable[[Partition], str],
        make: Callable[[str], Unit],
        *,
        batch: int,
        clock: Callable[[], int] = wall_us,
        live: LiveClock | None = None,
    ) -> None:
        self._connection = connection
        self._retry = retry
        self._unit_of = unit_of
        self._make = make
        self._clock = clock
        self._live = live
        self._limit = BUFFER * batch
        self._units: dict[str, Unit] = {}
        self._owner: dict[str, Unit] = {}
        self._identities: dict[str, str] = {}
        self._checked_us = 0
        self._inbox: deque[tuple[str, Sequence[InboundMessage], int, int | None, int]] = deque()
        self._inbox_sizes: dict[str, int] = {}
        self._lock = threading.Lock()

    # called from the consumer thread

    def enqueue(
        self,
        partition: Partition,
        messages: Sequence[InboundMessage],
        end: int,
        behind: int | None = None,
        start: int = 0,
    ) -> None:
        """Queue a fetch of one partition. The parameters are those of :meth:`Unit.put`."""
        stream = stream_of(partition)
        if self._live is not None and messages:
            self._live.note_broker(messages[-1].arrived_us)
        with self._lock:
            self._inbox_sizes[stream] = self._inbox_sizes.get(stream, 0) + len(messages)
            self._inbox.append((stream, messages, end, behind, start))

    def is_full(self, partition: Partition) -> bool:
        """Whether the buffer of a partition is full."""
        stream = stream_of(partition)
        unit = self._owner.get(stream)
        depth = 0 if unit is None else unit.depth(stream)
        return depth + self._inbox_sizes.get(stream, 0) >= self._limit

    # called from the working thread

    def assign(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Open the units of these partitions, and return the offset from which to read each.

        A unit that was open here before keeps its state, if it still has its lease.

        Raises
        ------
        StreamIdentityError
            If a partition is not the one of the stored offsets.
        StoppedError
            If the process is asked to stop meanwhile.
        """
        groups: dict[str, list[Partition]] = {}
        for partition in sorted(partitions):
            groups.setdefault(self._unit_of(partition), []).append(partition)
        self._clear_inbox()
        metadata = self._read_metadata([p for group in groups.values() for p in group])
        self._owner = {}
        for name in [n for n in self._units if n not in groups]:
            self._units.pop(name).drop()
        out: dict[Partition, int] = {}
        for name, group in groups.items():
            streams = {stream_of(p): metadata[p] for p in group}
            positions = self._open(name, streams)
            self._owner |= dict.fromkeys(streams, self._units[name])
            out |= {p: positions[stream_of(p)] for p in group}
        self._identities = {topic: metadata[topic, n].identity for topic, n in metadata}
        self._checked_us = self._clock()
        return out

    def suspend(self) -> None:
        """Accept no more messages, because partitions are about to move."""
        self._clear_inbox()
        self._owner = {}

    def work(self) -> bool:
        """Run one batch of every unit, and return whether there is more to do at once.

        Raises
        ------
        FencedError
            If another process took the lease of a unit.
        StageFaultError
            If a stage raised.
        StreamIdentityError
            If a topic was recreated meanwhile.
        """
        now = self._clock()
        while self._inbox:
            stream, messages, end, behind, start = self._inbox.popleft()
            owner = self._owner.get(stream)
            if owner is not None:
                owner.put(stream, messages, end, now, behind=behind, start=start)
            # Subtract after put(): they count twice for a moment, and are never left out.
            with self._lock:
                self._inbox_sizes[stream] -= len(messages)
        owned = dict.fromkeys(self._owner.values())
        if self._live is not None and all(unit.is_fetched for unit in owned):
            self._live.note_caught_up()
        more = False
        for unit in owned:
            live_us = None if self._live is None else self._live.now()
            more = unit.work(self._clock(), live_us) > 0 or more
        if self._clock() - self._checked_us > IDENTITY_US:
            self._check_identities()
        return more

    def close(self) -> None:
        """Close all units, and release their leases."""
        for unit in self._units.values():
            unit.close()
        self._units, self._owner = {}, {}

    @property
    def names(self) -> list[str]:
        """Names of the open units."""
        return list(self._units)

    def unit(self, name: str) -> Unit | None:
        """Return the open unit of this name, or ``None``."""
        return self._units.get(name)

    def not_ready_reason(self) -> str | None:
        """Return why this process is not ready; ``None`` if it is."""
        if not self._owner:
            return "no partitions are assigned"
        down = self.faults()
        if down:
            return "; ".join(down)
        late = [u.name for u in self._units.values() if not u.is_caught_up]
        return f"catching up: {', '.join(late)}" if late else None

    def offsets(self) -> dict[Partition, int]:
        """Return the offset of each partition in SQL, for a commit at the broker."""
        return {
            (topic_of(stream), int(stream.rpartition("/")[2])): unit.position(stream)
            for stream, unit in self._owner.items()
        }

    def faults(self) -> list[str]:
        """Return the reasons why units stay down."""
        return [f"{u.name}: {u.fault}" for u in self._units.values() if u.fault is not None]

    def _clear_inbox(self) -> None:
        """Drop the queued messages; they will be read again."""
        with self._lock:
            self._inbox.clear()
            self._inbox_sizes.clear()

    def _open(self, name: str, partitions: dict[str, PartitionMetadata]) -> dict[str, int]:
        unit = self._units.get(name)
        if unit is not None:
            positions = unit.reopen(partitions, self._clock())
            if positions is not None:
                return positions
            unit.drop()
        unit = self._units[name] = self._make(name)
        return unit.open(partitions, self._clock())

    def _read_metadata(self, partitions: Sequence[Partition]) -> dict[Partition, PartitionMetadata]:
        """Read identity, first and end offsets of partitions from the cluster."""
        if not partitions:
            return {}

        def read() -> dict[Partition, PartitionMetadata]:
            known = topics.topic_identities(self._connection, sorted({t for t, _ in partitions}))
            ends = topics.offset_bounds(self._connection, partitions)
            return {
                p: PartitionMetadata(str(known[p[0]]), known[p[0]].partitions, *ends[p])
                for p in partitions
            }

        return self._retry.ask_broker("placement", read)

    def _check_identities(self) -> None:
        """Check that the topics are still the ones that were opened."""
        self._checked_us = self._clock()
        try:
            known = topics.topic_identities(self._connection, sorted(self._identities))
        except BrokerError as error:
            log.warning("topics could not be looked at", error=str(error))
            return
        for topic, identity in self._identities.items():
            if str(known[topic]) != identity:
                raise StreamIdentityError(
                    f"{topic}: was {identity}, is {known[topic]}: it was recreated or "
                    "repartitioned (see docs/operations.md)"
                )


def stream_of(partition: Partition) -> str:
    """Return the name of the stream of a partition.

    Examples
    --------
    >>> stream_of(("riskwatch.fills", 3))
    'riskwatch.fills/3'
    """
    return f"{partition[0]}/{partition[1]}"
