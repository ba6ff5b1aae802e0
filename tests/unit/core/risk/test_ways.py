"""Call paths through the risk stage are short, and nothing on them is computed twice."""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import riskwatch
from riskwatch.core.enums import State
from riskwatch.core.outputs import DecisionMade, KillSwitchChanged
from tests.support.docs import steps
from tests.support.people import SCOPE, command, people, request_of
from tests.support.risk import asset, desk, held, market, of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

HOME: Final = str(Path(riskwatch.__file__).parent)


def traced(run: Callable[[], object], see: Callable[[FrameType], None]) -> None:
    """Run a callable, and report each call of a function of riskwatch to `see`."""

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(HOME):
            see(frame)

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)


def owners(frame: FrameType | None) -> list[str]:
    """Classes of the objects whose methods are running, from the outermost in."""
    found: dict[int, str] = {}
    while frame is not None:
        owner = frame.f_locals.get("self")
        if owner is not None and frame.f_code.co_filename.startswith(HOME):
            found[id(owner)] = type(owner).__name__
        frame = frame.f_back
    return list(found.values())[::-1]


def test_a_release_goes_through_three_objects(root: Path) -> None:
    """At most three objects lie between the stage and the writer of the switch, as documented."""
    d = people()
    d.tell(command("rita", "halt", 1))
    request = request_of(d.tell(command("ann", "release", 2)))
    approve = command("bob", "approve", 3, request=request)
    paths: list[list[str]] = []

    def see(frame: FrameType) -> None:
        if frame.f_code.co_qualname == "DecisionWriter.switch":
            paths.append(owners(frame))

    traced(lambda: d.tell(approve), see)
    (switch,) = of(d.out[-4:], KillSwitchChanged, SCOPE)
    assert switch.effective is State.NORMAL
    (path,) = paths
    assert path[0] == "RiskStage"
    assert len(path[1:]) <= 3, path
    named = [function.partition(".")[0] for _, function in steps(root, "The way of a release")]
    assert path == named


def test_a_decision_is_explained_with_what_its_rules_saw() -> None:
    """Each rule is evaluated once per tick, and the exposure at stake is computed once."""
    d = desk()
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    measured: Counter[str] = Counter()
    summed: Counter[str] = Counter()

    def see(frame: FrameType) -> None:
        name = frame.f_code.co_qualname
        if name == "Rule.severity" and frame.f_locals["self"].scope_kind == "asset":
            measured[frame.f_locals["self"].id] += 1
        elif name == "StakesCalculator._on":
            summed[":".join(frame.f_locals["at"][:2])] += 1

    minute = 0
    while not of(d.out, DecisionMade, SCOPE):
        minute += 1
        measured.clear()
        summed.clear()
        traced(partial(d.minutes, minute, minute, bp=-120.0), see)
    (made,) = of(d.out, DecisionMade, SCOPE)
    assert made.flip["rule"] == made.rule
    assert measured[made.rule] == 1
    assert set(measured.values()) == {1}
    assert summed[SCOPE] == 1
