"""Model check of the kill switch: no input loses a latch, and data never releases a HALT.

``RISKWATCH_MODEL_RUNS`` sets the number of long random runs (default 100; ``make model`` runs
10,000), and ``RISKWATCH_MODEL_FIRST`` sets the first seed.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from riskwatch.core.enums import State
from riskwatch.core.outputs import CommandApplied
from tests.support.switchmodel import LETTERS, MORE, SCOPE, Life, Packed, picture, stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.outputs import Output
    from riskwatch.core.risk.stage import RiskEvent
    from riskwatch.core.risk.state import RiskState

DEPTH: Final = int(os.environ.get("RISKWATCH_MODEL_DEPTH", "8"))
RUNS: Final = int(os.environ.get("RISKWATCH_MODEL_RUNS", "100"))
FIRST: Final = int(os.environ.get("RISKWATCH_MODEL_FIRST", "0"))
LENGTH: Final = 50
TWINS: Final = 5


def test_every_sequence_of_eight_inputs() -> None:
    """Check all sequences of inputs; equal states have equal futures, so each is explored once."""
    first = Life(stage())
    frontier = {picture(first.state, first.us): first.pack()}
    found: Counter[str] = Counter()
    for _ in range(DEPTH):
        after: dict[bytes, Packed] = {}
        for packed in frontier.values():
            for symbol in LETTERS:
                then = packed.life()
                out = then.live(symbol)
                found["transitions"] += 1
                found[then.standing().value] += 1
                found.update(o.detail.split()[0] for o in out if isinstance(o, CommandApplied))
                seen = picture(then.state, then.us)
                if seen not in after:
                    after[seen] = then.pack()
        frontier = after
        found["pictures"] += len(after)
    print_coverage(f"{len(LETTERS)}**{DEPTH} = {len(LETTERS) ** DEPTH} sequences: {dict(found)}")
    # The search reached every state, releases and overrides.
    assert all(found[name] > 0 for name in ("NORMAL", "WATCH", "REDUCE", "HALT"))
    assert found["released"] > 0
    assert found["overridden"] > 0


def print_coverage(words: str) -> None:
    """Print the coverage of the search, visible with ``-s``."""
    sys.stdout.write(words + "\n")


def inputs(rng: random.Random) -> Iterator[str]:
    """Yield random inputs: runs of good, bad or silent data, and commands that often match."""
    weather, plan = "good", list[str]()
    for _ in range(LENGTH):
        if rng.random() < 0.1:
            weather = rng.choice(("bad", "good", "good", "silent"))
        if rng.random() < 0.1:
            plan = [*rng.choice((("release", "approve"), ("override", "approve")))]
        if plan:
            yield plan.pop(0)
        else:
            yield weather if rng.random() < 0.8 else rng.choice(MORE)


def test_long_random_lives() -> None:
    """Random runs include wrong commands; some run beside a twin that never restarts."""
    states: Counter[State] = Counter()
    for seed in range(FIRST, FIRST + RUNS):
        rng = random.Random(seed)
        life = Life(stage())
        twin = Life(stage()) if seed % TWINS == 0 else None
        for symbol in inputs(rng):
            out = life.live(symbol)
            states[life.standing()] += 1
            if twin is not None and symbol == "restart":
                twin.step += 1
            elif twin is not None:
                assert twin.live(symbol) == out
        assert twin is None or twin.rows == life.rows
    print_coverage(f"{RUNS} lives of {LENGTH} inputs: {dict(states)}")
    assert states[State.HALT] > 0
    assert states[State.NORMAL] > 0


class Forgetful:
    """A planted fault: a stage that drops the latch at every step."""

    def __init__(self, life: Life) -> None:
        self.life, self.stage = life, life.stage

    def step(self, state: RiskState, event: RiskEvent) -> list[Output]:
        """Step, then drop the latch."""
        out = self.stage.step(state, event)
        state.scopes[SCOPE].state = State.NORMAL
        return out


def test_a_switch_that_data_releases_is_seen() -> None:
    """The check finds a stage whose data release a HALT."""
    life = Life(stage())
    life.live("halt")
    life.stage = Forgetful(life)  # type: ignore[assignment]
    with pytest.raises(AssertionError, match="good led out of HALT"):
        life.live("good")


def test_a_restart_that_loses_something_is_seen() -> None:
    """The check finds a restart that loses a stored row."""
    life = Life(stage())
    life.live("halt")
    del life.rows[f"scope/{SCOPE}"]
    with pytest.raises(AssertionError, match="restart led out of HALT"):
        life.live("restart")
