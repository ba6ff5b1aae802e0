"""What is said when a scope changes: the decision with its grounds, the switch, the alert."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from riskwatch.core.clock import SECOND, moment
from riskwatch.core.ids import output_id
from riskwatch.core.money import quantise, usd
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    DecisionMade,
    KillSwitchChanged,
)
from riskwatch.core.reasons import Cause, Quality, State
from riskwatch.core.risk.machine import RULES, Look, Request

if TYPE_CHECKING:
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.rows import ScopeRow
    from riskwatch.core.rules import Condition, Rule

RiskOutput = DecisionMade | KillSwitchChanged | AlertRaised | AlertResolved

LIMIT_FEATURES = ("limit_ratio", "warning_ratio")
CREDIT_FEATURES = ("_weight", "_parts", "backing_failed_share")


class Stakes(msgspec.Struct, frozen=True, gc=False):
    """Our dollars on a scope: exposure, expected loss of staying, cost of leaving."""

    exposure: float
    el: float
    exit_cost: float


class Scene(msgspec.Struct, frozen=True, gc=False):
    """What is known of a scope at the moment at which its rules looked.

    `stakes` is called only when it is needed: sums over all holdings cost time. `parts` are the
    additive contributions (logit units) of each probability among the features, by its name.
    """

    us: int
    scope: str
    features: dict[str, float]
    cause: Cause
    quality: Quality
    support: list[str]
    refute: list[str]
    stakes: Callable[[], Stakes]
    parts: dict[str, dict[str, float]] = {}


class Decider:
    """Turns looks into decisions, switches and alerts.

    Parameters
    ----------
    config : RiskConfig
        Life times and thresholds.
    """

    def __init__(self, config: RiskConfig) -> None:
        self.config = config

    def decide(self, row: ScopeRow, look: Look, scene: Scene) -> list[RiskOutput]:
        """Move a scope to the state that follows, and say so if anything changed."""
        out: list[RiskOutput] = []
        # HALT latches: nothing that is measured leads out of it.
        state = State.HALT if row.state is State.HALT else look.state
        decided = state is not row.state
        if decided:
            out.append(self._decision(row, state, look, scene))
        out += self._switch(row, scene, decided=decided)
        out += self._alerts(row, look, scene)
        return out

    def _decision(self, row: ScopeRow, state: State, look: Look, scene: Scene) -> DecisionMade:
        leading = look.requests[0] if look.requests else None
        cause = Cause.NONE if leading is None else cause_of(leading, scene)
        stakes = scene.stakes()
        cause_id = f"tick/{scene.us}"
        decision = DecisionMade(
            id=output_id(cause_id, "DecisionMade", scene.scope),
            cause_id=cause_id,
            ts=moment(scene.us),
            scope=scene.scope,
            previous=row.state,
            state=state,
            quality=scene.quality,
            cause=cause,
            generation=RULES if leading is None else leading.generation,
            rule=row.rule if leading is None else leading.rule.id,
            reasons=_reasons(row, look, scene, cause, stakes),
            features=dict(sorted(scene.features.items())),
            contributions=_contributions(look, leading, scene),
            limits={} if leading is None else limits_of(leading.rule),
            support=scene.support,
            refute=scene.refute,
            flip=_flip(row, state, look, scene),
            exposure_usd=usd(stakes.exposure),
            el_usd=usd(stakes.el),
            exit_cost_usd=usd(stakes.exit_cost),
        )
        row.state, row.cause, row.decision_id = state, cause, decision.id
        row.rule, row.generation = decision.rule, decision.generation
        row.reasons = decision.reasons
        return decision

    def _switch(self, row: ScopeRow, scene: Scene, *, decided: bool) -> list[RiskOutput]:
        """Put the switch where state and quality of data want it."""
        dark = False
        if scene.quality is Quality.UNKNOWN:
            if row.unknown_since < 0:
                row.unknown_since = scene.us
            long_ago = scene.us - row.unknown_since > self.config.unknown_reduce_s * SECOND
            dark = long_ago and scene.stakes().exposure >= self.config.alert_from_usd
        else:
            row.unknown_since = -1
        effective = max(row.state, State.REDUCE, key=_rank) if dark else row.state
        turned = effective is not row.effective
        told = row.quality is not scene.quality and (
            effective is not State.NORMAL or Quality.UNKNOWN in (row.quality, scene.quality)
        )
        if not (turned or told or decided):
            return []
        row.effective, row.quality = effective, scene.quality
        reasons = list(row.reasons) if row.state is not State.NORMAL else []
        if dark:
            reasons.insert(0, _silence(row, scene))
        cause_id = f"tick/{scene.us}"
        return [
            KillSwitchChanged(
                id=output_id(cause_id, "KillSwitchChanged", scene.scope),
                cause_id=cause_id,
                ts=moment(scene.us),
                scope=scene.scope,
                state=row.state,
                effective=effective,
                quality=scene.quality,
                reasons=reasons,
                cause=row.cause,
                decision_id=row.decision_id,
                generation=row.generation,
                valid_until=moment(scene.us) + timedelta(seconds=self.config.valid_s),
            )
        ]

    def _alerts(self, row: ScopeRow, look: Look, scene: Scene) -> list[RiskOutput]:
        """Tell people, if it is about their money; tell them more; and when it is over."""
        out: list[RiskOutput] = []
        if row.state is State.NORMAL:
            if row.alert_id:
                out.append(_resolved(scene, scene.scope, row.alert_id))
                row.alert_id, row.alert_state, row.grounds = "", State.NORMAL, []
            return out + self._dark(row, scene)
        entered = row.state is not row.alert_state
        known = [] if entered else row.grounds
        # A limit that was breached first must not hide that withdrawals have stopped since.
        added = [
            r
            for r in look.requests
            if r.state.rank >= row.state.rank and ground_of(r, scene) not in known
        ]
        if entered or added:
            stakes = scene.stakes()
            if stakes.exposure >= self.config.alert_from_usd:
                out.append(self._raise(row, look, scene, stakes, added, entered=entered))
                row.grounds = sorted({*known, *(ground_of(r, scene) for r in added)})
        return out + self._dark(row, scene)

    def _raise(
        self,
        row: ScopeRow,
        look: Look,
        scene: Scene,
        stakes: Stakes,
        added: list[Request],
        *,
        entered: bool,
    ) -> AlertRaised:
        """Raise the alert of a scope, for the first time or with more to say."""
        cause, reasons = row.cause, row.reasons
        title = f"{scene.scope} is {row.state.value}"
        if not entered:
            cause = cause_of(added[0], scene)
            reasons = _reasons(row, look, scene, cause, stakes)
            title = f"{scene.scope} is {row.state.value}, now also by {ground_of(added[0], scene)}"
        raised = _raised(scene, scene.scope, row, title, stakes, (row.state, cause, reasons))
        row.alert_id = row.alert_id or raised.id
        row.alert_state = row.state
        return raised

    def _dark(self, row: ScopeRow, scene: Scene) -> list[RiskOutput]:
        """Tell people that a scope they hold something of is restricted for want of data."""
        dark = row.effective is not row.state
        key = f"{scene.scope}|data"
        if dark and not row.dark_id:
            title = f"{scene.scope}: no data, effective {row.effective.value}"
            stakes = scene.stakes()
            reasons = [
                _silence(row, scene),
                f"we have {stakes.exposure:,.0f} USD on it; this ends by itself when data is back",
            ]
            said = (State.WATCH, Cause.FEED, reasons)
            raised = _raised(scene, key, row, title, stakes, said)
            row.dark_id = raised.id
            return [raised]
        if not dark and row.dark_id:
            gone, row.dark_id = row.dark_id, ""
            return [_resolved(scene, key, gone)]
        return []


def ground_of(request: Request, scene: Scene) -> str:
    """Name the input on which a request rests: the one that exceeds its threshold most."""
    _, condition = request.rule.severity(scene.features)
    return condition.feature if condition is not None else request.rule.any[0].feature


def cause_of(request: Request, scene: Scene) -> Cause:
    """What moved, by the input that decided."""
    feature = ground_of(request, scene)
    kind = scene.scope.partition(":")[0]
    if feature in LIMIT_FEATURES:
        return Cause.LIMIT
    if kind == "asset":
        return Cause.ISSUER if feature.endswith(CREDIT_FEATURES) else scene.cause
    if kind == "venue-asset" or feature == "dislocation_bp":
        return Cause.VENUE
    return Cause.COUNTERPARTY


def _contributions(look: Look, leading: Request | None, scene: Scene) -> dict[str, float]:
    """What the leading model's probability is made of; else the severity of every rule."""
    if leading is not None and leading.generation != RULES:
        return dict(sorted(scene.parts.get(leading.rule.any[0].feature, {}).items()))
    return {k: quantise(v) for k, v in sorted(look.severities.items())}


