"""The life of a command: let in, looked at, done, remembered, and said; and what ends by itself.

Everything that comes is answered by one :class:`CommandApplied` or :class:`CommandRefused`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.core.clock import SECOND, micros, moment, rfc3339
from riskwatch.core.enums import CommandRefusal as No
from riskwatch.core.enums import RejectReason, State
from riskwatch.core.events import identity
from riskwatch.core.money import usd
from riskwatch.core.outputs import CommandApplied, CommandRefused, EventRejected, Origin
from riskwatch.core.risk import approvals
from riskwatch.core.risk.approvals import Approvals, copy_control, store_control, withdraw_request
from riskwatch.core.risk.decision import (
    Intervention,
    alert_resolved,
    control_changed,
    operator_alert,
    resolve_alerts,
)
from riskwatch.core.risk.drills import commanded_drill
from riskwatch.core.risk.gate import (
    AuthorizedCommand,
    CommandArguments,
    CommandGate,
    CommandRefusedError,
    CommandResult,
)
from riskwatch.core.risk.state import ControlRow, RefusalsRow, SignOff, UnwindGrant
from riskwatch.core.scopes import FIRM
from riskwatch.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from riskwatch.core.events import Command
    from riskwatch.core.operators import Operator, Verifier
    from riskwatch.core.outputs import Output
    from riskwatch.core.reference import Limit, LimitsConfig
    from riskwatch.core.risk.config import PeopleConfig, RiskConfig
    from riskwatch.core.risk.decision import DecisionWriter
    from riskwatch.core.risk.rule_engine import RuleEngine
    from riskwatch.core.risk.scorer import Scorer
    from riskwatch.core.risk.state import RiskState, ScopeRow


# What one person may do: halt, retire, acknowledge, silence, unwind, drill, limits, models.

MAX_SCOPES_FACTOR = 4
"""Times `max_scopes`: rows up to which commands may fill the table of scopes, but for `firm`."""


class CommandActions:
    """Each method is an action; it raises :class:`CommandRefusedError` before it changes anything.

    Parameters
    ----------
    config : PeopleConfig
        Caps and ends.
    limits : mapping of str to Limit
        By id, as ``limits.toml`` has them.
    approvals : Approvals
        Where what loosens goes.
    writer : DecisionWriter
        Moves scopes, and writes what is said about it.
    scorer : Scorer
        The models.
    """

    def __init__(
        self,
        config: PeopleConfig,
        limits: Mapping[str, Limit],
        approvals: Approvals,
        writer: DecisionWriter,
        scorer: Scorer,
    ) -> None:
        self.config = config
        self.limits = limits
        self.approvals = approvals
        self.writer = writer
        self.scorer = scorer

    def halt(self, state: RiskState, order: AuthorizedCommand) -> CommandResult:
        """Latch a scope at HALT; requests and overrides on it end."""
        CommandArguments(order).end()
        scope, known = order.scope, state.scopes.get(order.scope)
        full = len(state.scopes) >= MAX_SCOPES_FACTOR * self.config.max_scopes
        if known is None and full and scope != FIRM:
            raise CommandRefusedError(No.TOO_MANY, f"{len(state.scopes)} scopes: halt firm instead")
        by = order.intervention("halt", [f"halted by {order.by}: {order.reason}"])
        out: list[Output] = []
        control = state.controls.get(scope)
        if control is not None:
            row = copy_control(state, scope, self.config)
            out += withdraw_request(scope, row, by)
            if row.override is not None:
                row.override, row.before = None, row.granted
            store_control(state, scope, row)
            out.append(control_changed(state, scope, order.origin))
        if known is not None and known.state is State.HALT:
            known.reasons = [*known.reasons, *by.reasons][-16:]
            out.append(self.writer.restate(state, scope, by))
            return CommandResult("it was at HALT already; the reason was added", out)
        out += self.writer.intervene(state, scope, State.HALT, by)
        return CommandResult("halted", out)

    def retire(self, state: RiskState, order: AuthorizedCommand) -> CommandResult:
        """Close a halted scope for good: its subject is gone, and so is the paging."""
        CommandArguments(order).end()
        self._halted(state, order)
        row = copy_control(state, order.scope, self.config)
        if row.retired is not None:
            raise CommandRefusedError(No.RETIRED, f"retired by {row.retired.by} already")
        by = order.intervention("retire", [f"retired by {order.by}: {order.reason}"])
        out = withdraw_request(order.scope, row, by)
        row.retired, row.silence, row.unwind = SignOff(order.by, order.us), None, None
        store_control(state, order.scope, row)
        scope = state.scopes[order.scope]
        scope.reasons = [*scope.reasons, *by.reasons][-16:]
        out += resolve_alerts(state, order.scope, by)
        out.append(self.writer.restate(state, order.scope, by))
        out.append(control_changed(state, order.scope, order.origin))
        return CommandResult("retired: it stays at HALT, and nobody is paged about it", out)

    def acknowledge(self, state: RiskState, order: AuthorizedCommand) -> CommandResult:
        """Say that somebody has seen the open alert of a scope."""
        CommandArguments(order).end()
        known = state.scopes.get(order.scope)
        alert = "" if known is None else known.alert_id or known.dark_id
        if not alert:
            raise CommandRefusedError(No.NOTHING_OPEN, f"no alert on {order.scope} is open")
        row = copy_control(state, order.scope, self.config)
        row.acknowledged = SignOff(order.by, order.us, alert=alert)
        return self._keep(state, order, row, f"alert {alert[:12]} acknowledged")

    def silence(self, state: RiskState, order: AuthorizedCommand) -> CommandResult:
        """Page nobody about a scope until an end, but for a HALT; or end that (`end`)."""
        args = CommandArguments(order)
        row = copy_control(state, order.scope, self.config)
        if args.flag("end"):
            args.end()
            if row.silence is None:
                raise CommandRefusedError(No.NOTHING_OPEN, f"{order.scope} is not silenced")
            row.silence = None
            return self._keep(state, order, row, "no longer silenced")
        until = args.until(self.config.silence_max_s)
        args.end()
        row.silence = SignOff(order.by, order.us, until)
        return self._keep(state, order, row, f"silenced until {rfc3339(until)}")

    def unwind(self, state: RiskState, order: AuthorizedCommand) -> CommandResult:
        """Open what was authorised beforehand: a way out of a HALT, capped in size and price."""
        args, config = CommandArguments(order), self.config
        until = args.until(config.unwind_max_s)
        row = copy_control(state, order.scope, self.config)
        left = config.unwind_max_usd - row.granted
        usd_most = args.number("max_usd", max(left, 0.0))
        slip = args.number("max_slip_bp", config.unwind_max_slip_bp)
        args.end()
        self._halted(state, order)
        if row.retired is not None:
            raise CommandRefusedError(No.RETIRED, f"retired by {row.retired.by}")
        if usd_most > left or usd_most <= 0.0:
            raise CommandRefusedError(
                No.UNWIND_CAP, f"{max(left, 0.0):,.2f} USD are left of {config.unwind_max_usd:,.2f}"
            )
        if slip > config.unwind_max_slip_bp:
            raise CommandRefusedError(
                No.UNWIND_CAP, f"at most {config.unwind_max_slip_bp:g} bp are authorised"
            )
        row.granted += float(usd(usd_most))
        row.unwind = UnwindGrant(order.by, float(usd(row.granted - row.before)), slip, until)
        what = f"{usd_most:,.2f} USD within {slip:g} bp until {rfc3339(until)}"
        done = self._keep(state, order, row, f"unwind of {what}")
        by = order.intervention("unwind", [])
        done.out.insert(0, self.writer.restate(state, order.scope, by))
        return done

    def drill(self, state: RiskState, order: AuthorizedCommand) -> CommandResult:
        """Have order paths rehearse a HALT; nothing changes here."""
        del state
        args = CommandArguments(order)
        expect = args.clients("expect")
        args.end()
        return CommandResult(f"drill on {order.scope} signalled", [commanded_drill(order, expect)])

    def set_limit(self, state: RiskState, order: AuthorizedCommand) -> CommandResult:
        """Lower a limit at once; ask for it to be raised."""
        now, then = approvals.parse_limit_change(state, order, self.limits)
        if approvals.is_looser(now, then):
            return self.approvals.ask(state, order, "set_limit", approvals.limit_args(then))
        return CommandResult(
            approvals.apply_limit(state, approvals.limit_args(then), order.by, order.us)
        )

    def promote(self, state: RiskState, order: AuthorizedCommand) -> CommandResult:
        """Change how far a generation may go, up or down."""
        args = CommandArguments(order)
        target, generation, to = args.text("target"), args.text("generation"), args.text("to")
        args.end()
        try:
            made = self.scorer.move(
                state.scorer, order.us, target, generation, to,
                by=order.by, why=order.reason, cause_id=order.cause_id,
            )  # fmt: skip
        except ModelError as error:
            raise CommandRefusedError(No.AUTHORITY_REFUSED, str(error)) from error
        return CommandResult(f"{generation} on {target}: {to}", [made])

    def _halted(self, state: RiskState, order: AuthorizedCommand) -> ScopeRow:
        row = state.scopes.get(order.scope)
        if row is None or row.state is not State.HALT:
            raise CommandRefusedError(No.NOT_HALTED, f"{order.scope} is not at HALT")
        return row

    def _keep(
        self, state: RiskState, order: AuthorizedCommand, row: Any, detail: str
    ) -> CommandResult:
        store_control(state, order.scope, row)
        return CommandResult(detail, [control_changed(state, order.scope, order.origin)])


REFUSALS_QUIET_US: Final = 3_600 * SECOND
"""After such a time without a refused command in a name, the alert about them is resolved."""
UNKNOWN_OPERATOR: Final = "?"
"""Stands for every name that is no operator's: names are what a sender makes them."""


