"""Venues that the reference data does not list change nothing about those that it lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from riskwatch.core.events import Tick
from riskwatch.core.readings import MarketReading
from tests.support.market import CALM, Floor, at, quote

if TYPE_CHECKING:
    from riskwatch.core.readings import AssetReading, VenueReading

LISTED: Final = ("kraken", "coinbase", "bitstamp")
ASSETS: Final = ("USDC", "USDT", "BTC")
MINUTES: Final = 12

invented = st.tuples(
    st.integers(0, 9).map(lambda n: f"invented{n}"),
    st.sampled_from((*ASSETS, "PYUSD", "X0", "X1", "X2")),
    st.sampled_from(("USD", *ASSETS, "X0", "X1")),
    st.sampled_from((1e-9, 1e-6, 0.5, 0.91, 1.0, 1.1, 20_000.0, 9e13)),
    st.sampled_from((0.0, 1.0, 1e9)),
    st.integers(0, MINUTES),
)
"""A quote of an invented venue: venue, base, quote, price, volume, minute."""


def play(
    falls: dict[str, float], others: list[tuple[str, str, str, float, float, int]], pause: int
) -> list[tuple[list[AssetReading], list[VenueReading]]]:
    """Readings of listed assets and venues at each tick, with quotes of other venues between."""
    floor = Floor()
    out: list[tuple[list[AssetReading], list[VenueReading]]] = []
    for minute in range(MINUTES + 1):
        for n, (feed, price) in enumerate(sorted(CALM.items())):
            if minute % 4 < pause:
                wobble = 1.0 + 1e-4 * ((minute * 7 + n * 3) % 5 - 2) / 2.0
                moved = falls.get(feed, 1.0) if minute > MINUTES // 2 else 1.0
                floor.tell(quote(feed, minute, price * wobble * moved))
        for n, (venue, base, quoted, price, volume, when) in enumerate(others):
            if when == minute and base != quoted:
                floor.tell(quote(f"{venue}:{base}/{quoted}", minute + n * 1e-3, price, volume))
        made = floor.tell(Tick(at(minute + 0.5)))
        for reading in (each for each in made if isinstance(each, MarketReading)):
            assets = [a for a in reading.assets if a.asset in ASSETS]
            out.append((assets, [v for v in reading.venues if v.venue in LISTED]))
    return out


@given(
    falls=st.dictionaries(
        st.sampled_from(sorted(CALM)), st.sampled_from((0.5, 0.9, 0.97, 1.05)), max_size=5
    ),
    others=st.lists(invented, min_size=1, max_size=60),
    pause=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_unlisted_venues_change_nothing_of_listed_ones(
    falls: dict[str, float],
    others: list[tuple[str, str, str, float, float, int]],
    pause: int,
) -> None:
    """Every reading of a listed venue and of what it quotes is the same, and at the same ticks."""
    assert play(falls, others, pause) == play(falls, [], pause)
