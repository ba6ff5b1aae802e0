"""Stage faults in SQL: counting, clearing, and quarantine requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from riskwatch.errors import StoreError
from riskwatch.store.faults import (
    Fault,
    clear_crashes,
    faults,
    quarantines,
    record_crash,
    request_quarantine,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

PLACE = ("riskwatch.fills/0", 7)


def test_crashes_are_counted_per_worker_and_place(engine: Engine) -> None:
    """The last error text is stored, whatever characters it contains."""
    assert record_crash(engine, "w", PLACE, "one") == 1
    assert record_crash(engine, "w", PLACE, "two\x00\ud800") == 2
    assert record_crash(engine, "w", ("a", 1), "x") == 1
    assert record_crash(engine, "v", PLACE, "x") == 1
    first, second = faults(engine, "w")
    assert first == Fault("a", 1, 1, "x")
    assert (second.stream, second.position, second.crashes) == (*PLACE, 2)
    assert second.error.startswith("two")


def test_what_was_passed_is_forgotten(engine: Engine) -> None:
    """Only the faults of that worker are deleted."""
    record_crash(engine, "w", PLACE, "x")
    record_crash(engine, "v", PLACE, "x")
    clear_crashes(engine, "w")
    assert faults(engine, "w") == []
    assert len(faults(engine, "v")) == 1
    assert record_crash(engine, "w", PLACE, "x") == 1


def test_it_takes_two_people_to_set_a_message_aside(engine: Engine) -> None:
    """The two names must differ, ignoring case, and both reasons are stored."""
    record_crash(engine, "w", PLACE, "x")
    assert request_quarantine(engine, "w", PLACE, "ann", "bad feed") == 1
    assert quarantines(engine, "w") == {}
    with pytest.raises(StoreError, match="Ann asked for this before: it takes another person"):
        request_quarantine(engine, "w", PLACE, "Ann", "again")
    assert request_quarantine(engine, "w", PLACE, "bob", "saw it") == 2
    assert quarantines(engine, "w") == {PLACE: "ann: bad feed; bob: saw it"}
    assert quarantines(engine, "v") == {}


def test_only_what_failed_can_be_set_aside(engine: Engine) -> None:
    """A message at which no stage failed cannot be quarantined."""
    with pytest.raises(StoreError, match=r"w: no stage failed at riskwatch\.fills/0 7"):
        request_quarantine(engine, "w", PLACE, "ann", "x")
    record_crash(engine, "w", ("riskwatch.fills/0", 8), "x")
    with pytest.raises(StoreError, match="no stage failed"):
        request_quarantine(engine, "w", PLACE, "ann", "x")
