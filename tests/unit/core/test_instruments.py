"""Tests of what derivative positions are worth, by values that are worked out by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import pytest

from riskwatch.core.instruments import PositionValue, value_position
from riskwatch.core.readings import OpenPosition

NUMBERS: Final = ("entry_price", "mark_price", "unrealized_pnl", "delta", "option_value")
PRICES: Final = {"BTC": 30_000.0, "ETH": 2_000.0, "USD": 1.0, "USDT": 0.98}


def worth(qty: str, *, base: str = "BTC", quote: str = "USD", **fields: Any) -> PositionValue:
    """Return what a position is worth at the prices above."""
    stated: dict[str, Any] = {
        name: Decimal(v) if name in NUMBERS else v for name, v in fields.items()
    }
    prices: dict[str, Any] = {"entry_price": None, "mark_price": None, "liquidation_price": None}
    position = OpenPosition("arb", "main", "I", base, quote, Decimal(qty), **{**prices, **stated})
    return value_position(position, PRICES.get)


def test_a_linear_position_earns_its_size_times_the_move() -> None:
    """Two coins short from 31,000 earn 2,000 dollars at 30,000."""
    found = worth("-2", entry_price="31000")
    assert (found.notional_usd, found.delta, found.delta_usd) == (-60_000.0, -2.0, -60_000.0)
    assert (found.pnl, found.pnl_usd, found.settle) == (2_000.0, 2_000.0, "USD")


def test_a_linear_position_in_a_coin_below_its_peg_is_judged_by_the_coin() -> None:
    """The mark is in units of the quote, and the profit is worth what the quote is worth."""
    found = worth("1", quote="USDT", entry_price="30000")
    assert found.mark == pytest.approx(30_000 / 0.98)
    assert found.pnl_usd == pytest.approx((30_000 / 0.98 - 30_000) * 0.98)


def test_an_inverse_position_loses_coins() -> None:
    """One million long from 60,000 has lost half of its 33.33 coins at 30,000."""
    found = worth("1000000", form="inverse", entry_price="60000")
    assert found.delta == pytest.approx(33.3333, abs=1e-4)
    assert found.pnl == pytest.approx(-16.6667, abs=1e-4)
    assert (found.delta or 0) + (found.pnl or 0) == pytest.approx(16.6667, abs=1e-4)
    assert (found.notional_usd, found.settle) == (1_000_000.0, "BTC")


def test_a_short_inverse_position_on_its_own_collateral_is_flat() -> None:
    """One coin as collateral, and one coin short at the price of now: the deltas cancel."""
    assert worth("-30000", form="inverse", entry_price="30000").delta == pytest.approx(-1.0)


def test_a_quanto_moves_with_both_prices() -> None:
    """0.000001 BTC per point and contract: 1,000 contracts at 2,000 are 2 BTC."""
    found = worth("0.001", base="ETH", form="quanto", settle="BTC", entry_price="1900")
    assert found.notional_usd == pytest.approx(0.001 * 2_000 * 30_000)
    assert found.pnl == pytest.approx(0.1)
    assert found.pnl_usd == pytest.approx(3_000)
    assert found.delta == pytest.approx(30.0)


def test_an_option_counts_by_its_delta() -> None:
    """Ten calls with a delta of four coins are an exposure of four coins, and a claim."""
    found = worth("10", kind="option", form="inverse", delta="4", option_value="0.5")
    assert (found.exposure_usd, found.notional_usd) == (120_000.0, 300_000.0)
    assert found.option_usd == 15_000.0


def test_an_option_without_a_delta_counts_whole() -> None:
    """What is not known makes the answer more careful."""
    found = worth("-10", kind="option", option_value="100")
    assert found.delta is None
    assert (found.exposure_usd, found.option_usd) == (-300_000.0, -100.0)


def test_a_premium_adjusted_delta_leaves_out_the_coins_of_the_option() -> None:
    """With the coins that the option is worth it is the delta in dollars."""
    stated = {"kind": "option", "form": "inverse", "option_value": "0.5"}
    adjusted = worth("10", delta="3.5", delta_convention="premium_adjusted", **stated)
    assert adjusted.delta == worth("10", delta="4", **stated).delta


def test_its_own_mark_counts_where_no_quote_does() -> None:
    """A coin that nobody quotes is worth what the position says."""
    found = worth("3", base="XYZ", mark_price="5", entry_price="4")
    assert (found.by, found.notional_usd, found.pnl_usd) == ("mark", 15.0, 3.0)
    nothing = worth("3", base="XYZ")
    assert (nothing.by, nothing.notional_usd, nothing.delta, nothing.pnl) == ("", None, None, None)


def test_the_mark_of_an_option_is_no_price_of_its_base() -> None:
    """A premium of five dollars does not make the coin worth five dollars."""
    found = worth("3", base="XYZ", kind="option", mark_price="5")
    assert (found.by, found.notional_usd) == ("", None)


def test_a_stated_profit_stands_where_there_is_no_entry() -> None:
    """The venue's word is better than none."""
    assert worth("1", unrealized_pnl="-12.5").pnl_usd == -12.5


def test_a_contract_keeps_its_distance_from_its_base() -> None:
    """A future at two percent above the coin stays there while the coin moves."""
    position = OpenPosition(
        "arb", "main", "F", "BTC", "USD", Decimal(1), Decimal(30_600), None, None
    )
    assert value_position(position, PRICES.get, 1.02).pnl == pytest.approx(0.0)
