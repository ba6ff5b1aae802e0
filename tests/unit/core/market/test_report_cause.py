"""Support, refutation and weight of feeds, and the attribution of a cause."""

from __future__ import annotations

import pytest

from riskwatch.core.enums import Cause
from riskwatch.core.market.config import MarketConfig
from riskwatch.core.market.report import ImpliedValue, attribute_cause, outweighs, refutes, supports
from riskwatch.core.market.state import BP

CONFIG = MarketConfig()
NOBODY: frozenset[str] = frozenset()


def feed(
    venue: str, bp: float, *, pair: str = "C/USD", sd: float = 3.0, traded: float | None = 100.0,
    prompt: bool = True,
) -> ImpliedValue:  # fmt: skip
    """Return the value that a feed implies, given in basis points."""
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
    """It must imply less than half, differ by 30 bp and three deviations, and be recent."""
    assert refutes(feed("x", bp, sd=sd, prompt=prompt), -100.0 * BP, CONFIG) is refuted


def test_support_is_being_off_the_peg_to_the_same_side() -> None:
    """The size does not matter; it must exceed the noise on the same side."""
    assert supports(feed("x", -30.0), -500.0 * BP, CONFIG)
    assert not supports(feed("x", -10.0), -500.0 * BP, CONFIG)
    assert not supports(feed("x", -30.0, sd=20.0), -500.0 * BP, CONFIG)
    assert not supports(feed("x", 30.0), -500.0 * BP, CONFIG)


def test_who_trades_nothing_is_not_heard() -> None:
    """Refuting feeds count from a twentieth of the turnover on, or if it is not stated."""
    deep = [feed("k", -300.0, traded=1_000.0)]
    assert not outweighs([], deep, CONFIG)
    assert not outweighs([feed("b", 0.0, traded=49.0)], deep, CONFIG)
    assert outweighs([feed("b", 0.0, traded=50.0)], deep, CONFIG)
    assert outweighs([feed("b", 0.0, traded=30.0), feed("c", 0.0, traded=20.0)], deep, CONFIG)
    assert outweighs([feed("b", 0.0, traded=None)], deep, CONFIG)


@pytest.mark.parametrize(
    ("feeds", "dislocated", "established", "cause"),
    [
        ([feed("a", -90), feed("b", -80)], NOBODY, False, Cause.ISSUER),
        ([feed("a", -90), feed("b", 0)], NOBODY, False, Cause.FEED),
        ([feed("a", -90), feed("b", 0, traded=1)], NOBODY, False, Cause.UNKNOWN),
        ([feed("a", -90), feed("b", 0, traded=1)], NOBODY, True, Cause.ISSUER),
        ([feed("a", -90), feed("b", 0)], NOBODY, True, Cause.FEED),
        ([feed("a", -90)], NOBODY, False, Cause.UNKNOWN),
        ([feed("a", -90), feed("a", -80, pair="D/C"), feed("b", 0)], frozenset("a"), False,
         Cause.VENUE),
        ([feed("a", -90), feed("b", -90)], frozenset("a"), False, Cause.UNKNOWN),
        ([feed("a", -90), feed("b", -80), feed("c", 0), feed("d", 0)], NOBODY, False,
         Cause.UNKNOWN),
    ],
)  # fmt: skip
def test_causes(
    feeds: list[ImpliedValue], dislocated: frozenset[str], *, established: bool, cause: Cause
) -> None:
    """Supporting feeds, refuting feeds and their turnover decide."""
    verdict = attribute_cause(-100.0 * BP, feeds, dislocated, CONFIG, established=established)
    assert verdict.cause is cause


def test_near_the_peg_there_is_no_cause_to_look_for() -> None:
    """Below 15 bp no cause is attributed."""
    assert attribute_cause(-14.9 * BP, [feed("a", -90)], NOBODY, CONFIG).cause is Cause.NONE
