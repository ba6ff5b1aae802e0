"""From news to switch, end to end, while quotes and fills come in at a steady rate."""

from __future__ import annotations

import time
from bisect import bisect_left
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psycopg

from riskwatch.worker.worker import LEDGER_TOPICS, RISK_TOPICS
from tests.bench.streams.load import Maker, now_us
from tests.bench.streams.probe import Prober
from tests.bench.streams.report import Figure, quantile, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.streams.ground import Bench, Ground
    from tests.bench.streams.probe import Probe

RATES: Final = (100, 2_000)
STEPS: Final = (4_000, 6_000, 8_000, 11_000, 15_000, 20_000)
"""Rates that are tried until one is too much."""
STEP_S: Final = 8.0
LATE_S: Final = 0.5
"""A rate is sustained if the workers end a step no further behind than this."""
KEPT: Final = 0.97
"""And if the background itself kept so much of it: else it is the machine that is full."""
PARTIES: Final = 100
EVERY_S: Final = 0.08
_HELD: Final = "SELECT count(DISTINCT counterparty) FROM exposure WHERE counterparty LIKE 'held-%'"


def measure(ground: Ground, records: int) -> Iterator[Figure]:
    """Probe at each rate; then find the highest that is sustained, and probe there."""
    del records
    for rate in RATES:
        with lab(ground, f"latency{rate}") as bench:
            yield at(bench, rate, "100 ms (p99)" if rate == 2_000 else "")
    with lab(ground, "highest") as bench:
        highest, failed = search(bench)
        if highest:
            found = at(bench, highest, "", run="last")
            yield Figure(found.what, found.measured, f"{found.beside}; {failed}", "")
        else:
            yield Figure("the highest sustained rate", f"below {STEPS[0]:,}/s", failed)


@contextmanager
def lab(ground: Ground, name: str) -> Iterator[Bench]:
    """Both workers on a wall clock, with counterparties that something is held with."""
    with ground.bench(name, log_level="debug") as bench:
        make = Maker(run="held")
        bench.fill(make.balance(now_us(), party, "USD", "1000") for party in parties())
        bench.start("ledger-1", "risk-1")
        with psycopg.connect(bench.database, autocommit=True) as conn:

            def held() -> bool:
                row: Any = conn.execute(_HELD).fetchone()
                return int(row[0]) == PARTIES

            bench.until(held, "holdings to be known", 0.2)
        yield bench


def parties() -> list[str]:
    """Counterparties of which there will be news."""
    return [f"held-{n:03d}" for n in range(PARTIES)]


def at(bench: Bench, rate: int, target: str, run: str = "bg") -> Figure:
    """Probe while the background runs."""
    background = bench.run_child("tests.bench.streams.background", str(rate), run)
    time.sleep(3)  # so that the caches of all know the load; nothing waits for it
    probes = Prober(bench.connection, parties(), EVERY_S).run()
    background.terminate()
    kept = float(background.communicate()[0])
    took = [probe.took for probe in probes]
    p50, p99, p999 = (1e3 * quantile(took, share) for share in (0.5, 0.99, 0.999))
    return Figure(
        f"news to switch at {kept:,.0f} events/s",
        f"p50 {p50:.0f}, p99 {p99:.0f}, p99.9 {p999:.0f} ms",
        f"{len(probes)} probes; p50/p99 ms: {stages(bench, probes)}",
        target,
    )


def stages(bench: Bench, probes: list[Probe]) -> str:
    """Where the time went, by the broker's stamps and the worker's log of batches."""
    ends, batches = [], []
    for line in (bench.folder / f"{bench.name}-risk-1.log").read_bytes().splitlines():
        said = msgspec.json.decode(line)
        if said["event"] == "batch" and said["worker"] == "risk":
            ends.append(datetime.fromisoformat(said["timestamp"]).timestamp())
            batches.append((said["commit_ms"] / 1e3, said["publish_ms"] / 1e3))
    parts: dict[str, list[float]] = {
        "to broker": [], "to worker and apply": [], "commit": [], "publish and receive": [],
    }  # fmt: skip
    for probe in probes:
        number = min(bisect_left(ends, probe.told), len(ends) - 1)
        commit, publish = batches[number]
        began = ends[number] - publish
        parts["to broker"].append(max(0.0, probe.arrived - probe.sent))
        parts["to worker and apply"].append(max(0.0, began - commit - probe.arrived))
        parts["commit"].append(commit)
        parts["publish and receive"].append(max(0.0, probe.received - began))
    return ", ".join(f"{name} {spread(values)}" for name, values in parts.items())


def search(bench: Bench) -> tuple[int, str]:
    """Step up until a rate is too much; returns the last that was not, and what was found."""
    highest = 0
    for rate in STEPS:
        background = bench.run_child("tests.bench.streams.background", str(rate), f"s{rate}-")
        time.sleep(STEP_S)  # the length of the step; what is looked at is the lag after it
        late = {kind: behind(bench, kind) / (rate / 2) for kind in ("ledger", "risk")}
        background.terminate()
        kept = float(background.communicate()[0]) / rate
        if kept < KEPT or max(late.values()) > LATE_S:
            if highest:
                bench.until(
                    lambda: behind(bench, "risk") + behind(bench, "ledger") < 10, "the rest"
                )
            worst = ", ".join(f"{kind} {s:.1f} s" for kind, s in late.items())
            return highest, f"{rate:,}/s is too much: behind by {worst}, sent {kept:.0%}"
        highest = rate
    return highest, "no rate was too much"


def behind(bench: Bench, kind: str) -> int:
    """Records that a kind of worker has still to take."""
    topics = LEDGER_TOPICS if kind == "ledger" else RISK_TOPICS
    return bench.ends(topics) - bench.read().get(kind, 0)
