"""Refusals of messages, and the mapping of msgspec's errors to codes of the contract."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.enums import RejectReason

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

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


_EPOCH_UNITS: Final = (("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6))
_FIRST_S: Final = 10**8
_LAST_S: Final = 10**10
"""Seconds since 1970 of 1973 and of 2286: what lies between them looks like an epoch."""
_NO_ZONE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9.]{2,12})?\Z")
_DIGITS_ONLY: Final = re.compile(r"[0-9]{9,19}\Z")


def time_refusal(name: str, value: object) -> Refusal:
    """Return the refusal of a value that is no time of the contract, with what was expected.

    Examples
    --------
    >>> time_refusal("ts", 1714989900000).detail
    "ts must be an RFC 3339 time with a zone, such as '2024-05-06T10:05:00Z', was 1714989900000: \
it looks like an epoch in milliseconds"
    >>> time_refusal("ts", "2024-05-06T10:05:00").detail
    "ts must be an RFC 3339 time with a zone, such as '2024-05-06T10:05:00Z', \
was '2024-05-06T10:05:00': it has no zone"
    """
    return refuse(
        RejectReason.FIELD_TYPE,
        f"{name} must be an RFC 3339 time with a zone, such as '2024-05-06T10:05:00Z', "
        f"was {excerpt(value)}{_time_hint(value)}",
    )


def _time_hint(value: object) -> str:
    """Return what a value looks like that is no time of the contract, with a colon before it."""
    if isinstance(value, str) and not _DIGITS_ONLY.match(value):
        return ": it has no zone" if _NO_ZONE.match(value) else ""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return ""
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits is no time in any unit
        return ""
    units = [name for name, one in _EPOCH_UNITS if _FIRST_S <= number / one < _LAST_S]
    return f": it looks like an epoch in {units[0]}" if units else ""


def shape_refusal(
    error: ValueError, plain: Mapping[str, object] | None = None, times: Container[str] = ()
) -> Refusal:
    """Return the refusal for an error of msgspec while decoding JSON to an event type.

    Parameters
    ----------
    error : ValueError
        The error.
    plain : mapping, optional
        The values by field, to show the one that is no time.
    times : container of str
        The time fields of the type.

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
    if place and plain is not None and place["path"] in times:
        return time_refusal(place["path"], plain.get(place["path"]))
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
