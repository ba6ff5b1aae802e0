"""The risk worker: market and risk in one transaction; one leads, the others stand by."""

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
