"""The heartbeat on the wire: it confirms the whole table of scopes until a stated time."""

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
        Worker that sends it, and epoch of its lease.
    seq : int
        Sequence number of the last output in the table.
    digest : str
        Digest of scopes, effective states and decisions
        (:func:`riskwatch.core.scopes.table_digest`).
    scopes : int
        Number of scopes.
    ts, valid_until : datetime
        When it was created, and until when it is valid.
    engine : str
        Engine version.
    deployment : str
        Deployment that sends it; empty in heartbeats of builds that knew no deployments.
    """

    worker: str
    epoch: int
    seq: int
    digest: str
    scopes: int
    ts: datetime
    valid_until: datetime
    engine: str = ""
    deployment: str = ""


_decoder: Final = msgspec.json.Decoder(Heartbeat)


def decode_heartbeat(raw: bytes) -> Heartbeat:
    """Decode a heartbeat.

    Raises
    ------
    ValueError
        If the bytes are no heartbeat, or one of its times has no time zone.
    """
    heartbeat = _decoder.decode(raw)
    if heartbeat.ts.tzinfo is None or heartbeat.valid_until.tzinfo is None:
        raise ValueError("a time of the heartbeat has no time zone")
    return heartbeat
