"""The outbox with `latest_only`: unreplaced records and all answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from riskwatch.contracts.topics import ALERTS
from riskwatch.store.batch import Batch, Counts, OutboxRecord
from riskwatch.store.transaction import commit, pending_records, take_lease
from tests.support.batches import at

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

SCORES = "riskwatch.scores"


def fill(engine: Engine, *records: tuple[str, str, str]) -> None:
    """Add outbox records of (topic, key, kind), numbered from 1."""
    epoch = take_lease(engine, "w", "test").epoch
    waiting = [
        OutboxRecord(n, topic, key, msgspec.json.encode({"type": kind, "n": n}), at(n))
        for n, (topic, key, kind) in enumerate(records, 1)
    ]
    commit(engine, Batch("w", epoch, forwards=waiting, counts=Counts(1, 1), us=1))


def left(engine: Engine, limit: int = 100) -> list[int]:
    """Return the numbers of the pending records."""
    return [record.seq for record in pending_records(engine, "w", limit, latest_only=True)]


@pytest.mark.parametrize(
    ("records", "out"),
    [
        ([(SCORES, "a", "ScoreUpdated"), (SCORES, "a", "ScoreUpdated")], [2]),
        ([(ALERTS, "a", "AlertRaised"), (ALERTS, "a", "DecisionMade")], [1, 2]),
        ([(ALERTS, "a", "AlertRaised"), (ALERTS, "a", "AlertRaised")], [2]),
        ([(ALERTS, "a", "AlertRaised"), (ALERTS, "a", "AlertResolved")], [2]),
        ([(ALERTS, "a", "AlertResolved"), (ALERTS, "a", "AlertRaised")], [2]),
        ([(ALERTS, "a", "DataQualityRaised"), (ALERTS, "a", "DataQualityResolved")], [2]),
        ([(ALERTS, "a", "CommandApplied"), (ALERTS, "a", "CommandApplied")], [1, 2]),
        ([(ALERTS, "a", "CommandRefused"), (ALERTS, "a", "CommandApplied")], [1, 2]),
        ([(ALERTS, "a", "AlertRaised"), (SCORES, "a", "ScoreUpdated")], [1, 2]),
        ([("riskwatch.fills.dlq", "a", "x"), ("riskwatch.fills.dlq", "a", "x")], [1, 2]),
    ],
)
def test_what_was_replaced_is_left_out(
    engine: Engine, records: list[tuple[str, str, str]], out: list[int]
) -> None:
    """Only its end or its next raise replaces an alert; decisions and answers do not."""
    fill(engine, *records)
    assert left(engine) == out
    assert [r.seq for r in pending_records(engine, "w", 100)] == list(range(1, len(records) + 1))


def test_history_goes_out_in_chunks(engine: Engine) -> None:
    """Chunks come in order, without records of other workers."""
    fill(
        engine, *((ALERTS, f"{n}", "AlertRaised") for n in range(5)), (SCORES, "a", "ScoreUpdated")
    )
    assert left(engine, 4) == [1, 2, 3, 4]
    assert pending_records(engine, "other", 4, latest_only=True) == []
