"""The ladder: every generation, for every target of every scope, side by side.

Each scope has models of its own: pooling coins in one model hurts. Scores come before learning,
always; what is judged is what was said when the sample was taken.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from riskwatch.core.money import quantise
from riskwatch.core.risk.models import SERVED
from riskwatch.models.inputs import Inputs
from riskwatch.models.judge import Judge
from riskwatch.models.labels import Pending, Sample
from riskwatch.models.ladder_state import LadderState
from riskwatch.models.panel import Panel
from riskwatch.models.rungs import questions, rungs
from riskwatch.models.saying import DIGITS
from riskwatch.models.slippage import Slippage
from riskwatch.models.teacher import Teacher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.outputs import AuthorityChanged, Output
    from riskwatch.core.risk.models import ModelsConfig, Scored
    from riskwatch.core.risk.scorer import Slipper
    from riskwatch.models.inputs import Squashed, Squasher
    from riskwatch.models.rungs import Question


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
        self._panel = Panel(self.judge, asked, self._rungs)
        self._teacher = Teacher(config.evidence.share, self.judge, self._panel, self._rungs)

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

        Parameters
        ----------
        state : LadderState
            Changed in place.
        us : int
            Event time, microseconds.
        scope, kind : str
            Which scope, and its kind.
        features : mapping
            What is known of it now. What is NaN or infinite is not known.
        labelled : bool
            Whether the measure can be trusted as a label now. Where it cannot, nothing is
            learned and no sample is taken: unlabelled is not negative.
        ours : bool
            Whether we have anything on the scope. Where not, a target that rests on our own
            dealings is censored: samples that wait are dropped and counted, none is taken.
        due : bool
            Whether the scores go out now. Where not, shadows are asked with a sample only.

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
            key, measure = f"{scope}|{question.id}", question.measured(known)
            gone = question.ours and not ours
            if measure is None:
                if gone:
                    self._teacher.learn(state, key, question, us, None, known)
                continue
            severity = quantise(measure / question.target.threshold, DIGITS)
            x = Inputs(known, severity, shared)
            asked = question.target.asked_at(measure)
            waiting = state.pending.get(key)
            sampled = labelled and asked and not gone and question.sampled(waiting, us)
            everybody = due or sampled
            # Once labels mature, those who said it can no longer be asked why.
            taught = (gone or labelled) and waiting is not None and waiting.due(question.target, us)
            scored = self._panel.ask(
                state, us, scope, question, x, everybody=everybody, whole=everybody or taught
            )
            out += scored
            mix = self._panel.serve(state, us, key, question, scored, severity)
            if mix is not None:
                mixed.append(mix)
                scored.append(mix)
            if asked and not gone:
                self.judge.asked(state, question.id, us)
            if gone or labelled:
                self._teacher.learn(state, key, question, us, None if gone else measure, known)
            if sampled:
                self._sample(state, scope, key, question, us, x, scored)
        return out + mixed

    def report(self, state: LadderState, us: int) -> list[Output]:
        """Say whose authority changed, and how good everybody is where it is due.

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

    def _sample(
        self,
        state: LadderState,
        scope: str,
        key: str,
        question: Question,
        us: int,
        x: dict[str, float],
        scored: list[Scored],
    ) -> None:
        """Take a sample, of what everybody said."""
        pending = state.pending.get(key)
        if pending is None:
            if not state.admit(scope, self.config.max_scopes):
                return
            pending = state.pending[key] = Pending()
        # The configuration was refused if more could ever wait than `max_pending`.
        said = {each.generation: each.probability for each in scored}
        # What is served looks at nothing but the others.
        apart = [each for each in scored if each.generation != SERVED]
        used = {name: x[name] for each in apart for name in each.features}
        parts = question.seen(x)
        pending.take(Sample(us, dict(sorted(used.items())), said, parts=parts))
        state.mark(f"pending/{key}")
