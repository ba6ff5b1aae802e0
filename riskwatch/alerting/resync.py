"""What is open, silenced and acknowledged by SQL, which knows it before the topic and keeps it.

At the first start, and after records were lost or the topic was made anew, the worker goes on from
the end of the topic. And a risk worker that comes back after an outage publishes the last record of
each key alone, among which an alert may be missing. So what stands in SQL is heard as if it came
now: at the start, and every while. What is known already is known by its id and its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import select

from riskwatch.core.alerting.config import AlertKind
from riskwatch.core.alerting.notifier import OVERFLOW_ALERT_KEY, quality_key
from riskwatch.core.alerting.state import SilenceRow
from riskwatch.core.clock import micros, moment
from riskwatch.core.enums import Cause, QualityIssue, State
from riskwatch.core.outputs import AlertRaised, AlertResolved, DataQualityRaised
from riskwatch.store.engine import translate_errors
from riskwatch.store.projections import ALERT, DATA_QUALITY, KILLSWITCH, SCOPE_CONTROL

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from sqlalchemy.engine import Connection, Engine

    from riskwatch.core.alerting.notification import NotifierOutput
    from riskwatch.core.alerting.notifier import Notifier
    from riskwatch.core.alerting.state import NotifyState

NO_REASON = "its reason is in riskwatch killswitch history"


class _OpenItem(NamedTuple):
    """Something that is open, by the key under which it is remembered."""

    key: str
    row: dict[str, Any]
    output: AlertRaised | DataQualityRaised
    worker: str = ""


def resync(engine: Engine, notifier: Notifier, state: NotifyState, us: int) -> list[NotifierOutput]:
    """Bring what is remembered to what SQL says.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer; nothing was changed then.
    """
    with translate_errors("what stands open cannot be read"), engine.connect() as conn:
        alerts = _rows(conn, select(ALERT).where(ALERT.c.resolved_ts.is_(None)))
        open_issues = select(DATA_QUALITY).where(DATA_QUALITY.c.resolved_ts.is_(None))
        issues = _rows(conn, open_issues) if notifier.takes_quality_issues else []
        controls = _rows(conn, select(SCOPE_CONTROL))
        switches = _rows(conn, select(KILLSWITCH.c.scope, KILLSWITCH.c.state))
    raised: list[_OpenItem] = [_OpenItem(row["alert"], row, _alert(row)) for row in alerts]
    for row in issues:
        issue = _issue(row)
        key = quality_key(row["worker"], issue)
        raised.append(_OpenItem(key, row, issue, row["worker"]))
    said: list[NotifierOutput] = []
    _end_resolved(notifier, state, {found.key for found in raised}, us, said)
    for key, row, output, worker in raised:
        known = key in state.alerts
        said += notifier.handle(state, output, worker, us)
        if not known and (made := state.alerts.get(key)) is not None:
            made.opened_id, made.opened_us = row["id"], micros(row["opened_ts"])
    _apply_controls(state, controls)
    now = {row["scope"]: State(row["state"]) for row in switches}
    for key in sorted(state.alerts):
        alert = state.alerts[key]
        if alert.key == alert.scope and alert.scope in now:
            alert.state = now[alert.scope]
            state.mark("alert", key)
    return said


def _rows(conn: Connection, query: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in conn.execute(query).mappings()]


def _end_resolved(
    notifier: Notifier,
    state: NotifyState,
    open_: AbstractSet[str],
    us: int,
    said: list[NotifierOutput],
) -> None:
    """End what is not open any more."""
    for key in [k for k in sorted(state.alerts) if k not in open_ and k != OVERFLOW_ALERT_KEY]:
        row = state.alerts[key]
        ended = AlertResolved(
            id=row.last_id, cause_id=row.last_id, ts=moment(us), alert=key, scope=row.scope,
            opened_id=row.opened_id,
        )  # fmt: skip
        said += notifier.handle(state, ended, "", us)


def _apply_controls(state: NotifyState, controls: list[dict[str, Any]]) -> None:
    """Take over silences and acknowledgements."""
    silenced = {row["scope"]: row for row in controls if row["silence_by"] is not None}
    for scope in [s for s in sorted(state.silences) if s not in silenced]:
        del state.silences[scope]
        state.mark("silence", scope)
    for scope, row in sorted(silenced.items()):
        until, before = micros(row["silence_until"]), state.silences.get(scope)
        if before is None or before.until != until:
            state.silences[scope] = SilenceRow(row["silence_by"], NO_REASON, until)
            state.mark("silence", scope)
    seen = {row["scope"]: row for row in controls if row["acknowledged_by"]}
    for key in sorted(state.alerts):
        alert = state.alerts[key]
        by = seen.get(alert.scope)
        # Who saw it before it was raised anew may not have seen that it got worse.
        if by is None or alert.acked_by or micros(by["acknowledged_ts"]) < alert.last_us:
            continue
        if alert.about is not AlertKind.COMMAND:
            alert.acked_by, alert.acked_rank = by["acknowledged_by"], alert.severity.rank
            state.mark("alert", key)


def _alert(row: dict[str, Any]) -> AlertRaised:
    return AlertRaised(
        id=row["last_id"], cause_id=row["last_id"], ts=row["last_ts"], alert=row["alert"],
        scope=row["scope"], severity=State(row["severity"]), cause=Cause(row["cause"]),
        title=row["title"], reasons=row["reasons"], exposure_usd=row["exposure_usd"],
        decision_id=row["decision_id"],
    )  # fmt: skip


def _issue(row: dict[str, Any]) -> DataQualityRaised:
    return DataQualityRaised(
        id=row["last_id"], cause_id=row["last_id"], ts=row["last_ts"],
        issue=QualityIssue(row["issue"]), subject=row["subject"], detail=row["detail"],
        cause=Cause(row["cause"]),
    )  # fmt: skip
