"""The definitions of support, refutation, weight, and what follows from them."""

from __future__ import annotations

import pytest

from riskwatch.core.enums import Cause
from riskwatch.core.market.config import MarketConfig
from riskwatch.core.market.report import ImpliedValue, attribute_cause, outweighs, refutes, supports
from riskwatch.core.market.state import BP

CONFIG = MarketConfig()
NOBODY: frozenset[str] = frozenset()


def says(
    venue: str, bp: float, *, pair: str = "C/USD", sd: float = 3.0, traded: float | None = 100.0,
    prompt: bool = True,
) -> ImpliedValue:  # fmt: skip
    """What a feed implies, in basis points."""
    return ImpliedValue(f"{venue}:{pair}", venue, bp * BP, sd * BP, prompt, traded)


@pytest.mark.parametrize(
    ("bp", "sd", "prompt", "refuted"),
    [
        (0.0, 3.0, True, True),
        (-40.0, 3.0, True, True),
        (-50.0, 3.0, True, False),  # half of it is no contradiction
        (60.0, 3.0, True, True),  # the other side is
        (0.0, 40.0, True, False),  # within its own noise
        (0.0, 3.0, False, False),  # too old to contradict
    ],
)
def test_refutation_has_numbers(bp: float, sd: float, *, prompt: bool, refuted: bool) -> None:
    """Less than half, beyond 30 bp and three of its standard deviations, and recent."""
    assert refutes(says("x", bp, sd=sd, prompt=prompt), -100.0 * BP, CONFIG) is refuted


def test_support_is_being_off_the_peg_to_the_same_side() -> None:
    """However far; beyond the noise; not to the other side."""
    assert supports(says("x", -30.0), -500.0 * BP, CONFIG)
    assert not supports(says("x", -10.0), -500.0 * BP, CONFIG)
    assert not supports(says("x", -30.0, sd=20.0), -500.0 * BP, CONFIG)
    assert not supports(says("x", 30.0), -500.0 * BP, CONFIG)


def test_who_trades_nothing_is_not_heard() -> None:
    """From a twentieth of the turnover on they are; where it is not stated, always."""
    deep = [says("k", -300.0, traded=1_000.0)]
    assert not outweighs([], deep, CONFIG)
    assert not outweighs([says("b", 0.0, traded=49.0)], deep, CONFIG)
    assert outweighs([says("b", 0.0, traded=50.0)], deep, CONFIG)
    assert outweighs([says("b", 0.0, traded=30.0), says("c", 0.0, traded=20.0)], deep, CONFIG)
    assert outweighs([says("b", 0.0, traded=None)], deep, CONFIG)


@pytest.mark.parametrize(
    ("feeds", "dislocated", "established", "cause"),
    [
        ([says("a", -90), says("b", -80)], NOBODY, False, Cause.ISSUER),
        ([says("a", -90), says("b", 0)], NOBODY, False, Cause.FEED),
        ([says("a", -90), says("b", 0, traded=1)], NOBODY, False, Cause.UNKNOWN),
        ([says("a", -90), says("b", 0, traded=1)], NOBODY, True, Cause.ISSUER),
        ([says("a", -90), says("b", 0)], NOBODY, True, Cause.FEED),
        ([says("a", -90)], NOBODY, False, Cause.UNKNOWN),
        ([says("a", -90), says("a", -80, pair="D/C"), says("b", 0)], frozenset("a"), False,
         Cause.VENUE),
        ([says("a", -90), says("b", -90)], frozenset("a"), False, Cause.UNKNOWN),
        ([says("a", -90), says("b", -80), says("c", 0), says("d", 0)], NOBODY, False,
         Cause.UNKNOWN),
    ],
)  # fmt: skip
def test_causes(
    feeds: list[ImpliedValue], dislocated: frozenset[str], *, established: bool, cause: Cause
) -> None:
    """Who agrees, who contradicts, and who is heard decide."""
    verdict = attribute_cause(-100.0 * BP, feeds, dislocated, CONFIG, established=established)
    assert verdict.cause is cause


def test_near_the_peg_there_is_no_cause_to_look_for() -> None:
    """Below 15 bp nothing is asked."""
    assert attribute_cause(-14.9 * BP, [says("a", -90)], NOBODY, CONFIG).cause is Cause.NONE
