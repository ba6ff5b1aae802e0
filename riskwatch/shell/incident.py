"""An incident as it was: what was known and held when each decision fell.

The journal is replayed, so exposures and scores are those of the moment and not of today. Where
the journal is not kept any more, the chain alone is told from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.contracts.outputs import encode_output
from riskwatch.core.clock import SECOND, micros
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
from riskwatch.core.scopes import FIRM, VENUE_ASSET, parse
from riskwatch.errors import StoreError
from riskwatch.shell.rederive import Rederivation, foreign
from riskwatch.store.audit import BEYOND, last_payload, stretches
from riskwatch.store.checkpoints import usable
from riskwatch.version import ENGINE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.engine import Connection

    from riskwatch.contracts.audit import Link
    from riskwatch.core.outputs import Output

YARDSTICK_S: Final = 5.0
"""Within which an alert must follow its event, seconds."""
MOST: Final = 200
"""Holdings and scores that are kept of one moment, the largest first."""
_PEOPLE: Final = ("operator", "operators", "person", "people", "approved_by", "by")
"""Fields of outputs that name people."""

Row = dict[str, Any]


@dataclass(slots=True)
class Scene:
    """One decision, and what stood when it fell.

    Attributes
    ----------
    decision : dict
        The decision as it is in the chain.
    row : int
        Its row there.
    payload : str
        The decision, byte for byte.
    exposures, scores, assessments : list of dict
        About its scope, as they stood; ``None`` where the journal is gone.
    last_input_s : float or None
        Seconds from the last input about its scope to the decision, in event time.
    rederived : bool or None
        Whether the journal gives it again byte for byte.
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
    """Everything that a report tells of a stretch of time.

    Attributes
    ----------
    scenes : list of Scene
        Decisions, in order.
    switches, alerts, others : list of dict
        Switches, alerts raised and resolved, and every other kind of row of the chain.
    configuration : dict or None
        The one that counted when the stretch began.
    people : list of dict
        Who did what, by what the rows say.
    without_journal : str
        Why the journal was of no use, or of none for a part; empty if it was for all of it.
    first : int
        First row of the stretch; 0 if there is none.
    """

    scenes: list[Scene] = field(default_factory=list)
    switches: list[Row] = field(default_factory=list)
    alerts: list[Row] = field(default_factory=list)
    others: list[Row] = field(default_factory=list)
    configuration: Row | None = None
    people: list[Row] = field(default_factory=list)
    without_journal: str = ""
    first: int = 0


def incident(
    conn: Connection, worker: str, rows: Iterable[Link], span: tuple[int, int], *, journal: bool
) -> Incident:
    """Tell what happened between two times.

    Parameters
    ----------
    conn : Connection
        See :func:`riskwatch.store.queries.reading`.
    worker : str
        Whose chain.
    rows : iterable of Link
        The stretch of it.
    span : tuple of int
        Beginning and end, event time in microseconds.
    journal : bool
        Whether to replay the journal; it takes as long as a replay.
    """
    out, last = Incident(), 0
    for link in rows:
        last = link.seq
        if out.first == 0:
            out.first = link.seq
            found = last_payload(conn, worker, ConfigurationChanged, link.seq)
            out.configuration = None if found is None else msgspec.json.decode(found)
        _chained(out, link)
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
    """Of the rows of the chain from one to another, the last ones that this engine can derive.

    Where there is no such row, `first` is 0, and any stretch of this engine will do.
    """
    parts = stretches(conn, worker)
    if not parts:
        return _Derivable(Rederivation(conn, worker))  # the replay says what is wanting
    ends = [*(after.audit_seq for after in parts[1:]), BEYOND]
    for at, (part, end) in reversed(list(enumerate(zip(parts, ends, strict=True)))):
        begin = part.audit_seq if at else 0
        within = first == 0 or (begin < last and first < end)
        if part.engine != ENGINE or not within:
            continue
        start = None
        if foreign(conn, worker, part):
            kept = usable(conn, worker, part)
            if not kept:
                continue
            start = kept[0]
            begin = max(begin, start.audit_seq)
        return _Derivable(Rederivation(conn, worker, start, last=part.last), begin, end)
    return None


