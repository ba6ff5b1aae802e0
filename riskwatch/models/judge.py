"""Authority: promotion and demotion of generations, on matured losses and by people.

* **Promotion** is one step at a time and never beyond the ceiling. Betting on the generation
  against the one that it challenges must have multiplied the capital enough, on enough
  independent events. It challenges the model with the highest authority above its own, or else
  the rules. All models and targets share `alpha`, and so do their tests: test ``k`` gets
  ``alpha / (models * targets * k * (k + 1))``. These shares add up to no more than `alpha`.
* Evidence that suffices must still suffice when every label that was awaited then is known. In
  the middle of a horizon something is known of what is coming. Otherwise the test is spent.
* **Demotion** is one step: when betting on the rules against the generation has paid as well, when
  its loss beyond the rules' drifts up, or when its target is asked and gets no label for too
  long. A generation that gives no probability falls to shadow at once, until people lift it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import SECOND
from riskwatch.errors import ModelError
from riskwatch.models import verdicts
from riskwatch.models.base import Authority
from riskwatch.models.capital import Cells
from riskwatch.models.case import Case
from riskwatch.models.rungs import RULES
from riskwatch.models.standing import Clock, Standing
from riskwatch.models.verdicts import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from riskwatch.core.outputs import AuthorityChanged, Output
    from riskwatch.core.risk.models import ModelsConfig
    from riskwatch.models.evidence import Evidence
    from riskwatch.models.ladder_state import LadderState
    from riskwatch.models.rungs import Question, Rung


_UNDER: Final = {(now.value, top): now.under(top) for now in Authority for top in Authority}
"""What is left of a stored authority under a ceiling: asked at every score, so worked out once."""


class Judge:
    """Promotes and demotes generations.

    Parameters
    ----------
    config : ModelsConfig
        What a promotion and a demotion take.
    questions : sequence of Question
        The targets.
    rungs : sequence of Rung
        The generations.
    """

    def __init__(
        self, config: ModelsConfig, questions: Sequence[Question], rungs: Sequence[Rung]
    ) -> None:
        self.config = config.evidence
        self.rungs = {rung.name: rung for rung in rungs}
        self.targets = tuple(question.id for question in questions)
        self.cells = {q.id: Cells.of(int(q.target.horizon_s * SECOND), q.every) for q in questions}
        self._records = {target: self._keys(target) for target in self.targets}
        able = sum(r.name != RULES and r.ceiling is not Authority.SHADOW for r in rungs)
        self.comparisons = max(1, able * len(self.targets))

    def generations(self, target: str) -> tuple[tuple[Rung, str], ...]:
        """Every generation, with the key of its record on a target."""
        found = self._records.get(target)
        return self._keys(target) if found is None else found  # one that was taken away

    def _keys(self, target: str) -> tuple[tuple[Rung, str], ...]:
        return tuple((rung, f"{target}|{rung.name}") for rung in self.rungs.values())

    def at(self, state: LadderState, target: str, us: int) -> TargetAuthority:
        """Authority on one target at one moment."""
        return TargetAuthority(self, state, target, us)

    def needed(self, standing: Standing) -> float:
        """Evidence from which a generation with this record is promoted."""
        return self.comparisons * standing.tests * (standing.tests + 1) / self.config.alpha

    def move(
        self, state: LadderState, us: int, target: str, name: str, to: str, *,
        by: str, why: str, cause_id: str,
    ) -> AuthorityChanged:  # fmt: skip
        """Change the authority of a generation because a person says so.

        Parameters
        ----------
        state : LadderState
            Changed in place.
        us : int
            Event time, microseconds.
        target, name : str
            Whose authority on what.
        to : str
            The authority it gets; this also ends a quarantine.
        by, why : str
            Who says so, and the reason given.
        cause_id : str
            Identity of the command.

        Raises
        ------
        ModelError
            If there is no such target, generation or authority, it is beyond the ceiling, it is
            the rules', or nothing would change. Then nothing has changed.
        """
        rung = self.rungs.get(name)
        if rung is None or target not in self.targets:
            raise ModelError(f"there is no generation {name!r} of a target {target!r}")
        if name == RULES:
            raise ModelError("people change rules in their files: their authority stays 'full'")
        try:
            wanted = Authority(to)
        except ValueError:
            known = ", ".join(Authority)
            raise ModelError(f"authority must be one of {known}, was {to!r}") from None
        if wanted.rank > rung.ceiling.rank:
            raise ModelError(
                f"generation {name!r} may be at most {rung.ceiling.value!r} by its configuration"
            )
        here = self.at(state, target, us)
        standing = here.record(name)
        if here.of(rung) is wanted and not standing.quarantined:
            raise ModelError(f"generation {name!r} is {to!r} on {target} already")
        changed = here.change(rung, wanted, Reason("command", why, by=by, cause_id=cause_id))
        standing.quarantined = False
        return changed

    def report(self, state: LadderState, us: int) -> list[Output]:
        """Return changes since the last report, and the records that are due."""
        self._stale(state, us)
        if not state.ceilings_hold:
            self._lower(state, us)
            state.ceilings_hold = True
        out: list[Output] = [*state.changes]
        state.changes.clear()
        out += verdicts.model_measurements(self, state, us)
        return out

    def _lower(self, state: LadderState, us: int) -> None:
        """Lower authority above its ceiling: stored rows may be of another configuration."""
        for key in sorted(state.standings):
            target, _, name = key.rpartition("|")
            standing, rung = state.standings[key], self.rungs.get(name)
            if rung is not None and Authority(standing.authority).rank > rung.ceiling.rank:
                detail = f"the configuration allows {rung.ceiling.value} at most"
                self.at(state, target, us).decide(rung, rung.ceiling, Reason("ceiling", detail))

    def _stale(self, state: LadderState, us: int) -> None:
        """Demote the generations of targets that have waited too long for a label."""
        longest = int(self.config.stale_s * SECOND)
        for target in sorted(state.clocks):
            clock = state.clocks[target]
            if clock.asked < 0 or us - clock.asked <= longest or target not in self.targets:
                continue
            days = (us - clock.asked) / SECOND / 86_400.0
            clock.asked = us
            state.mark(f"clock/{target}")
            here = self.at(state, target, us)
            for rung, record in here.generations:
                now = here.of(rung, record)
                if rung.name != RULES and now is not Authority.SHADOW:
                    detail = f"it has been asked for {days:.0f} days without a label"
                    here.decide(rung, now.step(-1), Reason("stale", detail, {"days": days}))


class TargetAuthority:
    """Authority of all generations on one target, at one moment.

    Parameters
    ----------
    judge : Judge
        What promotion and demotion take.
    state : LadderState
        Records of all generations; changed in place.
    target : str
        Id of the target.
    us : int
        Event time, microseconds.
    """

    __slots__ = ("judge", "state", "target", "us")

    def __init__(self, judge: Judge, state: LadderState, target: str, us: int) -> None:
        self.judge = judge
        self.state = state
        self.target = target
        self.us = us

    @property
    def generations(self) -> tuple[tuple[Rung, str], ...]:
        """Every generation, with the key of its record."""
        return self.judge.generations(self.target)

    @property
    def cells(self) -> Cells:
        """How time is cut for the horizon of this target."""
        return self.judge.cells[self.target]

    def record(self, name: str) -> Standing:
        """Record of a generation; made at its first use."""
        key = f"{self.target}|{name}"
        found = self.state.standings.get(key)
        if found is None:
            rung = self.judge.rungs.get(name)
            start = Authority.SHADOW if rung is None else rung.authority
            found = self.state.standings[key] = Standing(start.value)
        return found

    def of(self, rung: Rung, record: str = "") -> Authority:
        """How far a generation may go now; `record` is the key of its record, if it is known."""
        found = self.state.standings.get(record or f"{self.target}|{rung.name}")
        return rung.authority if found is None else _UNDER[found.authority, rung.ceiling]

    def mixture_names(self) -> list[str]:
        """Generations that the served probability is made of: all but shadows."""
        return [
            rung.name
            for rung, record in self.generations
            if self.of(rung, record) is not Authority.SHADOW
        ]

    def served_authority(self) -> Authority:
        """How far the served probability may go: as far as the least of those that are mixed."""
        found = (self.of(self.judge.rungs[name]) for name in self.mixture_names())
        return min(found, key=lambda authority: authority.rank, default=Authority.SHADOW)

    def note_asked(self) -> None:
        """Note that the target was asked, and so waits for a label."""
        clock = self.state.clocks.get(self.target)
        if clock is None:
            clock = self.state.clocks[self.target] = Clock()
        if clock.asked < 0:
            clock.asked = self.us
            self.state.mark(f"clock/{self.target}")

    def note_label(self) -> None:
        """Note that the target got a label."""
        clock = self.state.clocks.get(self.target)
        if clock is not None and clock.asked >= 0:
            clock.asked = -1
            self.state.mark(f"clock/{self.target}")

    def account(
        self, name: str, evidence: Evidence, said: float, taken: int, *, label: bool
    ) -> None:
        """Account for one label of one generation.

        Parameters
        ----------
        name : str
            The generation.
        evidence : Evidence
            Its losses on the scope that the label is of.
        said : float
            Its probability when the sample was taken.
        taken : int
            When that was, microseconds.
        label : bool
            What became of it.
        """
        evidence.add(said, label=label)
        standing = self.record(name)
        standing.table.add(said, label=label)
        standing.fresh = True
        if label and evidence.happened(taken, int(self.judge.config.event_gap_s * SECOND)):
            standing.events += 1
            standing.entities += evidence.events == 1
        self.state.mark(f"standing/{self.target}|{name}")

    def weigh(self, said: Mapping[str, float], taken: int, *, label: bool) -> None:
        """Weigh one label as evidence for and against every generation.

        Parameters
        ----------
        said : mapping
            Probability by generation, when the sample was taken.
        taken : int
            When that was, microseconds.
        label : bool
            What became of it.
        """
        if RULES not in said:
            return
        # A sample from before a change of authority is of another test.
        before = [self.state.standings.get(record) for _, record in self.generations]
        if any(standing is not None and taken <= standing.since for standing in before):
            return
        for name in said:
            rung = self.judge.rungs.get(name)
            if rung is None or name == RULES:
                continue
            standing = self.record(name)
            if not standing.quarantined:
                case = Case(self, rung, standing)
                if not case.rise(said, taken, label=label):
                    case.fall(said, taken, label=label)

    def quarantine(self, rung: Rung, why: str) -> None:
        """Take all authority from a generation that failed a check, until people give it back.

        Raises
        ------
        ModelError
            If it is the rules that failed: nothing can stand in for them.
        """
        if rung.name == RULES:
            raise ModelError(f"generation {RULES!r} {why}")
        standing = self.record(rung.name)
        if standing.quarantined:
            return
        self.decide(rung, Authority.SHADOW, Reason("check", why))
        standing.quarantined = True

    def decide(self, rung: Rung, to: Authority, why: Reason) -> None:
        """Change the authority of a generation; the next report puts it out."""
        self.state.changes.append(self.change(rung, to, why))

    def change(self, rung: Rung, to: Authority, why: Reason) -> AuthorityChanged:
        """Change the authority of a generation, and return the fact to put out."""
        standing = self.record(rung.name)
        changed = verdicts.authority_changed(self, rung, standing, to, why)
        standing.become(to.value, self.us, why.reason)
        self.state.mark(f"standing/{self.target}|{rung.name}")
        return changed
