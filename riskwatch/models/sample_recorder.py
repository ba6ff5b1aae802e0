"""Records what the models learn from: every matured sample, with all of its features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.models.base import Generation, Score, known_severity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.risk.scorer import ModelScore, Scorer
    from riskwatch.core.stage import StageState

SAMPLE_US: Final = "tape_taken_us"
SAMPLE_SCOPE: Final = "tape_scope"
_RECORDER_FEATURES: Final = (SAMPLE_US, SAMPLE_SCOPE)


class LabelledSample(msgspec.Struct, frozen=True, array_like=True, order=True):
    """One matured sample.

    Attributes
    ----------
    us : int
        When it was taken, microseconds.
    episode : str
        Which recording it is of.
    scope, target : str
        Of what, and what was asked.
    label : bool
        What became of it.
    features : dict of str to float
        What was known when it was taken, ``severity`` among it.
    weight : float
        How much its episode counts; 1 for what really was.
    """

    us: int
    episode: str
    scope: str
    target: str
    label: bool
    features: dict[str, float]
    weight: float = 1.0


class SampleRecorder:
    """Collects rows while a pipeline lives through one episode.

    Parameters
    ----------
    episode : str
        Its name.
    weight : float
        How much it counts.
    """

    def __init__(self, episode: str, weight: float = 1.0) -> None:
        self.episode = episode
        self.weight = weight
        self.rows: list[LabelledSample] = []
        self._scopes: list[str] = []

    def wrap(self, scorer: Scorer) -> RecordingScorer:
        """Put the tape around a ladder that has a generation ``tape`` with this as its option."""
        return RecordingScorer(scorer, self)

    def scope_number(self, scope: str) -> float:
        """Return a number for a scope, so that it travels among the features."""
        if scope not in self._scopes:
            self._scopes.append(scope)
        return float(self._scopes.index(scope))

    def record(self, target: str, x: Mapping[str, float], label: bool) -> None:
        """Write a row."""
        features = {
            name: value for name, value in sorted(x.items()) if name not in _RECORDER_FEATURES
        }
        scope = self._scopes[int(x[SAMPLE_SCOPE])]
        taken = int(x[SAMPLE_US])
        self.rows.append(
            LabelledSample(taken, self.episode, scope, target, label, features, self.weight)
        )


class RecordingScorer:
    """A ladder whose samples carry their time and scope among their features."""

    def __init__(self, inner: Scorer, recorder: SampleRecorder) -> None:
        self._inner = inner
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        """Return whatever else the ladder has."""
        return getattr(self._inner, name)

    def fresh(self) -> StageState:
        """Make the state of models that have seen nothing."""
        return self._inner.fresh()

    def observe(
        self,
        state: Any,
        us: int,
        scope: str,
        kind: str,
        features: Mapping[str, float],
        **more: Any,
    ) -> list[ModelScore]:
        """Do as the ladder does, with two more features."""
        marked = {
            **features,
            SAMPLE_US: float(us),
            SAMPLE_SCOPE: self._recorder.scope_number(scope),
        }
        return self._inner.observe(state, us, scope, kind, marked, **more)


class RecorderGeneration:
    """Says nothing, looks at every feature, and notes every label.

    Parameters
    ----------
    tape : Tape
        Where to.
    target : str
        Of which target.
    """

    def __init__(self, recorder: SampleRecorder, target: str = "") -> None:
        self._recorder = recorder
        self._target = target

    def of_target(self, target: str) -> Generation:
        """Return the generation for one target."""
        return RecorderGeneration(self._recorder, target)

    def score(self, x: Mapping[str, float]) -> Score:
        """Look at every feature, so that a sample keeps them all."""
        return Score(0.5, 0.0, known_severity(x), dict.fromkeys(x, 0.0))

    def learn(self, x: Mapping[str, float], y: bool) -> None:
        """Note a label."""
        self._recorder.record(self._target, x, bool(y))

    def state(self) -> dict[str, Any]:
        """Nothing that is to be stored."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Accept nothing.

        Raises
        ------
        ValueError
            A tape is not resumed.
        """
        raise ValueError(f"a tape cannot be resumed, was given {len(state)} entries")
