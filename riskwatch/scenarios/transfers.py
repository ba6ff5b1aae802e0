"""The treasury of the sample firm: transfers of coins from one venue to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import moment
from riskwatch.core.events import Transfer
from riskwatch.core.money import sub
from riskwatch.scenarios.accounts import TREASURY
from riskwatch.scenarios.market import decimal
from riskwatch.scenarios.simulation import digits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from riskwatch.core.events import Event, TransferStatus
    from riskwatch.scenarios.simulation import FirmSimulation

_NETWORK: Final = {"BTC": "bitcoin", "USDC": "ethereum", "USDT": "tron"}
_GAP_S: Final = (3_600.0, 8_400.0)
_CANCELLED: Final = 0.04
_FAILED: Final = 0.08
"""Below the first share a withdrawal is cancelled, between the two it fails."""


class Treasury:
    """Moves a coin every hour or two, from the venue with the largest surplus over its opening."""

    def __init__(self, firm: FirmSimulation) -> None:
        self._firm = firm
        self._count = 0

    def withdraw(self, us: int) -> Iterator[Event]:
        """Request a withdrawal of some per cent, and schedule its further steps."""
        firm = self._firm
        firm.at(us + firm.span(*_GAP_S), self.withdraw)
        asset = firm.rng.choice(firm.hold)
        outcome, share = firm.rng.random(), firm.rng.uniform(0.02, 0.06)
        source = max(firm.venues, key=lambda v: self._surplus(v, asset))
        target = min(firm.venues, key=lambda v: self._surplus(v, asset))
        if source == target:
            target = firm.rng.choice([v for v in firm.venues if v != source])
        key = (source, TREASURY, asset)
        amount = decimal(float(firm.accounts.total[key]) * share, digits(asset)[1])
        self._count += 1
        name = f"transfer-{self._count}"
        if not amount or not firm.accounts.lock(name, key, amount):
            return
        transfer = TransferLifecycle(firm, name, asset, amount, source, target)
        yield transfer.withdrawal(us, "requested")
        if outcome < _CANCELLED:
            firm.at(us + firm.span(20.0, 90.0), transfer.cancelled)
        else:
            firm.at(
                us + firm.span(5.0, 40.0),
                transfer.failing if outcome < _FAILED else transfer.pending,
            )

    def _surplus(self, venue: str, asset: str) -> Decimal:
        key = (venue, TREASURY, asset)
        return sub(self._firm.accounts.total[key], self._firm.accounts.opening[key])


@dataclass(frozen=True, slots=True)
class TransferLifecycle:
    """The steps of one transfer from `source` to `target`; one id at both ends.

    The statuses are requested → pending → sent → confirmed, unless it is cancelled or fails; at the
    other end pending → confirmed. The amount leaves `source` when sent and counts at `target` when
    confirmed.
    """

    firm: FirmSimulation
    name: str
    asset: str
    amount: Decimal
    source: str
    target: str

    def cancelled(self, us: int) -> Iterator[Event]:
        """Cancel the withdrawal before the venue accepts it."""
        self.firm.accounts.unlock(self.name)
        yield self.withdrawal(us, "cancelled")

    def failing(self, us: int) -> Iterator[Event]:
        """Accept the withdrawal, and schedule its failure minutes later."""
        yield self.withdrawal(us, "pending")
        self.firm.at(us + self.firm.span(60.0, 300.0), self.failed)

    def failed(self, us: int) -> Iterator[Event]:
        """Fail the withdrawal, and release the coins."""
        self.firm.accounts.unlock(self.name)
        yield self.withdrawal(us, "failed")

    def pending(self, us: int) -> Iterator[Event]:
        """Accept the withdrawal."""
        yield self.withdrawal(us, "pending")
        self.firm.at(us + self.firm.span(120.0, 420.0), self.sent)

    def sent(self, us: int) -> Iterator[Event]:
        """Send the coins from the venue."""
        self.firm.accounts.unlock(self.name)
        self.firm.accounts.move((self.source, TREASURY, self.asset), -self.amount)
        yield self.withdrawal(us, "sent")
        self.firm.at(us + self.firm.span(30.0, 120.0), self.seen)
        self.firm.at(us + self.firm.span(300.0, 900.0), self.arrived)

    def seen(self, us: int) -> Iterator[Event]:
        """Report the deposit as pending at the other venue."""
        yield self._event(us, "pending", leaving=False)

    def arrived(self, us: int) -> Iterator[Event]:
        """Confirm the transfer at both ends."""
        yield self.withdrawal(us, "confirmed")
        self.firm.accounts.move((self.target, TREASURY, self.asset), self.amount)
        yield self._event(us, "confirmed", leaving=False)

    def withdrawal(self, us: int, status: TransferStatus) -> Transfer:
        """Return the event with the status at the venue that the coins leave."""
        return self._event(us, status, leaving=True)

    def _event(self, us: int, status: TransferStatus, *, leaving: bool) -> Transfer:
        venue = self.source if leaving else self.target
        n = next(self.firm.numbers[venue])
        return Transfer(
            v=1,
            event_id=f"transfer-{n}",
            ts=moment(us),
            source=f"{venue}-account",
            source_seq=n,
            transfer_id=self.name,
            counterparty=venue,
            account=TREASURY,
            book=TREASURY,
            asset=self.asset,
            amount=self.amount,
            direction="withdrawal" if leaving else "deposit",
            status=status,
            network=_NETWORK.get(self.asset),
        )
