"""A record of an output topic: its envelope, and how it is decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import msgspec

from riskwatch.client.errors import UnreadableError
from riskwatch.contracts.outputs import decode_output
from riskwatch.contracts.topics import DEPLOYMENT, EPOCH, SEQ, WORKER
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    AnyOutput,
    AuthorityChanged,
    CommandApplied,
    CommandRefused,
    DataQualityRaised,
    DataQualityResolved,
    DecisionMade,
    KillSwitchChanged,
    Output,
    StageFaulted,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

AlertOutput = (
    DecisionMade
    | AlertRaised
    | AlertResolved
    | DataQualityRaised
    | DataQualityResolved
    | StageFaulted
    | AuthorityChanged
    | CommandApplied
    | CommandRefused
)
"""Outputs that are published on ``riskwatch.alerts``."""
OutputT_co = TypeVar("OutputT_co", bound=Output, covariant=True)

_DIGITS = 19
"""Most digits of an epoch or a sequence number: those of a 64-bit integer."""


class Message(msgspec.Struct, Generic[OutputT_co], frozen=True):
    """An output with its envelope.

    Attributes
    ----------
    topic : str
        Plain name, without the deployment's prefix.
    key : str
        Key of the record.
    worker : str
        Worker that wrote the record.
    epoch : int
        Epoch of the writer; a later epoch invalidates an earlier one.
    seq : int
        Sequence number of the record; it only grows within one topic and worker.
    output : Output
        The decoded output.
    deployment : str
        Deployment that wrote it; empty in records of builds that knew no deployments.
    """

    topic: str
    key: str
    worker: str
    epoch: int
    seq: int
    output: OutputT_co
    deployment: str = ""


class CaughtUp(msgspec.Struct, frozen=True):
    """Marks the point where every record that the topic held at opening has been read.

    Attributes
    ----------
    messages : int
        Number of messages that the stream returned before the mark.
    """

    messages: int


class KafkaRecord(Protocol):
    """The part of a kafka-python record that this package uses."""

    @property
    def partition(self) -> int:
        """Partition."""
        ...

    @property
    def offset(self) -> int:
        """Offset in the partition."""
        ...

    @property
    def key(self) -> bytes | None:
        """Key."""
        ...

    @property
    def value(self) -> bytes | None:
        """Value; ``None`` in a tombstone."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Headers in the order of the record."""
        ...


def read(topic: str, record: KafkaRecord) -> Message[AnyOutput]:
    """Decode a record of `topic`.

    Raises
    ------
    UnreadableError
        If the record lacks a header, holds no output of this contract, or belongs to another topic
        or key.
    """
    try:
        return _read(topic, record)
    except (ValueError, RecursionError) as error:
        key = None if record.key is None else record.key.decode(errors="replace")
        raise UnreadableError(topic, record.partition, record.offset, key, str(error)) from error


def _read(topic: str, record: KafkaRecord) -> Message[AnyOutput]:
    worker = _header(record, WORKER).decode()
    if not worker:
        raise ValueError(f"header {WORKER} is empty")
    epoch, seq = _number(record, EPOCH), _number(record, SEQ)
    if record.value is None:
        raise ValueError("it has no value")
    output = decode_output(record.value)
    if output.topic != topic:
        raise ValueError(f"{type(output).__name__} does not travel on {topic}")
    if record.key is None or record.key.decode() != output.key():
        raise ValueError(f"its key must be {output.key()!r}, was {record.key!r}")
    times = (
        (output.ts, output.valid_until) if isinstance(output, KillSwitchChanged) else (output.ts,)
    )
    if any(time.tzinfo is None for time in times):
        raise ValueError("a time has no time zone")
    named = next((value for header, value in record.headers if header == DEPLOYMENT), None)
    return Message(topic, output.key(), worker, epoch, seq, output, (named or b"").decode())


def _header(record: KafkaRecord, name: str) -> bytes:
    for header, value in record.headers:
        if header == name and value is not None:
            return value
    raise ValueError(f"header {name} is missing")


def _number(record: KafkaRecord, name: str) -> int:
    given = _header(record, name)
    # `int` alone would accept "+1", " 1" and "1_0".
    if not given.isdigit() or len(given) > _DIGITS:
        raise ValueError(f"header {name} must be a number in ASCII digits, was {given[:32]!r}")
    return int(given)
