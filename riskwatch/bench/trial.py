"""The results of one run of one case, and the states that each generation alone would give."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from riskwatch.bench import target
from riskwatch.bench.timeline import StateChange
from riskwatch.core.clock import HOUR
from riskwatch.core.enums import Cause, State, strictest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from riskwatch.bench.case import Case
    from riskwatch.bench.static import DeviationReading

RULES: Final = "rules alone"
ENSEMBLE: Final = "ladder"
ALONE: Final = "alone: "
SERVED: Final = "served"
STARTING: Final = "anchored"
CONSECUTIVE: Final = 2
"""Consecutive scores that must reach the threshold before a probability changes a state."""
EXIT: Final = 0.7
"""The state ends after an hour below this share of its threshold."""
ASKS: Final = ((State.WATCH, 0.5), (State.REDUCE, 0.7), (State.HALT, 0.9))
"""States that a generation requests if it decides alone, by the probability of its target.

The thresholds were chosen once, before any figure was known: more likely than not, more than twice
as likely as not, and nine to one.
"""


class Prediction(NamedTuple):
    """The prediction of one generation for one target of one scope at `us` (microseconds)."""

    us: int
    scope: str
    target: str
    generation: str
    probability: float


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of one case.

    Attributes
    ----------
    case : Case
        The correct assessment.
    seed : int
        Seed of the episode; 0 for a recording.
    seen : dict of str to list of DeviationReading
        Deviations of the pegged coins, by asset, in order of time.
    feeds : list of str
        Subjects of data-quality alerts about feeds.
    parties : int
        Number of counterparties that were monitored.
    changes : dict of str to list of StateChange
        By contender, in order of time.
    scores : list of Prediction
        Scores of the ensemble's run, in order of time.
    prices : dict of str to list of (int, float)
        One direct feed per pegged coin, by its name: times and prices in bp from the peg.
    """

    case: Case
    seed: int
    seen: dict[str, list[DeviationReading]]
    feeds: list[str]
    parties: int
    changes: dict[str, list[StateChange]]
    scores: list[Prediction] = field(default_factory=list)
    prices: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    @property
    def entities(self) -> int:
        """Coins and counterparties that could have raised a false alarm."""
        return len(self.seen) + self.parties


def generations(scores: Iterable[Prediction]) -> list[str]:
    """Return every generation with a score, in the order of their first scores."""
    return list(dict.fromkeys(score.generation for score in scores))


def aggregate_generation(scores: Iterable[Prediction]) -> str:
    """Return the generation of the ensemble probability: the aggregate's if there is one.

    Examples
    --------
    >>> aggregate_generation([
    ...     Prediction(0, "asset:A", "t", name, 0.1) for name in ("rules", "anchored")])
    'anchored'
    """
    known = generations(scores)
    return next((name for name in (SERVED, STARTING) if name in known), known[-1] if known else "")


def onset(scores: Iterable[Prediction]) -> str:
    """Return the target by which a probability alone warns.

    It is the lowest onset of a discount, or any target if there is none.
    """
    known = dict.fromkeys(score.target for score in scores)
    specs = {name: target.parse(name) for name in known}
    open_ = [
        (a.level_bp, a.horizon, name)
        for name, a in specs.items()
        if a is not None and a.start_bp is None and a.side != "premium"
    ]
    return min(open_)[2] if open_ else next(iter(known), "")


def warnings(
    scores: Sequence[Prediction],
    generation: str,
    name: str,
    threshold: float,
    state: State,
    in_a_row: int = CONSECUTIVE,
) -> list[StateChange]:
    """Return the changes of a contender that uses one probability: to `state` and back."""
    mine: dict[str, list[Prediction]] = {}
    for score in scores:
        if score.generation == generation and score.target == name:
            mine.setdefault(score.scope, []).append(score)
    out: list[StateChange] = []
    for scope, series in mine.items():
        held, below, active = 0, None, False
        for score in series:
            p = score.probability
            held = held + 1 if p >= threshold else 0
            if p >= EXIT * threshold:
                below = None
            elif below is None:
                below = score.us
            if not active and held >= in_a_row:
                active = True
                out.append(StateChange(score.us, scope, State.NORMAL, state, Cause.NONE))
            elif active and below is not None and score.us - below >= HOUR:
                active = False
                out.append(StateChange(score.us, scope, state, State.NORMAL, Cause.NONE))
    return sorted(out)


def generation_changes(scores: Sequence[Prediction], generation: str) -> list[StateChange]:
    """Return the changes of one generation that decides alone; see :data:`ASKS`.

    HALT latches. WATCH uses the lowest onset; REDUCE and HALT use the highest level of all targets.
    The steps are five minutes, the interval of the scores.
    """
    low = onset(scores)
    levels = {s.target: target.parse(s.target) for s in scores}
    high = max(
        ((a.level_bp, -a.horizon, name) for name, a in levels.items() if a and a.side != "premium"),
        default=(0.0, 0, low),
    )[2]
    flips: list[StateChange] = []
    for state, threshold in ASKS:
        name = low if state is State.WATCH else high
        flips += warnings(scores, generation, name, threshold, state)
    flips.sort(key=lambda c: (c.us, c.scope, c.state.rank))
    active: dict[str, set[State]] = {}
    states: dict[str, State] = {}
    out: list[StateChange] = []
    for (us, scope), group in groupby(flips, key=lambda c: (c.us, c.scope)):
        held = active.setdefault(scope, set())
        for flip in group:
            if flip.state is State.NORMAL:
                held.discard(flip.previous)
            else:
                held.add(flip.state)
        now = strictest(held)
        before = states.get(scope, State.NORMAL)
        if now is not before and before is not State.HALT:
            states[scope] = now
            out.append(StateChange(us, scope, before, now, Cause.NONE))
    return out
