"""The corruptors do exactly the named damage, and never none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from riskwatch.core.events import Credit, Event, Quote
from riskwatch.errors import FeedError
from riskwatch.feeds.corrupt import FeedKey, bad_print, gap, stale_book

T0 = datetime(2023, 3, 10, tzinfo=UTC)
USDC = FeedKey("kraken", "USDC", "USD")


def minute(n: int) -> datetime:
    """Return minute `n` of the test."""
    return T0 + timedelta(minutes=n)


def events() -> list[Event]:
    """Yield ten minutes of three feeds with a news event in the middle."""
    made: list[Event] = []
    for n in range(10):
        for venue, base in (("kraken", "USDC"), ("kraken", "BTC"), ("coinbase", "USDC")):
            made.append(
                Quote(
                    v=1,
                    event_id=f"{venue}:{base}:{n}",
                    ts=minute(n),
                    source=venue,
                    venue=venue,
                    base=base,
                    quote="USD",
                    bid=Decimal(f"1.0{n}"),
                    ask=Decimal(f"1.1{n}"),
                    last=Decimal(f"1.05{n}"),
                    volume=Decimal(n + 1),
                )
            )
        if n == 5:
            made.append(
                Credit(v=1, event_id="x", ts=minute(n), source="desk", subject="bank", kind="hack")
            )
    return made


def changed(before: list[Event], after: list[Event]) -> list[str]:
    """Return the ids of the events that are no longer the same object."""
    return [b.event_id for b, a in zip(before, after, strict=True) if a is not b]


def test_bad_print_hits_one_bar() -> None:
    """All prices of the first quote at or after the time are multiplied exactly."""
    before = events()
    at = minute(3) - timedelta(seconds=30)
    after = list(bad_print(before, at=at, feed=USDC, factor=Decimal("0.1")))
    assert changed(before, after) == ["kraken:USDC:3"]
    hit = after[9]
    assert isinstance(hit, Quote)
    assert (hit.bid, hit.ask, hit.last) == (
        Decimal("0.103"),
        Decimal("0.113"),
        Decimal("0.1053"),
    )
    assert (hit.ts, hit.volume) == (minute(3), Decimal(4))


def test_stale_book_freezes_every_pair_of_the_venue() -> None:
    """Prices keep their values from before the start with volume 0, until the end."""
    before = events()
    after = list(stale_book(before, start=minute(4), end=minute(7), feed=FeedKey("kraken")))
    assert changed(before, after) == [
        f"kraken:{base}:{n}" for n in (4, 5, 6) for base in ("USDC", "BTC")
    ]
    for old, new in zip(before, after, strict=True):
        if old is not new:
            assert isinstance(new, Quote)
            assert (new.bid, new.ask, new.last) == (
                Decimal("1.03"),
                Decimal("1.13"),
                Decimal("1.053"),
            )
            assert (new.volume, new.ts) == (Decimal(0), old.ts)


def test_gap_drops_the_feed_alone() -> None:
    """The gap has no quote of the feed, and all other events."""
    before = events()
    after = list(gap(before, start=minute(2), end=minute(4), feed=USDC))
    assert {e.event_id for e in before} - {e.event_id for e in after} == {
        "kraken:USDC:2",
        "kraken:USDC:3",
    }
    assert after == [e for e in before if e in after]


@pytest.mark.parametrize(
    "damaged",
    [
        lambda e, feed: bad_print(e, at=minute(0), feed=feed, factor=Decimal(2)),
        lambda e, feed: stale_book(e, start=minute(0), end=minute(99), feed=feed),
        lambda e, feed: gap(e, start=minute(0), end=minute(99), feed=feed),
    ],
)
def test_damage_that_hits_nothing_is_an_error(damaged: object) -> None:
    """A misspelled feed is an error, so that a test cannot pass without damage."""
    with pytest.raises(FeedError, match="nothing was damaged"):
        list(damaged(events(), FeedKey("krakn")))  # type: ignore[operator] # a lambda above


@pytest.mark.parametrize("factor", ["0", "-1", "NaN", "Infinity"])
def test_a_factor_that_makes_no_price(factor: str) -> None:
    """A factor that gives no valid price is refused at once."""
    with pytest.raises(FeedError, match="factor must be positive and finite"):
        list(bad_print(events(), at=T0, feed=USDC, factor=Decimal(factor)))
