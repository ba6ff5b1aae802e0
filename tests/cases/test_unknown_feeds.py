"""Cases of feeds and limits: what is stale, crossed or just not looked at yet is not fine."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import pytest

from riskwatch.core.market.config import FeedHeartbeat
from tests.support.cases import CONFIG, Replayed, case, rewritten

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from riskwatch.config.config import Config

MINUTE_14 = datetime(2024, 5, 6, 10, 14, tzinfo=UTC)
LIMIT = (
    "SELECT used_usd, headroom_usd, status FROM limit_utilisation "
    "WHERE limit_id = 'usdc' AND scope = 'asset:USDC'"
)
HELD = "SELECT value_usd FROM exposure_now WHERE asset = 'USDC'"
STALE = (
    "SELECT subject, detail FROM data_quality "
    "WHERE issue = 'FEED_STALE' AND resolved_ts IS NULL ORDER BY subject"
)


def with_market(**changes: Any) -> Config:
    """Return the shipped configuration with other settings of the market stage."""
    market = msgspec.structs.replace(CONFIG.policy.market, **changes)
    policy = msgspec.structs.replace(CONFIG.policy, market=market)
    return msgspec.structs.replace(CONFIG, policy=policy)


def test_a_usage_agrees_with_what_is_held_within_a_tick(tmp_path: Path) -> None:
    """Eight minutes after a deposit of 3.4 M, the limit has used what the holding is worth."""
    seen = Replayed(tmp_path, case("limit_view_stale"), until=MINUTE_14)
    assert Decimal(seen.rows(LIMIT)[0][0]) == Decimal(seen.rows(HELD)[0][0]) == 3_500_000


def test_a_usage_follows_prices_within_a_thousandth_of_the_limit(tmp_path: Path) -> None:
    """The coin loses 0.4 % without any change of what is held: the usage follows."""
    lines = rewritten("limit_view_stale").read_text().splitlines()
    later = []
    for line in lines:
        event = msgspec.json.decode(line)
        if event["ts"] >= "2024-05-06T10:10" and event.get("base") == "USDC":
            event |= {"bid": "0.9959", "ask": "0.9961"}
        later.append(msgspec.json.encode(event).decode())
    seen = Replayed(tmp_path, later, until=MINUTE_14)
    used, headroom, status = seen.rows(LIMIT)[0]
    used, headroom = float(used), float(headroom)
    price = seen.rows("SELECT price_usd FROM asset_now WHERE asset = 'USDC'")[0][0]
    now = 3_500_000 * float(price)
    assert abs(used - now) <= 4_500
    assert used < 3_490_000
    assert (used + headroom, status) == (4_500_000, "ok")


@pytest.mark.parametrize("hours", [None, 24])
def test_an_oracle_is_not_stale_between_its_heartbeats(tmp_path: Path, hours: int | None) -> None:
    """A heartbeat of 24 h raises no issue; without it, the issue says which setting is missing."""
    given = () if hours is None else (FeedHeartbeat(feed="chainlink", every_s=3600.0 * hours),)
    path = case("oracle_heartbeat") if hours is None else rewritten("oracle_heartbeat")
    seen = Replayed(tmp_path, path, with_market(heartbeats=given))
    told = seen.rows("SELECT subject, detail FROM data_quality WHERE subject LIKE 'chainlink%'")
    if hours is None:
        assert told[0][0] == "chainlink:USDC/USD"
        assert "[[market.heartbeats]] states it" in told[0][1]
    else:
        assert told == []
    assert seen.rows("SELECT scope FROM killswitch_now WHERE effective <> 'NORMAL'") == []


@pytest.mark.parametrize("as_reported", [True, False])
def test_a_dead_feed_stays_stale_after_it_is_forgotten(tmp_path: Path, as_reported: bool) -> None:
    """Nine days after a delisting, both feeds are still told; retired ones are not."""
    name = "delisted_silent"
    if as_reported:
        seen = Replayed(tmp_path, case(name))
        assert [subject for subject, _ in seen.rows(STALE)] == [
            "coinbase:FTT/USD", "kraken:FTT/USD",
        ]  # fmt: skip
        raised = seen.rows("SELECT raised, resolved_ts FROM data_quality WHERE issue='FEED_STALE'")
        assert raised == [(1, None), (1, None)]
        now = seen.rows("SELECT effective, quality FROM killswitch_now WHERE scope = 'asset:FTT'")
        assert now == [("REDUCE", "unknown")]
    else:
        config = with_market(retired=("kraken:FTT/USD",), forget_s=86_400.0)
        seen = Replayed(tmp_path, rewritten(name), config)
        assert [subject for subject, _ in seen.rows(STALE)] == ["coinbase:FTT/USD"]


def test_the_last_trade_stands_for_a_crossed_book(tmp_path: Path) -> None:
    """The book of SOL is crossed for 20 minutes: its last trade is its price, and that is told."""
    seen = Replayed(tmp_path, case("crossed_book"))
    assert seen.rows("SELECT value_usd FROM exposure_now WHERE asset = 'SOL'") == [("15050",)]
    told = seen.rows("SELECT subject, detail FROM data_quality WHERE issue = 'BOOK_CROSSED'")
    assert told == [("kraken:SOL/USD", "bid 151 is above ask 150: its last trade is the price")]
    assert seen.rows("SELECT 1 FROM dead_letter") == []


def test_an_uncrossed_book_is_no_issue(tmp_path: Path) -> None:
    """The same coin with its bid below its ask has the mid as its price, and no issue."""
    seen = Replayed(tmp_path, rewritten("crossed_book"))
    assert seen.rows("SELECT value_usd FROM exposure_now WHERE asset = 'SOL'") == [("15050",)]
    assert seen.rows("SELECT 1 FROM data_quality WHERE issue = 'BOOK_CROSSED'") == []
    assert seen.rows("SELECT 1 FROM dead_letter") == []


def test_two_venues_that_go_down_are_two_alerts(tmp_path: Path) -> None:
    """Forty coins lose both their venues: the venues are told, at the severity of the effect."""
    seen = Replayed(tmp_path, case("all_feeds_down"))
    told = seen.rows("SELECT alert, severity, raised FROM alert ORDER BY alert")
    assert told == [
        ("counterparty:coinbase|data", "REDUCE", 1), ("counterparty:kraken|data", "REDUCE", 1),
    ]  # fmt: skip
    query = (
        "SELECT COUNT(*) FROM killswitch_now WHERE effective = 'REDUCE' AND scope LIKE 'asset:%'"
    )
    assert seen.rows(query) == [(40,)]
