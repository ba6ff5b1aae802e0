"""What generations say, checked and put into the form in which it leaves the ladder."""

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
    from riskwatch.models.base import Authority, Generation, Score
    from riskwatch.models.rungs import Question

DIGITS: Final = 6
"""Of everything that leaves the ladder."""


def checked(model: Generation, x: Mapping[str, float]) -> tuple[Score | None, str]:
    """Ask one generation; ``None`` and why if what it says is nothing that can be used."""
    try:
        score = model.score(x)
    except (ArithmeticError, ValueError) as error:
        return None, f"cannot score: {error}"
    if not 0.0 <= score.probability <= 1.0:
        return None, _no_probability(score.probability)
    if not math.isfinite(score.severity + sum(score.contributions.values())):
        return None, "must give finite contributions"
    return score, ""


def brief(model: Generation, x: Mapping[str, float]) -> tuple[float | None, str]:
    """Ask one generation for no more than its probability; as :func:`checked` otherwise."""
    alone = getattr(model, "probability", None)
    if alone is None:
        score, why = checked(model, x)
        return (None if score is None else score.probability), why
    try:
        probability: float = alone(x)
    except (ArithmeticError, ValueError) as error:
        return None, f"cannot score: {error}"
    if not 0.0 <= probability <= 1.0:
        return None, _no_probability(probability)
    return probability, ""


def _no_probability(said: float) -> str:
    return f"must give a probability in [0, 1], gave {said}"


def scored_by(
    name: str,
    authority: Authority,
    score: Score,
    scope: str,
    question: Question,
    x: dict[str, float],
) -> Scored:
    """Say what one generation said, and what it rests on."""
    grounds = _grounds(score, x)
    return Scored(
        scope=scope,
        target=question.id,
        generation=name,
        authority=authority.value,
        cap=authority.cap,
        probability=quantise(score.probability, DIGITS),
        severity=quantise(score.severity, DIGITS),
        grounds=lambda: grounds,
    )


def said_by(
    name: str,
    authority: Authority,
    probability: float,
    model: Generation,
    scope: str,
    question: Question,
    x: dict[str, float],
) -> Scored:
    """Say what one generation said; what it rests on is asked of it when somebody wants to know."""
    return Scored(
        scope=scope,
        target=question.id,
        generation=name,
        authority=authority.value,
        cap=authority.cap,
        probability=quantise(probability, DIGITS),
        severity=x["severity"],
        grounds=partial(_asked, model, x),
    )


def _asked(model: Generation, x: dict[str, float]) -> Grounds:
    """Ask a model again, for what its answer rests on; scoring changes nothing."""
    score, _ = checked(model, x)
    return ({"severity": x["severity"]}, {}) if score is None else _grounds(score, x)


def _grounds(score: Score, x: dict[str, float]) -> Grounds:
    used = {feature: x[feature] for feature in score.contributions if feature in x}
    used["severity"] = x["severity"]
    return used, quantised(score.contributions)


def served(mixture: Mixture | None, copy: int, scored: list[Scored], severity: float) -> Scored:
    """Mix what `scored` said; what comes of it may go as far as the least of them may.

    Without a mixture, nothing was learned yet and all count the same.
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
    """Share of each generation in what is served, and of what came of such forecasts before."""
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
