"""Cases of movements: transfers, fees, funding, airdrops and loans, as reported and rewritten."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from tests.support.cases import Replayed, case, rewritten

if TYPE_CHECKING:
    from pathlib import Path

HELD = "SELECT counterparty, component, amount FROM exposure_now WHERE asset = '{}' ORDER BY 1, 2"
ISSUES = "SELECT issue, subject FROM data_quality WHERE issue = '{}' AND resolved_ts IS NULL"
LINKS = "SELECT transfer_id, status, linked_by FROM transfer_now ORDER BY transfer_id"


def held(seen: Replayed, asset: str) -> dict[str, Decimal]:
    """Amounts of an asset by counterparty and component."""
    return {f"{at} {part}": Decimal(n) for at, part, n in seen.rows(HELD.format(asset))}


@pytest.mark.parametrize(("minute", "way"), [(4, 100_000), (8, 100_000), (20, 0)])
def test_a_transfer_between_venues_counts_once(tmp_path: Path, minute: int, way: int) -> None:
    """As reported: 500,000 in total while it is under way and afterwards, by an assumed link."""
    until = datetime(2024, 5, 6, 10, minute, 30, tzinfo=UTC)
    seen = Replayed(tmp_path, case("transfer_between_venues"), until=until)
    found = held(seen, "USDC")
    assert sum(found.values()) == 500_000
    assert sum(n for name, n in found.items() if "in_transit" in name) == way
    assert {by for _, _, by in seen.rows(LINKS)} == {"assumed"}


def test_a_transaction_links_both_venues(tmp_path: Path) -> None:
    """Rewritten with the transaction: the same, and nothing is assumed."""
    seen = Replayed(tmp_path, rewritten("transfer_between_venues"))
    assert held(seen, "USDC") == {"coinbase custody": 100_000, "kraken custody": 400_000}
    assert seen.rows(LINKS) == [("D-9", "arrived", "tx_id"), ("W-1", "arrived", "tx_id")]


def test_a_transfer_without_a_wallet_reaches_the_wallet_that_is_stated(tmp_path: Path) -> None:
    """As reported: only margin is stated, so the deposit is a part of it, and no break."""
    seen = Replayed(tmp_path, case("transfer_into_margin_wallet"))
    assert sum(held(seen, "USDT").values()) == 100_000
    assert seen.rows(ISSUES.format("RECONCILIATION_BREAK")) == []


def test_one_event_moves_money_between_wallets(tmp_path: Path) -> None:
    """Rewritten with wallets: 50,000 in each, and no break."""
    seen = Replayed(tmp_path, rewritten("transfer_into_margin_wallet"))
    rows = seen.rows("SELECT wallet, amount FROM exposure_now WHERE asset = 'USDT' ORDER BY 1")
    assert [(wallet, Decimal(n)) for wallet, n in rows] == [
        ("futures", Decimal(50_000)),
        ("spot", Decimal(50_000)),
    ]
    assert seen.rows(ISSUES.format("RECONCILIATION_BREAK")) == []


def test_payments_that_nothing_states_are_breaks(tmp_path: Path) -> None:
    """As reported: a balance that changed without a fact is told, with the difference."""
    until = datetime(2024, 5, 6, 18, 30, tzinfo=UTC)
    seen = Replayed(tmp_path, case("funding_payments"), until=until)
    [(detail,)] = seen.rows("SELECT detail FROM data_quality WHERE issue = 'RECONCILIATION_BREAK'")
    assert "difference=120" in detail


def test_a_fee_that_is_not_stated_is_a_break(tmp_path: Path) -> None:
    """As reported: the missing fee opens a break."""
    seen = Replayed(tmp_path, case("withdrawal_fee"))
    assert len(seen.rows(ISSUES.format("RECONCILIATION_BREAK"))) == 1


def test_a_stated_fee_explains_the_balance(tmp_path: Path) -> None:
    """Rewritten with the fee: 8.9995 BTC, and no break."""
    seen = Replayed(tmp_path, rewritten("withdrawal_fee"))
    assert held(seen, "BTC") == {"kraken custody": Decimal("8.9995")}
    assert seen.rows(ISSUES.format("RECONCILIATION_BREAK")) == []


def test_funding_explains_the_balances(tmp_path: Path) -> None:
    """Rewritten with an adjustment per payment: the balance is right, and no break ever opened."""
    seen = Replayed(tmp_path, rewritten("funding_payments"))
    assert held(seen, "USDT") == {"binance custody": 1_000_360}
    found = seen.rows("SELECT issue FROM data_quality WHERE cause = 'counterparty'")
    assert found == []


def test_an_airdrop_is_no_break(tmp_path: Path) -> None:
    """Rewritten with an adjustment: nothing is unexplained."""
    seen = Replayed(tmp_path, rewritten("airdrop"))
    assert held(seen, "SCAM") == {"kraken custody": 1_000_000_000}
    assert seen.rows(ISSUES.format("ADJUSTMENT_UNEXPLAINED")) == []
    assert seen.rows(ISSUES.format("RECONCILIATION_BREAK")) == []


def test_a_loan_past_its_due_time_is_told(tmp_path: Path) -> None:
    """As reported: told from the due time on."""
    until = datetime(2024, 5, 6, 10, 40, tzinfo=UTC)
    seen = Replayed(tmp_path, case("loan_overdue"), until=until)
    assert seen.rows(ISSUES.format("LOAN_OVERDUE")) == [("LOAN_OVERDUE", "genesis/L1")]


def test_a_repaid_loan_is_no_longer_told(tmp_path: Path) -> None:
    """Rewritten with the repayment an hour later: the issue was open, and is resolved."""
    seen = Replayed(tmp_path, rewritten("loan_overdue"))
    assert seen.rows(ISSUES.format("LOAN_OVERDUE")) == []
    assert seen.rows("SELECT raised FROM data_quality WHERE issue = 'LOAN_OVERDUE'") == [(1,)]
