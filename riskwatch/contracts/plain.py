"""Structs to JSON with decimals written out: ``0.0000001``, never ``1E-7``."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

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
