"""Cases of names: venues' spellings count under the canonical name, in its unit."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from tests.support.cases import Replayed, case, rewritten

if TYPE_CHECKING:
    from pathlib import Path

HELD = "SELECT counterparty, account, asset, amount FROM exposure_now WHERE amount <> '0'"
BREACHES = "SELECT limit_id FROM limit_utilisation WHERE status = 'breach' ORDER BY limit_id"


def holdings(seen: Replayed) -> dict[tuple[str, str, str], Decimal]:
    """Return what is held by counterparty, account and asset."""
    return {(c, a, asset): Decimal(amount) for c, a, asset, amount in seen.rows(HELD)}


def test_spellings_of_a_venue_are_in_breach_of_the_limits_that_they_hid_from(
    tmp_path: Path,
) -> None:
    """Bitcoin, dollars and USDC are counted and restricted; the bridged coin is one of its own."""
    seen = Replayed(tmp_path, case("alias_xbt"))
    held = holdings(seen)
    assert {asset for _, _, asset in held} == {"BTC", "USD", "USDC", "USDC.e"}
    assert held["kraken", "main", "USDC"] == 9_000_000
    breaches = {name for (name,) in seen.rows(BREACHES)}
    assert breaches >= {"btc", "usdc", "kraken", "firm", "circle"}
    states = dict(seen.rows("SELECT scope, effective FROM killswitch_now"))
    assert states["asset:BTC"] == states["counterparty:kraken"] == states["firm"] == "REDUCE"
    missing = seen.rows("SELECT subject FROM data_quality WHERE issue = 'PRICE_MISSING'")
    assert [subject for (subject,) in missing] == ["asset:USDC.e"]


def test_spellings_in_units_and_accounts_are_exact(tmp_path: Path) -> None:
    """A thousand bitcoins in two accounts, 250 M satoshis, and five contracts of a thousand."""
    seen = Replayed(tmp_path, rewritten("alias_xbt"))
    assert holdings(seen) == {
        ("kraken", "main", "BTC"): Decimal(500),
        ("kraken", "futures", "BTC"): Decimal(500),
        ("kraken", "main", "USD"): Decimal(3_000_000),
        ("kraken", "main", "USDC"): Decimal(9_000_000),
        ("kraken", "main", "USDC.e"): Decimal(9_000_000),
        ("kraken", "pro", "PEPE"): Decimal(5_000),
        ("bitmex", "main", "BTC"): Decimal("2.5"),
    }
    used = "SELECT used_usd FROM limit_utilisation WHERE limit_id = 'btc' AND scope = 'asset:BTC'"
    assert round(Decimal(seen.rows(used)[0][0])) == 60_150_000
