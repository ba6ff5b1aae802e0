"""What generations say, checked and put into the form in which it leaves the ladder."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from riskwatch.core.money import quantise
from riskwatch.core.risk.models import SERVED, Scored
from riskwatch.models.aggregate import Mixture
from riskwatch.models.evidence import clipped

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        # Zero is added to make of a negative zero none, as `quantise` does.
        contributions={n: round(part, DIGITS) + 0.0 for n, part in score.contributions.items()},
    )


def served(mixture: Mixture | None, copy: int, scored: list[Scored]) -> Scored:
    """Mix what `scored` said; what comes of it may go as far as the least of them may.

    Without a mixture, nothing was learned yet and all count the same.
    """
    if len(scored) == 1:
        (only,) = scored
        alone = clipped(only.probability)
        return _mixed(only, alone, {only.generation: round(_logit(alone), DIGITS) + 0.0})
    said = {each.generation: each.probability for each in scored}
    if mixture is None:
        mixture = Mixture.fresh(list(said), 1)
    p, weights = mixture.serve(copy, said)
    p = quantise(p, DIGITS)
    parts: dict[str, float] = {}
    rest = _logit(p)
    for name, weight in weights.items():
        parts[name] = part = round(weight * _logit(said[name]), DIGITS)
        rest -= part
    # The mean is of probabilities: in logits something is left over.
    parts["mixing"] = quantise(rest, DIGITS)
    least = scored[0]
    for each in scored[1:]:
        if each.cap.rank < least.cap.rank:
            least = each
    return _mixed(least, p, parts)


def _mixed(least: Scored, probability: float, parts: dict[str, float]) -> Scored:
    """Say what is served; `least` is the one of those mixed that may go least far."""
    severity = least.features["severity"]
    return Scored(
        scope=least.scope,
        target=least.target,
        generation=SERVED,
        authority=least.authority,
        cap=least.cap,
        probability=probability,
        severity=severity,
        features={"severity": severity},
        contributions=parts,
    )


def _logit(probability: float) -> float:
    """Log-odds of a probability as it is mixed."""
    p = clipped(probability)
    return math.log(p / (1.0 - p))
