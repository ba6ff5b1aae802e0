"""The models of one scope and one target: they score, are served together, and learn."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from riskwatch.core.money import quantise
from riskwatch.core.reasons import State
from riskwatch.core.risk.models import SERVED, Scored
from riskwatch.models.aggregate import Mixture
from riskwatch.models.base import Authority
from riskwatch.models.evidence import Evidence
from riskwatch.models.labels import Pending, Sample
from riskwatch.models.saying import (
    DIGITS,
    ask_grounds,
    error_text,
    fault_in,
    fault_of,
    grounds_of,
    served_score,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.models.base import Score
    from riskwatch.models.inputs import Inputs
    from riskwatch.models.judge import Judge
    from riskwatch.models.ladder_state import LadderState
    from riskwatch.models.rungs import Question, Rung


class TargetModel:
    """The models of one scope and one target, at one moment.

    It holds what every step needs: where the learned state lies, which target is asked, of which
    scope, and when. It is made anew at every observation and remembers nothing by itself.

    Parameters
    ----------
    judge : Judge
        How far each generation may go, and its record.
    state : LadderState
        What was learned; changed in place.
    question : Question
        The target.
    scope : str
        The scope.
    us : int
        Event time, microseconds.
    """

    __slots__ = ("authority", "features", "key", "question", "scope", "state", "us")

    def __init__(
        self, judge: Judge, state: LadderState, question: Question, scope: str, us: int
    ) -> None:
        self.state = state
        self.question = question
        self.scope = scope
        self.us = us
        self.key = f"{scope}|{question.id}"
        self.authority = judge.at(state, question.id, us)
        self.features: dict[str, float] = {}
        """Features that the scores looked at, of generations that were asked for their reasons."""

    @property
    def sample_due(self) -> bool:
        """Whether the last sample is long enough ago."""
        return self.question.sampled(self.state.pending.get(self.key), self.us)

    @property
    def label_due(self) -> bool:
        """Whether the horizon of some sample is over."""
        pending = self.state.pending.get(self.key)
        return pending is not None and pending.due(self.question.target, self.us)

    def score(self, x: Inputs, *, everybody: bool, reasons: bool) -> list[Scored]:
        """Let generations score. Nothing changes, except that one which fails is quarantined.

        Parameters
        ----------
        x : Inputs
            What is known.
        everybody : bool
            Whether shadows are asked as well.
        reasons : bool
            Whether they are asked for their reasons at once, or for the probability alone.
        """
        found = []
        for rung, record in self.authority.generations:
            authority = self.authority.of(rung, record)
            if authority is Authority.SHADOW and not everybody:
                continue
            model = self.state.models.get(f"{self.scope}|{record}")
            if model is None:
                model = rung.newborn(self.question.id)
            alone = None if reasons else getattr(model, "probability", None)
            score: Score | None = None
            try:
                if alone is None:
                    score = model.score(x)
                    probability = score.probability
                else:
                    probability = alone(x)
            except (ArithmeticError, ValueError) as error:
                self._quarantine(rung, error_text(error))
                continue
            fault = fault_in(probability, score)
            if fault:
                self._quarantine(rung, fault)
                continue
            if score is None:
                severity, grounds = x["severity"], partial(ask_grounds, model, x)
            else:
                severity = quantise(score.severity, DIGITS)
                grounds = partial(grounds_of, score, x)
                self.features.update((name, x[name]) for name in score.contributions if name in x)
                self.features["severity"] = x["severity"]
            found.append(
                Scored(
                    scope=self.scope,
                    target=self.question.id,
                    generation=rung.name,
                    authority=authority.value,
                    cap=authority.cap,
                    probability=quantise(probability, DIGITS),
                    severity=severity,
                    grounds=grounds,
                )
            )
        return found

    def serve(self, scored: list[Scored], severity: float) -> Scored | None:
        """Mix what those generations said that may ask for anything; a shadow has no part in it."""
        able = [each for each in scored if each.cap is not State.NORMAL]
        if not able:
            return None
        mixture, copy = self.state.mixtures.get(self.key), 0
        if mixture is not None:
            if mixture.become([each.generation for each in able]):
                self.state.mark(f"mix/{self.key}")
            copy = self.authority.cells.at(self.us)[0]
        return served_score(mixture, copy, able, severity)

    def sample(self, x: Inputs, scored: list[Scored], *, most: int) -> None:
        """Take a sample of what everybody said, for a label to come.

        Parameters
        ----------
        x : Inputs
            What is known.
        scored : list of Scored
            What was said of it, with reasons, and what is served.
        most : int
            Scopes that are learned about at most.
        """
        pending = self.state.pending.get(self.key)
        if pending is None:
            if not self.state.admit(self.scope, most):
                return
            pending = self.state.pending[self.key] = Pending()
        # The configuration was refused if more could ever wait than `max_pending`.
        said = {each.generation: each.probability for each in scored}
        parts = self.question.seen(x)
        pending.take(Sample(self.us, dict(sorted(self.features.items())), said, parts=parts))
        self.state.mark(f"pending/{self.key}")

    def learn(self, measure: float | None, known: Mapping[str, float]) -> None:
        """Let every generation learn from the samples whose label is known now.

        Parameters
        ----------
        measure : float or None
            What is measured now; without one, we are not there any more.
        known : mapping
            Features that it is made of.
        """
        pending = self.state.pending.get(self.key)
        if pending is None or not pending.samples:
            return
        self.state.mark(f"pending/{self.key}")
        if measure is None:
            matured = pending.censor(self.question.target, self.us)
        else:
            matured = pending.see(self.question.target, self.us, measure, known)
        for sample, label in matured:
            self.authority.note_label()
            for rung, _ in self.authority.generations:
                # It may not have been configured yet when the sample was taken.
                if rung.name in sample.said:
                    self._account(rung.name, sample, label=label)
                    self._teach(rung, sample, label=label)
            if SERVED in sample.said:
                self._account(SERVED, sample, label=label)
            self._mix(sample, label=label)
            self.authority.weigh(sample.said, sample.us, label=label)

    def _account(self, name: str, sample: Sample, *, label: bool) -> None:
        """Charge a generation for what it said."""
        full = f"{self.key}|{name}"
        evidence = self.state.evidence.setdefault(full, Evidence())
        self.authority.account(name, evidence, sample.said[name], sample.us, label=label)
        self.state.mark(f"evidence/{full}")

    def _teach(self, rung: Rung, sample: Sample, *, label: bool) -> None:
        """Let one generation learn.

        It is asked again at once: what a label has broken is found before it is stored, and so
        never read back at a restart.
        """
        full = f"{self.key}|{rung.name}"
        model = self.state.models.get(full)
        if model is None:
            if not getattr(rung.newborn(self.question.id), "learns", True):
                return
            model = self.state.models[full] = rung.make(self.question.id)
        self.state.mark(f"model/{full}")
        try:
            model.learn(sample.features, label)
        except (ArithmeticError, ValueError) as error:
            self._quarantine(rung, f"cannot learn: {error}")
            return
        fault = fault_of(model, sample.features)
        if fault:
            self._quarantine(rung, fault)

    def _mix(self, sample: Sample, *, label: bool) -> None:
        """Weigh the generations that are mixed now by what they said then."""
        cells = self.authority.cells
        mixture = self.state.mixtures.get(self.key)
        if mixture is None:
            names = self.authority.mixture_names()
            if not names:
                return
            mixture = self.state.mixtures[self.key] = Mixture.fresh(names, cells.processes)
        share = self.authority.judge.config.share
        mixture.learn(cells.at(sample.us), sample.said, label=label, share=share)
        self.state.mark(f"mix/{self.key}")

    def _quarantine(self, rung: Rung, why: str) -> None:
        """Take the authority of a generation that failed a check, and what it had learned."""
        self.authority.quarantine(rung, why)
        full = f"{self.key}|{rung.name}"
        if self.state.models.pop(full, None) is not None:
            self.state.mark(f"model/{full}")
