"""Removal of secrets from text; log lines and the messages of commands pass through it."""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "***"
_SENSITIVE_NAMES: Final = "password|passwd|secret|api_?key|private_?key|(?:api|access|auth)_?token"
_RULES: Final = (
    # A key in PEM, whole or cut off.
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            re.DOTALL,
        ),
        "-----PRIVATE KEY ***-----",
    ),
    # scheme://user:password@host; a password may contain an @ that is not escaped.
    (re.compile(r"(?<=://)([^\s:/?#@'\"]*):[^\s'\"]*@(?=[^\s@'\"]*)"), rf"\1:{HIDDEN}@"),
    # password=..., 'password': '...', sasl_plain_password="..."
    (
        re.compile(
            rf"""( \b [\w-]* (?: {_SENSITIVE_NAMES} ) ['"]? \s* [=:] \s* )"""
            r"""(?: "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | [^\s,;&'"\])}]+ )""",
            re.IGNORECASE | re.VERBOSE,
        ),
        rf"\1{HIDDEN}",
    ),
)


def redact_secrets(text: str) -> str:
    """Return `text` without passwords of URLs, values with secret names, and private keys.

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
