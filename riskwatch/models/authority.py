"""Authority: promotion and demotion of generations, by evidence and by command.

* **Promotion** is one step at a time and never beyond the ceiling. A bettor bets on the
  generation against its rival: the model with the highest authority above its own, or else the
  rules. The capital must have grown enough, on enough independent events. All models, targets
  and tests share `alpha`: test ``k`` gets ``alpha / (models * targets * k * (k + 1))``. These
  shares sum to at most `alpha`.
* Sufficient evidence must still suffice when every label that was pending at that time is known,
  because in the middle of a horizon part of the outcome is known already. Otherwise the test is
  spent.
* **Demotion** is one step. It happens if betting on the rules against the generation has paid
  enough, if its loss beyond the rules' loss drifts up, or if its target is open and gets no label
  for too long. A generation that gives no probability falls to shadow at once. Only a command
  raises it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from riskwatch.core.clock import DAY, HOUR, SECOND, moment
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


# Events about authority: changes with their reasons, and records of generations.


class AuthorityReason(NamedTuple):
    """Reason for a change of authority.

    Attributes
    ----------
    reason : str
        ``evidence``, ``reverse``, ``drift``, ``stale``, ``ceiling``, ``check`` or ``command``.
    detail : str
        Explanation in words.
    numbers : mapping
        Evidence in addition to the numbers of the record.
    by : str
        ``evidence``, or the person who gave the command.
    cause_id : str
        Id of the command; empty if time or labels caused the change.
    """

    reason: str
    detail: str
    numbers: Mapping[str, float] = {}
    by: str = "evidence"
    cause_id: str = ""


def record_numbers(record: AuthorityRecord) -> dict[str, float]:
    """Return the numbers of an authority record by name."""
    table = record.table
    return {
        "e_up": _e_value(record.up),
        "e_down": _e_value(record.down),
        "test": float(record.tests),
        "labels": float(table.labels),
        "positives": float(table.positives),
        "events": float(record.events),
        "entities": float(record.entities),
        "log_loss": quantise(table.log_loss),
        "brier": quantise(table.decomposition.brier),
    }


def authority_changed(
    here: TargetAuthority,
    spec: GenerationSpec,
    record: AuthorityRecord,
    to: Authority,
    why: AuthorityReason,
) -> AuthorityChanged:
    """Build the event of a change of authority. `record` is the record before the change."""
    cause = why.cause_id or f"tick/{here.us}"
    # Two changes of one generation at one moment are two events, so their ids must differ.
    key = f"{here.target}|{spec.name}|{record.tests}"
    evidence = record_numbers(record) | dict(why.numbers)
    return AuthorityChanged(
        id=output_id(cause, "AuthorityChanged", key),
        cause_id=cause,
        ts=moment(here.us),
        target=here.target,
        generation=spec.name,
        former=record.authority,
        authority=to.value,
        ceiling=spec.ceiling.value,
        reason=why.reason,
        detail=why.detail,
        by=why.by,
        evidence={name: quantise(value) for name, value in sorted(evidence.items())},
    )


def model_measurements(
    policy: AuthorityPolicy, state: EnsembleState, us: int
) -> Iterator[ModelMeasured]:
    """Yield the events of changed records that are due."""
    every = int(policy.config.status_s * SECOND)
    due = [
        key
        for key, s in state.records.items()
        if s.fresh and (s.shown < 0 or us - s.shown >= every or s.since == us)
    ]
    for key in sorted(due):
        record = state.records[key]
        target, _, name = key.rpartition("|")
        if name != ENSEMBLE and name not in policy.specs:
            continue
        record.shown, record.fresh = us, False
        state.mark(f"standing/{key}")
        yield _model_measurement(policy.at(state, target, us), name, record)


def _model_measurement(here: TargetAuthority, name: str, record: AuthorityRecord) -> ModelMeasured:
    spec = here.policy.specs.get(name)
    authority = ceiling = here.served_authority()
    able = False
    if spec is not None:
        authority, ceiling = here.of(spec), spec.ceiling
        able = name != RULES_GENERATION and authority.rank < ceiling.rank and not record.quarantined
    table, cause, key = record.table, f"tick/{here.us}", f"{here.target}|{name}"
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
        reason=record.reason,
        changed=None if record.since < 0 else moment(record.since),
        quarantined=record.quarantined,
        e_up=_e_value(record.up),
        e_down=_e_value(record.down),
        needed=here.policy.needed(record) if able else 0.0,
        labels=table.labels,
        positives=table.positives,
        events=record.events,
        entities=record.entities,
        log_loss=quantise(table.log_loss),
        brier=quantise(parts.brier),
        reliability=quantise(parts.reliability),
        resolution=quantise(parts.resolution),
        uncertainty=quantise(parts.uncertainty),
        bins=[[float(n), quantise(stated), float(trues)] for n, stated, trues in bins],
    )


def _e_value(capital: Capital | None) -> float:
    """Return the quantised e-value; 1 before any label."""
    return 1.0 if capital is None else quantise(capital.e_value)


# Tests of one generation.

DRIFT_NATS: Final = 2.0
"""The drift test clips the loss beyond the rules' loss to this, nats."""


