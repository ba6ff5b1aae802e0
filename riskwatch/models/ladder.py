"""The ladder: every generation, for every target of every scope, side by side.

Each scope has models of its own: pooling coins in one model hurts. Scores come before learning,
always; what is judged is what was said when the sample was taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from riskwatch.core.clock import SECOND
from riskwatch.core.money import quantise
from riskwatch.core.risk.models import ModelsConfig, Scored, TargetConfig
from riskwatch.core.stage import Row, RowChanges, encode_row
from riskwatch.errors import ModelError
from riskwatch.models.base import Generation, Target
from riskwatch.models.evidence import Evidence
from riskwatch.models.labels import Pending, Sample
from riskwatch.models.registry import build

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIGITS = 6


class LadderState:
    """What every model has learned, which samples wait, and how good each has been.

    Rows ``pending/<scope>|<target>``, ``model/<scope>|<target>|<generation>`` and
    ``evidence/<scope>|<target>|<generation>``.
    """

    def __init__(self) -> None:
        self.pending: dict[str, Pending] = {}
        self.evidence: dict[str, Evidence] = {}
        self.models: dict[str, Generation] = {}
        self.learned: dict[str, dict[str, Any]] = {}
        """States that were loaded and whose model has not been asked yet."""
        self._dirty: dict[str, None] = {}

    def mark(self, row: str) -> None:
        """Remember that a row changed and must be written."""
        self._dirty[row] = None

    def drain(self) -> RowChanges:
        """Rows that changed since the last call, keys sorted."""
        out: RowChanges = {}
        for key in sorted(self._dirty):
            kind, _, name = key.partition("/")
            if kind == "pending":
                out[key] = encode_row(self.pending[name])
            elif kind == "evidence":
                out[key] = encode_row(self.evidence[name])
            else:
                out[key] = encode_row(self.models[name].state())
        self._dirty.clear()
        return out

    def load(self, rows: dict[str, Row]) -> None:
        """Become the state that these rows describe.

        Raises
        ------
        ValueError
            If a row is of no kind that this engine writes.
        """
        for key in sorted(rows):
            kind, _, name = key.partition("/")
            if kind == "pending":
                self.pending[name] = msgspec.json.decode(rows[key], type=Pending)
            elif kind == "evidence":
                self.evidence[name] = msgspec.json.decode(rows[key], type=Evidence)
            elif kind == "model":
                self.learned[name] = msgspec.json.decode(rows[key])
            else:
                raise ValueError(f"row {key!r} is of no kind that the models know")


class Ladder:
    """Scores scopes with every generation, and lets them learn.

    Parameters
    ----------
    config : ModelsConfig
        Targets and generations.

    Raises
    ------
    ModelError
        If a target or a generation is impossible or comes twice.

    Examples
    --------
    >>> from riskwatch.core.risk.models import GenerationConfig
    >>> ladder = Ladder(ModelsConfig(
    ...     targets=(TargetConfig(threshold=50.0, horizon_s=3600.0),),
    ...     generations=(GenerationConfig(model="rules", authority="full"),)))
    >>> [score] = ladder.observe(ladder.fresh(), 0, "asset:USDC", "asset",
    ...                          {"discount_bp": 50.0}, labelled=True)
    >>> score.target, score.probability
    ('depeg(discount 50bp, 1h)', 0.5)
    """

    def __init__(self, config: ModelsConfig) -> None:
        self.config = config
        self.targets: dict[str, list[tuple[Target, TargetConfig]]] = {}
        ids: dict[str, None] = {}
        for wanted in config.targets:
            target = _target(wanted)
            if target.id in ids:
                raise ModelError(f"target {target.id} is given twice")
            ids[target.id] = None
            self.targets.setdefault(wanted.scope_kind, []).append((target, wanted))
        made = [self._build(i) for i in range(len(config.generations))]
        names = [generation.name for generation in made]
        if len(dict.fromkeys(names)) != len(names):
            raise ModelError(f"generations must have names of their own, were {', '.join(names)}")
        self.names = names

    def fresh(self) -> LadderState:
        """Make the state of models that have seen nothing."""
        return LadderState()

    def observe(
        self,
        state: LadderState,
        us: int,
        scope: str,
        kind: str,
        features: Mapping[str, float],
        *,
        labelled: bool,
    ) -> list[Scored]:
        """Score a scope, then learn from labels that have matured, then take a new sample.

        Parameters
        ----------
        state : LadderState
            Changed in place.
        us : int
            Event time, microseconds.
        scope, kind : str
            Which scope, and its kind.
        features : mapping
            What is known of it now.
        labelled : bool
            Whether the measure can be trusted as a label now. Where it cannot, nothing is
            learned and no sample is taken: unlabelled is not negative.
        """
        out: list[Scored] = []
        for target, wanted in self.targets.get(kind, ()):
            measure = features.get(wanted.measure)
            if measure is None:
                continue
            key = f"{scope}|{target.id}"
            if key not in state.pending:
                if len(state.pending) >= self.config.max_scopes:
                    continue
                state.pending[key] = Pending()
            x = {**features, "severity": quantise(measure / target.threshold, _DIGITS)}
            scored = self._score(state, key, scope, target, x)
            out += scored
            if labelled:
                self._learn(state, key, target, us, measure)
                self._sample(state, key, target, us, measure, x, scored)
        return out

    def _score(
        self, state: LadderState, key: str, scope: str, target: Target, x: dict[str, float]
    ) -> list[Scored]:
        """Ask every generation; nothing changes."""
        out = []
        for i, name in enumerate(self.names):
            model = self._model(state, f"{key}|{name}", i)
            score = model.score(x)
            used = {n: x[n] for n in score.contributions if n in x}
            out.append(
                Scored(
                    scope=scope,
                    target=target.id,
                    generation=name,
                    authority=model.authority.value,
                    cap=model.authority.cap,
                    probability=quantise(score.probability, _DIGITS),
                    severity=quantise(score.severity, _DIGITS),
                    features={**used, "severity": x["severity"]},
                    contributions={
                        n: quantise(part, _DIGITS) for n, part in score.contributions.items()
                    },
                )
            )
        return out

    def _learn(self, state: LadderState, key: str, target: Target, us: int, measure: float) -> None:
        """Let every generation learn from the samples whose answer is known now."""
        pending = state.pending[key]
        state.mark(f"pending/{key}")
        pending.see(target, us, measure)
        for sample, label in pending.mature(target, us):
            for i, name in enumerate(self.names):
                full = f"{key}|{name}"
                evidence = state.evidence.setdefault(full, Evidence())
                evidence.add(sample.said[name], label=label)
                state.mark(f"evidence/{full}")
                self._model(state, full, i).learn(sample.features, label)
                state.mark(f"model/{full}")

    def _sample(
        self,
        state: LadderState,
        key: str,
        target: Target,
        us: int,
        measure: float,
        x: dict[str, float],
        scored: list[Scored],
    ) -> None:
        """Take a sample if the target is asked now and the last one is long enough ago."""
        pending = state.pending[key]
        due = pending.sampled < 0 or us - pending.sampled >= self.config.label_every_s * SECOND
        if not due or not target.asked_at(measure):
            return
        if len(pending.samples) >= self.config.max_pending:
            return
        said = {each.generation: each.probability for each in scored}
        used = {name: x[name] for each in scored for name in each.features}
        pending.samples.append(Sample(us, dict(sorted(used.items())), said))
        pending.sampled = us

    def _model(self, state: LadderState, full: str, i: int) -> Generation:
        """Model of a scope, target and generation; made, or restored, when first asked."""
        model = state.models.get(full)
        if model is None:
            model = state.models[full] = self._build(i)
            learned = state.learned.pop(full, None)
            if learned is not None:
                model.restore(learned)
        return model

    def _build(self, i: int) -> Generation:
        wanted = self.config.generations[i]
        options = dict(wanted.options)
        if wanted.model != "rules":
            options["authority"] = wanted.authority
        elif wanted.authority != "full":
            raise ModelError("model 'rules' always has full authority: people change rules")
        return build(wanted.model, options)


def _target(wanted: TargetConfig) -> Target:
    try:
        return Target(
            kind=wanted.kind,
            threshold=wanted.threshold,
            horizon_s=wanted.horizon_s,
            side=wanted.side,
            unit=wanted.unit,
            start=wanted.start,
        )
    except ValueError as error:
        raise ModelError(f"target {wanted.kind}: {error}") from error
