"""A guard without threads: a clock set by the test, and a worker with manual heartbeats."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from riskwatch.client.guard.trust import Terms, TrustState
from riskwatch.client.guard.view import SwitchRow
from riskwatch.contracts.heartbeat import GuardPolicy, Heartbeat
from riskwatch.core.clock import SECOND, moment
from riskwatch.core.restriction import restriction_text
from riskwatch.core.scopes import table_digest

if TYPE_CHECKING:
    from riskwatch.core.enums import State
    from riskwatch.core.outputs import Unwind
    from riskwatch.core.restriction import Restrictions

START = 1_678_504_380.0
LIFE_S = 60.0


@dataclass
class Time:
    """Two clocks: one only grows, the other is the wall's and can be set."""

    steady: float = 1_000.0
    wall: float = START

    def pass_(self, seconds: float) -> None:
        """Let time pass on both."""
        self.steady += seconds
        self.wall += seconds


@dataclass
class Truth:
    """The table of scopes in the database, and the worker that changes it."""

    time: Time
    epoch: int = 1
    seq: int = 0
    rows: dict[str, tuple[State, str]] = field(default_factory=dict)
    restricted: dict[str, str] = field(default_factory=dict)
    says_restrictions: bool = True
    policy: GuardPolicy | None = None
    names_digest: str = ""

    def decide(
        self,
        scope: str,
        state: State,
        unwind: Unwind | None = None,
        restriction: Restrictions | None = None,
        members: tuple[str, ...] = (),
    ) -> SwitchRow:
        """Decide; returns the message."""
        self.seq += 1
        decision = f"d{self.seq}"
        self.rows[scope] = (state, decision)
        self.restricted[scope] = restriction_text(state, restriction or {}, members)
        return SwitchRow(
            scope=scope, state=state, decision_id=decision, why="180 bp under the peg",
            worker="risk", epoch=self.epoch, seq=self.seq, applied=self.time.wall, unwind=unwind,
            restriction=restriction or {}, members=members,
        )  # fmt: skip

    def beat(
        self, life_s: float = LIFE_S, ts: float | None = None, reached: float | None = None
    ) -> Heartbeat:
        """Vouch for the table."""
        made = round((self.time.wall if ts is None else ts) * SECOND)
        return Heartbeat(
            worker="risk", epoch=self.epoch, seq=self.seq, scopes=len(self.rows),
            digest=table_digest((s, st.value, d) for s, (st, d) in self.rows.items()),
            ts=moment(made), valid_until=moment(made + round(life_s * SECOND)),
            reached=None if reached is None else moment(round(reached * SECOND)),
            restriction_digest=self._restriction_digest(), policy=self.policy,
            names_digest=self.names_digest,
        )  # fmt: skip

    def _restriction_digest(self) -> str:
        if not self.says_restrictions:
            return ""
        return table_digest((s, self.restricted.get(s, ""), d) for s, (_, d) in self.rows.items())


@dataclass
class Scene:
    """A belief, its clocks, and the truth that it should come to."""

    terms: Terms = field(default_factory=Terms)
    time: Time = field(default_factory=Time)

    def __post_init__(self) -> None:
        self.truth = Truth(self.time)
        self.trust = TrustState(self.terms, lambda: self.time.steady, lambda: self.time.wall)

    def settle(self) -> State:
        """Settle, with an answer of the server; returns the floor."""
        self.trust.mark_answered("test")
        self.trust.settle()
        return self.trust.floor()

    def pass_(self, seconds: float, *, answering: bool = True) -> State:
        """Let time pass in quarters of a second; returns the floor."""
        left = seconds
        while left > 0:
            step = min(0.25, left)
            self.time.pass_(step)
            left -= step
            if answering:
                self.trust.mark_answered("test")
            self.trust.settle()
        return self.trust.floor()

    def known(self, *rows: SwitchRow) -> State:
        """Deliver rows, and a heartbeat that covers them."""
        for row in rows:
            self.trust.row(row)
        self.trust.beat(self.truth.beat())
        return self.settle()
