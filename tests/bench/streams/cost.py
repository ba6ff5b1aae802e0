"""What fence, outbox and journal cost: a backlog without each, and one small transaction."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import psycopg

from riskwatch.core.clock import moment
from riskwatch.store import transaction
from riskwatch.store.batch import Batch, Counts, JournalEntry, OutboxRecord, StreamOffset
from riskwatch.store.engine import open_engine
from riskwatch.store.types import METADATA
from tests.bench.streams.load import Maker, now_us
from tests.bench.streams.report import Figure
from tests.bench.streams.without import PARTS, stripped, unfenced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

    from tests.bench.streams.ground import Bench, Ground

RATE: Final = {"ledger": 10_000.0, "risk": 2_000.0}
"""Events per second of event time in the backlog."""
SHARE: Final = {"ledger": 0.4, "risk": 0.15}
"""Events of the backlog, as a share of what the throughput is measured with."""
SMALL: Final = 20
ROUNDS: Final = 150


def measure(ground: Ground, records: int) -> Iterator[Figure]:
    """Both workers without each part, with all of them before and after; then one commit."""
    for kind in ("ledger", "risk"):
        count = int(SHARE[kind] * records)
        with ground.bench(f"cost{kind}", clock="event") as bench:
            make = Maker()
            bench.fill((make.fills if kind == "ledger" else make.quotes)(count, RATE[kind]))
            first = backlog(bench, kind, "nothing", count)
            # The ledger keeps no journal: its topics are its journal.
            left_out = PARTS[1:] if kind == "risk" else PARTS[1:3]
            rates = {part: backlog(bench, kind, part, count) for part in left_out}
            last = backlog(bench, kind, "nothing", count)
        whole = (first + last) / 2
        yield Figure(
            f"{kind} worker, whole: two runs", f"{first:,.0f} and {last:,.0f} records/s",
            ", ".join(f"without {part} {rate / whole:.2f} x" for part, rate in rates.items()),
        )  # fmt: skip
    with ground.bench("costsmall") as bench:
        yield small(bench)


def backlog(bench: Bench, kind: str, part: str, count: int) -> float:
    """Work the backlog off from its beginning, without a part; returns records per second."""
    names = ", ".join(f'"{table.name}"' for table in METADATA.sorted_tables)
    with psycopg.connect(bench.database, autocommit=True) as conn:
        conn.execute(f"TRUNCATE {names}".encode())
    bench.module = ("tests.bench.streams.without", part)
    bench.start(f"{kind}-1")
    rate = bench.rate(kind, count)
    bench.stop()
    return rate


def small(bench: Bench) -> Figure:
    """Time a transaction as a quiet worker has it, with and without each part, in turns."""
    engine = open_engine(bench.database)
    whole = transaction._fence
    taken: dict[str, list[float]] = {part: [] for part in PARTS}
    try:
        epochs = {p: transaction.take_lease(engine, p, "bench").epoch for p in PARTS}
        for number in range(ROUNDS):
            for part in PARTS:
                batch = stripped(one(part, epochs[part], number), part)
                transaction._fence = unfenced if part == "fence" else whole
                taken[part].append(timed(engine, batch))
    finally:
        transaction._fence = whole
        engine.dispose()
    ms = {part: 1e3 * median(times) for part, times in taken.items()}
    return Figure(
        f"one transaction of {SMALL} inputs and {SMALL} outputs", f"{ms['nothing']:.2f} ms",
        ", ".join(f"without {p} {ms[p] / ms['nothing']:.2f} x" for p in PARTS[1:]),
    )  # fmt: skip


def timed(engine: Engine, batch: Batch) -> float:
    """Seconds of one commit."""
    began = perf_counter()
    transaction.commit(engine, batch)
    return perf_counter() - began


def one(worker: str, epoch: int, number: int) -> Batch:
    """Make the batch of a turn, as its size is at two thousand events a second."""
    first, us = 1 + number * SMALL, now_us()
    payload: Any = Maker(run=f"{worker}{number}").quote(us)[2]
    places = range(first, first + SMALL)
    made = Batch(worker, epoch, relay=True, us=us, published_seq=first - 1)
    return replace(
        made,
        rows={"market": {f"edge/{n}": payload for n in range(10)}},
        offsets=[StreamOffset("riskwatch.quotes/0", "identity", first + SMALL, first + SMALL)],
        journal=[JournalEntry(n, us, "quote", payload) for n in places],
        forwards=[OutboxRecord(n, "riskwatch.readings", "x", payload, moment(us)) for n in places],
        counts=Counts(read=first + SMALL, applied=first + SMALL),
    )
