"""Reading of one JSON object from bytes, with bounded depth and without duplicate keys."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec

from riskwatch.contracts.refusal import DEPTH_LIMIT, TOO_DEEP, Refusal, excerpt, refuse
from riskwatch.core.enums import RejectReason

_plain = msgspec.json.Decoder()
_SPACED: Final = re.compile(rb'"[ \t\r\n]+:')


def read_object(raw: bytes) -> dict[str, Any] | Refusal:
    r"""Return the JSON object in `raw` as plain values, or a refusal.

    Raises
    ------
    ValueError, RecursionError
        If `raw` is not JSON; :func:`riskwatch.contracts.codec.decode` turns both into a refusal.

    Examples
    --------
    >>> read_object(b'{"a": 1, "b": [2]}')
    {'a': 1, 'b': [2]}
    >>> read_object(b'{"a": 1, "\\u0061": 2}').detail
    "key 'a' is there twice"
    """
    plain = _plain.decode(raw)
    if not isinstance(plain, dict):
        return refuse(RejectReason.JSON_MALFORMED, f"expected an object, was {excerpt(plain)}")
    # Most messages have no bracket after the first, so their depth need not be checked.
    if (0x5B in raw or raw.find(0x7B, raw.index(0x7B) + 1) > 0) and is_deeper_than(
        plain, DEPTH_LIMIT
    ):
        return TOO_DEEP
    if count_separators(raw) != len(plain):
        duplicate = find_duplicate_key(raw)
        if duplicate is not None:
            return refuse(RejectReason.KEY_DUPLICATED, f"key {excerpt(duplicate)} is there twice")
    return plain


def count_separators(raw: bytes) -> int:
    r"""Return the number of key separators, an upper bound of the number of keys at all depths.

    If it equals the number of distinct top-level keys, no key is repeated. Proof: `raw` must be
    valid JSON, in which every key ends in a quote that only white space separates from a colon.
    Each such quote is counted once: either ``":`` or ``"``, spaces, ``:`` starts at it, never both;
    and since no match contains a second quote, matches do not overlap. Quotes inside strings may be
    counted as well (``"\":"``), so ``separators >= keys >= distinct top-level keys``. If both ends
    are equal, all three are: each key is at the top level and distinct. Inequality proves nothing;
    :func:`find_duplicate_key` then decides.

    Examples
    --------
    >>> count_separators(b'{"a":1,"b" : {"c": ":"}}')
    4
    """
    total = raw.count(b'":')
    # Most messages are compact, without white space; a test for a byte value is fastest.
    if 0x20 in raw or 0x0A in raw or 0x09 in raw or 0x0D in raw:
        total += len(_SPACED.findall(raw))
    return total


def find_duplicate_key(raw: bytes) -> str | None:
    """Return the first key that an object in `raw` has twice, else ``None``; exact, but slow.

    Examples
    --------
    >>> find_duplicate_key(b'{"a": [{"b": 1, "b": 1}]}')
    'b'
    """
    found: list[str] = []

    def record_duplicates(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                found.append(key)
                return
            seen.add(key)

    json.loads(raw, object_pairs_hook=record_duplicates)
    return found[0] if found else None


def is_deeper_than(value: object, limit: int) -> bool:
    """Whether arrays and objects are nested in more than `limit` levels.

    Examples
    --------
    >>> is_deeper_than([[1]], 2), is_deeper_than([[[]]], 2)
    (False, True)
    """
    values = [value]
    for _ in range(limit + 1):
        if not any(isinstance(x, (dict, list)) for x in values):
            return False
        values = inner_values(values)
    return True


def inner_values(values: list[Any]) -> list[Any]:
    """Return the elements of the arrays and objects among `values`: all values one level deeper.

    Examples
    --------
    >>> inner_values([1, [2, [3]], {"a": 4}])
    [2, [3], 4]
    """
    return [
        y
        for x in values
        if isinstance(x, (dict, list))
        for y in (x.values() if isinstance(x, dict) else x)
    ]
