"""Labels as they mature: who is charged for what was said, and who learns what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.core.risk.models import SERVED
from riskwatch.models.aggregate import Mixture
from riskwatch.models.evidence import Evidence
from riskwatch.models.saying import brief

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from riskwatch.models.judge import Judge
    from riskwatch.models.labels import Sample
    from riskwatch.models.ladder_state import LadderState
    from riskwatch.models.panel import Panel
    from riskwatch.models.rungs import Question, Rung


class Teacher:
    """Lets generations learn from the samples whose answer is known.

    Parameters
    ----------
    share : float
        Share of the weights that is spread evenly after each label.
    judge : Judge
        Who keeps the accounts.
    panel : Panel
        Who bars those that fail.
    rungs : sequence of Rung
        Who learns.
    """

    def __init__(self, share: float, judge: Judge, panel: Panel, rungs: Sequence[Rung]) -> None:
        self.judge = judge
        self._share = share
        self._panel = panel
        self._rungs = rungs

    def learn(
        self,
        state: LadderState,
        key: str,
        question: Question,
        us: int,
        measure: float | None,
        known: Mapping[str, float],
    ) -> None:
        """Let every generation learn from the samples whose answer is known now.

        Without a `measure`, we are not there any more.
        """
        pending = state.pending.get(key)
        if pending is None or not pending.samples:
            return
        state.mark(f"pending/{key}")
        if measure is None:
            matured = pending.censor(question.target, us)
        else:
            matured = pending.see(question.target, us, measure, known)
        for sample, label in matured:
            self.judge.answered(state, question.id)
            for rung in self._rungs:
                # It may not have been configured yet when the sample was taken.
                if rung.name in sample.said:
                    self._account(state, key, question, rung.name, sample, label=label)
                    self._teach(state, us, f"{key}|{rung.name}", question, rung, sample, label)
            if SERVED in sample.said:
                self._account(state, key, question, SERVED, sample, label=label)
            self._mix(state, key, question, sample, label=label)
            self.judge.weigh(state, question.id, sample.said, sample.us, us, label=label)

    def _account(
        self,
        state: LadderState,
        key: str,
        question: Question,
        name: str,
        sample: Sample,
        *,
        label: bool,
    ) -> None:
        """Charge a generation for what it said."""
        full = f"{key}|{name}"
        evidence = state.evidence.setdefault(full, Evidence())
        self.judge.account(
            state, question.id, name, evidence, sample.said[name], sample.us, label=label
        )
        state.mark(f"evidence/{full}")

    def _teach(
        self,
        state: LadderState,
        us: int,
        full: str,
        question: Question,
        rung: Rung,
        sample: Sample,
        label: bool,
    ) -> None:
        """Let one generation learn, and see that it can still score afterwards."""
        model = state.models.get(full)
        if model is None:
            if not getattr(rung.newborn(question.id), "learns", True):
                return
            model = state.models[full] = rung.make(question.id)
        state.mark(f"model/{full}")
        try:
            model.learn(sample.features, label)
        except (ArithmeticError, ValueError) as error:
            self._panel.bar(state, us, full, question, rung, f"cannot learn: {error}")
            return
        probability, why = brief(model, sample.features)
        if probability is None:
            self._panel.bar(state, us, full, question, rung, why)

    def _mix(
        self, state: LadderState, key: str, question: Question, sample: Sample, *, label: bool
    ) -> None:
        """Weigh the generations that are mixed now by what they said then."""
        cells = self.judge.cells[question.id]
        mixture = state.mixtures.get(key)
        if mixture is None:
            names = self.judge.mixed(state, question.id)
            if not names:
                return
            mixture = state.mixtures[key] = Mixture.fresh(names, cells.processes)
        mixture.learn(cells.at(sample.us), sample.said, label=label, share=self._share)
        state.mark(f"mix/{key}")
