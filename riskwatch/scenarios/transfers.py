"""The treasury of the sample firm: coins on their way from one venue to another."""

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
    """Every hour or two, moves a coin from where it has most over its opening to elsewhere."""

    def __init__(self, desk: FirmSimulation) -> None:
        self._desk = desk
        self._count = 0

    def withdraw(self, us: int) -> Iterator[Event]:
        """Request a withdrawal of some per cent, and see what becomes of it."""
        desk = self._desk
        desk.at(us + desk.span(*_GAP_S), self.withdraw)
        asset = desk.rng.choice(desk.hold)
        fate, share = desk.rng.random(), desk.rng.uniform(0.02, 0.06)
        source = max(desk.venues, key=lambda v: self._surplus(v, asset))
        target = min(desk.venues, key=lambda v: self._surplus(v, asset))
        if source == target:
            target = desk.rng.choice([v for v in desk.venues if v != source])
        key = (source, TREASURY, asset)
        amount = decimal(float(desk.accounts.total[key]) * share, digits(asset)[1])
        self._count += 1
        name = f"transfer-{self._count}"
        if not amount or not desk.accounts.lock(name, key, amount):
            return
        trip = TransferLifecycle(desk, name, asset, amount, source, target)
        yield trip.withdrawal(us, "requested")
        if fate < _CANCELLED:
            desk.at(us + desk.span(20.0, 90.0), trip.cancelled)
        else:
            desk.at(us + desk.span(5.0, 40.0), trip.failing if fate < _FAILED else trip.pending)

    def _surplus(self, venue: str, asset: str) -> Decimal:
        key = (venue, TREASURY, asset)
        return sub(self._desk.accounts.total[key], self._desk.accounts.opening[key])


@dataclass(frozen=True, slots=True)
class TransferLifecycle:
    """The life of one transfer from `source` to `target`; one id at both ends.

    requested → pending → sent → confirmed, unless cancelled or failed; at the other end
    pending → confirmed. It leaves `source` when sent and counts at `target` when confirmed.
    """

    desk: FirmSimulation
    name: str
    asset: str
    amount: Decimal
    source: str
    target: str

    def cancelled(self, us: int) -> Iterator[Event]:
        """Give up before the venue looked at it."""
        self.desk.accounts.unlock(self.name)
        yield self.withdrawal(us, "cancelled")

    def failing(self, us: int) -> Iterator[Event]:
        """Be accepted, to fail minutes later."""
        yield self.withdrawal(us, "pending")
        self.desk.at(us + self.desk.span(60.0, 300.0), self.failed)

    def failed(self, us: int) -> Iterator[Event]:
        """Fail; the coins are free again."""
        self.desk.accounts.unlock(self.name)
        yield self.withdrawal(us, "failed")

    def pending(self, us: int) -> Iterator[Event]:
        """Be accepted."""
        yield self.withdrawal(us, "pending")
        self.desk.at(us + self.desk.span(120.0, 420.0), self.sent)

    def sent(self, us: int) -> Iterator[Event]:
        """Leave the venue."""
        self.desk.accounts.unlock(self.name)
        self.desk.accounts.move((self.source, TREASURY, self.asset), -self.amount)
        yield self.withdrawal(us, "sent")
        self.desk.at(us + self.desk.span(30.0, 120.0), self.seen)
        self.desk.at(us + self.desk.span(300.0, 900.0), self.arrived)

    def seen(self, us: int) -> Iterator[Event]:
        """Be noticed by the other venue."""
        yield self._event(us, "pending", leaving=False)

    def arrived(self, us: int) -> Iterator[Event]:
        """Be confirmed at both ends."""
        yield self.withdrawal(us, "confirmed")
        self.desk.accounts.move((self.target, TREASURY, self.asset), self.amount)
        yield self._event(us, "confirmed", leaving=False)

    def withdrawal(self, us: int, status: TransferStatus) -> Transfer:
        """Say the status at the venue that it leaves."""
        return self._event(us, status, leaving=True)

    def _event(self, us: int, status: TransferStatus, *, leaving: bool) -> Transfer:
        venue = self.source if leaving else self.target
        n = next(self.desk.numbers[venue])
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
