"""Where stages raised, as people ask for it; what workers do about it is in `store.faults`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from riskwatch.store.letters import Place
from riskwatch.store.truth import QUARANTINE, STAGE_FAULT

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclass(frozen=True, slots=True)
class StandingFault:
    """A place at which a stage raised, and who wants it set aside."""

    place: Place
    crashes: int
    error: str
    asked: tuple[str, ...]


def standing_faults(conn: Connection) -> list[StandingFault]:
    """Every place at which a stage raised and that its worker did not pass since."""
    q, f = QUARANTINE.c, STAGE_FAULT.c
    asked: dict[Place, list[str]] = {}
    people = select(q.worker, q.stream, q.position, q.person, q.reason)
    for worker, stream, position, person, why in conn.execute(people.order_by(q.person)):
        asked.setdefault(Place(worker, stream, position), []).append(f"{person}: {why}")
    raised = select(f.worker, f.stream, f.position, f.crashes, f.error)
    out = []
    for row in conn.execute(raised.order_by(f.worker, f.stream, f.position)):
        place = Place(*row[:3])
        out.append(StandingFault(place, row.crashes, row.error, tuple(asked.get(place, ()))))
    return out
