"""What a transfer is worth: a pure function of the statuses seen, in whatever order they came.

Every status counts once, at its earliest (ts, source_seq). The latest terminal status decides
(`confirmed`, `failed`, `cancelled`, in this order where times are equal), except that a failure
older than the sending is overtaken by it while nothing was confirmed.
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
    """All that is known of one transfer.

    Attributes
    ----------
    seen : dict
        Status to its earliest (ts in microseconds, source_seq or 0).
    """

    book: str
    account: str
    asset: str
    amount: Decimal
    direction: str
    seen: dict[TransferStatus, tuple[int, int]]

    def row(self) -> object:
        """Return the row's value."""
        return self

    def contradiction(self, event: Transfer) -> str:
        """Name the fields in which `event` contradicts this transfer; empty if none."""
        names = ("book", "account", "asset", "amount", "direction")
        return " ".join(
            f"{name}={getattr(event, name)} was={getattr(self, name)}"
            for name in names
            if getattr(event, name) != getattr(self, name)
        )

    def last_us(self) -> int:
        """Event time of the newest status, microseconds."""
        return max(at[0] for at in self.seen.values())


class TransferEffect(msgspec.Struct, frozen=True):
    """What a transfer does.

    Attributes
    ----------
    deltas : list of (int, Decimal)
        Signed changes of custody at event times, microseconds.
    in_transit : Decimal
        Amount under way.
    pending_us : int or None
        Since when a withdrawal is requested or pending and not sent.
    done : (int, int) or None
        When a withdrawal left and how long that took from its request, microseconds.
    failed_us : int or None
        When a withdrawal failed.
    moved_us : int or None
        When the amount left (withdrawal) or arrived (deposit) for good.
    open : bool
        Whether its story can go on.
    """

    deltas: list[tuple[int, Decimal]] = msgspec.field(default_factory=list)
    in_transit: Decimal = ZERO
    pending_us: int | None = None
    done: tuple[int, int] | None = None
    failed_us: int | None = None
    moved_us: int | None = None
    open: bool = True


def transfer_effect(t: TransferRow) -> TransferEffect:
    """Effect of what is known of `t`.

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


def _verdict(t: TransferRow) -> TransferStatus | None:
    """Terminal status that stands, if any."""
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
    verdict = _verdict(t)
    left = _earliest(t, "sent", "confirmed")
    asked = _earliest(t, "requested", "pending")
    broken = verdict in ("failed", "cancelled")
    failed_us = t.seen["failed"][0] if verdict == "failed" else None
    if left is None:
        return TransferEffect(
            pending_us=None if broken else asked, failed_us=failed_us, open=not broken
        )
    deltas = [(left, t.amount.copy_negate())]
    if verdict is not None and broken:
        deltas.append((t.seen[verdict][0], t.amount))
        return TransferEffect(deltas=deltas, failed_us=failed_us, open=False)
    return TransferEffect(
        deltas=deltas,
        in_transit=t.amount if verdict is None else ZERO,
        done=None if asked is None else (left, max(0, left - asked)),
        moved_us=left,
        open=verdict is None,
    )


def _deposit(t: TransferRow) -> TransferEffect:
    verdict = _verdict(t)
    arrived = t.seen.get("confirmed")
    deltas = [] if arrived is None else [(arrived[0], t.amount)]
    if verdict is None:
        return TransferEffect(in_transit=t.amount if "sent" in t.seen else ZERO)
    if verdict == "confirmed":
        return TransferEffect(deltas=deltas, moved_us=_earliest(t, "confirmed"), open=False)
    if arrived is not None:
        deltas.append((t.seen[verdict][0], t.amount.copy_negate()))
    return TransferEffect(deltas=deltas, open=False)
