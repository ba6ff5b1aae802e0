"""The evaluation of all scopes at a tick, in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import SECOND, rfc3339
from riskwatch.core.enums import Cause, Quality, State
from riskwatch.core.money import quantise
from riskwatch.core.outputs import DecisionMade, Origin, Output
from riskwatch.core.restriction import members_of
from riskwatch.core.risk import reports
from riskwatch.core.risk.adjustments import judge_adjustments
from riskwatch.core.risk.advisory import AdvisoryEvaluator
from riskwatch.core.risk.decision import ScopeEvaluator
from riskwatch.core.risk.drawdown import DrawdownMeter, equity_features
from riskwatch.core.risk.effect import EffectMonitor, queue_groups
from riskwatch.core.risk.explanation import EvaluationContext
from riskwatch.core.risk.exposure import READING_MAX_AGE, anchor_marks, price_of
from riskwatch.core.risk.features import (
    Features,
    asset_features,
    asset_quality,
    counterparty_features,
    has_business,
    held_assets,
    is_foreign_venue,
    is_live,
    update_asset_baseline,
    update_party_baseline,
    venue_asset_features,
    venue_quality,
)
from riskwatch.core.risk.limits import LimitBook, LimitUsage, usage_features
from riskwatch.core.risk.marks import (
    held_unpriced,
    is_unrecognised,
    refresh_marks,
    unknown_scopes,
    unsure_usd,
)
from riskwatch.core.risk.network_waits import common_waits
from riskwatch.core.risk.plausibility import judge_positions
from riskwatch.core.risk.pnl import booked_results
from riskwatch.core.risk.rule_engine import score_feature
from riskwatch.core.risk.scorer import ENSEMBLE, Explanation, ModelScore
from riskwatch.core.risk.state import (
    PublishedScore,
    PublishedScoresRow,
    ScopeRow,
    fault_reasons,
)
from riskwatch.core.risk.transit import track_transfers
from riskwatch.core.scopes import (
    ASSET,
    BOOK,
    COUNTERPARTY,
    FIRM,
    LINKED,
    VENUE_ASSET,
    kind_of_scope,
    parse,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from riskwatch.core.readings import CounterpartyReading
    from riskwatch.core.reference import LimitsConfig, Reference
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.credit_loss import CreditAssessor
    from riskwatch.core.risk.decision import DecisionWriter
    from riskwatch.core.risk.rule_engine import RuleEngine
    from riskwatch.core.risk.scorer import Scorer
    from riskwatch.core.risk.stakes import TickContext
    from riskwatch.core.risk.state import AssetRow, PartyRow, RiskState


# Scores of the models.


class ScopeScores(msgspec.Struct, gc=False):
    """Scores of one scope.

    Attributes
    ----------
    scored : list of ModelScore
        The scores that were computed at this tick.
    due : bool
        Whether scores that changed are published at this tick.
    caps : dict of str to State
        The strictest state that an ask may request because of a score, by the name of the
        feature that holds the score.
    explanations : dict of str to callable
        Returns the explanation of a score, by the name of the feature that holds the score.
    """

    scored: list[ModelScore] = []
    due: bool = False
    caps: dict[str, State] = {}
    explanations: dict[str, Callable[[], Explanation]] = {}

    def add(self, scored: Iterable[ModelScore], features: Features) -> None:
        """Add scores; the probabilities of those above shadow become features."""
        for each in scored:
            self.scored.append(each)
            if each.cap is State.NORMAL:
                continue  # a shadow score is published only: no rule may use it
            feature = score_feature(each.generation, each.target)
            features[feature] = each.probability
            self.explanations[feature] = each.grounds
            self.caps[feature] = each.cap


MAX_SCORES: Final = 10
"""Maximum number of scores of one scope that are published at one tick."""
SCORE_MOVE: Final = 0.01
"""Change of a probability from which a score is published although no input changed."""
SEVERITY_MOVE: Final = 0.1
"""Change of a severity from which a score is published although no input changed."""
AGES: Final = frozenset(
    {"withdrawal_age_s", "withdrawal_age_ratio", "network_wait_ratio", "reserves_age_days"}
)
"""Features that grow by time alone: they are no change of an input."""


class ScoreCollector:
    """Scores scopes: a stressed one at every evaluation, a calm one every `report_s`.

    A score is published if it changed: see :meth:`publish`.

    Parameters
    ----------
    config : RiskConfig
        Report interval and the thresholds of calm.
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
    ) -> ScopeScores:
        """Score one scope if a score is due, and add the probabilities to `features`.

        Parameters are those of :meth:`riskwatch.core.risk.scorer.Scorer.observe`.
        """
        kind = parse(scope).kind
        calm = self._calm(kind, features)
        if not self._due(state, us, scope, calm=calm):
            return ScopeScores()
        scores = ScopeScores()
        key = f"score/{scope}"
        out = us - state.sent.get(key, 0) >= self.config.report_s * SECOND
        scored = self.scorer.observe(
            state.scorer, us, scope, kind, features, labelled=labelled, ours=ours, due=out
        )
        scores.add(scored, features)
        if scored and out:
            scores.due = True
            state.sent[key] = us
            state.mark(f"sent/{key}")
        return scores

    def publish(
        self, state: RiskState, us: int, scores: ScopeScores, inputs: str, *, decided: bool
    ) -> list[Output]:
        """Return the score updates of one scope at this tick, at most `MAX_SCORES`.

        It is called after the scope is evaluated, because a decision publishes its scores.

        Parameters
        ----------
        state : RiskState
            Holds what was published; changed in place.
        us : int
            Event time, microseconds.
        scores : ScopeScores
            From :meth:`ask`, at this tick.
        inputs : str
            The inputs of the scope, and its state. If they are other ones than when scores were
            last due, every score above shadow that differs from the published one is published. If
            not, and for a shadow, a score is published if it moved by `SCORE_MOVE` or
            `SEVERITY_MOVE`, or has another authority.
        decided : bool
            Whether a decision on the scope was made at this tick. Then scores are published that
            did not change, too.

        Notes
        -----
        The aggregate scores go first, then those that were published longest ago. So a score that
        finds no place is published at one of the next times.
        """
        if not (scores.scored and (scores.due or decided)):
            return []
        scope = scores.scored[0].scope
        row = state.published_scores.get(scope) or PublishedScoresRow()
        is_changed = inputs != row.inputs
        waiting = [
            each
            for each in scores.scored
            if decided or _differs(each, row.scores.get(_place(each)), is_changed=is_changed)
        ]
        chosen = _first(waiting, row)
        if scores.due and is_changed:
            row.inputs = inputs
        elif not chosen:
            return []
        for each in chosen:
            row.scores[_place(each)] = PublishedScore(
                us, each.probability, each.severity, each.authority
            )
        state.published_scores[scope] = row
        state.mark(f"score/{scope}")
        return [reports.score_updated(each, us) for each in chosen]

    def _calm(self, kind: str, features: Features) -> bool:
        """Whether a scope is calm: far enough from every target to be scored less often."""
        if kind == ASSET:
            return abs(features["deviation_bp"]) < self.config.calm_bp
        return (
            features.get("dislocation_bp", 0.0) < self.config.calm_dislocation_bp
            and features.get("withdrawal_age_ratio", 0.0) <= 1.0
            and features.get("suspended_weight", 0.0) == 0.0
        )

    def _due(self, state: RiskState, us: int, scope: str, *, calm: bool) -> bool:
        """Whether the scope is scored now; if so, record the time."""
        key = f"asked/{scope}"
        row = state.scopes.get(scope)
        waited = us - state.sent.get(key, 0) >= self.config.report_s * SECOND
        if calm and not waited and (row is None or not row.trackers):
            return False
        state.sent[key] = us
        state.mark(f"sent/{key}")
        return True


