"""The effect of a transfer, as a pure function of its statuses, in any order of arrival.

Every status counts once, at its earliest (ts, source_seq). The latest terminal status decides; if
times are equal, the order is `confirmed`, `failed`, `cancelled`. One exception: a failure older
than `sent` does not count while the transfer is not confirmed.

What a status may add to the terms, such as the transaction and the fee, counts as the newest status
that states it says.

The ledger knows one leg of a transfer: what one counterparty says. Legs go to the risk stage with
the readings, because the other leg may lie in another partition.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from riskwatch.core.events import Transfer, TransferStatus
from riskwatch.core.money import ZERO, canonical
from riskwatch.core.readings import TransferLeg

TransferKey = tuple[str, str]
"""(direction, transfer_id)."""
Movement = tuple[str, str, str, int, Decimal]
"""(account, wallet, asset, event time in microseconds, signed amount)."""

_RANK: dict[TransferStatus, int] = {
    "requested": 0,
    "pending": 1,
    "sent": 2,
    "confirmed": 3,
    "failed": 4,
    "cancelled": 5,
}
_TERMS: Final = ("book", "account", "asset", "amount", "direction", "wallet")
_DETAILS: Final = (
    "network", "tx_id", "address", "fee", "fee_asset", "to_counterparty", "to_account",
    "to_wallet", "instruction_id",
)  # fmt: skip


class TransferRow(msgspec.Struct, array_like=True):
    """The facts known about one transfer.

    Attributes
    ----------
    seen : dict
        Earliest (ts in microseconds, source_seq or 0) by status.
    details : dict
        By field of the event that any status may state: (ts, source_seq or 0, text) of the newest
        status that states it.
    told : bool
        Whether a reading had the leg as it is now.
    released : bool
        Whether it is so old that the risk stage alone counts what is in transit.
    """

    book: str
    account: str
    asset: str
    amount: Decimal
    direction: str
    seen: dict[TransferStatus, tuple[int, int]]
    wallet: str = ""
    details: dict[str, tuple[int, int, str]] = {}
    told: bool = False
    released: bool = False

    def row(self) -> object:
        """Return the row's value."""
        return self

    def contradiction(self, event: Transfer) -> str:
        """Return the fields in which `event` contradicts this transfer, as text; empty if none."""
        return " ".join(
            f"{name}={getattr(event, name)} was={getattr(self, name)}"
            for name in _TERMS
            if (getattr(event, name) or "") != getattr(self, name)
        )

    def note(self, event: Transfer, at: tuple[int, int]) -> None:
        """Store a status and what it states beside the terms."""
        self.seen[event.status] = min(at, self.seen.get(event.status, at))
        for name in _DETAILS:
            value = getattr(event, name)
            if value is None:
                continue
            text = str(canonical(value)) if isinstance(value, Decimal) else value
            found = (*at, text)
            self.details[name] = max(found, self.details.get(name, found))

    def detail(self, name: str) -> str:
        """Return what is stated in the field `name`; empty if nothing is."""
        found = self.details.get(name)
        return "" if found is None else found[2]

    def is_internal(self, counterparty: str) -> bool:
        """Whether it is the whole of a transfer within `counterparty`."""
        there = self.detail("to_counterparty") or counterparty
        named = self.detail("to_account") or self.detail("to_wallet")
        return self.direction == "withdrawal" and bool(named) and there == counterparty

    def last_us(self) -> int:
        """Return the event time of the newest status, microseconds."""
        return max(at[0] for at in self.seen.values())


class TransferEffect(msgspec.Struct, frozen=True):
    """The effect of a transfer.

    Attributes
    ----------
    deltas : list of (int, Decimal)
        Signed changes of custody at event times, microseconds; the fee is not among them.
    in_transit : Decimal
        Amount in transit.
    pending_us : int or None
        Time since which a withdrawal is requested or pending and not sent, microseconds.
    done : (int, int) or None
        Time at which a withdrawal left, and its duration from the request, microseconds.
    failed_us : int or None
        Time at which a withdrawal failed, microseconds.
    moved_us : int or None
        Time at which the amount finally left (withdrawal) or arrived (deposit), microseconds.
    open : bool
        Whether further statuses are expected.
    """

    deltas: list[tuple[int, Decimal]] = msgspec.field(default_factory=list)
    in_transit: Decimal = ZERO
    pending_us: int | None = None
    done: tuple[int, int] | None = None
    failed_us: int | None = None
    moved_us: int | None = None
    open: bool = True


def transfer_effect(t: TransferRow) -> TransferEffect:
    """Return the effect of a transfer.

    Examples
    --------
    >>> t = TransferRow("b", "a", "BTC", Decimal(2), "withdrawal", {"pending": (5, 0)})
    >>> transfer_effect(t).pending_us
    5
    >>> t.seen["sent"] = (9, 0)
    >>> effect = transfer_effect(t)
    >>> effect.deltas, effect.in_transit, effect.done
    ([(9, Decimal('-2'))], Decimal('2'), (9, 4))
    """
    return _withdrawal(t) if t.direction == "withdrawal" else _deposit(t)


