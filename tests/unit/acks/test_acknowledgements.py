"""Acknowledgements: applied switches, their times, and late clients."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from riskwatch.acks.acknowledgements import LATE_S, MAX_CLIENTS, SILENT_S, Acknowledgements
from riskwatch.contracts.acks import Ack, AppliedScope
from riskwatch.core.enums import State
from tests.support.mirror import switch

START = datetime(2023, 3, 11, 3, 0, tzinfo=UTC)
COIN = "asset:USDC"


def at(seconds: float) -> datetime:
    """Time after the start."""
    return START + timedelta(seconds=seconds)


def ack(client: str, *halts: tuple[str, str], **changes: Any) -> Ack:
    """Acknowledgement of scopes at HALT with their decisions."""
    scopes = {
        scope: AppliedScope(state=State.HALT, decision_id=decision, seq=1, applied_ts=at(0.1))
        for scope, decision in halts
    }
    given: dict[str, Any] = {
        "client": client, "started": at(-60), "epoch": 1, "seq": 1, "beat_seq": 1,
        "beat_ts": at(0), "digest": "x", "floor": State.NORMAL, "why": "", "scopes": scopes,
        "left_out": 0, "unwound": {}, "sources": {"kafka": "ok"}, "sent_ts": at(0.2),
    }  # fmt: skip
    return Ack(**given | changes)


def halted(n: int = 1) -> Acknowledgements:
    """Acknowledgements with one HALT, and two clients that started before it."""
    acks = Acknowledgements()
    for client in ("a", "b"):
        acks.add_ack(ack(client), at(-1))
    acks.add_switch(switch(COIN, State.HALT, n), n, at(0))
    return acks


def test_the_time_is_from_the_brokers_receipt_to_the_brokers_receipt() -> None:
    """Told once per decision, whichever of the two topics is read first."""
    acks = halted()
    acks.add_ack(ack("a", (COIN, "decision-1")), at(0.25))
    acks.add_ack(ack("a", (COIN, "decision-1")), at(5))
    early = Acknowledgements()
    early.add_ack(ack("a", (COIN, "decision-1")), at(0.25))
    assert early.new_ack_times() == []
    early.add_switch(switch(COIN, State.HALT, 1), 1, at(0))
    for found in (acks, early):
        (row,) = found.new_ack_times()
        assert (row[0], row[1], row[2], row[3]) == ("a", COIN, "decision-1", "HALT")
        assert row[-1] == pytest.approx(0.25)
        assert found.new_ack_times() == []


def test_who_began_after_a_decision_has_no_time() -> None:
    """It was not there to obey."""
    acks = halted()
    acks.add_ack(ack("late", (COIN, "decision-1"), started=at(100)), at(101))
    assert acks.new_ack_times() == []


def test_a_client_that_does_not_apply_a_halt_is_late() -> None:
    """After the time that it has; one that applied, or ended in order, is not."""
    acks = halted()
    acks.add_ack(ack("a", (COIN, "decision-1")), at(0.2))
    assert list(acks.late_clients(at(LATE_S - 0.1))) == []
    (found,) = acks.late_clients(at(LATE_S))
    assert (found.client, found.scope, found.decision_id) == ("b", COIN, "decision-1")
    assert found.why == "it speaks, and did not apply it"
    acks.add_ack(ack("b", ended=True), at(3))
    assert list(acks.late_clients(at(10))) == []


def test_an_old_decision_is_not_the_new_one() -> None:
    """A HALT that was decided anew must be applied anew."""
    acks = halted(1)
    for client in ("a", "b"):
        acks.add_ack(ack(client, (COIN, "decision-1")), at(0.2))
    acks.add_switch(switch(COIN, State.HALT, 2), 2, at(10))
    assert {found.client for found in acks.late_clients(at(20))} == {"a", "b"}
    acks.add_switch(switch(COIN, State.NORMAL, 3), 3, at(20))
    assert list(acks.late_clients(at(30))) == []
    acks.add_switch(switch(COIN, State.HALT, 2), 2, at(40))  # a repeat
    assert list(acks.late_clients(at(50))) == []


def test_why_a_client_is_late() -> None:
    """Silent, failing closed, or with a subscription in trouble."""
    acks = halted()
    acks.add_ack(ack("a", floor=State.REDUCE, why="no server answers"), at(1))
    acks.add_ack(ack("b", sources={"kafka": "ok", "acks": "Timeout"}), at(1))
    found = {late.client: late.why for late in acks.late_clients(at(5))}
    assert found == {"a": "it fails closed at REDUCE: no server answers", "b": "acks: Timeout"}
    assert all("nothing was heard" in late.why for late in acks.late_clients(at(2 + SILENT_S)))


def test_more_scopes_than_an_acknowledgement_names() -> None:
    """Its place says that the HALT is there."""
    acks = halted(5)
    acks.add_ack(ack("a", left_out=3, seq=4), at(1))
    acks.add_ack(ack("b", left_out=3, seq=5), at(1))
    assert [late.client for late in acks.late_clients(at(5))] == ["a"]


def test_a_forgotten_client_is_not_expected() -> None:
    """And the number of clients is bounded."""
    acks = halted()
    acks.forget("b")
    assert [late.client for late in acks.late_clients(at(5))] == ["a"]
    for n in range(MAX_CLIENTS + 5):
        acks.add_ack(ack(f"c{n}"), at(6))
    assert len(acks.received) == MAX_CLIENTS


def test_rows_name_what_each_is_late_with() -> None:
    """For people to ask in SQL."""
    acks = halted()
    acks.add_ack(ack("a", (COIN, "decision-1")), at(0.2))
    rows = {row[0]: row for row in acks.rows(at(5))}
    assert (rows["a"][-1], rows["b"][-1]) == ([], [COIN])
