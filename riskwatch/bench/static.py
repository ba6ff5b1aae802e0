"""Static rules on the size of a coin's deviation, with a dwell, to compare the ensemble with.

Their input is the deviation that the market stage computes, which is robust against bad prints and
stale books. They are therefore harder to beat than the same rule on one raw feed. They end an alarm
after an hour below their level, as the ensemble's own rule does, so that flapping does not count
against them.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

from riskwatch.bench.timeline import StateChange
from riskwatch.core.clock import HOUR, MINUTE
from riskwatch.core.enums import Cause, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RELEASE: Final = HOUR
"""Microseconds below the level after which a static rule ends its alarm."""


class DeviationReading(NamedTuple):
    """One coin at one moment: its deviation from the peg in bp, and whether it is trusted."""

    us: int
    deviation_bp: float
    trusted: bool


class StaticRule(NamedTuple):
    """A static rule: level in bp, dwell in microseconds."""

    level_bp: float
    dwell: int

    @property
    def name(self) -> str:
        """Name in tables.

        Examples
        --------
        >>> PLAIN.name
        '20 bp for 5 min'
        """
        return f"{self.level_bp:g} bp for {self.dwell // MINUTE} min"


PLAIN: Final = StaticRule(20.0, 5 * MINUTE)
"""The most common rule in use."""
LEVELS: Final = (10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0)
DWELLS: Final = tuple(minutes * MINUTE for minutes in (0, 5, 15, 30, 60))
GRID: Final = tuple(StaticRule(level, dwell) for level in LEVELS for dwell in DWELLS)
"""Every level with every dwell."""


def alarms(
    rule: StaticRule, seen: Mapping[str, Sequence[DeviationReading]], state: State
) -> list[StateChange]:
    """Return the changes that a static rule makes, to `state` and back, in order of time.

    Parameters
    ----------
    rule : StaticRule
        Level and dwell.
    seen : mapping of str to sequence of DeviationReading
        Readings by asset, in order of time.
    state : State
        State that its alarm is taken as.
    """
    out: list[StateChange] = []
    for asset, series in seen.items():
        out += _scope_alarms(rule, f"asset:{asset}", series, state)
    return sorted(out)


def _scope_alarms(
    rule: StaticRule, scope: str, series: Sequence[DeviationReading], state: State
) -> list[StateChange]:
    out: list[StateChange] = []
    since: int | None = None
    below: int | None = None
    active = False
    for us, deviation, trusted in series:
        if not trusted:
            continue
        if abs(deviation) >= rule.level_bp:
            since, below = us if since is None else since, None
            if not active and us - since >= rule.dwell:
                active = True
                out.append(StateChange(us, scope, State.NORMAL, state, Cause.NONE))
        else:
            since, below = None, us if below is None else below
            if active and us - below >= RELEASE:
                active = False
                out.append(StateChange(us, scope, state, State.NORMAL, Cause.NONE))
    return out


def last_at(series: Sequence[DeviationReading], us: int) -> DeviationReading | None:
    """Return the last reading at or before `us`."""
    i = bisect_right(series, us, key=lambda seen: seen.us)
    return series[i - 1] if i else None