class AuthorityTest:
    """Weighs one label as evidence for and against one generation.

    Parameters
    ----------
    here : TargetAuthority
        Authority on the target of the label.
    spec : GenerationSpec
        The generation.
    record : AuthorityRecord
        Its record.
    """

    def __init__(
        self, here: TargetAuthority, spec: GenerationSpec, record: AuthorityRecord
    ) -> None:
        self.here = here
        self.spec = spec
        self.record = record
        self.authority = here.of(spec)

    def weigh_promotion(self, predictions: Mapping[str, float], taken: int, *, label: bool) -> bool:
        """Weigh the label for promotion; return whether the generation was promoted."""
        s, cells = self.record, self.here.cells
        if self.authority.rank >= self.spec.ceiling.rank:
            return False
        if s.up is None:
            s.up = Capital.fresh(cells.processes)
        if 0 <= s.held < taken and self._decide_test():
            return True
        rival = self._rival(predictions)
        s.up.bet(
            cells.at(taken),
            *gains(
                clip_probability(predictions[self.spec.name]),
                clip_probability(predictions[rival]),
                label=label,
            ),
        )
        if s.held < 0 and self._seen_enough() and s.up.e_value >= self.here.policy.needed(s):
            s.held = self.here.us
        return False

    def weigh_demotion(self, predictions: Mapping[str, float], taken: int, *, label: bool) -> None:
        """Weigh the label for demotion, and demote if the evidence suffices."""
        if self.authority is Authority.SHADOW:
            return
        s, cells = self.record, self.here.cells
        if s.down is None:
            s.down = Capital.fresh(cells.processes)
        at = cells.at(taken)
        gain, worst = gains(
            clip_probability(predictions[RULES_GENERATION]),
            clip_probability(predictions[self.spec.name]),
            label=label,
        )
        if not gain and not worst:
            return  # its prediction equals the rules' prediction
        s.down.bet(at, gain, worst)
        e = s.down.e_value
        if e * self.here.policy.config.alpha_down >= 1.0:
            self._demote("reverse", f"it is worse than the rules (evidence {e:.3g})", e)
        elif at[0] == 0 and self._drifts(gain):
            self._demote("drift", "its loss beyond the rules' has drifted up", gain)

    def _decide_test(self) -> bool:
        """Decide a test whose labels are all known now; return whether it passed."""
        s = self.record
        needed = self.here.policy.needed(s)
        e = 0.0 if s.up is None else s.up.e_value
        if e < needed:
            s.tests, s.held = s.tests + 1, -1
            return False
        to = self.authority.step(1)
        detail = f"better than what it challenged: evidence {e:.4g}, {needed:.4g} was needed"
        self.here.decide(self.spec, to, AuthorityReason("evidence", detail, {"needed": needed}))
        return True

    def _rival(self, predictions: Mapping[str, float]) -> str:
        """Name its rival: the generation with the highest authority above it, or the rules."""
        best, rival = self.authority.rank, RULES_GENERATION
        for spec, key in self.here.generations:
            if spec.name in (RULES_GENERATION, self.spec.name) or spec.name not in predictions:
                continue
            rank = self.here.of(spec, key).rank
            if rank > best:
                best, rival = rank, spec.name
        return rival

    def _seen_enough(self) -> bool:
        """Return whether there were enough independent events for the next step."""
        s, config = self.record, self.here.policy.config
        required = (config.events_advisory, config.events_bounded, config.events_full)
        rank = self.authority.rank
        spread = config.entities_bounded if rank >= 1 else 1
        return s.events >= required[rank] and s.entities >= spread

    def _drifts(self, beyond: float) -> bool:
        """Return whether the loss beyond the rules' loss has drifted up to a positive mean."""
        detector = JsonADWIN(self.here.policy.config.drift_delta)
        if self.record.drift:
            detector.restore(self.record.drift)
        bounded = min(max(beyond, -DRIFT_NATS), DRIFT_NATS)
        detector.update(0.5 + bounded / (2.0 * DRIFT_NATS))
        self.record.drift = detector.state()
        # A generation that got worse but still beats the rules is not demoted.
        return detector.rose and detector.estimation > 0.5

    def _demote(self, reason: str, detail: str, number: float) -> None:
        to = self.authority.step(-1)
        more = {"e_down": number} if reason == "reverse" else {"beyond_nats": number}
        self.here.decide(self.spec, to, AuthorityReason(reason, detail, more))


