"""Facts that a live ledger hears long after their time: they count, but not by their own time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from riskwatch.core.ledger.config import LedgerConfig
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.outputs import DataQualityRaised
from riskwatch.core.readings import CounterpartyReading
from tests.support.facts import at, fill, settlement, tick, transfer

if TYPE_CHECKING:
    from riskwatch.core.events import LedgerEvent

LATE_S = 26 * 3_600.0
"""When the facts of these tests are heard."""


class Ledger:
    """A live ledger that is loaded from its rows before each event."""

    def __init__(self, *, live: bool = True) -> None:
        self.stage = LedgerStage(LedgerConfig(), live=live)
        self.state = LedgerState()
        self.rows: dict[str, bytes] = {}
        self.out: list[Any] = []

    def hear(self, event: LedgerEvent, arrived: float) -> list[Any]:
        """Apply an event that arrives at a time."""
        return self._step(msgspec.structs.replace(event, arrived=at(arrived)))

    def tick(self, seconds: float) -> list[Any]:
        """Apply a tick."""
        return self._step(tick(seconds))

    def _step(self, event: Any) -> list[Any]:
        state = LedgerState()
        state.load(dict(self.rows))
        out = self.stage.step(state, event)
        for key, row in state.drain().items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        self.out += out
        return out


def reading(out: list[Any]) -> CounterpartyReading:
    """Return the one reading of a tick."""
    (found,) = [each for each in out if isinstance(each, CounterpartyReading)]
    return found


def test_a_fill_that_is_heard_late_changes_the_holding() -> None:
    """And not the mean slippage, which is about now."""
    ledger = Ledger()
    ledger.hear(fill("1", LATE_S, reference_price="20000"), LATE_S)
    before = reading(ledger.tick(LATE_S + 1))
    ledger.hear(fill("2", 0, price="30000", reference_price="20000"), LATE_S + 2)
    after = reading(ledger.tick(LATE_S + 3))
    assert [(h.asset, str(h.amount)) for h in after.holdings] == [("BTC", "2"), ("USD", "-50000")]
    assert (before.flow.slippage_bp, after.flow.slippage_bp, after.slips) == (0.0, 0.0, [])


def test_an_old_withdrawal_waits_from_when_it_was_heard() -> None:
    """Its age is not years; statuses that follow, old or new, do not make it older."""
    ledger = Ledger()
    ledger.hear(transfer("1", 0, "requested"), LATE_S)
    assert reading(ledger.tick(LATE_S + 60)).flow.oldest_withdrawal_s == 60
    ledger.hear(transfer("2", 5, "pending"), LATE_S + 90)
    assert reading(ledger.tick(LATE_S + 120)).flow.oldest_withdrawal_s == 120
    ledger.hear(transfer("3", LATE_S + 150, "sent"), LATE_S + 150)
    ended = reading(ledger.tick(LATE_S + 180)).flow
    assert (ended.pending_count, ended.withdrawals_done) == (0, 1)
    assert ended.withdrawal_baseline_s == LATE_S + 150
    assert not [key for key in ledger.rows if key.startswith("heard/")]


def test_an_old_status_does_not_make_a_wait_shorter_or_longer() -> None:
    """A withdrawal whose request was heard in time waits from its request."""
    ledger = Ledger()
    ledger.hear(transfer("1", LATE_S, "pending"), LATE_S)
    ledger.hear(transfer("2", 0, "requested"), LATE_S + 100)
    assert reading(ledger.tick(LATE_S + 120)).flow.oldest_withdrawal_s == 120


def test_an_old_trade_is_not_overdue_when_it_is_heard() -> None:
    """Its settlement may be heard next. If it is not, the trade is reported an hour later."""
    old = fill("1", 0, settles_at=60.0)
    ledger = Ledger()
    ledger.hear(old, LATE_S)
    assert not _overdue(ledger.tick(LATE_S + 3_600))
    assert _overdue(ledger.tick(LATE_S + 3_601))
    settled = Ledger()
    settled.hear(old, LATE_S)
    settled.tick(LATE_S + 1)
    settled.hear(settlement("2", 70, old, "delivered"), LATE_S + 2)
    settled.tick(LATE_S + 10_000)
    assert not _overdue(settled.out)
    assert not [key for key in settled.rows if key.startswith("heard/")]


@pytest.mark.parametrize("late_s", [0.0, 3_600.0])
def test_what_is_not_old_counts_by_its_own_time(late_s: float) -> None:
    """Up to an hour, nothing changes."""
    ledger = Ledger()
    ledger.hear(transfer("1", 0, "requested"), late_s)
    assert reading(ledger.tick(4_000)).flow.oldest_withdrawal_s == 4_000
    ledger.hear(fill("2", 0, settles_at=60.0, reference_price="10000"), late_s)
    found = ledger.tick(4_001)
    assert _overdue(found)
    assert reading(found).flow.slippage_bp == 10_000


def test_the_clock_of_events_knows_no_late_hearing() -> None:
    """A replay of a recording with arrivals gives what it always gave."""
    ledger = Ledger(live=False)
    ledger.hear(transfer("1", 0, "requested"), LATE_S)
    ledger.hear(fill("2", 0, settles_at=60.0, reference_price="10000"), LATE_S)
    found = ledger.tick(LATE_S)
    assert _overdue(found)
    assert reading(found).flow.oldest_withdrawal_s == LATE_S
    assert reading(found).flow.slippage_bp == 10_000
    assert not [key for key in ledger.rows if key.startswith("heard/")]


def _overdue(out: list[Any]) -> bool:
    return any(isinstance(each, DataQualityRaised) for each in out)
