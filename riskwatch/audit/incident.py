"""The reconstruction of an incident: exposures and scores at the time of each decision.

The module replays the journal, so exposures and scores are those of the decision and not of today.
If the journal was archived, the report uses the audit chain alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from jinja2 import Environment, FileSystemLoader, select_autoescape
from jinja2.runtime import Undefined

from riskwatch.audit.rederivation import Rederivation, foreign
from riskwatch.contracts.outputs import encode_output
from riskwatch.core.clock import SECOND, micros, moment, rfc3339
from riskwatch.core.enums import State, strictest
from riskwatch.core.money import ZERO
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    ConfigurationChanged,
    CounterpartyAssessed,
    DecisionMade,
    ExposureChanged,
    KillSwitchChanged,
    ScoreUpdated,
)
from riskwatch.core.scopes import (
    covers_holding,
    parse,
)
from riskwatch.errors import StoreError
from riskwatch.store.audit import BEYOND, last_payload, stretches
from riskwatch.store.checkpoints import usable_checkpoints
from riskwatch.store.explain import CAUSES, format_number
from riskwatch.version import ENGINE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.engine import Connection

    from riskwatch.contracts.audit import AuditLink
    from riskwatch.core.outputs import Output
    from riskwatch.store.bundle import BundleManifest


ALERT_TARGET_S: Final = 5.0
"""Longest time from an event to its alert, seconds."""
MAX_ROWS: Final = 200
"""Most holdings and scores of one decision, the largest first."""
_PEOPLE: Final = ("operator", "operators", "person", "people", "approved_by", "by")
"""Fields of outputs that name people."""

Row = dict[str, Any]


@dataclass(slots=True)
class DecisionContext:
    """One decision, with the exposures and scores at its time.

    Attributes
    ----------
    decision : dict
        The decision in the audit chain.
    row : int
        Its row in the chain.
    payload : str
        The decision, byte for byte.
    exposures, scores, assessments : list of dict
        Exposures, scores and assessments of its scope at that time; ``None`` if the journal is
        gone.
    last_input_s : float or None
        Time from the last input about its scope to the decision, seconds of event time.
    rederived : bool or None
        Whether the journal gives the same decision, byte for byte.
    """

    decision: Row
    row: int
    payload: str = ""
    exposures: list[Row] | None = None
    scores: list[Row] | None = None
    assessments: list[Row] | None = None
    last_input_s: float | None = None
    rederived: bool | None = None


@dataclass(slots=True)
class Incident:
    """The content of a report about a span of time.

    Attributes
    ----------
    scenes : list of DecisionContext
        Decisions, in order.
    switches, alerts, others : list of dict
        Switches, alerts raised and resolved, and all other rows of the chain.
    configuration : dict or None
        The configuration in effect when the span began.
    people : list of dict
        Rows that name people.
    without_journal : str
        Why the journal could not be used for the whole span or a part of it; empty if it could.
    first : int
        First row of the span; 0 if there is none.
    """

    scenes: list[DecisionContext] = field(default_factory=list)
    switches: list[Row] = field(default_factory=list)
    alerts: list[Row] = field(default_factory=list)
    others: list[Row] = field(default_factory=list)
    configuration: Row | None = None
    people: list[Row] = field(default_factory=list)
    without_journal: str = ""
    first: int = 0


def reconstruct_incident(
    conn: Connection,
    worker: str,
    rows: Iterable[AuditLink],
    span: tuple[int, int],
    *,
    journal: bool,
) -> Incident:
    """Reconstruct the incident between two times.

    Parameters
    ----------
    conn : Connection
        See :func:`riskwatch.store.queries.open_reader`.
    worker : str
        Name of the worker.
    rows : iterable of AuditLink
        Rows of its audit chain within the span.
    span : tuple of int
        Beginning and end, event time in microseconds.
    journal : bool
        Whether to replay the journal. It takes as long as a replay.
    """
    out, last = Incident(), 0
    for link in rows:
        last = link.seq
        if out.first == 0:
            out.first = link.seq
            found = last_payload(conn, worker, ConfigurationChanged, link.seq)
            out.configuration = None if found is None else msgspec.json.decode(found)
        _add_link(out, link)
    if not journal:
        out.without_journal = "the journal was not replayed"
        return out
    derived = _derivable(conn, worker, out.first, last)
    if derived is None or (out.first and not derived.first < out.first <= last < derived.last):
        out.without_journal = f"not everything here was decided by this engine, {ENGINE}"
    if derived is None:
        return out
    try:
        _replay(out, derived, span)
    except StoreError as error:
        out.without_journal = str(error)
    return out


def _derivable(conn: Connection, worker: str, first: int, last: int) -> _Derivable | None:
    """Return the replay of the last rows between two that this engine can derive.

    If the span has no row, `first` is 0, and any stretch of this engine is taken.
    """
    parts = stretches(conn, worker)
    if not parts:
        return _Derivable(Rederivation(conn, worker))  # the replay reports what is missing
    ends = [*(after.audit_seq for after in parts[1:]), BEYOND]
    for at, (part, end) in reversed(list(enumerate(zip(parts, ends, strict=True)))):
        begin = part.audit_seq if at else 0
        within = first == 0 or (begin < last and first < end)
        if part.engine != ENGINE or not within:
            continue
        start = None
        if foreign(conn, worker, part):
            checkpoints = usable_checkpoints(conn, worker, part)
            if not checkpoints:
                continue
            start = checkpoints[0]
            begin = max(begin, start.audit_seq)
        return _Derivable(Rederivation(conn, worker, start, last=part.last), begin, end)
    return None


@dataclass(frozen=True, slots=True)
class _Derivable:
    """A replay, and the rows of the chain before and behind those that it derives."""

    replay: Rederivation
    first: int = 0
    last: int = BEYOND


def _add_link(out: Incident, link: AuditLink) -> None:
    value: Row = msgspec.json.decode(link.payload)
    if link.kind == DecisionMade.__name__:
        out.scenes.append(DecisionContext(value, link.seq, link.payload))
    elif link.kind == KillSwitchChanged.__name__:
        out.switches.append(value)
    else:
        if link.kind == ConfigurationChanged.__name__:
            value = {key: found for key, found in value.items() if key != "content"}
        out.others.append({"row": link.seq, "kind": link.kind, **value})
    named = [str(value[name]) for name in _PEOPLE if value.get(name)]
    if named:
        out.people.append({"row": link.seq, "kind": link.kind, "who": ", ".join(named), **value})


class _CurrentRows:
    """The current scores and assessments: the last output of each key."""

    def __init__(self) -> None:
        self.scores: dict[str, ScoreUpdated] = {}
        self.assessments: dict[str, CounterpartyAssessed] = {}

    def update(self, output: Output) -> None:
        if isinstance(output, ScoreUpdated):
            self.scores[output.key()] = output
        elif isinstance(output, CounterpartyAssessed):
            self.assessments[output.key()] = output

    def of(self, scope: str, context: DecisionContext, holdings: list[ExposureChanged]) -> None:
        """Copy the rows of a scope, and its holdings, into the context of its decision."""
        held = [e for e in holdings if _about(scope, e)]
        held.sort(key=lambda e: (-abs(e.value_usd or ZERO), e.key()))
        scored = [s for key, s in sorted(self.scores.items()) if s.scope == scope]
        context.exposures = [_unpublished(_plain(e)) for e in held[:MAX_ROWS]]
        context.scores = [_plain(s) for s in scored[:MAX_ROWS]]
        assessed = self.assessments.get(scope)
        context.assessments = [] if assessed is None else [_plain(assessed)]


def _replay(out: Incident, derived: _Derivable, span: tuple[int, int]) -> None:
    """Replay the journal, and complete the context of each decision."""
    replay = derived.replay
    waiting = {context.decision["id"]: context for context in out.scenes}
    current = _CurrentRows()
    alerts: list[Row] = []
    for output in replay.outputs():
        us = micros(output.ts)
        if us > span[1]:
            break
        # A tick puts out scores and then decisions, so the scores are complete here. Holdings are
        # published less often than they are valued, so they come from the state.
        current.update(output)
        if isinstance(output, AlertRaised | AlertResolved) and us >= span[0]:
            alerts.append(_plain(output))
        elif isinstance(output, DecisionMade):
            context = waiting.pop(output.id, None)
            if context is not None:
                current.of(output.scope, context, replay.holdings())
                context.rederived = encode_output(output) == context.payload.encode()
                input_us = replay.last_input_us(output.scope)
                if input_us is not None:
                    context.last_input_s = (us - input_us) / SECOND
    for context in waiting.values():
        if derived.first < context.row < derived.last:
            context.rederived = False
    out.alerts = alerts


def _about(scope: str, held: ExposureChanged) -> bool:
    """Whether a holding is part of what a scope covers."""
    covered = covers_holding(
        parse(scope),
        counterparty=held.counterparty,
        book=held.book,
        account=held.account,
        asset=held.asset,
    )
    return covered is not False


def _plain(output: Output) -> Row:
    found: Row = msgspec.json.decode(encode_output(output))
    return found


def _unpublished(row: Row) -> Row:
    """Return a row without the id of an output, because it need not have been published."""
    return {name: value for name, value in row.items() if name not in ("type", "id", "cause_id")}


# The report of an incident is one HTML page without external resources.

MAX_HOLDINGS_SHOWN: Final = 12
"""Most holdings that the page shows per decision."""
TIMELINE_LEFT: Final = 190
"""Left end of the bars of the timeline, of 1000."""
TIME_MARKS: Final = 5


def render_page(incident: Incident, manifest: BundleManifest, span: tuple[int, int]) -> bytes:
    """Render the report as an HTML page.

    Parameters
    ----------
    incident : Incident
        The incident.
    manifest : BundleManifest
        Manifest of the bundle that the page belongs to.
    span : tuple of int
        Beginning and end, event time in microseconds.
    """
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "when": format_time,
        "since": format_since,
        "money": format_usd,
        "number": format_value,
    }
    reached = timeline_span(incident, span)
    states = [State(s["effective"]) for s in incident.switches]
    largest = max((float(s.decision["exposure_usd"]) for s in incident.scenes), default=0.0)
    return (
        made.get_template("incident.html")
        .render(
            incident=incident,
            manifest=manifest,
            begin=rfc3339(span[0]),
            end=rfc3339(span[1]),
            lanes=timeline_bars(incident.switches, reached),
            marks=timeline_marks(reached),
            measured=[s for s in incident.scenes if s.last_input_s is not None],
            yardstick=ALERT_TARGET_S,
            worst=strictest(states).value,
            largest=format_usd(largest),
            causes=CAUSES,
            shown=MAX_HOLDINGS_SHOWN,
        )
        .encode()
    )


def timeline_span(incident: Incident, span: tuple[int, int]) -> tuple[int, int]:
    """Return the span of the timeline: from first to last switch, with a margin, within `span`."""
    times = [_us(s["ts"]) for s in incident.switches]
    if not times:
        return span
    margin = max((max(times) - min(times)) // 10, 60_000_000)
    return max(span[0], min(times) - margin), min(span[1], max(times) + margin)


def timeline_bars(switches: list[Row], span: tuple[int, int]) -> list[dict[str, Any]]:
    """Return the bars of the timeline: per scope, the effective state from change to change.

    Examples
    --------
    >>> switch = {"scope": "firm", "effective": "HALT", "ts": "1970-01-01T00:00:50Z"}
    >>> [bar["x"] for bar in timeline_bars([switch], (0, 100_000_000))[0]["bars"]]
    [190.0, 595.0]
    """
    out: dict[str, list[tuple[int, str]]] = {}
    for switch in switches:
        found = out.setdefault(switch["scope"], [(span[0], State.NORMAL.value)])
        found.append((_us(switch["ts"]), switch["effective"]))
    made = []
    for scope in sorted(out):
        changes = out[scope]
        ends = [us for us, _ in changes[1:]] + [span[1]]
        bars = [
            {
                "x": _x(us, span),
                "w": round(max(_x(end, span) - _x(us, span), 1.0), 1),
                "state": state,
                "since": rfc3339(us),
            }
            for (us, state), end in zip(changes, ends, strict=True)
        ]
        made.append({"scope": scope, "bars": bars})
    return made


def timeline_marks(span: tuple[int, int]) -> list[dict[str, Any]]:
    """Return the time labels under the timeline."""
    step = (span[1] - span[0]) / TIME_MARKS
    days = span[1] - span[0] > 86_400_000_000
    form = "%d %b %H:%M" if days else "%H:%M:%S"
    out = []
    for n in range(TIME_MARKS + 1):
        us = round(span[0] + n * step)
        anchor = "start" if n == 0 else "end" if n == TIME_MARKS else "middle"
        out.append({"x": _x(us, span), "label": moment(us).strftime(form), "anchor": anchor})
    return out


def format_time(ts: str) -> str:
    """Return a time to the second, without its zone, because the page states UTC once.

    Examples
    --------
    >>> format_time("2023-03-11T03:13:00.5Z")
    '2023-03-11 03:13:00'
    """
    return datetime.fromisoformat(ts).strftime("%Y-%m-%d %H:%M:%S")


def format_since(ts: str) -> str:
    """Return the time of a beginning; the initial state of a replay has no time."""
    return "the beginning of the replay" if _us(ts) == 0 else format_time(ts)


def format_usd(amount: Any) -> str:
    """Return dollars with separators; an empty text if the amount is unknown.

    Examples
    --------
    >>> format_usd("1234567.891"), format_usd(None)
    ('1,234,568', '')
    """
    if amount is None or isinstance(amount, Undefined):
        return ""
    return f"{float(amount):,.0f}"


def format_value(value: Any) -> str:
    """Return a number in readable form, and any other value as text."""
    return format_number(float(value)) if isinstance(value, int | float) else str(value)


def _x(us: int, span: tuple[int, int]) -> float:
    """Return the position of a time on the timeline, of 1000."""
    width = max(span[1] - span[0], 1)
    share = min(max((us - span[0]) / width, 0.0), 1.0)
    return round(TIMELINE_LEFT + (1000 - TIMELINE_LEFT) * share, 1)


def _us(ts: str) -> int:
    return micros(datetime.fromisoformat(ts))
