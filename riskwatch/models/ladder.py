"""The ladder: every generation, for every target of every scope, side by side.

Each scope has models of its own: pooling coins in one model hurts. Scores come before learning,
always; what is judged is what was said when the sample was taken.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from riskwatch.core.money import quantise
from riskwatch.core.reasons import State
from riskwatch.core.risk.models import SERVED, ModelsConfig, Scored, Slipper
from riskwatch.models.aggregate import Mixture
from riskwatch.models.evidence import Evidence
from riskwatch.models.judge import Judge
from riskwatch.models.labels import Pending, Sample
from riskwatch.models.ladder_state import LadderState
from riskwatch.models.rungs import questions, rungs
from riskwatch.models.saying import DIGITS, checked, scored_by, served
from riskwatch.models.slippage import Slippage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.outputs import AuthorityChanged, Output
    from riskwatch.models.rungs import Question, Rung


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
        self._keys = {q.id: [(r, f"{q.id}|{r.name}") for r in self._rungs] for q in asked}

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
            By target, then generation, in the order of the configuration; then, by target, what
            is served. A target whose measure is not known has none. Scopes beyond `max_scopes`
            are scored by models that have learned nothing, and teach none.
        """
        out: list[Scored] = []
        mixed: list[Scored] = []
        known = {name: float(value) for name, value in features.items() if math.isfinite(value)}
        for question in self._questions.get(kind, ()):
            key, measure = f"{scope}|{question.id}", question.measured(known)
            gone = question.ours and not ours
            if measure is None:
                if gone:
                    self._learn(state, key, question, us, None, known)
                continue
            x = {**known, "severity": quantise(measure / question.target.threshold, DIGITS)}
            scored = self._ask(state, us, key, scope, question, x)
            out += scored
            mix = self._serve(state, us, key, question, scored)
            if mix is not None:
                mixed.append(mix)
                scored.append(mix)
            asked = question.target.asked_at(measure)
            if asked and not gone:
                self.judge.asked(state, question.id, us)
            if gone or labelled:
                self._learn(state, key, question, us, None if gone else measure, known)
            if labelled and not gone and asked:
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

    def _ask(
        self,
        state: LadderState,
        us: int,
        key: str,
        scope: str,
        question: Question,
        x: dict[str, float],
    ) -> list[Scored]:
        """Let every generation score; nothing changes but for one that fails a check."""
        scored = []
        for rung, standing in self._keys[question.id]:
            full = f"{key}|{rung.name}"
            model = state.models.get(full)
            if model is None:
                model = rung.newborn(question.id)
            score, why = checked(model, x)
            if score is None:
                self._bar(state, us, full, question, rung, why)
                continue
            authority = self.judge.authority(state, standing, rung)
            scored.append(scored_by(rung.name, authority, score, scope, question, x))
        return scored

    def _serve(
        self,
        state: LadderState,
        us: int,
        key: str,
        question: Question,
        scored: list[Scored],
    ) -> Scored | None:
        """Mix what those said that may ask for anything; a shadow has no part in it."""
        able = [each for each in scored if each.cap is not State.NORMAL]
        if not able:
            return None
        mixture, copy = state.mixtures.get(key), 0
        if mixture is not None:
            if mixture.become([each.generation for each in able]):
                state.mark(f"mix/{key}")
            copy = self.judge.cells[question.id].at(us)[0]
        return served(mixture, copy, able)

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
            self.judge.answered(state, question.id)
            for rung in self._rungs:
                # It may not have been configured yet when the sample was taken.
                if rung.name in sample.said:
                    self._account(state, key, question, rung.name, sample, label=label)
                    self._teach(state, us, f"{key}|{rung.name}", question, rung, sample, label)
            if SERVED in sample.said:
                self._account(state, key, question, SERVED, sample, label=label)
            self._mix(state, key, question, sample, label=label)
            self.judge.weigh(state, question.id, sample.said, sample.us, us, label=label)

    def _account(
        self,
        state: LadderState,
        key: str,
        question: Question,
        name: str,
        sample: Sample,
        *,
        label: bool,
    ) -> None:
        """Charge a generation for what it said."""
        full = f"{key}|{name}"
        evidence = state.evidence.setdefault(full, Evidence())
        self.judge.account(
            state, question.id, name, evidence, sample.said[name], sample.us, label=label
        )
        state.mark(f"evidence/{full}")

    def _teach(
        self,
        state: LadderState,
        us: int,
        full: str,
        question: Question,
        rung: Rung,
        sample: Sample,
        label: bool,
    ) -> None:
        """Let one generation learn, and see that it can still score afterwards."""
        model = state.models.get(full)
        if model is None:
            model = state.models[full] = rung.make(question.id)
        state.mark(f"model/{full}")
        try:
            model.learn(sample.features, label)
        except (ArithmeticError, ValueError) as error:
            self._bar(state, us, full, question, rung, f"cannot learn: {error}")
            return
        score, why = checked(model, sample.features)
        if score is None:
            self._bar(state, us, full, question, rung, why)

    def _mix(
        self, state: LadderState, key: str, question: Question, sample: Sample, *, label: bool
    ) -> None:
        """Weigh the generations that are mixed now by what they said then."""
        cells = self.judge.cells[question.id]
        mixture = state.mixtures.get(key)
        if mixture is None:
            names = self.judge.mixed(state, question.id)
            if not names:
                return
            mixture = state.mixtures[key] = Mixture.fresh(names, cells.processes)
        share = self.config.evidence.share
        mixture.learn(cells.at(sample.us), sample.said, label=label, share=share)
        state.mark(f"mix/{key}")

    def _bar(
        self,
        state: LadderState,
        us: int,
        full: str,
        question: Question,
        rung: Rung,
        why: str,
    ) -> None:
        """Take the authority of a generation that failed a check, and what it had learned."""
        self.judge.quarantine(state, us, question.id, rung, why)
        if state.models.pop(full, None) is not None:
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