def _place(scored: ModelScore) -> str:
    """Return the name of a score within its scope."""
    return f"{scored.target}|{scored.generation}"


def _differs(scored: ModelScore, before: PublishedScore | None, *, is_changed: bool) -> bool:
    """Whether a score differs from the published one: at all if inputs changed, else by a bound.

    A shadow, which decides nothing, must differ by the bound in any case.
    """
    if before is None or scored.authority != before.authority:
        return True
    moved = abs(scored.probability - before.probability)
    grown = abs(scored.severity - before.severity)
    if is_changed and scored.cap is not State.NORMAL:
        return moved > 0.0 or grown > 0.0
    return moved >= SCORE_MOVE or grown >= SEVERITY_MOVE


def _first(waiting: list[ModelScore], row: PublishedScoresRow) -> list[ModelScore]:
    """Return the scores that are published now, in the order of `waiting`."""

    def rank(i: int) -> tuple[bool, int, bool, int]:
        each = waiting[i]
        before = row.scores.get(_place(each))
        since = 0 if before is None else before.us
        return each.generation != ENSEMBLE, since, each.cap is State.NORMAL, i

    return [waiting[i] for i in sorted(sorted(range(len(waiting)), key=rank)[:MAX_SCORES])]


def _text_of(features: Features) -> str:
    """Return features without ages as text, to tell whether an input changed."""
    return ",".join(f"{name}={features[name]:g}" for name in sorted(features) if name not in AGES)


