"""The table of feeds: bounds per writer, feeds that give way, and feeds that age out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from riskwatch.core.enums import QualityIssue, RejectReason
from riskwatch.core.market.config import MarketConfig
from riskwatch.core.market.stage import NAMED_WRITERS
from riskwatch.core.market.state import MarketState
from riskwatch.core.outputs import EventRejected
from tests.support.market import CALM, Floor, quote

if TYPE_CHECKING:
    from riskwatch.core.events import Quote

DAY = 1_440


def by(writer: str, feed: str, minutes: float, price: float = 1.0) -> Quote:
    """Return a quote that a writer sends in the name of a venue."""
    return msgspec.structs.replace(quote(feed, minutes, price), source=writer)


def small(most: int = 20) -> Floor:
    """Return a market with room for few feeds."""
    return Floor(MarketConfig(max_feeds=most))


def feeds(floor: Floor, prefix: str) -> int:
    """Return the number of feeds whose name begins so."""
    return sum(1 for key in floor.state.edges if key.startswith(prefix))


def test_one_writer_has_a_quarter_at_most_with_invented_venues() -> None:
    """What is beyond is a dead letter, and the writer is named once."""
    floor = small()
    refused = [
        out
        for n in range(50)
        for out in floor.tell(by("eve", f"invented{n}:USDC/USD", n * 1e-3))
        if isinstance(out, EventRejected)
    ]
    assert feeds(floor, "invented") == 5
    assert [out.reason for out in refused] == [RejectReason.LIMIT_REACHED] * 45
    assert floor.issues(QualityIssue.TABLE_FULL) == ["source:eve"]
    for feed, price in CALM.items():
        floor.tell(quote(feed, 1, price))
    assert all(feed in floor.state.edges for feed in CALM)


def test_known_names_find_room_in_a_full_table() -> None:
    """Names under a listed venue fill the table; feeds of the reference data take their place."""
    floor = small()
    for n in range(50):
        floor.tell(by("eve", f"kraken:X{n}/USD", n * 1e-3))
    assert len(floor.state.edges) == 20
    for feed, price in CALM.items():
        floor.tell(quote(feed, 1, price))
    assert all(feed in floor.state.edges for feed in CALM)
    assert len(floor.state.edges) == 20
    assert floor.issues(QualityIssue.TABLE_FULL) == ["source:eve"]
    # Its longest silent feeds gave way.
    assert "kraken:X0/USD" not in floor.state.edges
    assert "kraken:X19/USD" in floor.state.edges


def test_writers_of_equal_rank_share_the_table() -> None:
    """A writer with few feeds takes a place from the one with most, and never the other way."""
    floor = small()
    for n in range(20):
        floor.tell(by("eve", f"kraken:X{n}/USD", n * 1e-3))
    for n in range(20):
        floor.tell(by("bob", f"coinbase:Y{n}/USD", 1 + n * 1e-3))
    assert (feeds(floor, "kraken:"), feeds(floor, "coinbase:")) == (10, 10)
    floor.tell(by("eve", "kraken:Z/USD", 2))
    assert "kraken:Z/USD" not in floor.state.edges


def test_many_writers_are_named_together() -> None:
    """A flood under ever new writers' names makes a bounded number of alerts."""
    floor = small()
    for n in range(400):
        floor.tell(by(f"eve{n}", f"invented{n}:USDC/USD", n * 1e-3))
    told = floor.issues(QualityIssue.TABLE_FULL)
    assert len(told) == NAMED_WRITERS + 1
    assert told[-1] == "source:*"
    assert len(floor.state.edges) == 20


def test_silent_feeds_age_out_with_their_assets() -> None:
    """After a week without a message nothing of them is left, and their room is free."""
    floor = small()
    floor.minutes(0, 5, dict(CALM) | {"invented0:GEM/USD": 4.0})
    floor.minutes(8 * DAY, 8 * DAY + 5)
    assert feeds(floor, "invented") == 0
    assert "GEM" not in floor.state.assets
    rows = floor.state.drain()
    assert rows["edge/invented0:GEM/USD"] is None
    assert rows["asset/GEM"] is None
    assert len(floor.state.edges) == len(CALM)


def test_the_bounds_hold_after_a_restart() -> None:
    """Counts of feeds are derived from the rows."""
    floor = small()
    for n in range(5):
        floor.tell(by("eve", f"invented{n}:USDC/USD", n * 1e-3))
    rows = {key: row for key, row in floor.state.drain().items() if row is not None}
    floor.state = MarketState()
    floor.state.load(rows)
    floor.tell(by("eve", "invented9:USDC/USD", 1))
    assert feeds(floor, "invented") == 5


def test_issues_end_when_all_feeds_are_gone() -> None:
    """A table without feeds still resolves what it told."""
    floor = small()
    for n in range(7):
        floor.tell(by("eve", f"invented{n}:USDC/USD", n * 1e-3))
    floor.minutes(8 * DAY, 8 * DAY + 1, {})
    assert floor.state.edges == {}
    assert floor.resolved(QualityIssue.TABLE_FULL) == ["source:eve"]
