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

from typing import TYPE_CHECKING, Final, NamedTuple

from riskwatch.core.clock import SECOND, moment
from riskwatch.core.ids import output_id
from riskwatch.core.money import quantise
from riskwatch.core.outputs import AuthorityChanged, ModelMeasured
from riskwatch.core.risk.scorer import ENSEMBLE
from riskwatch.errors import ModelError
from riskwatch.models.adwin import JsonADWIN
from riskwatch.models.base import Authority
from riskwatch.models.config import RULES_GENERATION
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


# Facts that go out about authority: changes with their reasons, and records of generations.


class AuthorityReason(NamedTuple):
    """Why an authority changes.

    Attributes
    ----------
    reason : str
        ``evidence``, ``reverse``, ``drift``, ``stale``, ``ceiling``, ``check`` or ``command``.
    detail : str
        In words.
    numbers : mapping
        What it rests on, beside what the record says.
    by : str
        Who decided: ``evidence``, or a person.
    cause_id : str
        Identity of the command; empty where time and labels decided.
    """

    reason: str
    detail: str
    numbers: Mapping[str, float] = {}
    by: str = "evidence"
    cause_id: str = ""


def record_numbers(standing: AuthorityRecord) -> dict[str, float]:
    """Return what the record of a generation says, by name."""
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


def authority_changed(
    here: TargetAuthority,
    rung: GenerationSpec,
    standing: AuthorityRecord,
    to: Authority,
    why: AuthorityReason,
) -> AuthorityChanged:
    """Make the fact that an authority changes; `standing` is the record before it."""
    cause = why.cause_id or f"tick/{here.us}"
    # Two changes of one generation at one moment are two facts.
    key = f"{here.target}|{rung.name}|{standing.tests}"
    evidence = record_numbers(standing) | dict(why.numbers)
    return AuthorityChanged(
        id=output_id(cause, "AuthorityChanged", key),
        cause_id=cause,
        ts=moment(here.us),
        target=here.target,
        generation=rung.name,
        former=standing.authority,
        authority=to.value,
        ceiling=rung.ceiling.value,
        reason=why.reason,
        detail=why.detail,
        by=why.by,
        evidence={name: quantise(value) for name, value in sorted(evidence.items())},
    )


def model_measurements(
    judge: AuthorityPolicy, state: EnsembleState, us: int
) -> Iterator[ModelMeasured]:
    """Yield the records that changed and are due to go out."""
    every = int(judge.config.status_s * SECOND)
    due = [
        key
        for key, s in state.records.items()
        if s.fresh and (s.shown < 0 or us - s.shown >= every or s.since == us)
    ]
    for key in sorted(due):
        standing = state.records[key]
        target, _, name = key.rpartition("|")
        if name != ENSEMBLE and name not in judge.specs:
            continue
        standing.shown, standing.fresh = us, False
        state.mark(f"standing/{key}")
        yield _model_measurement(judge.at(state, target, us), name, standing)