# Slippage of our own fills, from which the cost of leaving is learned.

MAX_WAITING_FILLS: Final = 256
"""Maximum number of fills of one counterparty that wait for the next tick."""


def queue_fills(row: PartyRow, reading: CounterpartyReading) -> None:
    """Queue fills until the next tick, so that the order of readings does not matter."""
    row.slips = [*row.slips, *reading.slips][:MAX_WAITING_FILLS]
    queue_groups(row, reading)


def learn_slippage(state: RiskState, us: int, assessor: CreditAssessor) -> None:
    """Learn from the fills that came since the last tick, in order of their time.

    A fill is counted but not learned from if its market has no live price or if it is old, as in a
    catch-up: its expected cost is then unknown.
    """
    found = []
    for name in sorted(state.parties):
        row = state.parties[name]
        if row.slips:
            found += [(slip.us, name, i, slip) for i, slip in enumerate(row.slips)]
            row.slips = []
            state.mark(f"party/{name}")
    for when, _, _, slip in sorted(found, key=lambda each: each[:3]):
        price = price_of(slip.quote, state)
        if (
            price is None
            or us - when > READING_MAX_AGE
            or not is_live(state.assets.get(slip.asset), us)
        ):
            assessor.slippage.miss(state.scorer, slip.asset)
            continue
        value, law = slip.notional * price, assessor.impact_law(state, slip.asset)
        assessor.slippage.learn(state.scorer, slip.asset, value, law, slip.bp)


class ScopeSubject(msgspec.Struct, frozen=True, gc=False):
    """One scope to evaluate, with its inputs.

    Attributes
    ----------
    scope : str
        The scope.
    features : dict of str to float
        Its features; probabilities of the models are added.
    cause, quality, support, refute, fault, unconfirmed
        As in :class:`~riskwatch.core.risk.explanation.EvaluationContext`.
    fresh : int
        Fresh observations since the last evaluation.
    out : list of Output
        Outputs to publish before the rules are evaluated.
    is_scored : bool
        Whether the models score it.
    labelled, ours : bool
        As in :meth:`riskwatch.core.risk.scorer.Scorer.observe`.
    inputs : str
        The inputs of its scores, to tell whether one changed.
    is_foreign : bool
        Whether it is neither listed, held, limited nor restricted: its values are published, and it
        has no switch. Who invents names makes no scopes.
    silent : sequence of str
        As in :class:`~riskwatch.core.risk.explanation.EvaluationContext`.
    """

    scope: str
    features: Features
    cause: Cause
    quality: Quality = Quality.GOOD
    support: list[str] = []
    refute: list[str] = []
    fresh: int = 1
    out: Sequence[Output] = ()
    is_scored: bool = False
    labelled: bool = False
    ours: bool = True
    fault: str = ""
    unconfirmed: str = ""
    inputs: str = ""
    is_foreign: bool = False
    silent: Sequence[str] = ()


