"""Hourly quotes of one coin: ``python -m tests.support.hourly 8760 > year.ndjson``."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

START = datetime(2023, 1, 1, tzinfo=UTC)


def lines(hours: int) -> Iterator[bytes]:
    """Quotes of USDC at one venue, an hour apart; the price wanders around its peg."""
    random, deviation = Random(7), 0.0
    for n in range(hours):
        deviation = 0.9 * deviation + random.gauss(0.0, 0.0002)
        ts = (START + timedelta(hours=n)).strftime("%Y-%m-%dT%H:%M:%SZ")
        bid, ask = 0.99995 + deviation, 1.00005 + deviation
        yield (
            f'{{"v":1,"type":"quote","event_id":"q{n}","source":"synthetic","ts":"{ts}",'
            f'"arrived":"{ts}","venue":"kraken","base":"USDC","quote":"USD",'
            f'"bid":"{bid:.5f}","ask":"{ask:.5f}"}}\n'
        ).encode()


if __name__ == "__main__":
    sys.stdout.buffer.writelines(lines(int(sys.argv[1])))
