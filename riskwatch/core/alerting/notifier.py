"""The notifier: applies outputs and commands to alerts, and returns due notifications."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from riskwatch.core.alerting.config import AlertKind, alert_kind
from riskwatch.core.alerting.dispatch import Dispatcher
from riskwatch.core.alerting.notification import AlertDisposition, Disposition
from riskwatch.core.alerting.state import MAX_ALERTS, MAX_SILENCES, SEPARATOR, AlertRow, SilenceRow
from riskwatch.core.clock import micros, moment
from riskwatch.core.enums import Cause, State, strictest
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    CommandApplied,
    DataQualityRaised,
    DataQualityResolved,
    DecisionMade,
    Origin,
    StageFaulted,
    alert_from_fault,
)

if TYPE_CHECKING:
    from riskwatch.core.alerting.config import NotifyConfig
    from riskwatch.core.alerting.notification import NotifierOutput
    from riskwatch.core.alerting.state import NotifyState
    from riskwatch.core.outputs import Output

OVERFLOW_ALERT_KEY: Final = "notify|full|fault"
"""Key of the alert that more alerts are open than are stored one by one."""
OVERFLOW_SCOPE: Final = "worker:notify"
_REASONS: Final = 8
_LONGEST: Final = 300
_ROOM: Final = MAX_ALERTS - MAX_ALERTS // 10
"""The overflow alert ends once no more alerts than this are open."""


class Notifier:
    """Applies outputs to alerts, and returns notifications and dispositions.

    The same output may arrive from the topic and, earlier, from SQL. An output that is older than
    the stored row of its alert changes nothing.

    Parameters
    ----------
    config : NotifyConfig
        Routes.
    """

    def __init__(self, config: NotifyConfig) -> None:
        self.config = config
        self.dispatcher = Dispatcher(config)
        self.takes_quality_issues = any(
            AlertKind.QUALITY in matcher.about
            for route in config.routes.values()
            for matcher in route.match
        )

    def tick(self, state: NotifyState, us: int) -> list[NotifierOutput]:
        """Return the notifications that are due now."""
        return self.dispatcher.tick(state, us)

    def handle(
        self, state: NotifyState, output: Output, worker: str, us: int
    ) -> list[NotifierOutput]:
        """Apply one output of a worker; the next :meth:`tick` returns the notifications due."""
        match output:
            case StageFaulted():
                return self._raised(state, alert_from_fault(output), us)
            case AlertRaised():
                return self._raised(state, output, us)
            case AlertResolved():
                return self._resolved(state, output.alert, us, output)
            case DataQualityRaised() if self.takes_quality_issues:
                return self._raised(state, alert_from_quality_issue(output, worker), us)
            case DataQualityResolved():
                return self._resolved(state, quality_key(worker, output), us)
            case DecisionMade():
                self._decided(state, output)
            case CommandApplied(outcome="applied", action="acknowledge"):
                self._acknowledged(state, output)
            case CommandApplied(outcome="applied", action="silence"):
                _silenced(state, output)
        return []

    def _raised(self, state: NotifyState, o: AlertRaised, us: int) -> list[NotifierOutput]:
        row = state.alerts.get(o.alert)
        if row is None:
            ended = state.ended.get(o.alert)
            if ended is not None and (o.id == ended.last_id or micros(o.ts) < ended.last_us):
                return []
            if len(state.alerts) >= MAX_ALERTS and o.alert != OVERFLOW_ALERT_KEY:
                return self._overflow(state, o, us)
            row = state.alerts[o.alert] = _opened(o)
            if state.ended.pop(o.alert, None) is not None:
                state.mark("ended", o.alert)
            return self._routed(state, row, us)
        if row.last_id == o.id or micros(o.ts) < row.last_us:
            return []
        out = self._superseded(row, o, us)
        if o.severity.rank > row.acked_rank:
            row.acked_by, row.acked_rank = "", -1
        new = _opened(o)
        row.severity, row.state, row.cause, row.title = new.severity, new.state, o.cause, new.title
        row.reasons, row.usd, row.decision_id = new.reasons, new.usd, new.decision_id
        row.last_id, row.last_us = o.id, new.last_us
        row.raised += 1
        return out + self._routed(state, row, us)

    def _routed(self, state: NotifyState, row: AlertRow, us: int) -> list[NotifierOutput]:
        """Return a disposition if no route takes an alert."""
        state.mark("alert", row.key)
        if self.dispatcher.routes_for(row):
            return []
        return [_disposition(row, Disposition.UNROUTED, "no route takes it", us)]

    def _superseded(self, row: AlertRow, o: AlertRaised, us: int) -> list[NotifierOutput]:
        """Return the dispositions of a pending raise that a later raise replaces."""
        return [
            _disposition(row, Disposition.GROUPED, f"raised again as {o.id}", us, route.id)
            for route in self.dispatcher.routes_for(row)
            if (progress := row.ways.get(route.id)) is None or progress.told != row.last_id
        ]

    def _overflow(self, state: NotifyState, o: AlertRaised, us: int) -> list[NotifierOutput]:
        """Count an alert for which there is no room, and raise the overflow alert.

        It is raised at the 1st, 2nd, 4th, ... such alert, and at every HALT.
        """
        state.meta.over += 1
        state.mark("meta")
        n, row = state.meta.over, _opened(o)
        why = f"{MAX_ALERTS} alerts are open: counted in {OVERFLOW_ALERT_KEY}"
        out: list[NotifierOutput] = [
            _disposition(row, Disposition.GROUPED, why, us, route.id)
            for route in self.dispatcher.routes_for(row)
        ] or [_disposition(row, Disposition.UNROUTED, "no route takes it", us)]
        known = state.alerts.get(OVERFLOW_ALERT_KEY)
        worst = strictest((o.severity, *([known.severity] if known else [])))
        now = max(us, state.meta.us)  # one worker's time may be behind another's
        if n & (n - 1) == 0 or o.severity is State.HALT:
            overflow = AlertRaised(
                **Origin(o.id, moment(now)).stamp(AlertRaised, OVERFLOW_ALERT_KEY),
                alert=OVERFLOW_ALERT_KEY,
                scope=OVERFLOW_SCOPE, severity=worst, cause=Cause.UNKNOWN,
                title=f"{n} alerts over the {MAX_ALERTS} that are remembered; the last: {o.title}",
                reasons=["look at them with riskwatch alerts"], exposure_usd=Decimal(0),
            )  # fmt: skip
            out += self._raised(state, overflow, us)
        return out

    def _resolved(
        self, state: NotifyState, key: str, us: int, o: AlertResolved | None = None
    ) -> list[NotifierOutput]:
        row = state.alerts.get(key)
        if row is None or (o is not None and _is_earlier_episode(row, o)):
            return []
        out: list[NotifierOutput] = []
        if any(_is_pending(row, route.id) for route in self.dispatcher.routes_for(row)):
            out += self.dispatcher.tick(state, us)
            out += self.dispatcher.flush(state, row, us)
        for name, route in self.config.routes.items():
            progress = row.ways.get(name)
            if progress is None or not progress.told:
                continue
            targets = {name: route}
            second = self.config.routes.get(route.escalate_to)
            if progress.escalated_us and second is not None and not _is_notified(row, second.id):
                targets[second.id] = second
            for to, target in targets.items():
                if target.resolved:
                    self._add_resolved(state, to, route.group(row), row, us)
        state.close(row)
        if key != OVERFLOW_ALERT_KEY and state.meta.over and len(state.alerts) <= _ROOM:
            state.meta.over = 0
            state.mark("meta")
            out += self._resolved(state, OVERFLOW_ALERT_KEY, us)
        return out

    def _add_resolved(
        self, state: NotifyState, route: str, key: str, row: AlertRow, us: int
    ) -> None:
        group = state.group(route, key)
        if not group.over:
            group.over_us = max(us, state.meta.us)
        group.over.append(self.dispatcher.item(row, "resolved"))
        state.mark("group", f"{route}{SEPARATOR}{key}")

    @staticmethod
    def _decided(state: NotifyState, o: DecisionMade) -> None:
        row = state.alerts.get(o.scope)
        if row is not None and row.about is AlertKind.STATE and row.state is not o.state:
            row.state = o.state
            state.mark("alert", row.key)

    @staticmethod
    def _acknowledged(state: NotifyState, o: CommandApplied) -> None:
        for key in sorted(state.alerts):
            row = state.alerts[key]
            # An acknowledgement of the firm's alert does not cover the alert of refused commands.
            if row.scope == o.scope and row.about is not AlertKind.COMMAND:
                row.acked_by, row.acked_rank = o.operator, row.severity.rank
                state.mark("alert", key)


def alert_from_quality_issue(o: DataQualityRaised, worker: str) -> AlertRaised:
    """Return the alert of a data-quality issue, for routes that take it; its severity is WATCH."""
    return AlertRaised(
        id=o.id,
        cause_id=o.cause_id,
        ts=o.ts,
        engine=o.engine,
        alert=quality_key(worker, o),
        scope=o.subject,
        severity=State.WATCH,
        cause=o.cause,
        title=f"{o.issue.value}: {o.subject}",
        reasons=[o.detail],
        exposure_usd=Decimal(0),
    )


def quality_key(worker: str, o: DataQualityRaised | DataQualityResolved) -> str:
    """Return the alert key of a data-quality issue; several workers may find the same issue."""
    return f"quality|{worker}|{o.key()}"


def _opened(o: AlertRaised) -> AlertRow:
    us = micros(o.ts)
    return AlertRow(
        key=o.alert, scope=o.scope, about=alert_kind(o.alert, o.scope), severity=o.severity,
        state=o.severity, cause=o.cause, title=o.title[:_LONGEST],
        reasons=[reason[:_LONGEST] for reason in o.reasons[:_REASONS]], usd=o.exposure_usd,
        decision_id=o.decision_id or "", opened_id=o.id, opened_us=us, last_id=o.id, last_us=us,
    )  # fmt: skip


def _silenced(state: NotifyState, o: CommandApplied) -> None:
    """Begin or end a silence by an accepted command."""
    until = _moment(o.args.get("until"))
    if o.args.get("end"):
        state.silences.pop(o.scope, None)
    elif until is not None and (o.scope in state.silences or len(state.silences) < MAX_SILENCES):
        state.silences[o.scope] = SilenceRow(o.operator, o.reason[:_LONGEST], micros(until))
    state.mark("silence", o.scope)


def _is_earlier_episode(row: AlertRow, o: AlertResolved) -> bool:
    """Whether `o` ended an earlier episode of the alert, which SQL has reported already."""
    return o.opened_id not in (row.opened_id, row.last_id) and micros(o.ts) <= row.last_us


def _moment(value: object) -> datetime | None:
    """Return the time that a command names, if it is valid; the risk stage has checked it."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return None if found is None or found.tzinfo is None else found


def _is_notified(row: AlertRow, route: str) -> bool:
    progress = row.ways.get(route)
    return progress is not None and bool(progress.told)


def _is_pending(row: AlertRow, route: str) -> bool:
    progress = row.ways.get(route)
    return progress is None or progress.told != row.last_id


def _disposition(
    row: AlertRow, fate: Disposition, why: str, us: int, route: str = ""
) -> AlertDisposition:
    return AlertDisposition(row.last_id, route, row.key, row.scope, row.severity, fate, why, us)
