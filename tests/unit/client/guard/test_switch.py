"""The answers to orders: by state, by side, by reduction, and by authorised unwinds."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from math import inf, nan
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from riskwatch.client import KillSwitch, Terms
from riskwatch.client.guard.order_check import checked_order
from riskwatch.client.guard.switch import run_drill
from riskwatch.contracts.acks import Used
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.core.clock import moment
from riskwatch.core.enums import State
from riskwatch.core.outputs import Unwind
from riskwatch.errors import ConfigError
from tests.support.drills import signal
from tests.support.guarding import LIFE_S, Time, Truth

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.client.guard.trust import TrustState
    from riskwatch.client.guard.view import SwitchRow


class Guarded:
    """A kill switch that is not started; the test plays the sources."""

    def __init__(self, **options: Any) -> None:
        self.time = Time()
        self.truth = Truth(self.time)
        self.switch = KillSwitch(
            "desk-1", kafka=KafkaConnection(),
            clock=lambda: self.time.steady, wall=lambda: self.time.wall, **options,
        )  # fmt: skip
        self.trust: TrustState = self.switch.trust

    def know(self, *rows: SwitchRow) -> Guarded:
        """Add rows and a heartbeat that verifies them."""
        for row in rows:
            self.trust.row(row)
        self.trust.beat(self.truth.beat())
        return self.later(0)

    def later(self, seconds: float) -> Guarded:
        """Advance the time while a server answers."""
        self.time.pass_(seconds)
        self.trust.mark_answered("test")
        self.trust.settle()
        return self

    def old(self) -> Guarded:
        """Make the process older than the next decision."""
        return self.know().later(Terms().skew_s).know()

    def unwind(self, usd: str = "100", bp: str = "25", seconds: float = 600) -> Unwind:
        """Return an authorised unwind."""
        until = moment(int(self.time.wall * 1e6)) + timedelta(seconds=seconds)
        return Unwind(max_usd=Decimal(usd), max_slip_bp=float(bp), until=until)


COIN, VENUE = "asset:USDC", "counterparty:kraken"
ORDER: dict[str, Any] = {"counterparty": "kraken", "asset": ("BTC", "USDC"), "book": "arb"}


def test_unknown_is_halt_and_cancels_pass() -> None:
    """Before the first heartbeat no order passes, not even a reducing one; cancels pass."""
    switch = Guarded().switch
    answer = switch.allows(**ORDER, reduces=True)
    assert not answer
    assert (answer.state, answer.scope) == (State.HALT, "(expiry)")
    assert "no heartbeat was verified yet" in answer.reason
    assert switch.allows(**ORDER, cancel=True)


def test_a_coin_never_seen_is_normal() -> None:
    """A scope without a row in a verified table is NORMAL."""
    guarded = Guarded()
    guarded.know(guarded.truth.decide(COIN, State.HALT))
    answer = guarded.switch.allows(asset="NEWCOIN", counterparty="newvenue", book="newbook")
    assert (bool(answer), answer.state, answer.scope) == (True, State.NORMAL, "")


@pytest.mark.parametrize(
    ("state", "adds", "reduces"),
    [
        (State.NORMAL, True, True),
        (State.WATCH, True, True),
        (State.REDUCE, False, True),
        (State.HALT, False, False),
    ],
)
@pytest.mark.parametrize("scope", ["firm", "book:arb", VENUE, COIN, "venue-asset:kraken/BTC"])
def test_states_by_scope(scope: str, state: State, adds: bool, reduces: bool) -> None:
    """Each kind of scope binds, with its reason and decision; cancels always pass."""
    guarded = Guarded()
    guarded.know(guarded.truth.decide(scope, state))
    for flag, want in ((False, adds), (True, reduces)):
        answer = guarded.switch.allows(**ORDER, reduces=flag)
        assert (bool(answer), answer.state) == (want, state)
        if state is not State.NORMAL:
            assert (answer.decision_id, answer.scope) == ("d1", scope)
            assert answer.reason == f"{state} of {scope}: 180 bp under the peg"
    assert guarded.switch.allows(**ORDER, cancel=True)


def test_money_may_leave_a_halted_venue_and_not_come_in() -> None:
    """At a HALT of a venue withdrawals pass; only a HALT of the firm stops them."""
    guarded = Guarded()
    guarded.know(guarded.truth.decide(VENUE, State.HALT))
    money: dict[str, Any] = {"counterparty": "kraken", "asset": "USDC"}
    assert guarded.switch.allows(**money, side="withdrawal")
    assert not guarded.switch.allows(**money, side="deposit")
    guarded.know(guarded.truth.decide("firm", State.HALT))
    assert not guarded.switch.allows(**money, side="withdrawal")


def test_an_authorised_unwind_is_capped_in_size_price_and_time() -> None:
    """An order must reduce, state size and price, and be within the caps; uses are counted."""
    guarded = Guarded().old()
    guarded.know(guarded.truth.decide(COIN, State.HALT, guarded.unwind()))
    ask = guarded.switch.allows
    assert not ask(**ORDER)
    assert not ask(**ORDER, reduces=True)
    assert not ask(**ORDER, usd=10.0, slip_bp=5.0)
    assert not ask(**ORDER, reduces=True, usd=10.0, slip_bp=25.1)
    assert not ask(**ORDER, reduces=True, usd=100.5, slip_bp=5.0)
    nan = float("nan")
    assert not ask(**ORDER, reduces=True, usd=nan, slip_bp=5.0)
    assert not ask(**ORDER, reduces=True, usd=1.0, slip_bp=nan)
    assert not ask(**ORDER, reduces=True, usd=-50.0, slip_bp=5.0)
    answer = ask(**ORDER, reduces=True, usd=60.0, slip_bp=25.0)
    assert (bool(answer), answer.state, answer.decision_id) == (True, State.HALT, "d1")
    assert not ask(**ORDER, reduces=True, usd=60.0, slip_bp=25.0)
    assert ask(**ORDER, reduces=True, usd=40.0, slip_bp=25.0)
    used = guarded.switch.acknowledgement().unwound["d1"]
    assert (used.usd, used.orders) == (100.0, 2)


def test_an_unwind_ends() -> None:
    """An unwind ends at its time, by the calibrated wall clock."""
    guarded = Guarded().old()
    guarded.know(guarded.truth.decide(COIN, State.HALT, guarded.unwind(seconds=30)))
    ask: dict[str, Any] = {"reduces": True, "usd": 1.0, "slip_bp": 1.0}
    assert guarded.switch.allows(**ORDER, **ask)
    guarded.later(30).know()
    assert not guarded.switch.allows(**ORDER, **ask)


def test_every_halt_must_have_a_way_out() -> None:
    """Every HALT that binds an order needs its own unwind, and all of them are counted."""
    guarded = Guarded().old()
    ask: dict[str, Any] = {"reduces": True, "usd": 10.0, "slip_bp": 1.0}
    guarded.know(
        guarded.truth.decide(COIN, State.HALT, guarded.unwind()),
        guarded.truth.decide(VENUE, State.HALT),
    )
    assert not guarded.switch.allows(**ORDER, **ask)
    guarded.know(guarded.truth.decide(VENUE, State.HALT, guarded.unwind("15")))
    assert guarded.switch.allows(**ORDER, **ask)
    assert not guarded.switch.allows(**ORDER, **ask)
    assert {name: used.usd for name, used in guarded.switch.acknowledgement().unwound.items()} == {
        "d1": 10.0, "d3": 10.0,
    }  # fmt: skip


def test_a_share_of_an_unwind() -> None:
    """A client with half of the share can use only half of the cap."""
    guarded = Guarded(unwind_share=0.5).old()
    guarded.know(guarded.truth.decide(COIN, State.HALT, guarded.unwind()))
    assert not guarded.switch.allows(**ORDER, reduces=True, usd=50.1, slip_bp=1.0)
    assert guarded.switch.allows(**ORDER, reduces=True, usd=50.0, slip_bp=1.0)


UNWIND: dict[str, Any] = {**ORDER, "reduces": True, "slip_bp": 1.0}


def restarted(before: Guarded, **options: Any) -> Guarded:
    """Return a new process with the same topics as an earlier one."""
    before.switch.close()
    after = Guarded(**options)
    after.time.steady, after.time.wall = before.time.steady, before.time.wall
    after.truth = before.truth
    after.truth.time = after.time
    after.switch._began = after.time.wall
    return after


def test_a_restart_cannot_use_an_unwind_twice() -> None:
    """Without a file, unwinds from before the start are closed, also if raised later."""
    first = Guarded().old()
    row = first.truth.decide(COIN, State.HALT, first.unwind())
    assert first.know(row).switch.allows(**UNWIND, usd=60.0)
    again = restarted(first)
    # A heartbeat from before the start does not cover the time in between.
    assert not again.know(row).switch.allows(**UNWIND, usd=1.0)
    again.later(Terms().skew_s).know()
    more = msgspec.structs.replace(row, seq=row.seq + 1, unwind=again.unwind("500"))
    again.know(more)
    assert not again.switch.allows(**UNWIND, usd=1.0)
    again.trust.reset("read again")
    again.know(more)
    assert not again.switch.allows(**UNWIND, usd=1.0)
    again.truth.seq += 1
    again.know(again.truth.decide(COIN, State.HALT, again.unwind()))
    assert again.switch.allows(**UNWIND, usd=100.0)


def test_a_file_remembers_what_was_used(tmp_path: Path) -> None:
    """With a file the cap holds over restarts, and the acknowledgement contains the total."""
    file = tmp_path / "used.json"
    first = Guarded(used_file=file).old()
    row = first.truth.decide(COIN, State.HALT, first.unwind())
    assert first.know(row).switch.allows(**UNWIND, usd=60.0)
    with pytest.raises(ConfigError, match="another one has it"):
        Guarded(used_file=file)
    again = restarted(first, used_file=file)
    assert not again.know(row).switch.allows(**UNWIND, usd=60.0)
    assert again.switch.allows(**UNWIND, usd=40.0)
    assert again.switch.acknowledgement().unwound["d1"].usd == 100.0
    # An unwind that was decided while no process ran is unused.
    other = again.truth.decide(VENUE, State.HALT, again.unwind())
    last = restarted(again, used_file=file).know(row, other)
    venue: dict[str, Any] = {"counterparty": "kraken", "asset": "BTC"}
    assert last.switch.allows(**venue, reduces=True, slip_bp=1.0, usd=100.0)
    last.switch.close()


def test_a_file_that_is_new_closes_what_stood(tmp_path: Path) -> None:
    """A new file closes earlier unwinds, and the next process reads this from the file."""
    file = tmp_path / "used.json"
    first = Guarded(used_file=file)
    row = first.truth.decide(COIN, State.HALT, first.unwind())
    first.know(row).later(Terms().skew_s).know()
    assert not first.switch.allows(**UNWIND, usd=1.0)
    again = restarted(first, used_file=file)
    assert not again.know(row).switch.allows(**UNWIND, usd=1.0)
    again.switch.close()
    assert not again.switch.allows(**UNWIND, usd=1.0)


def test_no_hedge_passes_before_anything_was_known() -> None:
    """A restart during an outage does not renew the cap of hedges."""
    guarded = Guarded(hedges={"arb": 100.0})
    assert not guarded.switch.allows(**ORDER, hedge=True, usd=60.0)


def test_expiry_in_words() -> None:
    """REDUCE lets reducing orders pass, HALT only cancels; the reason states since when."""
    guarded = Guarded(terms=Terms(reduce_s=10))
    guarded.know()
    assert guarded.switch.allows(**ORDER)
    guarded.later(LIFE_S)
    refused = guarded.switch.allows(**ORDER)
    assert (bool(refused), refused.state) == (False, State.REDUCE)
    assert "the last heartbeat was valid until 2023-03-11T03:14:00+00:00" in refused.reason
    assert guarded.switch.allows(**ORDER, reduces=True)
    guarded.later(10)
    assert guarded.switch.allows(**ORDER, reduces=True).state is State.HALT
    assert not guarded.switch.allows(**ORDER, reduces=True)
    assert not guarded.switch.allows(**ORDER, side="withdrawal")
    assert guarded.switch.allows(**ORDER, cancel=True)
    assert guarded.know().switch.allows(**ORDER)


def test_a_known_halt_is_not_softened_by_expiry() -> None:
    """After expiry the last known HALT still refuses reducing orders."""
    guarded = Guarded()
    guarded.know(guarded.truth.decide(COIN, State.HALT)).later(LIFE_S + 1)
    answer = guarded.switch.allows(**ORDER, reduces=True)
    assert (bool(answer), answer.state, answer.scope) == (False, State.HALT, COIN)
    assert guarded.switch.allows(asset="BTC", reduces=True)


def test_hedges_survive_expiry_up_to_their_cap() -> None:
    """After expiry a hedge passes at a healthy venue within the cap, which each expiry renews."""
    guarded = Guarded(hedges={"arb": 100.0}, terms=Terms(reduce_s=30.0))
    guarded.know(guarded.truth.decide("counterparty:sick", State.REDUCE)).later(LIFE_S + 40)
    ask = guarded.switch.allows
    assert not ask(**ORDER, usd=60.0)
    assert not ask(counterparty="sick", book="arb", hedge=True, usd=60.0)
    assert not ask(counterparty="kraken", book="other", hedge=True, usd=60.0)
    assert not ask(**ORDER, hedge=True)
    answer = ask(**ORDER, hedge=True, usd=60.0)
    assert (bool(answer), answer.state) == (True, State.HALT)
    assert not ask(**ORDER, hedge=True, usd=60.0)
    guarded.know().later(LIFE_S + 40)
    assert ask(**ORDER, hedge=True, usd=60.0)


def test_a_drill_changes_nothing() -> None:
    """A drill halts a copy of the table, and the real table does not change."""
    guarded = Guarded()
    guarded.know(guarded.truth.decide("counterparty:other", State.HALT))
    view = guarded.trust.view
    for scope in ("firm", "book:arb", VENUE, COIN, "venue-asset:kraken/USDC"):
        ack = run_drill(guarded.trust, guarded.switch._order_check, "desk-1", signal(scope=scope))
        assert (ack.refused, ack.cancelled) == (True, True)
        assert ack.digest_before == ack.digest_after
        assert ack.real_before is ack.real_after is State.NORMAL
    assert guarded.trust.view is view
    assert guarded.switch.allows(**ORDER)
    bad = signal(scope="nonsense")
    assert not run_drill(guarded.trust, guarded.switch._order_check, "desk-1", bad).refused


def test_what_is_acknowledged() -> None:
    """The acknowledgement has restricted scopes, their decisions, the heartbeat and the floor."""
    guarded = Guarded()
    guarded.know(guarded.truth.decide(COIN, State.HALT), guarded.truth.decide(VENUE, State.NORMAL))
    ack = guarded.switch.acknowledgement()
    assert list(ack.scopes) == [COIN]
    assert (ack.scopes[COIN].state, ack.scopes[COIN].decision_id) == (State.HALT, "d1")
    assert (ack.epoch, ack.seq, ack.floor, ack.why) == (1, 2, State.NORMAL, "")
    assert ack.digest == guarded.truth.beat().digest
    ack = guarded.later(LIFE_S).switch.acknowledgement()
    assert (ack.floor, "valid until" in ack.why) == (State.REDUCE, True)


@pytest.mark.parametrize(
    "options",
    [{}, {"client": "a/b", "redis": "redis://x"}, {"client": "", "redis": "redis://x"},
     {"redis": "redis://x", "unwind_share": 1.5}, {"redis": "nonsense"},
     {"redis": "redis://x", "hedges": {"arb": nan}},
     {"redis": "redis://x", "hedges": {"arb": -1.0}}],
)  # fmt: skip
def test_what_makes_no_switch(options: dict[str, Any]) -> None:
    """Invalid options are refused: no subscription, a bad name, share or URL, or no valid cap."""
    with pytest.raises(ConfigError):
        KillSwitch(**({"client": "desk-1"} | options))


@pytest.mark.parametrize("name", Terms.__struct_fields__)
@pytest.mark.parametrize("value", [nan, inf, -1.0])
def test_every_wait_has_an_end(name: str, value: float) -> None:
    """A waiting time must be finite and not negative; only REDUCE may last without end."""
    if (name, value) == ("reduce_s", inf):
        assert Terms().reduce_s == inf
        return
    with pytest.raises(ConfigError, match=name):
        Terms(**{name: value})


def test_a_closed_switch_is_at_halt() -> None:
    """After `close` everything is at HALT."""
    guarded = Guarded()
    guarded.know()
    guarded.switch.close()
    assert not guarded.switch.allows(**ORDER, reduces=True)
    assert "closed" in guarded.switch.allows().reason


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("reduces", [False, True])
@pytest.mark.parametrize("side", [None, "buy", "withdrawal"])
@pytest.mark.parametrize("usd", [None, 1.0])
def test_the_quick_look_says_what_the_judge_says(
    state: State, reduces: bool, side: str | None, usd: float | None
) -> None:
    """The fast path of `allows` gives the same answers as the order check."""
    guarded = Guarded()
    guarded.know(guarded.truth.decide(COIN, state))
    quick = guarded.switch.allows(**ORDER, side=side, reduces=reduces, usd=usd)
    order = checked_order(
        ORDER["book"], ORDER["counterparty"], ORDER["asset"], side, reduces, False, usd, None
    )
    wall = guarded.trust.calendar.wall()
    assert quick == guarded.switch._order_check.check_verified(guarded.trust.view, order, wall)


def test_an_advisory_term_says_what_it_would_have_refused(caplog: pytest.LogCaptureFixture) -> None:
    """The order goes; the answer, a counter and one line say that it would not have."""
    g = Guarded(advisory={"lost_s": 1.0}).know()
    assert g.switch.allows(**ORDER, usd=10.0).advised == ""
    g.time.pass_(2.0)
    g.trust.settle()
    for _ in range(3):
        answer = g.switch.allows(**ORDER, usd=10.0)
        assert answer
        assert answer.state is State.NORMAL
        assert answer.advised == "lost_s: REDUCE: no server answers"
    assert g.switch.allows(**ORDER, reduces=True).advised == ""
    assert g.switch.allows(cancel=True).advised == ""
    said = g.switch.acknowledgement().advised
    assert said == {"lost_s": Used(usd=30.0, orders=3)}
    lines = [r for r in caplog.records if "advisory lost_s" in r.getMessage()]
    assert len(lines) == 2  # the first and the second; then the fourth
    g.time.pass_(4.0)  # beyond what binds
    g.trust.settle()
    assert not g.switch.allows(**ORDER, usd=10.0)
    assert g.switch.acknowledgement().advised == said


def test_a_shorter_time_to_halt_is_advised() -> None:
    """What reduces goes for the time that binds."""
    g = Guarded(advisory={"reduce_s": 5.0}).know()
    g.time.pass_(12.0)
    assert g.switch.allows(**ORDER, reduces=True).advised == "reduce_s: HALT: no server answers"
    assert not g.switch.allows(**ORDER)


def test_a_tighter_cap_of_hedges_is_advised() -> None:
    """Counted by itself, and anew once the table is vouched for again."""
    g = Guarded(hedges={"arb": 100.0}, advisory={"hedges.arb": 50.0}).know()
    g.time.pass_(40.0)
    hedge = {**ORDER, "hedge": True, "usd": 30.0}
    told = [g.switch.allows(**hedge) for _ in range(4)]
    assert [bool(each) for each in told] == [True, True, True, False]
    assert [each.advised.partition(":")[0] for each in told] == ["", "hedges.arb", "hedges.arb", ""]
    g.know().time.pass_(40.0)
    assert g.switch.allows(**hedge).advised == ""


def test_a_halt_cannot_be_made_advisory_by_a_client() -> None:
    """Terms may only be tried stricter; states, unwinds and the rest are no terms at all."""
    for name in ("HALT", "firm", "unwind_share", "skew_s", "jump_s", "rebuild_s", "hedges.arb"):
        with pytest.raises(ConfigError, match="nothing else can be advisory"):
            Guarded(advisory={name: 0.5})
    for value in (5.0, 6.0, inf, nan, -1.0):
        with pytest.raises(ConfigError, match="less than 5, which binds"):
            Guarded(advisory={"lost_s": value})
    g = Guarded(advisory={"lost_s": 1.0, "grace_s": 1.0, "longest_s": 1.0, "reduce_s": 1.0})
    g.know(g.truth.decide(COIN, State.HALT))
    answer = g.switch.allows(**ORDER)
    assert not answer
    assert answer.advised == ""
    assert g.switch.acknowledgement().advised is msgspec.UNSET
