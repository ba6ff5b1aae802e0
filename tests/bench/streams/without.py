"""A worker with a part of its transaction left out, to see what that part costs.

``python -m tests.bench.streams.without {nothing,fence,outbox,journal} {ledger,risk}``; settings
are the environment's. Not safe for anything but measuring.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from riskwatch.store import transaction
from riskwatch.worker import logs
from riskwatch.worker.settings import ProcessSettings
from riskwatch.worker.worker import LedgerWorker, RiskWorker, Worker
from streams import host

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from riskwatch.engine.retry import RetryingStore
    from riskwatch.store.batch import Batch, OutboxRecord, ResumePoint

PARTS: Final = ("nothing", "fence", "outbox", "journal")
KINDS: Final[dict[str, type[Worker]]] = {"ledger": LedgerWorker, "risk": RiskWorker}


def stripped(batch: Batch, part: str) -> Batch:
    """Leave a part of a batch out; what is published is not touched."""
    if part == "outbox":
        return replace(batch, forwards=[], relay=False, published_seq=0)
    if part == "journal":
        return replace(batch, journal=[])
    return batch


def unfenced(conn: Connection, batch: Batch) -> tuple[int, int, int]:
    """Hold no lease, and believe that nothing of the batch is stored."""
    del conn
    return transaction.FIRST, transaction.FIRST, batch.us


@dataclass
class Stripping:
    """A store that leaves a part of each batch out."""

    store: RetryingStore
    part: str

    def take_lease(self, worker: str, holder: str) -> ResumePoint:
        """As the store does."""
        return self.store.take_lease(worker, holder)

    def commit(self, batch: Batch) -> None:
        """Commit what is left of a batch."""
        self.store.commit(stripped(batch, self.part))

    def pending(self, worker: str, limit: int, *, latest_only: bool = False) -> list[OutboxRecord]:
        """As the store does."""
        return self.store.pending(worker, limit, latest_only=latest_only)


def main(part: str, kind: str) -> None:
    """Run a worker without a part, until it is stopped."""
    settings = ProcessSettings.read()
    logs.configure_logging(settings.log_level, settings.log_format)
    if part == "fence":
        transaction._fence = unfenced
    made = KINDS[kind](settings)
    made.prepare()
    made._store = Stripping(made._store, part)  # type: ignore[assignment]  # same methods
    host.run(made)


if __name__ == "__main__":
    main(*sys.argv[1:])
