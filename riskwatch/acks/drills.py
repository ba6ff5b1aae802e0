"""The evaluation of drills: which clients answered, how fast, and which alerts are due.

The acknowledgement worker (:mod:`riskwatch.acks.worker`) passes on signals and answers. Each drill
is evaluated once. The plan shows drills that were due and were not run, so a risk worker that does
not signal, or whose signals do not arrive, shows as well.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import SECOND, micros, moment
from riskwatch.core.outputs import DrillSignalled
from riskwatch.core.risk.drills import last_due
from riskwatch.store import clients as table
from riskwatch.store import drills as store
from riskwatch.store.clients import quantile
from riskwatch.store.engine import translate_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection, Engine

    from riskwatch.acks.acknowledgements import Acknowledgements
    from riskwatch.contracts.acks import DrillAck
    from riskwatch.core.risk.config import DrillPlan


PASSED, FAILED, DISTURBED = "passed", "failed", "disturbed"


class ClientResponse(msgspec.Struct, frozen=True):
    """The answer of one client to a drill.

    Attributes
    ----------
    client : str
        Name of the client.
    stopped_s : float
        Time from the signal until the client's copy of the table refused orders, seconds. The
        signal has the broker's time (the risk worker's, if a plan caused the drill); the end has
        the client's time.
    round_trip_s : float
        Time from the signal until the broker received the answer, seconds. For a commanded drill
        both times are the broker's, and the whole way from command to answer is included.
    problems : list of str
        Checks that failed.
    """

    client: str
    stopped_s: float
    round_trip_s: float
    problems: list[str]


class RealState(msgspec.Struct, frozen=True):
    """The real table of scopes before and after a drill.

    Attributes
    ----------
    before, after : str
        Digest of the table of scopes in SQL when the signal arrived, and at the end. `before` is
        empty if the signal arrived too late.
    decided : list of str
        Real decisions since the signal.
    caused : int
        Number of real switches that the drill itself changed.
    """

    before: str
    after: str
    decided: list[str] = []
    caused: int = 0


class DrillReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a drill.

    Attributes
    ----------
    outcome : str
        ``passed``; ``failed``: a client did not answer or failed a check, or the drill changed
        the real table; ``disturbed``: a real decision was made meanwhile, so the drill does not
        prove that the real table stays the same.
    plan : str
        Plan that caused the drill; empty if `person` did.
    expected, silent : list of str
        Clients that should answer, and those of them that did not.
    p50_s, p99_s, slowest_s : float or None
        Round trips of the clients that answered, seconds.
    real : RealState
        The real table of scopes.
    """

    id: str
    scope: str
    plan: str
    person: str
    reason: str
    sent: datetime
    outcome: str
    problems: list[str]
    expected: list[str]
    silent: list[str]
    answered: list[ClientResponse]
    p50_s: float | None
    p99_s: float | None
    slowest_s: float | None
    real: RealState


def drill_report(
    signal: DrillSignalled, expected: list[str], answered: list[ClientResponse], real: RealState
) -> DrillReport:
    """Return the report of a drill."""
    silent = sorted({*expected} - {found.client for found in answered})
    problems = [f"{client} did not answer" for client in silent]
    problems += [f"{found.client}: {what}" for found in answered for what in found.problems]
    if not expected and not answered:
        problems.append("there is no client to exercise")
    if real.caused:
        problems.append(f"the drill itself turned {real.caused} real switches")
    if not real.before:
        problems.append("heard of too late to say whether anything real changed")
    outcome = FAILED if problems else PASSED
    if real.before and real.before != real.after:
        why = ", ".join(real.decided)
        problems.append(f"a real decision was made during the drill: {why}" if why else _CHANGED)
        if outcome == PASSED:
            outcome = DISTURBED if why else FAILED
    times = sorted(found.round_trip_s for found in answered)
    return DrillReport(
        id=signal.id,
        scope=signal.scope,
        plan=signal.plan,
        person=signal.person,
        reason=signal.reason,
        sent=signal.ts,
        outcome=outcome,
        problems=problems,
        expected=expected,
        silent=silent,
        answered=sorted(answered, key=lambda found: found.client),
        p50_s=quantile(times, 0.5),
        p99_s=quantile(times, 0.99),
        slowest_s=times[-1] if times else None,
        real=real,
    )


_CHANGED: Final = "the real table of scopes changed, and no decision says why"