class CommandHandler:
    """Takes commands.

    Parameters
    ----------
    config : RiskConfig
        What people may do.
    limits : Limits
        The firm's limits.
    engine : RuleEngine
        Rules and asks.
    writer : DecisionWriter
        Moves scopes, and writes what is said about it.
    scorer : Scorer
        The models.
    verifier : Verifier
        Who may sign.
    """

    def __init__(
        self,
        config: RiskConfig,
        limits: LimitsConfig,
        engine: RuleEngine,
        writer: DecisionWriter,
        scorer: Scorer,
        verifier: Verifier,
    ) -> None:
        people = config.people
        self.gate = CommandGate(people, verifier)
        self.approvals = Approvals(people, engine, writer, verifier)
        known = {limit.id: limit for limit in limits.limits}
        actions = CommandActions(people, known, self.approvals, writer, scorer)
        self._actions: dict[str, Callable[[RiskState, AuthorizedCommand], CommandResult]] = {
            "halt": actions.halt,
            "release": self.approvals.release,
            "approve": self.approvals.approve,
            "override": self.approvals.override,
            "retire": actions.retire,
            "acknowledge": actions.acknowledge,
            "silence": actions.silence,
            "unwind": actions.unwind,
            "drill": actions.drill,
            "set_limit": actions.set_limit,
            "promote": actions.promote,
            "demote": actions.promote,
        }

    def handle(self, state: RiskState, command: Command) -> list[Output]:
        """Do what a command says, or say why not."""
        ts = micros(command.ts)
        arrived = ts if command.arrived is None else micros(command.arrived)
        us = max(ts, arrived, state.meta.looked)
        try:
            operator = self.gate.authentic(command)
        except CommandRefusedError as error:
            # Its bytes go to the dead letters, and its identity stays free for whoever it is
            # really of.
            cause_id = identity(command)
            rejected = EventRejected(
                **Origin(cause_id, moment(us)).stamp(EventRejected, cause_id),
                reason=RejectReason.COMMAND_REFUSED,
                detail=f"{error.refusal}: {error.detail}",
            )
            known = self.gate.verifier.operator(command.operator)
            return [*self._refused(state, command, us, known, error, authentic=False), rejected]
        return self._admitted(state, command, operator, us)

    def _admitted(
        self, state: RiskState, command: Command, operator: Operator, us: int
    ) -> list[Output]:
        order = AuthorizedCommand(command, operator, us, identity(command))
        remembered = True
        try:
            self.gate.fresh(command, us)
            if known := self.gate.known(state, command):
                return [
                    _applied(order, CommandResult(f"known: {known.outcome}", outcome="repeated"))
                ]
            remembered = self.gate.reserve_key(state, command, us)
        except CommandRefusedError as error:
            return self._refused(state, command, us, operator, error, authentic=True)
        try:
            self.gate.check_allowed(order)
            done = self._actions[command.action](state, order)
        except CommandRefusedError as error:
            if remembered:
                self.gate.remember(state, command, us, error.refusal.value)
            return self._refused(state, command, us, operator, error, authentic=True)
        if remembered:
            self.gate.remember(state, command, us, done.outcome)
        state.meta.news = True
        state.mark("meta")
        return [_applied(order, done), *done.out]

    def _refused(
        self,
        state: RiskState,
        command: Command,
        us: int,
        operator: Operator | None,
        error: CommandRefusedError,
        *,
        authentic: bool,
    ) -> list[Output]:
        """Record a refusal; tell people of the first in a name, then of the 2nd, 4th, 8th, ..."""
        cause_id = identity(command)
        # What names the same event may come again and again, and each time is told.
        occasion = f"{cause_id}/{us}"
        out: list[Output] = [
            CommandRefused(
                **Origin(cause_id, moment(us), occasion).stamp(CommandRefused, command.scope),
                role="" if operator is None else operator.role.value,
                refusal=error.refusal,
                detail=error.detail,
                authentic=authentic,
                **_given(command),
            )
        ]
        who = UNKNOWN_OPERATOR if operator is None else operator.id
        row = state.refusals.get(who)
        if row is None:
            row = state.refusals[who] = RefusalsRow("", 0, us)
        row.count += 1
        row.us = max(row.us, us)
        state.mark(f"refusals/{who}")
        if row.count & (row.count - 1) == 0:
            what = f"{command.action} of {command.scope} in the name of {command.operator}"
            reasons = [f"{what}: {error.refusal}: {error.detail}"]
            by = Intervention(occasion, us, command.action, reasons)
            name = "a name that is no operator's" if operator is None else operator.id
            title = f"{row.count} command{'s' * (row.count > 1)} refused, in the name of {name}"
            raised = operator_alert(f"command|{who}", FIRM, title, by)
            row.alert_id = row.alert_id or raised.id
            out.append(raised)
        return out


