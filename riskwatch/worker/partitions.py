"""The units of one process, driven by one thread, and the partitions that feed them.

The consumer's side calls :meth:`Desk.give` from its own thread and asks :meth:`Desk.full`;
everything else is called from the working thread alone.
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
    from riskwatch.engine.retry import Retry
    from riskwatch.worker.merge import InboundMessage
    from riskwatch.worker.unit import Unit

Partition = tuple[str, int]
"""Plain topic, and number."""
BUFFER: Final = 4
"""Batches of one partition that may wait in memory."""
IDENTITY_US: Final = 30 * SECOND
"""How often the identity of the topics is looked at again."""

log = structlog.get_logger("riskwatch.desk")


class PartitionManager:
    """Opens, feeds, works and closes units.

    Parameters
    ----------
    connection : KafkaConnection
        The cluster.
    retry : Patience
        How it is waited for.
    unit_of : callable
        Name of the unit that a partition belongs to.
    make : callable
        A new unit of a name.
    batch : int
        Most records in one transaction of a unit.
    clock : callable, optional
        The time, microseconds.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        patience: Retry,
        unit_of: Callable[[Partition], str],
        make: Callable[[str], Unit],
        *,
        batch: int,
        clock: Callable[[], int] = wall_us,
    ) -> None:
        self._connection = connection
        self._retry = patience
        self._unit_of = unit_of
        self._make = make
        self._clock = clock
        self._limit = BUFFER * batch
        self._units: dict[str, Unit] = {}
        self._owner: dict[str, Unit] = {}
        self._identities: dict[str, str] = {}
        self._looked_us = 0
        self._inbox: deque[tuple[str, Sequence[InboundMessage], int, int | None, int]] = deque()
        self._coming: dict[str, int] = {}
        self._lock = threading.Lock()

    # the consumer's side

    def enqueue(
        self,
        partition: Partition,
        messages: Sequence[InboundMessage],
        end: int,
        behind: int | None = None,
        start: int = 0,
    ) -> None:
        """Hand over a fetch of one partition; parameters as of :meth:`Unit.put`."""
        stream = stream_of(partition)
        with self._lock:
            self._coming[stream] = self._coming.get(stream, 0) + len(messages)
            self._inbox.append((stream, messages, end, behind, start))

    def is_full(self, partition: Partition) -> bool:
        """Whether enough of a partition waits in memory for now."""
        stream = stream_of(partition)
        unit = self._owner.get(stream)
        depth = 0 if unit is None else unit.depth(stream)
        return depth + self._coming.get(stream, 0) >= self._limit

    # the working thread's side

    def assign(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Open the units of these partitions; returns the offset to read each from.

        A unit that this process held all along keeps its state, if its lease is still its own.

        Raises
        ------
        StreamIdentityError
            If a partition is not the one that the stored offsets belong to.
        StoppedError
            If the process is asked to stop meanwhile.
        """
        wanted: dict[str, list[Partition]] = {}
        for partition in sorted(partitions):
            wanted.setdefault(self._unit_of(partition), []).append(partition)
        self._put_away()
        placed = self._placed([p for group in wanted.values() for p in group])
        self._owner = {}
        for name in [n for n in self._units if n not in wanted]:
            self._units.pop(name).drop()
        out: dict[Partition, int] = {}
        for name, group in wanted.items():
            here = {stream_of(p): placed[p] for p in group}
            positions = self._open(name, here)
            self._owner |= dict.fromkeys(here, self._units[name])
            out |= {p: positions[stream_of(p)] for p in group}
        self._identities = {topic: placed[topic, n].identity for topic, n in placed}
        self._looked_us = self._clock()
        return out

    def suspend(self) -> None:
        """Take nothing more in: partitions are about to move."""
        self._put_away()
        self._owner = {}

    def work(self) -> bool:
        """Let every unit do one batch; whether there is more to do at once.

        Raises
        ------
        FencedError
            If another process works for a unit of ours.
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
            # Counted until they are in their place: for a moment twice, and never not at all.
            with self._lock:
                self._coming[stream] -= len(messages)
        owned = dict.fromkeys(self._owner.values())
        more = False
        for unit in owned:
            more = unit.work(self._clock()) > 0 or more
        if self._clock() - self._looked_us > IDENTITY_US:
            self._look_again()
        return more

    def close(self) -> None:
        """Give back every lease."""
        for unit in self._units.values():
            unit.close()
        self._units, self._owner = {}, {}

    @property
    def names(self) -> list[str]:
        """Names of the units that are open here."""
        return list(self._units)

    def unit(self, name: str) -> Unit | None:
        """Look up a unit that is open here."""
        return self._units.get(name)

    def not_ready_reason(self) -> str | None:
        """Why this process does not do its work now; ``None`` if it does."""
        if not self._owner:
            return "no partitions are assigned"
        down = self.faults()
        if down:
            return "; ".join(down)
        late = [u.name for u in self._units.values() if not u.is_caught_up]
        return f"catching up: {', '.join(late)}" if late else None

    def offsets(self) -> dict[Partition, int]:
        """Where each partition stands in SQL, to be told to the broker as well."""
        return {
            (topic_of(stream), int(stream.rpartition("/")[2])): unit.position(stream)
            for stream, unit in self._owner.items()
        }

    def faults(self) -> list[str]:
        """Why units stay down."""
        return [f"{u.name}: {u.fault}" for u in self._units.values() if u.fault is not None]

    def _put_away(self) -> None:
        """Forget what came in: it will be read again."""
        with self._lock:
            self._inbox.clear()
            self._coming.clear()

    def _open(self, name: str, placements: dict[str, PartitionMetadata]) -> dict[str, int]:
        unit = self._units.get(name)
        if unit is not None:
            positions = unit.reopen(placements, self._clock())
            if positions is not None:
                return positions
            unit.drop()
        unit = self._units[name] = self._make(name)
        return unit.open(placements, self._clock())

    def _placed(self, partitions: Sequence[Partition]) -> dict[Partition, PartitionMetadata]:
        """Look up where partitions begin and end, and what they are."""
        if not partitions:
            return {}

        def look() -> dict[Partition, PartitionMetadata]:
            known = topics.topic_identities(self._connection, sorted({t for t, _ in partitions}))
            ends = topics.offset_bounds(self._connection, partitions)
            return {
                p: PartitionMetadata(str(known[p[0]]), known[p[0]].partitions, *ends[p])
                for p in partitions
            }

        return self._retry.ask_broker("placement", look)

    def _look_again(self) -> None:
        """Make sure that the topics are still the ones that were opened."""
        self._looked_us = self._clock()
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
    """Name of the stream.

    Examples
    --------
    >>> stream_of(("riskwatch.fills", 3))
    'riskwatch.fills/3'
    """
    return f"{partition[0]}/{partition[1]}"
