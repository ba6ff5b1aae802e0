"""Cost of the audit chain: the same transactions with it and without it, in turns."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import pytest

from riskwatch.store import migrate, transaction
from riskwatch.store.audit import audit_rows
from riskwatch.store.audit_check import ChainVerifier, check_chain
from riskwatch.store.batch import Batch, Counts, SequencedOutput
from riskwatch.store.engine import open_engine
from riskwatch.store.transaction import commit, take_lease
from tests.support.batches import decision, killswitch

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture
    from sqlalchemy.engine import Engine

ROUNDS = 60


def moments(epoch: int, worker: str, each: int) -> list[Batch]:
    """Return transactions of so many decisions, with their switches."""
    made, seq = [], 1
    for n in range(ROUNDS):
        batch = Batch(worker, epoch, counts=Counts(read=n + 1, applied=n + 1), us=n + 1)
        for i in range(each):
            for output in (decision(n * each + i, f"asset:{worker}"), killswitch(n * each + i)):
                batch.outputs.append(SequencedOutput(seq, output))
                seq += 1
        made.append(batch)
    return made


def timed(engine: Engine, worker: str, each: int) -> list[float]:
    """Seconds of each transaction."""
    taken = []
    for batch in moments(take_lease(engine, worker, "bench").epoch, worker, each):
        began = perf_counter()
        commit(engine, batch)
        taken.append(perf_counter() - began)
    return taken


@pytest.mark.parametrize("each", [1, 100])
def test_cost_of_the_chain(
    benchmark: BenchmarkFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, each: int
) -> None:
    """Median transaction with and without it, and what checking it takes."""
    url = f"sqlite:///{tmp_path / 'b.db'}"
    migrate.upgrade(url)
    engine = open_engine(url)
    with monkeypatch.context() as off:
        off.setattr(transaction, "write_audit", lambda *_: None)
        without = median(timed(engine, "without", each))
    chained = median(timed(engine, "with", each))
    extra = benchmark.extra_info
    extra["without_ms"], extra["with_ms"] = round(1e3 * without, 3), round(1e3 * chained, 3)
    extra["us_per_row"] = round(1e6 * (chained - without) / (2 * each), 1)
    extra["ratio"] = round(chained / without, 2)

    def check() -> int:
        with engine.connect() as conn:
            chain = ChainVerifier("with")
            assert list(check_chain(audit_rows(conn, "with"), chain)) == []
            return chain.rows

    rows = 2 * each * ROUNDS
    assert benchmark(check) == rows
    assert benchmark.stats is not None
    extra["check_us_per_row"] = round(1e6 * benchmark.stats.stats.median / rows, 1)
    engine.dispose()
