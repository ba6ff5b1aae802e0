"""The firm that an episode describes: hourly balances, and withdrawals.

The amount of a withdrawal stays locked at the venue until it is sent. If it is never sent, it stays
locked permanently. Every snapshot equals the stated holding less all withdrawals sent before it.
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
"""A withdrawal takes up to this share more or less time than its path states."""


def firm_events(episode: Episode, seed: int) -> Iterator[Event]:
    """Return the account events of the firm that `episode` describes, in order of time."""
    accounts = Accounts()
    for holding in episode.holdings:
        amount = decimal(holding.amount, digits(holding.asset)[1])
        accounts.total[holding.venue, TREASURY, holding.asset] = amount
    venues = tuple(dict.fromkeys(holding.venue for holding in episode.holdings))
    firm = FirmSimulation(accounts, hold=(), venues=venues, price=EpisodePrices(episode), seed=seed)
    begin = micros(episode.start)
    firm.at(begin, _HourlyBalances(firm).state)
    names = count(1)
    for plan in episode.withdrawals:
        firm.at(micros(plan.begin), _WithdrawalPlan(firm, plan, names).ask)
    return firm.run(micros(episode.end))


class _HourlyBalances:
    """Yields every balance once an hour."""

    def __init__(self, firm: FirmSimulation) -> None:
        self._firm = firm

    def state(self, us: int) -> Iterator[Balance]:
        """Yield the balances now, and schedule the next hour."""
        self._firm.at(us + HOUR, self.state)
        for venue in self._firm.venues:
            yield from self._firm.accounts.snapshots(venue, us, self._firm.numbers[venue])


class _WithdrawalPlan:
    """Requests withdrawals by a plan."""

    def __init__(self, firm: FirmSimulation, plan: Withdrawals, names: Iterator[int]) -> None:
        self._firm = firm
        self._plan = plan
        self._names = names
        self._takes = PricePath(plan.takes)
        self._amount = decimal(plan.amount, digits(plan.asset)[1])

    def ask(self, us: int) -> Iterator[Transfer]:
        """Request one withdrawal, and schedule the next."""
        firm, plan = self._firm, self._plan
        following = us + plan.every_s * SECOND
        if following <= micros(plan.end):
            firm.at(following, self.ask)
        name = f"withdrawal-{next(self._names)}"
        key = (plan.venue, TREASURY, plan.asset)
        noise = firm.rng.uniform(1.0 - DURATION_NOISE, 1.0 + DURATION_NOISE)
        held = firm.accounts.lock(name, key, self._amount)
        assert held, "an episode that withdraws more than it holds is refused when it is read"
        yield self._event(name, us, "requested")
        firm.at(us + ACCEPTED_S * SECOND, lambda at: self._status(name, at, "pending"))
        if plan.stuck_from is None or us < micros(plan.stuck_from):
            wait = max(ACCEPTED_S + 1, round(self._takes.at(us) * noise))
            firm.at(us + wait * SECOND, lambda at: self._send(name, at))

    def _send(self, name: str, us: int) -> Iterator[Transfer]:
        plan, accounts = self._plan, self._firm.accounts
        accounts.unlock(name)
        accounts.move((plan.venue, TREASURY, plan.asset), -self._amount)
        yield self._event(name, us, "sent")
        self._firm.at(us + CONFIRMED_S * SECOND, lambda at: self._status(name, at, "confirmed"))

    def _status(self, name: str, us: int, status: TransferStatus) -> Iterator[Transfer]:
        yield self._event(name, us, status)

    def _event(self, name: str, us: int, status: TransferStatus) -> Transfer:
        plan = self._plan
        n = next(self._firm.numbers[plan.venue])
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
