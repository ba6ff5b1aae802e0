"""A file of mixed events for replays: an embedded episode's, with rubbish among them."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from riskwatch import scenarios

if TYPE_CHECKING:
    from pathlib import Path

PEG = (
    b'{"type":"peg","v":1,"event_id":%s,"ts":"2023-03-11T03:00:00Z","source":"x",'
    b'"asset":"USDC","venue":"x","price":"%s"}'
)
RUBBISH = (
    b"\xff\xfe not utf-8",
    b"{not json",
    b'{"type":"fill","v":1}',
    b'{"type":"nothing","v":1,"event_id":"1","ts":"2023-03-11T03:00:00Z","source":"x"}',
    PEG % (b'"2"', b"NaN"),
    PEG % (b'"3","event_id":"4"', b"1"),
)


def write_mixed(path: Path, *, hours: float = 1.0, seed: int = 1) -> int:
    """Write the hours around the disclosure of March 2023, with rubbish and repeats.

    Returns
    -------
    int
        Lines written.
    """
    rng = random.Random(seed)
    centre = datetime(2023, 3, 11, 3, 10, tzinfo=UTC)
    begin, end = centre - timedelta(hours=hours / 2), centre + timedelta(hours=hours / 2)
    encode = msgspec.json.Encoder().encode
    lines: list[bytes] = []
    for event in scenarios.events("usdc_2023", seed):
        if event.ts < begin:
            continue
        if event.ts >= end:
            break
        lines.append(encode(event))
        if rng.random() < 0.01:
            lines.append(rng.choice(RUBBISH))
        if rng.random() < 0.01:
            lines.append(rng.choice(lines[-50:]))
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return len(lines)