def _model_measurement(
    here: TargetAuthority, name: str, standing: AuthorityRecord
) -> ModelMeasured:
    rung = here.policy.specs.get(name)
    authority = ceiling = here.served_authority()
    able = False
    if rung is not None:
        authority, ceiling = here.of(rung), rung.ceiling
        able = (
            name != RULES_GENERATION and authority.rank < ceiling.rank and not standing.quarantined
        )
    table, cause, key = standing.table, f"tick/{here.us}", f"{here.target}|{name}"
    parts = table.decomposition
    bins = zip(table.counts, table.said, table.trues, strict=True)
    return ModelMeasured(
        id=output_id(cause, "ModelMeasured", key),
        cause_id=cause,
        ts=moment(here.us),
        target=here.target,
        generation=name,
        authority=authority.value,
        ceiling=ceiling.value,
        reason=standing.reason,
        changed=None if standing.since < 0 else moment(standing.since),
        quarantined=standing.quarantined,
        e_up=_e_value(standing.up),
        e_down=_e_value(standing.down),
        needed=here.policy.needed(standing) if able else 0.0,
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


# One label, as evidence for and against one generation.

DRIFT_NATS: Final = 2.0
"""The test for drift sees losses beyond the rules' within this much."""


class AuthorityTest:
    """Weighs one label for and against one generation.

    Parameters
    ----------
    here : TargetAuthority
        The target that it is a label of.
    rung : Rung
        The generation.
    record : Standing
        Its record.
    """

    def __init__(
        self, here: TargetAuthority, rung: GenerationSpec, standing: AuthorityRecord
    ) -> None:
        self.here = here
        self.rung = rung
        self.record = standing
        self.authority = here.of(rung)

    def weigh_promotion(self, said: Mapping[str, float], taken: int, *, label: bool) -> bool:
        """Weigh the label for more authority; return whether it was given."""
        s, cells = self.record, self.here.cells
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
        if s.held < 0 and self._seen_enough() and s.up.e_value >= self.here.policy.needed(s):
            s.held = self.here.us
        return False

    def weigh_demotion(self, said: Mapping[str, float], taken: int, *, label: bool) -> None:
        """Weigh the label for less authority."""
        if self.authority is Authority.SHADOW:
            return
        s, cells = self.record, self.here.cells
        if s.down is None:
            s.down = Capital.fresh(cells.processes)
        at = cells.at(taken)
        gain, worst = gains(
            clip_probability(said[RULES_GENERATION]),
            clip_probability(said[self.rung.name]),
            label=label,
        )
        if not gain and not worst:
            return  # it said what the rules said
        s.down.bet(at, gain, worst)
        e = s.down.e_value
        if e * self.here.policy.config.alpha_down >= 1.0:
            self._demote("reverse", f"it is worse than the rules (evidence {e:.3g})", e)
        elif at[0] == 0 and self._drifts(gain):
            self._demote("drift", "its loss beyond the rules' has drifted up", gain)

    def _decide_test(self) -> bool:
        """Decide a test whose labels are all known now; return whether it was passed."""
        s = self.record
        needed = self.here.policy.needed(s)
        e = 0.0 if s.up is None else s.up.e_value
        if e < needed:
            s.tests, s.held = s.tests + 1, -1
            return False
        to = self.authority.step(1)
        detail = f"better than what it challenged: evidence {e:.4g}, {needed:.4g} was needed"
        self.here.decide(self.rung, to, AuthorityReason("evidence", detail, {"needed": needed}))
        return True

    def _rival(self, said: Mapping[str, float]) -> str:
        """Name the generation that it challenges: the highest above it, or else the rules."""
        best, rival = self.authority.rank, RULES_GENERATION
        for rung, record in self.here.generations:
            if rung.name in (RULES_GENERATION, self.rung.name) or rung.name not in said:
                continue
            rank = self.here.of(rung, record).rank
            if rank > best:
                best, rival = rank, rung.name
        return rival

    def _seen_enough(self) -> bool:
        """Whether there were enough independent events for the next step."""
        s, config = self.record, self.here.policy.config
        wanted = (config.events_advisory, config.events_bounded, config.events_full)
        rank = self.authority.rank
        spread = config.entities_bounded if rank >= 1 else 1
        return s.events >= wanted[rank] and s.entities >= spread

    def _drifts(self, beyond: float) -> bool:
        """Whether the loss beyond the rules' is higher lately than it was before."""
        detector = JsonADWIN(self.here.policy.config.drift_delta)
        if self.record.drift:
            detector.restore(self.record.drift)
        bounded = min(max(beyond, -DRIFT_NATS), DRIFT_NATS)
        detector.update(0.5 + bounded / (2.0 * DRIFT_NATS))
        self.record.drift = detector.state()
        # Less good than it was, but still better than the rules, is no reason to demote.
        return detector.rose and detector.estimation > 0.5

    def _demote(self, reason: str, detail: str, number: float) -> None:
        to = self.authority.step(-1)
        more = {"e_down": number} if reason == "reverse" else {"beyond_nats": number}
        self.here.decide(self.rung, to, AuthorityReason(reason, detail, more))


_UNDER: Final = {(now.value, top): now.under(top) for now in Authority for top in Authority}
"""What is left of a stored authority under a ceiling: asked at every score, so worked out once."""


class AuthorityPolicy:
    """Promotes and demotes generations.

    Parameters
    ----------
    config : ModelsConfig
        What a promotion and a demotion take.
    questions : sequence of Question
        The targets.
    generations : sequence of Rung
        The generations.
    """

    def __init__(
        self, config: ModelsConfig, questions: Sequence[TargetSpec], rungs: Sequence[GenerationSpec]
    ) -> None:
        self.config = config.evidence
        self.specs = {rung.name: rung for rung in rungs}
        self.targets = tuple(question.id for question in questions)
        self.cells = {
            q.id: HorizonCells.of(int(q.target.horizon_s * SECOND), q.every) for q in questions
        }
        self._records = {target: self._keys(target) for target in self.targets}
        able = sum(r.name != RULES_GENERATION and r.ceiling is not Authority.SHADOW for r in rungs)
        self.comparisons = max(1, able * len(self.targets))

    def generations(self, target: str) -> tuple[tuple[GenerationSpec, str], ...]:
        """Every generation, with the key of its record on a target."""
        found = self._records.get(target)
        return self._keys(target) if found is None else found  # one that was taken away

    def _keys(self, target: str) -> tuple[tuple[GenerationSpec, str], ...]:
        return tuple((rung, f"{target}|{rung.name}") for rung in self.specs.values())

    def at(self, state: EnsembleState, target: str, us: int) -> TargetAuthority:
        """Authority on one target at one moment."""
        return TargetAuthority(self, state, target, us)

    def needed(self, standing: AuthorityRecord) -> float:
        """Evidence from which a generation with this record is promoted."""
        return self.comparisons * standing.tests * (standing.tests + 1) / self.config.alpha

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
        rung = self.specs.get(name)
        if rung is None or target not in self.targets:
            raise ModelError(f"there is no generation {name!r} of a target {target!r}")
        if name == RULES_GENERATION:
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
        changed = here.change(
            rung, wanted, AuthorityReason("command", why, by=by, cause_id=cause_id)
        )
        standing.quarantined = False
        return changed

    def report(self, state: EnsembleState, us: int) -> list[Output]:
        """Return changes since the last report, and the records that are due."""
        self._stale(state, us)
        if not state.ceilings_hold:
            self._lower(state, us)
            state.ceilings_hold = True
        out: list[Output] = [*state.changes]
        state.changes.clear()
        out += model_measurements(self, state, us)
        return out

    def _lower(self, state: EnsembleState, us: int) -> None:
        """Lower authority above its ceiling: stored rows may be of another configuration."""
        for key in sorted(state.records):
            target, _, name = key.rpartition("|")
            standing, rung = state.records[key], self.specs.get(name)
            if rung is not None and Authority(standing.authority).rank > rung.ceiling.rank:
                detail = f"the configuration allows {rung.ceiling.value} at most"
                self.at(state, target, us).decide(
                    rung, rung.ceiling, AuthorityReason("ceiling", detail)
                )

    def _stale(self, state: EnsembleState, us: int) -> None:
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
                if rung.name != RULES_GENERATION and now is not Authority.SHADOW:
                    detail = f"it has been asked for {days:.0f} days without a label"
                    here.decide(
                        rung, now.step(-1), AuthorityReason("stale", detail, {"days": days})
                    )


class TargetAuthority:
    """Authority of all generations on one target, at one moment.

    Parameters
    ----------
    policy : Judge
        What promotion and demotion take.
    state : LadderState
        Records of all generations; changed in place.
    target : str
        Id of the target.
    us : int
        Event time, microseconds.
    """

    __slots__ = ("policy", "state", "target", "us")

    def __init__(self, judge: AuthorityPolicy, state: EnsembleState, target: str, us: int) -> None:
        self.policy = judge
        self.state = state
        self.target = target
        self.us = us

    @property
    def generations(self) -> tuple[tuple[GenerationSpec, str], ...]:
        """Every generation, with the key of its record."""
        return self.policy.generations(self.target)

    @property
    def cells(self) -> HorizonCells:
        """How time is cut for the horizon of this target."""
        return self.policy.cells[self.target]

    def record(self, name: str) -> AuthorityRecord:
        """Record of a generation; made at its first use."""
        key = f"{self.target}|{name}"
        found = self.state.records.get(key)
        if found is None:
            rung = self.policy.specs.get(name)
            start = Authority.SHADOW if rung is None else rung.authority
            found = self.state.records[key] = AuthorityRecord(start.value)
        return found

    def of(self, rung: GenerationSpec, record: str = "") -> Authority:
        """How far a generation may go now; `record` is the key of its record, if it is known."""
        found = self.state.records.get(record or f"{self.target}|{rung.name}")
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
        found = (self.of(self.policy.specs[name]) for name in self.mixture_names())
        return min(found, key=lambda authority: authority.rank, default=Authority.SHADOW)

    def note_asked(self) -> None:
        """Note that the target was asked, and so waits for a label."""
        clock = self.state.clocks.get(self.target)
        if clock is None:
            clock = self.state.clocks[self.target] = LabelWait()
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
        if label and evidence.add_event(taken, int(self.policy.config.event_gap_s * SECOND)):
            standing.events += 1
            standing.entities += evidence.events == 1
        self.state.mark(f"standing/{self.target}|{name}")

    def apply_label(self, said: Mapping[str, float], taken: int, *, label: bool) -> None:
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
        if RULES_GENERATION not in said:
            return
        # A sample from before a change of authority is of another test.
        before = [self.state.records.get(record) for _, record in self.generations]
        if any(standing is not None and taken <= standing.since for standing in before):
            return
        for name in said:
            rung = self.policy.specs.get(name)
            if rung is None or name == RULES_GENERATION:
                continue
            standing = self.record(name)
            if not standing.quarantined:
                case = AuthorityTest(self, rung, standing)
                if not case.weigh_promotion(said, taken, label=label):
                    case.weigh_demotion(said, taken, label=label)

    def quarantine(self, rung: GenerationSpec, why: str) -> None:
        """Take all authority from a generation that failed a check, until people give it back.

        Raises
        ------
        ModelError
            If it is the rules that failed: nothing can stand in for them.
        """
        if rung.name == RULES_GENERATION:
            raise ModelError(f"generation {RULES_GENERATION!r} {why}")
        standing = self.record(rung.name)
        if standing.quarantined:
            return
        self.decide(rung, Authority.SHADOW, AuthorityReason("check", why))
        standing.quarantined = True

    def decide(self, rung: GenerationSpec, to: Authority, why: AuthorityReason) -> None:
        """Change the authority of a generation; the next report puts it out."""
        self.state.changes.append(self.change(rung, to, why))

    def change(self, rung: GenerationSpec, to: Authority, why: AuthorityReason) -> AuthorityChanged:
        """Change the authority of a generation, and return the fact to put out."""
        standing = self.record(rung.name)
        changed = authority_changed(self, rung, standing, to, why)
        standing.set_authority(to.value, self.us, why.reason)
        self.state.mark(f"standing/{self.target}|{rung.name}")
        return changed
