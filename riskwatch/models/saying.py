"""What generations say, checked and put into the form in which it leaves the ladder."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from riskwatch.core.money import quantise
from riskwatch.core.risk.models import SERVED, Scored
from riskwatch.models.evidence import clipped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.models.aggregate import Mixture
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
        return None, f"must give a probability in [0, 1], gave {score.probability}"
    if not math.isfinite(score.severity + sum(score.contributions.values())):
        return None, "must give finite contributions"
    return score, ""


def scored_by(
    name: str,
    authority: Authority,
    score: Score,
    scope: str,
    question: Question,
    x: dict[str, float],
) -> Scored:
    """Say what one generation said."""
    used = {feature: x[feature] for feature in score.contributions if feature in x}
    return Scored(
        scope=scope,
        target=question.id,
        generation=name,
        authority=authority.value,
        cap=authority.cap,
        probability=quantise(score.probability, DIGITS),
        severity=quantise(score.severity, DIGITS),
        features={**used, "severity": x["severity"]},
        contributions={n: quantise(part, DIGITS) for n, part in score.contributions.items()},
    )


def served(mixture: Mixture, copy: int, said: Mapping[str, float], scored: list[Scored]) -> Scored:
    """Mix what `scored` said; what comes of it may go as far as the least of them may."""
    p, weights = mixture.serve(copy, said)
    p = quantise(p, DIGITS)
    parts = {name: weight * _logit(said[name]) for name, weight in weights.items()}
    # The mean is of probabilities: in logits something is left over.
    parts["mixing"] = _logit(p) - sum(parts.values())
    least = min(scored, key=lambda each: each.cap.rank)
    severity = least.features["severity"]
    return Scored(
        scope=least.scope,
        target=least.target,
        generation=SERVED,
        authority=least.authority,
        cap=least.cap,
        probability=p,
        severity=severity,
        features={"severity": severity},
        contributions={name: quantise(part, DIGITS) for name, part in parts.items()},
    )


def _logit(probability: float) -> float:
    """Log-odds of a probability as it is mixed."""
    p = clipped(probability)
    return math.log(p) - math.log1p(-p)
