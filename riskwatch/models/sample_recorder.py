"""Records matured samples with all of their features, for fitting."""

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
        Time at which it was taken, microseconds.
    episode : str
        Name of the recording or episode.
    scope, target : str
        Scope, and id of the target.
    label : bool
        The label.
    features : dict of str to float
        Features when it was taken, with ``severity``.
    weight : float
        Weight of its episode; 1 for a real episode.
    """

    us: int
    episode: str
    scope: str
    target: str
    label: bool
    features: dict[str, float]
    weight: float = 1.0


class SampleRecorder:
    """Collects samples while a pipeline runs through one episode.

    Parameters
    ----------
    episode : str
        Name of the episode.
    weight : float
        Weight of the episode.
    """

    def __init__(self, episode: str, weight: float = 1.0) -> None:
        self.episode = episode
        self.weight = weight
        self.rows: list[LabelledSample] = []
        self._scopes: list[str] = []

    def wrap(self, scorer: Scorer) -> RecordingScorer:
        """Wrap an ensemble that has a generation ``tape`` with this recorder as its option."""
        return RecordingScorer(scorer, self)

    def scope_number(self, scope: str) -> float:
        """Return the number of a scope, which is passed along as a feature."""
        if scope not in self._scopes:
            self._scopes.append(scope)
        return float(self._scopes.index(scope))

    def record(self, target: str, x: Mapping[str, float], label: bool) -> None:
        """Add a labelled sample."""
        features = {
            name: value for name, value in sorted(x.items()) if name not in _RECORDER_FEATURES
        }
        scope = self._scopes[int(x[SAMPLE_SCOPE])]
        taken = int(x[SAMPLE_US])
        self.rows.append(
            LabelledSample(taken, self.episode, scope, target, label, features, self.weight)
        )


class RecordingScorer:
    """An ensemble whose samples carry their time and scope among their features."""

    def __init__(self, inner: Scorer, recorder: SampleRecorder) -> None:
        self._inner = inner
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the ensemble."""
        return getattr(self._inner, name)

    def fresh(self) -> StageState:
        """Return the state of untrained models."""
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
        """Observe with the ensemble, with the time and the scope as two more features."""
        marked = {
            **features,
            SAMPLE_US: float(us),
            SAMPLE_SCOPE: self._recorder.scope_number(scope),
        }
        return self._inner.observe(state, us, scope, kind, marked, **more)


class RecorderGeneration:
    """A generation that records every labelled sample with all of its features.

    It always scores 0.5.

    Parameters
    ----------
    tape : SampleRecorder
        Recorder to write to.
    target : str
        Id of the target.
    """

    def __init__(self, tape: SampleRecorder, target: str = "") -> None:
        self._recorder = tape
        self._target = target

    def of_target(self, target: str) -> Generation:
        """Return the generation for one target."""
        return RecorderGeneration(self._recorder, target)

    def score(self, x: Mapping[str, float]) -> Score:
        """Score 0.5, with every feature as a contribution of 0, so that a sample keeps them all."""
        return Score(0.5, 0.0, known_severity(x), dict.fromkeys(x, 0.0))

    def learn(self, x: Mapping[str, float], y: bool) -> None:
        """Record the sample with its label."""
        self._recorder.record(self._target, x, bool(y))

    def state(self) -> dict[str, Any]:
        """Return an empty state."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Refuse every state.

        Raises
        ------
        ValueError
            Always: a recorder cannot be resumed.
        """
        raise ValueError(f"a tape cannot be resumed, was given {len(state)} entries")
