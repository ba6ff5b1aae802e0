"""The ledger worker: fills and balances, one unit per partition, as many processes as you like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.worker.worker import LedgerWorker
from streams import host

if TYPE_CHECKING:
    from riskwatch.worker.settings import Settings


def worker(settings: Settings) -> LedgerWorker:
    """Put the worker together."""
    return LedgerWorker(settings)


run = host.run
