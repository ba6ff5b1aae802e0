"""Records per second of one ledger worker, beside plain Faust and a bare consumer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.bench.streams.load import Maker
from tests.bench.streams.report import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.streams.ground import Ground

LIVE_RATE: Final = 10_000.0
"""Fills per second of event time: what a worker at its target has, live."""
PLAIN: Final = (
    ("table", 5_000, "plain Faust agent, state in a table with changelog", "5 x"),
    ("bare", 15_000, "plain Faust agent, state in memory and lost", ""),
    ("sql", 3_000, "plain Faust agent, one SQL transaction per event", ""),
)
"""What each keeps, and for how many events: they are slow, and their rates hold."""


def measure(ground: Ground, records: int) -> Iterator[Figure]:
    """Fill the topic once; then the worker, plain Faust with and without SQL, a bare consumer."""
    with ground.bench("throughput", clock="event") as bench:
        bench.fill(Maker().fills(records, LIVE_RATE))
        bench.start("ledger-1")
        worker = bench.rate("ledger", records)
        yield Figure(
            "ledger worker: Kafka to Postgres to Kafka", f"{worker:,.0f} records/s",
            f"{records:,} fills, 40 counterparties, 8 partitions", "10,000/s",
        )  # fmt: skip
        bench.stop()
        for keep, count, what, target in PLAIN:
            plain = bench.answer("tests.bench.streams.plain", str(count), keep)
            beside = f"the worker does {worker / plain:.1f} x"
            yield Figure(what, f"{plain:,.0f} records/s", beside, target)
        bare = bench.answer("tests.bench.streams.bare", str(records))
        yield Figure(
            "bare consumer that only decodes", f"{bare:,.0f} records/s",
            f"the worker takes {bare / worker:.1f} x as long",
        )  # fmt: skip
