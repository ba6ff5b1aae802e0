"""Who may do how much: promotion and demotion on matured losses, and by people.

* **Up**, one step at a time and never beyond the ceiling: when betting on the generation against
  the one it challenges has multiplied the capital enough, on enough independent events. It
  challenges the model with the highest authority above its own, else the rules. `alpha` is
  shared by all models and targets, and by test after test: test ``k`` gets
  ``alpha / (models * targets * k * (k + 1))``, and all of these add up to no more than `alpha`.
* What suffices must still suffice when every label that was awaited then is known: who stops in
  the middle of a horizon knows something of what is coming. Else the test is spent.
* **Down**, one step: when betting on the rules against it has paid as well, when its loss beyond
  the rules' drifts up, or when its target is asked and gets no label for too long. **To the
  bottom**, at once and until people say otherwise: when it says what is no probability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import SECOND, moment
from riskwatch.core.ids import output_id
from riskwatch.core.money import quantise
from riskwatch.core.outputs import AuthorityChanged, ModelMeasured
from riskwatch.core.risk.scorer import ENSEMBLE
from riskwatch.errors import ModelError
from riskwatch.models.adwin import JsonADWIN
from riskwatch.models.base import Authority
from riskwatch.models.config import RULES
from riskwatch.models.evidence import (
    AuthorityRecord,
    Capital,
    HorizonCells,
    LabelWait,
    clip_probability,
    gains,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from riskwatch.core.outputs import Output
    from riskwatch.core.risk.scorer import ModelsConfig
    from riskwatch.models.config import GenerationSpec, TargetSpec
    from riskwatch.models.evidence import Evidence
    from riskwatch.models.state import EnsembleState


# One label, as it speaks for and against one generation.

DRIFT_NATS: Final = 2.0
"""The test for drift sees losses beyond the rules' within this much."""


class AuthorityTest:
    """One label, for and against one generation."""

    def __init__(
        self, judge: AuthorityPolicy, state: EnsembleState, target: str, rung: GenerationSpec,
        standing: AuthorityRecord,
        us: int,
    ) -> None:  # fmt: skip
        self.policy = judge
        self.state = state
        self.target = target
        self.rung = rung
        self.record = standing
        self.us = us
        self.authority = judge.authority(state, f"{target}|{rung.name}", rung)

    def weigh_promotion(self, said: Mapping[str, float], taken: int, *, label: bool) -> bool:
        """Weigh evidence for more authority; whether it was given."""
        s, cells = self.record, self.policy.cells[self.target]
        if self.authority.rank >= self.rung.ceiling.rank:
            return False
        if s.up is None:
            s.up = Capital.fresh(cells.processes)
        if 0 <= s.held < taken and self._decide_test():
            return True
        rival = self._rival(said)
        s.up.bet(
            cells.at(taken),
            *gains(
                clip_probability(said[self.rung.name]), clip_probability(said[rival]), label=label
            ),
        )
        if s.held < 0 and self._seen_enough() and s.up.e_value >= self.policy.needed(s):
            s.held = self.us
        return False

    def weigh_demotion(self, said: Mapping[str, float], taken: int, *, label: bool) -> None:
        """Weigh evidence for less authority."""
        if self.authority is Authority.SHADOW:
            return
        s, config, cells = self.record, self.policy.config, self.policy.cells[self.target]
        if s.down is None:
            s.down = Capital.fresh(cells.processes)
        at = cells.at(taken)
        gain, worst = gains(
            clip_probability(said[RULES]), clip_probability(said[self.rung.name]), label=label
        )
        if not gain and not worst:
            return  # it said what the rules said
        s.down.bet(at, gain, worst)
        e = s.down.e_value
        if e * config.alpha_down >= 1.0:
            self._demote("reverse", f"it is worse than the rules (evidence {e:.3g})", e)
        elif at[0] == 0 and self._drifts(gain):
            self._demote("drift", "its loss beyond the rules' has drifted up", gain)

    def _decide_test(self) -> bool:
        """Decide a test whose labels are all known now; whether it was passed."""
        s, judge = self.record, self.policy
        needed = judge.needed(s)
        e = 0.0 if s.up is None else s.up.e_value
        if e < needed:
            s.tests, s.held = s.tests + 1, -1
            return False
        to = self.authority.step(1)
        detail = f"better than what it challenged: evidence {e:.4g}, {needed:.4g} was needed"
        judge.change(
            self.state, self.us, self.target, self.rung, to, "evidence", detail,
            {"needed": needed},
        )  # fmt: skip
        return True

    def _rival(self, said: Mapping[str, float]) -> str:
        """Name the one it challenges: the highest above it, else the rules."""
        best, rival = self.authority.rank, RULES
        for name, rung in self.policy.generations.items():
            if name in (RULES, self.rung.name) or name not in said:
                continue
            rank = self.policy.authority(self.state, f"{self.target}|{name}", rung).rank
            if rank > best:
                best, rival = rank, name
        return rival

    def _seen_enough(self) -> bool:
        """Whether there were enough independent events for the next step."""
        s, config = self.record, self.policy.config
        wanted = (config.events_advisory, config.events_bounded, config.events_full)
        rank = self.authority.rank
        spread = config.entities_bounded if rank >= 1 else 1
        return s.events >= wanted[rank] and s.entities >= spread

    def _drifts(self, beyond: float) -> bool:
        """Whether the loss beyond the rules' is higher of late than it was before."""
        detector = JsonADWIN(self.policy.config.drift_delta)
        if self.record.drift:
            detector.restore(self.record.drift)
        bounded = min(max(beyond, -DRIFT_NATS), DRIFT_NATS)
        detector.update(0.5 + bounded / (2.0 * DRIFT_NATS))
        self.record.drift = detector.state()
        # Less good than it was, but still better than the rules, is no reason to demote.
        return detector.rose and detector.mean > 0.5

    def _demote(self, reason: str, detail: str, number: float) -> None:
        to = self.authority.step(-1)
        more = {"e_down": number} if reason == "reverse" else {"beyond_nats": number}
        self.policy.change(self.state, self.us, self.target, self.rung, to, reason, detail, more)


