"""Models with one fault each, for the conformance kit to find."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any, Final

from riskwatch.models.base import Score, sigmoid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def known(value: float | None) -> float:
    """A number that is given and ordinary, else 0; never beyond a million."""
    if value is None or not math.isfinite(value):
        return 0.0
    return min(max(value, -1e6), 1e6)


class Sound:
    """A model without a fault: the base rate, plus a little for the severity."""

    def __init__(self) -> None:
        self.trues, self.labels = 1.0, 10.0

    def score(self, x: Mapping[str, float]) -> Score:
        """Log-odds of the base rate, and the severity."""
        bias = math.log(self.trues / (self.labels - self.trues))
        part = 0.1 * min(known(x.get("severity")), 50.0)
        logit = bias + part
        return Score(sigmoid(logit), logit, 1.0, {"bias": bias, "severity": part})

    def learn(self, x: Mapping[str, float], y: bool) -> None:  # noqa: ARG002 - as the ladder calls
        """Count."""
        self.trues += 0.3 if y else 0.0
        self.labels += 1.0

    def state(self) -> dict[str, Any]:
        """Two counts."""
        return {"trues": self.trues, "labels": self.labels}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Two counts."""
        self.trues, self.labels = float(state["trues"]), float(state["labels"])


class Unequal(Sound):
    """Its parts do not sum to its logit."""

    def score(self, x: Mapping[str, float]) -> Score:
        """Forget a part."""
        score = super().score(x)
        return Score(score.probability, score.logit, 1.0, {"bias": score.logit + 0.01})


class Counting(Sound):
    """Scoring is counted as if it were a label."""

    def score(self, x: Mapping[str, float]) -> Score:
        """Change the state."""
        self.labels += 1e-9
        return super().score(x)


class Holding(Sound):
    """It keeps the input itself, and looks at it later."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Mapping[str, float] = {}

    def learn(self, x: Mapping[str, float], y: bool) -> None:
        """Learn late: what was handed in one label ago."""
        self.trues += 1e-3 * min(known(self.last.get("severity")), 1.0)
        super().learn(x, y)
        self.last = x


class Demanding(Sound):
    """It cannot do without its features."""

    def score(self, x: Mapping[str, float]) -> Score:
        """Fail on what is missing."""
        x["severity"]
        return super().score(x)


class Surprised(Sound):
    """It cannot bear a feature that it has not seen from the beginning."""

    def learn(self, x: Mapping[str, float], y: bool) -> None:
        """Fail on a new name."""
        if "new_always" in x:
            raise KeyError("new_always")
        super().learn(x, y)


class Ordered(Sound):
    """It adds up features in the order in which they come."""

    def score(self, x: Mapping[str, float]) -> Score:
        """Give weights by position."""
        part = sum(min(known(value), 5.0) / (n + 50.0) for n, value in enumerate(x.values()))
        logit = super().score({}).logit + part
        return Score(sigmoid(logit), logit, 1.0, {"bias": logit})


class Lucky(Sound):
    """It draws from the shared random generator."""

    def learn(self, x: Mapping[str, float], y: bool) -> None:
        """Learn by chance."""
        if random.random() < 0.5:
            super().learn(x, y)


class Hashing(Sound):
    """It weighs features by their hash, which another process does not share."""

    def score(self, x: Mapping[str, float]) -> Score:
        """Use the hash of a string."""
        logit = super().score(x).logit + hash("severity") % 1000 / 1000.0
        return Score(sigmoid(logit), logit, 1.0, {"bias": logit})


class Sharing(Sound):
    """Copies go on using the counts of the original."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Sharing:
        """Return itself."""
        return self


class Forgetful(Sound):
    """It stores less than it has learned."""

    def state(self) -> dict[str, Any]:
        """Round what was counted."""
        return {"trues": float(round(self.trues)), "labels": self.labels}


class Secret(Sound):
    """It learns, and says that it has learned nothing."""

    def state(self) -> dict[str, Any]:
        """Say nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Refuse what is not empty."""
        if state:
            raise ValueError("this model keeps no state")


class Gullible(Sound):
    """It takes any state for its own."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take what is there."""
        self.trues, self.labels = state.get("trues", 1.0), state.get("labels", 10.0)


class Overflowing(Sound):
    """Large inputs become infinite log-odds."""

    def score(self, x: Mapping[str, float]) -> Score:
        """Square the severity."""
        severity = x.get("severity", 0.0)
        logit = min(severity * severity, math.inf)
        return Score(sigmoid(min(logit, 700.0)), logit, 1.0, {"bias": logit})


class Hoarding(Sound):
    """It remembers every feature name that it has ever seen, and stores them."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, int] = {}

    def learn(self, x: Mapping[str, float], y: bool) -> None:
        """Remember the names."""
        super().learn(x, y)
        self.names.update(dict.fromkeys(x, 1))

    def state(self) -> dict[str, Any]:
        """Counts and names."""
        return {**super().state(), "names": list(self.names)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Counts and names."""
        super().restore(state)
        self.names = dict.fromkeys(state["names"], 1)


class Leaking(Hoarding):
    """It remembers every name, and does not even store them."""

    state, restore = Sound.state, Sound.restore


class Slow(Sound):
    """It does far more work than its answer is worth."""

    def score(self, x: Mapping[str, float]) -> Score:
        """Waste time."""
        for _ in range(20_000):
            pass
        return super().score(x)


class Slowing(Sound):
    """Its scores take longer with every label."""

    def score(self, x: Mapping[str, float]) -> Score:
        """Waste more time the more was learned."""
        for _ in range(20 * int(self.labels)):
            pass
        return super().score(x)


FAULTS: Final[dict[str, Callable[[], Sound]]] = {
    "shape": Unequal,
    "pure_score": Counting,
    "no_aliasing": Holding,
    "missing_features": Demanding,
    "new_features": Surprised,
    "feature_order": Ordered,
    "no_chance": Lucky,
    "across_processes": Hashing,
    "copies": Sharing,
    "state_round_trip": Forgetful,
    "learned_is_stored": Secret,
    "foreign_state": Gullible,
    "finite": Overflowing,
    "bounded": Hoarding,
    "time_per_event": Slow,
    "steady_time": Slowing,
}
"""By the name of a check, the model that it is there for."""


class Hasty(Sound):
    """Asked for its probability alone it says another one."""

    def probability(self, x: Mapping[str, float]) -> float:
        """Round what it should not."""
        return round(self.score(x).probability, 3)
