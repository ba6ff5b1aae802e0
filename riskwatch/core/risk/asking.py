"""Whom the stage asks for scores, how often, and what becomes of the answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from riskwatch.core.clock import SECOND
from riskwatch.core.outputs import Output
from riskwatch.core.reasons import State
from riskwatch.core.risk import report
from riskwatch.core.risk.machine import score_name
from riskwatch.core.risk.models import Grounds
from riskwatch.core.scopes import ASSET, parse

if TYPE_CHECKING:
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.features import Features
    from riskwatch.core.risk.scorer import Scorer
    from riskwatch.core.risk.state import RiskState


class Answers(msgspec.Struct, gc=False):
    """What the models said of one scope.

    Attributes
    ----------
    out : list of Output
        Scores that are due.
    caps : dict of str to State
        The strictest state that may be asked for on account of a score, by the name of the
        feature that holds it.
    grounds : dict of str to callable
        What a probability rests on, by the name of the feature that holds it.
    """

    out: list[Output] = []
    caps: dict[str, State] = {}
    grounds: dict[str, Callable[[], Grounds]] = {}


class Asker:
    """Asks the models about a scope: always in unrest, else every `report_s`.

    Parameters
    ----------
    config : RiskConfig
        Pace, and what counts as calm.
    scorer : Scorer
        The models.
    """

    def __init__(self, config: RiskConfig, scorer: Scorer) -> None:
        self.config = config
        self.scorer = scorer

    def ask(
        self,
        state: RiskState,
        us: int,
        scope: str,
        features: Features,
        *,
        labelled: bool,
        ours: bool = True,
    ) -> Answers:
        """Ask about one scope, if it is time; probabilities are added to `features`.

        Parameters are those of :meth:`riskwatch.core.risk.scorer.Scorer.observe`.
        """
        kind = parse(scope).kind
        calm = self._calm(kind, features)
        if not self._due(state, us, scope, calm=calm):
            return Answers()
        answers = Answers()
        key = f"score/{scope}"
        out = us - state.sent.get(key, 0) >= self.config.report_s * SECOND
        scored = self.scorer.observe(
            state.scorer, us, scope, kind, features, labelled=labelled, ours=ours, due=out
        )
        for each in scored:
            if each.cap is State.NORMAL:
                continue  # a shadow is stored, and is no ground of anything
            feature = score_name(each.generation, each.target)
            features[feature] = each.probability
            answers.grounds[feature] = each.grounds
            answers.caps[feature] = each.cap
        if scored and out:
            state.sent[key] = us
            state.mark(f"sent/{key}")
            answers.out = [report.score_updated(each, us) for each in scored]
        return answers

    def _calm(self, kind: str, features: Features) -> bool:
        """Whether a scope is so far from every question that a look now and then will do."""
        if kind == ASSET:
            return abs(features["deviation_bp"]) < self.config.calm_bp
        return (
            features.get("dislocation_bp", 0.0) < self.config.calm_dislocation_bp
            and features.get("withdrawal_age_ratio", 0.0) <= 1.0
            and features.get("suspended_weight", 0.0) == 0.0
        )

    def _due(self, state: RiskState, us: int, scope: str, *, calm: bool) -> bool:
        """Whether the models look now."""
        key = f"asked/{scope}"
        row = state.scopes.get(scope)
        waited = us - state.sent.get(key, 0) >= self.config.report_s * SECOND
        if calm and not waited and (row is None or not row.trackers):
            return False
        state.sent[key] = us
        state.mark(f"sent/{key}")
        return True
