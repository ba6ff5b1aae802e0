"""The Faust app of the ledger worker: fills and balances, one unit per partition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.worker.worker import LedgerWorker
from streams import host

if TYPE_CHECKING:
    from riskwatch.worker.settings import ProcessSettings


def worker(settings: ProcessSettings) -> LedgerWorker:
    """Return the ledger worker."""
    return LedgerWorker(settings)


run = host.run
