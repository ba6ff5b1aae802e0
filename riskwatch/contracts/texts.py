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

# C0 and C1 controls but for line breaks and tabs, and surrogates.
_in_text: Final = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\ud800-\\udfff]").search
# Blank, though Unicode counts them as letters or marks: joiners, fillers, variation selectors.
# With `str.isprintable`, which knows zero-width and bidirectional marks, two names that look the
# same are the same, as far as characters that nobody can see are concerned.
_blank: Final = re.compile(
    "[\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u2800\\u3164\\ufe00-\\ufe0f\\uffa0"
    "\\U000e0100-\\U000e01ef]"
).search


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
        if free:
            found = _in_text(value)
            bad = found and found.group()
        elif value.isprintable():
            found = _blank(value)
            bad = found and found.group()
        else:
            bad = next(c for c in value if not c.isprintable())
        if not bad:
            return None
        return refuse(
            RejectReason.FIELD_RANGE, f"{name} must not hold the character U+{ord(bad):04X}"
        )
    if isinstance(value, dict):
        parts: list[object] = [*value.keys(), *value.values()]
    elif isinstance(value, list):
        parts = value
    else:
        return None
    return next((r for x in parts if (r := hidden(name, x, free=free))), None)
