"""The boundary of ``riskwatch.acks``: what clients write there is hostile until it is checked.

Each record is decoded by the rules of events, must carry the key of its client, and, where
``policy.toml`` has a key of that client, its signature. It must not be of another deployment. A
record that fails is a dead letter with a
reason, and the worker goes on. The number of dead letters per client is bounded; all are counted.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.contracts.acks import ACKS, DRILL_KEY, Ack, DrillAck, decode_ack
from riskwatch.contracts.record_signing import is_record_signed
from riskwatch.contracts.refusal import Refusal, excerpt, refuse
from riskwatch.core.clock import micros
from riskwatch.core.deployment import UNBOUND
from riskwatch.core.enums import RejectReason
from riskwatch.core.outputs import CLIENT_NAME
from riskwatch.store.batch import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SKEW: Final = timedelta(seconds=60)
"""Largest difference between the time of signing and the broker's arrival time."""
MAX_LETTERS: Final = 60
"""Most dead letters per client and hour; further refusals are counted only."""
MAX_KEPT: Final = 65_536
"""Most bytes of a record that a dead letter keeps; of more, size and digest are in its headers."""
ALERT_FOR: Final = timedelta(minutes=10)
"""Time after the last refused record for which the alert stays open."""
STREAM: Final = f"{ACKS}/0"
_MAX_NAMES: Final = 1_000
_HOUR: Final = timedelta(hours=1)


class AckRecord(msgspec.Struct, frozen=True):
    """A record of the topic, as the broker has it.

    Attributes
    ----------
    offset : int
        Its place in the partition.
    key, value : bytes or None
        Its key and its value; a value of ``None`` asks to forget the client.
    headers : tuple of (str, bytes)
        Its headers.
    arrived : datetime
        The broker's time when it arrived.
    """

    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    arrived: datetime


class Forget(msgspec.Struct, frozen=True):
    """The request to forget a client."""

    client: str


class AckBoundary:
    """Turns records into acknowledgements that may be believed, or into refusals.

    Parameters
    ----------
    topic : str
        Name of the topic on the broker, which signatures cover.
    keys : mapping of str to str
        Public keys by client. What a client without one says rests on who may write to the topic.
    deployment : str
        Deployment whose clients count.
    """

    def __init__(self, topic: str, keys: Mapping[str, str], deployment: str) -> None:
        self._topic = topic
        self._deployment = deployment
        self._keys = keys
        self._newest: dict[str, datetime] = {}

    def read(self, record: AckRecord) -> Ack | DrillAck | Forget | Refusal:
        """Return what a record says, or why it is refused; it never raises."""
        if record.value is None:
            return self._read_forget(record)
        ack = decode_ack(record.value)
        if isinstance(ack, Refusal):
            return ack
        key = ack.client if isinstance(ack, Ack) else f"{ack.client}{DRILL_KEY}"
        if record.key != key.encode():
            why = f"the key must be {excerpt(key)}, was {excerpt(record.key)}"
            return refuse(RejectReason.KEY_MISMATCH, why)
        # A guard that knows no deployment yet, or is of an older build, names none.
        if ack.deployment not in (UNBOUND, self._deployment):
            why = (
                f"{ack.client} obeys deployment {ack.deployment}, this is {self._deployment}: "
                "correct its broker, or its deployment="
            )
            return refuse(RejectReason.DEPLOYMENT_FOREIGN, why)
        return self._authenticate(ack, record) or ack

    def _read_forget(self, record: AckRecord) -> Forget | Refusal:
        client = (record.key or b"").decode(errors="replace")
        if CLIENT_NAME.fullmatch(client) is None:
            return refuse(RejectReason.KEY_MISMATCH, f"no client has the name {excerpt(client)}")
        if client in self._keys:
            why = f"{client} has a key: remove it from [risk.client_keys] before it is forgotten"
            return refuse(RejectReason.SIGNATURE_INVALID, why)
        return Forget(client)

    def _authenticate(self, ack: Ack | DrillAck, record: AckRecord) -> Refusal | None:
        """Refuse a record in the name of a client with a key, unless that client sent it now."""
        public = self._keys.get(ack.client)
        if public is None:
            return None
        signed = record.key, record.value, record.headers
        if not is_record_signed(public, self._deployment, self._topic, *signed):
            why = (
                f"{ack.client} has a key, and did not sign this for {self._topic} of deployment "
                f"{self._deployment}"
            )
            return refuse(RejectReason.SIGNATURE_INVALID, why)
        age = record.arrived - ack.sent_ts
        if abs(age) > MAX_SKEW:
            why = (
                f"sent_ts must be within {MAX_SKEW.seconds} s of its arrival, was "
                f"{age.total_seconds():.0f} s before it: a copy, or a wrong clock of {ack.client}"
            )
            return refuse(RejectReason.FACT_TOO_LATE, why)
        if isinstance(ack, Ack):
            newest = self._newest.get(ack.client)
            if newest is not None and ack.sent_ts < newest:
                why = f"{ack.client} has sent a later one: a copy, or its clock went back"
                return refuse(RejectReason.FACT_TOO_LATE, why)
            self._newest[ack.client] = ack.sent_ts
        return None


class RefusedRecords:
    """Dead letters and one alert of refused records, both bounded.

    Parameters
    ----------
    known : iterable of int
        Offsets with a dead letter already: the topic is read from its beginning at each start.
    """

    def __init__(self, known: set[int] | None = None) -> None:
        self._known = known or set()
        self._letters: list[DeadLetter] = []
        self._hour: datetime | None = None
        self._counts: dict[str, int] = {}
        self._last: tuple[datetime, str] | None = None
        self.total = 0

    def add(self, record: AckRecord, refusal: Refusal) -> None:
        """Count a refused record, and keep a dead letter of it if the bound allows it."""
        self.total += 1
        name = excerpt((record.key or b"").decode(errors="replace"))
        self._last = record.arrived, f"{name}: {refusal.reason}: {refusal.detail}"
        if self._hour is None or not timedelta(0) <= record.arrived - self._hour < _HOUR:
            self._hour = record.arrived
            self._counts.clear()
        # All names beyond the bound share one count.
        name = name if name in self._counts or len(self._counts) < _MAX_NAMES else ""
        self._counts[name] = self._counts.get(name, 0) + 1
        if self._counts[name] <= MAX_LETTERS and record.offset not in self._known:
            self._known.add(record.offset)
            self._letters.append(_letter(record, refusal))

    def take_letters(self) -> list[DeadLetter]:
        """Return the dead letters since the last call."""
        letters, self._letters = self._letters, []
        return letters

    def alert_reason(self, now: datetime) -> str:
        """Return the last refusal, if it is recent; else an empty text."""
        if self._last is None or now - self._last[0] > ALERT_FOR:
            return ""
        return self._last[1]


def _letter(record: AckRecord, refusal: Refusal) -> DeadLetter:
    value = record.value or b""
    headers = tuple((name, content or b"") for name, content in record.headers)
    if len(value) > MAX_KEPT:
        headers = (
            ("size", str(len(value)).encode()),
            ("sha256", sha256(value).hexdigest().encode()),
        )
    return DeadLetter(
        stream=STREAM,
        position=record.offset,
        reason=refusal.reason,
        detail=refusal.detail,
        payload=value[:MAX_KEPT],
        key=None if record.key is None else record.key[:MAX_KEPT],
        headers=headers,
        us=micros(record.arrived),
    )
