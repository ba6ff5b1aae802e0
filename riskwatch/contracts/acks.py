"""Acknowledgements of order paths, and their answers to drills: JSON on ``riskwatch.acks``."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

import msgspec

from riskwatch.core.enums import State

# The alias makes the name a public part of this module, from which clients import it.
from riskwatch.core.outputs import CLIENT_NAME as CLIENT_NAME  # noqa: PLC0414

ACKS: Final = "riskwatch.acks"
DRILLS: Final = "riskwatch.drills"
MAX_SCOPES: Final = 1_000
"""Maximum number of scopes in one acknowledgement; the strictest are listed."""
DRILL_KEY: Final = "/drill"
"""Suffix of the key of an answer to a drill, so that it never replaces an acknowledgement."""


class AppliedScope(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one scope at a client.

    Attributes
    ----------
    state : State
        Effective state that it obeys.
    decision_id : str
        Decision behind it.
    seq : int
        Sequence number of the message in the order of truth.
    applied_ts : datetime
        When it was applied, by the client's clock.
    """

    state: State
    decision_id: str
    seq: int
    applied_ts: datetime


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """The value and number of orders of one authorised unwind (or a book's hedges) at a client."""

    usd: float
    orders: int


class Ack(msgspec.Struct, frozen=True, kw_only=True, tag="ack"):
    """The whole table of scopes that one client has applied.

    Attributes
    ----------
    client : str
        Name of the order path.
    started : datetime
        Start of its process; another value means another process.
    epoch, seq : int
        Epoch and sequence number of the newest message that it applied.
    beat_seq, beat_ts : int, datetime or None
        The heartbeat that confirms its table; ``None`` before the first.
    digest : str
        Digest of its table.
    floor : State
        NORMAL while a heartbeat confirms its table; REDUCE or HALT if it fails closed.
    why : str
        Why it fails closed; empty if it does not.
    scopes : dict of str to AppliedScope
        Its scopes at WATCH or above, at most :data:`MAX_SCOPES`.
    left_out : int
        Number of further scopes at WATCH or above.
    unwound : dict of str to Used
        Usage of unwinds by authorising decision; a book's hedges are under ``hedge:<book>``.
    sources : dict of str to str
        State of each subscription: ``ok``, or the fault.
    sent_ts : datetime
        When it was sent, by the client's clock.
    ended : bool
        Whether the client was shut down in order; no more acknowledgements are expected.
    advised : dict of str to Used, optional
        What advisory terms would have refused, by term; absent if nothing.
    """

    client: str
    started: datetime
    epoch: int
    seq: int
    beat_seq: int
    beat_ts: datetime | None
    digest: str
    floor: State
    why: str
    scopes: dict[str, AppliedScope]
    left_out: int
    unwound: dict[str, Used]
    sources: dict[str, str]
    sent_ts: datetime
    ended: bool = False
    v: Literal[1] = 1
    advised: dict[str, Used] | msgspec.UnsetType = msgspec.UNSET


class DrillAck(msgspec.Struct, frozen=True, kw_only=True, tag="drill_ack"):
    """The answer of one client to a drill.

    Attributes
    ----------
    drill, client, scope : str
        Id of the drill, the client, and the scope of the drill.
    applied_ts : datetime
        When its copy of the table refused orders, by its clock.
    refused, cancelled : bool
        Whether the copy refused an order in the scope, and allowed a cancel.
    digest_before, digest_after : str
        Digests of its real table before and after the drill.
    real_before, real_after : State
        States of the exercised order by its real table, before and after the drill.
    sources : dict of str to str
        As in :class:`Ack`.
    sent_ts : datetime
        When it was sent.
    """

    drill: str
    client: str
    scope: str
    applied_ts: datetime
    refused: bool
    cancelled: bool
    digest_before: str
    digest_after: str
    real_before: State
    real_after: State
    sources: dict[str, str]
    sent_ts: datetime
    v: Literal[1] = 1


_encoder: Final = msgspec.json.Encoder(decimal_format="string")
_acks: Final[msgspec.json.Decoder[Ack | DrillAck]] = msgspec.json.Decoder(Ack | DrillAck)


def encode_ack(ack: Ack | DrillAck) -> bytes:
    """Return the wire bytes of an acknowledgement."""
    return _encoder.encode(ack)


def decode_ack(raw: bytes) -> Ack | DrillAck:
    """Decode an acknowledgement.

    Raises
    ------
    ValueError
        If the bytes are no acknowledgement.
    """
    return _acks.decode(raw)
