"""Outputs to bytes and back, and the internal facts of the journal."""

from __future__ import annotations

from typing import Final

import msgspec

from riskwatch.contracts.plain import encode_plain
from riskwatch.core.events import Tick
from riskwatch.core.outputs import AnyOutput, Output
from riskwatch.core.readings import CounterpartyReading, MarketReading, PartitionFault

Internal = Tick | CounterpartyReading | MarketReading | PartitionFault
"""What a journal holds beside wire events; readings also travel between workers."""

_line_encoder = msgspec.json.Encoder()
_output_decoder: Final[msgspec.json.Decoder[AnyOutput]] = msgspec.json.Decoder(AnyOutput)
_internal_encoder = msgspec.msgpack.Encoder(decimal_format="string", order="deterministic")
_internal_decoder: Final[msgspec.msgpack.Decoder[Internal]] = msgspec.msgpack.Decoder(Internal)


class _Tagged(msgspec.Struct):
    type: str


_tag_decoder: Final = msgspec.json.Decoder(_Tagged)


class _Line(msgspec.Struct):
    topic: str | None
    key: str
    value: msgspec.Raw


def encode_output(output: Output) -> bytes:
    """Wire bytes of an output: fields as declared, mappings sorted, plain decimals, times in Z.

    Equal outputs are equal bytes.
    """
    return encode_plain(output)


def output_line(output: Output) -> bytes:
    """One line of NDJSON, ``{"topic", "key", "value"}``, with its newline.

    `topic` is null for outputs that are for SQL alone.
    """
    return record_line(output.topic, output.key(), encode_output(output))


def record_line(topic: str | None, key: str, value: bytes) -> bytes:
    """One line of NDJSON of a record whose `value` is encoded already; see :func:`output_line`."""
    return _line_encoder.encode(_Line(topic, key, msgspec.Raw(value))) + b"\n"


def decode_output(topic_value: bytes) -> AnyOutput:
    """Inverse of :func:`encode_output`, for consumers of the output topics.

    Raises
    ------
    ValueError
        If the bytes are not an output of this contract (:class:`msgspec.DecodeError` or
        :class:`UnicodeDecodeError`).
    """
    return _output_decoder.decode(topic_value)


def tag_of_value(value: bytes) -> str:
    """Kind of an output, from its wire bytes.

    Raises
    ------
    ValueError
        If the bytes are not an output of any contract.

    Examples
    --------
    >>> tag_of_value(b'{"type":"AlertRaised","id":"7"}')
    'AlertRaised'
    """
    return _tag_decoder.decode(value).type


def encode_internal(fact: Internal) -> bytes:
    """Journal bytes of a tick or reading, MessagePack.

    Not JSON, because the round trip must be exact: JSON has no infinities and no NaN, and a
    replay must see the very floats that the live stage saw. Decimals keep their exponent.

    Examples
    --------
    >>> decode_internal(encode_internal(Tick(1_678_504_380_000_000)))
    Tick(us=1678504380000000)
    """
    return _internal_encoder.encode(fact)


def decode_internal(payload: bytes) -> Internal:
    """Inverse of :func:`encode_internal`.

    Raises
    ------
    ValueError
        If the bytes are not a tick or reading (:class:`msgspec.DecodeError` or
        :class:`UnicodeDecodeError`).
    """
    return _internal_decoder.decode(payload)
