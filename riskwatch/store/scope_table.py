"""The scope table: effective states and decisions of all scopes, with a digest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import select

from riskwatch.core.enums import Restriction, State
from riskwatch.core.restriction import restriction_text
from riskwatch.core.scopes import table_digest
from riskwatch.store.engine import translate_errors
from riskwatch.store.lease import hold_lease
from riskwatch.store.projections import KILLSWITCH
from riskwatch.store.truth import HEARTBEAT, WORKER_PROGRESS
from riskwatch.store.write import upsert

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Engine

    from riskwatch.contracts.heartbeat import Heartbeat


@dataclass(frozen=True, slots=True)
class ScopeTable:
    """Effective state and decision of every scope.

    Attributes
    ----------
    states : dict of str to str
        Effective state by scope.
    decisions : dict of str to str
        Id of the decision behind the state, by scope.
    seq : int
        Sequence number of the last output in the table.
    restrictions : dict of str to str
        What the state restricts, and members, in one text, by scope.
    """

    states: dict[str, str]
    decisions: dict[str, str]
    seq: int
    restrictions: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Digest of scopes, effective states and decisions, 32 hexadecimal digits."""
        return table_digest((s, self.states[s], self.decisions[s]) for s in self.states)

    @property
    def restriction_digest(self) -> str:
        """Digest of scopes, what they restrict, and decisions, 32 hexadecimal digits."""
        known = self.restrictions
        return table_digest((s, known.get(s, ""), self.decisions[s]) for s in self.states)


def scope_table(engine: Engine, worker: str, epoch: int) -> ScopeTable:
    """Read the scope table, and renew the lease of the worker that publishes it.

    Raises
    ------
    FencedError
        If another process holds the lease. Then this one must not publish the table.
    StoreUnavailableError
        If the database does not answer.
    """
    k, p = KILLSWITCH.c, WORKER_PROGRESS.c
    with translate_errors(f"{worker}: the table of scopes cannot be read"), engine.begin() as conn:
        hold_lease(conn, worker, epoch)
        query = select(k.scope, k.effective, k.decision_id, k.restriction, k.members)
        rows = conn.execute(query.order_by(k.scope)).all()
        seq = conn.execute(select(p.next_seq).where(p.worker == worker)).scalar()
    return ScopeTable(
        {scope: effective for scope, effective, _, _, _ in rows},
        {scope: decision for scope, _, decision, _, _ in rows},
        0 if seq is None else seq - 1,
        {
            scope: restriction_text(State(effective), _restrictions(restriction), members)
            for scope, effective, _, restriction, members in rows
        },
    )


def record_heartbeat(engine: Engine, heartbeat: Heartbeat) -> None:
    """Store a heartbeat that was published, so that SQL says until when the table is confirmed.

    Raises
    ------
    FencedError
        If another process holds the lease.
    StoreUnavailableError
        If the database does not answer.
    """
    worker = heartbeat.worker
    row = (
        worker, heartbeat.epoch, heartbeat.seq, heartbeat.digest, heartbeat.ts,
        heartbeat.valid_until,
    )  # fmt: skip
    with translate_errors(f"{worker}: the heartbeat cannot be stored"), engine.begin() as conn:
        hold_lease(conn, worker, heartbeat.epoch)
        upsert(conn, HEARTBEAT, [row])


def _restrictions(stored: Mapping[str, str]) -> dict[Restriction, State]:
    return {Restriction(each): State(state) for each, state in stored.items()}


def count_by_state(states: Mapping[str, str]) -> dict[str, int]:
    """Count scopes by state.

    Examples
    --------
    >>> count_by_state({"a": "HALT", "b": "HALT"})
    {'HALT': 2}
    """
    out: dict[str, int] = {}
    for state in states.values():
        out[state] = out.get(state, 0) + 1
    return out
