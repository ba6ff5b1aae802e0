"""What one person may do: halt, retire, acknowledge, silence, unwind, drill, limits, models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from riskwatch.core.clock import text
from riskwatch.core.money import usd
from riskwatch.core.reasons import CommandRefusal as No
from riskwatch.core.reasons import State
from riskwatch.core.risk import hard
from riskwatch.core.risk.approvals import control_of, withdrawn
from riskwatch.core.risk.control import Grant, Sign, kept
from riskwatch.core.risk.drills import commanded
from riskwatch.core.risk.order import Arguments, Done, RefusedError
from riskwatch.core.risk.turn import control_changed, resolve
from riskwatch.core.scopes import FIRM
from riskwatch.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.output import Output
    from riskwatch.core.reference import Limit
    from riskwatch.core.risk.approvals import Approvals
    from riskwatch.core.risk.config import PeopleConfig
    from riskwatch.core.risk.order import Order
    from riskwatch.core.risk.rows import ScopeRow
    from riskwatch.core.risk.scorer import Scorer
    from riskwatch.core.risk.state import RiskState
    from riskwatch.core.risk.turn import DecisionWriter

MOST_SCOPES = 4
"""Times `max_scopes`: rows up to which commands may fill the table of scopes, but for `firm`."""


class Actions:
    """Each method is an action; it raises :class:`RefusedError` before it changes anything.

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

    def halt(self, state: RiskState, order: Order) -> Done:
        """Latch a scope at HALT; requests and overrides on it end."""
        Arguments(order).end()
        scope, known = order.scope, state.scopes.get(order.scope)
        full = len(state.scopes) >= MOST_SCOPES * self.config.max_scopes
        if known is None and full and scope != FIRM:
            raise RefusedError(No.TOO_MANY, f"{len(state.scopes)} scopes: halt firm instead")
        by = order.intervention("halt", [f"halted by {order.by}: {order.reason}"])
        out: list[Output] = []
        control = state.controls.get(scope)
        if control is not None:
            row = control_of(state, scope, self.config)
            out += withdrawn(scope, row, by)
            if row.override is not None:
                row.override, row.before = None, row.granted
            kept(state, scope, row)
            out.append(control_changed(state, scope, order.origin))
        if known is not None and known.state is State.HALT:
            known.reasons = [*known.reasons, *by.reasons][-16:]
            out.append(self.writer.restate(state, scope, by))
            return Done("it was at HALT already; the reason was added", out)
        out += self.writer.intervene(state, scope, State.HALT, by)
        return Done("halted", out)

    def retire(self, state: RiskState, order: Order) -> Done:
        """Close a halted scope for good: its subject is gone, and so is the paging."""
        Arguments(order).end()
        self._halted(state, order)
        row = control_of(state, order.scope, self.config)
        if row.retired is not None:
            raise RefusedError(No.RETIRED, f"retired by {row.retired.by} already")
        by = order.intervention("retire", [f"retired by {order.by}: {order.reason}"])
        out = withdrawn(order.scope, row, by)
        row.retired, row.silence, row.unwind = Sign(order.by, order.us), None, None
        kept(state, order.scope, row)
        scope = state.scopes[order.scope]
        scope.reasons = [*scope.reasons, *by.reasons][-16:]
        out += resolve(state, order.scope, by)
        out.append(self.writer.restate(state, order.scope, by))
        out.append(control_changed(state, order.scope, order.origin))
        return Done("retired: it stays at HALT, and nobody is paged about it", out)

    def acknowledge(self, state: RiskState, order: Order) -> Done:
        """Say that somebody has seen the open alert of a scope."""
        Arguments(order).end()
        known = state.scopes.get(order.scope)
        alert = "" if known is None else known.alert_id or known.dark_id
        if not alert:
            raise RefusedError(No.NOTHING_OPEN, f"no alert on {order.scope} is open")
        row = control_of(state, order.scope, self.config)
        row.acknowledged = Sign(order.by, order.us, alert=alert)
        return self._keep(state, order, row, f"alert {alert[:12]} acknowledged")

    def silence(self, state: RiskState, order: Order) -> Done:
        """Page nobody about a scope until an end, but for a HALT; or end that (`end`)."""
        args = Arguments(order)
        row = control_of(state, order.scope, self.config)
        if args.flag("end"):
            args.end()
            if row.silence is None:
                raise RefusedError(No.NOTHING_OPEN, f"{order.scope} is not silenced")
            row.silence = None
            return self._keep(state, order, row, "no longer silenced")
        until = args.until(self.config.silence_max_s)
        args.end()
        row.silence = Sign(order.by, order.us, until)
        return self._keep(state, order, row, f"silenced until {text(until)}")

    def unwind(self, state: RiskState, order: Order) -> Done:
        """Open what was authorised beforehand: a way out of a HALT, capped in size and price."""
        args, config = Arguments(order), self.config
        until = args.until(config.unwind_max_s)
        row = control_of(state, order.scope, self.config)
        left = config.unwind_max_usd - row.granted
        usd_most = args.number("max_usd", max(left, 0.0))
        slip = args.number("max_slip_bp", config.unwind_max_slip_bp)
        args.end()
        self._halted(state, order)
        if row.retired is not None:
            raise RefusedError(No.RETIRED, f"retired by {row.retired.by}")
        if usd_most > left or usd_most <= 0.0:
            raise RefusedError(
                No.UNWIND_CAP, f"{max(left, 0.0):,.2f} USD are left of {config.unwind_max_usd:,.2f}"
            )
        if slip > config.unwind_max_slip_bp:
            raise RefusedError(
                No.UNWIND_CAP, f"at most {config.unwind_max_slip_bp:g} bp are authorised"
            )
        row.granted += float(usd(usd_most))
        row.unwind = Grant(order.by, float(usd(row.granted - row.before)), slip, until)
        what = f"{usd_most:,.2f} USD within {slip:g} bp until {text(until)}"
        done = self._keep(state, order, row, f"unwind of {what}")
        by = order.intervention("unwind", [])
        done.out.insert(0, self.writer.restate(state, order.scope, by))
        return done

    def drill(self, state: RiskState, order: Order) -> Done:
        """Have order paths rehearse a HALT; nothing changes here."""
        del state
        args = Arguments(order)
        expect = args.clients("expect")
        args.end()
        return Done(f"drill on {order.scope} signalled", [commanded(order, expect)])

    def set_limit(self, state: RiskState, order: Order) -> Done:
        """Lower a limit at once; ask for it to be raised."""
        now, then = hard.proposed(state, order, self.limits)
        if hard.loosens(now, then):
            return self.approvals.ask(state, order, "set_limit", hard.as_args(then))
        return Done(hard.apply_limit(state, hard.as_args(then), order.by, order.us))

    def promote(self, state: RiskState, order: Order) -> Done:
        """Change how far a generation may go, up or down."""
        args = Arguments(order)
        target, generation, to = args.text("target"), args.text("generation"), args.text("to")
        args.end()
        try:
            made = self.scorer.move(
                state.scorer, order.us, target, generation, to,
                by=order.by, why=order.reason, cause_id=order.cause_id,
            )  # fmt: skip
        except ModelError as error:
            raise RefusedError(No.AUTHORITY_REFUSED, str(error)) from error
        return Done(f"{generation} on {target}: {to}", [made])

    def _halted(self, state: RiskState, order: Order) -> ScopeRow:
        row = state.scopes.get(order.scope)
        if row is None or row.state is not State.HALT:
            raise RefusedError(No.NOT_HALTED, f"{order.scope} is not at HALT")
        return row

    def _keep(self, state: RiskState, order: Order, row: Any, detail: str) -> Done:
        kept(state, order.scope, row)
        return Done(detail, [control_changed(state, order.scope, order.origin)])
