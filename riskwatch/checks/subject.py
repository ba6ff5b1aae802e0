"""The subject of a model check: how to make the model, and the stream of its examples."""

from __future__ import annotations

import pickle
from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from math import isfinite
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.errors import RiskwatchError
from riskwatch.models import registry
from riskwatch.models.base import Generation, Score

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

FEATURES: Final = ("velocity_bp", "drift_bp", "sd_bp", "vol_bp", "missing_share", "peer_bp")
"""Feature names that the shipped generations use; another model may ignore them."""

Example = tuple[dict[str, float], bool]
"""The features of a scope, and their label."""


class ConformanceError(RiskwatchError):
    """A check found that a model does not meet a requirement of the ensemble."""


def require(condition: bool, requirement: str) -> None:
    """Raise :class:`ConformanceError` unless a condition holds."""
    if not condition:
        raise ConformanceError(requirement)


@dataclass(frozen=True, slots=True)
class Subject:
    """A model under check.

    Attributes
    ----------
    model : str or callable
        Registered name, or factory.
    options : mapping
        Options of the factory.
    target : str
        Target that the model is made for.
    features : sequence of str
        Features of the examples, beside ``severity``.
    events : int
        Number of examples in the checks of its bounds.
    max_state_bytes : int
        Most bytes of its state as JSON.
    score_ratio, learn_ratio : float
        Most time per score and per label, as multiples of the time that a scaler and a logistic
        regression of River take to score and learn in the same run.
    """

    model: str | Callable[..., Generation]
    options: Mapping[str, Any] = field(default_factory=dict)
    target: str = ""
    features: Sequence[str] = FEATURES
    events: int = 100_000
    max_state_bytes: int = 65_536
    score_ratio: float = 10.0
    learn_ratio: float = 100.0

    @property
    def name(self) -> str:
        """Name in messages."""
        return self.model if isinstance(self.model, str) else getattr(self.model, "__name__", "?")

    def make(self) -> Generation:
        """Return an untrained model.

        Raises
        ------
        ModelError
            If it cannot be built.
        """
        if isinstance(self.model, str):
            return registry.build(self.model, self.options, self.target)
        return registry.make(self.name, self.model, self.options, self.target)

    def trained_model(self, count: int = 200, seed: int = 1) -> Generation:
        """Return a model that was trained on the first examples of a stream."""
        made = self.make()
        for x, y in self.examples(count, seed):
            made.score(x)
            made.learn(x, y)
        return made

    def examples(self, count: int, seed: int = 1) -> Iterator[Example]:
        """Yield features with labels of both kinds; the same for the same seed."""
        rng = Random(f"check_model/{seed}")  # noqa: S311 - sample data, not secrets
        bp = 20.0
        for _ in range(count):
            bp = max(0.0, 0.95 * bp + rng.gauss(1.5, 8.0))
            x = {name: round(rng.gauss(0.0, 20.0), 6) for name in self.features}
            x |= {"discount_bp": round(bp, 6), "severity": round(bp / 50.0, 6)}
            yield x, rng.random() < min(0.9, bp / 60.0)


def digest_of(scores: Sequence[Score]) -> str:
    """Return the SHA-256 of scores, with every bit of every number."""
    return sha256(msgspec.json.encode(scores, order="sorted")).hexdigest()


def score_stream(model: Generation, examples: Iterator[Example]) -> list[Score]:
    """Return the scores of a model along a stream that it learns from."""
    out = []
    for x, y in examples:
        out.append(model.score(x))
        model.learn(x, y)
    return out


def encode_state(model: Generation) -> bytes:
    """Return the state of a model as JSON, keys sorted."""
    return msgspec.json.encode(model.state(), order="sorted")


def score_defect(score: object) -> str:
    """Return what is wrong with a score; empty if nothing is.

    Examples
    --------
    >>> score_defect(Score(0.5, 0.0, 1.0, {"bias": 0.0}))
    ''
    >>> score_defect(Score(float("nan"), 0.0, 1.0, {}))
    'the probability must be in [0, 1], was nan'
    """
    if not isinstance(score, Score):
        return f"score must return a Score, was {type(score).__name__}"
    if not 0.0 <= score.probability <= 1.0:
        return f"the probability must be in [0, 1], was {score.probability}"
    for what, value in (("logit", score.logit), *score.contributions.items()):
        if not isfinite(value):
            return f"{what} must be finite, was {value}"
    return ""


def encode_subject(subject: Subject) -> str:
    """Return a text from which another process can rebuild the subject.

    Raises
    ------
    ConformanceError
        If its factory or options cannot be sent to another process.
    """
    try:
        return b64encode(pickle.dumps(subject)).decode("ascii")
    except (AttributeError, pickle.PicklingError, TypeError) as error:
        raise ConformanceError(
            f"the factory must be importable by its name, to run in another process: {error}"
        ) from error
