"""The pack: every episode can be played and scored, and mistakes in one are errors."""

from __future__ import annotations

from itertools import pairwise

import pytest

from riskwatch import scenarios
from riskwatch.contracts.codec import decode, encode
from riskwatch.core.enums import Cause, State
from riskwatch.core.events import Balance, Quote, Transfer
from riskwatch.errors import ConfigError
from riskwatch.scenarios.episode import load, parse
from riskwatch.scenarios.firm import firm_events

KINDS = {
    "usdc_2023", "ust_2022", "ftx_2022", "celsius_2022", "usde_2025", "tusd_2024", "fdusd_2025",
    "bybit_2025", "busd_2023", "usdt_2025", "ban_2025", "bad_prints", "calm_month", "crash",
}  # fmt: skip


def test_the_pack_is_complete() -> None:
    """There are at least fourteen episodes, half a dozen controls, and several seeds each."""
    assert set(scenarios.names()) >= KINDS
    made = [load(name) for name in scenarios.names()]
    assert sum(all(e.kind == "control" for e in m.events) for m in made) >= 6
    assert all(len(m.seeds) >= 3 and m.events for m in made)
    assert (load("calm_month").end - load("calm_month").start).days >= 30


@pytest.mark.parametrize("name", sorted(KINDS - {"usdc_2023"}))
def test_events_are_sorted_unique_and_within_the_contract(name: str) -> None:
    """The contract's decoder reads every event back as it was written."""
    events = list(scenarios.events(name, 2))
    assert all(a.ts <= b.ts for a, b in pairwise(events))
    assert len({(e.source, e.event_id) for e in events}) == len(events)
    for event in events[:: max(1, len(events) // 200)]:
        assert decode(encode(event)) == event  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_events() -> None:
    """Another seed gives other events."""
    one, again, other = (list(scenarios.events("ftx_2022", s)) for s in (4, 4, 5))
    assert one == again
    assert one != other


def test_what_is_stuck_stays_pending_and_locked() -> None:
    """From the hour at which the venue stopped, no requested withdrawal is sent."""
    episode = load("ftx_2022")
    [plan] = episode.withdrawals
    assert plan.stuck_from is not None
    last: dict[str, tuple[str, object]] = {}
    begun: dict[str, object] = {}
    for event in firm_events(episode, 1):
        if isinstance(event, Transfer):
            begun.setdefault(event.transfer_id, event.ts)
            last[event.transfer_id] = (event.status, event.ts)
    stuck = {n for n, ts in begun.items() if ts >= plan.stuck_from}  # type: ignore[operator]
    assert stuck
    assert {n for n, (status, _) in last.items() if status == "pending"} == stuck
    assert {status for status, _ in last.values()} == {"pending", "confirmed"}


def test_balances_are_what_was_stated_less_what_was_sent() -> None:
    """Balances are exact to the last digit, and pending withdrawals are locked."""
    episode = load("bybit_2025")
    sent = 0
    for event in firm_events(episode, 3):
        if isinstance(event, Transfer) and event.status == "sent":
            sent += 1
        elif isinstance(event, Balance) and event.counterparty == "bybit":
            assert event.free + (event.locked or 0) == 450_000 - 5_000 * sent
            assert (event.locked or 0) % 5_000 == 0
    assert sent > 30


def test_a_basis_moves_one_venue_and_no_other() -> None:
    """USDe is below 0.91 at one venue within its minutes, and at par elsewhere."""
    lows: dict[str, float] = {}
    for event in scenarios.events("usde_2025", 1, book=False):
        if isinstance(event, Quote) and event.base == "USDe":
            lows[event.venue] = min(lows.get(event.venue, 1.0), float(event.last or 1))
    assert lows.pop("binance") < 0.67
    assert all(low > 0.995 for low in lows.values())


def test_right_answers_are_those_that_are_known() -> None:
    """A control never requires HALT, and each cause has its kind of scope."""
    for name in scenarios.names():
        for event in load(name).events:
            assert event.kind == "event" or event.answer is not State.HALT
            if Cause.COUNTERPARTY in event.causes:
                assert event.scope.startswith("counterparty:")
            if Cause.VENUE in event.causes:
                assert event.scope.startswith("venue-asset:")


GOOD = """
name = "x"
title = "x"
start = 2023-03-10T12:00:00Z
end = 2023-03-10T16:00:00Z
[assets]
A = [[2023-03-10T12:00:00Z, 1.0]]
[[feeds]]
venue = "v"
base = "A"
quote = "USD"
digits = 4
noise_bp = 1.0
half_spread_bp = 1.0
volume = 1.0
[[basis]]
venue = "v"
asset = "A"
points = [[2023-03-10T12:00:00Z, 1.0]]
[[holdings]]
venue = "v"
asset = "A"
amount = 100.0
[[withdrawals]]
venue = "v"
asset = "A"
amount = 10.0
begin = 2023-03-10T12:00:00Z
end = 2023-03-10T15:00:00Z
every_s = 3600
takes = [[2023-03-10T12:00:00Z, 600.0]]
[[events]]
what = "x"
kind = "control"
scope = "asset:A"
causes = ["none"]
onset = 2023-03-10T13:00:00Z
answer = "REDUCE"
"""


def test_the_good_one_is_good() -> None:
    """The unchanged sample is valid, so that the next test fails for its own reason."""
    assert parse(GOOD.encode(), "x").events[0].answer is State.REDUCE


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("amount = 10.0", "amount = 30.0", "no more withdrawn than the 100 held"),
        ("amount = 10.0", "amount = -1.0", "withdrawals"),
        ("end = 2023-03-10T15", "end = 2023-03-10T17", "within the window"),
        ('venue = "v"\nasset = "A"\namount = 10.0', 'venue = "w"\nasset = "A"\namount = 10.0',
         "holdings of A there"),
        ('venue = "v"\nasset = "A"\npoints', 'venue = "w"\nasset = "A"\npoints', "a feed there"),
        ("takes = [[2023-03-10T12:00:00Z, 600.0]]", "takes = []", "a path"),
        ("onset = 2023-03-10T13", "onset = 2023-03-10T11", "an onset within the window"),
        ('answer = "REDUCE"', 'answer = "HALT"', "an answer below HALT"),
        ('answer = "REDUCE"', 'answer = "PANIC"', "PANIC"),
        ('scope = "asset:A"', 'scope = "book:A"', "a scope: asset:"),
        ('causes = ["none"]', "causes = []", "causes"),
        ('kind = "control"', 'kind = "calm"', "calm"),
    ],
)  # fmt: skip
def test_what_cannot_be_played_or_scored_is_refused(old: str, new: str, message: str) -> None:
    """The error has the file, the key and the expected value."""
    assert old in GOOD
    with pytest.raises(ConfigError, match=message):
        parse(GOOD.replace(old, new).encode(), "x")
