"""Times that people give to commands."""

from __future__ import annotations

from datetime import datetime

from riskwatch.core.clock import micros
from riskwatch.errors import RiskwatchError


def moment_of(option: str, text: str) -> int:
    """Return the microseconds of a time with its zone.

    Raises
    ------
    RiskwatchError
        If it is not one.

    Examples
    --------
    >>> moment_of("--until", "1970-01-01T00:00:01Z")
    1000000
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise RiskwatchError(
            f"{option} must be a time with its zone, as 2023-03-11T03:13:00Z, was {text!r}"
        )
    return micros(moment)
