"""The unitised drawdown of the firm, its coverage, and a high-water mark set by two people."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from riskwatch.audit.verify import check_policy
from riskwatch.core.enums import Restriction, State
from riskwatch.core.outputs import (
    AlertRaised,
    CommandRefused,
    DecisionMade,
    DrawdownMeasured,
    HighWaterMarkSet,
    KillSwitchChanged,
)
from riskwatch.core.rules import Condition, Rule, RulePack
from riskwatch.engine import bootstrap
from tests.support.facts import balance, fill, order, position, transfer
from tests.support.people import answer, request_of
from tests.support.risk import asset, bitcoin, of
from tests.support.two_stages import TwoStages, order_of, prices
from tests.unit.client.guard.test_switch import Guarded

if TYPE_CHECKING:
    from riskwatch.core.outputs import Output
    from riskwatch.core.risk.state import EquityRow

FALL = Rule(
    id="firm.drawdown.halt",
    scope_kind="firm",
    state=State.HALT,
    any=(Condition(feature="drawdown_bp", at=1_000.0, unit="bp"),),
    exit=0.5,
    exit_dwell_s=20.0,
)
PACK = RulePack(rules=(FALL,))


def equity(stages: TwoStages) -> EquityRow:
    """Return the row of the firm."""
    return stages.desk.state.equities["firm"]


def fall(stages: TwoStages) -> float:
    """Return the drawdown that was published last."""
    return of(stages.out, DrawdownMeasured, "firm")[-1].drawdown_bp


def firm(
    *facts: Any, rules: RulePack = PACK, btc: float = 100.0, reload: bool = False
) -> TwoStages:
    """Return both stages after two ticks with BTC at `btc`; one BTC unless facts are given."""
    stages = TwoStages(rules, reload=reload)
    stages.turn(2, *prices(btc), *(facts or (balance("b", 1, "1"),)))
    stages.turn(10, *prices(btc, 2))
    return stages


def test_a_withdrawal_is_no_drawdown() -> None:
    """Mark 100, equity 90, 45 withdrawn: 10.0 %, and not 18.2 %."""
    stages = firm(rules=RulePack(rules=()))
    stages.turn(20, *prices(90.0, 3))
    assert fall(stages) == 1_000.0
    gone = [transfer(f"t{n}", 30 + n, s, amount="0.5") for n, s in enumerate(("sent", "confirmed"))]
    stages.turn(40, *gone)
    stages.turn(400, *prices(90.0, 4))
    assert of(stages.out, DrawdownMeasured, "firm")[-1].equity_usd == Decimal("45.00")
    assert fall(stages) == 1_000.0
    stages.turn(410, *prices(99.0, 5))  # a tenth of 90 % more, whatever is left
    assert fall(stages) == pytest.approx(100.0)


@pytest.mark.parametrize(
    "flow",
    [
        [balance("n", 15, "7")],  # a deposit that only a snapshot tells
        [transfer("t", 15, "confirmed", direction="deposit", amount="3")],
        [transfer("t", 15, "confirmed", amount="0.9")],
        [fill("f", 15, qty="0.5", price="100")],
        [order("o", 15, "50")],
    ],
)
def test_no_flow_moves_the_unit_value(flow: list[Any]) -> None:
    """Deposits, withdrawals, fills at the price and orders leave it as it is."""
    stages = firm()
    stages.turn(20, *flow, *prices(100.0, 3))
    assert (equity(stages).unit_value, equity(stages).high_water_mark) == (1.0, 1.0)


def test_the_gain_is_on_what_was_held_before() -> None:
    """A deposit in the second of a fall shares nothing of its loss."""
    stages = firm(rules=RulePack(rules=()))
    stages.turn(
        20, transfer("t", 15, "confirmed", direction="deposit", amount="9"), *prices(90.0, 3)
    )
    assert fall(stages) == 1_000.0
    assert equity(stages).equity == 900.0


def test_a_derivative_moves_it_by_its_position() -> None:
    """Long one and short two of it: a rise of a tenth loses a tenth of the equity."""
    stages = firm(balance("b", 1, "1"), position("p", 1, "-2"), rules=RulePack(rules=()))
    stages.turn(20, *prices(110.0, 3))
    assert fall(stages) == 1_000.0


def test_a_debt_counts_against() -> None:
    """Half of the coins are borrowed: a fall of a tenth loses a fifth."""
    stages = firm(
        balance("b", 1, "2"),
        balance("d", 1, "0", asset="USDC", borrowed="100"),
        rules=RulePack(rules=()),
    )
    stages.turn(20, *prices(90.0, 3))
    assert fall(stages) == 2_000.0


def test_the_loss_of_everything_is_the_whole() -> None:
    """More than the equity is lost: 100 %, and it stays."""
    stages = firm(
        balance("b", 1, "10"),
        balance("d", 1, "0", asset="USDC", borrowed="900"),
        rules=RulePack(rules=()),
    )
    stages.turn(20, *prices(80.0, 3))
    stages.turn(30, *prices(100.0, 4))
    assert fall(stages) == 10_000.0


def test_an_equity_of_nothing_measures_nothing() -> None:
    """Fills without an opening balance: no drawdown is claimed, and the output says so."""
    stages = firm(fill("f", 1, price="100"), rules=PACK)
    stages.turn(20, *prices(100.5, 3))
    stages.turn(30, *prices(90.0, 4))
    found = of(stages.out, DrawdownMeasured, "firm")[-1]
    assert (found.linked, found.drawdown_bp) == (False, 0.0)
    assert not of(stages.out, DecisionMade, "firm")


def test_a_stale_asset_keeps_its_value_and_lowers_the_coverage() -> None:
    """The last price stays; an asset that was never priced is counted, and is in no sum."""
    stages = firm(balance("b", 1, "1"), balance("u", 1, "100", asset="USD"),
                  balance("x", 1, "7", asset="XYZ"), rules=RulePack(rules=()))  # fmt: skip
    found = of(stages.out, DrawdownMeasured, "firm")[-1]
    assert (found.coverage, found.unpriced, found.equity_usd) == (1.0, 1, Decimal("200.00"))
    stages.turn(1_000, bitcoin(100.0, live=0, seen=3))
    found = of(stages.out, DrawdownMeasured, "firm")[-1]
    assert (found.coverage, found.drawdown_bp, found.equity_usd) == (0.5, 0.0, Decimal("200.00"))


def test_what_is_under_way_or_of_one_venue_is_not_covered() -> None:
    """A transfer in flight and a price of one venue lower the coverage, and are no loss."""
    stages = firm(balance("b", 1, "1"), balance("c", 1, "100", asset="USDC"))
    stages.turn(20, transfer("t", 15, "sent", amount="1"), *prices(100.0, 3))
    assert equity(stages).coverage == 0.5
    alone = firm(balance("b", 1, "1"))
    alone.turn(20, *prices(100.0, 3, venues=1))
    assert equity(alone).coverage == 0.0
    alone.turn(30, *prices(150.0, 4, venues=1))  # a print of one venue raises no mark
    alone.turn(40, *prices(100.0, 5))
    assert (equity(alone).coverage, fall(alone)) == (1.0, 0.0)


def test_below_the_coverage_a_halt_is_a_watch() -> None:
    """A loss of which too little is known asks for WATCH; known well, for the HALT."""
    stages = firm(balance("b", 1, "1"), balance("c", 1, "10", asset="USDC"))
    unsure = (bitcoin(80.0, seen=3), asset("USDC", seen=3, live=0))
    out = stages.turn(20, *unsure)
    (made,) = of(out, DecisionMade, "firm")
    assert made.state is State.WATCH
    assert made.features["equity_coverage"] < 0.95
    config = bootstrap.configuration()
    assert not list(check_policy(made, replace(config, rules=PACK)))
    (made,) = of(stages.turn(30, *prices(80.0, 4)), DecisionMade, "firm")
    assert made.state is State.HALT
    assert not list(check_policy(made, replace(config, rules=PACK)))


def halted(*, reload: bool = False) -> TwoStages:
    """Return both stages after a HALT of the firm by a fall of 20 %."""
    stages = firm(reload=reload)
    stages.turn(20, *prices(80.0, 3))
    assert stages.desk.state.scopes["firm"].state is State.HALT
    return stages


def ask(stages: TwoStages, seconds: float, operator: str = "ann", **fields: Any) -> list[Output]:
    """Ask for a new high-water mark."""
    return stages.turn(seconds, order_of(operator, "rebase", seconds, "firm", **fields))


def test_two_people_and_only_they_lead_out_of_a_drawdown_halt() -> None:
    """The HALT cannot be released before the mark is set, nor is it released by it."""
    stages = halted()
    early = stages.turn(100, order_of("ann", "release", 100, "firm"))
    assert answer(early) == "CONDITION_HOLDS"
    asked = ask(stages, 110)
    (waits,) = [a for a in of(asked, AlertRaised) if a.alert == "firm|request"]
    assert waits.reasons[-1] == "the drawdown is 2,000 bp, 100.0% of the equity is known"
    assert answer(stages.turn(120, order_of("ann", "release", 120, "firm", key="2"))) == (
        "CONDITION_HOLDS"
    )
    request = request_of(asked)
    done = stages.turn(130, order_of("bob", "approve", 130, "firm", request=request))
    (mark,) = of(done, HighWaterMarkSet)
    assert (mark.former, mark.high_water_mark, mark.former_bp, mark.drawdown_bp) == (
        1.0, 0.8, 2_000.0, 0.0
    )  # fmt: skip
    assert (mark.requested_by, mark.approved_by, mark.reason) == (
        "ann",
        "bob",
        "a drill of our own",
    )
    assert stages.desk.state.scopes["firm"].state is State.HALT
    for seconds in (140, 160, 180):
        stages.turn(seconds, *prices(80.0, seconds))
    request = request_of(stages.turn(190, order_of("ann", "release", 190, "firm", key="3")))
    freed = stages.turn(200, order_of("bob", "approve", 200, "firm", request=request, key="4"))
    assert of(freed, KillSwitchChanged, "firm")[0].state is State.NORMAL


def test_a_new_fall_halts_again() -> None:
    """The drawdown is measured from the new mark."""
    stages = halted()
    request = request_of(ask(stages, 30))
    stages.turn(40, order_of("bob", "approve", 40, "firm", request=request))
    stages.turn(50, *prices(76.0, 5))
    assert fall(stages) == pytest.approx(500.0)


def test_one_person_cannot() -> None:
    """Not the one who asked, not with another's name, and not below a supervisor."""
    stages = halted()
    assert answer(ask(stages, 30, "rita")) == "ROLE_FORBIDDEN"
    assert answer(ask(stages, 31, by="bob")) == "SIGNATURE_INVALID"
    request = request_of(ask(stages, 32, key="good"))
    same = order_of("ann", "approve", 40, "firm", request=request)
    assert answer(stages.turn(40, same)) == "SAME_PERSON"
    forged = order_of("bob", "approve", 41, "firm", request=request, by="ann")
    assert answer(stages.turn(41, forged)) == "SIGNATURE_INVALID"
    assert not of(stages.out, HighWaterMarkSet)
    assert equity(stages).high_water_mark == 1.0