# What is said of authority: changes with their grounds, and where everybody stands.


def evidence_figures(standing: AuthorityRecord) -> dict[str, float]:
    """Return what is known of a generation's worth, by name."""
    table = standing.table
    return {
        "e_up": _e_value(standing.up),
        "e_down": _e_value(standing.down),
        "test": float(standing.tests),
        "labels": float(table.labels),
        "positives": float(table.positives),
        "events": float(standing.events),
        "entities": float(standing.entities),
        "log_loss": quantise(table.log_loss),
        "brier": quantise(table.decomposition.brier),
    }


def authority_change(
    us: int, target: str, rung: GenerationSpec,
        standing: AuthorityRecord, to: Authority, reason: str,
    detail: str,
    *, by: str = "evidence", numbers: Mapping[str, float], cause_id: str = "",
) -> AuthorityChanged:  # fmt: skip
    """Say that an authority changes; `standing` is as before it."""
    cause = cause_id or f"tick/{us}"
    # Two changes of one generation at one moment are two facts.
    key = f"{target}|{rung.name}|{standing.tests}"
    return AuthorityChanged(
        id=output_id(cause, "AuthorityChanged", key),
        cause_id=cause,
        ts=moment(us),
        target=target,
        generation=rung.name,
        former=standing.authority,
        authority=to.value,
        ceiling=rung.ceiling.value,
        reason=reason,
        detail=detail,
        by=by,
        evidence={name: quantise(value) for name, value in sorted(numbers.items())},
    )


def model_measurements(
    judge: AuthorityPolicy, state: EnsembleState, us: int
) -> Iterator[ModelMeasured]:
    """Say where everybody stands whose standing changed, if it is due."""
    every = int(judge.config.status_s * SECOND)
    due = [
        key
        for key, s in state.records.items()
        if s.fresh and (s.shown < 0 or us - s.shown >= every or s.since == us)
    ]
    for key in sorted(due):
        standing = state.records[key]
        target, _, name = key.rpartition("|")
        if name != ENSEMBLE and name not in judge.generations:
            continue
        standing.shown, standing.fresh = us, False
        state.mark(f"standing/{key}")
        yield _model_measurement(judge, state, us, target, name, standing)


