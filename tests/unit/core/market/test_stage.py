"""The market stage: values, causes, feed quality and rows."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskwatch.core.enums import Cause, QualityIssue, RejectReason
from riskwatch.core.events import Tick
from riskwatch.core.market.config import MarketConfig
from riskwatch.core.outputs import DataQualityRaised, EventRejected
from riskwatch.core.readings import MarketReading
from tests.support.market import BTC, CALM, Floor, at, one, quote, usdc

if TYPE_CHECKING:
    from riskwatch.core.events import Quote
    from riskwatch.core.market.stage import MarketOutput

HOUR = 60


def calm(minutes: int = HOUR, config: MarketConfig | None = None) -> Floor:
    """Return a market that has been at par for a while."""
    floor = Floor(config or MarketConfig())
    floor.minutes(0, minutes - 1)
    return floor


def test_calm_is_par_without_a_cause() -> None:
    """Values are within the noise, every feed is live, and there is no issue."""
    floor = calm()
    for name in ("USDC", "USDT"):
        seen = floor.asset(name)
        assert abs(seen.deviation_bp) < 2.0
        assert (seen.cause, seen.fiat_path) == (Cause.NONE, True)
        assert seen.live == seen.expected
    assert floor.asset("BTC").price_usd == pytest.approx(BTC, rel=1e-4)
    assert all(isinstance(o, MarketReading) for o in floor.out)


def test_a_coin_that_leaves_on_every_venue_is_the_issuer() -> None:
    """The supporting feeds are listed, and none refutes."""
    floor = calm()
    floor.minutes(HOUR, HOUR + 5, moved=usdc(-100.0))
    seen = floor.asset("USDC")
    assert seen.deviation_bp == pytest.approx(-100.0, abs=3.0)
    assert seen.cause is Cause.ISSUER
    assert seen.support == [
        "bitstamp:USDC/USD", "coinbase:USDC/USD", "kraken:BTC/USDC", "kraken:USDC/USD"
    ]  # fmt: skip
    assert seen.refute == []
    assert abs(floor.asset("USDT").deviation_bp) < 2.0


def test_one_feed_alone_is_a_feed() -> None:
    """The others refute it; the asset's value stays, and the feed is named."""
    floor = calm()
    floor.minutes(HOUR, HOUR + 5, moved=one("coinbase:USDC/USD", 0.97))
    seen = floor.asset("USDC")
    assert abs(seen.value_bp) < 5.0
    assert abs(seen.deviation_bp) < 5.0
    assert floor.issues(QualityIssue.FEED_OUTLIER) == ["coinbase:USDC/USD"]


def test_a_thin_book_at_par_is_not_heard() -> None:
    """A book with a few dollars a minute does not refute the deep venue."""
    feeds = {k: v for k, v in CALM.items() if not k.startswith("bitstamp")}

    def volume(feed: str) -> float:
        return 100_000.0 if feed == "kraken:USDC/USD" else 5.0

    floor = Floor()
    floor.minutes(0, HOUR - 1, feeds, volume=volume)
    # First everywhere, so that it is established; then the thin one comes back to par.
    floor.minutes(HOUR, HOUR + 5, feeds, moved=usdc(-60.0), volume=volume)
    assert floor.asset("USDC").cause is Cause.ISSUER
    thin = usdc(-300.0, "coinbase:USDC/USD")
    floor.minutes(HOUR + 6, HOUR + 20, feeds, moved=thin, volume=volume)
    seen = floor.asset("USDC")
    assert "coinbase:USDC/USD" in seen.refute
    assert seen.cause is Cause.ISSUER
    assert seen.direct_bp is not None
    assert seen.direct_bp < -250.0
    assert seen.deviation_bp < -250.0


def test_a_thick_book_at_par_is_heard() -> None:
    """With equal turnover, one venue against another is not the issuer."""
    feeds = {k: v for k, v in CALM.items() if not k.startswith("bitstamp")}
    floor = Floor()
    floor.minutes(0, HOUR - 1, feeds)
    floor.minutes(HOUR, HOUR + 10, feeds, moved=usdc(-300.0, "coinbase:USDC/USD"))
    assert floor.asset("USDC").cause is not Cause.ISSUER


