"""Sizes of books, balances of pools, supply and redemptions: what a market reading says of them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.core.events import Peg, Quote, Tick
from tests.support.market import CALM, START, Floor, at

if TYPE_CHECKING:
    from riskwatch.core.readings import AssetReading

DAY = 1_440


def peg(minute: int, venue: str = "coinbase", **fields: str) -> Peg:
    """A peg of USDC at one venue."""
    numbers: dict[str, Any] = {name: Decimal(value) for name, value in fields.items()}
    return Peg(
        v=1, event_id=f"{venue}-{minute}", ts=START + timedelta(minutes=minute), source="issuer",
        venue=venue, asset="USDC", price=Decimal("1.0000"), **numbers,
    )  # fmt: skip


def book(minute: int, base: str, quote: str, **fields: Any) -> Quote:
    """A quote at kraken."""
    return Quote(
        v=1, event_id=f"{base}{quote}-{minute}", ts=START + timedelta(minutes=minute),
        source="feed", venue="kraken", base=base, quote=quote, **fields,
    )  # fmt: skip


def after(*events: Peg | Quote, minute: int) -> AssetReading:
    """The reading of USDC after calm quotes and some events."""
    market = Floor()
    for event in events:
        market.tell(event)
    market.minutes(minute, minute + 1, CALM)
    market.tell(Tick(at(minute + 6)))
    return market.asset("USDC")


def test_redemptions_of_a_day_are_a_share_of_the_supply() -> None:
    """They add up over messages, and what is older than a day is forgotten."""
    early = [peg(0, supply="1000"), peg(30, redeemed="150"), peg(600, redeemed="250")]
    seen = after(*early, minute=700)
    assert (seen.redeemed_share, seen.supply_drop_share) == (0.4, 0.0)
    later = after(*early, peg(3 * DAY, supply="600", redeemed="6"), minute=3 * DAY + 1)
    assert (later.redeemed_share, later.supply_drop_share) == (0.01, 0.0)


def test_a_supply_that_falls_within_a_day_is_seen_without_redemptions() -> None:
    """A supply of 1000 that is 600 eleven hours later has lost 0.4."""
    seen = after(peg(0, supply="1000"), peg(660, supply="600"), minute=700)
    assert (seen.supply_drop_share, seen.redeemed_share) == (0.4, 0.0)


def test_an_unlisted_venue_says_nothing_of_a_supply() -> None:
    """Who invents venues moves no issuance; without a supply there is no share of it."""
    seen = after(peg(0, "nowhere", supply="1000", redeemed="900"), minute=10)
    assert (seen.redeemed_share, seen.supply_drop_share) == (None, None)
    assert after(peg(0, redeemed="900"), minute=10).redeemed_share is None


@pytest.mark.parametrize(("base", "quote", "share"), [("USDC", "USD", 0.5), ("USDT", "USDC", -0.5)])
def test_a_book_with_more_offers_leans_against_its_base(
    base: str, quote: str, share: float
) -> None:
    """Three times as much offered as asked for is 0.5, and its sign turns for the quote."""
    sizes = {
        "depth": [(Decimal(10), Decimal(1), Decimal(9)), (Decimal(50), Decimal(10), Decimal(30))]
    }
    said = book(1, base, quote, bid=Decimal("0.9999"), ask=Decimal("1.0001"), **sizes)
    seen = after(said, minute=2)
    assert seen.depth_imbalance == pytest.approx(share, abs=0.001)
    assert seen.pool_imbalance is None


def test_balances_of_a_pool_are_no_book() -> None:
    """A pool that holds nineteen times as much of a coin as of the other stands at 0.9."""
    said = book(1, "USDC", "USDT", last=Decimal("0.99"), bid_size=Decimal(5), ask_size=Decimal(95))
    seen = after(said, minute=2)
    assert (seen.pool_imbalance, seen.depth_imbalance) == (0.9, None)
