"""The heartbeat as it travels: it vouches for the whole table of scopes, for a while."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

TOPIC: Final = "riskwatch.heartbeat"


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag="heartbeat"):
    """One heartbeat.

    Attributes
    ----------
    worker, epoch : str, int
        Who vouches, and under which lease.
    seq : int
        Place of the last output that is in the table.
    digest : str
        Of scopes, effective states and decisions (:func:`riskwatch.core.scopes.table_digest`).
    scopes : int
        How many there are.
    ts, valid_until : datetime
        When it was made, and until when it counts.
    engine : str
        Version.
    """

    worker: str
    epoch: int
    seq: int
    digest: str
    scopes: int
    ts: datetime
    valid_until: datetime
    engine: str = ""


_decoder: Final = msgspec.json.Decoder(Heartbeat)


def decode_heartbeat(raw: bytes) -> Heartbeat:
    """Read a heartbeat.

    Raises
    ------
    ValueError
        If it is none, or a time of it has no time zone.
    """
    beat = _decoder.decode(raw)
    if beat.ts.tzinfo is None or beat.valid_until.tzinfo is None:
        raise ValueError("a time of the heartbeat has no time zone")
    return beat
