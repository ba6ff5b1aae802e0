"""Where outputs go once they are true: after the commit, in their order, at least once.

A crash between commit and publication leaves records in the outbox; they are published first
when the worker resumes. Consumers drop repeats by `id`.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Protocol

from riskwatch.contracts.outputs import record_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from riskwatch.store.batch import OutboxRecord


class OutputPublisher(Protocol):
    """Takes records in order. When it returns, they are out."""

    relay: bool
    """Whether outputs are to be kept in the outbox until they are published."""
    dead_letters: bool
    """Whether what is refused is to be published, too."""

    def set_leader(self, worker: str, epoch: int) -> None:
        """Take note for whom the next records are, and under which epoch."""
        ...

    def publish(self, records: Sequence[OutboxRecord]) -> None:
        """Send `records`; an exception leaves them in the outbox."""
        ...


class NullPublisher:
    """For a worker whose only readers are the tables."""

    relay = False
    dead_letters = False

    def set_leader(self, worker: str, epoch: int) -> None:
        """Take note of nothing."""

    def publish(self, records: Sequence[OutboxRecord]) -> None:
        """Refuse: without a relay there is nothing to publish."""
        raise AssertionError(f"{len(records)} records for nobody")


class NdjsonPublisher:
    r"""Writes ``{"topic", "key", "value"}``, one line per record, and flushes.

    Parameters
    ----------
    stream : binary file
        Standard output, as a rule.

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
        """Take note of nothing: lines have one writer."""

    def publish(self, records: Sequence[OutboxRecord]) -> None:
        """Write `records` in one piece."""
        self._stream.write(b"".join(record_line(r.topic, r.key, r.value) for r in records))
        self._stream.flush()