def test_what_cannot_be_rebased_is_refused() -> None:
    """Another scope, a firm without a drawdown, and one of which nothing is known."""
    stages = firm()
    other = stages.turn(20, order_of("ann", "rebase", 20, "asset:BTC"))
    assert of(other, CommandRefused)[0].detail == "drawdown is judged of firm and books alone"
    assert answer(ask(stages, 21)) == "NOTHING_OPEN"
    assert answer(ask(TwoStages(PACK), 21)) == "NOTHING_OPEN"
    assert answer(ask(stages, 22, key="x", mark="1.5")) == "ARGUMENT_INVALID"


def test_a_loss_while_the_request_waits_stays_a_drawdown() -> None:
    """The second person approves the unit value at the request; a higher one counts as well."""
    stages = halted()
    request = request_of(ask(stages, 30))
    stages.turn(35, *prices(60.0, 4))
    stages.turn(40, order_of("bob", "approve", 40, "firm", request=request))
    assert equity(stages).high_water_mark == 0.8
    assert fall(stages) == 2_500.0
    risen = halted()
    request = request_of(ask(risen, 30))
    risen.turn(35, *prices(85.0, 4))
    risen.turn(40, order_of("bob", "approve", 40, "firm", request=request))
    assert equity(risen).high_water_mark == pytest.approx(0.85)
    assert fall(risen) == 0.0


