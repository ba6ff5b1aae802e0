"""The ladder: every generation, for every target of every scope, side by side.

Each scope has models of its own: pooling coins in one model hurts. Scores come before learning,
always; what is judged is what was said when the sample was taken.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final

from riskwatch.core.enums import State
from riskwatch.core.money import quantise, quantise_all
from riskwatch.core.risk.scorer import ENSEMBLE, Explanation, ModelScore
from riskwatch.models.aggregate import Mixture, even_mixture
from riskwatch.models.anchored import Inputs
from riskwatch.models.authority import AuthorityPolicy
from riskwatch.models.base import Authority
from riskwatch.models.config import generation_specs, target_specs
from riskwatch.models.evidence import Evidence, clip_probability
from riskwatch.models.labels import PendingSamples, Sample
from riskwatch.models.slippage import SlippageEstimator
from riskwatch.models.state import EnsembleState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from riskwatch.core.outputs import AuthorityChanged, Output
    from riskwatch.core.risk.scorer import ModelsConfig, SlippageModel
    from riskwatch.models.aggregate import AggregateProbability
    from riskwatch.models.anchored import SoftsignFeatures, SoftsignScaler
    from riskwatch.models.base import Generation, Score
    from riskwatch.models.config import GenerationSpec, TargetSpec


# What generations say, checked and put into the form in which it leaves the ladder.

DIGITS: Final = 6
"""Of everything that leaves the ladder."""


def score_checked(model: Generation, x: Mapping[str, float]) -> tuple[Score | None, str]:
    """Ask one generation; ``None`` and why if what it says is nothing that can be used."""
    try:
        score = model.score(x)
    except (ArithmeticError, ValueError) as error:
        return None, f"cannot score: {error}"
    if not 0.0 <= score.probability <= 1.0:
        return None, _probability_error(score.probability)
    if not math.isfinite(score.severity + sum(score.contributions.values())):
        return None, "must give finite contributions"
    return score, ""


def probability_checked(model: Generation, x: Mapping[str, float]) -> tuple[float | None, str]:
    """Ask one generation for no more than its probability; as :func:`checked` otherwise."""
    alone = getattr(model, "probability", None)
    if alone is None:
        score, why = score_checked(model, x)
        return (None if score is None else score.probability), why
    try:
        probability: float = alone(x)
    except (ArithmeticError, ValueError) as error:
        return None, f"cannot score: {error}"
    if not 0.0 <= probability <= 1.0:
        return None, _probability_error(probability)
    return probability, ""


def _probability_error(said: float) -> str:
    return f"must give a probability in [0, 1], gave {said}"


def scored_from_score(
    name: str,
    authority: Authority,
    score: Score,
    scope: str,
    question: TargetSpec,
    x: dict[str, float],
) -> ModelScore:
    """Say what one generation said, and what it rests on."""
    grounds = _explanation(score, x)
    return ModelScore(
        scope=scope,
        target=question.id,
        generation=name,
        authority=authority.value,
        cap=authority.cap,
        probability=quantise(score.probability, DIGITS),
        severity=quantise(score.severity, DIGITS),
        grounds=lambda: grounds,
    )


def scored_from_probability(
    name: str,
    authority: Authority,
    probability: float,
    model: Generation,
    scope: str,
    question: TargetSpec,
    x: dict[str, float],
) -> ModelScore:
    """Say what one generation said; what it rests on is asked of it when somebody wants to know."""
    return ModelScore(
        scope=scope,
        target=question.id,
        generation=name,
        authority=authority.value,
        cap=authority.cap,
        probability=quantise(probability, DIGITS),
        severity=x["severity"],
        grounds=partial(_explain_again, model, x),
    )


def _explain_again(model: Generation, x: dict[str, float]) -> Explanation:
    """Ask a model again, for what its answer rests on; scoring changes nothing."""
    score, _ = score_checked(model, x)
    return ({"severity": x["severity"]}, {}) if score is None else _explanation(score, x)


def _explanation(score: Score, x: dict[str, float]) -> Explanation:
    used = {feature: x[feature] for feature in score.contributions if feature in x}
    used["severity"] = x["severity"]
    return used, quantise_all(score.contributions)


def aggregate_score(
    mixture: Mixture | None, copy: int, scored: list[ModelScore], severity: float
) -> ModelScore:
    """Mix what `scored` said; what comes of it may go as far as the least of them may.

    Without a mixture, nothing was learned yet and all count the same.
    """
    said = {each.generation: each.probability for each in scored}
    least = min(scored, key=lambda each: each.cap.rank)
    mixed = even_mixture(said) if mixture is None else mixture.aggregate(copy, said)
    p = quantise(mixed.probability, DIGITS)
    return ModelScore(
        scope=least.scope,
        target=least.target,
        generation=ENSEMBLE,
        authority=least.authority,
        cap=least.cap,
        probability=p,
        severity=severity,
        grounds=partial(_mixture_explanation, p, said, mixed, severity),
    )


def _mixture_explanation(
    p: float, said: dict[str, float], mixed: AggregateProbability, severity: float
) -> Explanation:
    """Share of each generation in what is served, and of what came of such forecasts before."""
    parts: dict[str, float] = {}
    mean = _clipped_logit(mixed.mean)
    rest = mean
    for name, weight in mixed.weights.items():
        parts[name] = part = round(weight * _clipped_logit(said[name]), DIGITS)
        rest -= part
    if len(said) > 1:
        # The mean is of probabilities: in logits something is left over.
        parts["mixing"] = quantise(rest, DIGITS)
    parts["recalibration"] = quantise(_clipped_logit(p) - mean, DIGITS)
    return {"severity": severity}, parts


def _clipped_logit(probability: float) -> float:
    """Log-odds of a probability as it is mixed."""
    p = clip_probability(probability)
    return math.log(p / (1.0 - p))


# Everybody who answers: asked about one target of one scope, and heard together.


class EnsembleScorer:
    """The generations, beside each other.

    Parameters
    ----------
    policy : Judge
        Who says how far each may go.
    questions : sequence of Question
        What is asked.
    rungs : sequence of Rung
        Who answers.
    """

    def __init__(
        self,
        judge: AuthorityPolicy,
        questions: Sequence[TargetSpec],
        rungs: Sequence[GenerationSpec],
    ) -> None:
        self.policy = judge
        self._generations_by_target = {
            q.id: [(rung, f"{q.id}|{rung.name}") for rung in rungs] for q in questions
        }

    def score_target(
        self,
        state: EnsembleState,
        us: int,
        scope: str,
        question: TargetSpec,
        x: Inputs,
        *,
        everybody: bool,
        whole: bool,
    ) -> list[ModelScore]:
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
        for rung, standing in self._generations_by_target[question.id]:
            authority = self.policy.authority(state, standing, rung)
            if authority is Authority.SHADOW and not everybody:
                continue
            full = f"{scope}|{standing}"
            model = state.models.get(full)
            if model is None:
                model = rung.untrained_model(question.id)
            if whole:
                score, why = score_checked(model, x)
                if score is not None:
                    scored.append(
                        scored_from_score(rung.name, authority, score, scope, question, x)
                    )
                    continue
            else:
                p, why = probability_checked(model, x)
                if p is not None:
                    scored.append(
                        scored_from_probability(rung.name, authority, p, model, scope, question, x)
                    )
                    continue
            self.disqualify(state, us, full, question, rung, why)
        return scored

    def aggregate(
        self,
        state: EnsembleState,
        us: int,
        key: str,
        question: TargetSpec,
        scored: list[ModelScore],
        severity: float,
    ) -> ModelScore | None:
        """Mix what those said that may ask for anything; a shadow has no part in it."""
        able = [each for each in scored if each.cap is not State.NORMAL]
        if not able:
            return None
        mixture, copy = state.mixtures.get(key), 0
        if mixture is not None:
            if mixture.set_generations([each.generation for each in able]):
                state.mark(f"mix/{key}")
            copy = self.policy.cells[question.id].at(us)[0]
        return aggregate_score(mixture, copy, able, severity)

    def disqualify(
        self,
        state: EnsembleState,
        us: int,
        full: str,
        question: TargetSpec,
        rung: GenerationSpec,
        why: str,
    ) -> None:
        """Take the authority of a generation that failed a check, and what it had learned."""
        self.policy.quarantine(state, us, question.id, rung, why)
        if state.models.pop(full, None) is not None:
            state.mark(f"model/{full}")


# Labels as they mature: who is charged for what was said, and who learns what.


class EnsembleLearner:
    """Lets generations learn from the samples whose answer is known.

    Parameters
    ----------
    share : float
        Share of the weights that is spread evenly after each label.
    policy : Judge
        Who keeps the accounts.
    panel : Panel
        Who bars those that fail.
    rungs : sequence of Rung
        Who learns.
    """

    def __init__(
        self,
        share: float,
        judge: AuthorityPolicy,
        panel: EnsembleScorer,
        rungs: Sequence[GenerationSpec],
    ) -> None:
        self.policy = judge
        self._share = share
        self._scorer = panel
        self._generations = rungs

    def learn(
        self,
        state: EnsembleState,
        key: str,
        question: TargetSpec,
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
            matured = pending.observe(question.target, us, measure, known)
        for sample, label in matured:
            self.policy.note_label(state, question.id)
            for rung in self._generations:
                # It may not have been configured yet when the sample was taken.
                if rung.name in sample.said:
                    self._account(state, key, question, rung.name, sample, label=label)
                    self._teach(state, us, f"{key}|{rung.name}", question, rung, sample, label)
            if ENSEMBLE in sample.said:
                self._account(state, key, question, ENSEMBLE, sample, label=label)
            self._mix(state, key, question, sample, label=label)
            self.policy.apply_label(state, question.id, sample.said, sample.us, us, label=label)

    def _account(
        self,
        state: EnsembleState,
        key: str,
        question: TargetSpec,
        name: str,
        sample: Sample,
        *,
        label: bool,
    ) -> None:
        """Charge a generation for what it said."""
        full = f"{key}|{name}"
        evidence = state.evidence.setdefault(full, Evidence())
        self.policy.account(
            state, question.id, name, evidence, sample.said[name], sample.us, label=label
        )
        state.mark(f"evidence/{full}")

    def _teach(
        self,
        state: EnsembleState,
        us: int,
        full: str,
        question: TargetSpec,
        rung: GenerationSpec,
        sample: Sample,
        label: bool,
    ) -> None:
        """Let one generation learn, and see that it can still score afterwards."""
        model = state.models.get(full)
        if model is None:
            if not getattr(rung.untrained_model(question.id), "learns", True):
                return
            model = state.models[full] = rung.make(question.id)
        state.mark(f"model/{full}")
        try:
            model.learn(sample.features, label)
        except (ArithmeticError, ValueError) as error:
            self._scorer.disqualify(state, us, full, question, rung, f"cannot learn: {error}")
            return
        probability, why = probability_checked(model, sample.features)
        if probability is None:
            self._scorer.disqualify(state, us, full, question, rung, why)

    def _mix(
        self, state: EnsembleState, key: str, question: TargetSpec, sample: Sample, *, label: bool
    ) -> None:
        """Weigh the generations that are mixed now by what they said then."""
        cells = self.policy.cells[question.id]
        mixture = state.mixtures.get(key)
        if mixture is None:
            names = self.policy.mixed_generations(state, question.id)
            if not names:
                return
            mixture = state.mixtures[key] = Mixture.fresh(names, cells.processes)
        mixture.learn(cells.at(sample.us), sample.said, label=label, share=self._share)
        state.mark(f"mix/{key}")


class Ensemble:
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
    >>> ladder = Ensemble(ModelsConfig(
    ...     targets=(TargetConfig(threshold=50.0, horizon_s=3600.0),),
    ...     generations=(GenerationConfig(model="rules", authority="full"),)))
    >>> score, aggregate_score = ladder.observe(ladder.fresh(), 0, "asset:USDC", "asset",
    ...                               {"discount_bp": 50.0}, labelled=True)
    >>> score.target, score.probability, aggregate_score.generation, aggregate_score.probability
    ('depeg(discount 50bp, 1h)', 0.5, 'served', 0.5)
    """

    def __init__(self, config: ModelsConfig) -> None:
        self.config = config
        self._targets = target_specs(config)
        self._generations = generation_specs(config)
        asked = [question for group in self._targets.values() for question in group]
        self.policy = AuthorityPolicy(config, asked, self._generations)
        for question in asked:
            for rung in self._generations:
                rung.untrained_model(question.id)  # what cannot be made is refused now, not later
        self.slippage: SlippageModel = SlippageEstimator(config.slippage, config.max_scopes)
        self._scorer = EnsembleScorer(self.policy, asked, self._generations)
        self._learner = EnsembleLearner(
            config.evidence.share, self.policy, self._scorer, self._generations
        )

    def fresh(self) -> EnsembleState:
        """Make the state of models that have seen nothing."""
        return EnsembleState({rung.name: rung.make for rung in self._generations})

    def observe(
        self,
        state: EnsembleState,
        us: int,
        scope: str,
        kind: str,
        features: Mapping[str, float],
        *,
        labelled: bool,
        ours: bool = True,
        due: bool = True,
    ) -> list[ModelScore]:
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
        out: list[ModelScore] = []
        mixed: list[ModelScore] = []
        known = {name: float(value) for name, value in features.items() if math.isfinite(value)}
        shared: dict[SoftsignScaler, SoftsignFeatures] = {}
        for question in self._targets.get(kind, ()):
            key, measure = f"{scope}|{question.id}", question.measure(known)
            gone = question.ours and not ours
            if measure is None:
                if gone:
                    self._learner.learn(state, key, question, us, None, known)
                continue
            severity = quantise(measure / question.target.threshold, DIGITS)
            x = Inputs(known, severity, shared)
            asked = question.target.is_open_at(measure)
            waiting = state.pending.get(key)
            sampled = labelled and asked and not gone and question.sampled(waiting, us)
            everybody = due or sampled
            # Once labels mature, those who said it can no longer be asked why.
            taught = (gone or labelled) and waiting is not None and waiting.due(question.target, us)
            scored = self._scorer.score_target(
                state, us, scope, question, x, everybody=everybody, whole=everybody or taught
            )
            out += scored
            mix = self._scorer.aggregate(state, us, key, question, scored, severity)
            if mix is not None:
                mixed.append(mix)
                scored.append(mix)
            if asked and not gone:
                self.policy.asked(state, question.id, us)
            if gone or labelled:
                self._learner.learn(state, key, question, us, None if gone else measure, known)
            if sampled:
                self._sample(state, scope, key, question, us, x, scored)
        return out + mixed

    def report(self, state: EnsembleState, us: int) -> list[Output]:
        """Say whose authority changed, and how good everybody is where it is due.

        Parameters
        ----------
        state : LadderState
            Changed in place.
        us : int
            Event time, microseconds.
        """
        return self.policy.report(state, us)

    def move(
        self,
        state: EnsembleState,
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
        return self.policy.move(
            state, us, target, generation, to, by=by, why=why, cause_id=cause_id
        )

    def _sample(
        self,
        state: EnsembleState,
        scope: str,
        key: str,
        question: TargetSpec,
        us: int,
        x: dict[str, float],
        scored: list[ModelScore],
    ) -> None:
        """Take a sample, of what everybody said."""
        pending = state.pending.get(key)
        if pending is None:
            if not state.admit(scope, self.config.max_scopes):
                return
            pending = state.pending[key] = PendingSamples()
        # The configuration was refused if more could ever wait than `max_pending`.
        said = {each.generation: each.probability for each in scored}
        # What is served looks at nothing but the others.
        apart = [each for each in scored if each.generation != ENSEMBLE]
        used = {name: x[name] for each in apart for name in each.features}
        parts = question.known_parts(x)
        pending.add(Sample(us, dict(sorted(used.items())), said, parts=parts))
        state.mark(f"pending/{key}")
