"""Stage faults in SQL: crash counts by place, and quarantine requests of people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, func, select, update

from riskwatch.errors import StoreError
from riskwatch.store.engine import translate_errors
from riskwatch.store.projections import ALERT
from riskwatch.store.truth import COMMITS, DEAD_LETTER, QUARANTINE, STAGE_FAULT, TICKS
from riskwatch.store.write import insert_into

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

REQUIRED_PEOPLE: Final = 2
"""Number of different people that must ask to quarantine a message."""
FaultPlace = tuple[str, int]
"""Stream and position."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One place at which a stage raised.

    Attributes
    ----------
    stream, position : str, int
        Place of the message.
    crashes : int
        Number of crashes.
    error : str
        Text of the last error.
    """

    stream: str
    position: int
    crashes: int
    error: str


def record_crash(engine: Engine, worker: str, place: FaultPlace, error: str) -> int:
    """Count a crash at a place; return the number of crashes there.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer.
    """
    stream, position = place
    insert = insert_into(STAGE_FAULT, engine.dialect)
    counted = insert.values(
        worker=worker, stream=stream, position=position, crashes=1, error=error
    ).on_conflict_do_update(
        index_elements=["worker", "stream", "position"],
        set_={"crashes": STAGE_FAULT.c.crashes + 1, "error": insert.excluded.error},
    )
    with translate_errors(f"{worker}: a crash cannot be counted"), engine.begin() as conn:
        n: int = conn.execute(counted.returning(STAGE_FAULT.c.crashes)).scalar_one()
        return n


def faults(engine: Engine, worker: str) -> list[Fault]:
    """Return the places at which `worker` crashed and that it has not passed since.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer.
    """
    c = STAGE_FAULT.c
    query = (
        select(c.stream, c.position, c.crashes, c.error)
        .where(c.worker == worker)
        .order_by(c.stream, c.position)
    )
    with translate_errors(f"{worker}: faults cannot be read"), engine.connect() as conn:
        return [Fault(*row) for row in conn.execute(query)]


def clear_crashes(engine: Engine, worker: str) -> None:
    """Delete the faults of a worker, after it has passed them.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer.
    """
    with translate_errors(f"{worker}: faults cannot be cleared"), engine.begin() as conn:
        conn.execute(delete(STAGE_FAULT).where(STAGE_FAULT.c.worker == worker))


def open_alert_id(engine: Engine, alert: str) -> str | None:
    """Return the id of the output that last raised an alert, if the alert is open.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer.
    """
    c = ALERT.c
    query = select(c.last_id).where(c.alert == alert, c.resolved_ts.is_(None))
    with translate_errors(f"{alert}: the alert cannot be read"), engine.connect() as conn:
        found: str | None = conn.execute(query).scalar_one_or_none()
        return found


def reset_crashes(engine: Engine, worker: str) -> list[FaultPlace]:
    """Reset the crash counts of a worker, so that it tries again; return the places.

    Raises
    ------
    StoreError
        If no stage of the worker failed.
    """
    c = STAGE_FAULT.c
    # The rows stay until the worker has passed the places, which also resolves the alerts.
    reset = update(STAGE_FAULT).where(c.worker == worker).values(crashes=0)
    with translate_errors(f"{worker}: faults cannot be cleared"), engine.begin() as conn:
        rows = conn.execute(reset.returning(c.stream, c.position)).all()
        found = sorted((stream, position) for stream, position in rows)
    if not found:
        raise StoreError(f"{worker}: no stage of it failed (see riskwatch dlq faults)")
    return found


def quarantines(engine: Engine, worker: str) -> dict[FaultPlace, str]:
    """Return the quarantined places, with the names and reasons of the people.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer.
    """
    c = QUARANTINE.c
    query = (
        select(c.stream, c.position, c.person, c.reason)
        .where(c.worker == worker)
        .order_by(c.stream, c.position, c.person)
    )
    with translate_errors(f"{worker}: the quarantine cannot be read"), engine.connect() as conn:
        rows = conn.execute(query).all()
    requests: dict[FaultPlace, list[str]] = {}
    for stream, position, person, why in rows:
        requests.setdefault((stream, position), []).append(f"{person}: {why}")
    return {
        place: "; ".join(reasons)
        for place, reasons in requests.items()
        if len(reasons) >= REQUIRED_PEOPLE
    }


def skipped_ticks(engine: Engine, worker: str) -> int:
    """Number of ticks of `worker` that were skipped because people requested it.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer.
    """
    c = DEAD_LETTER.c
    query = select(func.count()).where(c.worker == worker, c.stream == TICKS)
    with translate_errors(f"{worker}: skipped ticks cannot be read"), engine.connect() as conn:
        n: int = conn.execute(query).scalar_one()
        return n


def request_quarantine(
    engine: Engine, worker: str, place: FaultPlace, person: str, why: str
) -> int:
    """Request the quarantine of a message; return the number of people who have requested it.

    Raises
    ------
    StoreError
        If no stage failed there, the place is a batch, or the person has requested it before.
    """
    stream, position = place
    if stream == COMMITS:
        raise StoreError(
            f"a batch is not set aside as a whole: {worker} commits its inputs one by one now and "
            "finds the one that fails"
        )
    at = (
        STAGE_FAULT.c.worker == worker,
        STAGE_FAULT.c.stream == stream,
        STAGE_FAULT.c.position == position,
    )
    q = QUARANTINE.c
    here = (q.worker == worker, q.stream == stream, q.position == position)
    with translate_errors(f"{worker}: it cannot be set aside"), engine.begin() as conn:
        if conn.execute(select(STAGE_FAULT.c.crashes).where(*at)).one_or_none() is None:
            raise StoreError(f"{worker}: no stage failed at {stream} {position}")
        previous = select(q.person).where(*here, func.lower(q.person) == person.lower())
        if conn.execute(previous).one_or_none() is not None:
            raise StoreError(f"{person} asked for this before: it takes another person")
        conn.execute(
            QUARANTINE.insert().values(
                worker=worker, stream=stream, position=position, person=person, reason=why
            )
        )
        n: int = conn.execute(
            select(func.count()).select_from(QUARANTINE).where(*here)
        ).scalar_one()
        return n