def _applied(order: AuthorizedCommand, done: CommandResult) -> CommandApplied:
    return CommandApplied(
        **order.origin.stamp(CommandApplied, order.scope),
        role=order.operator.role.value,
        outcome=done.outcome,
        detail=done.detail,
        request_id=done.request_id,
        **_given(order.command),
    )


def _given(command: Command) -> dict[str, Any]:
    """What a record keeps of a command as it was given."""
    return {
        "operator": command.operator,
        "action": command.action,
        "scope": command.scope,
        "reason": command.reason,
        "args": dict(command.args or {}),
        "idempotency_key": command.idempotency_key,
        "commanded_at": command.ts,
        "signature": command.signature,
    }


def resolve_refusal_alerts(state: RiskState, us: int) -> list[Output]:
    """Resolve alerts about refused commands of which there have been none for a while."""
    out: list[Output] = []
    for who in [
        w for w in sorted(state.refusals) if us - state.refusals[w].us >= REFUSALS_QUIET_US
    ]:
        row = state.refusals.pop(who)
        state.mark(f"refusals/{who}")
        origin = Origin(f"expiry/{us}", moment(us))
        out.append(alert_resolved(origin, f"command|{who}", FIRM, row.alert_id))
    return out


# What ends by itself: requests, overrides, silences, unwinds. Asked at every tick.


