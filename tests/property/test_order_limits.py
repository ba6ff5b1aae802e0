"""Two clients never exceed a limit together: random schedules of tables, orders, fills, restarts.

The real grant ledger and the real gates run against a worker and venues that are simulated here.
Tables are delayed, lost, repeated and delivered out of order; clients restart; leaders change. The
ledger stands still at times, and has an order at most `settle_s` late. `RISKWATCH_SCHEDULES` sets
the number of schedules.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

import pytest

from riskwatch.client.guard.limits import OrderGate
from riskwatch.client.guard.order_check import Order
from riskwatch.client.guard.restriction import Intent
from riskwatch.client.guard.view import ALLOWED, NEVER, View
from riskwatch.contracts.heartbeat import Heartbeat
from riskwatch.contracts.pretrade import ClientLimits, PretradeTable
from riskwatch.core.clock import SECOND, moment
from riskwatch.core.risk.grants import GrantLedger, Grants
from riskwatch.core.scopes import ScopeIndex

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEDULES: Final = int(os.environ.get("RISKWATCH_SCHEDULES", "1000"))
START: Final = 1_700_000_000.0
VENUES: Final = ("v1", "v2")
COINS: Final = ("A", "B")
CLIENTS: Final = ("one", "two")
SETTLE_S: Final = 5.0
SKEW_S: Final = 2.0
GRANT_S: Final = 30.0
WAIT_S: Final = GRANT_S + 5.0
BEATS_S: Final = 15.0
ISSUER: Final = {"asset:A": {"issuer:i": 1.0}, "asset:B": {"issuer:i": 1.0}}
ANY_VENUE: Final = 130.0
LIMITS: Final = {
    "firm": 300.0, "counterparty:v1": 120.0, "asset:A": 90.0, "asset:B": 1e4, "issuer:i": 200.0,
}  # fmt: skip
ROUNDING: Final = 1e-6
VIEW: Final = View(ScopeIndex(), float("inf"), "")


@dataclass
class Sent:
    """An order that was sent: when it reached the ledger, and which scopes it uses."""

    venue: str
    usd: float
    known_at: float
    scopes: tuple[str, ...]


@dataclass
class World:
    """The truth: all orders that passed, the limits, and the clock."""

    random: Random
    limits: dict[str, float]
    now: float = START
    sent: list[Sent] = field(default_factory=list)
    read: dict[str, float] = field(default_factory=lambda: dict.fromkeys(VENUES, START))
    """By venue, the time up to which the database has the ledger's facts."""

    def used(self, scope: str, *, known: bool = False) -> float:
        """Sum of the orders in a scope; only of those in the database if `known`."""
        return sum(
            order.usd
            for order in self.sent
            if scope in order.scopes and (not known or order.known_at <= self.read[order.venue])
        )

    def left(self) -> dict[str, float]:
        """Headroom by scope, where a venue of which nothing is held is not named."""
        left = {"counterparty:*": ANY_VENUE}
        for scope, hard in self.limits.items():
            used = self.used(scope, known=True)
            if used or scope != "counterparty:v2":
                left[scope] = max(0.0, hard - used)
        return left

    def excess(self) -> str:
        """Return the first limit that all orders together exceed."""
        for scope, hard in self.limits.items():
            used = self.used(scope)
            if used > hard + ROUNDING:
                return f"{scope}: {used} of {hard}"
        return ""


