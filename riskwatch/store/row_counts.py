"""Counts of the stored rows of workers: state rows, their bytes, and the outbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from riskwatch.store.engine import translate_errors
from riskwatch.store.truth import OUTBOX, STATE_ROW

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

_S: Final = STATE_ROW.c
_O: Final = OUTBOX.c


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Counts by worker.

    Attributes
    ----------
    state : dict of (str, str) to (int, int)
        Rows and bytes by worker and stage.
    outbox : dict of str to int
        Committed records that are not known to be published, by worker.
    """

    state: dict[tuple[str, str], tuple[int, int]]
    outbox: dict[str, int]


def count_rows(engine: Engine, workers: list[str]) -> RowCounts:
    """Count the rows of `workers`.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer.
    """
    kept = (
        select(_S.worker, _S.stage, func.count(), func.sum(func.length(_S.body)))
        .where(_S.worker.in_(workers))
        .group_by(_S.worker, _S.stage)
    )
    waits = select(_O.worker, func.count()).where(_O.worker.in_(workers)).group_by(_O.worker)
    with translate_errors("rows cannot be counted"), engine.connect() as conn:
        state = {(w, stage): (n, int(size)) for w, stage, n, size in conn.execute(kept)}
        found = {row[0]: row[1] for row in conn.execute(waits)}
    return RowCounts(state, {worker: found.get(worker, 0) for worker in workers})
