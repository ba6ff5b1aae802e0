"""Crash counts on SQLite: a worker stops after three, until a quarantine or a passage."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.engine.pipeline import Pipeline
from riskwatch.engine.publish import NullPublisher
from riskwatch.engine.retry import Retry
from riskwatch.engine.runner import Runner
from riskwatch.errors import FencedError, StoppedError
from riskwatch.store import engine as engine_module
from riskwatch.store.engine import open_engine
from riskwatch.store.faults import faults, request_quarantine
from riskwatch.store.lease import claim_lease, lease_state
from riskwatch.store.transaction import take_lease
from riskwatch.store.truth import TICKS
from riskwatch.worker.crashes import CrashTracker, stop_reason
from riskwatch.worker.metrics import Metrics
from tests.support.fakes import MemoryStore
from tests.support.toy import ledger_slot

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

PLACE = ("t/0", 7)


def book_on(engine: Engine) -> CrashTracker:
    """Open the book."""
    return CrashTracker(engine, Retry(threading.Event(), Metrics()))


def runner() -> Runner:
    """Make a runner that did not begin, for its name."""
    return Runner(
        MemoryStore(), Pipeline([ledger_slot()]), NullPublisher(), worker="w", holder="test"
    )


def test_the_third_crash_at_a_place_keeps_a_worker_down(engine: Engine) -> None:
    """Until two people set the message aside; the reason names place, error and way out."""
    book = book_on(engine)
    assert [book.record_crash("w", PLACE, "boom") for _ in range(2)] == [1, 2]
    assert book.current_fault(runner()) is None
    assert book.record_crash("w", PLACE, "boom") == 3
    fault = book.current_fault(runner())
    assert fault is not None
    assert stop_reason(fault).startswith(
        "a stage failed 3 times at t/0 7 (boom): it stays down until"
    )
    assert "two people set the message aside" in stop_reason(fault)
    request_quarantine(engine, "w", PLACE, "ann", "x")
    assert book.current_fault(runner()) is not None
    request_quarantine(engine, "w", PLACE, "bob", "y")
    assert book.current_fault(runner()) is None
    assert book.quarantine_reason("w", PLACE) == "ann: x; bob: y"
    assert book.quarantine_reason("w", ("t/0", 8)) is None
    assert book.quarantine_reason("v", PLACE) is None


def test_crashes_are_forgotten_once_they_are_passed(engine: Engine) -> None:
    """All of them, and not by a partition that stands before them or by another one."""
    book = book_on(engine)
    book.record_crash("w", PLACE, "x")
    book.record_crash("w", ("u/0", 3), "x")
    assert book.current_fault(runner()) is None
    for offsets, left in (({"t/0": 7, "v/0": 100}, 2), ({"u/0": 4}, 2), ({"t/0": 8}, 0)):
        book.record_passage(runner(), offsets, 0, ticked=False)
        book.clear_passed("w")
        assert len(faults(engine, "w")) == left


def test_a_crash_at_a_tick_is_passed_by_a_tick(engine: Engine) -> None:
    """It has no offset to get beyond."""
    book = book_on(engine)
    book.record_crash("w", (TICKS, 0), "x")
    book.current_fault(runner())
    for ticked, left in ((False, 1), (True, 0)):
        book.record_passage(runner(), {"t/0": 1}, 0, ticked=ticked)
        book.clear_passed("w")
        assert len(faults(engine, "w")) == left


def test_leases_are_kept_and_given_back(engine: Engine) -> None:
    """Kept from others, then free at once; renewing what was taken is fenced."""
    book = book_on(engine)
    epoch = take_lease(engine, "w", "test").epoch
    book.renew("w", epoch)
    assert not claim_lease(engine, "w", "other", 60)
    book.release("w", epoch)
    assert claim_lease(engine, "w", "other", 60)
    with pytest.raises(FencedError):
        book.renew("w", epoch)


def test_leases_run_out_where_the_store_is_silent(
    url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    """A process that ends in an outage asks once, and not for each of its units."""
    monkeypatch.setattr(engine_module, "BUSY_MS", 1)
    hasty = open_engine(url)
    book = book_on(hasty)
    for name in ("ledger/0", "ledger/1"):
        take_lease(engine, name, "test")
    with engine.begin():
        book.release("ledger/0", 1)
    book.release("ledger/1", 1)
    assert [e["event"] for e in logged] == ["leases not given back, they run out"]
    found = lease_state(engine, "ledger/1")
    assert found is not None
    assert found.idle_s < 60
    hasty.dispose()


def test_a_signal_ends_the_waiting_for_the_book(
    url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noting a crash is no reason to hang."""
    monkeypatch.setattr(engine_module, "BUSY_MS", 1)
    hasty = open_engine(url)
    stop = threading.Event()
    stop.set()
    book = CrashTracker(hasty, Retry(stop, Metrics()))
    with engine.begin(), pytest.raises(StoppedError):
        book.record_crash("w", PLACE, "x")
    hasty.dispose()