def format_report(report: DrillReport) -> str:
    """Return a report as text for people."""
    lines = [
        f"Drill {report.id} of {report.scope}: {report.outcome.upper()}",
        f"signalled {report.sent.isoformat()} by {report.person}: {report.reason}",
        f"{len(report.answered)} clients answered, {len(report.expected)} were expected",
    ]
    if report.slowest_s is not None:
        lines.append(
            f"round trip p50 {report.p50_s:.3f} s, p99 {report.p99_s:.3f} s, "
            f"slowest {report.slowest_s:.3f} s"
        )
    lines += [
        f"  {found.client}: stopped after {found.stopped_s:.3f} s, heard after "
        f"{found.round_trip_s:.3f} s"
        for found in report.answered
    ]
    lines += [f"  {client}: NO ANSWER" for client in report.silent]
    real = report.real
    same = "the same before and after" if real.before == real.after else "NOT SHOWN TO BE THE SAME"
    lines.append(f"real table of scopes: {same} ({real.before or 'not known'}, {real.after})")
    lines.append(f"real switches that the drill turned: {real.caused}")
    lines += [f"PROBLEM: {what}" for what in report.problems]
    return "\n".join(lines) + "\n"


def client_response(ack: DrillAck, signal: DrillSignalled, arrived: datetime) -> ClientResponse:
    """Return the checked answer of a client, which the broker received at `arrived`."""
    checks = {
        "an order in the scope was not refused": ack.refused,
        "a cancel was refused": ack.cancelled,
        "its real table changed": ack.digest_before == ack.digest_after,
        "what its real table says of the order changed": ack.real_before is ack.real_after,
        "it answered for another scope": ack.scope == signal.scope,
    }
    return ClientResponse(
        ack.client,
        (ack.applied_ts - signal.ts).total_seconds(),
        (arrived - signal.ts).total_seconds(),
        [what for what, fine in checks.items() if not fine],
    )


def drill_row(done: DrillReport) -> tuple[object, ...]:
    """Return the row of a report in the table of drills."""
    return (
        done.id, done.scope, done.person, done.reason, done.sent, done.outcome,
        len(done.expected), len(done.answered), done.slowest_s, done.real.before,
        done.real.after, msgspec.to_builtins(done),
    )  # fmt: skip


ANSWER_TIMEOUT_S: Final = 10.0
"""Time within which every client must answer, seconds."""
MISSED_AFTER_S: Final = 300.0
"""Time after which a drill that was due counts as not run, seconds."""
MAX_SIGNAL_AGE_S: Final = 30.0
"""Largest age of a signal at its arrival for which the state before it can be recorded, seconds."""
SIGNAL_RETENTION: Final = timedelta(days=100)
"""Longest age of a signal. Their topic retains signals for a shorter time."""
DRILL_ALERT_PREFIX: Final = "drill:"
"""Prefix of the keys of alerts about drills; the scope follows."""
MAX_EARLY: Final = 1_000
"""Most answers to drills whose signal did not arrive yet."""
MAX_EARLY_OF_CLIENT: Final = 4
"""Most of them of one client."""
MAX_UNEXPECTED: Final = 100
"""Most answers to one drill of clients that nobody expects."""
_POLL: Final = timedelta(seconds=5)
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class DrillAlert(msgspec.Struct, frozen=True):
    """An alert that should be open."""

    scope: str
    title: str
    reasons: list[str]


class _PendingDrill(msgspec.Struct):
    signal: DrillSignalled
    received: datetime
    before: str | None = None


