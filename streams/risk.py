"""The risk worker: market and risk in one transaction; one leads, the others stand by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.worker.worker import Worker
from streams import host

if TYPE_CHECKING:
    from riskwatch.worker.settings import ProcessSettings


def worker(settings: ProcessSettings) -> Worker:
    """Put the worker together."""
    return Worker("risk", settings)


run = host.run
