"""Resynchronisation of the notifier with SQL: open alerts, silences and acknowledgements.

At the first start, and after records were lost or the topic was recreated, the worker continues
from the end of the topic. After an outage, a risk worker publishes only the last record of each
key, among which an alert may be missing. At the start and at intervals, the worker therefore
handles the open alerts of SQL as if they arrived now. It recognises known alerts by id and time.
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
    """An open alert or quality issue, and the key under which the state holds it."""

    key: str
    row: dict[str, Any]
    output: AlertRaised | DataQualityRaised
    worker: str = ""


def resync(engine: Engine, notifier: Notifier, state: NotifyState, us: int) -> list[NotifierOutput]:
    """Update the state of the notifier from SQL, and return the notifier's outputs.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer. The state did not change then.
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
    outputs: list[NotifierOutput] = []
    _end_resolved(notifier, state, {found.key for found in raised}, us, outputs)
    for key, row, output, worker in raised:
        known = key in state.alerts
        outputs += notifier.handle(state, output, worker, us)
        if not known and (made := state.alerts.get(key)) is not None:
            made.opened_id, made.opened_us = row["id"], micros(row["opened_ts"])
    _apply_controls(state, controls)
    now = {row["scope"]: State(row["state"]) for row in switches}
    for key in sorted(state.alerts):
        alert = state.alerts[key]
        if alert.key == alert.scope and alert.scope in now:
            alert.state = now[alert.scope]
            state.mark("alert", key)
    return outputs


def _rows(conn: Connection, query: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in conn.execute(query).mappings()]


def _end_resolved(
    notifier: Notifier,
    state: NotifyState,
    open_: AbstractSet[str],
    us: int,
    outputs: list[NotifierOutput],
) -> None:
    """Resolve the alerts that are not open in SQL any more."""
    for key in [k for k in sorted(state.alerts) if k not in open_ and k != OVERFLOW_ALERT_KEY]:
        row = state.alerts[key]
        ended = AlertResolved(
            id=row.last_id, cause_id=row.last_id, ts=moment(us), alert=key, scope=row.scope,
            opened_id=row.opened_id,
        )  # fmt: skip
        outputs += notifier.handle(state, ended, "", us)


def _apply_controls(state: NotifyState, controls: list[dict[str, Any]]) -> None:
    """Copy silences and acknowledgements from SQL to the state."""
    silenced = {row["scope"]: row for row in controls if row["silence_by"] is not None}
    for scope in [s for s in sorted(state.silences) if s not in silenced]:
        del state.silences[scope]
        state.mark("silence", scope)
    for scope, row in sorted(silenced.items()):
        until, before = micros(row["silence_until"]), state.silences.get(scope)
        if before is None or before.until != until:
            state.silences[scope] = SilenceRow(row["silence_by"], NO_REASON, until)
            state.mark("silence", scope)
    acknowledged = {row["scope"]: row for row in controls if row["acknowledged_by"]}
    for key in sorted(state.alerts):
        alert = state.alerts[key]
        by = acknowledged.get(alert.scope)
        # An acknowledgement before the alert was raised again may not cover that it got worse.
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
