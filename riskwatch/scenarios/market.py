"""The quotes and the news of an episode; the same seed gives the same ones."""

from __future__ import annotations

from decimal import Decimal
from math import exp
from random import Random
from typing import TYPE_CHECKING

from riskwatch.core.clock import SECOND, micros, moment
from riskwatch.core.events import Credit, Quote
from riskwatch.scenarios.path import PricePath

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.scenarios.episode import Episode, EpisodeFeed, News

_CLAMP = 2.5
"""Noise beyond this many standard deviations is cut, so that way-points keep their values."""


def generator(*parts: object) -> Random:
    """Return a random generator for one purpose.

    Separate generators keep the purposes independent: one more draw for one of them does not change
    the others. The seed is text, which Python hashes with SHA-512 whatever the process's hash seed
    is.
    """
    return Random("/".join(str(p) for p in parts))  # noqa: S311 - sample data, not secrets


class EpisodePrices:
    """Prices of an episode without noise; callable as ``prices(venue, base, quote, us)``."""

    def __init__(self, episode: Episode) -> None:
        self._assets = {name: PricePath(points) for name, points in episode.assets.items()}
        self._feeds = {
            (f.venue, f.base, f.quote): PricePath(f.points) for f in episode.feeds if f.points
        }
        self._basis = {(b.venue, b.asset): PricePath(b.points) for b in episode.basis}
        self._stress = PricePath(episode.stress or [(episode.start, 1.0)])

    def __call__(self, venue: str, base: str, quote: str, us: int) -> float | None:
        """Return the price of `base` in `quote` at `venue` at event time `us`, or ``None``."""
        own = self._feeds.get((venue, base, quote))
        if own is not None:
            return own.at(us)
        above, below = self._local(venue, base, us), self._local(venue, quote, us)
        return None if above is None or below is None else above / below

    def _local(self, venue: str, asset: str, us: int) -> float | None:
        """Return the value of `asset` in USD at one venue."""
        value, basis = self.value(asset, us), self._basis.get((venue, asset))
        return value if value is None or basis is None else value * basis.at(us)

    def value(self, asset: str, us: int) -> float | None:
        """Return the value of `asset` in USD across venues, ``None`` if it has no path."""
        if asset == "USD":
            return 1.0
        path = self._assets.get(asset)
        return None if path is None else path.at(us)

    def stress(self, us: int) -> float:
        """Return the multiplier of noise and spreads at `us`."""
        return self._stress.at(us)

    def noise_share(self, feed: EpisodeFeed, us: int) -> float:
        """Return the share of its noise that `feed` has at `us`: none on way-points of its own."""
        own = self._feeds.get((feed.venue, feed.base, feed.quote))
        return 1.0 if own is None else own.noise_share(us)


def decimal(x: float, digits: int) -> Decimal:
    """Return `x` with exactly `digits` decimals.

    Examples
    --------
    >>> decimal(0.87404, 4)
    Decimal('0.8740')
    """
    return Decimal(f"{x:.{digits}f}")


def quotes(episode: Episode, feed: EpisodeFeed, seed: int) -> Iterator[Quote]:
    """Yield the quotes of one feed, in order of time.

    Parameters
    ----------
    episode : Episode
        The episode with the paths and the window.
    feed : EpisodeFeed
        The feed.
    seed : int
        The same seed gives the same quotes.
    """
    prices = EpisodePrices(episode)
    rng = generator(episode.name, seed, feed.name)
    stale = [(micros(a), micros(b)) for a, b in feed.stale]
    prints = {micros(at): price for at, price in feed.prints}
    noise = 0.0
    last: Quote | None = None
    step = feed.every_s * SECOND
    for n, us in enumerate(range(micros(episode.start), micros(episode.end) + 1, step)):
        # Every draw is made at every step, so that a stale interval does not shift later draws.
        noise = 0.6 * noise + 0.8 * rng.gauss(0.0, 1.0)
        quiet = rng.random() < feed.quiet
        volume = feed.volume * exp(rng.gauss(0.0, 0.8)) * prices.stress(us)
        bad = prints.get(us)
        still = last is not None and (quiet or any(a <= us < b for a, b in stale))
        if bad is None and still and last is not None:
            if feed.carried:
                yield _repeat_quote(last, us, n)
            continue
        mid = prices(feed.venue, feed.base, feed.quote, us)
        if mid is None:
            raise ValueError(f"{feed.name} has no path at {moment(us).isoformat()}")
        cut = max(-_CLAMP, min(_CLAMP, noise)) * prices.stress(us) * prices.noise_share(feed, us)
        price = mid * exp(cut * feed.noise_bp * 1e-4) if bad is None else bad
        half = feed.half_spread_bp * prices.stress(us)
        made = _quote(feed, us, n, price=price, half_spread_bp=half, volume=volume)
        if bad is None:  # a stale book does not repeat a bad print
            last = made
        yield made


def _quote(
    feed: EpisodeFeed, us: int, n: int, *, price: float, half_spread_bp: float, volume: float
) -> Quote:
    """Return a quote with a trade and a book around it, at least one tick wide on each side."""
    last = decimal(price, feed.digits)
    tick = Decimal(1).scaleb(-feed.digits)
    half = max(tick, decimal(price * half_spread_bp * 1e-4, feed.digits))
    return Quote(
        v=1,
        event_id=f"{feed.base}-{feed.quote}-{n}",
        ts=moment(us),
        source=feed.venue,
        venue=feed.venue,
        base=feed.base,
        quote=feed.quote,
        bid=last - half,
        ask=last + half,
        last=last,
        volume=decimal(volume, 4),
    )


def _repeat_quote(last: Quote, us: int, n: int) -> Quote:
    """Return a repetition of `last`, without a trade."""
    return Quote(
        v=1,
        event_id=f"{last.base}-{last.quote}-{n}",
        ts=moment(us),
        source=last.source,
        venue=last.venue,
        base=last.base,
        quote=last.quote,
        bid=last.bid,
        ask=last.ask,
        last=last.last,
        volume=Decimal(0),
    )


def news(item: News, n: int) -> Credit:
    """Return the credit event of one news item."""
    return Credit(
        v=1,
        event_id=f"news-{n}",
        ts=item.at,
        source=item.source,
        subject=item.subject,
        kind=item.kind,
        agency=item.agency,
        rating=item.rating,
        previous=item.previous,
        jurisdiction=item.jurisdiction,
        assets=list(item.assets) or None,
        networks=list(item.networks) or None,
        note=item.note or None,
    )
