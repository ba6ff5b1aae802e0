"""Refusals of messages, and the mapping of msgspec's errors to codes of the contract."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from riskwatch.core.enums import RejectReason

_DETAIL_LIMIT: Final = 300
_SHOWN_LIMIT: Final = 60


class Refusal(msgspec.Struct, frozen=True):
    """A message that is not an event of the contract.

    Attributes
    ----------
    reason : RejectReason
        The broken rule.
    detail : str
        The field, the expected and the actual value; printable, at most 300 characters.
    """

    reason: RejectReason
    detail: str


def refuse(reason: RejectReason, detail: str) -> Refusal:
    r"""Return a :class:`Refusal` whose detail is safe to log and to store, for any message.

    Examples
    --------
    >>> refuse(RejectReason.FIELD_RANGE, "note has a control character\x00").detail
    'note has a control character?'
    """
    cut = detail if len(detail) <= _DETAIL_LIMIT else detail[: _DETAIL_LIMIT - 1] + "…"
    return Refusal(reason, "".join(c if c.isprintable() else "?" for c in cut))


def excerpt(value: object) -> str:
    """Return a sender's value as text, cut to a length that fits into a message.

    Examples
    --------
    >>> excerpt("x" * 100)[-10:]
    'xxxxxxxxx…'
    """
    text = repr(value[: _SHOWN_LIMIT + 1]) if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN_LIMIT else text[: _SHOWN_LIMIT - 1] + "…"


# msgspec distinguishes its errors by message only. Its version is pinned in pyproject, and a test
# triggers every line of this table, so a changed message is detected. The first match counts.
_MESSAGES: Final = (
    (re.compile(r"Object missing required field"), RejectReason.FIELD_MISSING),
    (re.compile(r"Object contains unknown field"), RejectReason.FIELD_UNKNOWN),
    (re.compile(r"Expected `\w+` (?:matching regex|of length|[<>]=)"), RejectReason.FIELD_RANGE),
)
_PATH: Final = re.compile(r"(?P<what>.*) - at `\$\.?(?P<path>.*?)`\Z", re.DOTALL)


def shape_refusal(error: ValueError) -> Refusal:
    """Return the refusal for an error of msgspec while decoding JSON to an event type.

    Examples
    --------
    >>> shape_refusal(msgspec.ValidationError("Expected `str`, got `int` - at `$.base`")).detail
    'base: Expected `str`, got `int`'
    """
    text = str(error)
    reason = next(
        (code for pattern, code in _MESSAGES if pattern.match(text)), RejectReason.FIELD_TYPE
    )
    place = _PATH.fullmatch(text)
    return refuse(reason, f"{place['path']}: {place['what']}" if place else text)


def json_refusal(error: ValueError | RecursionError, raw: bytes) -> Refusal:
    r"""Return the refusal for bytes that are not one JSON object.

    Examples
    --------
    >>> json_refusal(msgspec.DecodeError("JSON is malformed"), b"\xff").reason.name
    'UTF8_INVALID'
    """
    if isinstance(error, RecursionError):
        return TOO_DEEP
    if not raw or raw.isspace():
        return refuse(RejectReason.MESSAGE_EMPTY, f"size={len(raw)} bytes, none of them JSON")
    # A decoder that skips invalid bytes loses bytes exactly if some are not UTF-8.
    if len(raw.decode("utf-8", "ignore").encode()) != len(raw):
        return refuse(RejectReason.UTF8_INVALID, "the bytes are not UTF-8")
    return refuse(RejectReason.JSON_MALFORMED, str(error))


DEPTH_LIMIT: Final = 64
"""Maximum number of levels of arrays and objects in one message."""
TOO_DEEP: Final = refuse(
    RejectReason.JSON_MALFORMED, f"arrays and objects nest deeper than {DEPTH_LIMIT} levels"
)
