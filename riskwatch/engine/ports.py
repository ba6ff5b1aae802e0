"""The interface of the store as the runner uses it, and its implementation on SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from riskwatch.core.migration import ROW_FORMAT, RowFormat
from riskwatch.store import transaction

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from riskwatch.store.batch import Batch, OutboxRecord, ResumePoint


class Store(Protocol):
    """The durable store: leases, state rows, journal, outputs and outbox."""

    def take_lease(self, worker: str, holder: str) -> ResumePoint:
        """Take the write lease of `worker`, and load its resume point."""
        ...

    def commit(self, batch: Batch) -> None:
        """Commit a batch in one transaction: all of it or none."""
        ...

    def pending(self, worker: str, limit: int, *, latest_only: bool = False) -> list[OutboxRecord]:
        """Return records not known to be published, in order, at most `limit`."""
        ...


@dataclass(frozen=True, slots=True)
class SqlStore:
    """A store on one SQL database; see :mod:`riskwatch.store.transaction`.

    Attributes
    ----------
    engine : Engine
        The database.
    row_format : RowFormat
        Format of the state rows that the worker reads and writes.
    """

    engine: Engine
    row_format: RowFormat = ROW_FORMAT

    def take_lease(self, worker: str, holder: str) -> ResumePoint:
        """Take the write lease of `worker`, and load its resume point."""
        return transaction.take_lease(self.engine, worker, holder, self.row_format)

    def commit(self, batch: Batch) -> None:
        """Commit a batch in one transaction: all of it or none."""
        transaction.commit(self.engine, batch, self.row_format)

    def pending(self, worker: str, limit: int, *, latest_only: bool = False) -> list[OutboxRecord]:
        """Return records not known to be published, in order, at most `limit`."""
        return transaction.pending_records(self.engine, worker, limit, latest_only=latest_only)
