"""Adjustments: entries of a venue's ledger change balances once each."""

from __future__ import annotations

from itertools import permutations

import pytest

from riskwatch.core.enums import QualityIssue, RejectReason
from riskwatch.core.ledger.config import LedgerConfig
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved, EventRejected
from tests.support.facts import adjustment, balance, fill, held, loan, read, run, tick, transfer

DAY = 86_400


def test_funding_explains_the_next_balance_in_any_order() -> None:
    """Balances that contain the payments agree with them: no break, in every order of arrival."""
    facts = [
        balance("b0", 0, "1000", asset="USDT"),
        adjustment("a1", 100, "120"),
        adjustment("a2", 200, "-20"),
        balance("b1", 300, "1100", asset="USDT"),
    ]
    for order in permutations(facts):
        outputs = run([*order, tick(301), tick(400)])
        assert not [o for o in outputs if isinstance(o, DataQualityRaised)]
        assert held(*order, after=400)["USDT custody"] == "1100"


def test_an_entry_counts_once_however_often_it_is_heard() -> None:
    """The venue's id of the entry is its identity, across sources; other content is a conflict."""
    state = LedgerState()
    first = adjustment("a1", 10, "5")
    again = adjustment("e2", 10, "5.0", adjustment_id="a1", source="backfill")
    assert run([first, again], state) == []
    [refused] = run([adjustment("e3", 10, "6", adjustment_id="a1")], state)
    assert isinstance(refused, EventRejected)
    assert refused.reason is RejectReason.FACT_CONFLICT
    other = adjustment("e4", 10, "5", adjustment_id="a1", account="sub")
    assert run([other], state) == []
    amounts = {(h.account, str(h.amount)) for h in read(run([tick(11)], state)).holdings}
    assert amounts == {("main", "5"), ("sub", "5")}


def test_a_redenomination_moves_a_holding_to_another_asset() -> None:
    """A thousand LEND become ten AAVE."""
    moved = adjustment(
        "a", 10, "-1000", asset="LEND", kind="redenomination", to_asset="AAVE", to_amount="10"
    )
    found = held(balance("b", 0, "1000", asset="LEND"), moved, after=20)
    assert found == {"AAVE custody": "10"}


def test_what_is_borrowed_is_owed() -> None:
    """An automatic loan raises balance and debt alike; its repayment lowers both."""
    facts = [
        balance("b", 0, "-50", asset="USDT"),
        adjustment("a", 10, "50", kind="auto_borrow"),
    ]
    assert held(*facts, after=20)["USDT borrowed"] == "50"
    repaid = [*facts, adjustment("c", 15, "-20", kind="auto_repay")]
    assert held(*repaid, after=20) == {"USDT borrowed": "30", "USDT custody": "-20"}


def test_old_entries_give_way_and_are_not_counted_again() -> None:
    """A full account forgets its oldest entries; one of them, heard again, is refused."""
    state, stage = LedgerState(), LedgerStage(LedgerConfig(max_adjustments=8))
    for n in range(30):
        outputs = run([adjustment(f"a{n:02}", n, "1"), tick(n)], state, stage)
        assert not [o for o in outputs if isinstance(o, EventRejected)]
    assert len(state.parties["kraken"].adjustments) <= 8
    [refused] = run([adjustment("again", 3, "1", adjustment_id="a03")], state, stage)
    assert isinstance(refused, EventRejected)
    assert refused.reason is RejectReason.FACT_TOO_LATE
    assert str(read(run([fill("f", 40), tick(41)], state, stage)).holdings[-1].amount) == "30"


def test_finished_transfers_give_way_in_a_full_account() -> None:
    """More finished transfers than there is room for do not stop the account."""
    state, stage = LedgerState(), LedgerStage(LedgerConfig(max_transfers=8))
    for n in range(40):
        facts = [transfer(f"{n}-{s}", n, s, transfer_id=f"w{n:02}") for s in ("sent", "confirmed")]
        assert not [o for o in run([*facts, tick(n)], state, stage) if isinstance(o, EventRejected)]
    assert len(state.parties["kraken"].transfers) <= 8
    [refused] = run([transfer("again", 3, "confirmed", transfer_id="w03")], state, stage)
    assert isinstance(refused, EventRejected)
    opened = [transfer(f"o{n}", 50, "sent", transfer_id=f"o{n:02}") for n in range(9)]
    outputs = run([*opened, tick(51)], state, stage)
    assert [o.reason for o in outputs if isinstance(o, EventRejected)] == [
        RejectReason.LIMIT_REACHED
    ]
    assert run([transfer("sub", 52, "sent", transfer_id="s", account="sub")], state, stage) == []


@pytest.mark.parametrize("ends", ["repaid", "moved"])
def test_a_loan_past_its_due_time_is_told_until_it_is_repaid(ends: str) -> None:
    """It is told once, and ends with the repayment or with a later due time."""
    state = LedgerState()
    due = loan("l", 0, "500").ts.replace(minute=30)
    run([loan("l", 0, "500", due=due), tick(1_000)], state)
    outputs = run([tick(1_801), tick(1_900), loan("l2", 1_950, "400", due=due), tick(2_000)], state)
    [issue] = [o for o in outputs if isinstance(o, DataQualityRaised)]
    assert issue.issue is QualityIssue.LOAN_OVERDUE
    assert "USD:500" in issue.detail
    later = loan("l3", 2_100, "0" if ends == "repaid" else "400", due=due.replace(hour=9))
    [ended] = run([later], state)
    assert isinstance(ended, DataQualityResolved)
