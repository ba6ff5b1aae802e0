"""Publishers: they send outputs after the commit, in order, at least once.

A crash between commit and publication leaves records in the outbox. The worker publishes them
first when it resumes. Consumers drop repeats by `id`.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Protocol

from riskwatch.contracts.outputs import record_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from riskwatch.store.batch import OutboxRecord


class OutputPublisher(Protocol):
    """Publishes records in order."""

    relay: bool
    """Whether outputs stay in the outbox until they are published."""
    dead_letters: bool
    """Whether refused records are published, too."""

    def set_leader(self, worker: str, epoch: int) -> None:
        """Set the worker whose records come next, and the epoch of its lease."""
        ...

    def publish(self, records: Sequence[OutboxRecord]) -> None:
        """Send `records` and return when they are out. An exception leaves them in the outbox."""
        ...


class NullPublisher:
    """Publishes nothing, for a worker whose outputs are read from the database only."""

    relay = False
    dead_letters = False

    def set_leader(self, worker: str, epoch: int) -> None:
        """Do nothing."""

    def publish(self, records: Sequence[OutboxRecord]) -> None:
        """Raise: without a relay there is nothing to publish."""
        raise AssertionError(f"{len(records)} records for nobody")


class NdjsonPublisher:
    r"""Writes ``{"topic", "key", "value"}``, one line per record, and flushes.

    Parameters
    ----------
    stream : binary file
        Where to write; usually standard output.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from io import BytesIO
    >>> from riskwatch.store.batch import OutboxRecord
    >>> out = BytesIO()
    >>> NdjsonPublisher(out).publish(
    ...     [OutboxRecord(1, "riskwatch.alerts", "a", b'{"id":"7"}', datetime.now(UTC))])
    >>> out.getvalue()
    b'{"topic":"riskwatch.alerts","key":"a","value":{"id":"7"}}\n'
    """

    relay = True
    dead_letters = False

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def set_leader(self, worker: str, epoch: int) -> None:
        """Do nothing: a stream has one writer."""

    def publish(self, records: Sequence[OutboxRecord]) -> None:
        """Write `records` in one call."""
        self._stream.write(b"".join(record_line(r.topic, r.key, r.value) for r in records))
        self._stream.flush()
