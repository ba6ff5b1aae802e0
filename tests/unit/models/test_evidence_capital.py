"""Betting capital, time cells, the drift window and the reliability table."""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec
import pytest
from river import drift

from riskwatch.core.stage import encode_row
from riskwatch.models.adwin import JsonADWIN
from riskwatch.models.evidence import Capital, HorizonCells, ReliabilityTable, gains


@pytest.mark.parametrize(
    ("horizon", "every"), [(3600, 300), (60, 20), (61, 20), (5, 20), (9000, 7)]
)
def test_cells_of_one_process_share_no_horizon(horizon: int, every: int) -> None:
    """The next cell of a process begins when every label of its last cell is known."""
    cells = HorizonCells.of(horizon, every)
    ends: dict[int, tuple[int, int]] = {}
    for us in range(0, 8 * horizon, max(1, every // 4)):
        process, cell = cells.at(us)
        if process in ends and ends[process][0] != cell:
            assert us >= ends[process][1]
        ends[process] = (cell, us + horizon)


def test_one_cell_cannot_ruin_the_capital() -> None:
    """However many labels it has, one cell risks one nat, and half of the capital."""
    capital = Capital.fresh(1)
    for _ in range(50):
        gain, worst = gains(0.0001, 0.9, label=True)
        assert gain == worst < -9.0
        capital.bet((0, 0), gain, worst)
    assert capital.e_value >= 0.5


def test_a_late_label_is_not_bet_on() -> None:
    """A label of a closed cell is ignored."""
    capital = Capital.fresh(1)
    capital.bet((0, 5), *gains(0.9, 0.1, label=True))
    before = capital.e_value
    capital.bet((0, 4), *gains(0.9, 0.1, label=True))
    assert capital.e_value == before > 1.0


def test_capital_is_read_back_to_the_last_bit() -> None:
    """Stored and loaded in the middle of a cell, it continues bit for bit."""
    rng = random.Random(1)
    one = two = Capital.fresh(3)
    for n in range(300):
        bet = ((n // 2) % 3, n // 2), *gains(rng.random(), 0.3, label=rng.random() < 0.3)
        one.bet(*bet)
        if one is not two:
            two.bet(*bet)
        if n % 7 == 0:
            two = msgspec.json.decode(encode_row(two), type=Capital)
    assert encode_row(one) == encode_row(two)


def test_the_window_finds_what_rivers_finds() -> None:
    """A change of the mean is seen within a few observations of River's own detector."""
    for seed in range(10):
        rng = random.Random(seed)
        river: Any = drift.ADWIN(clock=1)  # type: ignore[no-untyped-call]
        ours = JsonADWIN()
        found: dict[str, int] = {}
        for n in range(1_000):
            x = min(1.0, max(0.0, rng.gauss(0.3 if n < 600 else 0.45, 0.1)))
            river.update(x)
            ours.update(x)
            if river.drift_detected:
                found.setdefault("river", n)
            if ours.rose:
                found.setdefault("ours", n)
            if n % 97 == 0:
                state = msgspec.json.decode(encode_row(ours.state()))
                ours.restore(state)
                assert ours.state() == state
        assert 600 <= found["ours"] <= 700
        assert abs(found["ours"] - found["river"]) <= 20


def test_the_window_stays_small() -> None:
    """Ten thousand observations take some dozens of buckets."""
    window = JsonADWIN()
    for n in range(10_000):
        window.update((n % 7) / 7.0)
    assert window.width == 10_000
    assert len(encode_row(window.state())) < 4_000


@pytest.mark.parametrize("state", [{"rows": []}, {"rows": [[[0.0, 0.0]] * 9]}])
def test_a_window_that_cannot_be_is_refused(state: dict[str, list[list[list[float]]]]) -> None:
    """A malformed state raises an error."""
    with pytest.raises(ValueError, match="a window has 1 to"):
        JsonADWIN().restore(state)


def test_the_parts_of_the_brier_score_add_up() -> None:
    """The Brier score is reliability - resolution + uncertainty + within."""
    rng = random.Random(4)
    table = ReliabilityTable()
    for _ in range(3_000):
        p = rng.random()
        table.add(p, label=rng.random() < p)
    parts = table.decomposition
    whole = parts.reliability - parts.resolution + parts.uncertainty + parts.within
    assert whole == pytest.approx(parts.brier, abs=1e-12)
    assert parts.reliability < 0.001
    assert abs(parts.within) < 0.005
    assert parts.resolution == pytest.approx(1.0 / 12.0, abs=0.01)
    assert table.labels == 3_000
    assert table.log_loss == pytest.approx(0.5, abs=0.03)


def test_gains_are_differences_of_log_loss() -> None:
    """They are in nats, for either label."""
    assert list(gains(0.8, 0.4, label=True)) == pytest.approx([math.log(2.0), -math.log(3.0)])
    assert gains(0.8, 0.4, label=False)[0] == pytest.approx(-math.log(3.0))
