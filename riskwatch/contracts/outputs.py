"""Encoding and decoding of outputs, and of the internal facts of the journal."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from riskwatch.core.events import Tick
from riskwatch.core.outputs import AnyOutput, Output
from riskwatch.core.readings import CounterpartyReading, MarketReading, PartitionFault

# JSON with plain decimals: ``0.0000001``, never ``1E-7``.

_encoder = msgspec.json.Encoder(decimal_format="string", order="deterministic")
_ordered_encoder = msgspec.json.Encoder()


def encode_plain(value: msgspec.Struct) -> bytes:
    """Return the JSON of `value`: fields as declared, keys of mappings sorted, plain decimals.

    Floats that are not finite become null, because JSON cannot represent them.

    Examples
    --------
    >>> class Holding(msgspec.Struct):
    ...     amount: Decimal
    >>> [encode_plain(Holding(Decimal(x))) for x in ("1E-7", "1E+3", "1.50")]
    [b'{"amount":"0.0000001"}', b'{"amount":"1000"}', b'{"amount":"1.50"}']
    """
    data = _encoder.encode(value)
    # Only a decimal with an exponent is written with E- or E+ (floats use lower case). A name may
    # contain this as well; it then takes the slow path, with the same result.
    if b"E-" in data or b"E+" in data:
        tree = msgspec.to_builtins(value, builtin_types=(Decimal, datetime), order="deterministic")
        # The tree is sorted already; sorting it again would lose the order of fields.
        return _ordered_encoder.encode(_expand_decimals(tree))
    return data


def _expand_decimals(value: Any) -> Any:
    """Return `value` with each decimal as text without an exponent."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dict):
        return {key: _expand_decimals(x) for key, x in value.items()}
    if isinstance(value, (list, tuple)):
        return [_expand_decimals(x) for x in value]
    return value


Internal = Tick | CounterpartyReading | MarketReading | PartitionFault
"""Facts of the journal besides wire events; readings are also sent between workers."""

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
    """Return wire bytes: fields as declared, mappings sorted, plain decimals, times in UTC.

    Equal outputs have equal bytes.
    """
    return encode_plain(output)


def output_line(output: Output) -> bytes:
    """Return one line of NDJSON, ``{"topic", "key", "value"}``, with its newline.

    `topic` is null for outputs that are stored in SQL only.
    """
    return record_line(output.topic, output.key(), encode_output(output))


def record_line(topic: str | None, key: str, value: bytes) -> bytes:
    """Return one line of NDJSON of a record with an encoded `value`; see :func:`output_line`."""
    return _line_encoder.encode(_NdjsonLine(topic, key, msgspec.Raw(value))) + b"\n"


def decode_output(topic_value: bytes) -> AnyOutput:
    """Decode an output, for consumers of the output topics; inverse of :func:`encode_output`.

    Raises
    ------
    ValueError
        If the bytes are not an output of this contract (:class:`msgspec.DecodeError` or
        :class:`UnicodeDecodeError`).
    """
    return _output_decoder.decode(topic_value)


def tag_of_value(value: bytes) -> str:
    """Return the kind of an output from its wire bytes.

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
    """Return the journal bytes of a tick or reading, as MessagePack.

    It is not JSON, because the round trip must be exact: JSON has no infinities and no NaN, and a
    replay must use exactly the floats of the live stage. Decimals keep their exponent.

    Examples
    --------
    >>> decode_internal(encode_internal(Tick(1_678_504_380_000_000)))
    Tick(us=1678504380000000)
    """
    return _internal_encoder.encode(fact)


def decode_internal(payload: bytes) -> Internal:
    """Decode a tick or reading; the inverse of :func:`encode_internal`.

    Raises
    ------
    ValueError
        If the bytes are not a tick or reading (:class:`msgspec.DecodeError` or
        :class:`UnicodeDecodeError`).
    """
    return _internal_decoder.decode(payload)
