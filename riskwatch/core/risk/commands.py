"""The life of a command: let in, looked at, done, remembered, and said; and what ends by itself.

Everything that comes is answered by one :class:`CommandApplied` or :class:`CommandRefused`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from riskwatch.core.clock import SECOND, micros, moment
from riskwatch.core.events import identity
from riskwatch.core.output import Origin
from riskwatch.core.outputs import CommandApplied, CommandRefused, EventRejected
from riskwatch.core.reasons import RejectReason
from riskwatch.core.risk.actions import Actions
from riskwatch.core.risk.approvals import Approvals
from riskwatch.core.risk.control import RefusalsRow
from riskwatch.core.risk.gate import Gate
from riskwatch.core.risk.order import Done, Order, RefusedError
from riskwatch.core.risk.turn import Intervention, alert_resolved, notice
from riskwatch.core.scopes import FIRM

if TYPE_CHECKING:
    from collections.abc import Callable

    from riskwatch.core.events import Command
    from riskwatch.core.operators import Operator, Verifier
    from riskwatch.core.output import Output
    from riskwatch.core.reference import Limits
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.machine import RuleEngine
    from riskwatch.core.risk.scorer import Scorer
    from riskwatch.core.risk.state import RiskState
    from riskwatch.core.risk.turn import DecisionWriter

QUIET_US: Final = 3_600 * SECOND
"""After such a time without a refused command in a name, the alert about them is resolved."""
STRANGER: Final = "?"
"""Stands for every name that is no operator's: names are what a sender makes them."""


class Governor:
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
        limits: Limits,
        engine: RuleEngine,
        writer: DecisionWriter,
        scorer: Scorer,
        verifier: Verifier,
    ) -> None:
        people = config.people
        self.gate = Gate(people, verifier)
        self.approvals = Approvals(people, engine, writer, verifier)
        known = {limit.id: limit for limit in limits.limits}
        actions = Actions(people, known, self.approvals, writer, scorer)
        self._actions: dict[str, Callable[[RiskState, Order], Done]] = {
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

    def take(self, state: RiskState, command: Command) -> list[Output]:
        """Do what a command says, or say why not."""
        ts = micros(command.ts)
        arrived = ts if command.arrived is None else micros(command.arrived)
        us = max(ts, arrived, state.meta.looked)
        try:
            operator = self.gate.authentic(command)
        except RefusedError as error:
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
        order = Order(command, operator, us, identity(command))
        remembered = True
        try:
            self.gate.fresh(command, us)
            if known := self.gate.known(state, command):
                return [_applied(order, Done(f"known: {known.outcome}", outcome="repeated"))]
            remembered = self.gate.room(state, command, us)
        except RefusedError as error:
            return self._refused(state, command, us, operator, error, authentic=True)
        try:
            self.gate.allowed(order)
            done = self._actions[command.action](state, order)
        except RefusedError as error:
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
        error: RefusedError,
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
        who = STRANGER if operator is None else operator.id
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
            raised = notice(f"command|{who}", FIRM, title, by)
            row.alert_id = row.alert_id or raised.id
            out.append(raised)
        return out


def _applied(order: Order, done: Done) -> CommandApplied:
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


def quiet(state: RiskState, us: int) -> list[Output]:
    """Resolve alerts about refused commands of which there have been none for a while."""
    out: list[Output] = []
    for who in [w for w in sorted(state.refusals) if us - state.refusals[w].us >= QUIET_US]:
        row = state.refusals.pop(who)
        state.mark(f"refusals/{who}")
        origin = Origin(f"expiry/{us}", moment(us))
        out.append(alert_resolved(origin, f"command|{who}", FIRM, row.alert_id))
    return out
