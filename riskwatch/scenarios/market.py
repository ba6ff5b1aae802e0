"""What the venues of an episode state: quotes and news, the same for the same seed."""

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
"""Noise beyond this many standard deviations is cut, so that way-points stay what they are."""


def generator(*parts: object) -> Random:
    """Make a generator for one purpose, so that one more draw here changes nothing there.

    Seeded from text, which Python hashes with SHA-512 whatever the process's hash seed is.
    """
    return Random("/".join(str(p) for p in parts))  # noqa: S311 - scenery, not secrets


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
        """Price of `base` in `quote` at `venue` at event time `us`, ``None`` if unknown."""
        own = self._feeds.get((venue, base, quote))
        if own is not None:
            return own.at(us)
        above, below = self._local(venue, base, us), self._local(venue, quote, us)
        return None if above is None or below is None else above / below

    def _local(self, venue: str, asset: str, us: int) -> float | None:
        """Value of `asset` in USD at one venue."""
        value, basis = self.value(asset, us), self._basis.get((venue, asset))
        return value if value is None or basis is None else value * basis.at(us)

    def value(self, asset: str, us: int) -> float | None:
        """Value of `asset` in USD across venues, ``None`` if the episode has no path of it."""
        if asset == "USD":
            return 1.0
        path = self._assets.get(asset)
        return None if path is None else path.at(us)

    def stress(self, us: int) -> float:
        """Multiplier of noise and spreads at `us`."""
        return self._stress.at(us)

    def noise_share(self, feed: EpisodeFeed, us: int) -> float:
        """Share of its noise that `feed` is allowed at `us`: none on way-points of its own."""
        own = self._feeds.get((feed.venue, feed.base, feed.quote))
        return 1.0 if own is None else own.noise_share(us)


def decimal(x: float, digits: int) -> Decimal:
    """`x` with `digits` decimals, exactly as it would be written.

    Examples
    --------
    >>> decimal(0.87404, 4)
    Decimal('0.8740')
    """
    return Decimal(f"{x:.{digits}f}")


def quotes(episode: Episode, feed: EpisodeFeed, seed: int) -> Iterator[Quote]:
    """Statements of one feed, in order of time.

    Parameters
    ----------
    episode : Episode
        Where its paths and its window are.
    feed : Feed
        The feed.
    seed : int
        Same seed, same statements.
    """
    prices = EpisodePrices(episode)
    rng = generator(episode.name, seed, feed.name)
    stale = [(micros(a), micros(b)) for a, b in feed.stale]
    prints = {micros(at): price for at, price in feed.prints}
    noise = 0.0
    last: Quote | None = None
    step = feed.every_s * SECOND
    for n, us in enumerate(range(micros(episode.start), micros(episode.end) + 1, step)):
        # Every draw is made at every step, so that a stale stretch shifts nothing after it.
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
        said = _quote(feed, us, n, price=price, half_spread_bp=half, volume=volume)
        if bad is None:  # a bad print is not what a stale book goes on repeating
            last = said
        yield said


def _quote(
    feed: EpisodeFeed, us: int, n: int, *, price: float, half_spread_bp: float, volume: float
) -> Quote:
    """State a trade and a book around it, never tighter than one tick each side."""
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
    """Repeat `last`, without a trade."""
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
    """Credit event of one piece of news."""
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
