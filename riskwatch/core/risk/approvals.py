"""Approvals by two operators: releasing a HALT, overriding it for a while, loosening a limit.

The first operator opens a request, which expires. The second approves exactly that request. All
conditions are checked again at the approval, because they may have changed in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.core.clock import SECOND, rfc3339
from riskwatch.core.enums import CommandRefusal as No
from riskwatch.core.enums import State, strictest
from riskwatch.core.outputs import AlertRaised
from riskwatch.core.restriction import combine, latched
from riskwatch.core.risk.decision import alert_resolved, control_changed, operator_alert
from riskwatch.core.risk.drawdown import drawdown_bp, rebase
from riskwatch.core.risk.gate import CommandArguments, CommandRefusedError, CommandResult
from riskwatch.core.risk.limits import effective_limit
from riskwatch.core.risk.state import ApprovalRequest, ControlRow, HaltOverride, LimitOverrideRow
from riskwatch.core.scopes import BOOK, FIRM, kind_of_scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.operators import Verifier
    from riskwatch.core.outputs import Output
    from riskwatch.core.reference import Limit
    from riskwatch.core.restriction import Restrictions
    from riskwatch.core.risk.config import PeopleConfig
    from riskwatch.core.risk.decision import DecisionWriter, Intervention
    from riskwatch.core.risk.gate import AuthorizedCommand
    from riskwatch.core.risk.rule_engine import RuleEngine
    from riskwatch.core.risk.state import EquityRow, RiskState, ScopeRow
    from riskwatch.core.rules import Rule


def store_control(state: RiskState, scope: str, row: ControlRow) -> None:
    """Store the control row of a scope, or delete it if it is empty."""
    if row.is_idle:
        state.controls.pop(scope, None)
    else:
        state.controls[scope] = row
    state.mark(f"control/{scope}")


# Changes of limits: one operator lowers a limit at once; raising it takes two.


def limit_scope(limit: Limit) -> str:
    """Return the scope that a command about a limit must name.

    Examples
    --------
    >>> from riskwatch.core.reference import Limit
    >>> limit_scope(Limit(id="x", scope_kind="issuer", subject="circle", hard_usd=1.0))
    'issuer:circle'
    """
    return "firm" if limit.scope_kind == "firm" else f"{limit.scope_kind}:{limit.subject}"


def parse_limit_change(
    state: RiskState, authorized: AuthorizedCommand, limits: Mapping[str, Limit]
) -> tuple[Limit, Limit]:
    """Return the limit that a command names, as it is now and as it is to become."""
    args = CommandArguments(authorized)
    name = args.text("limit")
    limit = limits.get(name)
    if limit is None or limit_scope(limit) != authorized.scope:
        raise CommandRefusedError(No.LIMIT_UNKNOWN, f"no limit {name[:64]!r} on {authorized.scope}")
    now = effective_limit(limit, state.limit_overrides)
    hard = args.number("hard_usd")
    share = args.number("warning_share", now.warning_share)
    args.end()
    if share > 1.0:
        raise CommandRefusedError(No.ARGUMENT_INVALID, "warning_share must be at most 1")
    return now, msgspec.structs.replace(now, hard_usd=hard, warning_share=share)


def is_looser(now: Limit, then: Limit) -> bool:
    """Whether `then` allows more than `now`, or warns later."""
    return then.hard_usd > now.hard_usd or (
        then.hard_usd * then.warning_share > now.hard_usd * now.warning_share
    )


def limit_args(then: Limit) -> dict[str, Any]:
    """Return the arguments of a request to change a limit."""
    return {"limit": then.id, "hard_usd": then.hard_usd, "warning_share": then.warning_share}


def apply_limit(
    state: RiskState,
    args: Mapping[str, Any],
    by: str,
    us: int,
    *,
    raise_max_s: float = 0.0,
) -> str:
    """Apply a changed limit and describe it; holdings are measured against it at the next tick.

    It ends after `raise_max_s`, if that is not 0; then what was in force before is in force again.
    """
    name, hard, share = args["limit"], float(args["hard_usd"]), float(args["warning_share"])
    row = LimitOverrideRow(hard, share, by, us)
    said = f"{name}: hard {hard:,.2f} USD, warning from {share:.0%}"
    if raise_max_s > 0.0:
        row.until = us + round(raise_max_s * SECOND)
        before = state.limit_overrides.get(name)
        if before is not None and before.until:  # a second raise does not make the first permanent
            row.hard_before, row.share_before = before.hard_before, before.share_before
        elif before is not None:
            row.hard_before, row.share_before = before.hard_usd, before.warning_share
        said += f", until {rfc3339(row.until)}"
    _set_limit(state, name, row)
    return said


def _set_limit(state: RiskState, name: str, row: LimitOverrideRow | None) -> None:
    """Store an override or delete it, and have the next tick evaluate."""
    if row is None:
        state.limit_overrides.pop(name, None)
    else:
        state.limit_overrides[name] = row
    state.mark(f"hard/{name}")
    state.meta.holdings = True
    state.mark("meta")


def expire_raises(state: RiskState, us: int) -> bool:
    """Put limits back whose raise has ended; return whether there was any."""
    over = [
        name
        for name in sorted(state.limit_overrides)
        if 0 < state.limit_overrides[name].until <= us
    ]
    for name in over:
        row = state.limit_overrides[name]
        by = f"{row.by}, whose raise ended"
        before = LimitOverrideRow(row.hard_before, row.share_before, by, us)
        _set_limit(state, name, before if row.hard_before else None)
    return bool(over)


LIFTING: Final = ("release", "override")
"""Requests that lift a HALT: one of the two people works outside trading."""


class Approvals:
    """Requests and their approval.

    Parameters
    ----------
    config : PeopleConfig
        How long a request waits and an override lasts.
    engine : RuleEngine
        Tells whether the condition of a HALT is still met.
    writer : DecisionWriter
        Sets states, and writes decisions, switches and alerts.
    verifier : Verifier
        The operators and their rights.
    """

    def __init__(
        self,
        config: PeopleConfig,
        engine: RuleEngine,
        writer: DecisionWriter,
        verifier: Verifier,
    ) -> None:
        self.verifier = verifier
        self.config = config
        self.engine = engine
        self.writer = writer

    def release(self, state: RiskState, authorized: AuthorizedCommand) -> CommandResult:
        """Request the release of a HALT."""
        CommandArguments(authorized).end()
        self._releasable(state, authorized.scope)
        return self.ask(state, authorized, "release")

    def override(self, state: RiskState, authorized: AuthorizedCommand) -> CommandResult:
        """Request that a HALT is lifted for a while although its condition is met."""
        args = CommandArguments(authorized)
        until = args.until(self.config.override_max_s)
        to = args.state("state", State.REDUCE)
        args.end()
        self._overridable(state, authorized.scope)
        return self.ask(state, authorized, "override", {"until": until, "state": to.value})

    def approve(self, state: RiskState, authorized: AuthorizedCommand) -> CommandResult:
        """Approve a request as the second operator, and carry it out."""
        row, request = self._waiting(state, authorized)
        by = authorized.intervention(request.action, _both(request, authorized))
        out = withdraw_request(authorized.scope, row, by)
        if request.action == "release":
            detail = self._released(state, authorized, row, by, out)
        elif request.action == "override":
            detail = self._overridden(state, authorized, row, request, by, out)
        elif request.action == "rebase":
            detail = self._rebased(state, authorized, row, request, out)
        else:
            store_control(state, authorized.scope, row)
            detail = self._raised(state, authorized, request)
        out.append(control_changed(state, authorized.scope, authorized.origin))
        return CommandResult(detail, out, "approved", request.id)

    def _raised(
        self, state: RiskState, authorized: AuthorizedCommand, request: ApprovalRequest
    ) -> str:
        """Raise a limit, for as long as the policy allows."""
        by, longest_s = f"{request.by} and {authorized.by}", self.config.raise_max_s
        return apply_limit(state, request.args, by, authorized.us, raise_max_s=longest_s)

    def _released(
        self,
        state: RiskState,
        authorized: AuthorizedCommand,
        row: ControlRow,
        by: Intervention,
        out: list[Output],
    ) -> str:
        scope = authorized.scope
        self._releasable(state, scope)
        to = self._state_after_release(state, scope)
        by.reasons[:0] = self._grounds_after_release(state, scope)
        restrictions = self._restrictions_after_release(state, scope)
        store_control(state, scope, ControlRow(silence=row.silence))
        out += self.writer.intervene(state, scope, to, by, restrictions)
        return f"released to {to.value}"

    def _overridden(
        self,
        state: RiskState,
        authorized: AuthorizedCommand,
        row: ControlRow,
        request: ApprovalRequest,
        by: Intervention,
        out: list[Output],
    ) -> str:
        scope, until, to = (
            authorized.scope,
            int(request.args["until"]),
            State(request.args["state"]),
        )
        if until <= authorized.us:
            raise CommandRefusedError(
                No.EXPIRY_INVALID, f"the override would have ended at {rfc3339(until)}"
            )
        self._overridable(state, scope)
        halted = latched(self._restrictions(state, scope))
        row.override = HaltOverride(request.by, authorized.by, until, to, request.reason, halted)
        row.unwind = None
        store_control(state, scope, row)
        lifted = [(each, to) for each in halted]
        lifted += self._restrictions_after_release(state, scope).items()
        to = strictest((to, self._state_after_release(state, scope)))
        by.reasons.append(f"until {rfc3339(until)}; then the HALT is back")
        by.reasons[:0] = self._grounds_after_release(state, scope)
        out += self.writer.intervene(state, scope, to, by, combine(lifted))
        return f"overridden to {to.value} until {rfc3339(until)}"

    def rebase(self, state: RiskState, authorized: AuthorizedCommand) -> CommandResult:
        """Request that the present unit value becomes the high-water mark of the drawdown."""
        CommandArguments(authorized).end()
        row = _measured_equity(state, authorized.scope)
        fall = drawdown_bp(row)
        if fall <= 0.0:
            raise CommandRefusedError(No.NOTHING_OPEN, f"{authorized.scope} has no drawdown")
        args: dict[str, object] = {"unit_value": row.unit_value}
        fact = f"the drawdown is {fall:,.0f} bp, {row.coverage:.1%} of the equity is known"
        return self.ask(state, authorized, "rebase", args, fact)

    def _rebased(
        self,
        state: RiskState,
        authorized: AuthorizedCommand,
        row: ControlRow,
        request: ApprovalRequest,
        out: list[Output],
    ) -> str:
        scope = authorized.scope
        equity = _measured_equity(state, scope)
        store_control(state, scope, row)
        made = rebase(scope, equity, request, authorized.by, authorized.origin)
        state.mark(f"equity/{scope}")
        out.append(made)
        return (
            f"drawdown {made.former_bp:,.0f} bp before, {made.drawdown_bp:,.0f} bp from a "
            f"high-water mark of {made.high_water_mark:.6f}; the HALT stays until it is released"
        )

    def _waiting(
        self, state: RiskState, authorized: AuthorizedCommand
    ) -> tuple[ControlRow, ApprovalRequest]:
        """Return the request that an approval names, with a copy of its row to change."""
        args = CommandArguments(authorized)
        request_id = args.text("request")
        args.end()
        row = state.controls.get(authorized.scope)
        request = None if row is None else row.request
        if (
            row is None
            or request is None
            or request.id != request_id
            or request.until <= authorized.us
        ):
            raise CommandRefusedError(
                No.REQUEST_UNKNOWN, f"{authorized.scope}: no request {request_id[:40]} waits"
            )
        if request.by == authorized.by:
            raise CommandRefusedError(
                No.SAME_PERSON, f"{authorized.by} asked for it, somebody else approves"
            )
        self._still_entitled(request)
        if request.action in LIFTING and not self.verifier.is_independent(
            request.by, authorized.by
        ):
            raise CommandRefusedError(
                No.NOT_INDEPENDENT,
                f"{request.by} and {authorized.by} are from trading, or state no function: one "
                f"person from outside trading approves a {request.action}",
            )
        return msgspec.structs.replace(row), request

    def _still_entitled(self, request: ApprovalRequest) -> None:
        """Refuse the approval if the operator who asked has lost the right to ask since."""
        asked = self.verifier.operator(request.by)
        if asked is None or asked.disabled:
            raise CommandRefusedError(
                No.OPERATOR_DISABLED, f"{request.by} asked for it, and is disabled"
            )
        if not asked.may(request.action):
            raise CommandRefusedError(
                No.ROLE_FORBIDDEN,
                f"{request.by} asked for it, and is {asked.role} now: may not {request.action}",
            )

    def ask(
        self,
        state: RiskState,
        authorized: AuthorizedCommand,
        action: str,
        args: dict[str, object] | None = None,
        fact: str = "",
    ) -> CommandResult:
        """Store a request for a second operator; it replaces one of the same operator.

        The alert about the request also states `fact`.
        """
        row = copy_control(state, authorized.scope, self.config)
        old = row.request
        if old is not None and old.until > authorized.us and old.by != authorized.by:
            raise CommandRefusedError(
                No.REQUEST_OPEN, f"{old.by} asked for {old.action}, until {rfc3339(old.until)}"
            )
        until = authorized.us + round(self.config.request_s * SECOND)
        row.request = ApprovalRequest(
            authorized.request_origin.stamp(AlertRaised, _request_key(authorized.scope))["id"],
            action,
            authorized.by,
            authorized.us,
            until,
            authorized.reason,
            dict(args or {}),
        )
        store_control(state, authorized.scope, row)
        why = [
            f"{authorized.by}: {authorized.reason}",
            f"waits for a second person until {rfc3339(until)}",
            *([fact] if fact else []),
        ]
        by = authorized.intervention(action, why)
        title = f"{authorized.by} asks for {action} of {authorized.scope}"
        out: list[Output] = [
            operator_alert(
                _request_key(authorized.scope),
                authorized.scope,
                title,
                by,
                authorized.request_origin,
            ),
            control_changed(state, authorized.scope, authorized.origin),
        ]
        return CommandResult(why[1], out, "requested", row.request.id)

    def holding(self, scope: str, row: ScopeRow) -> list[Rule]:
        """Return the rules that request HALT of a scope now, or whose threshold is met."""
        return self.engine.of(scope).holding(row)

    def _state_after_release(self, state: RiskState, scope: str) -> State:
        row = state.scopes.get(scope)
        return State.NORMAL if row is None else self.engine.of(scope).state_after_release(row)

    def _grounds_after_release(self, state: RiskState, scope: str) -> list[str]:
        """Return in words which rules restrict a scope although its HALT is lifted."""
        row = state.scopes.get(scope)
        rules = [] if row is None else self.engine.of(scope).active_below_halt(row)
        return [f"{rule.id} still asks for {rule.state.value}" for rule in rules]

    def _restrictions_after_release(self, state: RiskState, scope: str) -> Restrictions:
        row = state.scopes.get(scope)
        return {} if row is None else self.engine.of(scope).restrictions_after_release(row)

    @staticmethod
    def _restrictions(state: RiskState, scope: str) -> Restrictions:
        """Return what a scope restricts now; of a HALT under an override, what it restricted."""
        row, control = state.scopes[scope], state.controls.get(scope)
        if row.state is not State.HALT and control is not None and control.override is not None:
            return dict(control.override.restriction)
        return dict(row.restriction)

    def _latched(self, state: RiskState, scope: str) -> ScopeRow:
        row, control = state.scopes.get(scope), state.controls.get(scope)
        overridden = control is not None and control.override is not None
        if row is None or not (row.state is State.HALT or overridden):
            raise CommandRefusedError(No.NOT_HALTED, f"{scope} is not at HALT")
        return row

    def _releasable(self, state: RiskState, scope: str) -> None:
        blocking = self.holding(scope, self._latched(state, scope))
        if blocking:
            rules = ", ".join(rule.id for rule in blocking)
            raise CommandRefusedError(
                No.CONDITION_HOLDS, f"{rules}: not clear for long enough, or nothing newer is known"
            )

    def _overridable(self, state: RiskState, scope: str) -> None:
        if not self.holding(scope, self._latched(state, scope)):
            raise CommandRefusedError(
                No.CONDITION_CLEARED, f"nothing asks for HALT of {scope} any more"
            )


def _measured_equity(state: RiskState, scope: str) -> EquityRow:
    """Return the equity of a scope; refuse a scope of which none is measured."""
    if kind_of_scope(scope) not in (FIRM, BOOK):
        detail = "drawdown is judged of firm and books alone"
        raise CommandRefusedError(No.SCOPE_INVALID, detail)
    row = state.equities.get(scope)
    if row is None:
        raise CommandRefusedError(No.NOTHING_OPEN, f"no equity of {scope} is known yet")
    return row


def copy_control(state: RiskState, scope: str, config: PeopleConfig) -> ControlRow:
    """Return a copy of the control row of a scope to change, or a new row if there is room."""
    row = state.controls.get(scope)
    if row is not None:
        return msgspec.structs.replace(row)
    if len(state.controls) >= config.max_scopes:
        raise CommandRefusedError(
            No.TOO_MANY, f"{config.max_scopes} scopes have something in force"
        )
    return ControlRow()


def withdraw_request(scope: str, row: ControlRow, by: Intervention) -> list[Output]:
    """Withdraw the open request of a scope, if there is one, and resolve its alert."""
    request, row.request = row.request, None
    if request is None:
        return []
    return [alert_resolved(by.origin, _request_key(scope), scope, request.id)]


def _request_key(scope: str) -> str:
    """Return the key of the alert about an open request."""
    return f"{scope}|request"


def _both(request: ApprovalRequest, authorized: AuthorizedCommand) -> list[str]:
    return [
        f"{request.action} asked for by {request.by}: {request.reason}",
        f"approved by {authorized.by}: {authorized.reason}",
    ]
