"""Baselines: volatility is taken up in time, a bleed never, and every freeze ends."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskwatch.core.clock import DAY, HOUR, MINUTE
from riskwatch.core.risk.baseline import Baseline, BaselineConfig
from riskwatch.core.stage import encode_row

if TYPE_CHECKING:
    from collections.abc import Iterable

CONFIG = BaselineConfig()
HALF = int(CONFIG.scale_half_life_s) // 60
"""The stated half-life of the scale, minutes."""


def run(
    values: Iterable[float], base: Baseline | None = None, *, alarmed: bool = False, start: int = 0
) -> Baseline:
    """Return a baseline after one value a minute."""
    base = base or Baseline(0, 0.0, 0.0, 2.0)
    for minute, value in enumerate(values, start + 1):
        base.update(
            value,
            minute * MINUTE,
            CONFIG,
            half_life_s=CONFIG.location_half_life_s,
            alarmed=alarmed,
            bound=CONFIG.par_bp,
        )
    return base


def noise(sd: float, minutes: int, seed: int = 1) -> list[float]:
    """Return independent values of a standard deviation."""
    rng = random.Random(seed)
    return [rng.gauss(0.0, sd) for _ in range(minutes)]


@pytest.mark.parametrize("alarmed", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_tenfold_volatility_is_taken_up_within_the_half_life(seed: int, alarmed: bool) -> None:
    """At least half within one half-life, nearly all within the day, and back afterwards."""
    calm = run(noise(2.0, 4 * HALF, seed))
    assert calm.scale == pytest.approx(2.0, rel=0.2)
    half = run(noise(20.0, HALF, seed + 9), calm, alarmed=alarmed, start=4 * HALF)
    assert half.scale >= 11.0
    day = run(noise(20.0, 3 * HALF, seed + 19), half, alarmed=alarmed, start=5 * HALF)
    assert day.scale == pytest.approx(20.0, rel=0.15)
    assert abs(day.location) <= CONFIG.par_bp
    after = run(noise(2.0, 5 * HALF, seed + 29), day, start=8 * HALF)
    assert after.scale <= 3.0


def test_a_bleed_does_not_widen_the_scale() -> None:
    """Two basis points an hour for two days: the level follows, the scale stays a few bp."""
    calm = run(noise(1.0, 4 * HALF))
    bleed = [x - minute / 30.0 for minute, x in enumerate(noise(1.0, 48 * 60, 2))]
    base = run(bleed, calm, start=4 * HALF)
    assert base.level == pytest.approx(-96.0, abs=8.0)
    assert base.scale <= 5.0
    assert base.location >= -CONFIG.par_bp


def sunk(base: Baseline) -> float:
    """Return how far the level is below the location."""
    return base.location - base.level


def test_a_frozen_location_stands_still_and_a_free_one_follows() -> None:
    """No bound is set, so that only the freeze holds the location."""
    free, frozen = Baseline(0, 0.0, 0.0, 2.0), Baseline(0, 0.0, 0.0, 2.0)
    for minute in range(1, 49 * 60):
        for base, alarmed in ((free, False), (frozen, minute > 60)):
            base.update(
                -minute / 30.0, minute * MINUTE, CONFIG, half_life_s=43_200.0, alarmed=alarmed
            )
    assert frozen.location == pytest.approx(0.0, abs=0.1)
    assert sunk(frozen) == pytest.approx(95.0, abs=5.0)
    assert sunk(free) < 0.4 * sunk(frozen)


def test_the_longest_freeze_ends() -> None:
    """After the longest freeze the location adapts, also at WATCH."""
    base = Baseline(0, 0.0, 0.0, 2.0)
    longest = int(CONFIG.freeze_max_s // 600)
    marks = {}
    for step in range(1, longest + 14 * 144):
        base.update(-8.0, step * 10 * MINUTE, CONFIG, half_life_s=86_400.0, alarmed=True)
        marks[step] = base.location
    assert marks[longest] == 0.0
    assert marks[longest + 144 + 2] == pytest.approx(-4.0, abs=0.1)
    assert base.location == pytest.approx(-8.0, abs=0.1)


def test_turmoil_excuses_nothing_while_the_location_stands_still() -> None:
    """The scale adapts, but comparisons use at most the scale at the start of the freeze."""
    calm = run(noise(2.0, 4 * HALF))
    wild = run(noise(40.0, HALF), calm, alarmed=True, start=4 * HALF)
    assert wild.scale > 10.0
    assert wild.current_scale() == wild.held < 3.0
    free = run(noise(40.0, 1), wild, start=5 * HALF)
    assert (free.frozen, free.current_scale()) == (-1, free.scale)


def test_one_bad_print_is_next_to_nothing() -> None:
    """One print has little effect; after a gap it counts for a quarter of an hour only."""
    base = run(noise(1.0, 600))
    before = msgspec.structs.replace(base)
    base.update(-9_000.0, 2 * DAY, CONFIG, half_life_s=86_400.0, alarmed=False)
    assert abs(base.level - before.level) < 2.0 * before.scale
    assert abs(base.location - before.location) < 0.1
    assert base.scale < 1.2 * before.scale


def test_the_past_teaches_nothing() -> None:
    """An observation not newer than the last changes no bit."""
    base = run([1.0, 2.0])
    before = msgspec.structs.replace(base)
    base.update(50.0, 2 * MINUTE, CONFIG, half_life_s=1.0, alarmed=True)
    assert base == before


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1e9, 1e9), st.integers(1, 3 * HOUR), st.booleans()), min_size=2),
    st.integers(0, 50),
)
def test_whatever_comes_it_stays_sane_and_survives_storage(
    seen: list[tuple[float, int, bool]], cut: int
) -> None:
    """Values stay finite and bounded, and a restart anywhere changes no bit."""
    whole = broken = Baseline(0, 0.0, 0.0, 5.0)
    us = 0
    for n, (value, passed, alarmed) in enumerate(seen):
        us += passed
        if n == cut:
            broken = msgspec.json.decode(encode_row(whole), type=Baseline)
        for base in [whole] if broken is whole else [whole, broken]:
            base.update(value, us, CONFIG, half_life_s=600.0, alarmed=alarmed, bound=5.0)
    assert broken == whole
    assert abs(whole.location) <= 5.0
    assert 0.0 < whole.scale < float("inf")
