"""The crash book: a stage that raises stops the worker, and the third time it stays down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from riskwatch.errors import StoreUnavailableError
from riskwatch.store import faults, lease
from riskwatch.store.truth import TICKS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.engine import Engine

    from riskwatch.shell.runner import Runner
    from riskwatch.shell.waiting import Patience

TIMES: Final = 3
"""Crashes at one place after which it is not tried again."""
T = TypeVar("T")

log = structlog.get_logger("riskwatch.crashes")


class CrashBook:
    """Counts crashes per worker and place in SQL, and looks up what people set aside.

    Parameters
    ----------
    engine : Engine
        The database.
    patience : Patience
        How it is waited for.
    """

    def __init__(self, engine: Engine, patience: Patience) -> None:
        self._engine = engine
        self._patience = patience
        self._aside: dict[str, dict[faults.Place, str]] = {}
        self._open: dict[str, list[faults.Fault]] = {}

    def standing(self, runner: Runner) -> str | None:
        """Why a worker must stay down, if it must; called when it begins."""
        name = runner.worker
        self._aside[name] = self._wait(lambda: faults.quarantined(self._engine, name))
        found = self._wait(lambda: faults.faults(self._engine, name))
        self._open[name] = found
        for fault in found:
            place = (fault.stream, fault.position)
            if fault.crashes >= TIMES and place not in self._aside[name]:
                said = (
                    f"a stage failed {fault.crashes} times at {fault.stream} {fault.position} "
                    f"({fault.error}): it stays down until two people set the message aside "
                    "(riskwatch dlq quarantine)"
                )
                log.error("stays down", worker=name, why=said)
                return said
        return None

    def set_aside(self, worker: str, place: faults.Place) -> str | None:
        """Who set a message aside and why; ``None`` if nobody did."""
        return self._aside.get(worker, {}).get(place)

    def note(self, worker: str, place: faults.Place, error: str) -> int:
        """Count a crash; returns how many there were at that place."""
        return self._wait(lambda: faults.note_crash(self._engine, worker, place, error))

    def went_on(self, worker: str, offsets: Mapping[str, int]) -> None:
        """Forget crashes that a worker got beyond; `offsets` are the new ones of its streams."""
        found = self._open.get(worker)
        if not found:
            return
        left = [f for f in found if f.stream != TICKS and offsets.get(f.stream, 0) <= f.position]
        if not left:
            self._wait(lambda: faults.passed(self._engine, worker))
        self._open[worker] = left

    def renew(self, worker: str, epoch: int) -> None:
        """Keep the lease of a worker that has nothing to commit."""
        self._wait(lambda: lease.renew(self._engine, worker, epoch))

    def release(self, worker: str, epoch: int) -> None:
        """Give a lease back; without an answer it runs out by itself."""
        try:
            lease.release(self._engine, worker, epoch)
        except StoreUnavailableError as error:
            log.warning("lease not given back, it runs out", worker=worker, error=str(error))

    def _wait(self, act: Callable[[], T]) -> T:
        return self._patience.until_done("lease", "store", act, StoreUnavailableError)