def test_a_venue_that_moves_over_two_bases_is_the_venue() -> None:
    """Its dislocation is measured; one base alone is no dislocation."""
    floor = calm()

    def moved(feed: str, minute: int) -> float:
        del minute
        return 0.98 if feed in ("bitstamp:USDC/USD", "bitstamp:BTC/USD") else 1.0

    floor.minutes(HOUR, HOUR + 10, moved=moved)
    assert floor.venue("bitstamp").dislocation_bp == pytest.approx(200.0, abs=20.0)
    assert floor.venue("bitstamp").bases == 2
    assert floor.venue("kraken").dislocation_bp == 0.0
    floor = calm()
    floor.minutes(HOUR, HOUR + 10, moved=one("bitstamp:USDC/USD", 0.98))
    assert floor.venue("bitstamp").dislocation_bp == 0.0
    ((name, gap, seen),) = floor.venue("bitstamp").local
    assert name == "USDC"
    assert gap == pytest.approx(-200.0, abs=20.0)
    assert seen > HOUR


def test_one_venue_only_is_unknown_and_still_followed() -> None:
    """One venue gives no cause, but the deviation still counts."""
    feeds = {"binance:USDC/USDT": 1.0}
    floor = Floor()
    floor.minutes(0, HOUR - 1, feeds)
    floor.minutes(HOUR, HOUR + 30, feeds, moved=one("binance:USDC/USDT", 0.97))
    worst = min(floor.asset(n).deviation_bp for n in ("USDC", "USDT"))
    best = max(floor.asset(n).deviation_bp for n in ("USDC", "USDT"))
    # Either may have moved, so each has its worst case.
    assert worst == pytest.approx(-300.0, rel=0.05)
    assert best == pytest.approx(309.0, rel=0.05)
    seen = floor.asset("USDC")
    assert (seen.cause, seen.fiat_path, seen.venues) == (Cause.UNKNOWN, False, 1)


def test_silence_is_seen_and_ends() -> None:
    """A feed that stops is stale and not live; the issue is resolved when it resumes."""
    floor = calm()
    floor.minutes(HOUR, HOUR + 30, moved=one("coinbase:USDC/USD", None))
    seen = floor.asset("USDC")
    assert seen.live == seen.expected - 1
    assert floor.issues(QualityIssue.FEED_STALE) == ["coinbase:USDC/USD"]
    floor.minutes(HOUR + 31, HOUR + 60)
    assert floor.resolved(QualityIssue.FEED_STALE) == ["coinbase:USDC/USD"]
    assert floor.asset("USDC").live == floor.asset("USDC").expected


def test_a_book_that_stands_still_while_the_coin_moves_is_stale() -> None:
    """The feed still sends messages, but with zero volume and the old price."""
    floor = calm()

    def volume(feed: str) -> float:
        return 0.0 if feed == "coinbase:USDC/USD" else 10.0

    for minute in range(HOUR, HOUR + 30):
        for feed, price in sorted(CALM.items()):
            frozen = feed == "coinbase:USDC/USD"
            moved = 1.0 if frozen or "USDC" not in feed else usdc(-150.0)(feed, minute)
            floor.tell(quote(feed, minute, price * moved, volume(feed)))
        floor.tell(Tick(at(minute)))
    assert "coinbase:USDC/USD" in floor.issues(QualityIssue.FEED_STALE)
    seen = floor.asset("USDC")
    assert seen.cause is Cause.ISSUER
    assert seen.deviation_bp == pytest.approx(-150.0, abs=10.0)


