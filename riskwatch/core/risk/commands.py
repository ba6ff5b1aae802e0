"""Command handling: admission, execution and recording of commands, and expiry of their effects.

Every command is answered by one :class:`CommandApplied` or :class:`CommandRefused`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.core.clock import HOUR, SECOND, moment, rfc3339
from riskwatch.core.deployment import EMBEDDED
from riskwatch.core.enums import CommandRefusal as No
from riskwatch.core.enums import RejectReason, Restriction, State
from riskwatch.core.events import identity
from riskwatch.core.instruments import value_position
from riskwatch.core.money import MAX_USD, usd
from riskwatch.core.names import IDENTITY, canonical_scope
from riskwatch.core.outputs import CommandApplied, CommandRefused, EventRejected, Origin
from riskwatch.core.restriction import combine, members_of, restrictions_at
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
from riskwatch.core.risk.exposure import basis_of, price_of, value_of
from riskwatch.core.risk.gate import (
    LOOSENING,
    AuthorizedCommand,
    CommandArguments,
    CommandGate,
    CommandRefusedError,
    CommandResult,
    check_caught_up,
)
from riskwatch.core.risk.state import ControlRow, RefusalsRow, SignOff, UnwindGrant, grant_use
from riskwatch.core.scopes import (
    ACCOUNT,
    ASSET,
    COUNTERPARTY,
    FIRM,
    LINKED,
    NETWORK,
    TRADER,
    VENUE_ASSET,
    covers_holding,
    parse,
)
from riskwatch.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from riskwatch.core.events import Command
    from riskwatch.core.names import NameTable
    from riskwatch.core.operators import Operator, Verifier
    from riskwatch.core.outputs import Output
    from riskwatch.core.reference import Limit, LimitsConfig, Reference
    from riskwatch.core.risk.config import PeopleConfig, RiskConfig
    from riskwatch.core.risk.decision import DecisionWriter
    from riskwatch.core.risk.rule_engine import RuleEngine
    from riskwatch.core.risk.scorer import Scorer
    from riskwatch.core.risk.state import RiskState, ScopeRow
    from riskwatch.core.scopes import Scope


# Actions of a single operator.


class CommandActions:
    """The actions that one operator may take.

    Each method is an action. It raises :class:`CommandRefusedError` before it changes anything.

    Parameters
    ----------
    config : PeopleConfig
        Bounds of commands.
    limits : mapping of str to Limit
        Limits of ``limits.toml`` by id.
    approvals : Approvals
        Takes requests that loosen a limit.
    writer : DecisionWriter
        Sets states, and writes decisions, switches and alerts.
    scorer : Scorer
        The models.
    restriction : Restriction
        What a HALT restricts whose command does not say it.
    """

    def __init__(
        self,
        config: PeopleConfig,
        limits: Mapping[str, Limit],
        approvals: Approvals,
        writer: DecisionWriter,
        scorer: Scorer,
        restriction: Restriction,
    ) -> None:
        self.config = config
        self.restriction = restriction
        self.limits = limits
        self.approvals = approvals
        self.writer = writer
        self.scorer = scorer

    def halt(self, state: RiskState, authorized: AuthorizedCommand) -> CommandResult:
        """Latch a scope at HALT; its open request and its override end.

        The argument `restriction` says what it restricts. A scope that is at HALT already restricts
        what it did, and this too. However many scopes there are, a HALT is never refused for lack
        of room.
        """
        args = CommandArguments(authorized)
        halt = {args.restriction("restriction", self.restriction): State.HALT}
        args.end()
        scope, known = authorized.scope, state.scopes.get(authorized.scope)
        by = authorized.intervention("halt", [f"halted by {authorized.by}: {authorized.reason}"])
        out: list[Output] = []
        control = state.controls.get(scope)
        if control is not None:
            row = copy_control(state, scope, self.config)
            out += withdraw_request(scope, row, by)
            if row.override is not None:
                halt = combine([*halt.items(), *row.override.restriction.items()])
                row.override, row.before = None, row.granted
            store_control(state, scope, row)
            out.append(control_changed(state, scope, authorized.origin))
        if known is not None and known.state is State.HALT:
            known.reasons = [*known.reasons, *by.reasons][-16:]
            held = restrictions_at(State.HALT, known.restriction)
            known.restriction = combine([*held.items(), *halt.items()])
            out.append(self.writer.restate(state, scope, by))
            return CommandResult("it was at HALT already; the reason was added", out)
        reach = halt_reach(state, self.writer.stakes_calculator.reference, scope)
        out += self.writer.intervene(state, scope, State.HALT, by, halt)
        return CommandResult(f"halted; it binds {reach}", out)

    def retire(self, state: RiskState, authorized: AuthorizedCommand) -> CommandResult:
        """Close a halted scope for good: it stays at HALT and raises no more alerts."""
        CommandArguments(authorized).end()
        self._halted(state, authorized)
        row = copy_control(state, authorized.scope, self.config)
        if row.retired is not None:
            raise CommandRefusedError(No.RETIRED, f"retired by {row.retired.by} already")
        by = authorized.intervention("retire", [f"retired by {authorized.by}: {authorized.reason}"])
        out = withdraw_request(authorized.scope, row, by)
        row.retired, row.silence, row.unwind = SignOff(authorized.by, authorized.us), None, None
        store_control(state, authorized.scope, row)
        scope = state.scopes[authorized.scope]
        scope.reasons = [*scope.reasons, *by.reasons][-16:]
        out += resolve_alerts(state, authorized.scope, by)
        out.append(self.writer.restate(state, authorized.scope, by))
        out.append(control_changed(state, authorized.scope, authorized.origin))
        return CommandResult("retired: it stays at HALT, and nobody is paged about it", out)

    def acknowledge(self, state: RiskState, authorized: AuthorizedCommand) -> CommandResult:
        """Record that the operator has seen the open alert of a scope."""
        CommandArguments(authorized).end()
        known = state.scopes.get(authorized.scope)
        alert = "" if known is None else known.alert_id or known.dark_id
        if not alert:
            raise CommandRefusedError(No.NOTHING_OPEN, f"no alert on {authorized.scope} is open")
        row = copy_control(state, authorized.scope, self.config)
        row.acknowledged = SignOff(authorized.by, authorized.us, alert=alert)
        return self._store_control(state, authorized, row, f"alert {alert[:12]} acknowledged")

    def silence(self, state: RiskState, authorized: AuthorizedCommand) -> CommandResult:
        """Raise no alerts about a scope, except of HALT, until a time; or end this (`end`)."""
        args = CommandArguments(authorized)
        row = copy_control(state, authorized.scope, self.config)
        if args.flag("end"):
            args.end()
            if row.silence is None:
                raise CommandRefusedError(No.NOTHING_OPEN, f"{authorized.scope} is not silenced")
            row.silence = None
            return self._store_control(state, authorized, row, "no longer silenced")
        until = args.until(self.config.silence_max_s)
        args.end()
        row.silence = SignOff(authorized.by, authorized.us, until)
        return self._store_control(state, authorized, row, f"silenced until {rfc3339(until)}")

    def unwind(self, state: RiskState, authorized: AuthorizedCommand) -> CommandResult:
        """Allow unwinding during a HALT, within the configured size, price band and time.

        At a REDUCE of claims it allows top-ups of margin, and nothing else needs it. It then ends
        with the decision, because order paths count what they use by decision.
        """
        args, config = CommandArguments(authorized), self.config
        until = args.until(config.unwind_max_s)
        row = copy_control(state, authorized.scope, self.config)
        at_halt = _begin_grant(state.scopes.get(authorized.scope), row)
        left = config.unwind_max_usd - row.granted
        max_usd = args.number("max_usd", max(left, 0.0))
        slip = args.number("max_slip_bp", config.unwind_max_slip_bp)
        args.end()
        if not at_halt:
            _check_top_up(state.scopes.get(authorized.scope), authorized.scope)
        if row.retired is not None:
            raise CommandRefusedError(No.RETIRED, f"retired by {row.retired.by}")
        if max_usd > left or max_usd <= 0.0:
            raise CommandRefusedError(
                No.UNWIND_CAP, f"{max(left, 0.0):,.2f} USD are left of {config.unwind_max_usd:,.2f}"
            )
        if slip > config.unwind_max_slip_bp:
            raise CommandRefusedError(
                No.UNWIND_CAP, f"at most {config.unwind_max_slip_bp:g} bp are authorised"
            )
        row.granted += float(usd(max_usd))
        row.unwind = UnwindGrant(authorized.by, float(usd(row.granted - row.before)), slip, until)
        if at_halt:
            # The value at the price of a fill may exceed that at the mid by the band.
            allowed = float(usd(max_usd)) * (1.0 + slip / 1e4)
            grant_use(state, authorized.scope, authorized.us, until, allowed)
        what = f"{max_usd:,.2f} USD within {slip:g} bp until {rfc3339(until)}"
        result = self._store_control(state, authorized, row, f"unwind of {what}")
        by = authorized.intervention("unwind", [])
        result.out.insert(0, self.writer.restate(state, authorized.scope, by))
        return result

    def drill(self, state: RiskState, authorized: AuthorizedCommand) -> CommandResult:
        """Signal a drill of a HALT to order paths; no state changes."""
        del state
        args = CommandArguments(authorized)
        expect = args.clients("expect")
        args.end()
        return CommandResult(
            f"drill on {authorized.scope} signalled", [commanded_drill(authorized, expect)]
        )

    def set_limit(self, state: RiskState, authorized: AuthorizedCommand) -> CommandResult:
        """Tighten a limit at once, or request that it is loosened."""
        now, then = approvals.parse_limit_change(state, authorized, self.limits)
        if approvals.is_looser(now, then):
            check_caught_up(authorized)
            return self.approvals.ask(state, authorized, "set_limit", approvals.limit_args(then))
        return CommandResult(
            approvals.apply_limit(state, approvals.limit_args(then), authorized.by, authorized.us)
        )

    def promote(self, state: RiskState, authorized: AuthorizedCommand) -> CommandResult:
        """Change the authority of a generation, up or down."""
        args = CommandArguments(authorized)
        target, generation, to = args.text("target"), args.text("generation"), args.text("to")
        args.end()
        try:
            made = self.scorer.move(
                state.scorer, authorized.us, target, generation, to,
                by=authorized.by, why=authorized.reason, cause_id=authorized.cause_id,
            )  # fmt: skip
        except ModelError as error:
            raise CommandRefusedError(No.AUTHORITY_REFUSED, str(error)) from error
        return CommandResult(f"{generation} on {target}: {to}", [made])

    def _halted(self, state: RiskState, authorized: AuthorizedCommand) -> ScopeRow:
        row = state.scopes.get(authorized.scope)
        if row is None or row.state is not State.HALT:
            raise CommandRefusedError(No.NOT_HALTED, f"{authorized.scope} is not at HALT")
        return row

    def _store_control(
        self, state: RiskState, authorized: AuthorizedCommand, row: Any, detail: str
    ) -> CommandResult:
        store_control(state, authorized.scope, row)
        return CommandResult(detail, [control_changed(state, authorized.scope, authorized.origin)])


def _begin_grant(known: ScopeRow | None, row: ControlRow) -> bool:
    """Set what was granted before under the decision in force; return whether it is a HALT.

    Grants of one HALT have one sum, also over an override. Each decision of REDUCE has its own.
    """
    at_halt = known is not None and known.state is State.HALT
    decision = "" if at_halt or known is None else known.decision_id
    if row.granted_for != decision:
        row.granted_for = decision
        row.granted = row.before = 0.0 if row.override is None else row.granted
    return at_halt


def _forget_grant(known: ScopeRow | None, row: ControlRow) -> None:
    """Forget what was granted at a REDUCE whose decision has ended."""
    ended = row.granted_for and (known is None or known.decision_id != row.granted_for)
    if ended and row.unwind is None and row.override is None:
        row.granted, row.before, row.granted_for = 0.0, 0.0, ""


def _check_top_up(known: ScopeRow | None, scope: str) -> None:
    """Refuse an unwind at REDUCE unless claims are restricted, so that top-ups need it."""
    if known is None or known.state is not State.REDUCE:
        raise CommandRefusedError(No.NOT_HALTED, f"{scope} is not at HALT")
    if Restriction.CLAIM not in restrictions_at(known.state, known.restriction):
        raise CommandRefusedError(
            No.NOT_HALTED, f"{scope} is at REDUCE and restricts no claims: no unwind is needed"
        )


def halt_reach(state: RiskState, reference: Reference, scope: str) -> str:
    """Return in words what a HALT of a scope binds: what is held on it, or that nobody knows it.

    Parameters
    ----------
    state : RiskState
        Holdings, positions, and what is quoted.
    reference : Reference
        What is listed.
    scope : str
        The scope.
    """
    at, members = parse(scope), members_of(scope, reference)
    values: list[float | None] = []
    for name in sorted(state.parties):
        row = state.parties[name]
        for h in row.holdings:
            if h.amount and is_about(at, members, name, h.book, h.account, h.asset):
                price = price_of(h.asset, state)
                values.append(None if price is None else abs(value_of(h.amount, price)))
        for p in row.positions:
            if p.qty and is_about(at, members, name, p.book, p.account, p.base):
                worth = value_position(p, lambda a: price_of(a, state), basis_of(row, p))
                exposure = worth.exposure_usd
                values.append(None if exposure is None else abs(exposure))
    if values:
        total = min(sum(value for value in values if value is not None), MAX_USD)
        text = f"{len(values)} holdings and positions worth {total:,.2f} USD"
        unpriced = values.count(None)
        return text + (f", {unpriced} of them without a price" if unpriced else "")
    return _reach_without_holdings(state, reference, scope, at, members)


def _reach_without_holdings(
    state: RiskState, reference: Reference, scope: str, at: Scope, members: list[str]
) -> str:
    if at.kind == FIRM:
        return "every order; nothing is held"
    if at.kind in (TRADER, NETWORK):
        return f"orders that name it or no {at.kind}; what these hold is not recorded"
    if at.kind in LINKED and not members:
        return "every order, because the reference data names no member of it"
    if _is_known(state, reference, scope):
        return "its orders; nothing is held on it"
    return "nothing known: nobody holds, quotes or lists it"


def is_about(
    at: Scope, members: list[str], counterparty: str, book: str, account: str, asset: str
) -> bool:
    """Whether a holding is part of what a scope covers; `members` are those of its scope."""
    if at.kind in LINKED:
        return f"{COUNTERPARTY}:{counterparty}" in members or f"{ASSET}:{asset}" in members
    held = {"counterparty": counterparty, "book": book, "account": account, "asset": asset}
    return covers_holding(at, **held) is True


def _is_known(state: RiskState, reference: Reference, scope: str) -> bool:
    """Whether anybody holds, quotes or lists what a scope names."""
    at = parse(scope)
    if at.kind == ASSET:
        return at.name in state.assets or at.name in reference.assets
    if at.kind == COUNTERPARTY:
        return at.name in state.parties or at.name in state.venues or at.name in reference.parties
    if at.kind == VENUE_ASSET:
        venue = state.venues.get(at.name)
        return venue is not None and at.asset in venue.local
    if at.kind == ACCOUNT:
        party = state.parties.get(at.name)
        rows = () if party is None else (*party.holdings, *party.positions, *(party.orders or ()))
        return any(row.account == at.account for row in rows)
    return at.kind in LINKED and bool(members_of(scope, reference))


REFUSALS_QUIET_US: Final = 3_600 * SECOND
"""The alert about refused commands is resolved after this long without one, microseconds."""
MAX_RECORDS: Final = 256
"""Maximum number of refused commands in the name of one operator that are recorded one by one in
an hour: so many that the operator signed, and as many that are not authentic."""
UNKNOWN_OPERATOR: Final = "?"
"""Stands for every unknown operator name: a sender can choose any name."""


class CommandHandler:
    """Checks, executes and records commands.

    Parameters
    ----------
    config : RiskConfig
        Its `people` section bounds the commands.
    limits : LimitsConfig
        The firm's limits.
    engine : RuleEngine
        Rules and asks.
    writer : DecisionWriter
        Sets states, and writes decisions, switches and alerts.
    scorer : Scorer
        The models.
    verifier : Verifier
        Verifies operators and their signatures.
    deployment : str
        Deployment whose commands count.
    names : NameTable
        Canonical names of their scopes.
    """

    def __init__(
        self,
        config: RiskConfig,
        limits: LimitsConfig,
        engine: RuleEngine,
        writer: DecisionWriter,
        scorer: Scorer,
        verifier: Verifier,
        deployment: str = EMBEDDED,
        names: NameTable = IDENTITY,
    ) -> None:
        people = config.people
        self._names = names
        self.gate = CommandGate(people, verifier, deployment)
        self.approvals = Approvals(people, engine, writer, verifier)
        known = {limit.id: limit for limit in limits.limits}
        actions = CommandActions(
            people, known, self.approvals, writer, scorer, config.restriction.command
        )
        self._actions: dict[str, Callable[[RiskState, AuthorizedCommand], CommandResult]] = {
            "halt": actions.halt,
            "release": self.approvals.release,
            "approve": self.approvals.approve,
            "override": self.approvals.override,
            "rebase": self.approvals.rebase,
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
        """Execute a command or refuse it, and return the outputs."""
        us = self.gate.effect_time(command, state.meta.looked)
        authentic = False
        try:
            operator = self.gate.authentic(command)
            authentic = True
            self.gate.check_deployment(command)
        except CommandRefusedError as error:
            # The rejection sends its bytes to the dead letters. Its identity is not recorded, so
            # the true sender may still use it.
            cause_id = identity(command)
            rejected = EventRejected(
                **Origin(cause_id, moment(us)).stamp(EventRejected, cause_id),
                reason=RejectReason.COMMAND_REFUSED,
                detail=f"{error.refusal}: {error.detail}",
            )
            known = self.gate.verifier.operator(command.operator)
            return [*self._refused(state, command, us, known, error, authentic=authentic), rejected]
        # The signature covers the scope as it was sent, so that is looked up only now.
        scope = canonical_scope(self._names, command.scope, us)
        if scope != command.scope:
            command = msgspec.structs.replace(command, scope=scope)
        return self._admitted(state, command, operator, us)

    def _admitted(
        self, state: RiskState, command: Command, operator: Operator, us: int
    ) -> list[Output]:
        authorized = AuthorizedCommand(command, operator, us, identity(command))
        recorded = True
        try:
            self.gate.fresh(command, us)
            if known := self.gate.known(state, command):
                return [
                    _applied(
                        authorized, CommandResult(f"known: {known.outcome}", outcome="repeated")
                    )
                ]
            # What an operator may never do takes no room in the memory of keys.
            self.gate.check_allowed(authorized)
            recorded = self.gate.reserve_key(state, authorized)
        except CommandRefusedError as error:
            return self._refused(state, command, us, operator, error, authentic=True)
        try:
            if command.action in LOOSENING:
                check_caught_up(authorized)
            result = self._actions[command.action](state, authorized)
        except CommandRefusedError as error:
            if recorded:
                self.gate.remember(state, command, us, error.refusal.value)
            return self._refused(state, command, us, operator, error, authentic=True)
        if recorded:
            self.gate.remember(state, command, us, result.outcome)
        state.meta.news = True
        state.mark("meta")
        return [_applied(authorized, result), *result.out]

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
        """Record a refusal; raise an alert at an operator's 1st, 2nd, 4th, 8th, ... refusal.

        At most :data:`MAX_RECORDS` an hour are recorded one by one. The alert says when the others
        begin to be counted only.
        """
        cause_id = identity(command)
        # The same event may arrive many times; each refusal is published.
        occasion = f"{cause_id}/{us}"
        who = UNKNOWN_OPERATOR if operator is None else operator.id
        row = state.refusals.get(who)
        if row is None:
            row = state.refusals[who] = RefusalsRow("", 0, us)
        row.count += 1
        row.us = max(row.us, us)
        state.mark(f"refusals/{who}")
        out: list[Output] = []
        is_recorded = _take_record(row, us, authentic=authentic)
        if is_recorded:
            out.append(
                CommandRefused(
                    **Origin(cause_id, moment(us), occasion).stamp(CommandRefused, command.scope),
                    role="" if operator is None else operator.role.value,
                    refusal=error.refusal,
                    detail=error.detail,
                    authentic=authentic,
                    **_command_fields(command),
                )
            )
        if row.count & (row.count - 1) == 0 or (not is_recorded and row.unrecorded == 1):
            what = f"{command.action} of {command.scope} in the name of {command.operator}"
            reasons = [f"{what}: {error.refusal}: {error.detail}"]
            by = Intervention(occasion, us, command.action, reasons)
            raised = operator_alert(f"command|{who}", FIRM, _refusals_title(who, row), by)
            row.alert_id = row.alert_id or raised.id
            out.append(raised)
        return out


def _take_record(row: RefusalsRow, us: int, *, authentic: bool) -> bool:
    """Count a refused command; return whether there is room for a record of it in this hour.

    What others send in the name of an operator takes nothing of the room of the operator.
    """
    if us - row.hour_us >= HOUR:
        row.hour_us, row.records, row.forged_records = us, 0, 0
    taken = row.records if authentic else row.forged_records
    if taken >= MAX_RECORDS:
        row.unrecorded += 1
        return False
    row.records += authentic
    row.forged_records += not authentic
    return True


def _refusals_title(who: str, row: RefusalsRow) -> str:
    name = "a name that is no operator's" if who == UNKNOWN_OPERATOR else who
    title = f"{row.count} command{'s' * (row.count > 1)} refused, in the name of {name}"
    if not row.unrecorded:
        return title
    return f"{title}; beyond {MAX_RECORDS} an hour they are counted only, so far {row.unrecorded}"


def _applied(authorized: AuthorizedCommand, result: CommandResult) -> CommandApplied:
    return CommandApplied(
        **authorized.origin.stamp(CommandApplied, authorized.scope),
        role=authorized.operator.role.value,
        outcome=result.outcome,
        detail=result.detail,
        request_id=result.request_id,
        **_command_fields(authorized.command),
    )


def _command_fields(command: Command) -> dict[str, Any]:
    """Return the fields of a command that its outputs repeat."""
    return {
        "operator": command.operator,
        "action": command.action,
        "scope": command.scope,
        "reason": command.reason,
        "args": dict(command.args or {}),
        "idempotency_key": command.idempotency_key,
        "commanded_at": command.ts,
        "signature": command.signature,
        "deployment": command.deployment or msgspec.UNSET,
    }


def resolve_refusal_alerts(state: RiskState, us: int) -> list[Output]:
    """Resolve the alerts of operators without a refused command for `REFUSALS_QUIET_US`."""
    out: list[Output] = []
    for who in [
        w for w in sorted(state.refusals) if us - state.refusals[w].us >= REFUSALS_QUIET_US
    ]:
        row = state.refusals.pop(who)
        state.mark(f"refusals/{who}")
        origin = Origin(f"expiry/{us}", moment(us))
        if row.unrecorded:
            by = Intervention(f"expiry/{us}", us, "expire", ["the refused commands ended"])
            title = _refusals_title(who, row)
            out.append(operator_alert(f"command|{who}", FIRM, title, by, origin))
        out.append(alert_resolved(origin, f"command|{who}", FIRM, row.alert_id))
    return out


# Expiry of requests, overrides, silences and unwinds, at every tick.


def expire_controls(state: RiskState, us: int, writer: DecisionWriter) -> list[Output]:
    """End the controls that have expired; the rules are evaluated again if there is any."""
    out: list[Output] = []
    for scope in sorted(state.controls):
        row = msgspec.structs.replace(state.controls[scope])
        by = Intervention(f"expiry/{us}", us, "expire", [])
        made = _expire_scope(state, scope, row, by, writer)
        if made is not None:
            out += [*made, control_changed(state, scope, by.origin)]
    if state.refusals:
        out += resolve_refusal_alerts(state, us)
    if approvals.expire_raises(state, us) or out:
        state.meta.news = True
        state.mark("meta")
    return out


def _expire_scope(
    state: RiskState, scope: str, row: ControlRow, by: Intervention, writer: DecisionWriter
) -> list[Output] | None:
    """End the expired controls of one scope; return ``None`` if there are none."""
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
        row.before, row.granted_for = row.granted, ""
    grant, row.unwind = row.unwind, None
    if grant is not None and grant.until > us:
        row.unwind, grant = grant, None
    _forget_grant(known, row)
    if row == before:
        return None
    store_control(state, scope, row)
    if override is not None:
        # The HALT's condition was met at the override, so the latch is back whatever is met now.
        by.reasons.append(
            f"the override of {override.by} and {override.approved_by} ended at "
            f"{rfc3339(override.until)}"
        )
        out += writer.intervene(state, scope, State.HALT, by, override.restriction)
    elif grant is not None and known is not None:
        out.append(writer.restate(state, scope, by))
    return out