SEEN_EVERY: Final = HOUR
"""A target that can be labelled is recorded as such at most this often, microseconds."""
UNSEEN: Final = DAY
"""After this time without a scope that could give a label, a wait begins anew, microseconds."""
_UNDER: Final = {(now.value, top): now.under(top) for now in Authority for top in Authority}
"""Stored authority under a ceiling, precomputed because every score needs it."""


class AuthorityPolicy:
    """Promotes and demotes generations.

    Parameters
    ----------
    config : ModelsConfig
        Requirements of promotion and demotion.
    targets : sequence of TargetSpec
        The targets.
    specs : sequence of GenerationSpec
        The generations.
    """

    def __init__(
        self, config: ModelsConfig, targets: Sequence[TargetSpec], specs: Sequence[GenerationSpec]
    ) -> None:
        self.config = config.evidence
        self.specs = {spec.name: spec for spec in specs}
        self.targets = tuple(target_spec.id for target_spec in targets)
        self.cells = {
            q.id: HorizonCells.of(int(q.target.horizon_s * SECOND), q.every) for q in targets
        }
        self._records = {target: self._keys(target) for target in self.targets}
        able = sum(r.name != RULES_GENERATION and r.ceiling is not Authority.SHADOW for r in specs)
        self.comparisons = max(1, able * len(self.targets))

    def generations(self, target: str) -> tuple[tuple[GenerationSpec, str], ...]:
        """Return every generation with the key of its record on a target."""
        found = self._records.get(target)
        return self._keys(target) if found is None else found  # not configured now

    def _keys(self, target: str) -> tuple[tuple[GenerationSpec, str], ...]:
        return tuple((spec, f"{target}|{spec.name}") for spec in self.specs.values())

    def at(self, state: EnsembleState, target: str, us: int) -> TargetAuthority:
        """Return the authority on one target at one moment."""
        return TargetAuthority(self, state, target, us)

    def needed(self, record: AuthorityRecord) -> float:
        """Return the e-value that a generation with this record needs for promotion."""
        return self.comparisons * record.tests * (record.tests + 1) / self.config.alpha

    def move(
        self, state: EnsembleState, us: int, target: str, name: str, to: str, *,
        by: str, why: str, cause_id: str,
    ) -> AuthorityChanged:  # fmt: skip
        """Change the authority of a generation on command.

        Parameters
        ----------
        state : EnsembleState
            Changed in place.
        us : int
            Event time, microseconds.
        target, name : str
            Id of the target, and name of the generation.
        to : str
            The new authority. The command also ends a quarantine.
        by, why : str
            The person who gives the command, and the stated reason.
        cause_id : str
            Id of the command.

        Raises
        ------
        ModelError
            If the target, generation or authority does not exist, if the authority is beyond the
            ceiling, if the generation is the rules, or if nothing would change. The state is
            then unchanged.
        """
        spec = self.specs.get(name)
        if spec is None or target not in self.targets:
            raise ModelError(f"there is no generation {name!r} of a target {target!r}")
        if name == RULES_GENERATION:
            raise ModelError("people change rules in their files: their authority stays 'full'")
        try:
            requested = Authority(to)
        except ValueError:
            known = ", ".join(Authority)
            raise ModelError(f"authority must be one of {known}, was {to!r}") from None
        if requested.rank > spec.ceiling.rank:
            raise ModelError(
                f"generation {name!r} may be at most {spec.ceiling.value!r} by its configuration"
            )
        here = self.at(state, target, us)
        record = here.record(name)
        if here.of(spec) is requested and not record.quarantined:
            raise ModelError(f"generation {name!r} is {to!r} on {target} already")
        changed = here.change(
            spec, requested, AuthorityReason("command", why, by=by, cause_id=cause_id)
        )
        record.quarantined = False
        return changed

    def report(self, state: EnsembleState, us: int) -> list[Output]:
        """Return the changes since the last report, and the records that are due."""
        self._stale(state, us)
        if not state.ceilings_hold:
            self._lower(state, us)
            state.ceilings_hold = True
        out: list[Output] = [*state.changes]
        state.changes.clear()
        out += model_measurements(self, state, us)
        return out

    def _lower(self, state: EnsembleState, us: int) -> None:
        """Lower authorities above their ceiling: stored rows may be of another configuration."""
        for key in sorted(state.records):
            target, _, name = key.rpartition("|")
            record, spec = state.records[key], self.specs.get(name)
            if spec is not None and Authority(record.authority).rank > spec.ceiling.rank:
                detail = f"the configuration allows {spec.ceiling.value} at most"
                self.at(state, target, us).decide(
                    spec, spec.ceiling, AuthorityReason("ceiling", detail)
                )

    def _stale(self, state: EnsembleState, us: int) -> None:
        """Demote the generations of targets that have waited too long for a label.

        While no scope can give a label, as without data that is trusted, nothing is held against
        them: the wait begins anew.
        """
        longest = int(self.config.stale_s * SECOND)
        for target in sorted(state.clocks):
            clock = state.clocks[target]
            if clock.asked >= 0 and us - clock.seen > UNSEEN:
                clock.asked = -1
                state.mark(f"clock/{target}")
            if clock.asked < 0 or us - clock.asked <= longest or target not in self.targets:
                continue
            days = (us - clock.asked) / SECOND / 86_400.0
            clock.asked = us
            state.mark(f"clock/{target}")
            here = self.at(state, target, us)
            for spec, key in here.generations:
                now = here.of(spec, key)
                if spec.name != RULES_GENERATION and now is not Authority.SHADOW:
                    detail = f"it has been asked for {days:.0f} days without a label"
                    here.decide(
                        spec, now.step(-1), AuthorityReason("stale", detail, {"days": days})
                    )


