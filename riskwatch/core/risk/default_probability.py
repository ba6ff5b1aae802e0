"""The probability of default of a party, from its rating, news, market prices and scores.

The PD is the largest of four parts:

* **rating**: the PD of the rating over the horizon, at a constant hazard rate;
* **news**: the weight of news of a failure;
* **market**: for an issuer, what the price of its assets implies, which is discount ÷ LGD, the
  credit triangle (Hull, "Options, Futures, and Other Derivatives", chapter on credit risk);
* **telemetry**: what a served score implies, by ``[risk.score_pd]`` of the policy. A score whose
  target is a sign of failure implies ``odds ÷ (odds + half_odds)``, with the odds of the score. A
  score whose target is a loss of value implies ``probability · loss ÷ LGD``. Both grow with the
  score, and no part lowers another: the PD is never below that of the rating.

The PD of a counterparty is itself a score, of the target ``pd``: ``served`` for what is served, and
one for each generation that may ask for a state. So an ask may name it, and the authority of the
generation caps the ask.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.money import quantise

if TYPE_CHECKING:
    from riskwatch.core.risk.config import ScorePd

PD_TARGET: Final = "pd"
"""Target of the scores that are probabilities of default."""
_LEAST: Final = 1e-9


class PdParts(msgspec.Struct, frozen=True, gc=False):
    """The parts of a PD, each 0..1."""

    rating: float
    news: float
    market: float = 0.0
    telemetry: float = 0.0

    @property
    def total(self) -> float:
        """The PD: the largest part."""
        return max(self.rating, self.news, self.market, self.telemetry)


def implied_pd(probability: float, law: ScorePd, lgd: float) -> float:
    """Return the PD that the probability of a target implies, 0..1.

    Examples
    --------
    >>> from riskwatch.core.risk.config import ScorePd
    >>> implied_pd(0.5, ScorePd(half_odds=1.0), 0.8), implied_pd(0.5, ScorePd(loss=0.25), 0.5)
    (0.5, 0.25)
    >>> implied_pd(1.0, ScorePd(half_odds=60.0), 0.8)
    1.0
    """
    if law.half_odds > 0.0:
        # p / (1 - p) over itself plus h, without a division by zero at 1.
        return probability / (probability + law.half_odds * (1.0 - probability))
    return min(1.0, probability * law.loss / lgd) if lgd > 0.0 else 0.0


def explain_pd(parts: PdParts) -> tuple[dict[str, float], dict[str, float]]:
    """Return the parts of a PD, and what each adds to its log-odds.

    A part adds by how much it exceeds those before it, in the order rating, news, market,
    telemetry. The sum of what they add is the log-odds of the PD.

    Examples
    --------
    >>> features, added = explain_pd(PdParts(rating=0.1, news=0.0, telemetry=0.5))
    >>> features["pd_telemetry"], sorted(name for name, part in added.items() if part)
    (0.5, ['pd_rating', 'pd_telemetry'])
    """
    features, added = {}, {}
    so_far, logit = 0.0, 0.0
    for name in ("rating", "news", "market", "telemetry"):
        part = getattr(parts, name)
        features[f"pd_{name}"] = quantise(part)
        so_far = max(so_far, part)
        now = _logit(so_far)
        added[f"pd_{name}"] = quantise(now if name == "rating" else now - logit)
        logit = now
    return features, added


def _logit(p: float) -> float:
    bounded = min(1.0 - _LEAST, max(_LEAST, p))
    return log(bounded / (1.0 - bounded))
