"""Balances, orders and loans: the latest snapshot counts, and a break is reported."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

from riskwatch.core.enums import Cause, QualityIssue, RejectReason
from riskwatch.core.ledger.config import LedgerConfig
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved
from tests.support.facts import (
    amounts,
    at,
    balance,
    fill,
    held,
    loan,
    order,
    position,
    read,
    run,
    tick,
    transfer,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from riskwatch.core.events import LedgerEvent
    from riskwatch.core.ledger.outputs import LedgerOutput


def test_a_balance_has_its_components() -> None:
    """Free and locked are custody; borrowed and unrealised PnL stand on their own."""
    said = balance("s", 0, "5", locked="1", borrowed="2", unrealized_pnl="-0.5")
    assert held(said) == {
        "BTC borrowed": "2",
        "BTC custody": "6",
        "BTC unrealized_pnl": "-0.5",
    }
    assert held(said, balance("t", 1, "1")) == {"BTC custody": "1"}


def test_kinds_are_holdings_of_their_own() -> None:
    """A fill changes custody, never collateral or loans."""
    kinds = ("margin", "collateral_posted", "loan", "custody")
    events = [balance(kind, 0, "10", kind=kind) for kind in kinds]
    worth = held(*events, fill("f", 1))
    assert {kind: worth[f"BTC {kind}"] for kind in kinds} == {
        "margin": "10",
        "collateral_posted": "10",
        "loan": "10",
        "custody": "11",
    }


def issues(outputs: Iterable[LedgerOutput]) -> list[DataQualityRaised | DataQualityResolved]:
    """Return data-quality outputs, without the readings."""
    return [o for o in outputs if isinstance(o, DataQualityRaised | DataQualityResolved)]


def test_a_break_is_told_with_what_was_expected() -> None:
    """A newer snapshot that differs from fills and transfers is a data-quality issue."""
    events = [
        balance("s1", 0, "10"),
        fill("f", 1, qty="2"),
        transfer("t", 2, "sent"),
        fill("later", 9, qty="100"),
        balance("s2", 5, "6.5"),
    ]
    [told] = issues(run([*events, tick(64), tick(65), tick(66)]))
    assert isinstance(told, DataQualityRaised)
    assert told.issue is QualityIssue.RECONCILIATION_BREAK
    assert told.cause is Cause.COUNTERPARTY
    assert told.subject == "kraken/mm/main/BTC/custody"
    assert told.detail == "expected=7 stated=6.5 difference=-0.5"
    assert told.ts == at(65)
    [lots] = issues(run([position("p", 0, "1"), position("q", 1, "2"), tick(61)]))
    assert lots.subject == "kraken/mm/main/BTC-PERP/position"


def test_a_fact_that_comes_after_the_snapshot_that_has_it_is_no_break() -> None:
    """Within the grace time it explains the difference; later it resolves the break."""
    before = [balance("s1", 0, "10"), balance("s2", 5, "12")]
    late = fill("f", 4, qty="2")
    assert issues(run([*before, late, tick(70)])) == []
    told, ended = issues(run([*before, tick(70), late, tick(71)]))
    assert isinstance(told, DataQualityRaised)
    assert told.detail == "expected=10 stated=12 difference=2"
    assert isinstance(ended, DataQualityResolved)
    assert (ended.issue, ended.subject) == (told.issue, told.subject)


def test_a_late_fact_that_the_snapshot_does_not_have_is_a_break() -> None:
    """The snapshot met the expectation, but an earlier fill that arrives later does not fit."""
    [told] = issues(
        run([balance("s1", 0, "10"), balance("s2", 5, "10"), fill("f", 4, qty="2"), tick(70)])
    )
    assert getattr(told, "detail", "") == "expected=12 stated=10 difference=-2"


def test_facts_older_than_both_snapshots_explain_nothing() -> None:
    """Both snapshots included these facts."""
    events = [balance("s1", 3, "10"), balance("s2", 5, "12"), fill("f", 2, qty="2"), tick(70)]
    assert [type(o) for o in issues(run(events))] == [DataQualityRaised]


def test_the_next_snapshot_ends_a_break_or_tells_it_anew() -> None:
    """The break is resolved if the snapshot agrees with later facts, else raised again."""
    first = [balance("s1", 0, "10"), balance("s2", 5, "12"), tick(70)]
    state = LedgerState()
    assert len(issues(run(first, state))) == 1
    kept = {k: v for k, v in state.drain().items() if v is not None}
    for stated, kind in (("12", DataQualityResolved), ("13", DataQualityRaised)):
        again = LedgerState()
        again.load(kept)
        [told] = issues(run([balance("s3", 80, stated), tick(150)], again))
        assert type(told) is kind


def test_no_break_at_first_within_tolerance_or_when_superseded() -> None:
    """The first snapshot, a rounding difference and an older snapshot give no break."""
    quiet = [
        fill("f", 0),
        balance("s1", 1, "100"),
        balance("s2", 2, "100.00000001"),
        balance("s0", 0.5, "55"),
        balance("big1", 1, "1e12", asset="XRP"),
        balance("big2", 2, "1000000001000", asset="XRP"),
        tick(99),
    ]
    assert issues(run(quiet)) == []
    strict = LedgerStage(LedgerConfig(reconcile_abs=1e-9, reconcile_rel=0.0))
    assert len(issues(run(quiet, stage=strict))) == 2


def test_open_buys_count_what_they_could_bring() -> None:
    """Open buys count in base until they are closed; sells do not count."""
    state = LedgerState()
    sell = order("s", 0, "9", order_id="o2", side="sell")
    book = [order("1", 0, "3"), order("2", 5, "2"), order("3", 1, "4", order_id="o3"), sell]
    assert amounts(read(run([*book, tick(6)], state))) == {"BTC open_order": "6"}
    gone = [order("4", 7, "0"), order("5", 7, "0", order_id="o3")]
    assert amounts(read(run([*gone, tick(8)], state))) == {"BTC open_order": "0"}


def test_an_order_that_is_gone_stays_gone() -> None:
    """An older snapshot does not reopen a closed order, even after it was dropped."""
    state = LedgerState()
    run([order("1", 10, "0"), order("0", 5, "3"), tick(11)], state)
    assert amounts(read(run([fill("f", 2000), tick(2000)], state))).get("BTC open_order") is None
    assert state.parties["kraken"].orders == {}
    [late] = run([order("x", 6, "3")], state)
    assert getattr(late, "reason", None) is RejectReason.FACT_TOO_LATE
    assert run([order("y", 11, "3")], state) == []


def test_loans_count_their_latest_amount() -> None:
    """Lent is a claim, borrowed is a debt, both positive; zero closes them."""
    facts = [loan("1", 0, "100"), loan("2", 9, "60"), loan("3", 5, "80")]
    debt = loan("4", 0, "7", loan_id="l2", direction="borrowed")
    for arrival in permutations(facts):
        assert held(*arrival, debt) == {"USD borrowed": "7", "USD loan": "60"}
    assert held(*facts, loan("5", 10, "0")) == {}


def test_orders_and_loans_keep_their_terms() -> None:
    """A known id with other terms is a conflict."""
    changed: list[list[LedgerEvent]] = [
        [order("1", 0, "1"), order("2", 1, "1", side="sell")],
        [order("1", 0, "1"), order("2", 1, "1", base="ETH")],
        [loan("1", 0, "1"), loan("2", 1, "1", asset="EUR")],
        [loan("1", 0, "1"), loan("2", 1, "1", direction="borrowed")],
    ]
    for facts in changed:
        [refused] = run(facts)
        assert getattr(refused, "reason", None) is RejectReason.FACT_CONFLICT