def limits_of(rule: Rule) -> dict[str, float]:
    """Thresholds in force of a rule, by name."""
    out = {condition.feature: condition.at for condition in rule.any}
    return out | {
        "dwell_s": rule.dwell_s,
        "observations": float(rule.observations),
        "exit": rule.exit,
        "exit_dwell_s": rule.exit_dwell_s,
    }


def sentence(rule: Rule, condition: Condition, value: float, scope: str) -> str:
    """Say in the rule's own words what it has seen."""
    said = rule.text.format(
        scope=scope,
        feature=condition.feature,
        value=f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}",
        at=f"{condition.at:,.4g}" if abs(condition.at) < 1e4 else f"{condition.at:,.0f}",
        unit=condition.unit,
    )
    return " ".join(said.split())


def _reasons(row: ScopeRow, look: Look, scene: Scene, cause: Cause, stakes: Stakes) -> list[str]:
    out = []
    for request in look.requests:
        _, condition = request.rule.severity(scene.features)
        if condition is None:
            out.append(f"{request.rule.id} still holds: nothing newer is known")
            continue
        said = sentence(request.rule, condition, scene.features[condition.feature], scene.scope)
        if request.severity < 1.0:
            said += f" (held: not below {request.rule.exit:g} of it for long enough)"
        out.append(said)
    if not look.requests:
        out.append(f"{scene.scope}: {row.rule} let go, nothing else is asked for")
    if scene.support and cause in (Cause.ISSUER, Cause.UNKNOWN, Cause.VENUE, Cause.MARKET):
        out.append(f"seen on {', '.join(scene.support)}")
    if scene.refute:
        out.append(f"contradicted by {', '.join(scene.refute)}")
    if stakes.exposure > 0.0:
        dollars = f"we have {stakes.exposure:,.0f} USD on it"
        if stakes.el or stakes.exit_cost:
            dollars += (
                f"; expected loss of staying {stakes.el:,.0f} USD, cost of leaving "
                f"{stakes.exit_cost:,.0f} USD"
            )
        out.append(dollars)
    return out


