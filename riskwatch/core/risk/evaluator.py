"""One evaluation of everything, at a tick: the fixed order in which scopes are looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import SECOND
from riskwatch.core.enums import Cause, Quality, State
from riskwatch.core.outputs import Output
from riskwatch.core.risk import reports
from riskwatch.core.risk.decision import Looker
from riskwatch.core.risk.explanation import Scene
from riskwatch.core.risk.exposure import price_of
from riskwatch.core.risk.features import (
    OLD,
    Features,
    asset_features,
    asset_quality,
    counterparty_features,
    engaged,
    heard,
    note_asset,
    note_party,
    venue_asset_features,
    venue_quality,
)
from riskwatch.core.risk.limits import LimitBook
from riskwatch.core.risk.rule_engine import score_name
from riskwatch.core.risk.scorer import Grounds
from riskwatch.core.risk.state import doubts
from riskwatch.core.scopes import ASSET, BOOK, COUNTERPARTY, FIRM, VENUE_ASSET, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.readings import Slip
    from riskwatch.core.reference import Limits, Reference
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.credit_loss import Assessor
    from riskwatch.core.risk.decision import DecisionWriter
    from riskwatch.core.risk.rule_engine import RuleEngine
    from riskwatch.core.risk.scorer import Scorer
    from riskwatch.core.risk.stakes import Evaluation
    from riskwatch.core.risk.state import AssetRow, PartyRow, RiskState


# Whom the stage asks for scores, how often, and what becomes of the answers.


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
            answers.out = [reports.score_updated(each, us) for each in scored]
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


# Our own fills: what they cost teaches what leaving will cost.

MOST: Final = 256
"""Most fills of one counterparty that wait for the next tick."""


def remember(row: PartyRow, slips: list[Slip]) -> None:
    """Keep fills until the next tick: which reading came first must not matter."""
    row.slips = [*row.slips, *slips][:MOST]


def dealings(state: RiskState, us: int, assessor: Assessor) -> None:
    """Learn from the fills that came since the last tick, in order of their time.

    A fill whose market is not seen now, or that is old, as in a catch-up, teaches nothing and is
    counted: nobody knows what it should have cost.
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
        if price is None or us - when > OLD or not heard(state.assets.get(slip.asset), us):
            assessor.slippage.miss(state.scorer, slip.asset)
            continue
        value, law = slip.notional * price, assessor.law(state, slip.asset)
        assessor.slippage.learn(state.scorer, slip.asset, value, law, slip.bp)


class Subject(msgspec.Struct, frozen=True, gc=False):
    """One scope whose turn it is: what is known of it, and what is to be done.

    Attributes
    ----------
    scope : str
        Which.
    features : dict of str to float
        What is known now; what the models say is added to it.
    cause, quality, support, refute, doubt
        As of a :class:`~riskwatch.core.risk.explanation.Scene`.
    fresh : int
        Fresh observations since the last look.
    out : list of Output
        What goes out before the rules look.
    asked : bool
        Whether the models are asked about it.
    labelled, ours : bool
        As of :meth:`riskwatch.core.risk.scorer.Scorer.observe`.
    """

    scope: str
    features: Features
    cause: Cause
    quality: Quality = Quality.GOOD
    support: list[str] = []
    refute: list[str] = []
    fresh: int = 1
    out: Sequence[Output] = ()
    asked: bool = False
    labelled: bool = False
    ours: bool = True
    doubt: str = ""


