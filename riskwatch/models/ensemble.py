"""The ladder: every generation, for every target of every scope, side by side.

Each scope has models of its own: pooling coins in one model hurts. Scores come before learning,
always; what is judged is what was said when the sample was taken.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final

from riskwatch.core.enums import State
from riskwatch.core.money import quantise, quantised
from riskwatch.core.risk.scorer import SERVED, Grounds, Scored
from riskwatch.models.aggregate import Mixture, unlearned
from riskwatch.models.anchored import Inputs
from riskwatch.models.authority import Judge
from riskwatch.models.base import Authority
from riskwatch.models.config import questions, rungs
from riskwatch.models.evidence import Evidence, clipped
from riskwatch.models.labels import Pending, Sample
from riskwatch.models.slippage import Slippage
from riskwatch.models.state import LadderState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from riskwatch.core.outputs import AuthorityChanged, Output
    from riskwatch.core.risk.scorer import ModelsConfig, Slipper
    from riskwatch.models.aggregate import Mixed
    from riskwatch.models.anchored import Squashed, Squasher
    from riskwatch.models.base import Generation, Score
    from riskwatch.models.config import Question, Rung


# What generations say, checked and put into the form in which it leaves the ladder.

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


# Everybody who answers: asked about one target of one scope, and heard together.


class Panel:
    """The generations, beside each other.

    Parameters
    ----------
    judge : Judge
        Who says how far each may go.
    questions : sequence of Question
        What is asked.
    rungs : sequence of Rung
        Who answers.
    """

    def __init__(self, judge: Judge, questions: Sequence[Question], rungs: Sequence[Rung]) -> None:
        self.judge = judge
        self._voices = {q.id: [(rung, f"{q.id}|{rung.name}") for rung in rungs] for q in questions}

    def ask(
        self,
        state: LadderState,
        us: int,
        scope: str,
        question: Question,
        x: Inputs,
        *,
        everybody: bool,
        whole: bool,
    ) -> list[Scored]:
        """Let generations score; nothing changes but for one that fails a check.

        Parameters
        ----------
        state : LadderState
            What they have learned.
        us : int
            Event time, microseconds.
        scope : str
            About whom.
        question : Question
            About what.
        x : Inputs
            What is known.
        everybody : bool
            Whether shadows are asked as well.
        whole : bool
            Whether they are asked for their reasons at once.
        """
        scored = []
        for rung, standing in self._voices[question.id]:
            authority = self.judge.authority(state, standing, rung)
            if authority is Authority.SHADOW and not everybody:
                continue
            full = f"{scope}|{standing}"
            model = state.models.get(full)
            if model is None:
                model = rung.newborn(question.id)
            if whole:
                score, why = checked(model, x)
                if score is not None:
                    scored.append(scored_by(rung.name, authority, score, scope, question, x))
                    continue
            else:
                p, why = brief(model, x)
                if p is not None:
                    scored.append(said_by(rung.name, authority, p, model, scope, question, x))
                    continue
            self.bar(state, us, full, question, rung, why)
        return scored

    def serve(
        self,
        state: LadderState,
        us: int,
        key: str,
        question: Question,
        scored: list[Scored],
        severity: float,
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
        return served(mixture, copy, able, severity)

    def bar(
        self, state: LadderState, us: int, full: str, question: Question, rung: Rung, why: str
    ) -> None:
        """Take the authority of a generation that failed a check, and what it had learned."""
        self.judge.quarantine(state, us, question.id, rung, why)
        if state.models.pop(full, None) is not None:
            state.mark(f"model/{full}")


# Labels as they mature: who is charged for what was said, and who learns what.


class Teacher:
    """Lets generations learn from the samples whose answer is known.

    Parameters
    ----------
    share : float
        Share of the weights that is spread evenly after each label.
    judge : Judge
        Who keeps the accounts.
    panel : Panel
        Who bars those that fail.
    rungs : sequence of Rung
        Who learns.
    """

    def __init__(self, share: float, judge: Judge, panel: Panel, rungs: Sequence[Rung]) -> None:
        self.judge = judge
        self._share = share
        self._panel = panel
        self._rungs = rungs

    def learn(
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
            if not getattr(rung.newborn(question.id), "learns", True):
                return
            model = state.models[full] = rung.make(question.id)
        state.mark(f"model/{full}")
        try:
            model.learn(sample.features, label)
        except (ArithmeticError, ValueError) as error:
            self._panel.bar(state, us, full, question, rung, f"cannot learn: {error}")
            return
        probability, why = brief(model, sample.features)
        if probability is None:
            self._panel.bar(state, us, full, question, rung, why)

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
        mixture.learn(cells.at(sample.us), sample.said, label=label, share=self._share)
        state.mark(f"mix/{key}")


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
    >>> from riskwatch.core.risk.scorer import GenerationConfig, ModelsConfig, TargetConfig
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
