"""What takes two people: releasing a HALT, overriding one for a while, loosening a limit.

The first asks (a request with an end), the second approves exactly that request. Everything is
looked at again when it is approved: between the two the condition may have come back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from riskwatch.core.clock import SECOND, rfc3339
from riskwatch.core.enums import CommandRefusal as No
from riskwatch.core.enums import State, strictest
from riskwatch.core.outputs import AlertRaised
from riskwatch.core.risk.decision import alert_resolved, control_changed, operator_alert
from riskwatch.core.risk.gate import CommandArguments, CommandRefusedError, CommandResult
from riskwatch.core.risk.limits import effective_limit
from riskwatch.core.risk.state import ApprovalRequest, ControlRow, HaltOverride, LimitOverrideRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.operators import Verifier
    from riskwatch.core.outputs import Output
    from riskwatch.core.reference import Limit
    from riskwatch.core.risk.config import PeopleConfig
    from riskwatch.core.risk.decision import DecisionWriter, Intervention
    from riskwatch.core.risk.gate import AuthorizedCommand
    from riskwatch.core.risk.rule_engine import RuleEngine
    from riskwatch.core.risk.state import RiskState, ScopeRow
    from riskwatch.core.rules import Rule


# What the risk stage remembers of people: rows per scope, per idempotency key, and counts.


def store_control(state: RiskState, scope: str, row: ControlRow) -> None:
    """Keep what is left of a row, or forget it."""
    if row.is_idle:
        state.controls.pop(scope, None)
    else:
        state.controls[scope] = row
    state.mark(f"control/{scope}")


# Limits as people have changed them: lowered at once, raised by two.


def limit_scope(limit: Limit) -> str:
    """Scope that a command about a limit names.

    Examples
    --------
    >>> from riskwatch.core.reference import Limit
    >>> limit_scope(Limit(id="x", scope_kind="issuer", subject="circle", hard_usd=1.0))
    'issuer:circle'
    """
    return "firm" if limit.scope_kind == "firm" else f"{limit.scope_kind}:{limit.subject}"


def parse_limit_change(
    state: RiskState, order: AuthorizedCommand, limits: Mapping[str, Limit]
) -> tuple[Limit, Limit]:
    """Give the limit that a command names as it is, and as it should become."""
    args = CommandArguments(order)
    name = args.text("limit")
    limit = limits.get(name)
    if limit is None or limit_scope(limit) != order.scope:
        raise CommandRefusedError(No.LIMIT_UNKNOWN, f"no limit {name[:64]!r} on {order.scope}")
    now = effective_limit(limit, state.limit_overrides)
    hard = args.number("hard_usd")
    share = args.number("warning_share", now.warning_share)
    args.end()
    if share > 1.0:
        raise CommandRefusedError(No.ARGUMENT_INVALID, "warning_share must be at most 1")
    return now, msgspec.structs.replace(now, hard_usd=hard, warning_share=share)


def is_looser(now: Limit, then: Limit) -> bool:
    """Whether more is allowed, or the warning comes later."""
    return then.hard_usd > now.hard_usd or (
        then.hard_usd * then.warning_share > now.hard_usd * now.warning_share
    )


def limit_args(then: Limit) -> dict[str, Any]:
    """Write down what a request keeps of a limit."""
    return {"limit": then.id, "hard_usd": then.hard_usd, "warning_share": then.warning_share}


def apply_limit(state: RiskState, args: Mapping[str, Any], by: str, us: int) -> str:
    """Put a limit in force; what we hold is measured against it at the next tick."""
    name, hard, share = args["limit"], float(args["hard_usd"]), float(args["warning_share"])
    state.limit_overrides[name] = LimitOverrideRow(hard, share, by, us)
    state.mark(f"hard/{name}")
    state.limit_features = None
    state.meta.holdings = True
    state.mark("meta")
    return f"{name}: hard {hard:,.2f} USD, warning from {share:.0%}"


class Approvals:
    """Requests and their approval.

    Parameters
    ----------
    config : PeopleConfig
        How long a request waits and an override lasts.
    engine : RuleEngine
        Says whether the condition of a HALT holds.
    writer : DecisionWriter
        Moves scopes, and writes what is said about it.
    verifier : Verifier
        Who may command.
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

    def release(self, state: RiskState, order: AuthorizedCommand) -> CommandResult:
        """Ask for the release of a HALT."""
        CommandArguments(order).end()
        self._releasable(state, order.scope)
        return self.ask(state, order, "release")

    def override(self, state: RiskState, order: AuthorizedCommand) -> CommandResult:
        """Ask for a HALT to be lifted for a while although its condition holds."""
        args = CommandArguments(order)
        until = args.until(self.config.override_max_s)
        to = args.state("state", State.REDUCE)
        args.end()
        self._overridable(state, order.scope)
        return self.ask(state, order, "override", {"until": until, "state": to.value})

    def approve(self, state: RiskState, order: AuthorizedCommand) -> CommandResult:
        """Be the second person of a request, and make it so."""
        row, request = self._waiting(state, order)
        by = order.intervention(request.action, _both(request, order))
        out = withdraw_request(order.scope, row, by)
        if request.action == "release":
            detail = self._released(state, order, row, by, out)
        elif request.action == "override":
            detail = self._overridden(state, order, row, request, by, out)
        else:
            store_control(state, order.scope, row)
            detail = apply_limit(state, request.args, f"{request.by} and {order.by}", order.us)
        out.append(control_changed(state, order.scope, order.origin))
        return CommandResult(detail, out, "approved", request.id)

    def _released(
        self,
        state: RiskState,
        order: AuthorizedCommand,
        row: ControlRow,
        by: Intervention,
        out: list[Output],
    ) -> str:
        scope = order.scope
        self._releasable(state, scope)
        to = self._standing(state, scope)
        store_control(state, scope, ControlRow(silence=row.silence))
        out += self.writer.intervene(state, scope, to, by)
        return f"released to {to.value}"

    def _overridden(
        self,
        state: RiskState,
        order: AuthorizedCommand,
        row: ControlRow,
        request: ApprovalRequest,
        by: Intervention,
        out: list[Output],
    ) -> str:
        scope, until, to = order.scope, int(request.args["until"]), State(request.args["state"])
        if until <= order.us:
            raise CommandRefusedError(
                No.EXPIRY_INVALID, f"the override would have ended at {rfc3339(until)}"
            )
        self._overridable(state, scope)
        row.override = HaltOverride(request.by, order.by, until, to, request.reason)
        row.unwind = None
        store_control(state, scope, row)
        to = strictest((to, self._standing(state, scope)))
        by.reasons.append(f"until {rfc3339(until)}; then the HALT is back")
        out += self.writer.intervene(state, scope, to, by)
        return f"overridden to {to.value} until {rfc3339(until)}"

    def _waiting(
        self, state: RiskState, order: AuthorizedCommand
    ) -> tuple[ControlRow, ApprovalRequest]:
        """Look up the request that an approval names; a copy of its row, to be changed."""
        args = CommandArguments(order)
        wanted = args.text("request")
        args.end()
        row = state.controls.get(order.scope)
        request = None if row is None else row.request
        if row is None or request is None or request.id != wanted or request.until <= order.us:
            raise CommandRefusedError(
                No.REQUEST_UNKNOWN, f"{order.scope}: no request {wanted[:40]} waits"
            )
        if request.by == order.by:
            raise CommandRefusedError(
                No.SAME_PERSON, f"{order.by} asked for it, somebody else approves"
            )
        self._still_entitled(request)
        return msgspec.structs.replace(row), request

    def _still_entitled(self, request: ApprovalRequest) -> None:
        """Two people stand behind it now: who asked has not lost the right to since."""
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
        order: AuthorizedCommand,
        action: str,
        args: dict[str, object] | None = None,
    ) -> CommandResult:
        """Keep a request for a second person, in place of one of the same person."""
        row = copy_control(state, order.scope, self.config)
        old = row.request
        if old is not None and old.until > order.us and old.by != order.by:
            raise CommandRefusedError(
                No.REQUEST_OPEN, f"{old.by} asked for {old.action}, until {rfc3339(old.until)}"
            )
        until = order.us + round(self.config.request_s * SECOND)
        row.request = ApprovalRequest(
            order.origin.stamp(AlertRaised, _waits(order.scope))["id"],
            action,
            order.by,
            order.us,
            until,
            order.reason,
            dict(args or {}),
        )
        store_control(state, order.scope, row)
        why = [f"{order.by}: {order.reason}", f"waits for a second person until {rfc3339(until)}"]
        by = order.intervention(action, why)
        title = f"{order.by} asks for {action} of {order.scope}"
        out: list[Output] = [
            operator_alert(_waits(order.scope), order.scope, title, by),
            control_changed(state, order.scope, order.origin),
        ]
        return CommandResult(why[1], out, "requested", row.request.id)

    def holding(self, scope: str, row: ScopeRow) -> list[Rule]:
        """Rules that ask for HALT of a scope now, or whose threshold is met."""
        return self.engine.of(scope).holding(row)

    def _standing(self, state: RiskState, scope: str) -> State:
        row = state.scopes.get(scope)
        return State.NORMAL if row is None else self.engine.of(scope).state_after_release(row)

    def _latched(self, state: RiskState, scope: str) -> ScopeRow:
        row, control = state.scopes.get(scope), state.controls.get(scope)
        overridden = control is not None and control.override is not None
        if row is None or not (row.state is State.HALT or overridden):
            raise CommandRefusedError(No.NOT_HALTED, f"{scope} is not at HALT")
        return row

    def _releasable(self, state: RiskState, scope: str) -> None:
        holding = self.holding(scope, self._latched(state, scope))
        if holding:
            rules = ", ".join(rule.id for rule in holding)
            raise CommandRefusedError(
                No.CONDITION_HOLDS, f"{rules}: not clear for long enough, or nothing newer is known"
            )

    def _overridable(self, state: RiskState, scope: str) -> None:
        if not self.holding(scope, self._latched(state, scope)):
            raise CommandRefusedError(
                No.CONDITION_CLEARED, f"nothing asks for HALT of {scope} any more"
            )


def copy_control(state: RiskState, scope: str, config: PeopleConfig) -> ControlRow:
    """Give the row of a scope to be changed and kept: a copy, or a new one if there is room."""
    row = state.controls.get(scope)
    if row is not None:
        return msgspec.structs.replace(row)
    if len(state.controls) >= config.max_scopes:
        raise CommandRefusedError(
            No.TOO_MANY, f"{config.max_scopes} scopes have something in force"
        )
    return ControlRow()


def withdraw_request(scope: str, row: ControlRow, by: Intervention) -> list[Output]:
    """Take a request back, if there is one."""
    request, row.request = row.request, None
    if request is None:
        return []
    return [alert_resolved(by.origin, _waits(scope), scope, request.id)]


def _waits(scope: str) -> str:
    """Key of the alert that a request waits."""
    return f"{scope}|request"


def _both(request: ApprovalRequest, order: AuthorizedCommand) -> list[str]:
    return [
        f"{request.action} asked for by {request.by}: {request.reason}",
        f"approved by {order.by}: {order.reason}",
    ]
