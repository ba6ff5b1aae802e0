"""Outputs to bytes and back, and the internal facts of the journal."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from riskwatch.core.events import Tick
from riskwatch.core.outputs import AnyOutput, Output
from riskwatch.core.readings import CounterpartyReading, MarketReading, PartitionFault

# Structs to JSON with decimals written out: ``0.0000001``, never ``1E-7``.

_encoder = msgspec.json.Encoder(decimal_format="string", order="deterministic")
_in_order = msgspec.json.Encoder()


def encode_plain(value: msgspec.Struct) -> bytes:
    """JSON of `value`: fields as declared, keys of mappings sorted, decimals written out.

    Floats that are not finite become null, as JSON has no word for them.

    Examples
    --------
    >>> class Holding(msgspec.Struct):
    ...     amount: Decimal
    >>> [encode_plain(Holding(Decimal(x))) for x in ("1E-7", "1E+3", "1.50")]
    [b'{"amount":"0.0000001"}', b'{"amount":"1000"}', b'{"amount":"1.50"}']
    """
    data = _encoder.encode(value)
    # An exponent shows as E- or E+ (those of floats are small letters). A name may hold that
    # too, which costs it the slow way and changes nothing.
    if b"E-" in data or b"E+" in data:
        tree = msgspec.to_builtins(value, builtin_types=(Decimal, datetime), order="deterministic")
        # The tree has its order; sorting once more would lose that of the fields.
        return _in_order.encode(_written_out(tree))
    return data


def _written_out(value: Any) -> Any:
    """`value` with each decimal as its text without exponent."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dict):
        return {key: _written_out(x) for key, x in value.items()}
    if isinstance(value, (list, tuple)):
        return [_written_out(x) for x in value]
    return value


Internal = Tick | CounterpartyReading | MarketReading | PartitionFault
"""What a journal holds beside wire events; readings also travel between workers."""

_line_encoder = msgspec.json.Encoder()
_output_decoder: Final[msgspec.json.Decoder[AnyOutput]] = msgspec.json.Decoder(AnyOutput)
_internal_encoder = msgspec.msgpack.Encoder(decimal_format="string", order="deterministic")
_internal_decoder: Final[msgspec.msgpack.Decoder[Internal]] = msgspec.msgpack.Decoder(Internal)


class _Tagged(msgspec.Struct):
    type: str


_tag_decoder: Final = msgspec.json.Decoder(_Tagged)


class _NdjsonLine(msgspec.Struct):
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
    return _line_encoder.encode(_NdjsonLine(topic, key, msgspec.Raw(value))) + b"\n"


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
