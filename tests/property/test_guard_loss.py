"""The guard over a thousand schedules of lost, late, stale, repeated and reordered heartbeats.

The oracle knows when each heartbeat was made. In every schedule, an order that adds risk passes
only while some heartbeat that reached the guard is valid, and never while its scope is at HALT in
the rows that reached the guard.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from riskwatch.client.guard.trust import Terms
from riskwatch.client.guard.view import SwitchRow
from riskwatch.contracts.heartbeat import Heartbeat
from riskwatch.core.enums import State
from tests.support.guarding import LIFE_S, Scene

SCHEDULES = 1_000
COINS = [f"asset:{name}" for name in ("USDC", "USDT", "DAI")]
EVERY_S = 15.0
STEP_S = 0.25


@dataclass
class Wire:
    """A channel that delivers messages of the worker late, twice, or never."""

    chance: random.Random
    loss: float
    queue: list[tuple[float, int, SwitchRow | Heartbeat]] = field(default_factory=list)
    count: int = 0

    def send(self, now: float, message: SwitchRow | Heartbeat) -> None:
        """Send a message, with random loss, delay and repetition."""
        beat = isinstance(message, Heartbeat)
        if beat and self.chance.random() < self.loss:
            return
        for _ in range(2 if self.chance.random() < 0.2 else 1):
            slow = 80.0 if beat and self.chance.random() < 0.2 else 0.5
            self.count += 1
            self.queue.append((now + self.chance.uniform(0, slow), self.count, message))

    def due(self, now: float) -> list[SwitchRow | Heartbeat]:
        """Return the messages that arrive by now."""
        self.queue.sort()
        found = []
        while self.queue and self.queue[0][0] <= now:
            found.append(self.queue.pop(0)[2])
        return found


@dataclass
class Outcome:
    """Result of one schedule."""

    closed: int = 0
    open: int = 0
    wrong: list[str] = field(default_factory=list)


def check_orders(
    out: Outcome, scene: Scene, received: dict[str, State], valid_until: float, now: float
) -> None:
    """Compare the orders that the guard would pass with the oracle."""
    floor = scene.settle()
    view = scene.trust.view
    for coin in COINS:
        row = view.index.find(None, None, coin.partition(":")[2])
        passes = floor is State.NORMAL and (row is None or row.rank < State.REDUCE.rank)
        if passes and scene.time.wall >= valid_until:
            out.wrong.append(f"{now}: {coin} passes, valid until {valid_until}")
        if passes and received.get(coin) is State.HALT:
            out.wrong.append(f"{now}: {coin} passes at HALT")
    if scene.time.wall >= valid_until:
        out.closed += 1
        long_ago = scene.time.wall >= valid_until + scene.terms.reduce_s + STEP_S
        if floor is State.NORMAL or (long_ago and floor is not State.HALT):
            out.wrong.append(f"{now}: {floor} with nothing valid")
    out.open += floor is State.NORMAL


def run(number: int) -> Outcome:
    """Run one schedule of some minutes."""
    chance = random.Random(number)
    scene = Scene(Terms(reduce_s=30.0))
    wire = Wire(chance, chance.choice([0.0, 0.3, 0.6, 0.9]))
    # Lost for good from some moment on, or for a while.
    dead_from = chance.uniform(20, 150)
    dead_until = dead_from + chance.choice([1e9, chance.uniform(30, 150)])
    received: dict[str, State] = {}
    valid_until = last_beat = float("-inf")
    out = Outcome()
    began = scene.time.steady
    while (now := scene.time.steady - began) < 300:
        dead = dead_from <= now < dead_until
        if not dead and chance.random() < 0.02:
            wire.send(now, scene.truth.decide(chance.choice(COINS), chance.choice(list(State))))
        if not dead and now - last_beat >= EVERY_S:
            last_beat = now
            wire.send(now, scene.truth.beat())
        for message in wire.due(now):
            if isinstance(message, SwitchRow):
                scene.trust.row(message)
                have = scene.trust.table.get(message.scope)
                assert have is not None
                received[message.scope] = have.state
            else:
                scene.trust.beat(message)
                valid_until = max(valid_until, message.ts.timestamp() + LIFE_S)
        check_orders(out, scene, received, valid_until, now)
        scene.time.pass_(STEP_S)
    return out


@pytest.mark.slow
def test_a_thousand_schedules_all_close_within_the_time_to_live() -> None:
    """No order passes on an expired heartbeat, and the guard is not always closed."""
    outcomes = [run(number) for number in range(SCHEDULES)]
    assert [line for out in outcomes for line in out.wrong][:5] == []
    assert sum(out.closed > 0 for out in outcomes) > SCHEDULES / 2
    assert sum(out.open > 0 for out in outcomes) > SCHEDULES / 2


def test_the_oracle_sees_a_guard_that_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same schedules find a guard whose heartbeats never expire."""
    monkeypatch.setattr(
        "riskwatch.client.guard.trust.TrustState._until", lambda _: (float("inf"), "")
    )
    assert any(run(number).wrong for number in range(5))
