"""What a replay of hourly quotes sends and stores, with the shipped configuration."""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, text

from riskwatch.core.risk.evaluator import MAX_SCORES
from riskwatch.engine import bootstrap, replay
from riskwatch.engine.publish import NdjsonPublisher
from riskwatch.engine.replay import ReplayJob, open_database, replay_files
from riskwatch.engine.runner import Runner
from riskwatch.store.truth import OUTBOX
from tests.support.fakes import ListPublisher, MemoryStore, ScriptSource
from tests.support.hourly import lines
from tests.support.toy import toy_lines, toy_pipeline

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from riskwatch.store.batch import Batch

HOURS = 72
YEAR = 8_760
LARGEST = 100e6
"""Bound on what a year of hourly quotes writes to standard output, bytes."""


def test_a_year_of_hourly_quotes_stays_under_a_hundred_megabytes(tmp_path: Path) -> None:
    """Ten scores of the coin an hour, none of the venue that only goes on; SQL shows the last."""
    path, url, out = tmp_path / "hourly.ndjson", f"sqlite:///{tmp_path}/a.db", BytesIO()
    path.write_bytes(b"".join(lines(HOURS)))
    config = bootstrap.configuration()
    job = ReplayJob([path], url, publisher=NdjsonPublisher(out))
    replay_files(job, bootstrap.pipeline(config), config=config)
    assert len(out.getvalue()) / HOURS * YEAR < LARGEST
    sent: list[dict[str, Any]] = [json.loads(line)["value"] for line in out.getvalue().splitlines()]
    scores = [value for value in sent if value["type"] == "ScoreUpdated"]
    coin = [value for value in scores if value["scope"] == "asset:USDC"]
    assert HOURS < len(coin) <= 1.1 * MAX_SCORES * HOURS
    assert len(scores) - len(coin) <= 2 * MAX_SCORES
    last = {(v["scope"], v["target"], v["generation"]): v for v in scores}
    with open_database(url) as engine, engine.connect() as conn:
        rows = conn.execute(
            text("SELECT scope, target, generation, probability, ts FROM score_now")
        ).all()
        assert conn.execute(select(func.count()).select_from(OUTBOX)).scalar_one() == 0
    assert {tuple(row[:3]): row.probability for row in rows} == {
        key: value["probability"] for key, value in last.items()
    }
    times = {tuple(row[:3]): str(row.ts)[:19].replace(" ", "T") for row in rows}
    assert times == {key: value["ts"][:19] for key, value in last.items()}


class MeasuredStore(MemoryStore):
    """A store that records how many outputs each batch had."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def commit(self, batch: Batch) -> None:
        """Commit, and record."""
        self.sizes.append(len(batch.outputs))
        super().commit(batch)


def test_a_batch_with_many_outputs_is_committed_before_it_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The outbox never holds more than the bound and the outputs of one record; same content."""
    stores: list[MeasuredStore] = []
    for bound in (10**9, 20):
        monkeypatch.setattr(replay, "OUTPUTS", bound)
        store, publisher = MeasuredStore(), ListPublisher()
        runner = Runner(store, toy_pipeline(), publisher, worker="w", holder="t")
        replay.replay_records(runner, ScriptSource([*toy_lines(300)]))
        stores.append(store)
    whole, bounded = stores
    assert max(whole.sizes) > 60
    assert max(bounded.sizes) < 40
    assert bounded.outputs == whole.outputs
