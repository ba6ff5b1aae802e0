"""Keeps the drills that were signalled, judges each once, and says what should be alerted.

Driven by the listener (:mod:`riskwatch.shell.listener`), which hears the signals and the answers.
One that is due and was not run is found by the plan, so a risk worker that does not signal, or
signals what nobody hears, shows as well.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import SECOND, micros, moment
from riskwatch.core.outputs import DrillSignalled
from riskwatch.core.risk.drills import due_by
from riskwatch.shell.drills import FAILED, Answered, Real, Report, answered, judged
from riskwatch.store import clients as table
from riskwatch.store import drills as store
from riskwatch.store.engine import answering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection, Engine

    from riskwatch.contracts.acks import DrillAck
    from riskwatch.core.risk.config import DrillPlan
    from riskwatch.shell.roll import Roll

ANSWER_S: Final = 10.0
"""Seconds within which every client must have answered."""
OVERDUE_S: Final = 300.0
"""Seconds after which a drill that was due counts as not run."""
FRESH_S: Final = 30.0
"""A signal that is heard of later than so many seconds after it was given shows no before."""
KEPT: Final = timedelta(days=100)
"""Signals travel no longer than this: their topic keeps less."""
PREFIX: Final = "drill:"
"""Begins the keys of alerts about drills; the scope follows."""
_ACKS: Final = 10_000
_LOOK: Final = timedelta(seconds=5)
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Wanted(msgspec.Struct, frozen=True):
    """An alert that should be open."""

    scope: str
    title: str
    reasons: list[str]


class _Waiting(msgspec.Struct):
    signal: DrillSignalled
    heard: datetime
    before: str | None = None


class DrillBook:
    """Judges drills.

    Parameters
    ----------
    roll : Roll
        Who is expected to answer.
    plans : sequence of DrillPlan
        What is due by itself.
    answer_s, overdue_s : float
        How long is waited for the clients, and for a drill that is due; seconds.
    """

    def __init__(
        self,
        roll: Roll,
        plans: Sequence[DrillPlan],
        answer_s: float = ANSWER_S,
        overdue_s: float = OVERDUE_S,
    ) -> None:
        self._roll = roll
        self._plans = plans
        self._answer = timedelta(seconds=answer_s)
        self._overdue_us = round(overdue_s * SECOND)
        self._waiting: dict[str, _Waiting] = {}
        self._acks: dict[tuple[str, str], tuple[DrillAck, datetime]] = {}
        self._judged: set[str] = set()
        self._last: dict[str, tuple[datetime, str, list[str]]] = {}
        self._late: dict[str, Wanted] = {}
        self._looked = _LONG_AGO
        self._began: datetime | None = None

    def load(self, conn: Connection, now: datetime) -> None:
        """Look up what was judged before."""
        self._judged = store.judged_since(conn, now - KEPT)
        for row in store.last_of_scopes(conn):
            self._last[row["scope"]] = row["sent_ts"], row["outcome"], row["report"]["problems"]

    def signalled(self, signal: DrillSignalled, now: datetime) -> None:
        """Take note of a drill; one that is judged, or known, is left out."""
        if signal.id not in self._judged and signal.id not in self._waiting:
            self._waiting[signal.id] = _Waiting(signal, now)

    def answered(self, ack: DrillAck, arrived: datetime) -> None:
        """Take note of an answer; the first word of a client counts."""
        self._acks.setdefault((ack.drill, ack.client), (ack, arrived))
        if len(self._acks) > _ACKS:
            del self._acks[next(iter(self._acks))]

    def look(self, engine: Engine, now: datetime) -> list[Report]:
        """Look at what is real as drills begin; returns those that are over, to be kept.

        Raises
        ------
        StoreUnavailableError
            If the database does not answer.
        """
        plans_too = now - self._looked >= _LOOK
        if not (self._waiting or plans_too):
            return []
        with answering("drills cannot be judged"), engine.connect() as conn:
            found = [self._look(conn, each, now) for each in self._waiting.values()]
            if plans_too:
                self._late = {PREFIX + w.scope: w for w in self._unrun(conn, now)}
                self._looked = now
        return [report for report in found if report is not None]

    def keep(self, report: Report) -> None:
        """Take note that a drill was judged, and that this was written down."""
        del self._waiting[report.id]
        self._judged.add(report.id)
        for key in [key for key in self._acks if key[0] == report.id]:
            del self._acks[key]
        last = self._last.get(report.scope)
        if last is None or last[0] <= report.sent:
            self._last[report.scope] = report.sent, report.outcome, report.problems
            self._looked = _LONG_AGO  # it may be what was overdue

    def wanted(self) -> dict[str, Wanted]:
        """Alerts that should be open, by key: of the last drill of a scope, and of what is due."""
        failed = {
            PREFIX + scope: Wanted(scope, f"the drill of {scope} failed", problems)
            for scope, (_, outcome, problems) in self._last.items()
            if outcome == FAILED
        }
        return failed | self._late

    def _look(self, conn: Connection, waiting: _Waiting, now: datetime) -> Report | None:
        signal = waiting.signal
        if waiting.before is None:
            late = (now - signal.ts).total_seconds() > FRESH_S
            waiting.before = "" if late else table.switch_digest(conn)
        expected = self._expected(signal)
        found = self._answers(signal)
        missing = {*expected} - {each.client for each in found}
        if (missing or not found) and now - waiting.heard < self._answer:
            return None
        real = Real(
            waiting.before,
            table.switch_digest(conn),
            store.really_changed(conn, signal.ts),
            store.caused(conn, signal.cause_id, signal.ts),
        )
        return judged(signal, expected, found, real)

    def _expected(self, signal: DrillSignalled) -> list[str]:
        """Every client that is known, has not ended, and was there when the signal was given."""
        known = {
            client
            for client, heard in self._roll.heard.items()
            if not heard.ack.ended and heard.ack.started <= signal.ts
        }
        return sorted({*known, *signal.expect})

    def _answers(self, signal: DrillSignalled) -> list[Answered]:
        return [
            answered(ack, signal, arrived)
            for (drill, _), (ack, arrived) in self._acks.items()
            if drill == signal.id
        ]

    def _unrun(self, conn: Connection, now: datetime) -> list[Wanted]:
        """Plans whose moment went by without a drill."""
        self._began = self._began or now
        out = []
        for plan in self._plans:
            row = store.plan_row(conn, plan.id)
            since = micros(self._began) if row is None else row.since
            due = due_by(plan, micros(now) - self._overdue_us)
            last = self._last.get(plan.scope)
            if due <= since or (last is not None and micros(last[0]) >= due):
                continue
            why = "the risk worker does not know the plan: it runs with another configuration"
            if row is not None:
                why = "it was not signalled" if row.last < due else "its signal was not heard of"
            when = f"plan {plan.id} was due at {moment(due):%Y-%m-%d %H:%M} UTC"
            out.append(Wanted(plan.scope, f"the drill of {plan.scope} is overdue", [when, why]))
        return out