def _model_measurement(
    judge: AuthorityPolicy,
    state: EnsembleState,
    us: int,
    target: str,
    name: str,
    standing: AuthorityRecord,
) -> ModelMeasured:
    rung = judge.generations.get(name)
    authority = ceiling = judge.aggregate_authority(state, target)
    able = False
    if rung is not None:
        authority, ceiling = judge.authority(state, f"{target}|{name}", rung), rung.ceiling
        able = name != RULES and authority.rank < ceiling.rank and not standing.quarantined
    table, cause, key = standing.table, f"tick/{us}", f"{target}|{name}"
    parts = table.decomposition
    bins = zip(table.counts, table.said, table.trues, strict=True)
    return ModelMeasured(
        id=output_id(cause, "ModelMeasured", key),
        cause_id=cause,
        ts=moment(us),
        target=target,
        generation=name,
        authority=authority.value,
        ceiling=ceiling.value,
        reason=standing.reason,
        changed=None if standing.since < 0 else moment(standing.since),
        quarantined=standing.quarantined,
        e_up=_e_value(standing.up),
        e_down=_e_value(standing.down),
        needed=judge.needed(standing) if able else 0.0,
        labels=table.labels,
        positives=table.positives,
        events=standing.events,
        entities=standing.entities,
        log_loss=quantise(table.log_loss),
        brier=quantise(parts.brier),
        reliability=quantise(parts.reliability),
        resolution=quantise(parts.resolution),
        uncertainty=quantise(parts.uncertainty),
        bins=[[float(n), quantise(said), float(trues)] for n, said, trues in bins],
    )


def _e_value(capital: Capital | None) -> float:
    """Return evidence as it is stated: 1 before any."""
    return 1.0 if capital is None else quantise(capital.e_value)


_UNDER_CEILING: Final = {
    (now.value, ceiling): now if now.rank <= ceiling.rank else ceiling
    for now in Authority
    for ceiling in Authority
}
"""What is left of an authority under a ceiling."""


