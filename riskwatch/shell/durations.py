"""Durations as people write them: ``90s``, ``5m``, ``1h``, ``7d``, ``1h30m``."""

from __future__ import annotations

import re
from typing import Final

_SECONDS: Final = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}
_PART: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([dhms])")
_WHOLE: Final = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)


def seconds(text: str) -> float:
    """Seconds of a duration: numbers with units, largest unit first, each at most once.

    Raises
    ------
    ValueError
        If `text` is anything else.

    Examples
    --------
    >>> [seconds(t) for t in ("90s", "5m", "1h30m", "7d", "0.5s")]
    [90.0, 300.0, 5400.0, 604800.0, 0.5]
    """
    parts = _PART.findall(text)
    order = "".join(unit for _, unit in parts)
    if not _WHOLE.fullmatch(text) or order not in _ORDERS:
        raise ValueError(f"not a duration such as '5m': {text!r}")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _orders() -> frozenset[str]:
    """All subsequences of ``dhms``: units that fall, each once."""
    found = {""}
    for unit in _SECONDS:
        found |= {before + unit for before in found}
    return frozenset(found - {""})


_ORDERS: Final = _orders()
