"""The episode of USDC in March 2023 has the published facts, whatever the seed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import msgspec
import pytest

from riskwatch import scenarios
from riskwatch.core.events import Credit, Quote
from riskwatch.errors import ConfigError, RiskwatchError
from riskwatch.scenarios.episode import load, parse
from riskwatch.scenarios.market import quotes
from riskwatch.scenarios.path import PricePath

MINUTE = timedelta(minutes=1)


def stated(feed: str, seed: int = 1) -> list[Quote]:
    """Return all quotes of one feed of the episode."""
    episode = load("usdc_2023")
    return list(quotes(episode, next(f for f in episode.feeds if f.name == feed), seed))


def at(day: int, hour: int, minute: int) -> datetime:
    """Return a minute of March 2023."""
    return datetime(2023, 3, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize("seed", range(8))
def test_kraken_crosses_each_level_when_it_did(seed: int) -> None:
    """The first close below each level, the low, and the last close below 0.99 are exact."""
    closes = [(q.ts, q.last or Decimal(0)) for q in stated("kraken:USDC/USD", seed)]
    facts = {
        "0.998": at(10, 21, 52),
        "0.995": at(10, 22, 2),
        "0.99": at(11, 3, 10),
        "0.98": at(11, 3, 24),
        "0.95": at(11, 3, 39),
        "0.90": at(11, 6, 42),
    }
    for level, when in facts.items():
        first = next(ts for ts, close in closes if close < Decimal(level))
        assert abs(first - when) <= MINUTE, level
    assert min((close, ts) for ts, close in closes) == (Decimal("0.8740"), at(11, 7, 15))
    last = max(ts for ts, close in closes if close < Decimal("0.99"))
    assert abs(last - at(13, 12, 52)) <= MINUTE


@pytest.mark.parametrize("seed", range(4))
def test_usdt_premium_peaks_where_it_did(seed: int) -> None:
    """USDT's highest price anywhere is Kraken's 1.0186."""
    highs = {
        feed: max(q.last or Decimal(0) for q in stated(feed, seed))
        for feed in ("kraken:USDT/USD", "coinbase:USDT/USD")
    }
    assert highs["kraken:USDT/USD"] == Decimal("1.0186")
    assert highs["coinbase:USDT/USD"] < Decimal("1.0186") + Decimal("0.0015")


def test_bad_print_stands_alone_in_a_stale_book() -> None:
    """Binance.US repeats one price without volume, except for 0.822 at 04:30."""
    window = [q for q in stated("binanceus:USDC/USDT") if at(11, 4, 5) <= q.ts < at(11, 4, 40)]
    bad = [q for q in window if q.ts == at(11, 4, 30)]
    rest = [q for q in window if q.ts != at(11, 4, 30)]
    assert [q.last for q in bad] == [Decimal("0.8220")]
    assert bad[0].volume
    assert {q.volume for q in rest} == {Decimal(0)}
    assert len({(q.bid, q.ask, q.last) for q in rest}) == 1
    assert len(rest) == 34


def test_quiet_minutes_are_left_out_or_carried_forward_as_the_venue_does() -> None:
    """In a minute without a trade Kraken has no quote; Binance.US repeats with zero volume."""
    kraken, binance = stated("kraken:BTC/USDC"), stated("binanceus:BTC/USDC")
    minutes = (at(13, 16, 0) - at(10, 12, 0)) // MINUTE + 1
    assert 0.55 * minutes < len(kraken) < 0.75 * minutes
    assert all(q.volume for q in kraken)
    assert len(binance) == minutes
    for before, after in pairwise(binance):
        if after.volume == 0:
            assert (after.bid, after.ask, after.last) == (before.bid, before.ask, before.last)


def test_books_are_never_crossed_and_prices_stay_near_the_path() -> None:
    """Bid is below last and last below ask, and BTC stays within noise of its path."""
    prices = scenarios.EpisodePrices(load("usdc_2023"))
    for quote in stated("coinbase:BTC/USDT"):
        assert quote.bid is not None
        assert quote.last is not None
        assert quote.ask is not None
        assert 0 < quote.bid < quote.last < quote.ask
        us = int(quote.ts.timestamp()) * 1_000_000
        fair = prices("coinbase", "BTC", "USDT", us)
        assert fair is not None
        assert abs(float(quote.last) / fair - 1.0) < 2.5 * 3.0 * 3.0 * 1e-4 + 1e-6


def test_events_are_sorted_unique_and_the_same_for_the_same_seed() -> None:
    """Events are ordered and have unique identities; another seed changes prices, not facts."""
    events, again, other = (list(scenarios.events("usdc_2023", seed)) for seed in (7, 7, 8))
    first, second, third = (msgspec.json.encode(made) for made in (events, again, other))
    assert first == second
    assert first != third
    assert all(a.ts <= b.ts for a, b in pairwise(events))
    assert len({(e.source, e.event_id) for e in events}) == len(events)
    news = [(e.ts, e.subject, e.kind) for e in events if isinstance(e, Credit)]
    assert news[0] == (at(11, 3, 10), "circle", "disclosure")
    assert news[1][1] == "coinbase"


def test_path_passes_through_its_points_and_is_straight_in_log() -> None:
    """The geometric mean is half way; the path is flat outside; way-points have no noise."""
    path = PricePath([(at(1, 0, 0), 1.0), (at(1, 1, 0), 4.0)])
    hour = 3_600_000_000
    start = int(at(1, 0, 0).timestamp()) * 1_000_000
    assert path.at(start) == 1.0
    assert path.at(start + hour // 2) == pytest.approx(2.0)
    assert path.at(start - hour) == 1.0
    assert path.at(start + 9 * hour) == pytest.approx(4.0)
    assert path.noise_share(start) == 0.0
    assert path.noise_share(start + 150_000_000) == pytest.approx(0.5)
    assert path.noise_share(start + hour // 2) == 1.0


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "at least one"),
        ([(at(1, 0, 0), 1.0), (at(1, 0, 0), 2.0)], "order of time"),
        ([(at(1, 0, 0), 0.0)], "must be positive"),
        ([(at(1, 0, 0), float("nan"))], "must be positive"),
    ],
)
def test_impossible_way_points_are_refused(
    points: list[tuple[datetime, float]], message: str
) -> None:
    """No way-point, two values at one time, and a value that is not a price are refused."""
    with pytest.raises(ValueError, match=message):
        PricePath(points)


GOOD = """
name = "x"
title = "x"
start = 2023-03-10T12:00:00Z
end = 2023-03-10T13:00:00Z
[assets]
USDC = [[2023-03-10T12:00:00Z, 1.0]]
[[feeds]]
venue = "v"
base = "USDC"
quote = "USD"
digits = 4
noise_bp = 1.0
half_spread_bp = 1.0
volume = 1.0
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2023-03-10T13", "2023-03-10T11", "a moment after start"),
        ('base = "USDC"', 'base = "DAI"', "found 'DAI'"),
        ("digits = 4", "digits = 99", "digits"),
        ("noise_bp = 1.0", "noise = 1.0", "noise"),
        ("1.0]]", "-1.0]]", "must be positive"),
        ("volume = 1.0", 'volume = 1.0\n[[labels]]\nscope = "firm"\nwhy = "y"\nat_least = "HALT"',
         "by when"),
    ],
)  # fmt: skip
def test_an_episode_that_cannot_be_used_is_refused(old: str, new: str, message: str) -> None:
    """The error names each mistake, with the file."""
    assert parse(GOOD.encode(), "x").name == "x"
    with pytest.raises(ConfigError, match=message) as caught:
        parse(GOOD.replace(old, new).encode(), "x")
    assert caught.value.file == "x.toml"


def test_an_unknown_episode_is_named_with_the_known_ones() -> None:
    """The error names the known episodes."""
    with pytest.raises(RiskwatchError, match=r"'svb'; there are: .*usdc_2023"):
        load("svb")
