"""Cases of accounts: what the venue says of one is what we have there, however books share it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from tests.support.cases import Replayed, case, rewritten

if TYPE_CHECKING:
    from pathlib import Path

HELD = (
    "SELECT asset, amount FROM exposure_now WHERE component IN ('custody', 'margin') "
    "ORDER BY asset, book, account, wallet"
)
OPEN = "SELECT issue, subject FROM data_quality WHERE resolved_ts IS NULL ORDER BY issue, subject"
EVER = "SELECT issue, subject FROM data_quality ORDER BY issue, subject"
LETTERS = "SELECT reason FROM dead_letter"


def held(seen: Replayed, query: str = HELD) -> dict[str, Decimal]:
    """Return what is held by asset, summed over books, accounts and wallets."""
    sums: dict[str, Decimal] = {}
    for asset, amount in seen.rows(query):
        sums[asset] = sums.get(asset, Decimal(0)) + Decimal(amount)
    return sums


def issues(seen: Replayed, name: str, query: str = EVER) -> list[str]:
    """Return the subjects of the issues of one name."""
    return [subject for issue, subject in seen.rows(query) if issue == name]


def path_of(name: str, form: str) -> Path:
    """Return the file of a case as it was reported, or as it is rewritten."""
    return case(name) if form == "reported" else rewritten(name)


@pytest.mark.parametrize("form", ["reported", "rewritten"])
def test_books_that_share_an_account_are_not_counted_twice(form: str, tmp_path: Path) -> None:
    """The sum is the venue's word, the limits see it once, and no break is told."""
    seen = Replayed(tmp_path, path_of("books_share_account", form))
    assert held(seen) == {"BTC": Decimal(13), "USD": Decimal(820_000)}
    assert issues(seen, "RECONCILIATION_BREAK") == []
    (used,) = seen.rows(
        "SELECT used_usd FROM limit_utilisation WHERE scope = 'counterparty:kraken'"
    )
    prices = dict(seen.rows("SELECT asset, price_usd FROM asset_now"))
    assert float(used[0]) == pytest.approx(820_000 + 13 * prices["BTC"], rel=1e-3)


def test_two_legs_of_one_instrument_need_a_side(tmp_path: Path) -> None:
    """Without a side the second leg is a dead letter that says so, each time."""
    seen = Replayed(tmp_path, case("hedge_mode"))
    reasons = {(reason, "need a side" in detail) for reason, detail in seen.rows(
        "SELECT reason, detail FROM dead_letter"
    )}  # fmt: skip
    assert reasons == {("FACT_CONFLICT", True)}


def test_long_and_short_are_two_positions(tmp_path: Path) -> None:
    """With a side each leg is a row of its own."""
    seen = Replayed(tmp_path, rewritten("hedge_mode"))
    rows = seen.rows("SELECT side, wallet, qty FROM position ORDER BY side")
    assert [(side, wallet, Decimal(qty)) for side, wallet, qty in rows] == [
        ("long", "um", Decimal(10)),
        ("short", "um", Decimal(-8)),
    ]
    assert seen.rows(LETTERS) == []


def test_what_a_complete_snapshot_does_not_list_is_gone(tmp_path: Path) -> None:
    """The coin, less than a twentieth of the equity, goes at once, and the break is told."""
    seen = Replayed(tmp_path, rewritten("omitted_asset_snapshot"))
    assert held(seen) == {"USDC": Decimal(700_000)}
    assert "kraken/arb/main/BTC/custody" in issues(seen, "RECONCILIATION_BREAK")
    assert issues(seen, "SNAPSHOT_PENDING", EVER) == []


def test_a_snapshot_that_lists_less_is_not_the_whole_account(tmp_path: Path) -> None:
    """Without the word that it is complete, the coin stays: the break of the other one is told."""
    seen = Replayed(tmp_path, case("omitted_asset_snapshot"))
    assert held(seen)["BTC"] == 10
    assert issues(seen, "RECONCILIATION_BREAK") == ["kraken/arb/main/USDC/custody"]


def test_an_opening_that_nothing_states_is_told_and_is_no_claim(tmp_path: Path) -> None:
    """The venue does not owe us minus money: the claim is the coin that was bought."""
    seen = Replayed(tmp_path, case("fills_only_no_opening"))
    assert issues(seen, "OPENING_UNKNOWN", OPEN) == ["binance/main/USDT"]
    (used,) = seen.rows("SELECT used_usd FROM limit_utilisation WHERE limit_id = 'firm'")
    assert Decimal(used[0]) == pytest.approx(Decimal(600_000), rel=Decimal("0.01"))


def test_an_opening_balance_explains_the_fills(tmp_path: Path) -> None:
    """With one, what is left is exact, and nothing is told."""
    seen = Replayed(tmp_path, rewritten("fills_only_no_opening"))
    assert held(seen) == {"BTC": Decimal(10), "USDT": Decimal(100_000)}
    assert issues(seen, "OPENING_UNKNOWN") == []


@pytest.mark.parametrize("form", ["reported", "rewritten"])
def test_a_flat_position_with_prices_of_zero_is_closed(form: str, tmp_path: Path) -> None:
    """A price of zero is none, and the message is taken."""
    seen = Replayed(tmp_path, path_of("flat_position_zero_prices", form))
    assert seen.rows("SELECT qty FROM position") == []
    assert seen.rows(LETTERS) == []


@pytest.mark.parametrize("form", ["reported", "rewritten"])
def test_a_transfer_into_a_margin_wallet_moves(form: str, tmp_path: Path) -> None:
    """Both wallets together hold what the spot wallet held alone."""
    seen = Replayed(tmp_path, path_of("transfer_into_margin_wallet", form))
    assert held(seen) == {"USDT": Decimal(100_000)}


def test_an_empty_answer_is_not_an_empty_account(tmp_path: Path) -> None:
    """One snapshot of nothing changes no limit: it waits, and is told."""
    seen = Replayed(tmp_path, case("risk/empty"))
    assert held(seen) == {"BTC": Decimal(50)}
    assert issues(seen, "SNAPSHOT_PENDING", OPEN) == ["kraken/main/BTC"]


def test_a_second_snapshot_confirms_the_first(tmp_path: Path) -> None:
    """What is right again was never gone; what a second one takes away is gone."""
    (tmp_path / "early").mkdir()
    early = Replayed(
        tmp_path / "early", rewritten("empty"), until=datetime(2024, 5, 6, 10, 25, tzinfo=UTC)
    )
    assert held(early) == {"BTC": Decimal(50)}
    assert issues(early, "SNAPSHOT_PENDING", OPEN) == []
    seen = Replayed(tmp_path, rewritten("empty"))
    assert held(seen) == {}
