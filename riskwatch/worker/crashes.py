"""The crash book: a stage that raises stops the worker, and the third time it stays down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from riskwatch.core.clock import moment
from riskwatch.core.ids import output_id
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.outputs import AlertResolved, StageFaulted, fault_alert_key, fault_scope
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


# Telling the world that a worker stays down, once for each fault, and that it went on.
#
# What is told goes the way of all outputs: one transaction, the outbox, the topics. Whether it was
# told already is read off the alert itself, so that neither a restart nor a crash at any moment
# tells it twice, or forgets it.


class FaultReporter:
    """Speaks for workers that stay down.

    Parameters
    ----------
    engine : Engine
        The database.
    retry : Patience
        How it is waited for.
    """

    def __init__(self, engine: Engine, patience: Retry) -> None:
        self._engine = engine
        self._retry = patience
        self._told: dict[str, str | None] = {}

    def load(self, worker: str) -> None:
        """Look up what was told of a worker before it began."""
        self._told[worker] = self._retry.ask_store(
            "alert", lambda: faults.open_alert_id(self._engine, fault_alert_key(worker))
        )

    def report_down(self, runner: Runner, fault: faults.Fault, us: int) -> None:
        """Tell that a worker stays down, unless that was told.

        Parameters
        ----------
        runner : Runner
            Of that worker; nothing may wait in it.
        fault : Fault
            Where it stays down.
        us : int
            The time, microseconds.
        """
        worker = runner.worker
        # The event time reached stays the same while it is down, and so does the id.
        cause = f"fault/{worker}/{fault.stream}/{fault.position}/{runner.us}"
        told = StageFaulted(
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
        if told.id == self._told.get(worker):
            return
        runner.emit([told])
        if told.counterparties:
            runner.emit([PartitionFault(us, worker, told.id, told.counterparties)])
        runner.commit([])
        runner.commit([])  # says that it is published: nothing else may be committed for long
        self._told[worker] = told.id

    def report_recovered(self, runner: Runner, us: int) -> None:
        """Tell, with the batch in the making, that a worker went on, if it was said to be down."""
        worker = runner.worker
        fault = self._told.get(worker)
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
        self._told[worker] = None


def owned_counterparties(pipeline: Pipeline) -> list[str]:
    """Counterparties whose holdings the stages of a worker keep, sorted."""
    kept = [slot.state.parties for slot in pipeline.slots if isinstance(slot.state, LedgerState)]
    return sorted({name for parties in kept for name in parties})


MAX_CRASHES: Final = 3
"""Crashes at one place after which it is not tried again."""
T = TypeVar("T")

log = structlog.get_logger("riskwatch.crashes")


class CrashTracker:
    """Counts crashes per worker and place in SQL, and looks up what people set aside.

    Parameters
    ----------
    engine : Engine
        The database.
    retry : Patience
        How it is waited for.
    """

    def __init__(self, engine: Engine, patience: Retry) -> None:
        self._engine = engine
        self._retry = patience
        self._aside: dict[str, dict[faults.FaultPlace, str]] = {}
        self._open: dict[str, list[faults.Fault]] = {}
        self._known: dict[str, bool] = {}
        self._skipped: dict[str, int] = {}
        self._herald = FaultReporter(engine, patience)
        self._silent = False

    def current_fault(self, runner: Runner) -> faults.Fault | None:
        """Where a worker must stay down, if it must; called when it begins, and now and then."""
        name = runner.worker
        self._aside[name] = self._wait(lambda: faults.quarantines(self._engine, name))
        self._skipped[name] = self._wait(lambda: faults.skipped_ticks(self._engine, name))
        found = self._wait(lambda: faults.faults(self._engine, name))
        self._open[name] = found
        self._known[name] = bool(found)
        for fault in found:
            place = (fault.stream, fault.position)
            if fault.crashes >= MAX_CRASHES and place not in self._aside[name]:
                return fault
        return None

    def begin(self, runner: Runner) -> None:
        """Take note of what was told of a worker before it began."""
        self._herald.load(runner.worker)

    def report_fault(self, runner: Runner, fault: faults.Fault, us: int) -> None:
        """Tell the world that a worker stays down; `us` is the time. Once for each fault."""
        self._herald.report_down(runner, fault, us)

    def quarantine_reason(self, worker: str, place: faults.FaultPlace) -> str | None:
        """Who set a message aside and why; ``None`` if nobody did."""
        return self._aside.get(worker, {}).get(place)

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
        """Count a crash; returns how many there were at that place."""
        return self._wait(lambda: faults.record_crash(self._engine, worker, place, error))

    def record_passage(
        self, runner: Runner, offsets: Mapping[str, int], us: int, *, ticked: bool
    ) -> None:
        """Take note of crashes that a worker gets beyond with the batch in the making.

        Parameters
        ----------
        runner : Runner
            Of that worker; the batch has something in it.
        offsets : mapping
            New offsets of its streams.
        us : int
            The time, microseconds.
        ticked : bool
            Whether a tick went well since it began.
        """
        name = runner.worker
        self._open[name] = [
            f
            for f in self._open.get(name, ())
            if not self._is_passed(runner, f, offsets, ticked=ticked)
        ]
        if not self._open[name]:
            self._herald.report_recovered(runner, us)

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
        """Forget crashes that a worker got beyond, once that is true."""
        if self._known.get(worker) and not self._open[worker]:
            self._wait(lambda: faults.clear_crashes(self._engine, worker))
            self._known[worker] = False

    def renew(self, worker: str, epoch: int) -> None:
        """Keep the lease of a worker that has nothing to commit."""
        self._wait(lambda: lease.renew_lease(self._engine, worker, epoch))

    def release(self, worker: str, epoch: int) -> None:
        """Give a lease back; without an answer it runs out by itself, like all others then."""
        if self._silent:
            return
        try:
            lease.release_lease(self._engine, worker, epoch)
        except StoreUnavailableError as error:
            self._silent = True
            log.warning("leases not given back, they run out", worker=worker, error=str(error))

    def _wait(self, act: Callable[[], T]) -> T:
        return self._retry.ask_store("lease", act)


def stop_reason(fault: faults.Fault) -> str:
    """Say why a worker stays down, and what ends it."""
    end = "another build goes on (riskwatch dlq retry)"
    if fault.stream == TICKS:
        end += ", or two people skip the tick (riskwatch dlq quarantine)"
    elif fault.stream != COMMITS:
        end += ", or two people set the message aside (riskwatch dlq quarantine)"
    return (
        f"a stage failed {fault.crashes} times at {fault.stream} {fault.position} "
        f"({fault.error}): it stays down until {end}"
    )
