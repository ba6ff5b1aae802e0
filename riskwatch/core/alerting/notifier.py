"""What outputs and commands change: alerts open, are raised anew, acknowledged, silenced, over."""

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
"""Key of the alert that more are open than are remembered one by one."""
OVERFLOW_SCOPE: Final = "worker:notify"
_REASONS: Final = 8
_LONGEST: Final = 300
_ROOM: Final = MAX_ALERTS - MAX_ALERTS // 10
"""When no more are open than this, there is room again."""


class Notifier:
    """Hears what happened, and says who is to be told.

    It may hear of the same from the topic and, earlier, from SQL: what is older than what it knows
    of an alert changes nothing.

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
        """Tell what is due now."""
        return self.dispatcher.tick(state, us)

    def handle(
        self, state: NotifyState, output: Output, worker: str, us: int
    ) -> list[NotifierOutput]:
        """Take in one output of a worker; what is due is told by the next :meth:`tick`."""
        match output:
            case StageFaulted():
                return self._raised(state, alert_from_fault(output), us)
            case AlertRaised():
                return self._raised(state, output, us)
            case AlertResolved():
                return self._over(state, output.alert, us, output)
            case DataQualityRaised() if self.takes_quality_issues:
                return self._raised(state, alert_from_quality_issue(output, worker), us)
            case DataQualityResolved():
                return self._over(state, quality_key(worker, output), us)
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
            gone = state.ended.get(o.alert)
            if gone is not None and (o.id == gone.last_id or micros(o.ts) < gone.last_us):
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
        """Say so if an alert reaches nobody."""
        state.mark("alert", row.key)
        if self.dispatcher.routes_for(row):
            return []
        return [_word(row, Disposition.UNROUTED, "no route takes it", us)]

    def _superseded(self, row: AlertRow, o: AlertRaised, us: int) -> list[NotifierOutput]:
        """Say that a raise which waits is told by the next one."""
        return [
            _word(row, Disposition.GROUPED, f"raised again as {o.id}", us, route.id)
            for route in self.dispatcher.routes_for(row)
            if (way := row.ways.get(route.id)) is None or way.told != row.last_id
        ]

    def _overflow(self, state: NotifyState, o: AlertRaised, us: int) -> list[NotifierOutput]:
        """Count an alert for which there is no room; people hear of the 1st, 2nd, 4th, ..."""
        state.meta.over += 1
        state.mark("meta")
        n, row = state.meta.over, _opened(o)
        why = f"{MAX_ALERTS} alerts are open: counted in {OVERFLOW_ALERT_KEY}"
        out: list[NotifierOutput] = [
            _word(row, Disposition.GROUPED, why, us, route.id)
            for route in self.dispatcher.routes_for(row)
        ] or [_word(row, Disposition.UNROUTED, "no route takes it", us)]
        known = state.alerts.get(OVERFLOW_ALERT_KEY)
        worst = strictest((o.severity, *([known.severity] if known else [])))
        now = max(us, state.meta.us)  # one worker's time may be behind another's
        if n & (n - 1) == 0 or o.severity is State.HALT:
            told = AlertRaised(
                **Origin(o.id, moment(now)).stamp(AlertRaised, OVERFLOW_ALERT_KEY),
                alert=OVERFLOW_ALERT_KEY,
                scope=OVERFLOW_SCOPE, severity=worst, cause=Cause.UNKNOWN,
                title=f"{n} alerts over the {MAX_ALERTS} that are remembered; the last: {o.title}",
                reasons=["look at them with riskwatch alerts"], exposure_usd=Decimal(0),
            )  # fmt: skip
            out += self._raised(state, told, us)
        return out

    def _over(
        self, state: NotifyState, key: str, us: int, o: AlertResolved | None = None
    ) -> list[NotifierOutput]:
        row = state.alerts.get(key)
        if row is None or (o is not None and _former(row, o)):
            return []
        out: list[NotifierOutput] = []
        if any(_untold(row, route.id) for route in self.dispatcher.routes_for(row)):
            out += self.dispatcher.tick(state, us)
            out += self.dispatcher.flush(state, row, us)
        for name, route in self.config.routes.items():
            way = row.ways.get(name)
            if way is None or not way.told:
                continue
            places = {name: route}
            second = self.config.routes.get(route.escalate_to)
            if way.escalated_us and second is not None and not _told(row, second.id):
                places[second.id] = second
            for to, target in places.items():
                if target.resolved:
                    self._ended(state, to, route.group(row), row, us)
        state.close(row)
        if key != OVERFLOW_ALERT_KEY and state.meta.over and len(state.alerts) <= _ROOM:
            state.meta.over = 0
            state.mark("meta")
            out += self._over(state, OVERFLOW_ALERT_KEY, us)
        return out

    def _ended(self, state: NotifyState, route: str, key: str, row: AlertRow, us: int) -> None:
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
            # Who saw the alert of the firm need not have seen that somebody tries its commands.
            if row.scope == o.scope and row.about is not AlertKind.COMMAND:
                row.acked_by, row.acked_rank = o.operator, row.severity.rank
                state.mark("alert", key)


def alert_from_quality_issue(o: DataQualityRaised, worker: str) -> AlertRaised:
    """Alert that a data-quality issue is, for those who ask for it. Never more than WATCH."""
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
    """Key of a data-quality issue; several workers may notice the same."""
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
    """Begin or end a silence, as the command that was accepted says."""
    until = _moment(o.args.get("until"))
    if o.args.get("end"):
        state.silences.pop(o.scope, None)
    elif until is not None and (o.scope in state.silences or len(state.silences) < MAX_SILENCES):
        state.silences[o.scope] = SilenceRow(o.operator, o.reason[:_LONGEST], micros(until))
    state.mark("silence", o.scope)


def _former(row: AlertRow, o: AlertResolved) -> bool:
    """Whether it ended an episode before this one, of which SQL has told already."""
    return o.opened_id not in (row.opened_id, row.last_id) and micros(o.ts) <= row.last_us


def _moment(value: object) -> datetime | None:
    """Time that a command names; the risk stage let no other pass."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return None if found is None or found.tzinfo is None else found


def _told(row: AlertRow, route: str) -> bool:
    way = row.ways.get(route)
    return way is not None and bool(way.told)


def _untold(row: AlertRow, route: str) -> bool:
    way = row.ways.get(route)
    return way is None or way.told != row.last_id


def _word(row: AlertRow, fate: Disposition, why: str, us: int, route: str = "") -> AlertDisposition:
    return AlertDisposition(row.last_id, route, row.key, row.scope, row.severity, fate, why, us)
