"""A resumable iterator over the messages of one output topic; it drops older repeats."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar, cast

from kafka import TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError, RetriableError
from kafka.structs import OffsetAndMetadata

from riskwatch.client.errors import BrokerError, HistoryError, TopicError
from riskwatch.client.message import CaughtUp, KafkaRecord, read
from riskwatch.contracts.kafka_clients import TIMEOUT_S, open_consumer
from riskwatch.contracts.topics import TOPICS
from riskwatch.core.outputs import AlertRaised, KillSwitchChanged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    from riskwatch.client.message import AlertOutput, Message
    from riskwatch.contracts.connection import KafkaConnection
    from riskwatch.core.outputs import Output


MAX_REMEMBERED: Final = 20_000
"""Number of messages whose ids are stored."""
MAX_KEYS: Final = 200_000
"""Most keys of one topic."""


class SequenceFilter:
    """Passes every message once, and drops messages older than the last one passed.

    The filter keeps one sequence per worker on a plain topic, and one per worker and key on a
    compacted topic. Compaction may leave the last record of one key, which is a repeat, behind a
    newer record of another key. With one sequence per worker, the filter would drop that record and
    lose the key.

    Parameters
    ----------
    by_key : bool
        Whether the topic is compacted.
    window : int
        Number of messages whose ids are stored.

    Attributes
    ----------
    repeated, outdated : int
        Messages that were dropped as repeats, and as written in an invalidated epoch.
    """

    def __init__(self, *, by_key: bool, window: int = MAX_REMEMBERED) -> None:
        self.repeated = 0
        self.outdated = 0
        self._by_key = by_key
        self._window = window
        self._last: dict[tuple[str, str], tuple[int, int]] = {}
        self._ids: set[str] = set()
        self._seen: dict[tuple[str, int], str] = {}
        self._forgot = False

    def is_new(self, message: Message[Output]) -> bool:
        """Return whether `message` is new.

        Raises
        ------
        HistoryError
            If a worker uses a sequence number again for another output, or there are too many keys.
        """
        key = (message.worker, message.key if self._by_key else "")
        epoch, seq = self._last.get(key, (-1, -1))
        if message.seq <= seq:
            self._same(message)
            self.repeated += 1
            return False
        if message.epoch < epoch:
            self.outdated += 1
            return False
        if len(self._last) >= MAX_KEYS and key not in self._last:
            raise HistoryError(
                f"{message.topic} has more than {MAX_KEYS} keys: not read any further"
            )
        self._last[key] = (message.epoch, message.seq)
        news = message.output.id not in self._ids
        self._remember(message)
        self.repeated += not news
        return news

    def _same(self, message: Message[Output]) -> None:
        """Check that a repeated sequence number belongs to the same output as before."""
        known = self._seen.get((message.worker, message.seq))
        if known == message.output.id or (known is None and not self._forgot):
            return
        was = "long ago" if known is None else f"as {known}"
        raise HistoryError(
            f"{message.topic}: worker {message.worker} wrote number {message.seq} {was} and now as "
            f"{message.output.id}: its database was replaced, what it says is another history"
        )

    def _remember(self, message: Message[Output]) -> None:
        if len(self._seen) >= self._window:
            oldest = next(iter(self._seen))
            self._ids.discard(self._seen.pop(oldest))
            self._forgot = True
        self._seen[message.worker, message.seq] = message.output.id
        self._ids.add(message.output.id)


Start = Literal["latest", "earliest"] | datetime
ItemT = TypeVar("ItemT")

_POLL_MS: Final = 250
"""Longest wait of one poll, and so the delay after which the stream reacts to `stop`."""
_AGAIN_S: Final = 0.1
_BUFFER: Final = 500
_METADATA_MS: Final = 30_000
_CLOSE_MS: Final = 5_000


class Stream(Generic[ItemT]):
    """Iterator over the messages of one output topic. A context manager.

    :func:`alerts` and :func:`killswitch` create it. One thread may use it. It ends when `stop`
    returns true or when it is closed. It waits while the broker is unavailable.

    With a group, the stream commits the offset of an item once the caller asks for the next one. A
    crash therefore repeats the current item and loses none. The members of a group do not share the
    messages between them, because that would lose the order. A group is the name under which one
    process resumes.

    Parameters
    ----------
    connection : KafkaConnection
        The broker.
    name : str
        Plain name of the topic.
    group : str or None
        Name under which the offset is committed.
    start : str or datetime
        Where to begin without a committed offset: ``latest``, ``earliest``, or with the records
        that the broker received at that time or later.
    stop : callable or None
        Called between messages and at least every quarter of a second; true ends the stream.
    marks : bool
        Whether to return :class:`~riskwatch.client.message.CaughtUp`, once.
    timeout : float
        Seconds that the broker may take to answer the first request.

    Raises
    ------
    BrokerError
        If the broker does not answer, or refuses a request.
    TopicError
        If the topic does not exist; from the iterator, if its partitions changed.
    HistoryError
        If records behind the committed offset were removed; from the iterator, if a worker
        contradicts itself.
    UnreadableError
        From the iterator. The next call continues behind the record.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        name: str,
        *,
        group: str | None,
        start: Start,
        stop: Callable[[], bool] | None,
        marks: bool,
        timeout: float,
    ) -> None:
        self._connection = connection
        self._name = name
        self._topic = connection.topic(name)
        self._group = group
        self._stop = stop
        self._marks = marks
        self._buffer: deque[Any] = deque()
        self._held: Any = None
        self._done: dict[TopicPartition, int] = {}
        self._kept: dict[TopicPartition, int] = {}
        self._keeping = False
        self._failure: Exception | None = None
        self._gone_since: float | None = None
        self._given = 0
        self.order = SequenceFilter(by_key=TOPICS[name].compacted)
        self.caught_up = False
        """Whether the caller has asked for everything that the topic held at opening."""
        self.closed = False
        self._consumer: Any = open_consumer(
            connection, timeout, BrokerError, group_id=group, metadata_max_age_ms=_METADATA_MS
        )
        try:
            self._behind = self._open(start, int(timeout * 1000))
        except BaseException:
            self.close()
            raise

    def _open(self, start: Start, timeout_ms: int) -> dict[TopicPartition, int]:
        """Seek to the first offset to read; return the ends of the partitions that hold records."""
        consumer = self._consumer
        try:
            self._partitions = consumer.partitions_for_topic(self._topic)
            if not self._partitions:
                raise TopicError(
                    f"topic {self._topic} does not exist at {self._connection.servers}: "
                    "run `riskwatch topics create`"
                )
            parts = [TopicPartition(self._topic, number) for number in sorted(self._partitions)]
            consumer.assign(parts)
            first = consumer.beginning_offsets(parts, timeout_ms=timeout_ms)
            ends = consumer.end_offsets(parts, timeout_ms=timeout_ms)
            since = {}
            if isinstance(start, datetime):
                ms = int(start.timestamp() * 1000)
                since = consumer.offsets_for_times(dict.fromkeys(parts, ms), timeout_ms=timeout_ms)
            begins = {}
            for part in parts:
                kept = self._kept_offset(part, timeout_ms)
                if kept is not None:
                    self._continues(kept, first[part], ends[part])
                    begins[part] = kept
                elif isinstance(start, datetime):
                    begins[part] = since[part].offset if since.get(part) else ends[part]
                else:
                    begins[part] = (first if start == "earliest" else ends)[part]
                consumer.seek(part, begins[part])
        except KafkaError as error:
            raise self._refused(error) from error
        return {part: ends[part] for part in parts if begins[part] < ends[part]}

    def _kept_offset(self, part: TopicPartition, timeout_ms: int) -> int | None:
        if self._group is None:
            return None
        kept: int | None = self._consumer.committed(part, timeout_ms=timeout_ms)
        if kept is not None:
            self._done[part] = self._kept[part] = kept
        return kept

    def _continues(self, kept: int, first: int, end: int) -> None:
        if first <= kept <= end:
            return
        why = f"it begins at {first} now" if kept < first else f"it ends at {end}"
        raise HistoryError(
            f"group {self._group} stopped at offset {kept} of {self._topic}, but {why}: records "
            "were removed or the topic was made anew. Use another group to begin again"
        )

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ItemT:
        self._let_go()
        while not self.closed:
            if self._stop is not None and self._stop():
                self.close()
                break
            if not self._behind and not self.caught_up:
                self.caught_up = True
                if self._marks:
                    return cast("ItemT", CaughtUp(self._given))
            self._keep()
            if not self._buffer:
                self._fill()
                continue
            record = self._held = self._buffer.popleft()
            message = read(self._name, cast("KafkaRecord", record))
            if self.order.is_new(message):
                self._given += 1
                return cast("ItemT", message)
            self._let_go()
        raise StopIteration

    def _let_go(self) -> None:
        """Treat the current record as processed, because the caller asked for the next one."""
        record, self._held = self._held, None
        if record is not None:
            part = TopicPartition(record.topic, record.partition)
            self._done[part] = record.offset + 1
            if self._behind.get(part, record.offset + 2) <= record.offset + 1:
                del self._behind[part]

    def _fill(self) -> None:
        """Poll for records."""
        try:
            polled: Mapping[Any, list[Any]] = self._consumer.poll(_POLL_MS, max_records=_BUFFER)
        except OffsetOutOfRangeError as error:
            raise HistoryError(
                f"{self._topic}: records were removed before they were read, or the topic was "
                f"made anew: {error}"
            ) from error
        except RetriableError:
            time.sleep(_AGAIN_S)  # the broker is unavailable: do not poll in a tight loop
            return
        except KafkaError as error:
            raise self._refused(error) from error
        for records in polled.values():
            self._buffer.extend(records)
        if not polled:
            self._idle()

    def _idle(self) -> None:
        """Do what needs no message: find the end of a compacted log, check the partitions."""
        # The last record before the end may have been compacted away.
        for part, end in list(self._behind.items()):
            position = self._consumer.position(part, timeout_ms=0)
            if position is not None and position >= end:
                del self._behind[part]
        partitions = self._consumer.partitions_for_topic(self._topic)
        if partitions:
            self._gone_since = None
            if partitions != self._partitions:
                raise TopicError(
                    f"topic {self._topic} has {len(partitions)} partitions now, it had "
                    f"{len(self._partitions)}: open it anew"
                )
        elif self._gone_since is None:
            self._gone_since = time.monotonic()  # a broker that starts may not list the topic yet
        elif time.monotonic() - self._gone_since > TIMEOUT_S:
            raise TopicError(f"topic {self._topic} is gone from {self._connection.servers}")

    def _keep(self) -> None:
        """Commit the current offsets, with one request at a time, without waiting for it."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise BrokerError(
                f"group {self._group} cannot be kept at {self._connection.servers}: {failure}"
            ) from failure
        if self._group is not None and not self._keeping and self._done != self._kept:
            self._keeping = True
            try:
                self._consumer.commit_async(self._offsets(), callback=self._was_kept)
            except KafkaError as error:
                self._was_kept({}, error)

    def _offsets(self) -> dict[TopicPartition, Any]:
        return {part: OffsetAndMetadata(offset, "", -1) for part, offset in self._done.items()}

    def _was_kept(self, offsets: Mapping[TopicPartition, Any], answer: object) -> None:
        self._keeping = False
        if not isinstance(answer, Exception):
            self._kept = {part: kept.offset for part, kept in offsets.items()}
        elif not isinstance(answer, RetriableError):
            self._failure = answer

    def _refused(self, error: KafkaError) -> BrokerError:
        return BrokerError(f"{self._topic} cannot be read from {self._connection.servers}: {error}")

    def close(self) -> None:
        """Commit the offsets and close the connection. The current item will come again."""
        if self.closed:
            return
        self.closed = True
        self._buffer.clear()
        # Items whose offset cannot be committed are repeated; every reader must handle that anyway.
        with suppress(KafkaError):
            if self._group is not None and self._done != self._kept:
                self._consumer.commit(self._offsets(), timeout_ms=_CLOSE_MS)
        with suppress(KafkaError):
            self._consumer.close(autocommit=False, timeout_ms=_CLOSE_MS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


# Subscriptions to the alerts and to the states of the kill switch.

ALERTS = AlertRaised.topic or ""
KILLSWITCH = KillSwitchChanged.topic or ""


def alerts(
    connection: KafkaConnection,
    group: str | None = None,
    start: Start = "latest",
    stop: Callable[[], bool] | None = None,
    *,
    timeout: float = TIMEOUT_S,
) -> Stream[Message[AlertOutput]]:
    """Follow ``riskwatch.alerts``: decisions, alerts and data-quality issues as they are made.

    Parameters
    ----------
    connection : KafkaConnection
        The broker.
    group : str, optional
        Resume where this group stopped. The offset is committed once the next message is requested,
        so a crash repeats a message and loses none. Use one process per group.
    start : {"latest", "earliest"} or datetime
        Where to begin without a group, or the first time with one.
    stop : callable, optional
        Ends the iteration when it returns true, such as ``threading.Event().is_set``; called at
        least every quarter of a second.
    timeout : float
        Seconds that the broker may take to answer when the stream is opened.

    Returns
    -------
    Stream of Message
        An iterator and context manager. Each message comes once, and none is older than the one
        before. A record that cannot be decoded raises :class:`UnreadableError`; the next call
        continues behind it.

    Raises
    ------
    BrokerError, TopicError, HistoryError
        See :class:`Stream`.
    """
    return Stream(
        connection, ALERTS, group=group, start=start, stop=stop, marks=False, timeout=timeout
    )


def killswitch(
    connection: KafkaConnection,
    stop: Callable[[], bool] | None = None,
    *,
    timeout: float = TIMEOUT_S,
) -> Stream[Message[KillSwitchChanged] | CaughtUp]:
    """Follow ``riskwatch.killswitch``: the state of every scope, then every change.

    The stream reads the whole compacted topic, returns one :class:`CaughtUp`, and continues. Before
    that mark, a table built from the messages is incomplete, and a scope that is absent from it may
    be at HALT. After the mark, an absent scope is NORMAL as long as heartbeats verify the table.

    An order path must treat an :class:`UnreadableError` as the strictest state that the record
    could have given its `key`. It must treat any other error, and the absence of messages, as
    REDUCE.

    Parameters
    ----------
    connection, stop, timeout
        As for :func:`alerts`.

    Returns
    -------
    Stream of Message or CaughtUp
        Per scope, each message comes once, and none is older than the one before.

    Raises
    ------
    BrokerError, TopicError, HistoryError
        See :class:`Stream`.
    """
    return Stream(
        connection, KILLSWITCH, group=None, start="earliest", stop=stop, marks=True, timeout=timeout
    )
