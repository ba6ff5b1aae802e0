"""The deployment of a database: its id, its broker, and its history.

The first id is random and comes with the schema. A worker adds the broker when it meets one for the
first time. A copy of a database has the id of its original and must be given another one
(:func:`adopt`); a worker notices a copy because the copy meets another broker.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import insert, select, update

from riskwatch.contracts.redact import redact_secrets
from riskwatch.core.clock import moment
from riskwatch.core.deployment import EMBEDDED, deployment_fault
from riskwatch.core.ids import output_id
from riskwatch.core.outputs import ConfigurationChanged, DeploymentAdopted
from riskwatch.errors import StoreError
from riskwatch.store.audit import AUDIT_CHAIN
from riskwatch.store.batch import Batch, SequencedOutput
from riskwatch.store.engine import translate_errors
from riskwatch.store.lease import lease_state, release_lease
from riskwatch.store.transaction import commit, take_lease
from riskwatch.store.truth import DEPLOYMENT, LEASE, STREAM_OFFSET

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy.engine import Connection, Engine

    from riskwatch.contracts.audit import Head

CHAIN: Final = "risk"
"""Worker whose audit chain records adoptions."""
QUIET_S: Final = 30.0
"""Time after its last renewal from which a lease shows no running worker, seconds."""
_BYTES: Final = 8
_A: Final = AUDIT_CHAIN.c
_D: Final = DEPLOYMENT.c
_NEWEST: Final = select(DEPLOYMENT).order_by(_D.number.desc()).limit(1)


@dataclass(frozen=True, slots=True)
class Deployment:
    """The deployment of a database.

    Attributes
    ----------
    number : int
        Number of the entry, from 1.
    id : str
        Its id.
    cluster : str
        Id of its broker's cluster; empty until a worker has met it.
    prefix : str or None
        Prefix of its topics; ``None`` until a worker has used it.
    """

    number: int
    id: str
    cluster: str
    prefix: str | None


class _Named(msgspec.Struct):
    """The deployments that a record of the chain names."""

    deployment: str = ""
    previous: str = ""


def ensure_deployment(conn: Connection, now: datetime, given: str | None = None) -> str:
    """Give a database an id if it has none, and return its id.

    A database whose workers have read a broker before belongs to that broker.

    Parameters
    ----------
    conn : Connection
        Within a transaction.
    now : datetime
        The time.
    given : str, optional
        The id; random by default.
    """
    found = conn.execute(_NEWEST).one_or_none()
    if found is not None:
        return str(found.id)
    made = given or secrets.token_hex(_BYTES)
    first = {"number": 1, "id": made, "cluster": _cluster_of_offsets(conn), "prefix": None}
    about = {"ts": now, "person": "", "reason": "made with the schema"}
    conn.execute(insert(DEPLOYMENT).values(**first, **about))
    return made


def current_deployment(conn: Connection) -> Deployment:
    """Return the deployment of a database.

    Raises
    ------
    StoreError
        If it has none.
    """
    found = conn.execute(_NEWEST).one_or_none()
    if found is None:
        raise StoreError("the database has no deployment id: run `riskwatch db upgrade`")
    return Deployment(found.number, found.id, found.cluster, found.prefix)


def former_deployments(conn: Connection) -> list[str]:
    """Return the ids that the database had before its present one, the oldest first."""
    ids = list(conn.execute(select(_D.id).order_by(_D.number)).scalars())
    return [each for each in dict.fromkeys(ids[:-1]) if each != ids[-1]]


def check_chained(conn: Connection, worker: str) -> str | None:
    """Return the difference between the id of a database and the one that its chain names last.

    A chain that names none, as in replays and of builds that knew no deployments, differs in
    nothing.
    """
    kinds = (ConfigurationChanged.__name__, DeploymentAdopted.__name__)
    query = select(_A.payload).where(_A.worker == worker, _A.kind.in_(kinds))
    payload = conn.execute(query.order_by(_A.seq.desc()).limit(1)).scalar()
    named = "" if payload is None else msgspec.json.decode(payload, type=_Named).deployment
    own = current_deployment(conn).id
    if named in ("", own):
        return None
    return (
        f"{worker}: the database says deployment {own}, and its audit chain {named}: it was "
        "changed by something other than `riskwatch db adopt`"
    )


def split_heads(
    conn: Connection, worker: str, heads: Iterable[Head]
) -> tuple[list[Head], list[str]]:
    """Return the published heads of a chain that are its own, and a line about others.

    Heads of a former id are its own up to the row of the adoption, because a copy has the rows of
    its original. Heads of builds that knew no deployments name none, and count as its own.
    """
    own = current_deployment(conn).id
    last: dict[str, float] = {"": inf, own: inf}
    adoptions = select(_A.seq, _A.payload).where(_A.worker == CHAIN)
    for seq, payload in conn.execute(adoptions.where(_A.kind == DeploymentAdopted.__name__)):
        last.setdefault(msgspec.json.decode(payload, type=_Named).previous, seq - 1)
    mine: list[Head] = []
    others: dict[str, int] = {}
    for head in heads:
        if head.seq <= last.get(head.deployment, -1):
            mine.append(head)
        else:
            others[head.deployment] = others.get(head.deployment, 0) + 1
    return mine, [
        f"{worker}: {count} heads were published by deployment {name}, and the database is "
        f"deployment {own}: compare it with its own broker"
        for name, count in sorted(others.items())
    ]


def meet_broker(engine: Engine, cluster: str, prefix: str, servers: str) -> tuple[Deployment, bool]:
    """Check that a broker is the one of the database, and remember it if it is the first.

    Parameters
    ----------
    engine : Engine
        The database.
    cluster, prefix : str
        Id of the broker's cluster, and prefix of the topics there.
    servers : str
        The broker's address, for the message.

    Returns
    -------
    tuple of Deployment and bool
        The deployment, and whether it met this broker for the first time.

    Raises
    ------
    StoreError
        If the broker is another one, or the database is one of replays in one process. The
        message says what to do.
    StoreUnavailableError
        If the database does not answer.
    """
    with translate_errors("the deployment cannot be read"), engine.begin() as conn:
        found = current_deployment(conn)
        database = redact_secrets(engine.url.render_as_string(hide_password=True))
        adopt_it = "`riskwatch db adopt --deployment NEW`"
        if found.id == EMBEDDED:
            raise StoreError(
                f"{database} is a database of replays (deployment {EMBEDDED}), so no worker runs "
                f"on it: use a new one, or give it an id by {adopt_it}"
            )
        first = not found.cluster or found.prefix is None
        same_prefix = found.prefix is None or found.prefix == prefix
        if found.cluster not in ("", cluster) or not same_prefix:
            raise StoreError(
                f"{database} is deployment {found.id} of broker cluster {found.cluster} "
                f"(prefix {found.prefix or ''!r}), and {servers} is cluster {cluster} (prefix "
                f"{prefix!r}): name its own broker by RISKWATCH_KAFKA; if the database is a copy, "
                f"give it an id of its own by {adopt_it}; if the broker was replaced, say so by "
                "`riskwatch db adopt --moved`"
            )
        if first:
            met = update(DEPLOYMENT).where(_D.number == found.number)
            conn.execute(met.values(cluster=cluster, prefix=prefix))
        return Deployment(found.number, found.id, cluster, prefix), first


def adopt(
    engine: Engine, holder: str, now_us: int, *, deployment: str | None, person: str, reason: str
) -> DeploymentAdopted:
    """Give a database a new id, or with ``None`` keep the id and forget its broker.

    It takes the lease of :data:`CHAIN` for the time of one transaction, and writes a row of its
    audit chain.

    Parameters
    ----------
    engine : Engine
        The database.
    holder : str
        Name of this process.
    now_us : int
        The time, microseconds.
    deployment : str or None
        The new id.
    person, reason : str
        Who adopts it, and why.

    Raises
    ------
    StoreError
        If the id is not valid, the database had it before, or a worker is running.
    """
    now = _adoptable(engine, deployment)
    resumed = take_lease(engine, CHAIN, holder)
    number, to = now.number + 1, deployment or now.id
    cause = f"deployment/{number}/{to}"
    adopted = DeploymentAdopted(
        id=output_id(cause, "DeploymentAdopted", to),
        cause_id=cause,
        ts=moment(max(now_us, resumed.us)),
        number=number,
        deployment=to,
        previous=now.id,
        cluster=now.cluster,
        person=person,
        reason=reason,
    )
    commit(
        engine,
        Batch(
            CHAIN,
            resumed.epoch,
            rows=resumed.migrated,
            outputs=[SequencedOutput(resumed.next_seq, adopted)],
            counts=resumed.counts,
            us=resumed.us,
        ),
    )
    release_lease(engine, CHAIN, resumed.epoch)
    return adopted


def _adoptable(engine: Engine, deployment: str | None) -> Deployment:
    """Return the present deployment; raise if it cannot adopt the id now."""
    fault = None if deployment is None else deployment_fault(deployment)
    if fault is not None:
        raise StoreError(f"the deployment must be {fault}, was {deployment!r}")
    with engine.connect() as conn:
        now = current_deployment(conn)
        known = [*former_deployments(conn), now.id]
        workers = list(conn.execute(select(LEASE.c.worker).order_by(LEASE.c.worker)).scalars())
    if deployment in known:
        raise StoreError(f"the database is or was deployment {deployment}: choose a new id")
    if deployment is None and now.id == EMBEDDED:
        raise StoreError(f"a database of replays ({EMBEDDED}) needs a new id")
    for worker in workers:
        lease = lease_state(engine, worker)
        if lease is not None and lease.idle_s < QUIET_S:
            raise StoreError(
                f"worker {worker} runs ({lease.holder}, renewed {lease.idle_s:.0f} s ago): stop "
                f"the workers of this database, and wait {QUIET_S:.0f} s if they were killed"
            )
    return now


def _cluster_of_offsets(conn: Connection) -> str:
    """Return the cluster whose topics the workers have read; empty if there is none, or several."""
    texts = conn.execute(select(STREAM_OFFSET.c.identity).distinct()).scalars()
    parts = [part for text in texts for part in text.split(";")]
    named = {part.removeprefix("cluster=") for part in parts if part.startswith("cluster=")}
    return named.pop() if len(named) == 1 else ""
