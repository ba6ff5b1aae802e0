"""The clock matrix: leader, broker, database and client, each wrong by ±1 s to ±1 day, per phase.

In every cell a court's news and a person's HALT come while the clock is wrong. The invariant: the
worker decides in time, or heartbeats stop and the guard closes; a HALT is never refused; nothing is
released; the event time is never ahead of the true time by more than the bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from riskwatch.core.clock import DAY, HOUR, MINUTE, SECOND
from riskwatch.core.enums import State
from riskwatch.engine.clock import LiveClock
from riskwatch.errors import FencedError
from riskwatch.store import lease
from riskwatch.store.projections import ALERT, KILLSWITCH, OPERATOR_COMMAND
from riskwatch.store.truth import DEAD_LETTER
from riskwatch.worker.worker import RISK
from tests.support.clocks import COMMANDS, WHO, ClockWorld
from tests.support.worker_fixtures import engine, logged, template, url

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

__all__ = ["engine", "logged", "template", "url"]

PHASES = ("start", "run", "failover", "restart")
STEPS_US = tuple(sign * by for by in (SECOND, MINUTE, 2 * HOUR, DAY) for sign in (1, -1))
TURN_S = 10.0
CLOSED_S = 60.0 + 10.0 + 2 * TURN_S
"""Time after which a guard closed, if nothing is decided: validity, lag, and two turns."""
BOUND_US = SECOND


def play(world: ClockWorld, phase: str, who: str, off_us: int) -> list[str]:
    """Play one cell; return what broke the invariant."""
    wrong = {who: off_us}
    world.off_us = wrong if phase == "start" else {}
    world.lead()
    world.command("halt", "asset:DAI")
    for _ in range(3):
        world.turn(TURN_S)
    world.off_us = wrong
    if phase == "failover":
        world.lead()
    if phase == "run" and who == "database":
        stand_by(world)
    world.news("kraken")
    world.command("halt", "asset:USDC")
    since_us = world.true_us
    found = [*turn(world, since_us)]
    if phase in ("run", "restart"):
        world.off_us = {}
    if phase == "restart":
        world.lead()
    for _ in range(12):
        found += turn(world, since_us)
    with world.engine.connect() as conn:
        states = dict(conn.execute(select(KILLSWITCH.c.scope, KILLSWITCH.c.state)).all())
        command = OPERATOR_COMMAND.c
        refused = conn.execute(select(command.detail).where(command.refusal.is_not(None)))
        dead = conn.execute(
            select(DEAD_LETTER.c.detail).where(DEAD_LETTER.c.stream == f"{COMMANDS}/0")
        )
        found += [f"HALT refused: {row[0]}" for row in (*refused, *dead)]
    for scope in ("asset:DAI", "asset:USDC"):
        if states.get(scope) != "HALT":
            found.append(f"{scope} is {states.get(scope)}")
    return found


def turn(world: ClockWorld, since_us: int) -> list[str]:
    """Let one turn pass; return what broke the invariant in it."""
    floor = world.turn(TURN_S)
    found, passed_s = [], (world.true_us - since_us) / SECOND
    if world.reached_us > world.true_us + BOUND_US:
        found.append(f"{passed_s} s: reached {(world.reached_us - world.true_us) / SECOND} s ahead")
    is_decided = world.held("counterparty:kraken") is not State.NORMAL
    if floor is State.NORMAL and not is_decided and passed_s > CLOSED_S:
        found.append(f"{passed_s} s: trusted, and the news is not decided on")
    if world.held("asset:USDC") is not State.HALT and floor is State.NORMAL and passed_s > CLOSED_S:
        found.append(f"{passed_s} s: trusted, without the HALT")
    return found


def stand_by(world: ClockWorld) -> None:
    """Let a standby look at the lease; if it may take it, the old leader confirms nothing more."""
    if lease.claim_lease(world.engine, RISK, "standby", world.leader.settings.lease):
        with pytest.raises(FencedError):
            world.turn(TURN_S)
        world.lead()


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("off_us", STEPS_US)
def test_a_wrong_clock_neither_blinds_nor_refuses_a_halt_nor_releases(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, phase: str, who: str, off_us: int
) -> None:
    """Decided in time or closed; HALT taken; nothing released; time not ahead.

    The guard is open again at the end, unless a clock stays wrong on which its trust rests.
    """
    world = ClockWorld(engine, monkeypatch)
    assert play(world, phase, who, off_us) == []
    stays = phase in ("start", "failover") and abs(off_us) > SECOND and who != "database"
    is_closed = stays and not (who == "broker" and off_us > 0)
    assert world.trust.floor() is (State.HALT if is_closed else State.NORMAL)


class NoBound(LiveClock):
    """The clock of an earlier build: the wall clock, and no other."""

    def now(self) -> int:
        return self.wall()


def test_the_matrix_finds_a_clock_without_a_bound(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One turn of a leader two hours ahead moves the time, and the event time never moves back."""
    monkeypatch.setattr("tests.support.clocks.LiveClock", NoBound)
    found = play(ClockWorld(engine, monkeypatch), "run", "leader", 2 * HOUR)
    assert [line for line in found if "ahead" in line]


def test_a_time_that_an_earlier_build_stored_is_reported_and_holds_everything(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No tick, no heartbeat, one alert over restarts; HALT is taken; it ends by itself."""
    world = ClockWorld(engine, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr("tests.support.clocks.LiveClock", NoBound)
        world.lead()
        world.turn(TURN_S)
        world.command("halt", "asset:DAI")
        world.off_us = {"leader": 2 * HOUR}
        world.turn(TURN_S)
        world.off_us = {}
    beats = world.beats
    for key in ("asset:USDC", "asset:USDT"):
        world.lead()
        world.command("halt", key)
        for _ in range(10):
            world.turn(TURN_S)
        assert (world.beats, world.trust.floor()) == (beats, State.HALT)
    with engine.connect() as conn:
        alerts = conn.execute(select(ALERT.c.scope, ALERT.c.title, ALERT.c.resolved_ts)).all()
        refused = conn.execute(select(OPERATOR_COMMAND.c.refusal)).scalars().all()
    told = [alert for alert in alerts if alert.scope == "worker:risk"]
    assert [(alert.title, alert.resolved_ts) for alert in told] == [
        ("risk decides nothing: its time is ahead of the clock", None)
    ]
    assert refused == [None, None, None]
    world.turn(2 * HOUR / SECOND)
    for _ in range(3):
        world.turn(TURN_S)
    assert world.beats > beats
    with engine.connect() as conn:
        states = conn.execute(select(KILLSWITCH.c.scope, KILLSWITCH.c.state)).all()
        ended = conn.execute(select(ALERT.c.resolved_ts).where(ALERT.c.scope == "worker:risk"))
        assert ended.scalar_one() is not None
    halted = {row.scope for row in states if row.state == "HALT"}
    assert halted == {"asset:DAI", "asset:USDC", "asset:USDT"}
    assert world.trust.floor() is State.NORMAL
