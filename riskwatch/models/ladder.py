"""All generations of models, for all targets of all scopes.

Every scope has models of its own, because one model of all coins predicts worse. A score always
comes before learning. A generation is judged by what it said when the sample was taken.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from riskwatch.core.money import quantise
from riskwatch.models.inputs import Inputs
from riskwatch.models.judge import Judge
from riskwatch.models.ladder_state import LadderState
from riskwatch.models.panel import TargetModel
from riskwatch.models.rungs import questions, rungs
from riskwatch.models.saying import DIGITS
from riskwatch.models.slippage import Slippage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.outputs import AuthorityChanged, Output
    from riskwatch.core.risk.models import ModelsConfig, Scored
    from riskwatch.core.risk.scorer import Slipper
    from riskwatch.models.inputs import Squashed, Squasher


class Ladder:
    """Scores scopes with every generation, and lets them learn.

    Parameters
    ----------
    config : ModelsConfig
        Targets and generations.

    Raises
    ------
    ModelError
        If a target or a generation is impossible or comes twice, or a bound is too small.

    Examples
    --------
    >>> from riskwatch.core.risk.models import GenerationConfig, ModelsConfig, TargetConfig
    >>> ladder = Ladder(ModelsConfig(
    ...     targets=(TargetConfig(threshold=50.0, horizon_s=3600.0),),
    ...     generations=(GenerationConfig(model="rules", authority="full"),)))
    >>> score, served = ladder.observe(ladder.fresh(), 0, "asset:USDC", "asset",
    ...                               {"discount_bp": 50.0}, labelled=True)
    >>> score.target, score.probability, served.generation, served.probability
    ('depeg(discount 50bp, 1h)', 0.5, 'served', 0.5)
    """

    def __init__(self, config: ModelsConfig) -> None:
        self.config = config
        self._questions = questions(config)
        self._rungs = rungs(config)
        asked = [question for group in self._questions.values() for question in group]
        self.judge = Judge(config, asked, self._rungs)
        for question in asked:
            for rung in self._rungs:
                rung.newborn(question.id)  # what cannot be made is refused now, not later
        self.slippage: Slipper = Slippage(config.slippage, config.max_scopes)

    def fresh(self) -> LadderState:
        """Make the state of models that have seen nothing."""
        return LadderState({rung.name: rung.make for rung in self._rungs})

    def observe(
        self,
        state: LadderState,
        us: int,
        scope: str,
        kind: str,
        features: Mapping[str, float],
        *,
        labelled: bool,
        ours: bool = True,
        due: bool = True,
    ) -> list[Scored]:
        """Score a scope, then learn from labels that have matured, then take a new sample.

        Parameters are those of :meth:`riskwatch.core.risk.scorer.Scorer.observe`. A feature that
        is NaN or infinite is not known. Without `labelled`, nothing is learned and no sample is
        taken: unlabelled is not negative. Without `ours`, samples of a target that rests on our
        own dealings are dropped and counted, and none is taken. Without `due`, shadows are asked
        only when a sample is taken.

        Returns
        -------
        list of Scored
            By target, then generation, in the order of the configuration; then, by target, what
            is served. A target whose measure is not known has none. Scopes beyond `max_scopes`
            are scored by models that have learned nothing, and teach none.
        """
        out: list[Scored] = []
        mixed: list[Scored] = []
        known = {name: float(value) for name, value in features.items() if math.isfinite(value)}
        shared: dict[Squasher, Squashed] = {}
        for question in self._questions.get(kind, ()):
            model = TargetModel(self.judge, state, question, scope, us)
            measure = question.measured(known)
            gone = question.ours and not ours
            if measure is None:
                if gone:
                    model.learn(None, known)
                continue
            severity = quantise(measure / question.target.threshold, DIGITS)
            x = Inputs(known, severity, shared)
            asked = question.target.asked_at(measure) and not gone
            sampled = labelled and asked and model.sample_due
            everybody = due or sampled
            # Once labels mature, those who said it can no longer be asked why.
            taught = (gone or labelled) and model.label_due
            scored = model.score(x, everybody=everybody, reasons=everybody or taught)
            out += scored
            mix = model.serve(scored, severity)
            if mix is not None:
                mixed.append(mix)
                scored.append(mix)
            if asked:
                model.authority.note_asked()
            if gone or labelled:
                model.learn(None if gone else measure, known)
            if sampled:
                model.sample(x, scored, most=self.config.max_scopes)
        return out + mixed

    def report(self, state: LadderState, us: int) -> list[Output]:
        """Return changes of authority, and the records of generations where they are due.

        Parameters
        ----------
        state : LadderState
            Changed in place.
        us : int
            Event time, microseconds.
        """
        return self.judge.report(state, us)

    def move(
        self,
        state: LadderState,
        us: int,
        target: str,
        generation: str,
        to: str,
        *,
        by: str,
        why: str,
        cause_id: str,
    ) -> AuthorityChanged:
        """Change the authority of a generation; see :meth:`.Judge.move`."""
        return self.judge.move(state, us, target, generation, to, by=by, why=why, cause_id=cause_id)
