"""Acknowledgements of order paths, and their answers to drills: JSON on ``riskwatch.acks``."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from riskwatch.contracts import structure, validation
from riskwatch.contracts.codec import SIZE_LIMIT
from riskwatch.contracts.refusal import Refusal, excerpt, json_refusal, refuse, shape_refusal
from riskwatch.core.enums import RejectReason, State
from riskwatch.core.events import Moment

# The alias makes the name a public part of this module, from which clients import it.
from riskwatch.core.outputs import CLIENT_NAME as CLIENT_NAME  # noqa: PLC0414

ACKS: Final = "riskwatch.acks"
DRILLS: Final = "riskwatch.drills"
MAX_SCOPES: Final = 1_000
"""Maximum number of scopes in one acknowledgement; the strictest are listed."""
MAX_ENTRIES: Final = 1_000
"""Maximum number of unwinds, of advisory terms and of subscriptions in one acknowledgement."""
MAX_TEXT: Final = 2_000
"""Maximum length of a free text, characters."""
DRILL_KEY: Final = "/drill"
"""Suffix of the key of an answer to a drill, so that it never replaces an acknowledgement."""


Client = Annotated[str, msgspec.Meta(pattern=rf"\A{CLIENT_NAME.pattern}\Z")]
Scope = Annotated[str, msgspec.Meta(pattern=r"\A[^\s\x00-\x1f\x7f]+\Z", max_length=140)]
Token = Annotated[str, msgspec.Meta(max_length=256)]
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
Deployment = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9-]*\Z", max_length=40)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A number that SQL can store."""


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
    decision_id: Token
    seq: Number
    applied_ts: Moment


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
    deployment : str
        Deployment that it obeys; empty if it knows none, or is of a build that knew none.
    advised : dict of str to Used, optional
        What advisory terms would have refused, by term; absent if nothing.
    """

    client: Client
    started: Moment
    epoch: Number
    seq: Number
    beat_seq: Number
    beat_ts: Moment | None
    digest: Token
    floor: State
    why: Text
    scopes: Annotated[dict[Scope, AppliedScope], msgspec.Meta(max_length=MAX_SCOPES)]
    left_out: Number
    unwound: Annotated[dict[Token, Used], msgspec.Meta(max_length=MAX_ENTRIES)]
    sources: Annotated[dict[Token, Text], msgspec.Meta(max_length=MAX_ENTRIES)]
    sent_ts: Moment
    ended: bool = False
    v: Literal[1] = 1
    deployment: Deployment = ""
    advised: (
        Annotated[dict[Token, Used], msgspec.Meta(max_length=MAX_ENTRIES)] | msgspec.UnsetType
    ) = msgspec.UNSET


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
    deployment : str
        As in :class:`Ack`.
    """

    drill: Token
    client: Client
    scope: Scope
    applied_ts: Moment
    refused: bool
    cancelled: bool
    digest_before: Token
    digest_after: Token
    real_before: State
    real_after: State
    sources: Annotated[dict[Token, Text], msgspec.Meta(max_length=MAX_ENTRIES)]
    sent_ts: Moment
    v: Literal[1] = 1
    deployment: Deployment = ""


_encoder: Final = msgspec.json.Encoder(decimal_format="string")
_acks: Final[msgspec.json.Decoder[Ack | DrillAck]] = msgspec.json.Decoder(Ack | DrillAck)


def encode_ack(ack: Ack | DrillAck) -> bytes:
    """Return the wire bytes of an acknowledgement."""
    return _encoder.encode(ack)


def decode_ack(raw: bytes) -> Ack | DrillAck | Refusal:
    """Decode an acknowledgement, or return why the bytes are none; it never raises.

    Size, structure, texts and times are held to the rules of events
    (:mod:`riskwatch.contracts.codec`), because whoever may write to the topic may write anything.

    Examples
    --------
    >>> decode_ack(b'{"type":"ack"}').reason.name
    'FIELD_MISSING'
    """
    if len(raw) > SIZE_LIMIT:
        return refuse(
            RejectReason.MESSAGE_TOO_LARGE, f"size={len(raw)} bytes, limit={SIZE_LIMIT} bytes"
        )
    plain: dict[str, Any] | Refusal | None = None
    try:
        plain = structure.read_object(raw)
        if isinstance(plain, Refusal):
            return plain
        ack = _acks.decode(raw)
    except (ValueError, RecursionError) as error:
        if plain is None or isinstance(error, RecursionError):
            return json_refusal(error, raw)
        return shape_refusal(error)
    if not validation.is_plain_ascii(raw):
        bad = validation.check_text("an acknowledgement", plain, free=True)
        if bad is not None:
            return bad
    return _check_times(ack) or _check_used(ack) or ack


def _check_times(ack: Ack | DrillAck) -> Refusal | None:
    """Refuse a time that is out of the range of events."""
    named = {name: getattr(ack, name) for name in ack.__struct_fields__ if name.endswith("_ts")}
    if isinstance(ack, Ack):
        named["started"] = ack.started
        named |= {f"applied_ts of {scope}": at.applied_ts for scope, at in ack.scopes.items()}
    for name, value in named.items():
        if value is not None and not validation.EARLIEST <= value < validation.LATEST:
            return validation.out_of_range(name, value)
    return None


def _check_used(ack: Ack | DrillAck) -> Refusal | None:
    """Refuse a use of an unwind below zero, or one that SQL cannot store."""
    if isinstance(ack, Ack):
        for name, used in {**ack.unwound, **(ack.advised or {})}.items():
            if not (used.usd >= 0.0 and 0 <= used.orders < 2**63):
                what = f"usd and orders of {excerpt(name)} must be >= 0 and below 2**63"
                return refuse(RejectReason.FIELD_RANGE, what)
    return None
