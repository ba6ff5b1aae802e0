"""One episode or recording with its labels: its facts, and the highest right state per scope."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import DAY, HOUR, micros
from riskwatch.core.enums import Cause, State, strictest
from riskwatch.core.scopes import ASSET, COUNTERPARTY, parse

if TYPE_CHECKING:
    from riskwatch.scenarios.episode import Episode, EpisodeEvent

EARLY: Final = 6 * HOUR
"""A state raised at most this long before the onset is early and not false, microseconds."""
AFTER: Final = 12 * HOUR
"""A state raised at most this long after the end is late and not false, microseconds."""
MONTH: Final = 30 * DAY
"""Microseconds of a month, for rates per month."""
KINDS: Final = ("asset", "venue-asset", "counterparty")
"""Kinds of scope that are scored; the states of books and the firm follow from others."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One event; times in microseconds, see ``scenarios.episode.EpisodeEvent``."""

    what: str
    scope: str
    causes: tuple[Cause, ...]
    onset: int
    over: int | None
    answer: State
    control: bool

    @classmethod
    def of(cls, event: EpisodeEvent) -> Fact:
        """Return the fact of an episode's event."""
        return cls(
            what=event.what,
            scope=event.scope,
            causes=event.causes,
            onset=micros(event.onset),
            over=None if event.over is None else micros(event.over),
            answer=event.answer,
            control=event.kind == "control",
        )

    @property
    def asset(self) -> str:
        """The coin that the fact concerns, as a scope; empty for a counterparty.

        Examples
        --------
        >>> Fact("", "venue-asset:binance/USDe", (), 0, None, State.HALT, False).asset
        'asset:USDe'
        """
        at = parse(self.scope)
        return "" if at.kind == COUNTERPARTY else f"{ASSET}:{at.asset or at.name}"

    def covers(self, us: int) -> bool:
        """Return whether a state raised at `us` may be due to this fact."""
        late = self.over is not None and us > self.over + AFTER
        return self.onset - EARLY <= us and not late


@dataclass(frozen=True, slots=True)
class Case:
    """One episode or recording.

    Attributes
    ----------
    name, title : str
        Its name and title.
    start, end : int
        Its window, microseconds.
    facts : tuple of Fact
        Its events.
    ceilings : dict of str to State
        The state never to exceed, by scope, for scopes without a fact; NORMAL if a scope is
        missing.
    family : str
        Cases of one family concern one event; none is tuned on another. The name if empty.
    recorded : bool
        Whether it is a recording. The episodes of the pack were written for regression tests and
        prove nothing.
    deadlines : tuple of (str, State, int)
        Scope, the state that it must reach, and the latest time for it.
    """

    name: str
    title: str
    start: int
    end: int
    facts: tuple[Fact, ...]
    ceilings: dict[str, State] = field(default_factory=dict)
    family: str = ""
    recorded: bool = False
    deadlines: tuple[tuple[str, State, int], ...] = ()

    @classmethod
    def of(cls, episode: Episode) -> Case:
        """Return the case of an episode of the pack."""
        return cls(
            name=episode.name,
            title=episode.title,
            start=micros(episode.start),
            end=micros(episode.end),
            facts=tuple(Fact.of(event) for event in episode.events),
            ceilings={
                label.scope: label.at_most for label in episode.labels if label.at_most is not None
            },
            deadlines=tuple(
                (label.scope, label.at_least, micros(label.by))
                for label in episode.labels
                if label.at_least is not None and label.by is not None
            ),
        )

    @property
    def kin(self) -> str:
        """Name of the event; cases with the same name are left out together."""
        return self.family or self.name

    @property
    def months(self) -> float:
        """Length of the window in months of 30 days."""
        return (self.end - self.start) / MONTH

    @property
    def control(self) -> bool:
        """Whether nothing fails in it."""
        return bool(self.facts) and all(fact.control for fact in self.facts)

    def allowed(self, scope: str, us: int) -> State:
        """Return the strictest state of `scope` that is not a false alarm when raised at `us`."""
        states = [fact.answer for fact in self.facts if fact.scope == scope and fact.covers(us)]
        if not any(fact.scope == scope for fact in self.facts):
            states.append(self.ceilings.get(scope, State.NORMAL))
        return strictest(states)