class SimulatedLeader:
    """A risk worker: it measures what the ledger has, and grants."""

    def __init__(self, world: World, shares: Mapping[str, float], waits_until: float) -> None:
        self.world = world
        self.shares = shares
        self.waits_until = waits_until
        self.ledger = GrantLedger()
        self.is_new = True

    def grants(self, left: dict[str, float]) -> Grants:
        """Return the grants of a table that leaves `left`."""
        now = self.world.now
        until = now + WAIT_S
        return self.ledger.grant(
            left, self.shares, self.world.read, now=now, until=until, facts_until=until + SETTLE_S
        )

    def table(self) -> Heartbeat:
        """Return the next heartbeat."""
        world, now = self.world, self.world.now
        for venue in VENUES:  # the ledger reads a venue now, or it stays where it was
            if world.random.random() < 0.7:
                world.read[venue] = now
        left = world.left()
        late = any(at < self.waits_until + SETTLE_S for at in world.read.values())
        self.is_new = self.is_new and (now < self.waits_until or late)
        fault = "a new leader" if self.is_new else ""
        made = Grants({}, {}, {}) if fault else self.grants(left)
        return heartbeat(
            now,
            PretradeTable(
                measured=moment(int(now * SECOND)),
                until=moment(int((now + GRANT_S) * SECOND)),
                fault=fault,
                left=left,
                binds=ISSUER,
                known=dict(world.read),
                settle_s=SETTLE_S,
                clients={
                    name: ClientLimits(
                        share=share, max_order_usd=1e9, rate=1e6, burst=1_000_000,
                        counterparties=list(VENUES),
                        lower=made.lower.get(name, {}),
                    )
                    for name, share in self.shares.items()
                },
            ),
        )  # fmt: skip


def heartbeat(now: float, table: PretradeTable) -> Heartbeat:
    """Return a heartbeat with a table."""
    at = moment(int(now * SECOND))
    return Heartbeat(
        worker="risk", epoch=1, seq=1, digest="", scopes=0, ts=at,
        valid_until=moment(int((now + 60.0) * SECOND)), pretrade=table,
    )  # fmt: skip


class SimulatedClient:
    """An order path: a gate, the tables on their way to it, and a clock that may be behind."""

    def __init__(self, world: World, name: str, skew_s: float, made: type[OrderGate]) -> None:
        self.world = world
        self.name = name
        self.made = made
        self.skew_s = skew_s
        self.way: list[tuple[float, Heartbeat]] = []
        self.newest = NEVER
        self.restart()

    @property
    def wall(self) -> float:
        """The clock of its machine."""
        return self.world.now - self.skew_s

    def restart(self) -> None:
        """Lose everything that the process knows."""
        self.gate = self.made(self.name, None, self.wall, lambda: self.world.now, SKEW_S)
        self.newest = NEVER
        self.way = []

    def send(self, beat: Heartbeat) -> None:
        """Put a table on its way: it arrives soon, late, twice or never."""
        random = self.world.random
        for _ in range(random.choice((0, 1, 1, 1, 2))):
            delay = random.choice((0.1, 0.1, 2.0, 20.0)) * random.random()
            self.way.append((self.world.now + delay, beat))

    def receive(self) -> None:
        """Take the tables that arrived, as a guard does: never an older one after a newer."""
        now = self.world.now
        due = [beat for at, beat in self.way if at <= now]
        self.way = [(at, beat) for at, beat in self.way if at > now]
        self.world.random.shuffle(due)
        for beat in due:
            made = beat.ts.timestamp()
            # A guard ignores what is old, is over, or is ahead of its clock by more than the skew.
            if made > self.newest and made <= self.wall + SKEW_S and self.wall < made + 60.0:
                self.newest = made
                self.gate.adopt(beat, now, self.wall)

    def trade(self) -> bool:
        """Ask for one random order; send it if it passes."""
        random, now = self.world.random, self.world.now
        if self.wall >= self.newest + 60.0:  # no heartbeat confirms the switches
            return False
        venue, coin = random.choice(VENUES), random.choice(COINS)
        usd = random.choice((1.0, 7.0, 40.0, 90.0)) * random.random()
        if self.gate.quick(VIEW, None, venue, coin, "buy", usd, 1.0) is None:
            to = Intent(side="buy")
            order = Order(counterparty=venue, asset=coin, intent=to, usd=usd, price=1.0)
            if not self.gate.check(order, now, ALLOWED):
                return False
        late = SETTLE_S * random.random()
        scopes = ("firm", f"counterparty:{venue}", f"asset:{coin}", "issuer:i")
        self.world.sent.append(Sent(venue, usd, now + late, scopes))
        return True


