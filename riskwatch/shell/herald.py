"""Telling the world that a worker stays down, once for each fault, and that it went on.

What is told goes the way of all outputs: one transaction, the outbox, the topics. Whether it was
told already is read off the alert itself, so that neither a restart nor a crash at any moment
tells it twice, or forgets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.core.clock import moment
from riskwatch.core.faults import fault_alert, fault_scope
from riskwatch.core.ids import output_id
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.outputs import AlertResolved, StageFaulted
from riskwatch.core.readings import PartitionFault
from riskwatch.store import faults

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from riskwatch.shell.pipeline import Pipeline
    from riskwatch.shell.runner import Runner
    from riskwatch.shell.waiting import Patience


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
