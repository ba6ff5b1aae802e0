"""Cases of holdings without a price: unknown is never fine, and never a reason to stop trading."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from riskwatch.core.reference import Asset
from tests.support.cases import CONFIG, Replayed, case, rewritten

if TYPE_CHECKING:
    from pathlib import Path

STATES = "SELECT scope, effective FROM killswitch_now WHERE effective <> 'NORMAL' ORDER BY scope"
HELD = "SELECT asset, value_usd, valued_by FROM exposure_now ORDER BY asset"
LIMITS = "SELECT scope, status, why FROM limit_utilisation WHERE status <> 'ok' ORDER BY scope"


def test_limits_of_a_holding_that_nothing_values_are_unknown(tmp_path: Path) -> None:
    """29 M tokens without a price: no limit that holds them is `ok`, and trading goes on."""
    seen = Replayed(tmp_path, case("unpriced_holding"))
    assert seen.rows(HELD) == [("SUSDe", None, None), ("WIF", None, None)]
    status = {(scope, status) for scope, status, _ in seen.rows(LIMITS)}
    assert status == {
        (scope, "unknown")
        for scope in ("asset:SUSDe", "asset:WIF", "book:arb", "counterparty:kraken", "firm")
    }
    assert dict(seen.rows(STATES)) == {
        "asset:SUSDe": "REDUCE", "asset:WIF": "REDUCE",
        "book:arb": "WATCH", "counterparty:kraken": "WATCH", "firm": "WATCH",
    }  # fmt: skip
    reasons = dict(seen.rows("SELECT scope, reasons FROM killswitch_now"))
    assert "the use of limit firm is unknown, SUSDe at kraken has no price" in reasons["firm"]
    alerts = seen.rows("SELECT scope FROM alert_open ORDER BY scope")
    assert alerts == [("asset:SUSDe",), ("asset:WIF",)]


def test_what_we_traded_at_and_assumptions_value_a_holding(tmp_path: Path) -> None:
    """WIF is worth what we paid, SUSDe what the reference data assumes, and both are said."""
    coin = Asset(id="SUSDe", assumed_usd=1.1, assumed_on="2024-05-01")
    assets = CONFIG.reference.assets | {"SUSDe": coin}
    known = msgspec.structs.replace(CONFIG.reference, assets=assets)
    config = msgspec.structs.replace(CONFIG, reference=known)
    seen = Replayed(tmp_path, rewritten("unpriced_holding"), config)
    found = seen.rows(f"{HELD.partition(' ORDER')[0]} WHERE asset <> 'USD' ORDER BY asset")
    assert found == [("SUSDe", "22000000", "assumed"), ("WIF", "22500000", "entry")]
    times = "SELECT asset, priced_at, confirmed_at FROM exposure_now"
    when = seen.rows(f"{times} WHERE asset <> 'USD' ORDER BY asset")
    assert [str(at)[:16].replace("T", " ") for row in when for at in row[1:]] == [
        "2024-05-01 00:00", "2024-05-06 10:01", "2024-05-06 10:02", "2024-05-06 10:01",
    ]  # fmt: skip
    used = seen.rows("SELECT used_usd, status FROM limit_utilisation WHERE scope = 'firm'")
    assert (float(used[0][0]), used[0][1]) == (44_500_000.0, "breach")


def test_what_somebody_sent_us_restricts_only_itself(tmp_path: Path) -> None:
    """A billion units of an unlisted coin: value 0, told once, every other scope NORMAL."""
    seen = Replayed(tmp_path, case("risk/airdrop"))
    assert seen.rows(HELD) == [("SCAM", "0", "unrecognised"), ("USD", "1000000", "price")]
    assert seen.rows("SELECT DISTINCT scope FROM killswitch_history") == [("asset:SCAM",)]
    assert seen.rows(STATES) == [("asset:SCAM", "REDUCE")]
    told = seen.rows("SELECT issue, raised FROM data_quality WHERE subject = 'asset:SCAM'")
    assert told == [("UNRECOGNISED", 1)]
    assert seen.rows("SELECT 1 FROM alert") == []
    assert [scope for scope, _, _ in seen.rows(LIMITS)] == ["asset:SCAM"]


def test_a_listed_coin_that_is_worth_nothing_restricts_nothing(tmp_path: Path) -> None:
    """The reference data assumes a value of 0: the coin is known, and no scope is restricted."""
    coin = Asset(id="SCAM", assumed_usd=0.0, assumed_on="2024-05-01")
    assets = CONFIG.reference.assets | {"SCAM": coin}
    known = msgspec.structs.replace(CONFIG.reference, assets=assets)
    seen = Replayed(
        tmp_path, rewritten("airdrop"), msgspec.structs.replace(CONFIG, reference=known)
    )
    assert seen.rows(HELD) == [("SCAM", "0", "assumed"), ("USD", "1000000", "price")]
    assert seen.rows(STATES) == []
    assert seen.rows("SELECT 1 FROM data_quality WHERE subject = 'asset:SCAM'") == []
