"""Secrets taken out of text: what is logged, and what a command says, goes through here."""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "***"
_CALLED: Final = "password|passwd|secret|api_?key|private_?key|(?:api|access|auth)_?token"
_RULES: Final = (
    # The whole of a key in PEM, or what is left of one that was cut off.
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            re.DOTALL,
        ),
        "-----PRIVATE KEY ***-----",
    ),
    # scheme://user:password@host; a password may hold an @ that was not escaped.
    (re.compile(r"(?<=://)([^\s:/?#@'\"]*):[^\s'\"]*@(?=[^\s@'\"]*)"), rf"\1:{HIDDEN}@"),
    # password=..., 'password': '...', sasl_plain_password="..."
    (
        re.compile(
            rf"""( \b [\w-]* (?: {_CALLED} ) ['"]? \s* [=:] \s* )"""
            r"""(?: "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | [^\s,;&'"\])}]+ )""",
            re.IGNORECASE | re.VERBOSE,
        ),
        rf"\1{HIDDEN}",
    ),
)


def redact_secrets(text: str) -> str:
    """`text` without passwords of URLs, values that are called secret, and private keys.

    Examples
    --------
    >>> redact_secrets("postgresql://me:s3cret@db:5432/x cannot be opened")
    'postgresql://me:***@db:5432/x cannot be opened'
    >>> redact_secrets("redis://:p@ss@host, password=hunter2")
    'redis://:***@host, password=***'
    """
    for pattern, shown in _RULES:
        text = pattern.sub(shown, text)
    return text
