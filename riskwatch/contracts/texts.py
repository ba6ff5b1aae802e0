r"""No text of an event hides anything: no control characters, none that are invisible.

Patterns of the types refuse ASCII controls in names already. What is left can only come in a
message that is not ASCII or that has escapes (``\u0000``) or DEL, so all others skip this check.
NUL matters most: PostgreSQL cannot store it in text.
"""

from __future__ import annotations

import re
from typing import Final

from riskwatch.contracts.refusal import Refusal, refuse
from riskwatch.core.reasons import RejectReason

# Listed and not asked of `str.isprintable`, whose answer changes with the Python version: C0 and
# C1 controls, zero-width and bidirectional marks, line separators, the byte order mark, tags,
# surrogates and interlinear anchors. Two names that look the same are then the same name, as far as
# characters that nobody can see are concerned.
_CONTROL: Final = "\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\ud800-\\udfff"
_UNSEEN: Final = (
    "\\t\\n\\r\\xad\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f"
    "\\ufe00-\\ufe0f\\ufeff\\ufff9-\\uffff\\U000e0000-\\U000e0fff"
)
_in_text: Final = re.compile(f"[{_CONTROL}]").search
_in_name: Final = re.compile(f"[{_CONTROL}{_UNSEEN}]").search


def plain_ascii(raw: bytes) -> bool:
    r"""Whether no string of the JSON `raw` can hold a character that needs a look.

    Examples
    --------
    >>> plain_ascii(b'{"a":"b"}'), plain_ascii(b'{"a":"\\u0000"}')
    (True, False)
    """
    # A backslash could begin an escape; DEL is the one control that JSON lets in without.
    return raw.isascii() and 0x5C not in raw and 0x7F not in raw


def hidden(name: str, value: object, *, free: bool) -> Refusal | None:
    r"""Refuse control characters in `value`, at any depth; in names the unseen ones as well.

    Parameters
    ----------
    name : str
        Field, for the message.
    value : object
        A string, or lists and mappings of strings; anything else passes.
    free : bool
        Whether it is free text, in which line breaks and tabs are fine.

    Examples
    --------
    >>> hidden("note", "two\nlines", free=True)
    >>> hidden("asset", "US\u200bDC", free=False).detail
    'asset must not hold the character U+200B'
    """
    if isinstance(value, str):
        found = (_in_text if free else _in_name)(value)
        if found is None:
            return None
        return refuse(
            RejectReason.FIELD_RANGE,
            f"{name} must not hold the character U+{ord(found.group()):04X}",
        )
    if isinstance(value, dict):
        parts: list[object] = [*value.keys(), *value.values()]
    elif isinstance(value, list):
        parts = value
    else:
        return None
    return next((r for x in parts if (r := hidden(name, x, free=free))), None)