@dataclass(frozen=True, slots=True)
class _Derivable:
    """A replay, and the rows of the chain that it says something about: those in between."""

    replay: Rederivation
    first: int = 0
    last: int = BEYOND


def _chained(out: Incident, link: Link) -> None:
    value: Row = msgspec.json.decode(link.payload)
    if link.kind == DecisionMade.__name__:
        out.scenes.append(Scene(value, link.seq, link.payload))
    elif link.kind == KillSwitchChanged.__name__:
        out.switches.append(value)
    else:
        if link.kind == ConfigurationChanged.__name__:
            value = {key: found for key, found in value.items() if key != "content"}
        out.others.append({"row": link.seq, "kind": link.kind, **value})
    named = [str(value[name]) for name in _PEOPLE if value.get(name)]
    if named:
        out.people.append({"row": link.seq, "kind": link.kind, "who": ", ".join(named), **value})


class _Standing:
    """What stands at a moment: the last of each exposure, score and assessment."""

    def __init__(self) -> None:
        self.exposures: dict[str, ExposureChanged] = {}
        self.scores: dict[str, ScoreUpdated] = {}
        self.assessments: dict[str, CounterpartyAssessed] = {}

    def see(self, output: Output) -> None:
        if isinstance(output, ExposureChanged):
            if output.amount:
                self.exposures[output.key()] = output
            else:
                self.exposures.pop(output.key(), None)
        elif isinstance(output, ScoreUpdated):
            self.scores[output.key()] = output
        elif isinstance(output, CounterpartyAssessed):
            self.assessments[output.key()] = output

    def of(self, scope: str, scene: Scene) -> None:
        """Copy what is about a scope into its scene."""
        held = [e for e in self.exposures.values() if _about(scope, e)]
        held.sort(key=lambda e: (-abs(e.value_usd or ZERO), e.key()))
        scored = [s for key, s in sorted(self.scores.items()) if s.scope == scope]
        scene.exposures = [_plain(e) for e in held[:MOST]]
        scene.scores = [_plain(s) for s in scored[:MOST]]
        assessed = self.assessments.get(scope)
        scene.assessments = [] if assessed is None else [_plain(assessed)]


def _replay(out: Incident, derived: _Derivable, span: tuple[int, int]) -> None:
    """Tell of each moment what the journal gives."""
    replay = derived.replay
    waiting = {scene.decision["id"]: scene for scene in out.scenes}
    standing = _Standing()
    alerts: list[Row] = []
    for output in replay.outputs():
        us = micros(output.ts)
        if us > span[1]:
            break
        # A tick tells holdings, then scores, then decides: a scene is complete when it decides.
        standing.see(output)
        if isinstance(output, AlertRaised | AlertResolved) and us >= span[0]:
            alerts.append(_plain(output))
        elif isinstance(output, DecisionMade):
            scene = waiting.pop(output.id, None)
            if scene is not None:
                standing.of(output.scope, scene)
                scene.rederived = encode_output(output) == scene.payload.encode()
                heard = replay.heard(output.scope)
                if heard is not None:
                    scene.last_input_s = (us - heard) / SECOND
    for scene in waiting.values():
        if derived.first < scene.row < derived.last:
            scene.rederived = False
    out.alerts = alerts


def _about(scope: str, held: ExposureChanged) -> bool:
    """Whether a holding is part of what a scope covers."""
    at = parse(scope)
    if at.kind == VENUE_ASSET:
        return (held.counterparty, held.asset) == (at.name, at.asset)
    return at.kind == FIRM or getattr(held, at.kind) == at.name


def _plain(output: Output) -> Row:
    found: Row = msgspec.json.decode(encode_output(output))
    return found
