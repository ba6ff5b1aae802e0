"""Freshness of accounts: proofs of life, rhythms, calendars, and what nobody expects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.core.clock import micros
from riskwatch.core.events import AccountSnapshot, Tick
from riskwatch.core.ledger.config import LedgerConfig
from riskwatch.core.ledger.freshness import (
    MAX_ACCOUNTS,
    MAX_SOURCES,
    AccountCalendar,
    AccountFreshness,
)
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved
from riskwatch.core.readings import CounterpartyReading
from tests.support import facts

if TYPE_CHECKING:
    from collections.abc import Iterable

FRIDAY = datetime(2024, 5, 3, 16, tzinfo=UTC)
BANK = AccountCalendar(
    account="kraken/main",
    every_s=7_200.0,
    days=("mon", "tue", "wed", "thu", "fri"),
    opens="08:00",
    closes="18:00",
)
Told = list[tuple[float, str]]


def at(minute: float) -> float:
    """Return a minute after `FRIDAY` as the facts count time."""
    return (FRIDAY - facts.START).total_seconds() + 60 * minute


class Ledger:
    """A ledger stage with a clock in minutes after a Friday, 16:00."""

    def __init__(self, **settings: Any) -> None:
        self.stage = LedgerStage(LedgerConfig(**settings))
        self.state = LedgerState()
        self.rows: dict[str, bytes] = {}
        self.stale: list[str] = []
        self.number = 0

    def balance(self, minute: float, free: str = "5", **changes: Any) -> None:
        """Apply a balance."""
        self.number += 1
        self.apply(facts.balance(f"b{self.number}", at(minute), free, **changes))

    def apply(self, event: Any) -> None:
        """Apply a fact."""
        self.stage.step(self.state, event)

    def ticks(self, minutes: Iterable[float]) -> Told:
        """Return what ticks tell of stale accounts, with the minute."""
        told: Told = []
        for minute in minutes:
            us = micros(FRIDAY + timedelta(minutes=minute))
            for output in self.stage.step(self.state, Tick(us)):
                if isinstance(output, CounterpartyReading):
                    self.stale = [each.account for each in output.stale or ()]
                elif isinstance(output, DataQualityRaised | DataQualityResolved):
                    sign = "+" if isinstance(output, DataQualityRaised) else "-"
                    if output.issue == "ACCOUNT_STALE":
                        told.append((minute, f"{sign}{output.subject}"))
        return told

    def reload(self) -> None:
        """Load the state from its rows."""
        for key, row in self.state.drain().items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        self.state = LedgerState()
        self.state.load(dict(self.rows))


def polled(ledger: Ledger, minutes: Iterable[float], **changes: Any) -> None:
    """Give a ledger the same balance again and again."""
    for minute in minutes:
        ledger.balance(minute, **changes)


@pytest.mark.parametrize("reload", [False, True])
def test_a_dead_source_is_told_once_and_stays_told(reload: bool) -> None:
    """Half an hour after the last poll the account is stale, for days, until the next poll."""
    ledger = Ledger()
    polled(ledger, range(10))
    if reload:
        ledger.reload()
    assert ledger.ticks(range(9, 60)) == [(39, "+kraken/main")]
    assert ledger.stale == ["main"]
    if reload:
        ledger.reload()
    assert ledger.ticks(range(60, 60_000, 600)) == []
    ledger.balance(60_000)
    assert ledger.ticks([60_000, 60_001]) == [(60_000, "-kraken/main")]
    assert ledger.stale == []


def test_the_rhythm_of_a_source_decides() -> None:
    """An account that is stated each hour is stale after five hours, not after half an hour."""
    ledger = Ledger()
    polled(ledger, range(0, 600, 60))
    assert ledger.ticks(range(540, 1000, 10)) == [(840, "+kraken/main")]


def test_without_a_rhythm_nothing_is_stale() -> None:
    """An opening balance that is stated once tells nothing of when the next one comes."""
    ledger = Ledger()
    polled(ledger, range(7))
    assert ledger.ticks(range(7, 5_000, 7)) == []


def test_another_source_keeps_the_account_fresh() -> None:
    """A connector that took over from a dead one proves the account, from its first word on."""
    ledger = Ledger()
    polled(ledger, range(10))
    polled(ledger, range(10, 100, 20), source="other")
    assert ledger.ticks(range(99, 140)) == [(120, "+kraken/main")]


def test_a_poll_that_found_no_change_is_a_proof() -> None:
    """An account snapshot without sections proves its source alive, and changes no amount."""
    ledger = Ledger()
    polled(ledger, range(10))
    alive = AccountSnapshot(
        v=1,
        event_id="alive",
        ts=facts.at(at(30)),
        source="feed",
        counterparty="kraken",
        account="main",
    )
    ledger.apply(alive)
    assert ledger.ticks(range(30, 200)) == [(135, "+kraken/main")]  # 5 gaps of 21 minutes
    [holding] = ledger.state.parties["kraken"].cells.values()
    assert str(holding.amount()) == "5"


def test_what_is_not_held_is_not_stale() -> None:
    """An account of which the last word is zero has nothing to confirm; a fill makes it stale."""
    ledger = Ledger()
    polled(ledger, range(10), free="0")
    assert ledger.ticks(range(10, 200)) == []
    ledger.apply(facts.fill("f", at(200)))
    assert ledger.ticks([200, 201]) == [(200, "+kraken/main")]


def test_a_bank_is_not_stale_on_sunday() -> None:
    """Two hours of open time after Friday 17:00 are over on Monday at 09:00."""
    ledger = Ledger(calendars=(BANK,))
    ledger.balance(60)
    monday = 3 * 1440 - 7 * 60  # 09:00
    assert ledger.ticks([60, *range(70, monday + 30, 10)]) == [(monday, "+kraken/main")]


def test_nobody_expects_statements_of_an_account_without_a_time() -> None:
    """`every_s = 0` is for accounts that people state by hand."""
    by_hand = AccountCalendar(source="*", account="kraken", every_s=0.0)
    named = AccountCalendar(account="kraken", every_s=0.0)
    for calendars, told in (((named,), []), ((by_hand,), [(39, "+kraken/main")])):
        ledger = Ledger(calendars=calendars)
        polled(ledger, range(10))
        assert ledger.ticks(range(9, 60)) == told


def test_the_most_exact_calendar_counts() -> None:
    """The calendar of an account goes before that of its counterparty and of its source."""
    others = (
        AccountCalendar(source="desk", every_s=1.0), AccountCalendar(account="kraken", every_s=1.0),
    )  # fmt: skip
    config = LedgerStage(LedgerConfig(calendars=(*others, BANK)))._parameters.freshness
    assert config.calendar("desk", "kraken", "main") == BANK
    assert config.calendar("desk", "kraken", "sub") == others[1]
    assert config.calendar("desk", "binance", "sub") == others[0]
    assert config.calendar("feed", "binance", "sub") is None


@pytest.mark.parametrize("days", [0, 3, 12, 40])
def test_open_time_is_the_sum_of_its_days(days: int) -> None:
    """Whole weeks are counted at once, with the same result as minute by minute."""
    since, until = FRIDAY, FRIDAY + timedelta(days=days, hours=5, minutes=7)
    minutes = (until - since) // timedelta(minutes=1)
    steps = (micros(since) + n * 60_000_000 for n in range(minutes))
    by_minute = sum(BANK.open_us(at, at + 60_000_000) for at in steps)
    assert BANK.open_us(micros(since), micros(until)) == by_minute


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"account": ""}, "needs a source or an account"),
        ({"days": ("monday",)}, "mon to sun"),
        ({"days": ()}, "mon to sun"),
        ({"opens": "8:00"}, "HH:MM"),
        ({"closes": "24:01"}, "HH:MM"),
        ({"opens": "18:00"}, "after opens"),
    ],
)
def test_a_calendar_that_says_nothing_is_refused(wrong: dict[str, Any], says: str) -> None:
    """A day, time or name that is none is an error of the configuration."""
    right: dict[str, Any] = {
        "account": "kraken",
        "every_s": 1.0,
        "opens": "08:00",
        "closes": "18:00",
    }
    with pytest.raises(ValueError, match=says):
        AccountCalendar(**right | wrong)


def test_who_invents_sources_fills_no_memory() -> None:
    """Neither many accounts nor many sources push out what is known, or take more than a bound."""
    freshness = AccountFreshness("kraken", {})
    freshness.prove("main", "desk", 1)
    for n in range(MAX_ACCOUNTS + 5):
        freshness.prove(f"a{n}", "liar", n)
    assert len(freshness.sources) == MAX_ACCOUNTS + 1
    for n in range(MAX_SOURCES):
        freshness.prove("main", f"s{n}", n)
    assert len(freshness.sources) == MAX_SOURCES
    assert ("main", "desk") in freshness.sources
