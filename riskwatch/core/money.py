"""Exact decimal arithmetic, and quantisation that makes floats comparable.

Money, quantities and prices are :class:`decimal.Decimal` from the wire to the database. Sums and
products use :data:`EXACT`, a decimal context that raises on any rounding. A holding is therefore
exact, or the worker stops; it never drifts.
"""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

EXACT: Final = decimal.Context(
    prec=400,
    rounding=decimal.ROUND_HALF_EVEN,
    Emin=-999_999,
    Emax=999_999,
    traps=[
        decimal.Inexact,
        decimal.InvalidOperation,
        decimal.DivisionByZero,
        decimal.Overflow,
        decimal.FloatOperation,
    ],
)
"""Context for exact sums and products. It is wide enough that bounded inputs never round: an input
has at most 24 integer and 18 fractional digits, so a sum of 10**300 products still fits."""

ZERO: Final = Decimal(0)
MAX_ABS: Final = Decimal(10) ** 24
"""Exclusive bound of any number on the wire."""
MAX_SCALE: Final = 18
"""Maximum number of fractional digits of any number on the wire."""
MAX_USD: Final = 1e15
"""Maximum of any dollar amount in an output. It exceeds the wealth of the world, and a float still
resolves a dollar there. A larger amount counts as this one."""
_TO_WHOLE: Final = 6_755_399_441_055_744.0  # 1.5 * 2**52: adding it to a number drops its fraction
_CLEAR: Final = 0.499_99  # the error of a product below 1e9 is less than 1e-7
_SMALL: Final = 1e9


def add(a: Decimal, b: Decimal) -> Decimal:
    """Return the exact sum of `a` and `b`.

    Raises
    ------
    decimal.Inexact
        If the sum does not fit the context; bounded input cannot cause this.

    Examples
    --------
    >>> add(Decimal("0.1"), Decimal("0.2"))
    Decimal('0.3')
    """
    return EXACT.add(a, b)


def sub(a: Decimal, b: Decimal) -> Decimal:
    """Return the exact difference ``a - b`` (see :func:`add`)."""
    return EXACT.subtract(a, b)


def mul(a: Decimal, b: Decimal) -> Decimal:
    """Return the exact product of `a` and `b` (see :func:`add`).

    Examples
    --------
    >>> mul(Decimal("0.00000001"), Decimal("27123.45"))
    Decimal('0.0002712345')
    """
    return EXACT.multiply(a, b)


def canonical(x: Decimal) -> Decimal:
    """Return `x` without trailing zeros or exponent, so that equal numbers have equal texts.

    Examples
    --------
    >>> [str(canonical(Decimal(s))) for s in ("1.500", "0E-8", "1E+3", "-0")]
    ['1.5', '0', '1000', '0']
    """
    if not x:
        return ZERO
    text = format(x, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return Decimal(text)


def saturated(x: float) -> float:
    """`x` dollars, at most :data:`MAX_USD` to either side; what is no number is the maximum.

    Examples
    --------
    >>> saturated(12.5), saturated(-1e30), saturated(float("nan")) == MAX_USD
    (12.5, -1000000000000000.0, True)
    """
    if -MAX_USD < x < MAX_USD:
        return x
    return -MAX_USD if x < 0.0 else MAX_USD


def usd(x: float) -> Decimal:
    """Return a model or valuation figure in USD, rounded to the cent, within :data:`MAX_USD`.

    A valuation multiplies an exact quantity by an estimated price, so more digits would claim too
    much precision. Quantising here also makes two builds agree.

    Examples
    --------
    >>> usd(1234.5678)
    Decimal('1234.57')
    """
    x = saturated(x)
    return Decimal(f"{x:.2f}") if abs(x) >= 0.005 else Decimal("0.00")


def quantise(x: float, digits: int = 6) -> float:
    """Return `x` rounded to `digits` decimals, with negative zero removed.

    Decisions compare quantised numbers only, so that two processors whose last bits differ still
    make the same decisions.

    Examples
    --------
    >>> quantise(0.1 + 0.2), quantise(-1e-12)
    (0.3, 0.0)
    """
    if digits == 6:
        # Rounding by whole numbers is exact except near a half, and takes a third of the time.
        scaled = x * 1e6
        whole = (scaled + _TO_WHOLE) - _TO_WHOLE
        if -_CLEAR < scaled - whole < _CLEAR and -_SMALL < scaled < _SMALL:
            return whole / 1e6 + 0.0
    return round(x, digits) + 0.0


def quantise_all(parts: Mapping[str, float]) -> dict[str, float]:
    """Return many numbers quantised as by :func:`quantise`, without a call for each."""
    out = {}
    for name, x in parts.items():
        scaled = x * 1e6
        whole = (scaled + _TO_WHOLE) - _TO_WHOLE
        clear = -_CLEAR < scaled - whole < _CLEAR and -_SMALL < scaled < _SMALL
        out[name] = (whole / 1e6 if clear else round(x, 6)) + 0.0
    return out
