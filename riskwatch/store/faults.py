"""Where a stage raised, how often, and what people set aside because of it."""

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
"""How many different people it takes to set a message aside."""
FaultPlace = tuple[str, int]
"""Stream and position."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One place at which a stage raised.

    Attributes
    ----------
    stream, position : str, int
        The message.
    crashes : int
        How often.
    error : str
        What it said last.
    """

    stream: str
    position: int
    crashes: int
    error: str


def record_crash(engine: Engine, worker: str, place: FaultPlace, error: str) -> int:
    """Count a crash at a place; returns how many there were.

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
    """Places at which `worker` crashed and that it did not pass since.

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
    """Forget the crashes of a worker: it went beyond them.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer.
    """
    with translate_errors(f"{worker}: faults cannot be cleared"), engine.begin() as conn:
        conn.execute(delete(STAGE_FAULT).where(STAGE_FAULT.c.worker == worker))


def open_alert_id(engine: Engine, alert: str) -> str | None:
    """Id of the message that last raised an alert, if it is open.

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
    """Forget how often a worker crashed, so that it tries again; returns where it will.

    Raises
    ------
    StoreError
        If no stage of it failed.
    """
    c = STAGE_FAULT.c
    # The places stay: what was said of them ends when the worker gets beyond.
    anew = update(STAGE_FAULT).where(c.worker == worker).values(crashes=0)
    with translate_errors(f"{worker}: faults cannot be cleared"), engine.begin() as conn:
        rows = conn.execute(anew.returning(c.stream, c.position)).all()
        found = sorted((stream, position) for stream, position in rows)
    if not found:
        raise StoreError(f"{worker}: no stage of it failed (see riskwatch dlq faults)")
    return found


def quarantines(engine: Engine, worker: str) -> dict[FaultPlace, str]:
    """Places that enough people set aside, with their names and reasons.

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
    wanted: dict[FaultPlace, list[str]] = {}
    for stream, position, person, why in rows:
        wanted.setdefault((stream, position), []).append(f"{person}: {why}")
    return {
        place: "; ".join(said) for place, said in wanted.items() if len(said) >= REQUIRED_PEOPLE
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
    """Ask that a message be set aside unread; returns how many people ask for it now.

    Raises
    ------
    StoreError
        If no stage failed there, it is a batch of several inputs, or that person asked before.
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
        asked = select(q.person).where(*here, func.lower(q.person) == person.lower())
        if conn.execute(asked).one_or_none() is not None:
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
