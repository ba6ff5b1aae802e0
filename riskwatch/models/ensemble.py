"""The ensemble: all generations of models, for all targets of all scopes.

Every scope has models of its own. Of a generation that is pooled, all scopes of a kind share one
model, and each has a shift of its own. Scoring always precedes learning. A generation is charged
for its prediction at the time of the sample.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final

from riskwatch.core.enums import State
from riskwatch.core.money import quantise, quantise_all
from riskwatch.core.risk.scorer import ENSEMBLE, Explanation, ModelScore
from riskwatch.core.scopes import kind_of_scope
from riskwatch.models.aggregate import Mixture, even_mixture
from riskwatch.models.anchored import Inputs
from riskwatch.models.authority import AuthorityPolicy
from riskwatch.models.base import Authority
from riskwatch.models.config import detectors_by_kind, generation_specs, target_specs
from riskwatch.models.evidence import Evidence, clip_probability
from riskwatch.models.labels import PendingSamples, Sample
from riskwatch.models.slippage import SlippageEstimator
from riskwatch.models.state import EnsembleState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from riskwatch.core.outputs import AuthorityChanged, Output
    from riskwatch.core.risk.scorer import ModelsConfig, SlippageModel
    from riskwatch.models.aggregate import AggregateProbability
    from riskwatch.models.anchored import SoftsignFeatures, SoftsignScaler
    from riskwatch.models.base import Generation, Score
    from riskwatch.models.config import GenerationSpec, TargetSpec
    from riskwatch.models.detector import Detector


# Checks and explanations of single scores, and the aggregate score.

DIGITS: Final = 6
"""Decimal digits of the probabilities, severities and contributions of scores."""


def fault_in(probability: float, score: Score | None) -> str:
    """Describe the fault of a score; empty if there is none.

    Parameters
    ----------
    probability : float
        The probability.
    score : Score or None
        The whole score, if it was computed with contributions.
    """
    if not 0.0 <= probability <= 1.0:
        return f"must give a probability in [0, 1], gave {probability}"
    if score is not None and not math.isfinite(score.severity + sum(score.contributions.values())):
        return "must give finite contributions"
    return ""


def fault_of(model: Generation, x: Mapping[str, float]) -> str:
    """Describe the fault of a model's score for these features; empty if there is none."""
    probability_only = getattr(model, "probability", None)
    try:
        if probability_only is not None:
            return fault_in(probability_only(x), None)
        score = model.score(x)
    except (ArithmeticError, ValueError) as error:
        return error_text(error)
    return fault_in(score.probability, score)


def error_text(error: Exception) -> str:
    """Describe an error that a model raised when it scored."""
    return f"cannot score: {error}"


def ask_grounds(model: Generation, x: dict[str, float]) -> Explanation:
    """Score again and return the explanation. Scoring changes nothing."""
    nothing: Explanation = ({"severity": x["severity"]}, {})
    try:
        score = model.score(x)
    except (ArithmeticError, ValueError):
        return nothing  # the probability was usable without an explanation, so the score stays
    return nothing if fault_in(score.probability, score) else grounds_of(score, x)


def grounds_of(score: Score, x: dict[str, float]) -> Explanation:
    """Return the features that a score used, and its contributions."""
    used = {feature: x[feature] for feature in score.contributions if feature in x}
    used["severity"] = x["severity"]
    return used, quantise_all(score.contributions)


