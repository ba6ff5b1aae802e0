"""Text from outside: names that look like other names, and characters that cannot be seen."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

_NAME: Final = re.compile(r"[^\s/:\x00-\x1f\x7f]{1,64}")
"""Name of a book, counterparty, asset or operator, as events spell it."""
_BLANK: Final = re.compile(
    "[\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u2800\\u3164\\ufe00-\\ufe0f\\uffa0"
    "\\U000e0100-\\U000e01ef]"
)
"""Blank characters that Unicode counts as letters or marks."""
# Combinations of scripts that people write within one word (UTS 39, "highly restrictive").
_TOGETHER: Final = (
    {"LATIN", "CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"},
    {"LATIN", "CJK", "BOPOMOFO"},
    {"LATIN", "CJK", "HANGUL"},
)
_LIKE_LATIN: Final = frozenset(
    "\u0410\u0412\u0415\u0405\u0406\u0408\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423"
    "\u0425\u04ae\u051a\u051c\u0430\u0441\u0435\u043e\u0440\u0445\u0443\u0455\u0456\u0458"
    "\u04bb\u0501\u051b\u051d\u04cf"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7"
    "\u03bf\u03b9\u03bd"
)
"""Cyrillic and Greek letters that look like letters of the Latin script."""
_KNOWN_NAMES: Final = 16_384


@lru_cache(maxsize=_KNOWN_NAMES)
def name_fault(name: str) -> str:
    r"""Return what is wrong with a name; empty if it is a name as riskwatch spells it.

    A name has 1 to 64 visible characters without spaces, ``/`` and ``:``. It is written in one
    script, and never in letters that only look like Latin ones, so that two names that look the
    same are the same.

    Examples
    --------
    >>> name_fault("USDC"), name_fault("a/b")
    ('', "must be 1 to 64 characters without spaces, '/' and ':'")
    >>> name_fault("USD\u0421")
    'must be written in one script, has CYRILLIC and LATIN letters'
    """
    if _NAME.fullmatch(name) is None:
        return "must be 1 to 64 characters without spaces, '/' and ':'"
    return "" if name.isascii() else _script_fault(name)


def _script_fault(name: str) -> str:
    bad = hidden_character(name)
    if bad is not None:
        return f"must not hold the character {bad}"
    if unicodedata.normalize("NFKC", name) != name:
        return f"must be spelled {visible(unicodedata.normalize('NFKC', name))!r}"
    letters = [c for c in name if c.isalpha()]
    scripts = {unicodedata.name(c, "UNNAMED").split()[0] for c in letters}
    if len(scripts) > 1 and not any(scripts <= those for those in _TOGETHER):
        return f"must be written in one script, has {' and '.join(sorted(scripts))} letters"
    if letters and all(c in _LIKE_LATIN for c in letters):
        return "must be written in Latin letters, has letters that only look like them"
    return ""


def is_hidden(character: str) -> bool:
    r"""Return whether a character cannot be seen, or changes how others are shown.

    Line breaks and tabs count; the space does not.

    Examples
    --------
    >>> [is_hidden(c) for c in ("a", " ", "\n", "\u202e")]
    [False, False, True, True]
    """
    return not character.isprintable() or _BLANK.match(character) is not None


def hidden_character(text: str) -> str | None:
    r"""Return the first hidden character of a text as ``U+202E``; ``None`` if there is none.

    Examples
    --------
    >>> hidden_character("fine"), hidden_character("a\u202eb")
    (None, 'U+202E')
    """
    if text.isprintable() and (text.isascii() or _BLANK.search(text) is None):
        return None
    return f"U+{ord(next(c for c in text if is_hidden(c))):04X}"


def visible(text: str) -> str:
    r"""Return a text of one line in which every hidden character is written as ``<U+202E>``.

    Examples
    --------
    >>> visible("two\nlines\u202e")
    'two<U+000A>lines<U+202E>'
    """
    if hidden_character(text) is None:
        return text
    return "".join(f"<U+{ord(c):04X}>" if is_hidden(c) else c for c in text)


def visible_lines(text: str) -> str:
    r"""Return a text whose line breaks stay, and whose other hidden characters are written out.

    Examples
    --------
    >>> visible_lines("two\nlines\u202e")
    'two\nlines<U+202E>'
    """
    return "\n".join(visible(line) for line in text.split("\n"))
