"""Transfers: their effect is a pure function of their statuses."""

from __future__ import annotations

from itertools import permutations

import pytest

from riskwatch.core.enums import RejectReason
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.outputs import EventRejected
from tests.support.facts import balance, fill, held, read, run, tick, transfer

DAY = 86_400

STORIES = [
    # direction, statuses at seconds, custody, in transit, pending
    ("withdrawal", {"requested": 1}, None, None, 1),
    ("withdrawal", {"requested": 1, "pending": 2}, None, None, 1),
    ("withdrawal", {"requested": 1, "sent": 3}, "-5", "5", 0),
    ("withdrawal", {"sent": 3, "confirmed": 9}, "-5", None, 0),
    ("withdrawal", {"confirmed": 9}, "-5", None, 0),
    ("withdrawal", {"pending": 2, "failed": 4}, None, None, 0),
    ("withdrawal", {"sent": 3, "failed": 9}, None, None, 0),
    ("withdrawal", {"failed": 2, "sent": 3}, "-5", "5", 0),
    ("withdrawal", {"sent": 3, "failed": 5, "confirmed": 9}, "-5", None, 0),
    ("withdrawal", {"sent": 3, "confirmed": 5, "cancelled": 9}, None, None, 0),
    ("deposit", {"requested": 1, "pending": 2}, None, None, 0),
    ("deposit", {"sent": 3}, None, "5", 0),
    ("deposit", {"sent": 3, "confirmed": 9}, "5", None, 0),
    ("deposit", {"confirmed": 9}, "5", None, 0),
    ("deposit", {"sent": 3, "failed": 9}, None, None, 0),
    ("deposit", {"confirmed": 3, "failed": 9}, None, None, 0),
]


@pytest.mark.parametrize(("direction", "statuses", "custody", "way", "pending"), STORIES)
def test_statuses_in_any_order(
    direction: str, statuses: dict[str, int], custody: str | None, way: str | None, pending: int
) -> None:
    """The effect does not depend on the order in which statuses arrive."""
    facts = [transfer(s, t, s, direction=direction) for s, t in statuses.items()]
    expected = {"BTC custody": custody, "BTC in_transit": way}
    for order in permutations(facts):
        reading = read(run([*order, tick(10)]))
        worth = {f"{h.asset} {h.component}": str(h.amount) for h in reading.holdings}
        assert worth == {name: amount for name, amount in expected.items() if amount}
        assert reading.flow.pending_count == pending


def test_a_status_counts_at_its_earliest_time() -> None:
    """If `sent` is stated twice, the earlier time counts, so a snapshot between includes it."""
    twice = [transfer("a", 20, "sent"), transfer("b", 10, "sent")]
    for order in permutations([*twice, balance("s", 15, "95")]):
        assert held(*order)["BTC custody"] == "95"


def test_a_failed_withdrawal_returns_at_the_time_it_failed() -> None:
    """A snapshot between sending and failure lacks the amount, and the failure restores it."""
    story = [transfer("a", 10, "sent"), balance("s", 15, "95"), transfer("b", 20, "failed")]
    for order in permutations(story):
        assert held(*order)["BTC custody"] == "100"


@pytest.mark.parametrize(
    "change",
    [
        {"amount": "6"},
        {"asset": "ETH"},
        {"direction": "deposit"},
        {"account": "sub"},
        {"book": "arb"},
    ],
)
def test_terms_may_not_change_between_statuses(change: dict[str, str]) -> None:
    """A later status with other terms is refused and changes nothing."""
    state = LedgerState()
    [refused] = run([transfer("a", 1, "sent"), transfer("b", 2, "confirmed", **change)], state)
    assert isinstance(refused, EventRejected)
    assert refused.reason is RejectReason.FACT_CONFLICT
    assert next(iter(change)) in refused.detail
    assert read(run([tick(3)], state)).holdings[1].component == "in_transit"


def test_equal_amounts_written_differently_agree() -> None:
    """5 and 5.000 are one amount."""
    assert run([transfer("a", 1, "sent"), transfer("b", 2, "confirmed", amount="5.000")]) == []


def test_ids_are_per_counterparty() -> None:
    """The same transfer id at another venue is another transfer."""
    assert run([transfer("a", 1, "sent"), transfer("b", 2, "sent", counterparty="okx")]) == []


def test_finished_transfers_are_forgotten_after_the_retention() -> None:
    """After seven days a finished transfer is dropped, and a late status is refused."""
    state = LedgerState()
    run([transfer("a", 0, "sent"), transfer("b", 60, "confirmed")], state)
    run([transfer("w", 0, "pending", transfer_id="waits"), tick(61)], state)
    run([fill("f", 8 * DAY), tick(8 * DAY)], state)
    assert sorted(state.parties["kraken"].transfers) == [("withdrawal", "waits")]
    [late] = run([transfer("c", 70, "confirmed")], state)
    assert isinstance(late, EventRejected)
    assert late.reason is RejectReason.FACT_TOO_LATE
    assert run([transfer("w2", 70, "sent", transfer_id="waits")], state) == []