def transfer_movements(t: TransferRow, effect: TransferEffect, counterparty: str) -> list[Movement]:
    """Return the changes of custody of a transfer, its fee and the other side of it among them."""
    moves = [(t.account, t.wallet, t.asset, us, amount) for us, amount in effect.deltas]
    fee = Decimal(t.detail("fee") or 0)
    if fee:
        asset = t.detail("fee_asset") or t.asset
        paid = t.direction == "withdrawal"
        for us, amount in effect.deltas:
            charged = fee.copy_negate() if (amount < 0) == paid else fee
            moves.append((t.account, t.wallet, asset, us, charged))
    if t.is_internal(counterparty) and effect.deltas and effect.moved_us is not None:
        arrived = None if effect.open else t.seen.get("confirmed")
        if arrived is not None:
            account, wallet = t.detail("to_account") or t.account, t.detail("to_wallet")
            moves.append((account, wallet, t.asset, arrived[0], t.amount))
    return moves


def transfer_leg(t: TransferRow, transfer_id: str, counterparty: str) -> TransferLeg | None:
    """Return the leg as the risk stage needs it; ``None`` for a deposit of which nothing is seen.

    Examples
    --------
    >>> t = TransferRow("b", "a", "BTC", Decimal(2), "withdrawal", {"sent": (5, 0)})
    >>> leg = transfer_leg(t, "w1", "kraken")
    >>> leg.phase, leg.first_us, leg.in_transit
    ('open', 5, Decimal('2'))
    """
    effect = transfer_effect(t)
    way = _earliest(t, "sent", "confirmed")
    final = _final_status(t)
    if final is not None:
        phase = "done" if final == "confirmed" else "returned"
    elif way is None:
        phase = "pending"
    else:
        phase = "open"
    if phase == "pending" and t.direction == "deposit":
        return None
    here = (t.detail("fee_asset") or t.asset) == t.asset
    return TransferLeg(
        transfer_id=transfer_id,
        direction=t.direction,
        book=t.book,
        account=t.account,
        asset=t.asset,
        amount=t.amount,
        fee=Decimal(t.detail("fee") or 0) if here else ZERO,
        phase=phase,
        first_us=min(at[0] for at in t.seen.values()) if way is None else way,
        last_us=t.last_us(),
        in_transit=ZERO if t.released else effect.in_transit,
        tx_id=t.detail("tx_id"),
        address=t.detail("address"),
        network=t.detail("network"),
        instruction_id=t.detail("instruction_id"),
        to_counterparty=t.detail("to_counterparty"),
        to_account=t.detail("to_account"),
        wallet=t.wallet,
        to_wallet=t.detail("to_wallet"),
        internal=t.is_internal(counterparty),
    )


def _final_status(t: TransferRow) -> TransferStatus | None:
    """Return the terminal status that decides, if there is one."""
    ends = [(t.seen[s], _RANK[s], s) for s in _RANK if _RANK[s] >= 3 and s in t.seen]
    if not ends:
        return None
    at, _, status = max(ends)
    sent = t.seen.get("sent")
    overtaken = sent is not None and sent > at and "confirmed" not in t.seen
    return None if overtaken else status


def _earliest(t: TransferRow, *statuses: TransferStatus) -> int | None:
    times = [t.seen[status][0] for status in statuses if status in t.seen]
    return min(times) if times else None


def _withdrawal(t: TransferRow) -> TransferEffect:
    final = _final_status(t)
    left = _earliest(t, "sent", "confirmed")
    requested = _earliest(t, "requested", "pending")
    failed = final in ("failed", "cancelled")
    failed_us = t.seen["failed"][0] if final == "failed" else None
    if left is None:
        return TransferEffect(
            pending_us=None if failed else requested, failed_us=failed_us, open=not failed
        )
    deltas = [(left, t.amount.copy_negate())]
    if final is not None and failed:
        deltas.append((t.seen[final][0], t.amount))
        return TransferEffect(deltas=deltas, failed_us=failed_us, open=False)
    return TransferEffect(
        deltas=deltas,
        in_transit=t.amount if final is None else ZERO,
        done=None if requested is None else (left, max(0, left - requested)),
        moved_us=left,
        open=final is None,
    )


def _deposit(t: TransferRow) -> TransferEffect:
    final = _final_status(t)
    arrived = t.seen.get("confirmed")
    deltas = [] if arrived is None else [(arrived[0], t.amount)]
    if final is None:
        return TransferEffect(in_transit=t.amount if "sent" in t.seen else ZERO)
    if final == "confirmed":
        return TransferEffect(deltas=deltas, moved_us=_earliest(t, "confirmed"), open=False)
    if arrived is not None:
        deltas.append((t.seen[final][0], t.amount.copy_negate()))
    return TransferEffect(deltas=deltas, open=False)
