"""A firm as an episode states it: balances every hour, and withdrawals that do or do not arrive.

What a withdrawal has locked stays at the venue until it is sent; what is never sent stays locked
for ever. Every snapshot equals what was stated less all that was sent before it.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import HOUR, SECOND, micros, moment
from riskwatch.core.events import Balance, Transfer
from riskwatch.scenarios.accounts import TREASURY, Accounts
from riskwatch.scenarios.market import EpisodePrices, decimal
from riskwatch.scenarios.path import PricePath
from riskwatch.scenarios.simulation import FirmSimulation, digits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.events import Event, TransferStatus
    from riskwatch.scenarios.episode import Episode, Withdrawals

ACCEPTED_S: Final = 30
"""Seconds from a request to its acceptance."""
CONFIRMED_S: Final = 60
"""Seconds from sending to confirmation."""
DURATION_NOISE: Final = 0.2
"""A withdrawal takes this share more or less than its path says."""


def firm_events(episode: Episode, seed: int) -> Iterator[Event]:
    """Account events of the firm that `episode` states, in order of time."""
    accounts = Accounts()
    for stake in episode.holdings:
        amount = decimal(stake.amount, digits(stake.asset)[1])
        accounts.total[stake.venue, TREASURY, stake.asset] = amount
    venues = tuple(dict.fromkeys(stake.venue for stake in episode.holdings))
    desk = FirmSimulation(accounts, hold=(), venues=venues, price=EpisodePrices(episode), seed=seed)
    begin = micros(episode.start)
    desk.at(begin, _HourlyBalances(desk).state)
    names = count(1)
    for plan in episode.withdrawals:
        desk.at(micros(plan.begin), _WithdrawalPlan(desk, plan, names).ask)
    return desk.run(micros(episode.end))


class _HourlyBalances:
    """States every balance once an hour."""

    def __init__(self, desk: FirmSimulation) -> None:
        self._desk = desk

    def state(self, us: int) -> Iterator[Balance]:
        """State them now, and come back."""
        self._desk.at(us + HOUR, self.state)
        for venue in self._desk.venues:
            yield from self._desk.accounts.snapshots(venue, us, self._desk.numbers[venue])


class _WithdrawalPlan:
    """Asks for withdrawals by a plan."""

    def __init__(self, desk: FirmSimulation, plan: Withdrawals, names: Iterator[int]) -> None:
        self._desk = desk
        self._plan = plan
        self._names = names
        self._takes = PricePath(plan.takes)
        self._amount = decimal(plan.amount, digits(plan.asset)[1])

    def ask(self, us: int) -> Iterator[Transfer]:
        """Ask for one, and come back for the next."""
        desk, plan = self._desk, self._plan
        following = us + plan.every_s * SECOND
        if following <= micros(plan.end):
            desk.at(following, self.ask)
        name = f"withdrawal-{next(self._names)}"
        key = (plan.venue, TREASURY, plan.asset)
        luck = desk.rng.uniform(1.0 - DURATION_NOISE, 1.0 + DURATION_NOISE)
        held = desk.accounts.lock(name, key, self._amount)
        assert held, "an episode that withdraws more than it holds is refused when it is read"
        yield self._event(name, us, "requested")
        desk.at(us + ACCEPTED_S * SECOND, lambda at: self._status(name, at, "pending"))
        if plan.stuck_from is None or us < micros(plan.stuck_from):
            wait = max(ACCEPTED_S + 1, round(self._takes.at(us) * luck))
            desk.at(us + wait * SECOND, lambda at: self._send(name, at))

    def _send(self, name: str, us: int) -> Iterator[Transfer]:
        plan, accounts = self._plan, self._desk.accounts
        accounts.unlock(name)
        accounts.move((plan.venue, TREASURY, plan.asset), -self._amount)
        yield self._event(name, us, "sent")
        self._desk.at(us + CONFIRMED_S * SECOND, lambda at: self._status(name, at, "confirmed"))

    def _status(self, name: str, us: int, status: TransferStatus) -> Iterator[Transfer]:
        yield self._event(name, us, status)

    def _event(self, name: str, us: int, status: TransferStatus) -> Transfer:
        plan = self._plan
        n = next(self._desk.numbers[plan.venue])
        return Transfer(
            v=1,
            event_id=f"transfer-{n}",
            ts=moment(us),
            source=f"{plan.venue}-account",
            source_seq=n,
            transfer_id=name,
            counterparty=plan.venue,
            account=TREASURY,
            book=TREASURY,
            asset=plan.asset,
            amount=self._amount,
            direction="withdrawal",
            status=status,
            network=plan.network,
        )
