"""Workers with a planted fault, which the laboratory must detect.

``python -m tests.chaos.faulty FAULT ledger|risk`` with FAULT one of ``torn`` (offsets in one
transaction, effects in the next), ``ack`` (the offset moves before there is any effect),
``unfenced`` (no check of the lease) and ``stage`` (the ledger raises at one message). The first
two kill themselves with SIGKILL once, at the moment when the fault has an effect.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import select

from riskwatch.cli import main
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.migration import ROW_FORMAT, RowFormat
from riskwatch.store import transaction
from riskwatch.store.transaction import FIRST
from riskwatch.store.truth import STREAM_OFFSET, WORKER_PROGRESS
from riskwatch.store.write import upsert
from streams import host

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from riskwatch.core.ledger.state import LedgerState
    from riskwatch.store.batch import Batch

NTH = 6
"""Which commit with events in it is the last of the first life."""
POISON = "poison"
"""Id of the event that the planted ledger cannot take."""
_whole = transaction.commit
_step = LedgerStage.step
_seen = 0


def _once(path: str) -> bool:
    """Whether this is the first life; it is not, from now on."""
    marker = Path(path)
    if marker.exists():
        return False
    marker.touch()
    return True


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _due(batch: Batch) -> bool:
    global _seen  # noqa: PLW0603 - the fault of one process
    _seen += bool(batch.counts.applied and batch.offsets and (batch.rows or batch.outputs))
    return _seen == NTH and _once(os.environ["RISKWATCH_TEST_MARKER"])


def torn(engine: Engine, batch: Batch, row_format: RowFormat = ROW_FORMAT) -> None:
    """Commit offsets and counts first, then the rest; die in between, once."""
    if _due(batch):
        _whole(
            engine,
            replace(batch, rows={}, journal=[], outputs=[], forwards=[], dead_letters=[]),
            row_format,
        )
        _die()
    _whole(engine, batch, row_format)


def ack(engine: Engine, batch: Batch, row_format: RowFormat = ROW_FORMAT) -> None:
    """Move the offsets, then die before anything came of them, once."""
    if _due(batch):
        with engine.begin() as conn:
            rows = [(batch.worker, o.stream, o.identity, o.position, o.records)
                    for o in batch.offsets]  # fmt: skip
            upsert(conn, STREAM_OFFSET, rows)
        _die()
    _whole(engine, batch, row_format)


def unfenced(conn: Connection, batch: Batch) -> tuple[int, int, int]:
    """Say where the worker stands, and ask for no lease."""
    p = WORKER_PROGRESS.c
    query = select(p.next_seq, p.next_journal, p.us).where(p.worker == batch.worker)
    found = conn.execute(query).one_or_none()
    return (FIRST, FIRST, batch.us) if found is None else tuple(found)


def raising(stage: LedgerStage, state: LedgerState, event: Any) -> Any:
    """Take every event but one."""
    if getattr(event, "event_id", None) == POISON:
        raise ZeroDivisionError("a planted bug")
    return _step(stage, state, event)


def plant(fault: str) -> None:
    """Break the store."""
    if fault == "torn":
        transaction.commit = torn
    elif fault == "ack":
        transaction.commit = ack
    elif fault == "stage":
        stage: Any = LedgerStage
        stage.step = raising
        # A process that ends at once leaves its group by this silence; tests wait for it.
        host.SESSION_S = 2.0  # type: ignore[misc]
    else:
        assert fault == "unfenced", f"no such fault: {fault}"
        transaction._fence = unfenced
        from riskwatch.store import lease, scope_table

        for module in (lease, scope_table, transaction):
            assert "hold_lease" in vars(module)  # another name would plant nothing
            vars(module)["hold_lease"] = lambda *_: None


def lives() -> NoReturn:
    """Run as a supervisor does: one process after the other, but everything is imported once.

    A life that says itself why it ends is followed by the next; a signal to stop is handed on.
    """
    watched, held = os.pipe()
    while True:
        pid = os.fork()
        if pid == 0:
            os.close(held)
            threading.Thread(target=_orphaned, args=(watched,), daemon=True).start()
            main()
            sys.exit()

        def stop(number: int, frame: object, pid: int = pid) -> None:
            del frame
            os.kill(pid, number)

        signal.signal(signal.SIGTERM, stop)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code != host.EXIT_EXPECTED:
            sys.exit(abs(code))


def _orphaned(watched: int) -> None:
    """End when the supervisor has gone: nothing is left behind."""
    os.read(watched, 1)
    os._exit(1)


if __name__ == "__main__":
    fault, worker = sys.argv[1:]
    plant(fault)
    sys.argv = ["riskwatch", "run", worker]
    if fault == "stage":
        lives()
    main()