class Evaluator:
    """Evaluates every scope in a fixed order.

    Parameters
    ----------
    config : RiskConfig
        Settings of the stage.
    reference : Reference
        Reference data of assets and parties.
    limits : LimitsConfig
        The firm's limits.
    engine : RuleEngine
        Rules and asks.
    writer : DecisionWriter
        Sets states, and writes decisions, switches and alerts.
    scorer : Scorer
        The models.
    """

    def __init__(
        self,
        config: RiskConfig,
        reference: Reference,
        limits: LimitsConfig,
        engine: RuleEngine,
        writer: DecisionWriter,
        scorer: Scorer,
    ) -> None:
        self.config = config
        self.reference = reference
        self.limits = LimitBook(limits, reference, config)
        self.score_collector = ScoreCollector(config, scorer)
        self.writer = writer
        self.stakes_calculator = writer.stakes_calculator
        self.engine = engine
        self.scope_evaluator = ScopeEvaluator(config, engine, writer)
        self.drawdown_meter = DrawdownMeter(config, limits)
        self.effect_monitor = EffectMonitor(config, reference)
        self.advisory_evaluator = AdvisoryEvaluator(
            engine, writer.stakes_calculator, limits=self.limits.advises
        )

    def run(self, state: RiskState, tick: TickContext) -> list[Output]:
        """Evaluate all scopes at `tick`, update the state, and return the outputs."""
        meta = state.meta
        tick.elapsed = tick.us - meta.looked if meta.looked else 0
        learn_slippage(state, tick.us, self.stakes_calculator.assessor)
        out: list[Output] = []
        booked = booked_results(state) if meta.holdings else {}
        out += judge_adjustments(state, tick.us, self.config.adjustments)
        out += track_transfers(state, tick.us, self.config.transit, due=tick.due)
        if meta.holdings or tick.due:
            refresh_marks(state, self.reference)
            anchor_marks(state)
            out += judge_positions(state, tick.us, self.stakes_calculator.equity)
        out += self._exposures(state, tick)
        limit_features = self._limits(state, tick, out)
        out += self.drawdown_meter.update(state, tick, booked)
        out += self._scopes(state, tick, limit_features)
        out += self.effect_monitor.measure(state, tick)
        out += self.score_collector.scorer.report(state.scorer, tick.us)
        out += self.stakes_calculator.assessments(state, tick)
        if tick.due:
            self.stakes_calculator.ask(state, tick)
            exposures = tick.exposures(state, self.reference)
            out += reports.missing_data_issues(state, tick.us, self.reference, exposures)
            meta.reported = tick.us
        meta.looked, meta.moving = tick.us, tick.moving
        meta.news = meta.holdings = False
        state.mark("meta")
        return out

    def _exposures(self, state: RiskState, tick: TickContext) -> Iterator[Output]:
        for name in sorted(state.parties):
            row = state.parties[name]
            if row.unshown or tick.due:
                row.unshown = False
                yield from reports.exposures_changed(
                    state, name, row, tick.us, self.config, self.reference
                )
                state.mark(f"party/{name}")

    def _limits(
        self, state: RiskState, tick: TickContext, out: list[Output]
    ) -> dict[str, dict[str, float]]:
        """Measure every limit at the prices of this tick, and return the limit features by scope.

        What the rules see is therefore never older than the prices, and restarts change nothing.
        """
        exposures = tick.exposures(state, self.reference)
        unknown = unknown_scopes(state, self.reference, opening=True)
        found = list(self.limits.measure(exposures, state.limit_overrides, unknown))
        # A subject of which nothing is held any more uses nothing of its limit.
        found += self.limits.released_usages(
            state.limits, {m.key: None for m in found}, state.limit_overrides
        )
        held = state.meta.holdings
        for measured in found:
            out += reports.limit_measured(state, measured, tick.us, self.config, held=held)
        return self._apply_usages(state, found)

    def _apply_usages(self, state: RiskState, found: list[LimitUsage]) -> dict[str, Features]:
        """Set what limits say, with and without the advisory ones; return the latter's features."""
        state.binding_usages = self.limits.binding_usages(found)
        state.advisory_usages = (
            self.limits.binding_usages(found, advisory=True) if self.limits.advises else {}
        )
        state.advisory_features = usage_features(state.advisory_usages)
        return usage_features(state.binding_usages)

    def _scopes(
        self, state: RiskState, tick: TickContext, limit_features: dict[str, Features]
    ) -> Iterator[Output]:
        """Evaluate every scope, kind by kind; collect the inputs of each just before."""
        evaluated: dict[str, None] = {}
        for subjects in (self._assets, self._venue_assets, self._counterparties, self._books):
            for subject in subjects(state, tick, limit_features):
                yield from self._evaluate_scope(state, tick, subject)
                evaluated[subject.scope] = None
        yield from self._changed_members(state, tick)
        if self.advisory_evaluator.is_needed(state):
            advised = state.advisory_features or {}
            yield from self.advisory_evaluator.evaluate_rest(state, tick, evaluated, advised)

    def _changed_members(self, state: RiskState, tick: TickContext) -> Iterator[Output]:
        """Publish the switch of a group, issuer or bank again if the reference data changed it."""
        for scope in sorted(state.scopes):
            row = state.scopes[scope]
            if kind_of_scope(scope) not in LINKED or row.effective is State.NORMAL:
                continue
            if row.members != members_of(scope, self.reference):
                yield self.writer.switch(state, scope, row, Origin.tick(tick.us), dark=False)
                state.mark(f"scope/{scope}")

    def _evaluate_scope(
        self, state: RiskState, tick: TickContext, subject: ScopeSubject
    ) -> Iterator[Output]:
        """Publish the values of one scope, score it, and evaluate its rules."""
        yield from subject.out
        if subject.is_foreign:
            return
        context = EvaluationContext(
            us=tick.us,
            scope=subject.scope,
            features=subject.features,
            cause=subject.cause,
            quality=subject.quality,
            support=subject.support,
            refute=subject.refute,
            stakes=partial(self.stakes_calculator.on, state, tick, subject.scope),
            limits=state.binding_usages.get(subject.scope, {}),
            fault=subject.fault,
            unconfirmed=subject.unconfirmed,
            silent=subject.silent,
            dependents=self._dependents(tick, subject.scope),
        )
        caps: dict[str, State] = {}
        scores = ScopeScores()
        if subject.is_scored:
            scores = self.score_collector.ask(
                state,
                tick.us,
                context.scope,
                context.features,
                labelled=subject.labelled,
                ours=subject.ours,
            )
            self._default_scores(state, context.scope, context.features, scores)
            context.scores.update(scores.explanations)
            caps = self.scope_evaluator.apply_bound(state, tick, context.scope, scores.caps)
        made: list[Output] = []
        rules, row = self.engine.of(context.scope), state.scopes.get(context.scope)
        unknown = context.quality is Quality.UNKNOWN
        if row is not None or unknown or rules.has_met_condition(context.features):
            row = row or ScopeRow()
            evaluation = rules.evaluate(
                row,
                context.features,
                context.cause,
                elapsed=tick.elapsed,
                fresh=subject.fresh,
                caps=caps,
            )
            made += self.scope_evaluator.conclude(state, tick, row, evaluation, context)
            if row.effective is not row.state and not row.dark_id and not subject.unconfirmed:
                for venue in subject.silent:
                    tick.dependents.setdefault(venue, []).append(subject.scope)
        inputs = f"{subject.inputs}|{context.quality}|{self._state(state, context.scope)}"
        decided = any(isinstance(each, DecisionMade) for each in made)
        yield from self.score_collector.publish(state, tick.us, scores, inputs, decided=decided)
        yield from made
        if self.advisory_evaluator.is_needed(state):
            advised = (state.advisory_features or {}).get(context.scope, {})
            yield from self.advisory_evaluator.evaluate(
                state, tick, context, subject.fresh, caps, advised
            )

    def _default_scores(
        self, state: RiskState, scope: str, features: Features, scores: ScopeScores
    ) -> None:
        """Add the PD of a counterparty to its scores."""
        at = parse(scope)
        if at.kind == COUNTERPARTY and scores.scored:
            assessor = self.stakes_calculator.assessor
            scores.add(assessor.default_scores(state, at.name, scores.scored), features)

    @staticmethod
    def _dependents(tick: TickContext, scope: str) -> list[str]:
        """Return the scopes for which the alert of a silent venue stands."""
        at = parse(scope)
        return tick.dependents.get(at.name, []) if at.kind == COUNTERPARTY else []

    def _silent_venues(self, state: RiskState, row: AssetRow, us: int) -> list[str]:
        """Return the venues of an asset if all of them are silent as a whole, else nothing."""
        venues = row.reading.at
        dark = [
            name
            for name in venues
            if name in self.reference.parties
            and venue_quality(state.venues.get(name), us, self.config) is Quality.UNKNOWN
        ]
        return dark if len(dark) == len(venues) else []

    def _assets(
        self, state: RiskState, tick: TickContext, limit_features: dict[str, Features]
    ) -> Iterator[ScopeSubject]:
        discounts = self._discounts(state, tick.us)
        limited, ours = _named(limit_features, ASSET), held_assets(state)
        unvalued = {
            name: is_unrecognised(name, state, self.reference)
            for name in held_unpriced(state)
            if price_of(name, state) is None
        }
        names = dict.fromkeys(state.assets) | limited | dict.fromkeys(unvalued)
        missing = unpriced_features(state, unvalued)
        for name in sorted(names):
            scope, row = f"{ASSET}:{name}", state.assets.get(name)
            if row is None:
                # An asset that was never priced is missing, not gone: an issue reports it.
                if name in unvalued or not self.scope_evaluator.is_idle(
                    state, scope, limit_features
                ):
                    features = self._asset_features(state, name, tick.us, discounts, limit_features)
                    features |= missing.get(name, {})
                    yield ScopeSubject(scope, features, Cause.NONE, fresh=int(name in unvalued))
                continue
            quality = asset_quality(row, tick.us, self.config)
            fresh = row.reading.observations - row.observations
            row.observations = row.reading.observations
            if fresh and self._is_baseline_input(row, name, quality):
                update_asset_baseline(
                    row, name, self._state(state, scope), self.config, self.reference
                )
            features = self._asset_features(state, name, tick.us, discounts, limit_features)
            features |= missing.get(name, {})
            is_known = name in self.reference.assets or name in ours or name in limited
            sent = list(reports.asset_valued(name, row, quality, tick.us, self.config))
            if sent or fresh:
                state.mark(f"asset/{name}")
            yield ScopeSubject(
                scope,
                features,
                row.reading.cause,
                quality=quality,
                support=row.reading.support,
                refute=row.reading.refute,
                fresh=fresh,
                out=sent,
                is_scored="deviation_bp" in features,
                labelled=_can_be_labelled(row, quality),
                inputs=f"{row.reading.observations}|{row.reading.cause}",
                is_foreign=not is_known and scope not in state.scopes,
                silent=self._silent_venues(state, row, tick.us),
            )

    def _asset_features(
        self,
        state: RiskState,
        name: str,
        us: int,
        discounts: list[tuple[float, str]],
        limit_features: dict[str, Features],
    ) -> Features:
        features = asset_features(state, name, us, discounts, self.config, self.reference)
        return features | limit_features.get(f"{ASSET}:{name}", {})

    def _is_baseline_input(self, row: AssetRow, name: str, quality: Quality) -> bool:
        """Whether the present reading of an asset may update its baseline."""
        pegged = self.reference.promises_fiat(self.reference.asset(name))
        seen = row.reading
        trusted = quality is not Quality.UNKNOWN and seen.cause is not Cause.FEED
        return pegged and trusted and seen.fiat_path and seen.peg_known

    @staticmethod
    def _state(state: RiskState, scope: str) -> State:
        row = state.scopes.get(scope)
        return State.NORMAL if row is None else row.state

    def _discounts(self, state: RiskState, us: int) -> list[tuple[float, str]]:
        """Return the discounts of live pegged assets in bp with their names, largest first."""
        found = [
            (max(0.0, -row.reading.deviation_bp), name)
            for name, row in sorted(state.assets.items())
            if is_live(row, us)
            and row.reading.venues > 0
            and row.reading.peg_known
            and self.reference.promises_fiat(self.reference.asset(name))
        ]
        return sorted(found, key=lambda pair: (-pair[0], pair[1]))

    def _venue_assets(
        self, state: RiskState, tick: TickContext, limit_features: dict[str, Features]
    ) -> Iterator[ScopeSubject]:
        del limit_features  # no limit applies to an asset at one venue
        scopes = {s: None for s in state.scopes if parse(s).kind == VENUE_ASSET}
        for venue in sorted(state.venues):
            if is_foreign_venue(state, venue, self.reference):
                continue
            local = state.venues[venue].local
            scopes |= {f"{VENUE_ASSET}:{venue}/{asset}": None for asset in local}
        for scope in sorted(scopes):
            at = parse(scope)
            row = state.venues.get(at.name)
            if row is None:
                continue  # operators halted an asset at a venue that has sent no quote
            price = row.local.get(at.asset)
            seen = state.sent.get(f"local/{scope}", 0)
            now = seen if price is None else price.observations
            if now != seen:
                state.sent[f"local/{scope}"] = now
                state.mark(f"sent/local/{scope}")
            features = venue_asset_features(row, at.asset, tick.us)
            yield ScopeSubject(scope, features, Cause.VENUE, fresh=max(0, now - seen))

    def _counterparties(
        self, state: RiskState, tick: TickContext, limit_features: dict[str, Features]
    ) -> Iterator[ScopeSubject]:
        faulted = fault_reasons(state)
        venues = [v for v in state.venues if not is_foreign_venue(state, v, self.reference)]
        known = dict.fromkeys([*state.parties, *venues, *faulted])
        # A group's limit also restricts members with which we hold nothing yet.
        names = known | _named(limit_features, COUNTERPARTY)
        names |= {
            s: None for s in state.credit if self.reference.party(s).kind not in ("issuer", "bank")
        }
        tell_at = self._silent_connections(state, tick)
        common = common_waits(state, tick.us, self.config, self.reference)
        for name in sorted(names):
            scope = f"{COUNTERPARTY}:{name}"
            if name not in known and self.scope_evaluator.is_idle(state, scope, limit_features):
                continue
            party = state.parties.get(name)
            if party is not None and update_party_baseline(
                party, self._state(state, scope), self.config
            ):
                state.mark(f"party/{name}")
            features = counterparty_features(
                state, name, tick.us, self.config, self.reference, common
            )
            is_scored = name in state.parties or name in state.venues
            quality = venue_quality(state.venues.get(name), tick.us, self.config)
            told_at = tell_at.get(name, name)
            dark = name in faulted or bool(party is not None and party.stale)
            yield ScopeSubject(
                scope,
                features | limit_features.get(scope, {}),
                Cause.COUNTERPARTY,
                quality=Quality.UNKNOWN if dark else quality,
                is_scored=is_scored,
                labelled=name not in faulted,
                ours=is_scored and has_business(party, state, self.config),
                fault=faulted.get(name, ""),
                unconfirmed=stale_reason(state, name),
                silent=() if told_at == name or quality is Quality.UNKNOWN else (told_at,),
                inputs=_text_of(features),
            )

    def _silent_connections(self, state: RiskState, tick: TickContext) -> dict[str, str]:
        """Return which counterparty's alert stands for each whose accounts one source left stale.

        It is the one that has an alert already, else the first without data whose exposure is worth
        an alert, and that nothing else restricts as much.
        """
        told_at: dict[str, str] = {}
        for names in stale_connections(state).values():
            rows = {name: state.scopes.get(f"{COUNTERPARTY}:{name}", ScopeRow()) for name in names}
            worth = [
                name
                for name in names
                if rows[name].state.rank < State.REDUCE.rank
                and self.stakes_calculator.on(state, tick, f"{COUNTERPARTY}:{name}").exposure
                >= self.config.alert_from_usd
            ]
            since = {name: rows[name].unknown_since for name in worth}
            order = sorted(worth, key=lambda name: (since[name] < 0, since[name], name))
            for leader in ([n for n in names if rows[n].dark_id] or order)[:1]:
                told_at |= dict.fromkeys(names, leader)
        return told_at

    def _books(
        self, state: RiskState, tick: TickContext, limit_features: dict[str, Features]
    ) -> Iterator[ScopeSubject]:
        del tick
        measured = equity_features(state)
        firm = measured.pop(FIRM, {})
        unsure = quantise(unsure_usd(state) / self.stakes_calculator.equity)
        if firm or unsure or FIRM in limit_features or FIRM in state.scopes:
            firm["unsure_share"] = unsure
        scopes = {s: None for s in limit_features if parse(s).kind in (BOOK, FIRM)}
        scopes |= dict.fromkeys(measured)
        if firm:
            scopes[FIRM] = None
        for scope in sorted(scopes):
            equity = firm if scope == FIRM else measured.get(scope, {})
            yield ScopeSubject(scope, limit_features.get(scope, {}) | equity, Cause.LIMIT)


