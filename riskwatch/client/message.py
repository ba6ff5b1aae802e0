"""One record of an output topic: its envelope, and how it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import msgspec

from riskwatch.client.errors import UnreadableError
from riskwatch.contracts.outputs import decode_output
from riskwatch.contracts.topics import EPOCH, SEQ, WORKER
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
"""What travels on ``riskwatch.alerts``."""
OutputT_co = TypeVar("OutputT_co", bound=Output, covariant=True)

_DIGITS = 19
"""Most digits of an epoch or a number: what fits 64 bits."""


class Message(msgspec.Struct, Generic[OutputT_co], frozen=True):
    """An output with its envelope.

    Attributes
    ----------
    topic : str
        Plain name, without the deployment's prefix.
    key : str
        Key of the record.
    worker : str
        Who wrote it.
    epoch : int
        Term of the writer; a later one voids an earlier one.
    seq : int
        Number of the record; per topic and worker it only grows.
    output : Output
        What it says.
    """

    topic: str
    key: str
    worker: str
    epoch: int
    seq: int
    output: OutputT_co


class CaughtUp(msgspec.Struct, frozen=True):
    """Marks that everything that was on the topic when it was opened has been read.

    Attributes
    ----------
    messages : int
        How many were given out until then.
    """

    messages: int


class KafkaRecord(Protocol):
    """What is used of a record of kafka-python."""

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
        """Value; none in a tombstone."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Headers in their order."""
        ...


def read(topic: str, record: KafkaRecord) -> Message[AnyOutput]:
    """Read a record of `topic`.

    Raises
    ------
    UnreadableError
        If it lacks a header, is no output of this contract, or belongs elsewhere.
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
    return Message(topic, output.key(), worker, epoch, seq, output)


def _header(record: KafkaRecord, name: str) -> bytes:
    for header, value in record.headers:
        if header == name and value is not None:
            return value
    raise ValueError(f"header {name} is missing")


def _number(record: KafkaRecord, name: str) -> int:
    given = _header(record, name)
    # `int` alone would take "+1", " 1" and "1_0".
    if not given.isdigit() or len(given) > _DIGITS:
        raise ValueError(f"header {name} must be a number in ASCII digits, was {given[:32]!r}")
    return int(given)
