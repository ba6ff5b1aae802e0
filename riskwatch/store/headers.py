"""Headers of messages as JSON keeps them: pairs in their order, values in base 64."""

from __future__ import annotations

from base64 import b64decode, b64encode

Headers = tuple[tuple[str, bytes], ...]


def headers_text(headers: Headers) -> list[list[str]]:
    """Headers as a JSON column takes them.

    Examples
    --------
    >>> headers_text((("trace", b"1"),))
    [['trace', 'MQ==']]
    """
    return [[name, b64encode(value).decode()] for name, value in headers]


def headers_from(stored: list[list[str]] | None) -> Headers:
    """Inverse of :func:`headers_text`.

    Examples
    --------
    >>> headers_from([["trace", "MQ=="]])
    (('trace', b'1'),)
    """
    return tuple((name, b64decode(value)) for name, value in stored or ())