def _flip(row: ScopeRow, state: State, look: Look, scene: Scene) -> dict[str, Any]:
    """Find the smallest change of one input that would have led to another state.

    Going up: the value below which the leading rule would not have fired. Going down: the value
    at which the rule that let go would have held on.
    """
    up = state.rank > row.state.rank
    rule = look.requests[0].rule if up and look.requests else look.before
    if rule is None:
        return {"needed": "a rule that is no longer in the pack"}
    _, condition = rule.severity(scene.features)
    if condition is None:
        return {"rule": rule.id, "needed": "any value: nothing is known now"}
    return {
        "rule": rule.id,
        "feature": condition.feature,
        "value": quantise(scene.features[condition.feature]),
        "needed": quantise(condition.at if up else condition.at * rule.exit),
        "unit": condition.unit,
    }


def _raised(
    scene: Scene,
    key: str,
    row: ScopeRow,
    title: str,
    stakes: Stakes,
    said: tuple[State, Cause, list[str]],
) -> AlertRaised:
    """Make an alert; `said` is how grave it is, its cause, and why."""
    cause_id = f"tick/{scene.us}"
    severity, cause, reasons = said
    return AlertRaised(
        id=output_id(cause_id, "AlertRaised", key),
        cause_id=cause_id,
        ts=moment(scene.us),
        alert=key,
        scope=scene.scope,
        severity=severity,
        cause=cause,
        title=title,
        reasons=list(reasons),
        exposure_usd=usd(stakes.exposure),
        decision_id=row.decision_id or None,
    )


def _silence(row: ScopeRow, scene: Scene) -> str:
    """Say for how long there has been no data."""
    minutes = (scene.us - row.unknown_since) / SECOND / 60.0
    return f"{scene.scope}: nothing has been heard for {minutes:.0f} minutes"


def _resolved(scene: Scene, key: str, opened_id: str) -> AlertResolved:
    cause_id = f"tick/{scene.us}"
    return AlertResolved(
        id=output_id(cause_id, "AlertResolved", key),
        cause_id=cause_id,
        ts=moment(scene.us),
        alert=key,
        scope=scene.scope,
        opened_id=opened_id,
    )


def _rank(state: State) -> int:
    return state.rank