class DrillEvaluator:
    """Evaluates drills.

    Parameters
    ----------
    acks : Acknowledgements
        Acknowledgements of the clients that are expected to answer.
    plans : sequence of DrillPlan
        Plans of drills.
    answer_s, overdue_s : float
        Longest wait for the answers of clients, and for a drill that is due, seconds.
    """

    def __init__(
        self,
        acks: Acknowledgements,
        plans: Sequence[DrillPlan],
        answer_s: float = ANSWER_TIMEOUT_S,
        overdue_s: float = MISSED_AFTER_S,
    ) -> None:
        self._acknowledgements = acks
        self._plans = plans
        self._answer = timedelta(seconds=answer_s)
        self._overdue_us = round(overdue_s * SECOND)
        self._waiting: dict[str, _PendingDrill] = {}
        # The first answer of each client, by drill; and the answers whose signal is on its way.
        self._answers_received: dict[str, dict[str, tuple[DrillAck, datetime]]] = {}
        self._early: dict[tuple[str, str], tuple[DrillAck, datetime]] = {}
        self._evaluated: set[str] = set()
        self._last: dict[str, tuple[datetime, str, list[str]]] = {}
        self._overdue_alerts: dict[str, DrillAlert] = {}
        self._plans_checked = _LONG_AGO
        self._began: datetime | None = None

    def load(self, conn: Connection, now: datetime) -> None:
        """Load the drills that were evaluated before."""
        self._evaluated = store.evaluated_since(conn, now - SIGNAL_RETENTION)
        for row in store.last_drills(conn):
            self._last[row["scope"]] = row["sent_ts"], row["outcome"], row["report"]["problems"]

    def add_signal(self, signal: DrillSignalled, now: datetime) -> None:
        """Add a drill, unless it is known or was evaluated already."""
        if signal.id not in self._evaluated and signal.id not in self._waiting:
            self._waiting[signal.id] = _PendingDrill(signal, now)
            self._answers_received[signal.id] = {}
            for drill, client in [key for key in self._early if key[0] == signal.id]:
                self.add_answer(*self._early.pop((drill, client)))

    def add_answer(self, ack: DrillAck, arrived: datetime) -> None:
        """Add the answer of a client. Only its first answer counts.

        The number of stored answers is bounded, also for drills and clients that do not exist.
        """
        answers = self._answers_received.get(ack.drill)
        if answers is not None:
            unexpected = [c for c in answers if c not in self._acknowledgements.received]
            is_known = ack.client in self._acknowledgements.received
            if is_known or len(unexpected) < MAX_UNEXPECTED:
                answers.setdefault(ack.client, (ack, arrived))
        elif ack.drill not in self._evaluated:
            self._early.setdefault((ack.drill, ack.client), (ack, arrived))
            own = [key for key in self._early if key[1] == ack.client]
            if len(own) > MAX_EARLY_OF_CLIENT:
                del self._early[own[0]]
            elif len(self._early) > MAX_EARLY:
                del self._early[next(iter(self._early))]

    def evaluate(self, engine: Engine, now: datetime) -> list[DrillReport]:
        """Record the real table as drills begin, and return the reports of drills that ended.

        Raises
        ------
        StoreUnavailableError
            If the database does not answer.
        """
        plans_too = now - self._plans_checked >= _POLL
        if not (self._waiting or plans_too):
            return []
        with translate_errors("drills cannot be judged"), engine.connect() as conn:
            found = [self._evaluate_drill(conn, each, now) for each in self._waiting.values()]
            if plans_too:
                self._overdue_alerts = {
                    DRILL_ALERT_PREFIX + w.scope: w for w in self._overdue_drills(conn, now)
                }
                self._plans_checked = now
        return [report for report in found if report is not None]

    def mark_evaluated(self, report: DrillReport) -> None:
        """Record that the report of a drill was stored."""
        del self._waiting[report.id]
        self._evaluated.add(report.id)
        del self._answers_received[report.id]
        last = self._last.get(report.scope)
        if last is None or last[0] <= report.sent:
            self._last[report.scope] = report.sent, report.outcome, report.problems
            self._plans_checked = _LONG_AGO  # it may be the drill that was overdue

    def due_alerts(self) -> dict[str, DrillAlert]:
        """Return the alerts that should be open, by key: failed last drills, and overdue drills."""
        failed = {
            DRILL_ALERT_PREFIX + scope: DrillAlert(scope, f"the drill of {scope} failed", problems)
            for scope, (_, outcome, problems) in self._last.items()
            if outcome == FAILED
        }
        return failed | self._overdue_alerts

    def _evaluate_drill(
        self, conn: Connection, waiting: _PendingDrill, now: datetime
    ) -> DrillReport | None:
        signal = waiting.signal
        if waiting.before is None:
            late = (now - signal.ts).total_seconds() > MAX_SIGNAL_AGE_S
            waiting.before = "" if late else table.switch_digest(conn)
        expected = self._expected(signal)
        found = self._answers(signal)
        missing = {*expected} - {each.client for each in found}
        if (missing or not found) and now - waiting.received < self._answer:
            return None
        real = RealState(
            waiting.before,
            table.switch_digest(conn),
            store.real_changes(conn, signal.ts),
            store.switches_caused_by(conn, signal.cause_id, signal.ts),
        )
        return drill_report(signal, expected, found, real)

    def _expected(self, signal: DrillSignalled) -> list[str]:
        """Return the named clients, and those that have not ended and started before the signal."""
        known = {
            client
            for client, received in self._acknowledgements.received.items()
            if not received.ack.ended and received.since <= signal.ts
        }
        return sorted({*known, *signal.expect})

    def _answers(self, signal: DrillSignalled) -> list[ClientResponse]:
        return [
            client_response(ack, signal, arrived)
            for ack, arrived in self._answers_received[signal.id].values()
        ]

    def _overdue_drills(self, conn: Connection, now: datetime) -> list[DrillAlert]:
        """Return the alerts of plans whose time passed without a drill."""
        self._began = self._began or now
        out = []
        for plan in self._plans:
            row = store.plan_row(conn, plan.id)
            since = micros(self._began) if row is None else row.since
            due = last_due(plan, micros(now) - self._overdue_us)
            last = self._last.get(plan.scope)
            if due <= since or (last is not None and micros(last[0]) >= due):
                continue
            why = "the risk worker does not know the plan: it runs with another configuration"
            if row is not None:
                why = "it was not signalled" if row.last < due else "its signal was not heard of"
            when = f"plan {plan.id} was due at {moment(due):%Y-%m-%d %H:%M} UTC"
            out.append(DrillAlert(plan.scope, f"the drill of {plan.scope} is overdue", [when, why]))
        return out
