"""Who moved: feeds that disagree, coins quoted in each other, prices that nobody confirms."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.core.clock import SECOND
from riskwatch.core.enums import Cause
from riskwatch.core.market.config import MarketConfig
from riskwatch.core.market.report import ImpliedValue, attribute_cause
from riskwatch.core.market.state import FeedState
from tests.support.cases import Replayed, case

if TYPE_CHECKING:
    from pathlib import Path

STATES = "SELECT scope, state FROM killswitch_now WHERE state <> 'NORMAL' ORDER BY scope"
VALUES = "SELECT asset, deviation_bp, cause FROM asset_now WHERE asset IN ({})"
START = datetime(2024, 5, 6, 10, 0, tzinfo=UTC)


def renamed(name: str, names: dict[str, str]) -> list[str]:
    """Return the lines of a case with other names."""
    lines = case(name).read_text().splitlines()
    for old, new in names.items():
        lines = [line.replace(old, new) for line in lines]
    return lines


def test_the_feed_that_left_its_past_is_to_blame(tmp_path: Path) -> None:
    """One of two unlisted feeds falls by a third: the coin keeps the price of the other one."""
    until = datetime(2026, 1, 6, 0, 59, tzinfo=UTC)
    seen = Replayed(tmp_path, case("models/two_feeds_one_falls"), until=until)
    found = sorted(seen.rows(VALUES.format("'USDe', 'USDT'")))
    assert [(asset, cause) for asset, _, cause in found] == [("USDT", "none"), ("USDe", "none")]
    assert all(abs(bp) < 15.0 for _, bp, _ in found)
    assert seen.rows(STATES) == []
    told = seen.rows("SELECT subject FROM data_quality WHERE issue = 'FEED_OUTLIER'")
    assert told == [("venue-a:USDe/USDT",)]


@pytest.mark.parametrize("fallen", ["kraken", "coinbase"])
def test_the_venue_that_stood_still_is_not_halted(tmp_path: Path, fallen: str) -> None:
    """With listed venues, the coin is halted at the venue where it fell, and nowhere else."""
    other = "coinbase" if fallen == "kraken" else "kraken"
    lines = renamed("models/two_feeds_one_falls", {"venue-a": fallen, "venue-b": other})
    seen = Replayed(tmp_path, lines, until=datetime(2026, 1, 6, 0, 59, tzinfo=UTC))
    assert seen.rows(STATES) == [
        (f"venue-asset:{fallen}/USDT", "WATCH"), (f"venue-asset:{fallen}/USDe", "HALT"),
    ] or seen.rows(STATES) == [
        (f"venue-asset:{fallen}/USDe", "HALT"), (f"venue-asset:{fallen}/USDT", "WATCH"),
    ]  # fmt: skip


def test_a_pair_without_fiat_is_judged_by_its_worst_case(tmp_path: Path) -> None:
    """USDC at 0.93 USDT: USDC may be 700 bp below par, USDT 753 bp above; the cause is unknown."""
    seen = Replayed(tmp_path, case("models/pair_without_fiat"))
    found = sorted(seen.rows(VALUES.format("'USDC', 'USDT'")))
    assert [(asset, cause) for asset, _, cause in found] == [
        ("USDC", "unknown"), ("USDT", "unknown"),
    ]  # fmt: skip
    assert [bp for _, bp, _ in found] == pytest.approx([-700.0, 752.7], abs=1.0)
    assert dict(seen.rows(STATES)) == {"asset:USDC": "HALT", "asset:USDT": "REDUCE"}


@pytest.mark.parametrize("venues", [{}, {"binance": "kraken", "bybit": "coinbase"}])
def test_the_coin_against_which_all_moved_is_to_blame(
    tmp_path: Path, venues: dict[str, str]
) -> None:
    """USDT loses 5 % against USDC, BTC and ETH, without a feed in fiat: USDT is halted alone.

    What the firm lost on it that day reduces the firm.
    """
    seen = Replayed(tmp_path, renamed("usdt_pairs_only_depeg", venues))
    assert seen.rows(STATES) == [("asset:USDT", "HALT"), ("firm", "REDUCE")]
    rules = seen.rows("SELECT rule FROM decision_log WHERE scope = 'firm' AND state = 'REDUCE'")
    assert rules == [("firm.loss.reduce",)]
    found = {asset: bp for asset, bp, _ in seen.rows(VALUES.format("'USDC', 'USDT'"))}
    assert found["USDT"] == pytest.approx(-500.0, abs=5.0)
    assert abs(found["USDC"]) < 15.0


def held(jumps: dict[int, float], every_s: int = 10, venues: tuple[str, ...] = ("kraken",)) -> Any:
    """Yield a holding of 400,000 USD, and its price at venues times `jumps` by second."""
    at = START - timedelta(seconds=1)
    yield json.dumps({
        "type": "balance", "v": 1, "event_id": "b", "ts": at.isoformat(), "source": "desk",
        "asset": "LINK", "free": "20000", "counterparty": "kraken", "account": "main",
        "book": "arb",
    })  # fmt: skip
    for second in range(0, 600, every_s):
        price = 20.0 * jumps.get(second, jumps.get(-1, 1.0) if second >= 300 else 1.0)
        for venue in venues:
            ts = (START + timedelta(seconds=second)).isoformat()
            yield json.dumps({
                "type": "quote", "v": 1, "event_id": f"{venue}{second}", "ts": ts, "source": venue,
                "venue": venue, "base": "LINK", "quote": "USD", "last": f"{price}", "volume": "5",
            })  # fmt: skip


LIMITED = "SELECT ts FROM decision WHERE rule = 'asset.limit.reduce' ORDER BY ts"


def test_a_limit_waits_out_a_print_of_one_feed(tmp_path: Path) -> None:
    """One print at twice the price breaks no limit, and the feed is told; a lasting one does."""
    seen = Replayed(tmp_path, list(held({300: 2.0})), tick_us=5 * SECOND)
    assert seen.rows(LIMITED) == []
    told = seen.rows("SELECT subject FROM data_quality WHERE issue = 'FEED_OUTLIER'")
    assert told == [("kraken:LINK/USD",)]


def test_a_lasting_price_of_one_feed_counts_after_its_wait(tmp_path: Path) -> None:
    """A price that stays at twice its former value breaks the limit 30 s later, not at once."""
    seen = Replayed(tmp_path, list(held({-1: 2.0})), tick_us=5 * SECOND)
    after = datetime.fromisoformat(seen.rows(LIMITED)[0][0]) - START - timedelta(seconds=300)
    assert timedelta(seconds=30) <= after <= timedelta(seconds=45)


def test_two_feeds_that_agree_do_not_wait(tmp_path: Path) -> None:
    """The same jump at two venues breaks the limit at the next tick."""
    lines = list(held({-1: 2.0}, venues=("kraken", "coinbase")))
    seen = Replayed(tmp_path, lines, tick_us=5 * SECOND)
    after = datetime.fromisoformat(seen.rows(LIMITED)[0][0]) - START - timedelta(seconds=300)
    assert after <= timedelta(seconds=10)


def test_a_feed_that_states_that_nothing_trades_is_not_one_that_states_nothing() -> None:
    """A book at par without any trade does not refute a fall that is traded."""
    feed = FeedState("x", "C", "USD", 0.0, 0.0, 0.0, 0, 0, 60.0, 1e-3, 1e-3, 60.0)
    assert feed.traded(0) is None
    feed.observe(60_000_000, 0.001, 0.0, None)
    assert feed.traded(60_000_000) == 0.0
    fallen = ImpliedValue("a:C/USD", "a", -0.05, 3e-4, prompt=True, traded=1_000.0)
    silent = ImpliedValue("x:C/USD", "x", 0.0, 3e-4, prompt=True, traded=0.0)
    found = attribute_cause(-0.05, [fallen, silent], frozenset(), MarketConfig())
    assert found.cause is Cause.UNKNOWN
    unstated = ImpliedValue("x:C/USD", "x", 0.0, 3e-4, prompt=True, traded=None)
    found = attribute_cause(-0.05, [fallen, unstated], frozenset(), MarketConfig())
    assert found.cause is Cause.FEED
