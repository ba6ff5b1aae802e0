"""Everybody who answers: asked about one target of one scope, and heard together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.core.reasons import State
from riskwatch.models.base import Authority
from riskwatch.models.saying import brief, checked, said_by, scored_by, served

if TYPE_CHECKING:
    from collections.abc import Sequence

    from riskwatch.core.risk.models import Scored
    from riskwatch.models.inputs import Inputs
    from riskwatch.models.judge import Judge
    from riskwatch.models.ladder_state import LadderState
    from riskwatch.models.rungs import Question, Rung


class Panel:
    """The generations, beside each other.

    Parameters
    ----------
    judge : Judge
        Who says how far each may go.
    questions : sequence of Question
        What is asked.
    rungs : sequence of Rung
        Who answers.
    """

    def __init__(self, judge: Judge, questions: Sequence[Question], rungs: Sequence[Rung]) -> None:
        self.judge = judge
        self._voices = {q.id: [(rung, f"{q.id}|{rung.name}") for rung in rungs] for q in questions}

    def ask(
        self,
        state: LadderState,
        us: int,
        scope: str,
        question: Question,
        x: Inputs,
        *,
        everybody: bool,
        whole: bool,
    ) -> list[Scored]:
        """Let generations score; nothing changes but for one that fails a check.

        Parameters
        ----------
        state : LadderState
            What they have learned.
        us : int
            Event time, microseconds.
        scope : str
            About whom.
        question : Question
            About what.
        x : Inputs
            What is known.
        everybody : bool
            Whether shadows are asked as well.
        whole : bool
            Whether they are asked for their reasons at once.
        """
        scored = []
        for rung, standing in self._voices[question.id]:
            authority = self.judge.authority(state, standing, rung)
            if authority is Authority.SHADOW and not everybody:
                continue
            full = f"{scope}|{standing}"
            model = state.models.get(full)
            if model is None:
                model = rung.newborn(question.id)
            if whole:
                score, why = checked(model, x)
                if score is not None:
                    scored.append(scored_by(rung.name, authority, score, scope, question, x))
                    continue
            else:
                p, why = brief(model, x)
                if p is not None:
                    scored.append(said_by(rung.name, authority, p, model, scope, question, x))
                    continue
            self.bar(state, us, full, question, rung, why)
        return scored

    def serve(
        self,
        state: LadderState,
        us: int,
        key: str,
        question: Question,
        scored: list[Scored],
        severity: float,
    ) -> Scored | None:
        """Mix what those said that may ask for anything; a shadow has no part in it."""
        able = [each for each in scored if each.cap is not State.NORMAL]
        if not able:
            return None
        mixture, copy = state.mixtures.get(key), 0
        if mixture is not None:
            if mixture.become([each.generation for each in able]):
                state.mark(f"mix/{key}")
            copy = self.judge.cells[question.id].at(us)[0]
        return served(mixture, copy, able, severity)

    def bar(
        self, state: LadderState, us: int, full: str, question: Question, rung: Rung, why: str
    ) -> None:
        """Take the authority of a generation that failed a check, and what it had learned."""
        self.judge.quarantine(state, us, question.id, rung, why)
        if state.models.pop(full, None) is not None:
            state.mark(f"model/{full}")