class AuthorityPolicy:
    """Decides on the authority of generations.

    Parameters
    ----------
    config : ModelsConfig
        What it takes.
    questions : sequence of Question
        What is asked.
    generations : sequence of Rung
        Who answers.
    """

    def __init__(
        self, config: ModelsConfig, questions: Sequence[TargetSpec], rungs: Sequence[GenerationSpec]
    ) -> None:
        self.config = config.evidence
        self.generations = {rung.name: rung for rung in rungs}
        self.targets = tuple(question.id for question in questions)
        self.cells = {
            q.id: HorizonCells.of(int(q.target.horizon_s * SECOND), q.every) for q in questions
        }
        able = sum(r.name != RULES and r.ceiling is not Authority.SHADOW for r in rungs)
        self.tested = max(1, able * len(self.targets))

    def record(self, state: EnsembleState, target: str, name: str) -> AuthorityRecord:
        """Where a generation stands; made if it never was judged."""
        key = f"{target}|{name}"
        found = state.records.get(key)
        if found is None:
            rung = self.generations.get(name)
            start = Authority.SHADOW if rung is None else rung.authority
            found = state.records[key] = AuthorityRecord(start.value)
        return found

    def authority(self, state: EnsembleState, key: str, rung: GenerationSpec) -> Authority:
        """How far a generation may go on a target now; `key` is ``target|generation``."""
        found = state.records.get(key)
        return rung.authority if found is None else _UNDER_CEILING[found.authority, rung.ceiling]

    def mixed_generations(self, state: EnsembleState, target: str) -> list[str]:
        """Generations that the served probability is made of: all but shadows."""
        return [
            name
            for name, rung in self.generations.items()
            if self.authority(state, f"{target}|{name}", rung) is not Authority.SHADOW
        ]

    def aggregate_authority(self, state: EnsembleState, target: str) -> Authority:
        """How far the served probability may go: as far as the least of those that are mixed."""
        found = (
            self.authority(state, f"{target}|{name}", self.generations[name])
            for name in self.mixed_generations(state, target)
        )
        return min(found, key=lambda authority: authority.rank, default=Authority.SHADOW)

    def needed(self, standing: AuthorityRecord) -> float:
        """Evidence from which it is promoted."""
        return self.tested * standing.tests * (standing.tests + 1) / self.config.alpha

    def asked(self, state: EnsembleState, target: str, us: int) -> None:
        """Note that a target was asked, and so waits for a label."""
        clock = state.clocks.get(target)
        if clock is None:
            clock = state.clocks[target] = LabelWait()
        if clock.asked < 0:
            clock.asked = us
            state.mark(f"clock/{target}")

    def note_label(self, state: EnsembleState, target: str) -> None:
        """Note that a target got a label."""
        clock = state.clocks.get(target)
        if clock is not None and clock.asked >= 0:
            clock.asked = -1
            state.mark(f"clock/{target}")

    def account(
        self, state: EnsembleState, target: str, name: str, evidence: Evidence, said: float,
        us: int, *, label: bool,
    ) -> None:  # fmt: skip
        """Account for one label of one generation; `us` is when its sample was taken."""
        evidence.add(said, label=label)
        standing = self.record(state, target, name)
        standing.table.add(said, label=label)
        standing.fresh = True
        if label and evidence.add_event(us, int(self.config.event_gap_s * SECOND)):
            standing.events += 1
            standing.entities += evidence.events == 1
        state.mark(f"standing/{target}|{name}")

    def apply_label(
        self, state: EnsembleState, target: str, said: Mapping[str, float], taken: int, us: int,
        *, label: bool,
    ) -> None:  # fmt: skip
        """Let one label speak for and against every generation.

        Parameters
        ----------
        state : LadderState
            Changed in place.
        target : str
            Of which it is a label.
        said : mapping
            Probability by generation, when the sample was taken.
        taken, us : int
            When that was, and now, microseconds.
        label : bool
            What became of it.
        """
        if RULES not in said:
            return
        # What was said before anybody's last change was said against another opponent.
        before = [state.records.get(f"{target}|{name}") for name in self.generations]
        if any(standing is not None and taken <= standing.since for standing in before):
            return
        for name in said:
            rung = self.generations.get(name)
            if rung is None or name == RULES:
                continue
            standing = self.record(state, target, name)
            if not standing.quarantined:
                case = AuthorityTest(self, state, target, rung, standing, us)
                if not case.weigh_promotion(said, taken, label=label):
                    case.weigh_demotion(said, taken, label=label)

    def quarantine(
        self, state: EnsembleState, us: int, target: str, rung: GenerationSpec, why: str
    ) -> None:
        """Take all authority from a generation that failed a check, until people give it back.

        Raises
        ------
        ModelError
            If it is the rules that failed: nothing can stand in for them.
        """
        if rung.name == RULES:
            raise ModelError(f"generation {RULES!r} {why}")
        standing = self.record(state, target, rung.name)
        if standing.quarantined:
            return
        self.change(state, us, target, rung, Authority.SHADOW, "check", why, {})
        standing.quarantined = True

    def move(
        self, state: EnsembleState, us: int, target: str, name: str, to: str, *,
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
        rung = self.generations.get(name)
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
        standing = self.record(state, target, name)
        if self.authority(state, f"{target}|{name}", rung) is wanted and not standing.quarantined:
            raise ModelError(f"generation {name!r} is {to!r} on {target} already")
        output = authority_change(
            us, target, rung, standing, wanted, "command", why,
            by=by, numbers=evidence_figures(standing), cause_id=cause_id,
        )  # fmt: skip
        standing.set_authority(wanted.value, us, "command")
        standing.quarantined = False
        state.mark(f"standing/{target}|{name}")
        return output

    def change(
        self, state: EnsembleState, us: int, target: str, rung: GenerationSpec, to: Authority,
        reason: str, detail: str, more: Mapping[str, float],
    ) -> None:  # fmt: skip
        """Change the authority of a generation, and remember to say so."""
        standing = self.record(state, target, rung.name)
        figures = evidence_figures(standing) | dict(more)
        state.unreported.append(
            authority_change(us, target, rung, standing, to, reason, detail, numbers=figures)
        )
        standing.set_authority(to.value, us, reason)
        state.mark(f"standing/{target}|{rung.name}")

    def report(self, state: EnsembleState, us: int) -> list[Output]:
        """Say what changed since the last report, and where everybody stands if it is due."""
        self._stale(state, us)
        if not state.within:
            self._lower(state, us)
            state.within = True
        out: list[Output] = [*state.unreported]
        state.unreported.clear()
        out += model_measurements(self, state, us)
        return out

    def _lower(self, state: EnsembleState, us: int) -> None:
        """Take what the configuration does not allow any more: rows may be of another one."""
        for key in sorted(state.records):
            target, _, name = key.rpartition("|")
            standing, rung = state.records[key], self.generations.get(name)
            if rung is not None and Authority(standing.authority).rank > rung.ceiling.rank:
                detail = f"the configuration allows {rung.ceiling.value} at most"
                self.change(state, us, target, rung, rung.ceiling, "ceiling", detail, {})

    def _stale(self, state: EnsembleState, us: int) -> None:
        """Take a step from the generations of targets that wait for a label for too long."""
        longest = int(self.config.stale_s * SECOND)
        for target in sorted(state.clocks):
            clock = state.clocks[target]
            if clock.asked < 0 or us - clock.asked <= longest or target not in self.targets:
                continue
            days = (us - clock.asked) / SECOND / 86_400.0
            clock.asked = us
            state.mark(f"clock/{target}")
            for name, rung in self.generations.items():
                now = self.authority(state, f"{target}|{name}", rung)
                if name != RULES and now is not Authority.SHADOW:
                    detail = f"it has been asked for {days:.0f} days without a label"
                    self.change(
                        state, us, target, rung, now.step(-1), "stale", detail, {"days": days}
                    )
