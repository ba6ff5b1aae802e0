"""What the runner asks of the store, and the store on SQL that answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from riskwatch.core.migration import ROW_FORMAT, RowFormat
from riskwatch.store import transaction

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from riskwatch.store.batch import Batch, OutboxRecord, ResumePoint


class Store(Protocol):
    """Where truth lives."""

    def take_lease(self, worker: str, holder: str) -> ResumePoint:
        """Become the one that writes for `worker`, and load what it needs to go on."""
        ...

    def commit(self, batch: Batch) -> None:
        """Make a batch true, whole or not at all."""
        ...

    def pending(self, worker: str, limit: int, *, latest_only: bool = False) -> list[OutboxRecord]:
        """Records not known to be published, in order, at most `limit`."""
        ...


@dataclass(frozen=True, slots=True)
class SqlStore:
    """The functions of :mod:`riskwatch.store.transaction` on one database.

    Attributes
    ----------
    engine : Engine
        The database.
    row_format : RowFormat
        Format of state rows that the worker reads and writes.
    """

    engine: Engine
    row_format: RowFormat = ROW_FORMAT

    def take_lease(self, worker: str, holder: str) -> ResumePoint:
        """Become the one that writes for `worker`, and load what it needs to go on."""
        return transaction.take_lease(self.engine, worker, holder, self.row_format)

    def commit(self, batch: Batch) -> None:
        """Make a batch true, whole or not at all."""
        transaction.commit(self.engine, batch, self.row_format)

    def pending(self, worker: str, limit: int, *, latest_only: bool = False) -> list[OutboxRecord]:
        """Records not known to be published, in order, at most `limit`."""
        return transaction.pending_records(self.engine, worker, limit, latest_only=latest_only)
