"""Transfer flow of one counterparty: pending withdrawals, their durations, and amounts moved."""

from __future__ import annotations

from bisect import insort
from decimal import Decimal
from operator import itemgetter
from typing import Final

import msgspec

from riskwatch.core.clock import HOUR, SECOND
from riskwatch.core.money import ZERO, add, canonical
from riskwatch.core.readings import FlowFeatures

BASELINE_WITHDRAWALS: Final = 64
"""Maximum number of completed withdrawals in the baseline."""
WINDOW_H: Final = 24


class FlowHour(msgspec.Struct, array_like=True):
    """Amounts by asset that left and arrived, and failures, within one hour of event time."""

    out: dict[str, Decimal]
    into: dict[str, Decimal]
    failed: int = 0


class TransferFlowRow(msgspec.Struct, array_like=True):
    """The stored row of a :class:`TransferFlow`.

    Attributes
    ----------
    done : list of (int, str, int)
        (time of leaving, transfer_id, duration) of the latest completed withdrawals, sorted;
        microseconds.
    hours : list of (int, FlowHour)
        Flow by hour since 1970, sorted.
    """

    done: list[tuple[int, str, int]]
    hours: list[tuple[int, FlowHour]]


class TransferFlow:
    """Flow features of one counterparty.

    `pending` follows from the counterparty's transfers and is not stored.
    """

    __slots__ = ("done", "hours", "key", "pending")

    def __init__(self, party: str) -> None:
        self.key = f"flow/{party}"
        self.pending: dict[str, int] = {}
        self.done: list[tuple[int, str, int]] = []
        self.hours: dict[int, FlowHour] = {}

    def complete(self, left_us: int, transfer_id: str, took_us: int) -> None:
        """Add a completed withdrawal to the baseline."""
        insort(self.done, (left_us, transfer_id, took_us))
        del self.done[:-BASELINE_WITHDRAWALS]

    def retract(self, left_us: int, transfer_id: str, took_us: int) -> None:
        """Remove a completed withdrawal from the baseline, if it is still in it."""
        entry = (left_us, transfer_id, took_us)
        if entry in self.done:
            self.done.remove(entry)

    def move(self, us: int, asset: str, amount: Decimal, *, outward: bool) -> None:
        """Add `amount` to the amounts that left or arrived at `us`; a negative one reverses."""
        hour = self._hour(us)
        side = hour.out if outward else hour.into
        side[asset] = add(side.get(asset, ZERO), amount)

    def fail(self, us: int, count: int) -> None:
        """Count a failed withdrawal at `us`; a `count` of -1 reverses it."""
        self._hour(us).failed += count

    def _hour(self, us: int) -> FlowHour:
        return self.hours.setdefault(us // HOUR, FlowHour({}, {}))

    def expire(self, us: int) -> bool:
        """Drop the hours that are out of the window at `us`, and return whether there were any."""
        old = [h for h in sorted(self.hours) if h <= us // HOUR - WINDOW_H]
        for hour in old:
            del self.hours[hour]
        return bool(old)

    def features(self, us: int, slippage_bp: float, overdue: int) -> FlowFeatures:
        """Return the features at event time `us` (microseconds), after :meth:`expire`."""
        recent = [self.hours[h] for h in sorted(self.hours)]
        oldest = max(0, us - min(self.pending.values())) if self.pending else 0
        return FlowFeatures(
            oldest_withdrawal_s=oldest / SECOND,
            withdrawal_baseline_s=self._median() / SECOND,
            withdrawals_done=len(self.done),
            pending_count=len(self.pending),
            failed_24h=sum(hour.failed for hour in recent),
            outflow_24h=_totals([hour.out for hour in recent]),
            inflow_24h=_totals([hour.into for hour in recent]),
            slippage_bp=slippage_bp,
            overdue_count=overdue,
        )

    def _median(self) -> float:
        took = sorted(entry[2] for entry in self.done)
        if not took:
            return 0.0
        return (took[(len(took) - 1) // 2] + took[len(took) // 2]) / 2

    def row(self) -> object:
        """Return the row's value."""
        return TransferFlowRow(self.done, sorted(self.hours.items(), key=itemgetter(0)))

    def restore(self, row: TransferFlowRow) -> None:
        """Load the flow from its row."""
        self.done, self.hours = row.done, dict(row.hours)


def _totals(sides: list[dict[str, Decimal]]) -> dict[str, Decimal]:
    """Return the sums by asset, without zeros, assets sorted."""
    total: dict[str, Decimal] = {}
    for side in sides:
        for asset, amount in side.items():
            total[asset] = add(total.get(asset, ZERO), amount)
    return {asset: canonical(total[asset]) for asset in sorted(total) if total[asset]}