def stale_connections(state: RiskState) -> dict[tuple[str, ...], list[str]]:
    """Return the counterparties with stale accounts, by the sources that left all of them."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(state.parties):
        stale = state.parties[name].stale
        if stale:
            sources = dict.fromkeys(source for each in stale for source in each.sources)
            found.setdefault(tuple(sorted(sources)), []).append(name)
    return found


def stale_reason(state: RiskState, name: str) -> str:
    """Return why what we have with a counterparty is not confirmed; empty if it is.

    If one connection left several counterparties, the reason names all of them.
    """
    party = state.parties.get(name)
    if party is None or not party.stale:
        return ""
    accounts = ", ".join(each.account for each in party.stale)
    last = min(each.us for each in party.stale)
    for sources, names in stale_connections(state).items():
        if name in names and len(names) > 1:
            return (
                f"our connection {', '.join(sources)} is silent about {', '.join(names)} since "
                f"{rfc3339(last)}"
            )
    return f"no source has confirmed what account {accounts} has since {rfc3339(last)}"


def unpriced_features(state: RiskState, unvalued: dict[str, bool]) -> dict[str, Features]:
    """Return which assets nothing values, and which were only sent to us, by asset.

    `unvalued` says of each whether it was only sent to us. Other scopes that have rows need the
    zeros, so that a rule lets go.
    """
    found: dict[str, Features] = {
        at.name: {"unpriced": 0.0, "unrecognised": 0.0}
        for at in map(parse, state.scopes)
        if at.kind == ASSET
    }
    for name, sent in unvalued.items():
        found[name] = {"unpriced": float(not sent), "unrecognised": float(sent)}
    return found


def _can_be_labelled(row: AssetRow, quality: Quality) -> bool:
    """Whether the measure of an asset is reliable enough for a label.

    Without a path to fiat, the pair with another coin gives it, if a listed venue quotes the pair.
    """
    seen = row.reading
    return quality is not Quality.UNKNOWN and (seen.fiat_path or seen.venues > 0)


def _named(limit_features: dict[str, Features], kind: str) -> dict[str, None]:
    """Return the names of the scopes of one kind that have limit features."""
    return {at.name: None for at in map(parse, limit_features) if at.kind == kind}