def expire_controls(state: RiskState, us: int, writer: DecisionWriter) -> list[Output]:
    """End what is due; the rules look again if anything ended."""
    out: list[Output] = []
    for scope in sorted(state.controls):
        row = msgspec.structs.replace(state.controls[scope])
        by = Intervention(f"expiry/{us}", us, "expire", [])
        made = _ends(state, scope, row, by, writer)
        if made is not None:
            out += [*made, control_changed(state, scope, by.origin)]
    if state.refusals:
        out += resolve_refusal_alerts(state, us)
    if out:
        state.meta.news = True
        state.mark("meta")
    return out


def _ends(
    state: RiskState, scope: str, row: ControlRow, by: Intervention, writer: DecisionWriter
) -> list[Output] | None:
    """End what is due on one scope; ``None`` if nothing is."""
    us, before = by.us, state.controls[scope]
    out: list[Output] = []
    known = state.scopes.get(scope)
    if row.request is not None and row.request.until <= us:
        out += withdraw_request(scope, row, by)
    if row.silence is not None and row.silence.until <= us:
        row.silence = None
    seen = row.acknowledged
    if seen is not None and (known is None or seen.alert not in (known.alert_id, known.dark_id)):
        row.acknowledged = None
    override, row.override = row.override, None
    if override is not None and override.until > us:
        row.override, override = override, None
    if override is not None:
        row.before = row.granted
    grant, row.unwind = row.unwind, None
    if grant is not None and grant.until > us:
        row.unwind, grant = grant, None
    if row == before:
        return None
    store_control(state, scope, row)
    if override is not None:
        # What was overridden held then, so the latch is back whatever holds now.
        by.reasons.append(
            f"the override of {override.by} and {override.approved_by} ended at "
            f"{rfc3339(override.until)}"
        )
        out += writer.intervene(state, scope, State.HALT, by)
    elif grant is not None and known is not None:
        out.append(writer.restate(state, scope, by))
    return out
