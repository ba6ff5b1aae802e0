"""Cost of one transaction of the store, as a ratio to bare inserts through the same driver."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from riskwatch.core.clock import micros
from riskwatch.store import migrate
from riskwatch.store.batch import Batch, Counts, JournalEntry, SequencedOutput
from riskwatch.store.engine import open_engine
from riskwatch.store.transaction import commit, take_lease
from tests.support.batches import START, exposure

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

JOURNAL = 1_000
PROJECTED = 300
ROUNDS = 25
PAYLOAD = b'{"type":"fill","v":1,"x":"' + b"a" * 250 + b'"}'


def history(epoch: int) -> list[Batch]:
    """Return transactions of 1,000 inputs, 300 exposures and 50 state rows each."""
    made = []
    for n in range(1, ROUNDS + 1):
        first = n * JOURNAL
        us = micros(START) + n * 1_000_000
        journal = [JournalEntry(first + i, us + i, "fill", PAYLOAD) for i in range(JOURNAL)]
        outputs = [
            exposure(n, f"{i}.{n}", f"{i}.25", asset=f"A{i % 100}", counterparty=f"c{i // 100}")
            for i in range(PROJECTED)
        ]
        made.append(
            Batch(
                "w",
                epoch,
                rows={"ledger": {f"row{i}": PAYLOAD * 3 for i in range(50)}},
                journal=journal,
                outputs=[SequencedOutput(n * PROJECTED + i, o) for i, o in enumerate(outputs)],
                counts=Counts(read=first, applied=first),
                us=us,
            )
        )
    return made


def bare(path: Path) -> float:
    """Median seconds of as many journal rows by the driver alone: no keys known, no types."""
    taken = []
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode=WAL")
        conn.execute("PRAGMA synchronous=FULL")
        conn.execute("CREATE TABLE j (worker, seq, us, day, kind, payload, PRIMARY KEY (seq))")
        for n in range(ROUNDS):
            rows = [("w", n * JOURNAL + i, i, "d", "fill", PAYLOAD) for i in range(JOURNAL)]
            began = perf_counter()
            conn.execute("BEGIN IMMEDIATE")
            conn.executemany("INSERT INTO j VALUES (?, ?, ?, ?, ?, ?)", rows)
            conn.execute("COMMIT")
            taken.append(perf_counter() - began)
    return median(taken)


def test_seconds_per_transaction(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """All of a transaction costs at most four times its journal rows by the driver alone.

    Compiling a statement per call, the ORM, or a statement per row are each far beyond that.
    """
    url = f"sqlite:///{tmp_path / 'risk.db'}"
    migrate.upgrade(url)
    engine = open_engine(url)
    waiting = iter(history(take_lease(engine, "w", "bench").epoch))
    taken: list[float] = []

    def one() -> None:
        batch = next(waiting)
        began = perf_counter()
        commit(engine, batch)
        taken.append(perf_counter() - began)

    benchmark.pedantic(one, rounds=ROUNDS, iterations=1)  # type: ignore[no-untyped-call]  # untyped library
    engine.dispose()
    baseline = bare(tmp_path / "bare.db")
    benchmark.extra_info["ms_per_1000_inputs"] = round(1e3 * median(taken), 2)
    benchmark.extra_info["ratio_to_bare_inserts"] = round(median(taken) / baseline, 2)
    assert len(taken) == ROUNDS
    assert median(taken) < 4.0 * baseline
