"""A losing day: long 300 BTC with 6 million USD of margin, and a fall of 29 %."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pytest

from riskwatch.core.enums import State
from riskwatch.core.outputs import DrawdownMeasured, KillSwitchChanged, PnlMeasured
from riskwatch.core.rules import RulePack
from tests.support.facts import balance, fill, position, transfer
from tests.support.people import answer, request_of
from tests.support.risk import RULES, of
from tests.support.two_stages import TwoStages, order_of, prices
from tests.unit.client.guard.test_switch import Guarded

if TYPE_CHECKING:
    from collections.abc import Callable

PACK: Final = RulePack(
    rules=tuple(r for r in RULES.rules if r.id.startswith(("firm.loss", "firm.drawdown")))
)
STEP: Final = 30
"""Seconds between two ticks."""
TICKS: Final = 120
TOP_UP: Final = 40
"""Tick at which a million arrives."""
MAINTENANCE: Final = 0.01
PERP: Final[dict[str, Any]] = {"instrument": "BTC-PERP", "quote": "USD"}


class LosingDay:
    """A trader who sends only what the guard allows: ten coins sold at each tick."""

    def __init__(self, venue: str) -> None:
        self.venue = venue
        self.stages = TwoStages(PACK)
        self.cash, self.long, self.hedge = Decimal(6_000_000), 300, 0
        self.earned, self.seen = 0.0, 10
        self.price = self.sold_at = 60_000.0
        self.hedged_at: list[float] = []
        self.states: list[State] = []
        self.allows: Callable[..., Any] | None = None
        self.asked = 0
        self.stages.turn(2, *prices(60_000.0), balance("u", 1, "6000000", asset="USD"),
                         position("p", 1, "300", entry_price="60000", **PERP))  # fmt: skip
        self.stages.turn(10, *prices(60_000.0, 2))

    @property
    def net(self) -> int:
        """Net coins."""
        return self.long - self.hedge

    def tick(self, n: int, price: float) -> None:
        """Move the price, obey the switch, and trade what it allows."""
        self.earned += self.net * (price - self.price)
        self.price = price
        seconds = 10 + n * STEP
        facts: list[Any] = []
        if self.allows is not None and self.net > 100:
            facts = self._sell(n, seconds - 1)
        if n == TOP_UP:
            self.cash += 1_000_000
            facts.append(transfer("t", seconds - 1, "confirmed", direction="deposit",
                                  asset="USD", amount="1000000"))  # fmt: skip
        self.seen += 1
        out = self.stages.turn(seconds, *prices(price, self.seen), *facts)
        for switch in of(out, KillSwitchChanged, "firm"):
            self._obey(switch)
        assert self.margin_equity() > MAINTENANCE * self.long * price

    def margin_equity(self) -> float:
        """Equity of the account with the long position, by a formula of its own."""
        return float(self.cash) + self.long * (self.price - 60_000.0)

    def _obey(self, switch: KillSwitchChanged) -> None:
        self.states.append(switch.state)
        if switch.state.rank < State.REDUCE.rank:
            return
        guarded = Guarded().old()
        row = guarded.truth.decide("firm", switch.effective, switch.unwind, switch.restriction)
        self.allows = guarded.know(row).switch.allows

    def _sell(self, n: int, seconds: float) -> list[Any]:
        """Sell ten coins, if the guard allows it; the venue states the realised cash."""
        assert self.allows is not None
        order: dict[str, Any] = {"asset": ("BTC", "USD"), "book": "mm"}
        usd = 10 * self.price
        sell = self.allows(counterparty=self.venue, side="sell", usd=usd, reduces={"firm": True},
                           **order)  # fmt: skip
        top_up = self.allows(counterparty="kraken", asset="USD", side="deposit", usd=1e6,
                             top_up=True)  # fmt: skip
        buy = self.allows(counterparty=self.venue, side="buy", usd=usd, reduces=False, **order)
        assert (bool(sell), bool(top_up), bool(buy)) == (True, True, False)
        self.asked += 1
        sold = fill(f"s{n}", seconds, side="sell", qty="10", price=str(self.price), kind="perp",
                    counterparty=self.venue, **PERP)  # fmt: skip
        if self.venue != "kraken":
            self.hedge += 10
            return [sold]
        self.long -= 10
        self.cash += 10 * (Decimal(str(self.price)) - 60_000)
        return [sold, balance(f"b{n}", seconds + 0.5, str(self.cash), asset="USD")]


@pytest.mark.parametrize("venue", ["kraken", "coinbase"])
def test_what_the_guard_allows_leads_out_of_a_losing_day(venue: str) -> None:
    """WATCH, REDUCE, HALT in order; selling and topping up stay allowed; it is not liquidated."""
    day = LosingDay(venue)
    for n in range(1, TICKS + 1):
        day.tick(n, round(60_000.0 * (1.0 - 0.29 * n / TICKS), 2))
    assert day.states[:3] == [State.WATCH, State.REDUCE, State.HALT]
    assert day.states[-1] is State.HALT
    assert day.net <= 100
    assert day.asked == 20
    day.stages.turn(10 + TICKS * STEP + 400)
    found = of(day.stages.out, PnlMeasured, "firm")[-1]
    assert float(found.pnl_usd) == pytest.approx(day.earned, rel=1e-6)
    assert found.equity_start_usd + found.pnl_usd + found.flow_usd == found.equity_usd
    if venue == "kraken":  # no venue states the entry of the hedge, so its profit is in no equity
        assert float(found.flow_usd) == pytest.approx(1_000_000.0, rel=1e-6)


def test_two_people_lead_out_of_the_drawdown_halt_of_a_losing_day() -> None:
    """A day later the loss is over and the drawdown is not: rebase, then release."""
    day = LosingDay("kraken")
    for n in range(1, TICKS + 1):
        day.tick(n, round(60_000.0 * (1.0 - 0.29 * n / TICKS), 2))
    seconds = 10 + TICKS * STEP
    for n in range(1, 31):
        seconds += 3_600
        day.stages.turn(seconds, *prices(day.price, 1_000 + n))
    held = of(day.stages.out, DrawdownMeasured, "firm")[-1]
    assert (held.loss_day_bp, held.loss_24h_bp) == (0.0, 0.0)
    assert held.drawdown_bp > 1_000.0
    refused = day.stages.turn(seconds + 1, order_of("ann", "release", seconds + 1, "firm"))
    assert answer(refused) == "CONDITION_HOLDS"
    asked = day.stages.turn(seconds + 2, order_of("ann", "rebase", seconds + 2, "firm", key="r"))
    agreed = order_of("bob", "approve", seconds + 3, "firm", request=request_of(asked))
    day.stages.turn(seconds + 3, agreed)
    for n in range(1, 4):
        seconds += 3_600
        day.stages.turn(seconds, *prices(day.price, 2_000 + n))
    asked = day.stages.turn(seconds + 1, order_of("ann", "release", seconds + 1, "firm", key="2"))
    agreed = order_of("bob", "approve", seconds + 2, "firm", request=request_of(asked), key="3")
    freed = day.stages.turn(seconds + 2, agreed)
    assert of(freed, KillSwitchChanged, "firm")[-1].state is State.NORMAL
