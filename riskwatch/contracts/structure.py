"""Bytes to one JSON object, nested within bounds, that names no key twice."""

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
    r"""Read the JSON object that `raw` holds, as plain values.

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
    # Most messages have no bracket after the first, and are not looked through for depth.
    if (0x5B in raw or raw.find(0x7B, raw.index(0x7B) + 1) > 0) and is_deeper_than(
        plain, DEPTH_LIMIT
    ):
        return TOO_DEEP
    if count_separators(raw) != len(plain):
        twice = find_duplicate_key(raw)
        if twice is not None:
            return refuse(RejectReason.KEY_DUPLICATED, f"key {excerpt(twice)} is there twice")
    return plain


def count_separators(raw: bytes) -> int:
    r"""Count the separators of keys: an upper bound of the number of keys at every depth.

    Why equality with the number of distinct top-level keys proves that no key is repeated: in
    valid JSON (which `raw` must be) every key ends in a quote that only white space parts from
    a colon. Each such quote is counted, once: either ``":`` or ``"``, spaces, ``:`` starts at
    it, never both, and as no match holds a second quote, matches do not hide one another.
    Quotes inside of strings may be counted as well (``"\":"``), so ``separators >= keys >=
    distinct top-level keys``. If both ends are equal then all three are: each key is at the top
    and distinct. Inequality proves nothing, and is settled by :func:`duplicated_key`.

    Examples
    --------
    >>> count_separators(b'{"a":1,"b" : {"c": ":"}}')
    4
    """
    total = raw.count(b'":')
    # Most messages are compact, without any white space; asking for a byte's number is quickest.
    if 0x20 in raw or 0x0A in raw or 0x09 in raw or 0x0D in raw:
        total += len(_SPACED.findall(raw))
    return total


def find_duplicate_key(raw: bytes) -> str | None:
    """Find the first key that some object of `raw` names twice, else ``None``. Exact, but slow.

    Examples
    --------
    >>> find_duplicate_key(b'{"a": [{"b": 1, "b": 1}]}')
    'b'
    """
    found: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                found.append(key)
                return
            seen.add(key)

    json.loads(raw, object_pairs_hook=note)
    return found[0] if found else None


def is_deeper_than(value: object, limit: int) -> bool:
    """Whether arrays and objects nest in more than `limit` levels.

    Examples
    --------
    >>> is_deeper_than([[1]], 2), is_deeper_than([[[]]], 2)
    (False, True)
    """
    level = [value]
    for _ in range(limit + 1):
        if not any(isinstance(x, (dict, list)) for x in level):
            return False
        level = inner_values(level)
    return True


def inner_values(level: list[Any]) -> list[Any]:
    """List what the arrays and objects among `level` hold: all values one level further in.

    Examples
    --------
    >>> inner_values([1, [2, [3]], {"a": 4}])
    [2, [3], 4]
    """
    return [
        y
        for x in level
        if isinstance(x, (dict, list))
        for y in (x.values() if isinstance(x, dict) else x)
    ]
