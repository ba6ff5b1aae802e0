"""The ladder: every generation, for every target of every scope, side by side.

Each scope has models of its own: pooling coins in one model hurts. Scores come before learning,
always; what is judged is what was said when the sample was taken.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from riskwatch.core.money import quantise
from riskwatch.core.risk.models import ModelsConfig, Scored, Slipper
from riskwatch.errors import ModelError
from riskwatch.models.evidence import Evidence
from riskwatch.models.labels import Pending, Sample
from riskwatch.models.ladder_state import LadderState
from riskwatch.models.rungs import questions, rungs
from riskwatch.models.slippage import Slippage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.models.base import Generation
    from riskwatch.models.rungs import Question, Rung

_DIGITS = 6


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
    >>> from riskwatch.core.risk.models import GenerationConfig, TargetConfig
    >>> ladder = Ladder(ModelsConfig(
    ...     targets=(TargetConfig(threshold=50.0, horizon_s=3600.0),),
    ...     generations=(GenerationConfig(model="rules", authority="full"),)))
    >>> [score] = ladder.observe(ladder.fresh(), 0, "asset:USDC", "asset",
    ...                          {"discount_bp": 50.0}, labelled=True)
    >>> score.target, score.probability
    ('depeg(discount 50bp, 1h)', 0.5)
    """

    def __init__(self, config: ModelsConfig) -> None:
        self.config = config
        self._questions = questions(config)
        self._rungs = rungs(config)
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

        Returns
        -------
        list of Scored
            By target, then generation, in the order of the configuration. A target whose
            measure is not known has none. Scopes beyond `max_scopes` are scored by models that
            have learned nothing, and teach none.
        """
        out: list[Scored] = []
        known = {name: float(value) for name, value in features.items() if math.isfinite(value)}
        for question in self._questions.get(kind, ()):
            key, measure = f"{scope}|{question.id}", question.measured(known)
            gone = question.ours and not ours
            if measure is None:
                if gone:
                    self._learn(state, key, question, us, None, known)
                continue
            x = {**known, "severity": quantise(measure / question.target.threshold, _DIGITS)}
            scored = self._ask(state, key, scope, question, x)
            out += scored
            if gone or labelled:
                self._learn(state, key, question, us, None if gone else measure, known)
            if labelled and not gone and question.target.asked_at(measure):
                self._sample(state, scope, key, question, us, x, scored)
        return out

    def _ask(
        self, state: LadderState, key: str, scope: str, question: Question, x: dict[str, float]
    ) -> list[Scored]:
        """Let every generation score; nothing changes."""
        scored = []
        for rung in self._rungs:
            model = state.models.get(f"{key}|{rung.name}", rung.newborn)
            scored.append(_score(rung, model, scope, question, x))
        return scored

    def _learn(
        self,
        state: LadderState,
        key: str,
        question: Question,
        us: int,
        measure: float | None,
        known: Mapping[str, float],
    ) -> None:
        """Let every generation learn from the samples whose answer is known now.

        Without a `measure`, we are not there any more.
        """
        pending = state.pending.get(key)
        if pending is None or not pending.samples:
            return
        state.mark(f"pending/{key}")
        if measure is None:
            matured = pending.censor(question.target, us)
        else:
            matured = pending.see(question.target, us, measure, known)
        for sample, label in matured:
            for rung in self._rungs:
                said = sample.said.get(rung.name)
                if said is None:  # it was not configured yet when the sample was taken
                    continue
                full = f"{key}|{rung.name}"
                evidence = state.evidence.setdefault(full, Evidence())
                evidence.add(said, label=label)
                state.mark(f"evidence/{full}")
                model = state.models.get(full)
                if model is None:
                    model = state.models[full] = rung.make()
                model.learn(sample.features, label)
                state.mark(f"model/{full}")

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
        """Take a sample if the last one is long enough ago."""
        pending = state.pending.get(key)
        if pending is not None and us - pending.sampled < question.every:
            return
        if pending is None:
            if not state.admit(scope, self.config.max_scopes):
                return
            pending = state.pending[key] = Pending()
        # The configuration was refused if more could ever wait than `max_pending`.
        said = {each.generation: each.probability for each in scored}
        used = {name: x[name] for each in scored for name in each.features}
        parts = question.seen(x)
        pending.take(Sample(us, dict(sorted(used.items())), said, parts=parts))
        state.mark(f"pending/{key}")


def _score(
    rung: Rung, model: Generation, scope: str, question: Question, x: dict[str, float]
) -> Scored:
    """Ask one generation; nothing changes."""
    score = model.score(x)
    if not 0.0 <= score.probability <= 1.0:
        raise ModelError(
            f"generation {rung.name!r} must give a probability in [0, 1], gave {score.probability}"
        )
    used = {name: x[name] for name in score.contributions if name in x}
    return Scored(
        scope=scope,
        target=question.id,
        generation=rung.name,
        authority=rung.authority.value,
        cap=rung.authority.cap,
        probability=quantise(score.probability, _DIGITS),
        severity=quantise(score.severity, _DIGITS),
        features={**used, "severity": x["severity"]},
        contributions={n: quantise(part, _DIGITS) for n, part in score.contributions.items()},
    )