def served_score(
    mixture: Mixture | None, copy: int, scored: list[ModelScore], severity: float
) -> ModelScore:
    """Return the aggregate score of the generations.

    Parameters
    ----------
    mixture : Mixture or None
        Weights of the generations. ``None`` before the first label: the weights are even.
    copy : int
        Index of the copy of the weights to use now.
    scored : list of ModelScore
        Scores of the generations with an authority above shadow.
    severity : float
        Measure ÷ threshold.

    Returns
    -------
    ModelScore
        Its authority is the lowest authority of the mixed generations.
    """
    predictions = {each.generation: each.probability for each in scored}
    least = min(scored, key=lambda each: each.cap.rank)
    mixed = even_mixture(predictions) if mixture is None else mixture.aggregate(copy, predictions)
    p = quantise(mixed.probability, DIGITS)
    return ModelScore(
        scope=least.scope,
        target=least.target,
        generation=ENSEMBLE,
        authority=least.authority,
        cap=least.cap,
        probability=p,
        severity=severity,
        grounds=partial(_mixture_explanation, p, predictions, mixed, severity),
    )


def _mixture_explanation(
    p: float, predictions: dict[str, float], mixed: AggregateProbability, severity: float
) -> Explanation:
    """Return the contributions of the generations and of the recalibration to the aggregate."""
    parts: dict[str, float] = {}
    mean = _clipped_logit(mixed.mean)
    rest = mean
    for name, weight in mixed.weights.items():
        parts[name] = part = round(weight * _clipped_logit(predictions[name]), DIGITS)
        rest -= part
    if len(predictions) > 1:
        # The mean is taken over probabilities, so in logits a remainder is left.
        parts["mixing"] = quantise(rest, DIGITS)
    parts["recalibration"] = quantise(_clipped_logit(p) - mean, DIGITS)
    return {"severity": severity}, parts


def _clipped_logit(probability: float) -> float:
    """Return the log-odds of a clipped probability."""
    p = clip_probability(probability)
    return math.log(p / (1.0 - p))