class Evaluator:
    """Looks at every scope in a fixed order.

    Parameters
    ----------
    config : RiskConfig
        How readings become states.
    reference : Reference
        What is known of assets and parties.
    limits : Limits
        The firm's limits.
    engine : RuleEngine
        Rules and asks.
    writer : DecisionWriter
        Moves scopes, and writes what is said about it.
    scorer : Scorer
        The models.
    """

    def __init__(
        self,
        config: RiskConfig,
        reference: Reference,
        limits: Limits,
        engine: RuleEngine,
        writer: DecisionWriter,
        scorer: Scorer,
    ) -> None:
        self.config = config
        self.reference = reference
        self.limits = LimitBook(limits, reference)
        self.asker = Asker(config, scorer)
        self.dollars = writer.dollars
        self.looker = Looker(config, engine, writer)

    def run(self, state: RiskState, tick: Evaluation) -> list[Output]:
        """Evaluate everything; the state is as of `tick` afterwards."""
        meta = state.meta
        tick.elapsed = tick.us - meta.looked if meta.looked else 0
        dealings(state, tick.us, self.dollars.assessor)
        out: list[Output] = []
        out += self._exposures(state, tick)
        bound = self._limits(state, tick, out)
        out += self._scopes(state, tick, bound)
        out += self.asker.scorer.report(state.scorer, tick.us)
        if tick.due:
            out += self.dollars.assessments(state, tick)
            self.dollars.ask(state, tick)
            out += reports.missing(state, tick.us, self.reference)
            meta.reported = tick.us
        meta.looked, meta.moving = tick.us, tick.moving
        meta.news = meta.holdings = False
        state.mark("meta")
        return out

    def _exposures(self, state: RiskState, tick: Evaluation) -> Iterator[Output]:
        for name in sorted(state.parties):
            row = state.parties[name]
            if row.unshown or tick.due:
                row.unshown = False
                yield from reports.exposures_changed(state, name, row, tick.us, self.config)
                state.mark(f"party/{name}")

    def _limits(
        self, state: RiskState, tick: Evaluation, out: list[Output]
    ) -> dict[str, dict[str, float]]:
        """Measure limits when holdings changed or it is due; else what was measured stands."""
        if state.meta.holdings or tick.due:
            found = list(self.limits.measure(tick.exposures(state, self.reference), state.hards))
            # What nothing is held of any more uses nothing of its limit.
            found += self.limits.emptied(state.limits, {m.key: None for m in found}, state.hards)
            for measured in found:
                out += reports.limit_measured(state, measured, tick.us, self.config)
            state.bound = None
            return self.limits.binding(found)
        if state.bound is None:
            found = list(self.limits.remembered(state.limits, state.hards))
            state.bound = self.limits.binding(found)
        return state.bound

    def _scopes(
        self, state: RiskState, tick: Evaluation, bound: dict[str, Features]
    ) -> Iterator[Output]:
        """Look at every scope, kind by kind; what is known of one is gathered at its turn."""
        for subjects in (self._assets, self._venue_assets, self._counterparties, self._books):
            for subject in subjects(state, tick, bound):
                yield from self._look(state, tick, subject)

    def _look(self, state: RiskState, tick: Evaluation, subject: Subject) -> Iterator[Output]:
        """Put out what is known of one scope, ask the models, and let the rules look."""
        yield from subject.out
        scene = Scene(
            us=tick.us,
            scope=subject.scope,
            features=subject.features,
            cause=subject.cause,
            quality=subject.quality,
            support=subject.support,
            refute=subject.refute,
            stakes=partial(self.dollars.on, state, tick, subject.scope),
            doubt=subject.doubt,
        )
        caps: dict[str, State] = {}
        if subject.asked:
            answers = self.asker.ask(
                state,
                tick.us,
                scene.scope,
                scene.features,
                labelled=subject.labelled,
                ours=subject.ours,
            )
            yield from answers.out
            scene.scores.update(answers.grounds)
            caps = self.looker.bounded(state, tick, scene.scope, answers.caps)
        yield from self.looker.look(state, tick, scene, subject.fresh, caps)

    def _assets(
        self, state: RiskState, tick: Evaluation, bound: dict[str, Features]
    ) -> Iterator[Subject]:
        worst = self._discounts(state, tick.us)
        names = dict.fromkeys(state.assets) | _named(bound, ASSET)
        for name in sorted(names):
            scope, row = f"{ASSET}:{name}", state.assets.get(name)
            if row is None:
                # What was never priced is missing, not gone: PRICE_MISSING says so.
                if not self.looker.idle(state, scope, bound):
                    features = self._asset_features(state, name, tick.us, worst, bound)
                    yield Subject(scope, features, Cause.NONE, fresh=0)
                continue
            quality = asset_quality(row, tick.us, self.config)
            fresh = row.reading.observations - row.observations
            row.observations = row.reading.observations
            if fresh and self._usual(row, name, quality):
                note_asset(row, name, self._state(state, scope), self.config, self.reference)
            features = self._asset_features(state, name, tick.us, worst, bound)
            sent = list(reports.asset_valued(name, row, quality, tick.us, self.config))
            if sent or fresh:
                state.mark(f"asset/{name}")
            yield Subject(
                scope,
                features,
                row.reading.cause,
                quality=quality,
                support=row.reading.support,
                refute=row.reading.refute,
                fresh=fresh,
                out=sent,
                asked="deviation_bp" in features,
                labelled=row.reading.fiat_path and quality is not Quality.UNKNOWN,
            )

    def _asset_features(
        self,
        state: RiskState,
        name: str,
        us: int,
        worst: list[tuple[float, str]],
        bound: dict[str, Features],
    ) -> Features:
        features = asset_features(state, name, us, worst, self.config, self.reference)
        return features | bound.get(f"{ASSET}:{name}", {})

    def _usual(self, row: AssetRow, name: str, quality: Quality) -> bool:
        """Whether what was just seen of a coin may say what is usual."""
        pegged = self.reference.asset(name).peg is not None
        seen = row.reading
        trusted = quality is not Quality.UNKNOWN and seen.cause is not Cause.FEED
        return pegged and trusted and seen.fiat_path

    @staticmethod
    def _state(state: RiskState, scope: str) -> State:
        row = state.scopes.get(scope)
        return State.NORMAL if row is None else row.state

    def _discounts(self, state: RiskState, us: int) -> list[tuple[float, str]]:
        """Discounts of live pegged assets, the largest first."""
        found = [
            (max(0.0, -row.reading.deviation_bp), name)
            for name, row in sorted(state.assets.items())
            if heard(row, us) and self.reference.asset(name).peg is not None
        ]
        return sorted(found, key=lambda pair: (-pair[0], pair[1]))

    def _venue_assets(
        self, state: RiskState, tick: Evaluation, bound: dict[str, Features]
    ) -> Iterator[Subject]:
        del bound  # no limit is on a coin at one venue
        scopes = {s: None for s in state.scopes if parse(s).kind == VENUE_ASSET}
        for venue in sorted(state.venues):
            local = state.venues[venue].local
            scopes |= {f"{VENUE_ASSET}:{venue}/{asset}": None for asset in local}
        for scope in sorted(scopes):
            at = parse(scope)
            row = state.venues.get(at.name)
            if row is None:
                continue  # people halted a coin at a venue that nothing was heard of
            price = row.local.get(at.asset)
            seen = state.sent.get(f"local/{scope}", 0)
            now = seen if price is None else price.observations
            if now != seen:
                state.sent[f"local/{scope}"] = now
                state.mark(f"sent/local/{scope}")
            features = venue_asset_features(row, at.asset, tick.us)
            yield Subject(scope, features, Cause.VENUE, fresh=max(0, now - seen))

    def _counterparties(
        self, state: RiskState, tick: Evaluation, bound: dict[str, Features]
    ) -> Iterator[Subject]:
        doubted = doubts(state)
        known = dict.fromkeys([*state.parties, *state.venues, *doubted])
        # A group's limit closes the door of those of its members that we have nothing with yet.
        names = known | _named(bound, COUNTERPARTY)
        names |= {
            s: None for s in state.credit if self.reference.party(s).kind not in ("issuer", "bank")
        }
        for name in sorted(names):
            scope = f"{COUNTERPARTY}:{name}"
            if name not in known and self.looker.idle(state, scope, bound):
                continue
            party = state.parties.get(name)
            if party is not None and note_party(party, self._state(state, scope), self.config):
                state.mark(f"party/{name}")
            features = counterparty_features(state, name, tick.us, self.config, self.reference)
            asked = name in state.parties or name in state.venues
            quality = venue_quality(state.venues.get(name), tick.us, self.config)
            yield Subject(
                scope,
                features | bound.get(scope, {}),
                Cause.COUNTERPARTY,
                quality=Quality.UNKNOWN if name in doubted else quality,
                asked=asked,
                labelled=name not in doubted,
                ours=asked and engaged(party, state, self.config),
                doubt=doubted.get(name, ""),
            )

    def _books(
        self, state: RiskState, tick: Evaluation, bound: dict[str, Features]
    ) -> Iterator[Subject]:
        del state, tick
        for scope in sorted(bound):
            if parse(scope).kind in (BOOK, FIRM):
                yield Subject(scope, bound[scope], Cause.LIMIT)


def _named(bound: dict[str, Features], kind: str) -> dict[str, None]:
    """Names of the scopes of one kind that limits say something of."""
    return {at.name: None for at in map(parse, bound) if at.kind == kind}
