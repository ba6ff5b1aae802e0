"""Small cases whose scores can be computed by hand."""

from __future__ import annotations

from riskwatch.bench.case import Case, Fact
from riskwatch.bench.static import DeviationReading
from riskwatch.bench.timeline import StateChange
from riskwatch.bench.trial import ENSEMBLE, RULES, Prediction, Trial
from riskwatch.core.clock import DAY, HOUR, MINUTE
from riskwatch.core.enums import Cause, State

ONSET = 10 * HOUR


def fact(**changed: object) -> Fact:
    """Return an event of A's issuer that requires HALT, ten hours into the case."""
    fields: dict[str, object] = {
        "what": "it breaks",
        "scope": "asset:A",
        "causes": (Cause.ISSUER,),
        "onset": ONSET,
        "over": None,
        "answer": State.HALT,
        "control": False,
    }
    return Fact(**{**fields, **changed})  # type: ignore[arg-type]


def case(*facts: Fact, name: str = "one", days: float = 30.0, **ceilings: State) -> Case:
    """Return a case of some days, with ceilings by asset."""
    limits = {f"asset:{asset}": state for asset, state in ceilings.items()}
    return Case(name, name, 0, int(days * DAY), facts or (fact(),), limits)


def change(
    us: int,
    before: State,
    after: State,
    scope: str = "asset:A",
    cause: Cause = Cause.ISSUER,
    usd: float | None = None,
) -> StateChange:
    """Return one change."""
    return StateChange(us, scope, before, after, cause, usd)


def seen(*bp: float, every: int = MINUTE, start: int = 0) -> list[DeviationReading]:
    """Return trusted readings at a fixed interval."""
    return [DeviationReading(start + n * every, value, trusted=True) for n, value in enumerate(bp)]


def trial(
    of: Case,
    ensemble: list[StateChange],
    *,
    series: dict[str, list[DeviationReading]] | None = None,
    scores: list[Prediction] | None = None,
    seed: int = 1,
) -> Trial:
    """Return a trial with equal changes of rules and ensemble, and one counterparty."""
    changes = {RULES: ensemble, ENSEMBLE: ensemble}
    return Trial(of, seed, series or {"A": []}, [], 1, changes, scores or [])