class TargetModel:
    """The models of one scope and one target, at one moment.

    They score, are aggregated, take samples and learn. The object is created for one
    observation. It holds references only; all learned state is in `state`.

    Parameters
    ----------
    policy : AuthorityPolicy
        Authority of each generation.
    state : EnsembleState
        Learned state; changed in place.
    target_spec : TargetSpec
        The target.
    scope : str
        The scope.
    us : int
        Event time, microseconds.
    """

    __slots__ = ("authority", "features", "key", "scope", "state", "target_spec", "us")

    def __init__(
        self,
        policy: AuthorityPolicy,
        state: EnsembleState,
        target_spec: TargetSpec,
        scope: str,
        us: int,
    ) -> None:
        self.state = state
        self.target_spec = target_spec
        self.scope = scope
        self.us = us
        self.key = f"{scope}|{target_spec.id}"
        self.authority = policy.at(state, target_spec.id, us)
        self.features: dict[str, float] = {}
        """Features that were used by the scores with contributions."""

    @property
    def sample_due(self) -> bool:
        """Whether a new sample is due."""
        return self.target_spec.sampled(self.state.pending.get(self.key), self.us)

    @property
    def label_due(self) -> bool:
        """Whether the horizon of any waiting sample is over."""
        pending = self.state.pending.get(self.key)
        return pending is not None and pending.due(self.target_spec.target, self.us)

    def score(self, x: Inputs, *, with_shadows: bool, reasons: bool) -> list[ModelScore]:
        """Score with the generations. Nothing changes, except that a failing one is quarantined.

        Parameters
        ----------
        x : Inputs
            Known features, and the severity.
        with_shadows : bool
            Whether generations with authority shadow score as well.
        reasons : bool
            Whether contributions are computed now. Otherwise only the probability is, where the
            model can give it alone.
        """
        found = []
        for spec, key in self.authority.generations:
            authority = self.authority.of(spec, key)
            if authority is Authority.SHADOW and not with_shadows:
                continue
            model = self._model(spec, key)
            probability_only = None if reasons else getattr(model, "probability", None)
            score: Score | None = None
            try:
                if probability_only is None:
                    score = model.score(x)
                    probability = score.probability
                else:
                    probability = probability_only(x)
            except (ArithmeticError, ValueError) as error:
                self._quarantine(spec, error_text(error))
                continue
            fault = fault_in(probability, score)
            if fault:
                self._quarantine(spec, fault)
                continue
            if score is None:
                severity, grounds = x["severity"], partial(ask_grounds, model, x)
            else:
                severity = quantise(score.severity, DIGITS)
                grounds = partial(grounds_of, score, x)
                self.features.update((name, x[name]) for name in score.contributions if name in x)
                self.features["severity"] = x["severity"]
            found.append(
                ModelScore(
                    scope=self.scope,
                    target=self.target_spec.id,
                    generation=spec.name,
                    authority=authority.value,
                    cap=authority.cap,
                    probability=quantise(probability, DIGITS),
                    severity=severity,
                    grounds=grounds,
                )
            )
        return found

    def _model(self, spec: GenerationSpec, key: str) -> Generation:
        """Return the model that scores: of the scope, of its pool, or an untrained one."""
        model = self.state.models.get(f"{self.scope}|{key}")
        if model is not None:
            return model
        if spec.is_pooled:
            pool = self.state.pools.get(self._pool(spec))
            if pool is not None:
                return pool.member()
        return spec.untrained_model(self.target_spec.id)

    def _pool(self, spec: GenerationSpec) -> str:
        """Return the name of the pool of a generation."""
        return f"{kind_of_scope(self.scope)}|{self.target_spec.id}|{spec.name}"

    def aggregate(self, scored: list[ModelScore], severity: float) -> ModelScore | None:
        """Aggregate the scores of all generations above shadow; ``None`` if there is none."""
        able = [each for each in scored if each.cap is not State.NORMAL]
        if not able:
            return None
        mixture, copy = self.state.mixtures.get(self.key), 0
        if mixture is not None:
            if mixture.set_generations([each.generation for each in able]):
                self.state.mark(f"mix/{self.key}")
            copy = self.authority.cells.at(self.us)[0]
        return served_score(mixture, copy, able, severity)

    def sample(self, x: Inputs, scored: list[ModelScore], *, most: int) -> bool:
        """Take a sample of the features and the predictions; it waits for its label.

        It returns false if the scope is beyond the largest number of scopes.

        Parameters
        ----------
        x : Inputs
            Known features, and the severity.
        scored : list of ModelScore
            All scores with contributions, and the aggregate score.
        most : int
            Largest number of scopes to learn about.
        """
        pending = self.state.pending.get(self.key)
        if pending is None:
            if not self.state.admit(self.scope, most):
                return False
            pending = self.state.pending[self.key] = PendingSamples()
        # The configuration guarantees that no more than `max_pending` samples wait.
        predictions = {each.generation: each.probability for each in scored}
        parts = self.target_spec.known_parts(x)
        pending.add(Sample(self.us, dict(sorted(self.features.items())), predictions, parts=parts))
        self.state.mark(f"pending/{self.key}")
        return True

    def learn(self, measure: float | None, known: Mapping[str, float]) -> None:
        """Update evidence, models and weights with the samples whose label is known now.

        Parameters
        ----------
        measure : float or None
            The measure now. ``None`` censors the samples: we hold nothing there any more.
        known : mapping
            Known features.
        """
        pending = self.state.pending.get(self.key)
        if pending is None or not pending.samples:
            return
        self.state.mark(f"pending/{self.key}")
        if measure is None:
            matured = pending.censor(self.target_spec.target, self.us)
        else:
            matured = pending.observe(self.target_spec.target, self.us, measure, known)
        for sample, label in matured:
            self.authority.note_label()
            for spec, _ in self.authority.generations:
                # A generation may have been configured after the sample was taken.
                if spec.name in sample.said:
                    self._account(spec.name, sample, label=label)
                    self._train(spec, sample, label=label)
            if ENSEMBLE in sample.said:
                self._account(ENSEMBLE, sample, label=label)
            self._mix(sample, label=label)
            self.authority.apply_label(sample.said, sample.us, label=label)

    def _account(self, name: str, sample: Sample, *, label: bool) -> None:
        """Charge a generation for its prediction in the sample."""
        full = f"{self.key}|{name}"
        evidence = self.state.evidence.setdefault(full, Evidence())
        self.authority.account(name, evidence, sample.said[name], sample.us, label=label)
        self.state.mark(f"evidence/{full}")

    def _train(self, spec: GenerationSpec, sample: Sample, *, label: bool) -> None:
        """Train one generation with the sample, and check that it can still score.

        The check finds a broken model before its state is stored, so a restart never reads it.
        """
        full = f"{self.key}|{spec.name}"
        model = self.state.models.get(full)
        if model is None:
            if not getattr(spec.untrained_model(self.target_spec.id), "learns", True):
                return
            model = self.state.models[full] = self.state.newborn(full)
        self.state.mark(f"model/{full}")
        if spec.is_pooled:
            self.state.mark(f"pool/{self._pool(spec)}")
        try:
            model.learn(sample.features, label)
        except (ArithmeticError, ValueError) as error:
            self._quarantine(spec, f"cannot learn: {error}")
            return
        fault = fault_of(model, sample.features)
        if fault:
            self._quarantine(spec, fault)

    def _mix(self, sample: Sample, *, label: bool) -> None:
        """Update the weights of the mixed generations by their predictions in the sample."""
        cells = self.authority.cells
        mixture = self.state.mixtures.get(self.key)
        if mixture is None:
            names = self.authority.mixture_names()
            if not names:
                return
            mixture = self.state.mixtures[self.key] = Mixture.fresh(names, cells.processes)
        share = self.authority.policy.config.share
        mixture.learn(cells.at(sample.us), sample.said, label=label, share=share)
        self.state.mark(f"mix/{self.key}")

    def _quarantine(self, spec: GenerationSpec, why: str) -> None:
        """Quarantine a generation that failed a check, and drop what it learned here."""
        self.authority.quarantine(spec, why)
        full = f"{self.key}|{spec.name}"
        if self.state.models.pop(full, None) is not None:
            self.state.mark(f"model/{full}")
        if spec.is_pooled:
            self._drop_pool(spec)

    def _drop_pool(self, spec: GenerationSpec) -> None:
        """Drop what a pool learned, and its members: a broken pool breaks the scores of all."""
        pool = self._pool(spec)
        if self.state.pools.pop(pool, None) is None:
            return
        self.state.mark(f"pool/{pool}")
        kind, rest = pool.split("|", 1)
        for name in sorted(self.state.models):
            if name.endswith(f"|{rest}") and kind_of_scope(name.split("|")[0]) == kind:
                del self.state.models[name]
                self.state.mark(f"model/{name}")


