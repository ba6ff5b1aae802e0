"""What was right to say: the facts of one episode or recording, and the ceiling of every scope."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import DAY, HOUR, micros
from riskwatch.core.enums import Cause, State, strictest
from riskwatch.core.scopes import ASSET, COUNTERPARTY, parse

if TYPE_CHECKING:
    from riskwatch.scenarios.episode import Episode, EpisodeEvent

EARLY: Final = 6 * HOUR
"""What is raised this long before the onset, at most, is early and not false, microseconds."""
AFTER: Final = 12 * HOUR
"""What is raised this long after the end, at most, is late and not false, microseconds."""
MONTH: Final = 30 * DAY
"""Microseconds of a month, as rates count it."""
KINDS: Final = ("asset", "venue-asset", "counterparty")
"""Scopes that are judged: books and the firm say nothing of others."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that happened; times in microseconds, see ``scenarios.episode.EpisodeEvent``."""

    what: str
    scope: str
    causes: tuple[Cause, ...]
    onset: int
    over: int | None
    answer: State
    control: bool

    @classmethod
    def of(cls, told: EpisodeEvent) -> Fact:
        """Read it off an episode."""
        return cls(
            what=told.what,
            scope=told.scope,
            causes=told.causes,
            onset=micros(told.onset),
            over=None if told.over is None else micros(told.over),
            answer=told.answer,
            control=told.kind == "control",
        )

    @property
    def asset(self) -> str:
        """The coin that it is about, as a scope; empty for a counterparty.

        Examples
        --------
        >>> Fact("", "venue-asset:binance/USDe", (), 0, None, State.HALT, False).asset
        'asset:USDe'
        """
        at = parse(self.scope)
        return "" if at.kind == COUNTERPARTY else f"{ASSET}:{at.asset or at.name}"

    def covers(self, us: int) -> bool:
        """Whether something that is raised at `us` may be about this."""
        late = self.over is not None and us > self.over + AFTER
        return self.onset - EARLY <= us and not late


@dataclass(frozen=True, slots=True)
class Case:
    """One episode or recording.

    Attributes
    ----------
    name, title : str
        As people call it.
    start, end : int
        Its window, microseconds.
    facts : tuple of Fact
        What happened.
    ceilings : dict of str to State
        The state never to exceed, by scope, beside the facts; NORMAL where nothing is said.
    family : str
        Cases of one family look at one event: none is tuned on another. Its name if empty.
    recorded : bool
        Whether it is a recording; the pack was written for regression tests and proves nothing.
    deadlines : tuple of (str, State, int)
        Scope, the state that it must have come to, and by when.
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
        """Read it off an episode of the pack."""
        return cls(
            name=episode.name,
            title=episode.title,
            start=micros(episode.start),
            end=micros(episode.end),
            facts=tuple(Fact.of(told) for told in episode.events),
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
        """Whose event it is: what is left out together."""
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
        """Strictest state of `scope` that is no false alarm when it is raised at `us`."""
        states = [fact.answer for fact in self.facts if fact.scope == scope and fact.covers(us)]
        if not any(fact.scope == scope for fact in self.facts):
            states.append(self.ceilings.get(scope, State.NORMAL))
        return strictest(states)
