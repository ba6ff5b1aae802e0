"""What order paths say back, and their answers to drills: JSON on ``riskwatch.acks``."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

import msgspec

from riskwatch.core.enums import State

# The alias says that it is part of this module: clients look here.
from riskwatch.core.outputs import CLIENT_NAME as CLIENT_NAME  # noqa: PLC0414

ACKS: Final = "riskwatch.acks"
DRILLS: Final = "riskwatch.drills"
MAX_SCOPES: Final = 1_000
"""Most scopes that one acknowledgement names, the strictest first."""
DRILL_KEY: Final = "/drill"
"""Ends the key of an answer to a drill, so that it never replaces what a client applied."""


class AppliedScope(msgspec.Struct, frozen=True, kw_only=True):
    """Where a client has a scope.

    Attributes
    ----------
    state : State
        Effective state that it obeys.
    decision_id : str
        Decision behind it.
    seq : int
        Place of the message in the order of truth.
    applied_ts : datetime
        When it was applied, by the client's clock.
    """

    state: State
    decision_id: str
    seq: int
    applied_ts: datetime


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """What went through one authorised unwind (or a book's hedges) at one client."""

    usd: float
    orders: int


class Ack(msgspec.Struct, frozen=True, kw_only=True, tag="ack"):
    """What one client applied, as a whole.

    Attributes
    ----------
    client : str
        Name of the order path.
    started : datetime
        When it began; another value is another process.
    epoch, seq : int
        Place of the newest message that it applied.
    beat_seq, beat_ts : int, datetime or None
        The heartbeat that vouches for its table; none yet if ``None``.
    digest : str
        Of its table.
    floor : State
        NORMAL while its table is vouched for; REDUCE or HALT where it fails closed.
    why : str
        Why it fails closed, or nothing.
    scopes : dict of str to AppliedScope
        All that it holds at WATCH or above, at most :data:`SCOPES`.
    left_out : int
        Scopes at WATCH or above beyond that.
    unwound : dict of str to Used
        By decision that authorised it; a book's hedges under ``hedge:<book>``.
    sources : dict of str to str
        State of each subscription: ``ok``, or what is wrong.
    sent_ts : datetime
        When it was said, by the client's clock.
    ended : bool
        Whether it was closed in order: nothing is expected of it any more.
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
    """What one client did at a drill.

    Attributes
    ----------
    drill, client, scope : str
        Which, who, and what was exercised.
    applied_ts : datetime
        When its copy of the table refused orders, by its clock.
    refused, cancelled : bool
        Whether an order in the scope was refused, and a cancel passed, on that copy.
    digest_before, digest_after : str
        Of its real table.
    real_before, real_after : State
        What its real table says for the exercised order.
    sources : dict of str to str
        As in :class:`Ack`.
    sent_ts : datetime
        When it was said.
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


def encode_ack(said: Ack | DrillAck) -> bytes:
    """Wire bytes."""
    return _encoder.encode(said)


def decode_ack(raw: bytes) -> Ack | DrillAck:
    """Read an acknowledgement.

    Raises
    ------
    ValueError
        If it is none.
    """
    return _acks.decode(raw)