def run(
    seed: int,
    leader: type[SimulatedLeader] = SimulatedLeader,
    gate: type[OrderGate] = OrderGate,
) -> tuple[str, int]:
    """Run one schedule; return the first limit that is exceeded, and how many orders passed."""
    random = Random(seed)
    limits = {
        scope: hard * random.choice((0.5, 1.0, 1.0, 2.0)) for scope, hard in LIMITS.items()
    } | {"counterparty:v2": ANY_VENUE}
    world = World(random, limits)
    share = random.choice((0.5, 0.3, 0.9))
    shares = {"one": share, "two": 1.0 - share}
    # The clients of an old leader may use its grants, so the first waits as any new one.
    leads = leader(world, shares, START)
    clients = [
        SimulatedClient(world, name, random.choice((0.0, 1.9, -3.0)) * random.random(), gate)
        for name in CLIENTS
    ]
    next_beat, passed = START + 1.0, 0
    for _ in range(random.randrange(30, 90)):
        world.now += random.choice((0.01, 0.5, 3.0, 12.0)) * random.random()
        if random.random() < 0.02:
            leads = leader(world, shares, world.now + WAIT_S)
        if random.random() < 0.03:
            random.choice(clients).restart()
        while world.now >= next_beat:
            next_beat += BEATS_S
            beat = leads.table()
            for client in clients:
                client.send(beat)
        for client in clients:
            client.receive()
        client = random.choice(clients)
        for _ in range(random.randrange(4)):
            passed += client.trade()
        fault = world.excess()
        if fault:
            return fault, passed
    return "", passed


def test_two_clients_never_exceed_a_limit_together() -> None:
    """No schedule lets all orders together exceed any limit, and most let orders pass."""
    busy = 0
    for seed in range(SCHEDULES):
        fault, passed = run(seed)
        assert not fault, f"seed {seed}: {fault}"
        busy += passed > 3
    assert busy > SCHEDULES / 2


class ShareOnly(SimulatedLeader):
    """A leader that grants a share of what is left, and forgets what it granted before."""

    def grants(self, left: dict[str, float]) -> Grants:
        """Grant without a look at older grants."""
        return Grants(left, dict(self.shares), {})


class HastyLeader(SimulatedLeader):
    """A leader that grants at once, while grants of the leader before are still in use."""

    def __init__(self, world: World, shares: Mapping[str, float], waits_until: float) -> None:
        del waits_until
        super().__init__(world, shares, START - SETTLE_S)


class ForgetfulGate(OrderGate):
    """A gate that takes each table as if it included everything that the client used."""

    def _is_known(self, use: object, table: PretradeTable) -> bool:
        del use, table
        return True


class HopefulGate(OrderGate):
    """A gate that spends its grant again after a restart."""

    def _waits_for(self, table: PretradeTable) -> str | None:
        del table
        return None


class ForgettingLeader(SimulatedLeader):
    """A leader that forgets grants when they end, although their use may not be measured yet."""

    def grants(self, left: dict[str, float]) -> Grants:
        """Grant, and count older grants only until they end."""
        now = self.world.now
        return self.ledger.grant(left, self.shares, {}, now=now, until=now + WAIT_S)


@pytest.mark.parametrize(
    ("leader", "gate"),
    [
        (ShareOnly, OrderGate),
        (ForgettingLeader, OrderGate),
        (HastyLeader, OrderGate),
        (SimulatedLeader, ForgetfulGate),
        (SimulatedLeader, HopefulGate),
    ],
)
def test_a_simpler_way_would_exceed_a_limit(
    leader: type[SimulatedLeader], gate: type[OrderGate]
) -> None:
    """The schedules detect what leaves no room for older grants, or forgets what was used."""
    assert any(run(seed, leader, gate)[0] for seed in range(5_000))