def test_after_the_loss_of_everything_a_new_unit_begins() -> None:
    """A mark of zero would measure nothing."""
    stages = firm(balance("b", 1, "10"), balance("d", 1, "0", asset="USDC", borrowed="900"))
    stages.turn(20, *prices(80.0, 3))
    request = request_of(ask(stages, 30))
    stages.turn(40, order_of("bob", "approve", 40, "firm", request=request))
    assert (equity(stages).unit_value, equity(stages).high_water_mark) == (1.0, 1.0)


def test_a_restart_at_each_turn_changes_no_byte() -> None:
    """Unit value, mark and request survive in rows; outputs are the same."""
    told = []
    for reload in (False, True):
        stages = halted(reload=reload)
        request = request_of(ask(stages, 30))
        stages.turn(40, order_of("bob", "approve", 40, "firm", request=request))
        stages.turn(50, *prices(83.1, 5), fill("f", 45, qty="0.3", price="80"))
        stages.turn(60, *prices(71.7, 6))
        told.append(stages.out)
    assert told[0] == told[1]
    assert len(of(told[0], HighWaterMarkSet)) == 1


def test_the_halt_of_a_drawdown_lets_the_firm_out() -> None:
    """At this HALT a guard passes a reducing sell of any size and a top-up, and what adds not."""
    switch = of(halted().out, KillSwitchChanged, "firm")[-1]
    assert switch.restriction == {Restriction.MARKET: State.HALT}
    guarded = Guarded().old()
    row = guarded.truth.decide("firm", switch.effective, switch.unwind, switch.restriction)
    ask = guarded.know(row).switch.allows
    order: dict[str, Any] = {"counterparty": "kraken", "asset": ("BTC", "USD"), "book": "mm"}
    assert ask(**order, side="sell", usd=5e7, reduces=True)
    assert ask(**order, side="sell", usd=5e7, reduces={"firm": True})
    assert ask(counterparty="kraken", asset="USD", side="deposit", usd=5e6, top_up=True)
    assert not ask(counterparty="kraken", asset="USD", side="deposit", usd=1.0)
    for reduces in (False, {"firm": False}, {"asset:BTC": True}):
        assert not ask(**order, side="buy", usd=1.0, reduces=reduces)
