"""``python -m tests.bench.streams``: run the parts, print one table."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Final

from tests.bench.streams import cost, latency, recovery, throughput
from tests.bench.streams.ground import GaveUpError, ground
from tests.bench.streams.report import Figure, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bench.streams.ground import Ground

PARTS: Final[dict[str, Callable[[Ground, int], Iterator[Figure]]]] = {
    "throughput": throughput.measure,
    "latency": latency.measure,
    "recovery": recovery.measure,
    "cost": cost.measure,
}


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.streams", description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="parts; all by default")
    parser.add_argument("--records", type=int, default=150_000, help="fills on the topic")
    asked = parser.parse_args()
    # What was started is stopped again, however the run ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # Topics that were just made have no leader yet, and it says so of each.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    began, load = time.monotonic(), os.getloadavg()[0]
    figures: list[Figure] = []
    with ground() as servers:
        for name in asked.only or PARTS:
            try:
                for figure in PARTS[name](servers, asked.records):
                    figures.append(figure)
                    took = time.monotonic() - began
                    print(f"{took:5.0f} s  {figure.what}: {figure.measured}", flush=True)  # noqa: T201
            except (GaveUpError, TimeoutError, AssertionError) as error:
                # One part that this machine is too busy for does not cost the others.
                servers.keep = True
                figures.append(Figure(f"{name}: gave up", str(error) or type(error).__name__))
    print(f"\n{table(figures)}\n")  # noqa: T201
    print(  # noqa: T201
        f"{os.cpu_count()} cores, load {load:.1f} before the run, "
        f"{time.monotonic() - began:.0f} s in all"
    )


if __name__ == "__main__":
    main()
