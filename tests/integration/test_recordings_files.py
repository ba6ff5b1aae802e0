"""Real files of accounts and pools, read by `riskwatch import` and checked against themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from riskwatch.core.events import Quote
from riskwatch.feeds.file_import import wrong_balances
from tests.support.files import import_path

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.recordings


def present(path: Path) -> Path:
    """Return a recording, or skip the test with the reason."""
    if not path.exists():
        pytest.skip(f"no recording: {path}")
    return path


def test_a_real_wallet_history_gives_the_venues_balance_at_every_time(recordings: Path) -> None:
    """After each time and currency the sum of the entries is what the venue states, to the unit."""
    path = recordings / "accounts" / "bitmex_wallet_history_2020_2022.csv.gz"
    made = import_path(present(path), account="main")
    assert made.shape == "bitmex-wallet"
    assert (made.report.tally.read, made.report.tally.used) == (3_639, 3_638)
    checked = {place[2]: wrong_balances(lines) for place, lines in made.report.stated.items()}
    assert {asset: wrong for asset, (_, wrong) in checked.items()} == {
        "XBt": 0, "USDt": 0, "BMEx": 0,
    }  # fmt: skip
    assert checked["XBt"][0] > 900
    assert made.held == made.stated


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("Kraken/GetLedgerInfo", "kraken-ledger"),
        ("Kraken/GetUserTradeDetails", "kraken-trades"),
        ("Coinbase/GetUserTrades", "coinbase-fills"),
        ("Binance/GetUserTrades", "binance-trades"),
        ("OKX/GetBillHistory", "okx-bills"),
        ("OKX/GetFundingBillDetails", "okx-bills"),
        ("Bybit/GetTransactionHistory", "bybit-log"),
    ],
)
def test_answers_of_venues_are_recognised(recordings: Path, name: str, shape: str) -> None:
    """Each with all of its records, although lines stand before the JSON."""
    path = recordings / "accounts" / "api_shapes" / f"{name}.txt"
    made = import_path(present(path), account="main")
    assert made.shape == shape
    assert made.report.tally.used == made.report.tally.read > 0
    assert {place: made.held[place] for place in made.stated} == made.stated


def test_a_pool_shows_the_coin_that_people_leave(recordings: Path) -> None:
    """UST in the pool of four coins costs less and less from 7 to 9 May 2022."""
    path = recordings / "pool_balances_hourly" / "pool_curve_4pool_FRAX-UST-USDC-USDT.csv"
    made = import_path(present(path), venue="curve", base="UST", quote="USDC", amplification="1000")
    assert made.report.tally.used == made.report.tally.read == 340
    prices = {q.ts.date().isoformat(): q.last for q in made.of(Quote)}
    assert prices["2022-05-06"] > prices["2022-05-08"] > prices["2022-05-10"]