def test_a_print_that_comes_and_goes_is_a_spike() -> None:
    """It is reported once; one print of the direct feed never decides."""
    floor = calm()
    floor.minutes(HOUR, HOUR, moved=one("kraken:USDC/USD", 0.8))
    assert abs(floor.asset("USDC").deviation_bp) < 20.0
    floor.minutes(HOUR + 1, HOUR + 3)
    assert floor.issues(QualityIssue.FEED_SPIKE) == ["kraken:USDC/USD"]


def test_late_quotes_move_nothing() -> None:
    """A price older than the last one has no effect."""
    floor = calm()
    before = floor.asset("USDC").deviation_bp
    floor.tell(quote("kraken:USDC/USD", 3, 0.5))
    floor.tell(Tick(at(HOUR)))
    assert floor.asset("USDC").deviation_bp == pytest.approx(before, abs=1.0)


def test_what_makes_no_feed_is_refused() -> None:
    """A pair of one asset, and a feed beyond the limit, are rejected with the reason."""
    floor = Floor(MarketConfig(max_feeds=1))
    (same,) = floor.tell(quote("kraken:USD/USD", 0, 1.0))
    assert isinstance(same, EventRejected)
    assert same.reason is RejectReason.FIELD_RANGE
    floor.tell(quote("kraken:USDC/USD", 0, 1.0))
    told, full = floor.tell(quote("kraken:USDT/USD", 0, 1.0))
    assert isinstance(told, DataQualityRaised)
    assert (told.issue, told.subject) == (QualityIssue.TABLE_FULL, "source:kraken")
    assert isinstance(full, EventRejected)
    assert (full.reason, full.detail) == (RejectReason.LIMIT_REACHED, "max_feeds=1")


def test_everything_moving_is_the_market() -> None:
    """If three pegged assets move to one side, the cause is the market, not the issuers."""
    feeds = dict(CALM) | {"kraken:EURX/USD": 1.0}
    floor = Floor()
    floor.stage.reference.assets["EURX"] = msgspec.structs.replace(
        floor.stage.reference.asset("USDC"), id="EURX"
    )
    feeds |= {"coinbase:EURX/USD": 1.0}
    try:
        floor.minutes(0, HOUR - 1, feeds)

        def moved(feed: str, minute: int) -> float:
            del minute
            return 1.0 if "BTC" in feed else 0.99

        coins = {k: v for k, v in feeds.items() if k != "kraken:BTC/USDC"}
        floor.minutes(HOUR, HOUR + 10, coins, moved=moved)
        causes = {floor.asset(n).cause for n in ("USDC", "USDT", "EURX")}
    finally:
        del floor.stage.reference.assets["EURX"]
    assert causes == {Cause.MARKET}


def random_quotes(seed: int, minutes: int) -> list[Quote | Tick]:
    """Generate an hour of random quotes: feeds start and stop, prices jump, some are late."""
    rng = random.Random(seed)
    made: list[Quote | Tick] = []
    for minute in range(minutes):
        feeds = [f for f in sorted(CALM) if rng.random() < 0.7]
        rng.shuffle(feeds)
        for feed in feeds:
            when = minute - (5 if rng.random() < 0.05 else 0)
            factor = rng.choice((1.0, 1.0, 1.0, 0.999, 0.99, 1.2))
            made.append(quote(feed, max(0, when), CALM[feed] * factor, rng.choice((0.0, 9.0))))
        made.append(Tick(at(minute)))
    return made


def encoded(outputs: list[MarketOutput]) -> list[bytes]:
    """Return outputs as bytes."""
    return [msgspec.json.encode(o, order="deterministic") for o in outputs]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 9_999), cut=st.integers(0, 400))
def test_stored_rows_are_the_whole_state(seed: int, cut: int) -> None:
    """Resuming from the rows at any point gives the same outputs and rows."""
    events = random_quotes(seed, 40)
    cut %= len(events) + 1
    whole, first, second = Floor(), Floor(), Floor()
    whole.tell(*events)
    made = first.tell(*events[:cut])
    rows = {k: v for k, v in first.state.drain().items() if v is not None}
    second.state.load(rows)
    made += second.tell(*events[cut:])
    for key, row in second.state.drain().items():
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row
    assert encoded(made) == encoded(whole.out)
    assert rows == {k: v for k, v in whole.state.drain().items() if v is not None}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 9_999))
