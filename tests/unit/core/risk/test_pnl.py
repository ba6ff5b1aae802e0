"""Profit and loss by day and over 24 hours, of firm, books and accounts."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.core.enums import Restriction, State
from riskwatch.core.outputs import (
    DrawdownMeasured,
    HighWaterMarkSet,
    KillSwitchChanged,
    PnlMeasured,
)
from riskwatch.core.reference import LimitsConfig
from riskwatch.core.risk.drawdown import losses_bp
from riskwatch.core.rules import RulePack
from tests.support.facts import adjustment, balance, fill, position, transfer
from tests.support.people import answer, request_of
from tests.support.risk import RULES, of
from tests.support.two_stages import TwoStages, order_of, prices

if TYPE_CHECKING:
    from riskwatch.core.risk.state import EquityRow

NO_RULES = RulePack(rules=())
DAY = 86_400.0
MIDNIGHT = 21 * 3_600.0
"""Seconds from the start of facts (03:00 UTC) to the next midnight."""
PARTS = ("trading", "fees", "funding", "interest", "revaluation", "unexplained")


def firm(*facts: Any, rules: RulePack = NO_RULES, reload: bool = False) -> TwoStages:
    """Return both stages after two ticks with BTC at 100; 1,000 USD and ten BTC unless given."""
    stages = TwoStages(rules, reload=reload)
    given = facts or (balance("u", 1, "1000", asset="USD"), balance("b", 1, "10"))
    stages.turn(2, *prices(100.0), *given)
    stages.turn(10, *prices(100.0, 2))
    return stages


def row(stages: TwoStages, scope: str = "firm") -> EquityRow:
    """Return the equity row of a scope."""
    return stages.desk.state.equities[scope]


def result(stages: TwoStages, seconds: float, scope: str = "firm") -> PnlMeasured:
    """Return what is published of a scope at a report that is due, prices as they were."""
    stages.turn(seconds)
    return of(stages.out, PnlMeasured, scope)[-1]


def check_sums(found: PnlMeasured) -> None:
    """Check that the parts are the result, and that the result and the flow are the change."""
    assert sum(getattr(found, f"{part}_usd") for part in PARTS) == found.pnl_usd
    assert found.equity_start_usd + found.pnl_usd + found.flow_usd == found.equity_usd


def test_the_parts_sum_to_the_change_of_equity() -> None:
    """Trade, fee, funding, interest, revaluation and a deposit: to the cent, in every scope."""
    stages = firm()
    stages.turn(
        20,
        fill("f", 15, qty="2", price="99.123", fee="0.4567", fee_asset="USD"),
        adjustment("a1", 16, kind="funding", asset="USD", amount="-1.234"),
        adjustment("a2", 16, kind="interest", asset="USD", amount="0.111"),
        transfer("t", 17, "confirmed", direction="deposit", asset="USD", amount="500"),
        *prices(101.337, 3),
    )
    for scope in ("firm", "book:mm", "account:kraken/main"):
        found = result(stages, 1_000, scope)
        check_sums(found)
        assert found.fees_usd == Decimal("-0.46")
        assert (found.funding_usd, found.interest_usd) == (Decimal("-1.23"), Decimal("0.11"))
        assert found.revaluation_usd == Decimal("13.37")
        assert found.trading_usd == Decimal("4.43")  # two, bought 2.214 below the price of the tick
        assert found.flow_usd == pytest.approx(Decimal(500), abs=Decimal("0.02"))


def test_a_deposit_in_the_middle_of_a_loss_is_no_profit() -> None:
    """The loss of the day is that of the prices, whatever arrives or leaves."""
    stages = firm()
    stages.turn(20, *prices(80.0, 3))
    told = losses_bp(row(stages))
    assert told == pytest.approx((1_000.0, 1_000.0))
    stages.turn(30, transfer("t", 25, "confirmed", direction="deposit", asset="USD", amount="5000"))
    assert losses_bp(row(stages)) == told
    assert result(stages, 1_000).pnl_usd == Decimal("-200.00")


def test_an_allocation_is_no_result_of_a_book() -> None:
    """Treasury gives a book 5,000,000 USD: its result is zero."""
    given = balance("u", 1, "5000000", asset="USD", account="t", book="treasury")
    stages = firm(given, balance("b", 1, "1"))
    taken = balance("v", 15, "0", asset="USD", account="t", book="treasury")
    stages.turn(20, taken, balance("w", 15, "5000000", asset="USD"))
    found = result(stages, 1_000, "book:mm")
    assert (found.pnl_usd, found.flow_usd) == (Decimal("0.00"), Decimal("5000000.00"))


def test_midnight_ends_no_loss() -> None:
    """The loss of the day begins anew at midnight; that of 24 hours stands until they are over."""
    stages = firm()
    stages.turn(MIDNIGHT - 120, *prices(80.0, 3))
    stages.turn(MIDNIGHT + 120, *prices(80.0, 4))
    assert losses_bp(row(stages)) == pytest.approx((0.0, 1_000.0))
    stages.turn(MIDNIGHT + DAY + 1_200, *prices(80.0, 5))
    stages.turn(MIDNIGHT + DAY + 2_400, *prices(80.0, 6))
    assert losses_bp(row(stages)) == (0.0, 0.0)


def test_a_loss_of_a_book_is_a_share_of_its_capital() -> None:
    """One that states none has a quarter of the equity that is configured."""
    limits = LimitsConfig(equity_usd=1_000.0, limits=(), capital_usd={"mm": 800.0})
    assert (limits.capital_of("mm"), limits.capital_of("arb")) == (800.0, 250.0)
    stages = firm()
    stages.turn(20, *prices(75.0, 3))
    capital = row(stages, "book:mm").capital
    assert capital == 250_000.0
    assert losses_bp(row(stages, "book:mm"))[0] == pytest.approx(250.0 / capital * 1e4)


def test_the_profit_of_a_position_is_in_the_equity_once() -> None:
    """From its entry; an account that states the profit as a balance is taken by its word."""
    facts = [
        balance("u", 1, "1000", asset="USD"),
        position("p", 1, "2", entry_price="90", quote="USD"),
    ]
    stages = firm(*facts)
    assert row(stages).equity == pytest.approx(1_020.0)
    stages.turn(20, *prices(95.0, 3))
    assert row(stages).equity == pytest.approx(1_010.0)
    check_sums(found := result(stages, 1_000))
    assert (found.pnl_usd, found.flow_usd) == (Decimal("-10.00"), Decimal("0.00"))
    stating = firm(balance("u", 1, "1000", asset="USD", unrealized_pnl="20"), facts[1])
    assert row(stating).equity == pytest.approx(1_020.0)


def test_the_fee_of_a_fill_at_the_price_is_the_loss() -> None:
    """A fill at the price earns nothing but its fee."""
    stages = firm()
    stages.turn(20, fill("f", 15, qty="1", price="100", fee="3", fee_asset="USD"))
    found = result(stages, 1_000)
    assert (found.trading_usd, found.fees_usd, found.pnl_usd) == (
        Decimal("0.00"), Decimal("-3.00"), Decimal("-3.00"),
    )  # fmt: skip


def test_the_shipped_rules_watch_reduce_and_halt_a_losing_firm() -> None:
    """The loss grows: WATCH, REDUCE and HALT of the firm, in order, of the market risk alone."""
    stages = firm(rules=RULES)  # half of the equity is BTC
    states: list[State] = []
    for n in range(160):
        price = max(80.0, 100.0 - n / 8.0)
        out = stages.turn(20 + 20 * n, *prices(price, 10 + n))
        states += [s.state for s in of(out, KillSwitchChanged, "firm")]
    assert list(dict.fromkeys(states)) == [State.WATCH, State.REDUCE, State.HALT]
    last = of(stages.out, KillSwitchChanged, "firm")[-1]
    assert last.restriction == {Restriction.MARKET: State.HALT}


def test_two_people_rebase_a_book() -> None:
    """The drawdown of a book has the same way out as that of the firm."""
    stages = firm(balance("b", 1, "10000"))
    stages.turn(20, *prices(80.0, 3))
    assert of(stages.out, DrawdownMeasured, "book:mm")[-1].drawdown_bp == 8_000.0
    request = request_of(stages.turn(30, order_of("ann", "rebase", 30, "book:mm")))
    done = stages.turn(40, order_of("bob", "approve", 40, "book:mm", request=request))
    (mark,) = of(done, HighWaterMarkSet)
    assert (mark.scope, mark.drawdown_bp) == ("book:mm", 0.0)
    refused = stages.turn(50, order_of("ann", "rebase", 50, "account:kraken/main", key="2"))
    assert answer(refused) == "SCOPE_INVALID"


def test_a_restart_at_each_turn_changes_no_byte() -> None:
    """Marks, day and result survive in rows."""
    told = []
    for reload in (False, True):
        stages = firm(reload=reload)
        stages.turn(20, fill("f", 15, qty="1", price="99", fee="0.1", fee_asset="USD"))
        stages.turn(2_000, *prices(91.7, 5))
        stages.turn(MIDNIGHT + 5, *prices(83.1, 6), adjustment("a", MIDNIGHT + 1, kind="fee",
                    asset="USD", amount="-2"))  # fmt: skip
        stages.turn(MIDNIGHT + 2_000, *prices(84.0, 7))
        told.append(stages.out)
    assert told[0] == told[1]
