"""What a change of policy would have done: decisions gained, lost and moved between two runs.

Both runs are over the same inputs. A *stay* is the time that a scope spends at a state, or at a
stricter one. Stays of both runs that overlap, or nearly do, are the same one, moved.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jinja2 import Environment, StrictUndefined

from riskwatch.bench.case import EARLY, KINDS
from riskwatch.bench.timeline import RAISED
from riskwatch.core.clock import MINUTE, micros, rfc3339
from riskwatch.core.enums import State
from riskwatch.core.outputs import AlertRaised, DecisionMade
from riskwatch.core.scopes import parse
from riskwatch.version import ENGINE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from riskwatch.bench.case import Case
    from riskwatch.core.outputs import Output

GAINED: Final = "gained"
LOST: Final = "lost"
MOVED: Final = "moved"
PAGES: Final = (State.REDUCE, State.HALT)
"""Severities of alerts that count as pages."""


class Stay(NamedTuple):
    """The time that a scope spends at a state or a stricter one.

    Attributes
    ----------
    scope : str
        The scope.
    state : State
        The state.
    begin, end : int
        Event times, microseconds; `end` is that of the run if it did not end.
    ended : bool
        Whether it ended.
    rule : str
        Rule or ask of the decision.
    usd : float
        Our exposure at stake at the decision, USD.
    pages : int
        Alerts of REDUCE or HALT that came with the decision.
    false : bool or None
        Whether the labels call it a false alarm; ``None`` without a label.
    """

    scope: str
    state: State
    begin: int
    end: int
    ended: bool
    rule: str
    usd: float
    pages: int
    false: bool | None

    @property
    def minutes(self) -> float:
        """Length in minutes."""
        return (self.end - self.begin) / MINUTE


class PolicyRun(NamedTuple):
    """What one policy did: its stays, by time, and its pages by severity."""

    stays: tuple[Stay, ...]
    pages: dict[State, int]
    end: int


class Shift(NamedTuple):
    """A difference: ``gained``, ``lost`` or ``moved``, with the stay before and after."""

    kind: str
    old: Stay | None
    new: Stay | None

    @property
    def stay(self) -> Stay:
        """The stay of the new policy, or the one that was lost."""
        found = self.new or self.old
        assert found is not None, "one of them is there"
        return found


@dataclass(frozen=True, slots=True)
class PolicyDiff:
    """All differences between two runs.

    Attributes
    ----------
    shifts : tuple of Shift
        By time.
    old, new : PolicyRun
        The runs.
    digests : tuple of str
        Digests of both configurations.
    """

    shifts: tuple[Shift, ...]
    old: PolicyRun
    new: PolicyRun
    digests: tuple[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of the content, to attach to the change of configuration."""
        return sha256(json.dumps(self.content(), sort_keys=True).encode()).hexdigest()

    def content(self) -> dict[str, Any]:
        """Return the differences as JSON values."""
        return {
            "engine": ENGINE,
            "old": self.digests[0],
            "new": self.digests[1],
            "shifts": [_shift_row(shift) for shift in self.shifts],
            "pages": {
                state.value: [self.old.pages[state], self.new.pages[state]] for state in PAGES
            },
        }

    def lines(self) -> list[str]:
        """Return the differences as lines of text; none if there is none."""
        if not self.shifts:
            return []
        pages = [f"{s.value} {self.old.pages[s]} -> {self.new.pages[s]}" for s in PAGES]
        counts = [f"{_count(self.shifts, kind)} {kind}" for kind in (GAINED, LOST, MOVED)]
        return [
            *(_shift_line(shift) for shift in self.shifts),
            f"{', '.join(counts)}; pages: {', '.join(pages)}",
            f"digest: {self.digest}",
        ]


def policy_run(outputs: Iterable[Output], end: int, case: Case | None = None) -> PolicyRun:
    """Collect the stays and pages of a run.

    Parameters
    ----------
    outputs : iterable of Output
        All outputs, in order.
    end : int
        Event time at which the run ends, microseconds; it may end later by its outputs.
    case : Case, optional
        Labels.
    """
    decisions: list[DecisionMade] = []
    alerts: dict[str, int] = {}
    pages = dict.fromkeys(PAGES, 0)
    for made in outputs:
        end = max(end, micros(made.ts))
        if isinstance(made, DecisionMade):
            decisions.append(made)
        elif isinstance(made, AlertRaised) and made.severity in PAGES:
            pages[made.severity] += 1
            if made.decision_id is not None:
                alerts[made.decision_id] = alerts.get(made.decision_id, 0) + 1
    stays = sorted(_stays(decisions, alerts, end, case), key=_place)
    return PolicyRun(tuple(stays), pages, end)


def compare_runs(old: PolicyRun, new: PolicyRun, digests: tuple[str, str]) -> PolicyDiff:
    """Return the differences between two runs over the same inputs."""
    found = list(_shifts(old.stays, new.stays))
    found.sort(key=lambda shift: _place(shift.stay))
    return PolicyDiff(tuple(found), old, new, digests)


