"""Cases of executions: trades heard twice, ids that return, corrections, prices of zero."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from tests.support.cases import Replayed, case, rewritten

if TYPE_CHECKING:
    from pathlib import Path

HELD = "SELECT asset, amount FROM exposure_now WHERE component = 'custody' ORDER BY asset"
ISSUES = "SELECT issue, subject, detail FROM data_quality WHERE issue LIKE '%TRADE%' ORDER BY 1, 2"
LETTERS = "SELECT reason, detail FROM dead_letter ORDER BY position"


def held(seen: Replayed) -> dict[str, Decimal]:
    """Return the amounts in custody that are not zero, by asset."""
    return {asset: Decimal(amount) for asset, amount in seen.rows(HELD) if Decimal(amount)}


def test_one_trade_of_two_sources_without_a_trade_id_is_told(tmp_path: Path) -> None:
    """Both count, and people are told which two fills are equal and what is missing."""
    seen = Replayed(tmp_path, case("same_trade_two_sources"))
    assert held(seen)["BTC"] == 2
    [(issue, subject, detail)] = seen.rows(ISSUES)
    assert (issue, subject) == ("TRADE_TWICE", "account:binance/main")
    assert "trade_id" in detail
    assert "binance-rest/T1 equals binance-ws/T1" in detail


def test_one_trade_of_two_sources_counts_once(tmp_path: Path) -> None:
    """With a trade id there is 1 BTC, less the fee that only the second source states."""
    seen = Replayed(tmp_path, rewritten("same_trade_two_sources"))
    assert held(seen) == {"BTC": Decimal("0.999"), "USDT": Decimal(-60_000)}
    assert seen.rows(ISSUES) == seen.rows(LETTERS) == []


def test_an_id_that_returns_for_another_symbol_is_refused_loudly(tmp_path: Path) -> None:
    """As event ids, trade ids of two symbols are a conflict: a dead letter and an issue."""
    seen = Replayed(tmp_path, case("trade_id_per_symbol"))
    [(reason, detail)] = seen.rows(LETTERS)
    assert reason == "FACT_CONFLICT"
    assert "28457" in detail
    assert seen.rows("SELECT issue FROM data_quality WHERE issue = 'IDENTITY_REUSED'")


def test_ids_that_are_unique_per_symbol_are_two_trades(tmp_path: Path) -> None:
    """With `trade_id` both trades count."""
    seen = Replayed(tmp_path, rewritten("trade_id_per_symbol"))
    assert held(seen) == {"BTC": 1, "ETH": 100, "USDT": -360_000}
    assert seen.rows(LETTERS) == []


def test_busts_of_other_trades_move_nothing_and_are_told(tmp_path: Path) -> None:
    """A bust that restates ten times the quantity is a dead letter; one of no trade is an issue."""
    seen = Replayed(tmp_path, case("bust_unknown_fill"))
    assert held(seen) == {"BTC": 1, "USD": -60_000}
    [(reason, detail)] = seen.rows(LETTERS)
    assert reason == "FACT_CONFLICT"
    assert "qty=10" in detail
    assert "qty=1 " in detail
    told = {issue: detail for issue, _, detail in seen.rows(ISSUES)}
    assert sorted(told) == ["TRADE_CONFLICT", "TRADE_UNKNOWN"]
    assert "NEVER-SEEN" in told["TRADE_UNKNOWN"]


def test_a_trade_is_amended_by_its_id(tmp_path: Path) -> None:
    """The wrong bust and that of no trade move nothing; the amendment makes it 0.9 at 60,001."""
    seen = Replayed(tmp_path, rewritten("bust_unknown_fill"))
    assert held(seen) == {"BTC": Decimal("0.9"), "USD": Decimal("-54000.9")}
    assert [reason for reason, _ in seen.rows(LETTERS)] == ["FACT_CONFLICT"]
    assert [issue for issue, *_ in seen.rows(ISSUES)] == ["TRADE_CONFLICT", "TRADE_UNKNOWN"]


ZERO = "SELECT subject, detail FROM data_quality WHERE issue = 'PRICE_ZERO'"


def test_fills_at_zero_count_and_a_spot_trade_at_zero_is_told(tmp_path: Path) -> None:
    """An option expires without value, and a spot trade at zero is told, with and without cause."""
    for n, path in enumerate((case("zero_price_fill"), rewritten("zero_price_fill"))):
        folder = tmp_path / str(n)
        folder.mkdir()
        seen = Replayed(folder, path)
        assert seen.rows(LETTERS) == []
        assert held(seen) == {"BTC": -2}
        positions = seen.rows("SELECT instrument, qty FROM position")
        assert {name: Decimal(qty) for name, qty in positions} == {"BTC-6MAY24-70000-C": Decimal(1)}
        [(subject, detail)] = seen.rows(ZERO)
        assert subject == "account:kraken/main"
        assert "side=sell qty=2 price=0" in detail
