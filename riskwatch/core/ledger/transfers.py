"""The effect of a transfer, as a pure function of its statuses, in any order of arrival.

Every status counts once, at its earliest (ts, source_seq). The latest terminal status decides; if
times are equal, the order is `confirmed`, `failed`, `cancelled`. One exception: a failure older
than `sent` does not count while the transfer is not confirmed.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from riskwatch.core.events import Transfer, TransferStatus
from riskwatch.core.money import ZERO

_RANK: dict[TransferStatus, int] = {
    "requested": 0,
    "pending": 1,
    "sent": 2,
    "confirmed": 3,
    "failed": 4,
    "cancelled": 5,
}


class TransferRow(msgspec.Struct, array_like=True):
    """The facts known about one transfer.

    Attributes
    ----------
    seen : dict
        Earliest (ts in microseconds, source_seq or 0) by status.
    """

    book: str
    account: str
    asset: str
    amount: Decimal
    direction: str
    seen: dict[TransferStatus, tuple[int, int]]
    wallet: str = ""

    def row(self) -> object:
        """Return the row's value."""
        return self

    def contradiction(self, event: Transfer) -> str:
        """Return the fields in which `event` contradicts this transfer, as text; empty if none."""
        names = ("book", "account", "asset", "amount", "direction", "wallet")
        return " ".join(
            f"{name}={getattr(event, name)} was={getattr(self, name)}"
            for name in names
            if (getattr(event, name) or "") != getattr(self, name)
        )

    def last_us(self) -> int:
        """Return the event time of the newest status, microseconds."""
        return max(at[0] for at in self.seen.values())


class TransferEffect(msgspec.Struct, frozen=True):
    """The effect of a transfer.

    Attributes
    ----------
    deltas : list of (int, Decimal)
        Signed changes of custody at event times, microseconds.
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