def _place(stay: Stay) -> tuple[int, str, int]:
    return (stay.begin, stay.scope, stay.state.rank)


def _stays(
    decisions: list[DecisionMade], alerts: dict[str, int], end: int, case: Case | None
) -> Iterator[Stay]:
    current: dict[tuple[str, State], DecisionMade] = {}
    for made in decisions:
        for state in RAISED:
            key = (made.scope, state)
            if made.previous.rank < state.rank <= made.state.rank:
                current[key] = made
            elif made.state.rank < state.rank <= made.previous.rank and key in current:
                yield _stay(current.pop(key), state, micros(made.ts), alerts, case, ended=True)
    for (_, state), made in current.items():
        yield _stay(made, state, end, alerts, case, ended=False)


def _stay(
    made: DecisionMade,
    state: State,
    end: int,
    alerts: dict[str, int],
    case: Case | None,
    *,
    ended: bool,
) -> Stay:
    us, false = micros(made.ts), None
    if case is not None and parse(made.scope).kind in KINDS:
        false = case.allowed(made.scope, us).rank < state.rank
    usd, pages = float(made.exposure_usd), alerts.get(made.id, 0) if state is made.state else 0
    return Stay(made.scope, state, us, end, ended, made.rule, usd, pages, false)


def _shifts(old: tuple[Stay, ...], new: tuple[Stay, ...]) -> Iterator[Shift]:
    left = list(new)
    for before in old:
        after = next((each for each in left if _same(before, each)), None)
        if after is None:
            yield Shift(LOST, before, None)
            continue
        left.remove(after)
        if (before.begin, before.end, before.ended) != (after.begin, after.end, after.ended):
            yield Shift(MOVED, before, after)
    for after in left:
        yield Shift(GAINED, None, after)


def _same(old: Stay, new: Stay) -> bool:
    """Whether two stays are about the same thing: they overlap, or are less than hours apart."""
    if (old.scope, old.state) != (new.scope, new.state):
        return False
    return new.begin <= old.end + EARLY and old.begin <= new.end + EARLY


def _count(shifts: tuple[Shift, ...], kind: str) -> int:
    return sum(shift.kind == kind for shift in shifts)


def _shift_line(shift: Shift) -> str:
    stay = shift.stay
    what = f"{shift.kind:6} {stay.state.value} {stay.scope}"
    if shift.old is None or shift.new is None:
        return f"{what} {_when(stay)}, {_figures(stay)}"
    old, new = shift.old, shift.new
    earlier = (old.begin - new.begin) / MINUTE
    word = "earlier" if earlier > 0 else "later"
    begins = f"{_when(old)} -> {_when(new)}"
    if earlier:
        begins += f" ({abs(earlier):g} min {word})"
    return f"{what} {begins}, {_figures(old)} -> {_figures(new)}"


def _when(stay: Stay) -> str:
    return rfc3339(stay.begin // 1_000_000 * 1_000_000).replace(".000000", "")


def _figures(stay: Stay) -> str:
    page = f"{stay.pages} page" + ("" if stay.pages == 1 else "s")
    lasts = f"{stay.minutes:,.0f} min" + ("" if stay.ended else " and on")
    false = ", FALSE by its label" if stay.false else ""
    return f"[{stay.usd:,.0f} USD, {lasts}, {page}, {stay.rule}{false}]"


def _shift_row(shift: Shift) -> dict[str, Any]:
    return {
        "kind": shift.kind,
        "scope": shift.stay.scope,
        "state": shift.stay.state.value,
        "old": None if shift.old is None else _stay_row(shift.old),
        "new": None if shift.new is None else _stay_row(shift.new),
    }


def _stay_row(stay: Stay) -> dict[str, Any]:
    return {
        "begin": rfc3339(stay.begin),
        "end": rfc3339(stay.end) if stay.ended else None,
        "minutes": stay.minutes,
        "usd": stay.usd,
        "pages": stay.pages,
        "rule": stay.rule,
        "false": stay.false,
    }


def diff_page(diff: PolicyDiff, title: str) -> str:
    """Return the differences as one HTML page: both policies side by side, scope by scope."""
    source = (files("riskwatch.bench") / "policy_diff.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    stays = (*diff.old.stays, *diff.new.stays)
    first = min((stay.begin for stay in stays), default=0)
    length = max(1, max(diff.old.end, diff.new.end) - first)
    scopes = dict.fromkeys(shift.stay.scope for shift in diff.shifts)
    return environment.from_string(source).render(
        title=title,
        content=diff.content(),
        digest=diff.digest,
        scopes=[
            {
                "scope": scope,
                "runs": [_bars(run, scope, first, length) for run in (diff.old, diff.new)],
            }
            for scope in scopes
        ],
    )


def _bars(run: PolicyRun, scope: str, first: int, length: int) -> list[dict[str, Any]]:
    return [
        {
            "state": stay.state.value,
            "left": 100.0 * (stay.begin - first) / length,
            "width": max(0.3, 100.0 * (stay.end - stay.begin) / length),
            "text": f"{_when(stay)} {_figures(stay)}",
        }
        for stay in run.stays
        if stay.scope == scope
    ]
