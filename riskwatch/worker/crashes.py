"""Crash handling: it counts crashes of stages, and stops a worker after three at one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from riskwatch.core.clock import moment
from riskwatch.core.ids import output_id
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.outputs import (
    CLOCK,
    AlertResolved,
    StageFaulted,
    fault_alert_key,
    fault_scope,
)
from riskwatch.core.readings import PartitionFault
from riskwatch.errors import StoreUnavailableError
from riskwatch.store import faults, lease
from riskwatch.store.truth import COMMITS, TICKS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.engine import Engine

    from riskwatch.engine.pipeline import Pipeline
    from riskwatch.engine.retry import Retry
    from riskwatch.engine.runner import Runner


class FaultReporter:
    """Reports once per fault that a worker stays down, and that it recovered.

    A report takes the path of all outputs: one transaction, the outbox, the topics. The open
    alert in the database shows whether a fault was reported. A restart or a crash at any moment
    therefore neither repeats nor loses a report.

    Parameters
    ----------
    engine : Engine
        The database.
    retry : Retry
        How calls to the database are retried.
    """

    def __init__(self, engine: Engine, retry: Retry) -> None:
        self._engine = engine
        self._retry = retry
        self._reported: dict[str, str | None] = {}

    def load(self, worker: str) -> None:
        """Load the open fault alert of a worker. Called before the worker begins."""
        self._reported[worker] = self._retry.ask_store(
            "alert", lambda: faults.open_alert_id(self._engine, fault_alert_key(worker))
        )

    def report_down(self, runner: Runner, fault: faults.Fault, us: int) -> None:
        """Report that a worker stays down, unless this fault was reported already.

        Parameters
        ----------
        runner : Runner
            Runner of that worker; its batch must be empty.
        fault : Fault
            The place of the fault, and its error.
        us : int
            The time, microseconds.
        """
        worker = runner.worker
        # The event time does not change while the worker is down, and so neither does the id.
        cause = f"fault/{worker}/{fault.stream}/{fault.position}/{runner.us}"
        faulted = StageFaulted(
            id=output_id(cause, "StageFaulted", worker),
            cause_id=cause,
            ts=moment(us),
            worker=worker,
            stream=fault.stream,
            position=fault.position,
            crashes=fault.crashes,
            error=fault.error,
            counterparties=owned_counterparties(runner.pipeline),
        )
        if faulted.id == self._reported.get(worker):
            return
        runner.emit([faulted])
        if faulted.counterparties:
            runner.emit([PartitionFault(us, worker, faulted.id, faulted.counterparties)])
        runner.commit([])
        runner.commit([])  # records the publication: the next commit may be far away
        self._reported[worker] = faulted.id

    def report_recovered(self, runner: Runner, us: int) -> None:
        """Report with the present batch that a worker recovered, if it was reported as down."""
        worker = runner.worker
        fault = self._reported.get(worker)
        if fault is None:
            return
        key = fault_alert_key(worker)
        runner.emit(
            [
                AlertResolved(
                    id=output_id(fault, "AlertResolved", key),
                    cause_id=fault,
                    ts=moment(us),
                    alert=key,
                    scope=fault_scope(worker),
                    opened_id=fault,
                )
            ]
        )
        if owned_counterparties(runner.pipeline):
            runner.emit([PartitionFault(us, worker, fault, [])])
        self._reported[worker] = None


def owned_counterparties(pipeline: Pipeline) -> list[str]:
    """Return the counterparties whose holdings the ledger stages of a worker have, sorted."""
    held = [slot.state.parties for slot in pipeline.slots if isinstance(slot.state, LedgerState)]
    return sorted({name for parties in held for name in parties})


MAX_CRASHES: Final = 3
"""Number of crashes at one place after which the worker does not retry."""
T = TypeVar("T")

log = structlog.get_logger("riskwatch.crashes")


class CrashTracker:
    """Counts crashes per worker and place in SQL, and looks up quarantined messages.

    Parameters
    ----------
    engine : Engine
        The database.
    retry : Retry
        How calls to the database are retried.
    """

    def __init__(self, engine: Engine, retry: Retry) -> None:
        self._engine = engine
        self._retry = retry
        self._quarantined: dict[str, dict[faults.FaultPlace, str]] = {}
        self._open: dict[str, list[faults.Fault]] = {}
        self._known: dict[str, bool] = {}
        self._skipped: dict[str, int] = {}
        self._ahead: dict[str, bool] = {}
        self._fault_reporter = FaultReporter(engine, retry)
        self._store_is_down = False

    def current_fault(self, runner: Runner) -> faults.Fault | None:
        """Return the fault at which a worker must stay down, or ``None``. Called repeatedly."""
        name = runner.worker
        self._quarantined[name] = self._wait(lambda: faults.quarantines(self._engine, name))
        self._skipped[name] = self._wait(lambda: faults.skipped_ticks(self._engine, name))
        found = self._wait(lambda: faults.faults(self._engine, name))
        self._open[name] = found
        self._known[name] = bool(found)
        for fault in found:
            place = (fault.stream, fault.position)
            if fault.crashes >= MAX_CRASHES and place not in self._quarantined[name]:
                return fault
        return None

    def begin(self, runner: Runner) -> None:
        """Load the open fault alert of a worker. Called before the worker begins."""
        self._fault_reporter.load(runner.worker)

    def report_fault(self, runner: Runner, fault: faults.Fault, us: int) -> None:
        """Report once per fault that a worker stays down. `us` is the time, microseconds."""
        self._fault_reporter.report_down(runner, fault, us)

    def report_ahead(self, runner: Runner, why: str, us: int) -> None:
        """Report once that a worker's stored time is ahead of the clock, and `why` that counts."""
        self._ahead[runner.worker] = True
        fault = faults.Fault(CLOCK, 0, 0, why)
        self._fault_reporter.report_down(runner, fault, us)

    def end_ahead(self, worker: str) -> None:
        """Note that the clock has reached the stored time; the next batch reports it."""
        self._ahead[worker] = False

    def quarantine_reason(self, worker: str, place: faults.FaultPlace) -> str | None:
        """Return who quarantined a message and why; ``None`` if it is not quarantined."""
        return self._quarantined.get(worker, {}).get(place)

    def tick_place(self, worker: str) -> faults.FaultPlace:
        """Place of the next tick: how many were skipped before it, so that each is skipped once."""
        return TICKS, self._skipped.get(worker, 0)

    def note_skipped_tick(self, worker: str) -> None:
        """Note that the batch in the making skips a tick."""
        self._skipped[worker] = self._skipped.get(worker, 0) + 1

    def is_narrow(self, worker: str) -> bool:
        """Whether a batch could not be stored, so that each input has a commit of its own."""
        return any(fault.stream == COMMITS for fault in self._open.get(worker, ()))

    def record_crash(self, worker: str, place: faults.FaultPlace, error: str) -> int:
        """Count a crash, and return the number of crashes at that place."""
        return self._wait(lambda: faults.record_crash(self._engine, worker, place, error))

    def record_passage(
        self, runner: Runner, offsets: Mapping[str, int], us: int, *, ticked: bool
    ) -> None:
        """Record which places of crashes a worker passes with the present batch.

        Parameters
        ----------
        runner : Runner
            Runner of that worker; its batch must not be empty.
        offsets : mapping
            New offsets of its streams.
        us : int
            The time, microseconds.
        ticked : bool
            Whether a tick succeeded since the worker began.
        """
        name = runner.worker
        self._open[name] = [
            f
            for f in self._open.get(name, ())
            if not self._is_passed(runner, f, offsets, ticked=ticked)
        ]
        if not self._open[name] and not self._ahead.get(name):
            self._fault_reporter.report_recovered(runner, us)

    def _is_passed(
        self, runner: Runner, fault: faults.Fault, offsets: Mapping[str, int], *, ticked: bool
    ) -> bool:
        """Whether the batch in the making goes beyond a fault."""
        if fault.stream == TICKS:
            return ticked or self._skipped[runner.worker] > fault.position
        if fault.stream == COMMITS:
            return runner.counts.read >= fault.position
        return offsets.get(fault.stream, 0) > fault.position

    def clear_passed(self, worker: str) -> None:
        """Delete the crash counts of a worker that passed them. Called after the commit."""
        if self._known.get(worker) and not self._open[worker]:
            self._wait(lambda: faults.clear_crashes(self._engine, worker))
            self._known[worker] = False

    def renew(self, worker: str, epoch: int) -> None:
        """Renew the lease of a worker that has nothing to commit."""
        self._wait(lambda: lease.renew_lease(self._engine, worker, epoch))

    def release(self, worker: str, epoch: int) -> None:
        """Release a lease. If the database is down, this lease and all later ones expire."""
        if self._store_is_down:
            return
        try:
            lease.release_lease(self._engine, worker, epoch)
        except StoreUnavailableError as error:
            self._store_is_down = True
            log.warning("leases not given back, they run out", worker=worker, error=str(error))

    def _wait(self, act: Callable[[], T]) -> T:
        return self._retry.ask_store("lease", act)


def stop_reason(fault: faults.Fault) -> str:
    """Return why a worker stays down, and what ends it."""
    end = "another build goes on (riskwatch dlq retry)"
    if fault.stream == TICKS:
        end += ", or two people skip the tick (riskwatch dlq quarantine)"
    elif fault.stream != COMMITS:
        end += ", or two people set the message aside (riskwatch dlq quarantine)"
    return (
        f"a stage failed {fault.crashes} times at {fault.stream} {fault.position} "
        f"({fault.error}): it stays down until {end}"
    )
