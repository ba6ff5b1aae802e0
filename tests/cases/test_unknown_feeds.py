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
DARK = ("REDUCE", "unknown")
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


NO_ACCOUNT = "SELECT subject, detail FROM data_quality WHERE issue = 'ACCOUNT_STALE'"
SWITCH = "SELECT scope, effective, quality FROM killswitch_now WHERE effective <> 'NORMAL'"
DATA_ALERTS = "SELECT alert, severity, raised, reasons FROM alert WHERE alert LIKE '%|data'"


def test_an_account_that_nobody_confirms_is_told_and_restricted(tmp_path: Path) -> None:
    """Balances stop while prices go on: an issue, an alert, REDUCE of the venue, never a HALT."""
    seen = Replayed(tmp_path, case("account_feed_dead"))
    [(subject, detail)] = seen.rows(NO_ACCOUNT + " AND resolved_ts IS NULL")
    assert (subject, "2024-05-06T10:59:00Z, by desk" in detail) == ("kraken/main", True)
    assert ("counterparty:kraken", "REDUCE", "unknown") in seen.rows(SWITCH)
    assert [scope for scope, effective, _ in seen.rows(SWITCH) if effective == "REDUCE"] == [
        "counterparty:kraken"
    ]
    [(alert, severity, raised, reasons)] = seen.rows(DATA_ALERTS)
    assert (alert, severity, raised) == ("counterparty:kraken|data", "REDUCE", 1)
    assert "no source has confirmed what account main has since 2024-05-06T10:59:00Z" in reasons
    confirmed = seen.rows("SELECT DISTINCT confirmed_at FROM exposure_now")
    assert [str(at)[:19] for (at,) in confirmed] == ["2024-05-06T10:59:00"]


def test_an_account_whose_source_finds_no_change_is_fresh(tmp_path: Path) -> None:
    """The balances stop, and the source goes on to say that it sees the account: all is well."""
    seen = Replayed(tmp_path, rewritten("account_feed_dead"))
    assert seen.rows(NO_ACCOUNT) == seen.rows(DATA_ALERTS) == []
    assert [scope for scope, *_ in seen.rows(SWITCH)] == ["book:arb"]
    assert seen.rows("SELECT 1 FROM dead_letter") == []


def test_one_connection_that_dies_is_one_alert(tmp_path: Path) -> None:
    """One source of the accounts at three venues dies: three venues restricted, one alert."""
    # A limit restricts binance as much already, so its alert cannot stand for the others.
    lines = []
    for line in case("account_feed_dead").read_text().splitlines():
        event = msgspec.json.decode(line)
        lines.append(line)
        for venue in ("coinbase", "binance") if event["type"] == "balance" else ():
            other = event | {"counterparty": venue, "event_id": f"{event['event_id']}-{venue}"}
            lines.append(msgspec.json.encode(other).decode())
    seen = Replayed(tmp_path, lines, until=datetime(2024, 5, 6, 14, tzinfo=UTC))
    dark = [scope for scope, effective, q in seen.rows(SWITCH) if (effective, q) == DARK]
    assert dark == ["counterparty:binance", "counterparty:coinbase", "counterparty:kraken"]
    [(alert, severity, raised, reasons)] = seen.rows(DATA_ALERTS)
    assert (alert, severity, raised) == ("counterparty:coinbase|data", "REDUCE", 1)
    assert "our connection desk is silent about binance, coinbase, kraken" in reasons


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
