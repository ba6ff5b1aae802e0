"""The probability of default: its parts, what a score implies, and its log-odds."""

from __future__ import annotations

from math import fsum, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskwatch.core.risk.config import ScorePd
from riskwatch.core.risk.default_probability import PdParts, explain_pd, implied_pd

SHARES = st.floats(0.0, 1.0)
LAWS = st.one_of(
    st.builds(ScorePd, half_odds=st.floats(0.001, 10_000.0)),
    st.builds(ScorePd, loss=st.floats(0.001, 1.0)),
)


@given(SHARES, SHARES, LAWS, SHARES)
def test_it_grows_with_the_score(one: float, other: float, law: ScorePd, lgd: float) -> None:
    """A higher probability never implies a lower PD, and no PD leaves 0..1."""
    low, high = sorted((one, other))
    assert 0.0 <= implied_pd(low, law, lgd) <= implied_pd(high, law, lgd) <= 1.0


@given(SHARES, SHARES, SHARES, SHARES)
def test_no_part_lowers_another(rating: float, news: float, market: float, told: float) -> None:
    """The PD is never below that of the rating, and is the largest part."""
    parts = PdParts(rating, news, market, told)
    assert parts.total >= rating
    assert parts.total in (rating, news, market, told)


@given(SHARES, SHARES, SHARES, SHARES)
def test_the_parts_add_up_to_the_log_odds(
    rating: float, news: float, market: float, told: float
) -> None:
    """What the parts add is the log-odds of the PD; none but the rating's is negative."""
    parts = PdParts(rating, news, market, told)
    _, added = explain_pd(parts)
    pd = min(1.0 - 1e-9, max(1e-9, parts.total))
    assert fsum(added.values()) == pytest.approx(log(pd / (1.0 - pd)), abs=1e-5)
    assert all(part >= 0.0 for name, part in added.items() if name != "pd_rating")


def test_worked_values() -> None:
    """Odds equal to `half_odds` are one half; half a chance of 5 % at an LGD of 0.25 is 0.1."""
    assert implied_pd(64.0 / 65.0, ScorePd(half_odds=64.0), 0.8) == pytest.approx(0.5)
    assert implied_pd(0.5, ScorePd(loss=0.05), 0.25) == pytest.approx(0.1)
    assert implied_pd(1.0, ScorePd(loss=0.5), 0.0) == 0.0
