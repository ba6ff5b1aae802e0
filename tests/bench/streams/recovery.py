"""From SIGKILL of the leading risk worker to the first commit, and to the first decision."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg

from tests.bench.streams.load import Maker, now_us
from tests.bench.streams.report import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.streams.ground import Bench, Ground

RATE: Final = 200
ROUNDS: Final = 2
_READ: Final = "SELECT read FROM worker_progress WHERE worker = 'risk'"
_SWITCH: Final = "SELECT 1 FROM killswitch WHERE scope = %s AND state = 'HALT'"


@dataclass
class Blow:
    """Seconds from the kill to the first commit, and to the decision on news sent after it."""

    commit: float
    decision: float


def measure(ground: Ground, records: int) -> Iterator[Figure]:
    """Kill the leader, and start it again; kill it while another stands by."""
    del records
    with ground.bench("recovery") as bench:
        bench.run_child("tests.bench.streams.background", str(RATE), "bg")
        bench.start("risk-1")
        bench.wait_opened("risk-1")
        again = [strike(bench, "risk-1", number, restart=True) for number in range(ROUNDS)]
        yield figure("SIGKILL of the risk worker, started again at once", again, "5 s")
        over = []
        for number in range(ROUNDS):
            leader, standby = ("risk-1", "risk-2") if number % 2 == 0 else ("risk-2", "risk-1")
            stand_by(bench, standby)
            over.append(strike(bench, leader, ROUNDS + number, restart=False))
        yield figure("SIGKILL of the risk worker, a standby takes over", over, "15 s")


def figure(what: str, blows: list[Blow], target: str) -> Figure:
    """Tell the slowest."""
    commit, decision = max(b.commit for b in blows), max(b.decision for b in blows)
    return Figure(
        what,
        f"first commit {commit:.1f} s, first decision {decision:.1f} s",
        f"slowest of {len(blows)}, lease 10 s, {RATE} events/s",
        target,
    )


def stand_by(bench: Bench, name: str) -> None:
    """Start a worker, and wait until it waits for the lease."""
    log = bench.folder / f"{bench.name}-{name}.log"
    before = log.stat().st_size if log.exists() else 0
    bench.start(name)
    bench.until(lambda: b'"stands by"' in log.read_bytes()[before:], "the standby", 0.1)


def strike(bench: Bench, name: str, number: int, *, restart: bool) -> Blow:
    """Kill a leader, send news of a counterparty, and see when somebody works again."""
    with psycopg.connect(bench.database, autocommit=True) as conn:

        def asked(query: str, *values: str) -> int:
            row: Any = conn.execute(query.encode(), values).fetchone()
            return int(row[0]) if row else 0

        bench.until(lambda: asked(_READ) > 0, "the leader's work")
        bench.kill(name)
        began = time.monotonic()
        del bench.workers[name]
        before = asked(_READ)
        if restart:
            bench.start(name)
        party = f"struck-{number}"
        bench.fill([Maker(run=party).credit(now_us(), "court", party, "insolvency")])
        commit = bench.until(lambda: asked(_READ) > before, "the first commit")
        scope = f"counterparty:{party}"
        decision = bench.until(lambda: asked(_SWITCH, scope) > 0, "the first decision")
    return Blow(commit - began, decision - began)
