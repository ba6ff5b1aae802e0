"""The lease of a worker: it lets one process write, and passes to a standby.

A lease names a holder and an epoch. Taking it raises the epoch, and a transaction with an older
epoch fails. A standby takes a lease that was not renewed for long enough by the clock of the
database, so the clocks of the processes do not matter (on SQLite all processes are on one
machine). It also takes one that it has seen unchanged for as long by its own steady clock, so
that a clock of the database that was set back does not keep the lease of a dead process.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import ColumnElement, and_, bindparam, func, or_, select, update

from riskwatch.errors import FencedError
from riskwatch.store.engine import translate_errors
from riskwatch.store.truth import LEASE
from riskwatch.store.types import UtcTime
from riskwatch.store.write import insert_into

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

_L: Final = LEASE.c
_LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MINE: Final = update(LEASE).where(_L.worker == bindparam("w"), _L.epoch == bindparam("e"))
_RENEW: Final = _MINE.values(renewed_at=bindparam("now", type_=UtcTime)).returning(_L.epoch)
_HOLD: Final = _MINE.values(renewed_at=func.clock_timestamp()).returning(_L.epoch)


@dataclass(frozen=True, slots=True)
class LeaseState:
    """Holder, epoch and age of a lease.

    Attributes
    ----------
    holder : str
        Host and process.
    epoch : int
        Number of times that the lease was taken.
    idle_s : float
        Seconds since it was last renewed, by the clock of the database; negative after that clock
        was set back.
    renewed_at : datetime
        When it was last renewed.
    """

    holder: str
    epoch: int
    idle_s: float
    renewed_at: datetime


def lease_state(engine: Engine, worker: str) -> LeaseState | None:
    """Read the lease of `worker` without taking it; ``None`` if there is none.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer.
    """
    query = select(_L.holder, _L.epoch, _L.renewed_at).where(_L.worker == worker)
    with translate_errors(f"the lease of {worker} cannot be read"), engine.connect() as conn:
        found = conn.execute(query).one_or_none()
        now = _now(conn)
    if found is None:
        return None
    idle_s = (now - found.renewed_at).total_seconds()
    return LeaseState(found.holder, found.epoch, idle_s, found.renewed_at)


def claim_lease(
    engine: Engine,
    worker: str,
    holder: str,
    patience_s: float,
    *,
    instead_of: str | None = None,
    unless_renewed: LeaseState | None = None,
) -> bool:
    """Take the lease of `worker` if it is free or was not renewed for `patience_s` seconds.

    If the holder is `instead_of`, which is known to be dead, the lease is taken at once. A lease
    that is still as in `unless_renewed` is taken, too.

    Returns
    -------
    bool
        Whether the lease was taken. Of several concurrent claims, one succeeds.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer.
    """
    with translate_errors(f"the lease of {worker} cannot be claimed"), engine.begin() as conn:
        now = _now(conn)
        mine = {"holder": holder, "taken_at": now, "renewed_at": now}
        free: ColumnElement[bool] = _L.renewed_at < now - timedelta(seconds=patience_s)
        if instead_of is not None:
            free = or_(free, _L.holder == instead_of)
        if (seen := unless_renewed) is not None:
            free = or_(free, and_(_L.epoch == seen.epoch, _L.renewed_at == seen.renewed_at))
        raised = update(LEASE).where(_L.worker == worker, free)
        taken = raised.values(epoch=_L.epoch + 1, **mine).returning(_L.epoch)
        if conn.execute(taken).one_or_none() is not None:
            return True
        insert = insert_into(LEASE, conn.dialect)
        first = insert.values(worker=worker, epoch=1, **mine).on_conflict_do_nothing()
        return conn.execute(first.returning(_L.epoch)).one_or_none() is not None


def raise_epoch(conn: Connection, worker: str, holder: str) -> int:
    """Take the lease within a transaction; return its new epoch."""
    now = _now(conn)
    insert = insert_into(LEASE, conn.dialect)
    raised = insert.values(
        worker=worker, holder=holder, epoch=1, taken_at=now, renewed_at=now
    ).on_conflict_do_update(
        index_elements=["worker"],
        set_={
            "epoch": _L.epoch + 1,
            "holder": insert.excluded.holder,
            "taken_at": insert.excluded.taken_at,
            "renewed_at": insert.excluded.renewed_at,
        },
    )
    epoch: int = conn.execute(raised.returning(_L.epoch)).scalar_one()
    return epoch


def hold_lease(conn: Connection, worker: str, epoch: int) -> None:
    """Renew the lease, and lock its row until the end of the transaction.

    Raises
    ------
    FencedError
        If another process took the lease.
    """
    # Every transaction does this, so use one statement where the database has a clock.
    postgres = conn.dialect.name == "postgresql"
    mine = {"w": worker, "e": epoch} | ({} if postgres else {"now": datetime.now(UTC)})
    if conn.execute(_HOLD if postgres else _RENEW, mine).one_or_none() is not None:
        return
    found = conn.execute(select(_L.holder, _L.epoch).where(_L.worker == worker)).one_or_none()
    if found is None:
        raise FencedError(f"{worker}: nobody holds the lease")
    raise FencedError(
        f"{worker}: epoch {epoch} is over, {found.holder} holds the lease with epoch {found.epoch}"
    )


def renew_lease(engine: Engine, worker: str, epoch: int) -> None:
    """Renew the lease when there is nothing to commit.

    Raises
    ------
    FencedError
        If another process took the lease.
    StoreUnavailableError
        If the database does not answer.
    """
    with translate_errors(f"the lease of {worker} cannot be renewed"), engine.begin() as conn:
        hold_lease(conn, worker, epoch)


def release_lease(engine: Engine, worker: str, epoch: int) -> None:
    """Release the lease, so that a standby can take it at once. The epoch stays.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer. The lease then expires by itself.
    """
    with translate_errors(f"the lease of {worker} cannot be released"), engine.begin() as conn:
        conn.execute(_RENEW, {"w": worker, "e": epoch, "now": _LONG_AGO})


def _now(conn: Connection) -> datetime:
    """Return the time of the database's clock."""
    if conn.dialect.name == "sqlite":
        return datetime.now(UTC)
    found: datetime = conn.execute(select(func.clock_timestamp())).scalar_one()
    return found.astimezone(UTC)
