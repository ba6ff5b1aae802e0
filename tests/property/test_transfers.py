"""Transfers between wallets, accounts and venues: money neither doubles nor vanishes."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.facts import balance, transfer
from tests.support.two_stages import TwoStages

if TYPE_CHECKING:
    from riskwatch.core.events import Transfer

VENUES = ("kraken", "okx", "third")
ACCOUNTS = ("main", "sub")
OPENING = Decimal(10_000)
PLACES = [(venue, account) for venue in VENUES for account in ACCOUNTS]


class Plan:
    """A random set of transfers, each with all that venues say of it, and what becomes of it.

    `leaves` is what the firm pays to others: fees, and withdrawals to somebody else.
    """

    def __init__(self, seed: int, count: int) -> None:
        self.random = Random(seed)
        self.facts: list[Transfer] = []
        self.leaves = Decimal(0)
        self.held = dict.fromkeys(PLACES, OPENING)
        self.transit = Decimal(0)
        for n in range(count):
            self.add(n)

    def add(self, n: int) -> None:
        """Add one transfer; its amount and its transaction are its own."""
        chance, pick = self.random.random, self.random.choice
        amount, fee = Decimal(n * 3 + 20), pick((Decimal(0), Decimal("0.25")))
        out, into = self.random.sample(PLACES, 2)
        at = self.random.randrange(3_600)
        linked = {"tx_id": f"0x{n}"} if chance() < 0.5 else {}
        sender = {"counterparty": out[0], "account": out[1], "transfer_id": f"w{n}", **linked}
        sender |= {"amount": str(amount)} | ({"fee": str(fee)} if fee else {})
        if chance() < 0.15:
            self.internal(n, at, sender, (out, amount, fee))
            return
        end = pick(("sent", "sent", "confirmed", "failed"))
        self.say(
            n, at, sender, "withdrawal", [s for s in ("pending", "sent") if chance() < 0.7], end
        )
        if end == "failed":
            return
        self.held[out] -= amount + fee
        self.leaves += fee
        if chance() < 0.2:  # it goes to somebody else, or is on the way for ever
            if end == "confirmed":
                self.leaves += amount
            else:
                self.transit += amount
            return
        there = {"counterparty": into[0], "account": into[1], "transfer_id": f"d{n}", **linked}
        there |= {"amount": str(amount)}
        self.say(n, at + 30, there, "deposit", ["sent"] if chance() < 0.6 else [], "confirmed")
        self.held[into] += amount

    def internal(
        self,
        n: int,
        at: int,
        sender: dict[str, str],
        what: tuple[tuple[str, str], Decimal, Decimal],
    ) -> None:
        """Move an amount between two accounts of a venue, with one event."""
        (venue, account), amount, fee = what
        other = next(name for name in ACCOUNTS if name != account)
        self.say(n, at, {**sender, "to_account": other}, "withdrawal", ["sent"], "confirmed")
        self.held[venue, account] -= amount + fee
        self.held[venue, other] += amount
        self.leaves += fee

    def say(
        self, n: int, at: int, fields: dict[str, str], direction: str, before: list[str], end: str
    ) -> None:
        """Add statuses of one leg, some of them twice."""
        for step, status in enumerate((*before, end)):
            name = f"{direction}-{n}-{step}"
            fact = transfer(name, at + step, status, direction=direction, **fields)
            self.facts += [fact] * (1 if self.random.random() < 0.7 else 2)


def sums(stages: TwoStages) -> tuple[dict[tuple[str, str], Decimal], Decimal]:
    """Custody by venue and account, and all that is in transit."""
    held, transit = dict.fromkeys(PLACES, Decimal(0)), Decimal(0)
    for name, row in stages.desk.state.parties.items():
        for h in row.holdings:
            if h.component == "in_transit":
                transit += h.amount
            else:
                held[name, h.account] += h.amount
    return held, transit


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 12), reload=st.booleans())
def test_any_order_and_any_repeat_gives_what_the_plan_says(
    seed: int, count: int, *, reload: bool
) -> None:
    """The sum over the firm is the opening less fees and payments; each account is exact."""
    plan = Plan(seed, count)
    plan.random.shuffle(plan.facts)
    stages = TwoStages(reload=reload)
    opening = [
        balance(f"b{n}", -1, str(OPENING), counterparty=venue, account=account)
        for n, (venue, account) in enumerate(PLACES)
    ]
    stages.turn(0, *opening)
    for n, fact in enumerate(plan.facts):
        stages.turn(3_700 + n, replace(fact, event_id=f"{fact.event_id}-{n}"))
    held, transit = sums(stages)
    assert held == plan.held
    assert transit == plan.transit
    assert sum(held.values()) + transit == OPENING * len(PLACES) - plan.leaves
