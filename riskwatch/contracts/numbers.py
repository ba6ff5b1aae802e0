"""Which texts are numbers of the contract: plain decimals, finite and bounded."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from riskwatch.contracts.refusal import Refusal, refuse, shown
from riskwatch.core.money import MAX_SCALE
from riskwatch.core.reasons import RejectReason

_DIGITS: Final = 24
"""Integer digits below :data:`riskwatch.core.money.MAX_ABS`."""
_LONGEST: Final = 64

PLAIN: Final = re.compile(rf"-?[0-9]{{1,{_DIGITS}}}(?:\.[0-9]{{1,{MAX_SCALE}}})?\Z").match
"""Accepts the texts that need no further look: written out, and bounded by their length."""

_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?0*(?P<exponent>[0-9]+))?\Z")
_NOT_FINITE: Final = re.compile(r"[+-]?(?:s?nan[0-9]*|inf|infinity)\Z", re.IGNORECASE)


def number(name: str, value: object) -> Refusal | None:
    """Whether the JSON value of the field `name` is a number of the contract.

    An exponent within bounds is accepted, since languages print small decimals that way. The
    text is judged before any decimal is made of it, so ``1E+999999`` costs nothing.

    Parameters
    ----------
    name : str
        Field, for the message.
    value : object
        Its JSON value; ``None`` is left to the type's own rule on what may be absent.

    Examples
    --------
    >>> number("qty", "0.5"), number("qty", "5E-8")
    (None, None)
    >>> [number("qty", x).reason.name for x in (0.5, "NaN", "1E-19", "1_000")]
    ['FIELD_TYPE', 'NUMBER_NOT_FINITE', 'NUMBER_TOO_LARGE', 'FIELD_TYPE']
    """
    if value is None or (type(value) is str and PLAIN(value)):
        return None
    if not isinstance(value, str):
        return refuse(
            RejectReason.FIELD_TYPE,
            f"{name} must be a string that holds a decimal, was {shown(value)}",
        )
    if _NOT_FINITE.match(value):
        return refuse(RejectReason.NUMBER_NOT_FINITE, f"{name} must be finite, was {shown(value)}")
    found = _NUMBER.match(value)
    if found is None:
        return refuse(
            RejectReason.FIELD_TYPE, f"{name} must be a plain decimal, was {shown(value)}"
        )
    if _bounded(value, found["exponent"] or "0"):
        return None
    return refuse(
        RejectReason.NUMBER_TOO_LARGE,
        f"{name} must have at most {_DIGITS} integer and {MAX_SCALE} fractional digits, "
        f"was {shown(value)}",
    )


def _bounded(text: str, exponent_digits: str) -> bool:
    """Whether a number keeps to the bounds; by its parts, never by arithmetic."""
    if len(text) > _LONGEST or len(exponent_digits) > len(str(_DIGITS)):
        return False
    x = Decimal(text)
    exponent = x.as_tuple().exponent
    assert isinstance(exponent, int), "only finite numbers get here"
    return -MAX_SCALE <= exponent < _DIGITS and (not x or x.adjusted() < _DIGITS)
