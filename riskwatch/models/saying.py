"""Scores: whether one can be used, what it rests on, and the one that is served."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final

from riskwatch.core.money import quantise, quantised
from riskwatch.core.risk.models import SERVED, Grounds, Scored
from riskwatch.models.aggregate import unlearned
from riskwatch.models.evidence import clipped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.models.aggregate import Mixed, Mixture
    from riskwatch.models.base import Generation, Score

DIGITS: Final = 6
"""Digits that the probabilities, severities and contributions of scores are rounded to."""


def fault_in(probability: float, score: Score | None) -> str:
    """Name what is wrong with an answer; empty if nothing is.

    Parameters
    ----------
    probability : float
        What was answered.
    score : Score or None
        The same with its reasons, if they were asked for.
    """
    if not 0.0 <= probability <= 1.0:
        return f"must give a probability in [0, 1], gave {probability}"
    if score is not None and not math.isfinite(score.severity + sum(score.contributions.values())):
        return "must give finite contributions"
    return ""


def fault_of(model: Generation, x: Mapping[str, float]) -> str:
    """Name what is wrong with a model's answer to a state; empty if nothing is."""
    alone = getattr(model, "probability", None)
    try:
        if alone is not None:
            return fault_in(alone(x), None)
        score = model.score(x)
    except (ArithmeticError, ValueError) as error:
        return error_text(error)
    return fault_in(score.probability, score)


def error_text(error: Exception) -> str:
    """Say that a model raised an error when it was asked for a score."""
    return f"cannot score: {error}"


def ask_grounds(model: Generation, x: dict[str, float]) -> Grounds:
    """Ask a model again, for what its answer rests on; scoring changes nothing."""
    nothing: Grounds = ({"severity": x["severity"]}, {})
    try:
        score = model.score(x)
    except (ArithmeticError, ValueError):
        return nothing  # its probability alone could be used, so it stands
    return nothing if fault_in(score.probability, score) else grounds_of(score, x)


def grounds_of(score: Score, x: dict[str, float]) -> Grounds:
    """Features that a score looked at, and what it is made of."""
    used = {feature: x[feature] for feature in score.contributions if feature in x}
    used["severity"] = x["severity"]
    return used, quantised(score.contributions)


def served_score(
    mixture: Mixture | None, copy: int, scored: list[Scored], severity: float
) -> Scored:
    """Make the score that the generations give together.

    Parameters
    ----------
    mixture : Mixture or None
        Weights of the generations; without any, nothing was learned yet and all count the same.
    copy : int
        Which copy of the weights is used now.
    scored : list of Scored
        Scores of the generations that may ask for something.
    severity : float
        Measure ÷ threshold.

    Returns
    -------
    Scored
        Its authority is the least of those that are mixed.
    """
    said = {each.generation: each.probability for each in scored}
    least = min(scored, key=lambda each: each.cap.rank)
    mixed = unlearned(said) if mixture is None else mixture.serve(copy, said)
    p = quantise(mixed.probability, DIGITS)
    return Scored(
        scope=least.scope,
        target=least.target,
        generation=SERVED,
        authority=least.authority,
        cap=least.cap,
        probability=p,
        severity=severity,
        grounds=partial(_mixed, p, said, mixed, severity),
    )


def _mixed(p: float, said: dict[str, float], mixed: Mixed, severity: float) -> Grounds:
    """Contribution of each generation to what is served, and of the recalibration."""
    parts: dict[str, float] = {}
    mean = _logit(mixed.mean)
    rest = mean
    for name, weight in mixed.weights.items():
        parts[name] = part = round(weight * _logit(said[name]), DIGITS)
        rest -= part
    if len(said) > 1:
        # The mean is of probabilities: in logits something is left over.
        parts["mixing"] = quantise(rest, DIGITS)
    parts["recalibration"] = quantise(_logit(p) - mean, DIGITS)
    return {"severity": severity}, parts


def _logit(probability: float) -> float:
    """Log-odds of a probability as it is mixed."""
    p = clipped(probability)
    return math.log(p / (1.0 - p))
