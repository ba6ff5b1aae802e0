"""The Faust app of the risk worker: market and risk stage in one transaction, one leader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.worker.worker import RiskWorker
from streams import host

if TYPE_CHECKING:
    from riskwatch.worker.settings import ProcessSettings


def worker(settings: ProcessSettings) -> RiskWorker:
    """Return the risk worker."""
    return RiskWorker(settings)


run = host.run
