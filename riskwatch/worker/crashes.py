"""The crash book: a stage that raises stops the worker, and the third time it stays down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from riskwatch.core.clock import moment
from riskwatch.core.ids import output_id
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.outputs import AlertResolved, StageFaulted, fault_alert, fault_scope
from riskwatch.core.readings import PartitionFault
from riskwatch.errors import StoreUnavailableError
from riskwatch.store import faults, lease
from riskwatch.store.truth import TICKS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.engine import Engine

    from riskwatch.engine.pipeline import Pipeline
    from riskwatch.engine.retry import Patience
    from riskwatch.engine.runner import Runner


# Telling the world that a worker stays down, once for each fault, and that it went on.
#
# What is told goes the way of all outputs: one transaction, the outbox, the topics. Whether it was
# told already is read off the alert itself, so that neither a restart nor a crash at any moment
# tells it twice, or forgets it.


class Herald:
    """Speaks for workers that stay down.

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
        self._told: dict[str, str | None] = {}

    def listen(self, worker: str) -> None:
        """Look up what was told of a worker before it began."""
        self._told[worker] = self._patience.ask_store(
            "alert", lambda: faults.told(self._engine, fault_alert(worker))
        )

    def down(self, runner: Runner, fault: faults.Fault, us: int) -> None:
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
            counterparties=answers_for(runner.pipeline),
        )
        if told.id == self._told.get(worker):
            return
        runner.tell([told])
        if told.counterparties:
            runner.tell([PartitionFault(us, worker, told.id, told.counterparties)])
        runner.commit([])
        runner.commit([])  # says that it is published: nothing else may be committed for long
        self._told[worker] = told.id

    def gone_on(self, runner: Runner, us: int) -> None:
        """Tell, with the batch in the making, that a worker went on, if it was said to be down."""
        worker = runner.worker
        fault = self._told.get(worker)
        if fault is None:
            return
        key = fault_alert(worker)
        runner.tell(
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
        if answers_for(runner.pipeline):
            runner.tell([PartitionFault(us, worker, fault, [])])
        self._told[worker] = None


def answers_for(pipeline: Pipeline) -> list[str]:
    """Counterparties whose holdings the stages of a worker keep, sorted."""
    kept = [slot.state.parties for slot in pipeline.slots if isinstance(slot.state, LedgerState)]
    return sorted({name for parties in kept for name in parties})


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
        self._known: dict[str, bool] = {}
        self._herald = Herald(engine, patience)
        self._silent = False

    def standing(self, runner: Runner) -> faults.Fault | None:
        """Where a worker must stay down, if it must; called when it begins, and now and then."""
        name = runner.worker
        self._aside[name] = self._wait(lambda: faults.quarantined(self._engine, name))
        found = self._wait(lambda: faults.faults(self._engine, name))
        self._open[name] = found
        self._known[name] = bool(found)
        for fault in found:
            place = (fault.stream, fault.position)
            if fault.crashes >= TIMES and place not in self._aside[name]:
                return fault
        return None

    def begin(self, runner: Runner) -> None:
        """Take note of what was told of a worker before it began."""
        self._herald.listen(runner.worker)

    def tell(self, runner: Runner, fault: faults.Fault, us: int) -> None:
        """Tell the world that a worker stays down; `us` is the time. Once for each fault."""
        self._herald.down(runner, fault, us)

    def set_aside(self, worker: str, place: faults.Place) -> str | None:
        """Who set a message aside and why; ``None`` if nobody did."""
        return self._aside.get(worker, {}).get(place)

    def note(self, worker: str, place: faults.Place, error: str) -> int:
        """Count a crash; returns how many there were at that place."""
        return self._wait(lambda: faults.note_crash(self._engine, worker, place, error))

    def passes(self, runner: Runner, offsets: Mapping[str, int], us: int, *, ticked: bool) -> None:
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
            if not (ticked if f.stream == TICKS else offsets.get(f.stream, 0) > f.position)
        ]
        if not self._open[name]:
            self._herald.gone_on(runner, us)

    def went_on(self, worker: str) -> None:
        """Forget crashes that a worker got beyond, once that is true."""
        if self._known.get(worker) and not self._open[worker]:
            self._wait(lambda: faults.passed(self._engine, worker))
            self._known[worker] = False

    def renew(self, worker: str, epoch: int) -> None:
        """Keep the lease of a worker that has nothing to commit."""
        self._wait(lambda: lease.renew(self._engine, worker, epoch))

    def release(self, worker: str, epoch: int) -> None:
        """Give a lease back; without an answer it runs out by itself, like all others then."""
        if self._silent:
            return
        try:
            lease.release(self._engine, worker, epoch)
        except StoreUnavailableError as error:
            self._silent = True
            log.warning("leases not given back, they run out", worker=worker, error=str(error))

    def _wait(self, act: Callable[[], T]) -> T:
        return self._patience.ask_store("lease", act)


def why_down(fault: faults.Fault) -> str:
    """Say why a worker stays down, and what ends it."""
    end = "another build goes on (riskwatch dlq retry)"
    if fault.stream != TICKS:
        end += ", or two people set the message aside (riskwatch dlq quarantine)"
    return (
        f"a stage failed {fault.crashes} times at {fault.stream} {fault.position} "
        f"({fault.error}): it stays down until {end}"
    )
