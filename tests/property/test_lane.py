"""The lane of urgent records under any interleaving of arrivals, fetches, batches and restarts."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from riskwatch.contracts.codec import decode
from riskwatch.contracts.outputs import decode_internal
from riskwatch.core.enums import State
from riskwatch.core.risk.config import RiskConfig
from riskwatch.core.risk.credit import LASTING_KINDS, TIGHTENING_KINDS, apply_credit
from riskwatch.core.risk.state import RiskState
from riskwatch.worker.merge import is_urgent
from tests.support.lane import (
    BEGIN_US,
    COMMANDS,
    CREDIT,
    QUOTES,
    READINGS,
    RiskBench,
    fault,
    news,
    order,
    price,
    rederived,
)
from tests.support.risk import REFERENCE, NoScorer

KINDS = ("withdrawals_suspended", "withdrawals_resumed", "insolvency", "attestation", "disclosure")
SCOPES = ("firm", "asset:USDC", "counterparty:kraken")


class Story(RuleBasedStateMachine):
    """A live risk unit, its partitions, its clock, and people."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = RiskBench()
        self.bench.begin()
        self.second = 0.0
        self.pass_time(10.0)
        self.count = 0
        self.halted: list[str] = []

    def _next(self) -> int:
        self.count += 1
        return self.count

    @rule(seconds=st.floats(0.1, 400.0))
    def pass_time(self, seconds: float) -> None:
        """Let the wall clock go on; the worker does nothing meanwhile."""
        self.second += seconds
        self.bench.now_us = BEGIN_US + round(self.second * 1e6)

    @rule(count=st.integers(1, 150), age=st.floats(0.0, 5_000.0))
    def quotes(self, count: int, age: float) -> None:
        """Quotes arrive now, some of them old."""
        made = [price(self._next(), max(1.0, self.second - age)) for _ in range(count)]
        self.bench.bring(QUOTES, *made, arrived_s=self.second)

    @rule(scope=st.sampled_from(SCOPES), age=st.floats(0.0, 20.0))
    def halt(self, scope: str, age: float) -> None:
        """Somebody halts; the next batch decides, whatever waits."""
        made = order("ann", "halt", self.second - age / 10, scope, key=f"h{self._next()}")
        self.bench.bring(COMMANDS, made, arrived_s=self.second)
        before = len(self.bench.answers)
        for _ in range(2):
            # The next batch: a wait to fill a batch is none, and fetched commands come first.
            self.bench.work()
        assert self.bench.answers[before:][-1:] == ["applied"]
        self.halted.append(scope)

    @rule(
        action=st.sampled_from(["release", "override"]),
        scope=st.sampled_from(SCOPES),
    )
    def loosen(self, action: str, scope: str) -> None:
        """Somebody asks to loosen. Alone, nobody can."""
        args = {"until": f"2023-03-1{1 + int(self.second // 86_400)}T23:59:00+00:00"}
        made = order("bob", action, self.second, scope, key=f"l{self._next()}",
                     **(args if action == "override" else {}))  # fmt: skip
        self.bench.bring(COMMANDS, made, arrived_s=self.second)

    @rule(kind=st.sampled_from(KINDS), age=st.floats(0.0, 100_000.0))
    def hear(self, kind: str, age: float) -> None:
        """News arrives, some of it old."""
        self.bench.bring(
            CREDIT, news(self._next(), max(1.0, self.second - age), kind), arrived_s=self.second
        )

    @rule()
    def fail(self) -> None:
        """A ledger worker reports a fault."""
        self.bench.bring(READINGS, fault(self._next(), self.second), arrived_s=self.second)

    @rule()
    def work(self) -> None:
        """Run one batch; no urgent record stays, unless nothing is before it."""
        self.bench.work()

    @rule()
    def restart(self) -> None:
        """Another process goes on; what waited in memory is fetched again."""
        waiting = {
            stream: [(r.raw, r.arrived_us) for r in self.bench.unit._merge.cursor(stream).waiting]
            for stream in (COMMANDS, CREDIT, QUOTES, READINGS)
        }
        self.bench.made()
        self.bench.begin()
        for stream, lines in waiting.items():
            for raw, us in lines:
                event = decode_internal(raw) if stream == READINGS else decode(raw)
                self.bench.bring(stream, event, arrived_s=(us - BEGIN_US) / 1e6)  # type: ignore[arg-type]

    @invariant()
    def time_never_passes_the_clock(self) -> None:
        """Nothing that overtakes moves the time, and no record moves it beyond the present."""
        assert self.bench.runner.us <= self.bench.now_us

    @invariant()
    def a_halt_stays(self) -> None:
        """Whoever asks, whatever is heard: no scope that a person halted leaves HALT."""
        for scope in dict.fromkeys(self.halted):
            assert self.bench.switch(scope)[-1] == State.HALT

    def teardown(self) -> None:
        """At the end everything is read once, and the journal alone gives the same outputs."""
        self.pass_time(30.0)
        self.bench.catch_up()
        for stream, sent in self.bench.sent.items():
            assert self.bench.unit.position(stream) == sent
        assert self.bench.store.last is None or (
            self.bench.store.last.counts.read == sum(self.bench.sent.values())
        )
        assert rederived(self.bench) == self.bench.outputs


TestStory = Story.TestCase
TestStory.settings = settings(max_examples=20, stateful_step_count=16, deadline=None)

heard = st.tuples(
    st.sampled_from([*TIGHTENING_KINDS, "attestation", "disclosure", "outlook"]),
    st.integers(0, 100 * 86_400),
)


@given(st.lists(heard, max_size=6), st.sampled_from(TIGHTENING_KINDS), st.integers(0, 80 * 86_400))
def test_urgent_news_only_adds(before: list[tuple[str, int]], kind: str, seconds: int) -> None:
    """Whatever was known before is known after it, but for what its time has ended."""
    config, state = RiskConfig(), RiskState(NoScorer().fresh())
    for n, (old, at) in enumerate(before):
        apply_credit(state, news(n, at, old), config, REFERENCE)
    known = list(state.credit["kraken"].items) if before else []
    made = news(99, seconds, kind)
    assert is_urgent(made)
    apply_credit(state, made, config, REFERENCE)
    after = state.credit["kraken"].items
    horizon = BEGIN_US + int((seconds - config.credit_memory_s) * 1e6)
    kept = [item for item in known if item.us >= horizon or item.kind in LASTING_KINDS]
    assert [item for item in after if item.event_id != "n99"] == kept
    assert [item.kind for item in after if item.event_id == "n99"] == [kind]