def _teach_detectors(
    state: EnsembleState, detectors: list[Detector], telemetry: dict[str, float]
) -> None:
    """Let the detectors learn the telemetry of a moment at which a sample was taken."""
    for detector in detectors:
        detector.learn(telemetry)
        state.mark(f"detector/{detector.config.feature}")


class Ensemble:
    """Scores scopes with every generation, and trains the generations.

    Parameters
    ----------
    config : ModelsConfig
        Targets and generations.

    Raises
    ------
    ModelError
        If a target or a generation is invalid or given twice, or a bound is too small.

    Examples
    --------
    >>> from riskwatch.core.risk.scorer import GenerationConfig, ModelsConfig, TargetConfig
    >>> ensemble = Ensemble(ModelsConfig(
    ...     targets=(TargetConfig(threshold=50.0, horizon_s=3600.0),),
    ...     generations=(GenerationConfig(model="rules", authority="full"),)))
    >>> score, total = ensemble.observe(ensemble.fresh(), 0, "asset:USDC", "asset",
    ...                                  {"discount_bp": 50.0}, labelled=True)
    >>> score.target, score.probability, total.generation, total.probability
    ('depeg(discount 50bp, 1h)', 0.5, 'served', 0.5)
    """

    def __init__(self, config: ModelsConfig) -> None:
        self.config = config
        self._targets = target_specs(config)
        self._generations = generation_specs(config)
        specs = [target_spec for group in self._targets.values() for target_spec in group]
        self.policy = AuthorityPolicy(config, specs, self._generations)
        for target_spec in specs:
            for spec in self._generations:
                spec.untrained_model(target_spec.id)  # raises now if it cannot be made
        self._detectors = detectors_by_kind(config)
        self.slippage: SlippageModel = SlippageEstimator(config.slippage, config.max_scopes)

    def inputs(self) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
        """Return generation, kind of scope, target and features of each model that lists them."""
        for kind, group in self._targets.items():
            for target in group:
                for spec in self._generations:
                    features = getattr(spec.untrained_model(target.id), "features", ())
                    yield spec.name, kind, target.id, tuple(features)

    def fresh(self) -> EnsembleState:
        """Return the state of untrained models."""
        return EnsembleState(
            {spec.name: spec.make for spec in self._generations},
            tuple(spec.name for spec in self._generations if spec.is_pooled),
            {name: made for group in self._detectors.values() for name, made in group.items()},
        )

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
        """Score a scope, then learn from labels that matured, then take a new sample.

        The parameters are those of :meth:`riskwatch.core.risk.scorer.Scorer.observe`. A feature
        that is NaN or infinite counts as unknown. If `labelled` is false, nothing is learned and
        no sample is taken, because unlabelled does not mean negative. If `ours` is false,
        samples of a target that depends on our own dealings are dropped and counted, and none is
        taken. If `due` is false, shadows score only when a sample is taken.

        Returns
        -------
        list of ModelScore
            Scores by target, then generation, in configured order; then the aggregate score of
            each target. A target whose measure is unknown has no scores. Scopes beyond
            `max_scopes` are scored by untrained models and are not learned about.
        """
        out: list[ModelScore] = []
        mixed: list[ModelScore] = []
        known = {name: float(value) for name, value in features.items() if math.isfinite(value)}
        telemetry = dict(known)
        detectors = [state.detectors[name] for name in self._detectors.get(kind, ())]
        for detector in detectors:
            known[detector.config.feature] = detector.score(telemetry)
        is_sampled = False
        shared: dict[SoftsignScaler, SoftsignFeatures] = {}
        for target_spec in self._targets.get(kind, ()):
            model = TargetModel(self.policy, state, target_spec, scope, us)
            measure = target_spec.measure(known)
            censored = target_spec.ours and not ours
            if measure is None:
                if censored:
                    model.learn(None, known)
                continue
            severity = quantise(measure / target_spec.target.threshold, DIGITS)
            x = Inputs(known, severity, shared)
            is_open = target_spec.target.is_open_at(measure) and not censored
            take_sample = labelled and is_open and model.sample_due
            with_shadows = due or take_sample
            # Learning changes the models, so contributions must be computed before it.
            learning = (censored or labelled) and model.label_due
            scored = model.score(x, with_shadows=with_shadows, reasons=with_shadows or learning)
            out += scored
            mix = model.aggregate(scored, severity)
            if mix is not None:
                mixed.append(mix)
                scored.append(mix)
            if is_open and labelled:
                model.authority.note_asked()
            if censored or labelled:
                model.learn(None if censored else measure, known)
            if take_sample:
                is_sampled |= model.sample(x, scored, most=self.config.max_scopes)
        if is_sampled:
            _teach_detectors(state, detectors, telemetry)
        return out + mixed

    def report(self, state: EnsembleState, us: int) -> list[Output]:
        """Return changes of authority, and the records of generations that are due.

        Parameters
        ----------
        state : EnsembleState
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
        """Change the authority of a generation; see :meth:`.AuthorityPolicy.move`."""
        return self.policy.move(
            state, us, target, generation, to, by=by, why=why, cause_id=cause_id
        )
