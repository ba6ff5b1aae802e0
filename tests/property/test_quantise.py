"""The fast rounding to six digits equals the slow one bit for bit."""

from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from riskwatch.core.money import quantise, quantise_all

NEAR_HALVES = st.builds(
    lambda whole, off: (whole + 0.5 + off) / 1e6,
    st.integers(-(10**10), 10**10),
    st.sampled_from([0.0, 1e-9, -1e-9, 1e-7, -1e-7, 9e-6, -9e-6, 1.1e-5, -1.1e-5]),
)


@given(st.one_of(st.floats(), st.floats(-1e4, 1e4), NEAR_HALVES))
@example(-0.0)
@example(-1e-7)
@example(0.5e-6)
@example(1.5e-6)
@example(999.9999995)
@example(1e9 / 1e6)
def test_quantising_is_rounding_without_negative_zero(x: float) -> None:
    """It holds for every float: huge, tiny, halfway between digits, infinite and NaN."""
    expected = round(x, 6) + 0.0
    for got in (quantise(x), quantise_all({"x": x})["x"]):
        assert repr(got) == repr(expected)
        assert not math.isnan(x) or math.isnan(got)
