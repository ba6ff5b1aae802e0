"""The board: what it collects, what it leaves out, what stays bounded."""

from __future__ import annotations

from decimal import Decimal

import pytest

from riskwatch.core.enums import QualityIssue, State
from riskwatch.core.outputs import DataQualityResolved
from riskwatch.dashboard.board import LOG_LINES, SPARKS
from riskwatch.dashboard.formatting import sparkline
from tests.unit.dashboard import samples


def test_sums_count_holdings_once_and_debts_against() -> None:
    """Orders do not count, borrowed amounts are subtracted, unpriced ones are left out."""
    board = samples.board()
    board.apply(
        [
            samples.exposed("kraken", "USDC", "100"),
            samples.exposed("kraken", "USDC", "30", "borrowed"),
            samples.exposed("kraken", "USDC", "999", "open_order"),
            samples.exposed("coinbase", "USDC", "5"),
            samples.exposed("coinbase", "XYZ", None),
            samples.exposed("coinbase", "USDT", "7"),
        ]
    )
    assert board.holdings_usd("counterparty") == [
        ("kraken", Decimal(70)),
        ("coinbase", Decimal(12)),
    ]
    assert board.holdings_usd("asset") == [("USDC", Decimal(75)), ("USDT", Decimal(7))]
    assert board.holdings_usd("issuer") == [("circle", Decimal(75)), ("tether", Decimal(7))]


def test_a_row_is_replaced_and_closed_by_zero() -> None:
    """The last output of a key counts; an amount of zero removes it."""
    board = samples.board()
    board.apply([samples.exposed("kraken", "USDC", "100"), samples.exposed("kraken", "USDC", "60")])
    assert board.holdings_usd("asset") == [("USDC", Decimal(60))]
    board.apply([samples.exposed("kraken", "USDC", "0", amount="0")])
    assert board.holdings_usd("asset") == []


def test_log_tells_changes_of_state_and_nothing_else() -> None:
    """A decision is one line; its switch adds none, and neither does the same state again."""
    board = samples.board()
    lines = board.apply(samples.crisis())
    assert [(e.scope, e.change) for e in lines] == [
        ("asset:USDC", "NORMAL > WATCH"),
        ("asset:USDC", "WATCH > HALT"),
        ("asset:USDC", "ALERT"),
        ("binanceus:USDC/USDT", "DATA"),
    ]
    assert board.apply([samples.switched("asset:USDC", 20, State.HALT)]) == []
    same = samples.decided("asset:USDC", 21, State.HALT, State.HALT, "still")
    assert board.apply([same]) == []


def test_a_switch_that_turns_for_its_data_alone_is_told() -> None:
    """A change of the effective state without a decision is one line, with the reason."""
    board = samples.board()
    lines = board.apply([samples.switched("asset:DAI", 1, State.NORMAL, State.REDUCE)])
    assert [e.change for e in lines] == ["effective NORMAL > REDUCE"]
    assert board.state("asset:DAI") is State.REDUCE


def test_engaged_switches_come_strictest_first() -> None:
    """HALT comes before WATCH; NORMAL is not engaged."""
    board = samples.board()
    board.apply(
        [
            samples.switched("asset:A", 1, State.WATCH),
            samples.switched("asset:B", 1, State.NORMAL),
            samples.switched("firm", 1, State.HALT),
        ]
    )
    assert [s.scope for s in board.engaged_switches()] == ["firm", "asset:A"]


def test_one_score_per_target_a_model_with_a_say_before_the_rules() -> None:
    """A shadow model is not shown; without any other model the rules are shown."""
    board = samples.board()
    board.apply(
        [
            samples.scored("anchored", "shadow", 0.99),
            samples.scored("rules", "full", 0.2),
            samples.scored("adaptive", "advisory", 0.5),
            samples.scored("rules", "full", 0.4, target="slippage"),
        ]
    )
    shown = [(s.target, s.generation, s.probability) for s in board.top_scores(9)]
    assert shown == [("depeg", "adaptive", 0.5), ("slippage", "rules", 0.4)]
    assert len(board.top_scores(1)) == 1


def test_data_quality_issues_open_and_close() -> None:
    """A resolved issue is removed."""
    board = samples.board()
    board.apply(samples.crisis())
    assert [i.subject for i in board.issues.values()] == ["binanceus:USDC/USDT"]
    resolved = DataQualityResolved(
        **samples.head(20), issue=QualityIssue.FEED_SPIKE, subject="binanceus:USDC/USDT"
    )
    board.apply([resolved])
    assert board.issues == {}


def test_everything_that_grows_is_bounded() -> None:
    """A year of valuations and thousands of changes keep the board small."""
    board = samples.board()
    for hour in range(0, 24 * 365, 3):
        board.apply([samples.valued("USDC", hour, -float(hour % 50))])
        board.apply([samples.decided("firm", hour, State.NORMAL, State.WATCH, "again")])
    assert len(board.assets["USDC"].sparks) <= 2 * SPARKS
    assert len(board.log) == LOG_LINES


def test_progress_stays_between_zero_and_one() -> None:
    """Progress is valid before, within and after the window."""
    board = samples.board()
    seen = [board.progress]
    for hours in (-5, 38, 500):
        board.tick(samples.at(hours))
        seen.append(board.progress)
    assert seen == [0.0, 0.0, 0.5, 1.0]


@pytest.mark.parametrize("ascii_only", [True, False])
def test_sparkline_has_its_width_and_follows_the_samples(*, ascii_only: bool) -> None:
    """Lower values have lower bars; gaps repeat the last one; the newest is on the right."""
    drawn = sparkline({0: 0.0, 1: -500.0, 3: 0.0}, 3, 6, ascii_only=ascii_only)
    assert len(drawn) == 6
    assert drawn[:2] == "  "
    assert drawn[2] == drawn[5] != drawn[3] == drawn[4]
    assert drawn.isascii() is ascii_only
