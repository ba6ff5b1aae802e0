"""At most six functions lie on the way from a score to the tracking of its ask."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

import riskwatch
from riskwatch.core.enums import State
from riskwatch.core.risk.stage import RiskStage
from riskwatch.engine import bootstrap
from riskwatch.models.ensemble import Ensemble
from tests.support.docs import steps
from tests.support.risk import LIMITS, REFERENCE, RULES, Desk, asset, market

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

MOST: Final = 6
"""Functions on the way, the first and the last counted."""
HOME: Final = str(Path(riskwatch.__file__).parent)
POLICY: Final = bootstrap.configuration().policy
ASK: Final = "model.anchored.depeg(discount 20bp, 1h).WATCH"
"""The shipped ask."""
ANSWERS: Final = ("AnchoredGeneration.probability", "AnchoredGeneration.score")


def frames(frame: FrameType | None) -> list[FrameType]:
    """Return the frames of riskwatch from the outermost to `frame`."""
    found = []
    while frame is not None:
        if frame.f_code.co_filename.startswith(HOME):
            found.append(frame)
        frame = frame.f_back
    return found[::-1]


def way(run: Callable[[], object]) -> list[str]:
    """Functions on the way from "a tick scores a scope" to "an ask is tracked like a rule".

    A function is on the way if it has been entered and has not returned at the moment at which
    the generation answers, or at the moment at which the tracker of the ask is moved. Functions
    that lead to both moments are not on the way: these run the tick. So the first function on the
    way is the one by which the tick scores a scope, and the last one moves the tracker. A helper
    that has returned before is not on the way. Every function counts once, however many targets
    are scored. What a decision asks of the generation afterwards, once the ask is tracked, does
    not count.
    """
    answers: list[list[FrameType]] = []
    tracked: list[list[FrameType]] = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or not frame.f_code.co_filename.startswith(HOME):
            return
        name = frame.f_code.co_qualname
        if name == "update_tracker" and frame.f_locals["rule"].id == ASK:
            tracked.append(frames(frame))
        elif name in ANSWERS and not tracked:
            answers.append(frames(frame))

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    assert answers
    assert len(tracked) == 1
    [asked] = tracked
    found: dict[str, None] = {}
    for answer in answers:
        shared = [one for one, two in zip(answer, asked, strict=False) if one is two]
        assert shared
        found |= dict.fromkeys(f.f_code.co_qualname for f in answer[len(shared) :])
    found |= dict.fromkeys(f.f_code.co_qualname for f in asked[len(shared) :])
    return list(found)


@pytest.mark.parametrize("minute", [1, 2, 5])
def test_a_score_reaches_its_ask_in_six_functions(root: Path, minute: int) -> None:
    """The bound holds whether explanations are computed at once or later.

    The page for developers names the same functions, in the same order.
    """
    stage = RiskStage(POLICY.risk, REFERENCE, LIMITS, RULES, Ensemble(POLICY.models))
    made = Desk(stage)
    made.minutes(0, minute - 1)
    reading = market(minute, asset(seen=minute + 2, bp=-25.0))
    passed = way(lambda: made.tick(minute, reading))
    assert made.state.scopes["asset:USDC"].state is State.WATCH
    assert made.state.scopes["asset:USDC"].generation == "anchored"
    assert passed[-1] == "update_tracker"
    assert len(passed) <= MOST, passed
    # Where reasons are asked for at once, the generation answers with a score.
    named = [ANSWERS[0] if name in ANSWERS else name for name in passed]
    assert named == [function for _, function in steps(root, "The way of a score to an ask")]