class TargetAuthority:
    """Authority of all generations on one target, at one moment.

    Parameters
    ----------
    policy : AuthorityPolicy
        Requirements of promotion and demotion.
    state : EnsembleState
        Records of all generations; changed in place.
    target : str
        Id of the target.
    us : int
        Event time, microseconds.
    """

    __slots__ = ("policy", "state", "target", "us")

    def __init__(self, policy: AuthorityPolicy, state: EnsembleState, target: str, us: int) -> None:
        self.policy = policy
        self.state = state
        self.target = target
        self.us = us

    @property
    def generations(self) -> tuple[tuple[GenerationSpec, str], ...]:
        """Every generation with the key of its record."""
        return self.policy.generations(self.target)

    @property
    def cells(self) -> HorizonCells:
        """Time cells for the horizon of this target."""
        return self.policy.cells[self.target]

    def record(self, name: str) -> AuthorityRecord:
        """Return the record of a generation; it is created at its first use."""
        key = f"{self.target}|{name}"
        found = self.state.records.get(key)
        if found is None:
            spec = self.policy.specs.get(name)
            start = Authority.SHADOW if spec is None else spec.authority
            found = self.state.records[key] = AuthorityRecord(start.value)
        return found

    def of(self, spec: GenerationSpec, key: str = "") -> Authority:
        """Return the authority of a generation now; `key` is the key of its record, if known."""
        found = self.state.records.get(key or f"{self.target}|{spec.name}")
        return spec.authority if found is None else _UNDER[found.authority, spec.ceiling]

    def mixture_names(self) -> list[str]:
        """Return the generations in the aggregate probability: all above shadow."""
        return [
            spec.name
            for spec, key in self.generations
            if self.of(spec, key) is not Authority.SHADOW
        ]

    def served_authority(self) -> Authority:
        """Return the authority of the aggregate: the lowest of the mixed generations."""
        found = (self.of(self.policy.specs[name]) for name in self.mixture_names())
        return min(found, key=lambda authority: authority.rank, default=Authority.SHADOW)

    def note_asked(self) -> None:
        """Record that the target is open and waits for a label, which could come now."""
        clock = self.state.clocks.get(self.target)
        if clock is None:
            clock = self.state.clocks[self.target] = LabelWait()
        if clock.asked < 0 or self.us - clock.seen >= SEEN_EVERY:
            clock.asked = self.us if clock.asked < 0 else clock.asked
            clock.seen = self.us
            self.state.mark(f"clock/{self.target}")

    def note_label(self) -> None:
        """Record that the target got a label."""
        clock = self.state.clocks.get(self.target)
        if clock is not None and clock.asked >= 0:
            clock.asked = -1
            self.state.mark(f"clock/{self.target}")

    def account(
        self, name: str, evidence: Evidence, probability: float, taken: int, *, label: bool
    ) -> None:
        """Add one label to the losses and the record of one generation.

        Parameters
        ----------
        name : str
            The generation.
        evidence : Evidence
            Its losses on the scope of the label.
        probability : float
            Its probability when the sample was taken.
        taken : int
            Time at which the sample was taken, microseconds.
        label : bool
            The label.
        """
        evidence.add(probability, label=label)
        record = self.record(name)
        record.table.add(probability, label=label)
        record.fresh = True
        if label and evidence.add_event(taken, int(self.policy.config.event_gap_s * SECOND)):
            record.events += 1
            record.entities += evidence.events == 1
        self.state.mark(f"standing/{self.target}|{name}")

    def apply_label(self, predictions: Mapping[str, float], taken: int, *, label: bool) -> None:
        """Weigh one label as evidence for and against every generation.

        Parameters
        ----------
        predictions : mapping
            Probability by generation when the sample was taken.
        taken : int
            Time at which the sample was taken, microseconds.
        label : bool
            The label.
        """
        if RULES_GENERATION not in predictions:
            return
        # A sample from before a change of authority belongs to an earlier test.
        before = [self.state.records.get(key) for _, key in self.generations]
        if any(record is not None and taken <= record.since for record in before):
            return
        for name in predictions:
            spec = self.policy.specs.get(name)
            if spec is None or name == RULES_GENERATION:
                continue
            record = self.record(name)
            if not record.quarantined:
                test = AuthorityTest(self, spec, record)
                if not test.weigh_promotion(predictions, taken, label=label):
                    test.weigh_demotion(predictions, taken, label=label)

    def quarantine(self, spec: GenerationSpec, why: str) -> None:
        """Set a generation that failed a check to shadow, until a command raises it again.

        Raises
        ------
        ModelError
            If the generation is the rules: nothing can replace them.
        """
        if spec.name == RULES_GENERATION:
            raise ModelError(f"generation {RULES_GENERATION!r} {why}")
        record = self.record(spec.name)
        if record.quarantined:
            return
        self.decide(spec, Authority.SHADOW, AuthorityReason("check", why))
        record.quarantined = True

    def decide(self, spec: GenerationSpec, to: Authority, why: AuthorityReason) -> None:
        """Change the authority of a generation; the next report emits the event."""
        self.state.changes.append(self.change(spec, to, why))

    def change(self, spec: GenerationSpec, to: Authority, why: AuthorityReason) -> AuthorityChanged:
        """Change the authority of a generation, and return the event."""
        record = self.record(spec.name)
        changed = authority_changed(self, spec, record, to, why)
        record.set_authority(to.value, self.us, why.reason)
        self.state.mark(f"standing/{self.target}|{spec.name}")
        return changed