def test_the_order_of_feeds_within_a_minute_does_not_matter(seed: int) -> None:
    """The fit takes the feeds in the order of their names."""
    rng = random.Random(seed)
    one_way, other = Floor(), Floor()
    for minute in range(30):
        said = [
            quote(f, minute, p * rng.choice((1.0, 0.999, 1.001))) for f, p in sorted(CALM.items())
        ]
        shuffled = list(said)
        rng.shuffle(shuffled)
        one_way.tell(*said, Tick(at(minute)))
        other.tell(*shuffled, Tick(at(minute)))
    assert encoded(one_way.out) == encoded(other.out)


def test_ticks_without_news_report_every_five_minutes() -> None:
    """Staleness is therefore reported without new messages."""
    floor = calm(10)
    reports = [
        minute for minute in range(10, 30)
        if any(isinstance(o, MarketReading) for o in floor.tell(Tick(at(minute))))
    ]  # fmt: skip
    assert reports == [14, 19, 24, 29]


def test_a_feed_whose_clock_is_ahead_of_the_tick() -> None:
    """It is as exact as a fresh one; a live worker accepts a few seconds."""
    floor = calm(5)
    book = msgspec.structs.replace(
        quote("kraken:BTC/USD", 6.1, BTC), bid=Decimal(19999), ask=Decimal(20001)
    )
    for edge in floor.state.edges.values():
        edge.band = 1e-9
    floor.tell(book, Tick(at(6)))
    assert floor.reading is not None


def test_an_impossible_price_moves_nothing_and_is_flagged_until_it_ends() -> None:
    """The other feeds of the asset go on; the reason states the bound."""
    floor = calm(5)
    before = floor.asset("BTC").price_usd
    floor.minutes(6, 8, moved=one("kraken:BTC/USD", 1e12))
    assert floor.issues(QualityIssue.OUT_OF_RANGE) == ["kraken:BTC/USD"]
    seen = floor.asset("BTC")
    assert seen.price_usd == pytest.approx(before, rel=1e-3)
    assert (seen.live, seen.expected) == (3, 4)
    (raised,) = [
        o for o in floor.out
        if isinstance(o, DataQualityRaised) and o.issue is QualityIssue.OUT_OF_RANGE
    ]  # fmt: skip
    assert "between 1e-12 and 1e12" in raised.detail
    floor.minutes(9, 40)
    assert floor.resolved(QualityIssue.OUT_OF_RANGE) == ["kraken:BTC/USD"]


def tangle(names: int, venue: str = "kraken") -> dict[str, float]:
    """Feeds that link invented assets and BTC in four random rings."""
    draw = random.Random(1)
    out: dict[str, float] = {}
    for _ in range(4):
        ring = ["BTC", *(f"X{n}" for n in range(names))]
        draw.shuffle(ring)
        out |= {f"{venue}:{a}/{b}": 1.0 for a, b in zip(ring, [*ring[1:], ring[0]], strict=True)}
    return out


def test_a_graph_made_to_be_dense_takes_nothing_from_known_assets() -> None:
    """Invented assets have no value and their writer is named; known assets keep theirs."""
    calm, floor = Floor(), Floor()
    calm.minutes(0, 20)
    floor.minutes(0, 20, dict(CALM) | tangle(300))
    for name in ("USDC", "USDT", "BTC"):
        assert floor.asset(name).price_usd == pytest.approx(calm.asset(name).price_usd, rel=1e-3)
        assert floor.asset(name).sd_bp < 10.0
    assert floor.asset("X7").live == 0
    assert floor.issues(QualityIssue.GRAPH_DENSE) == ["source:kraken"]
    assert floor.resolved(QualityIssue.GRAPH_DENSE) == []
    assert not [feed for feed in floor.issues(QualityIssue.FEED_STALE) if "X" in feed]
