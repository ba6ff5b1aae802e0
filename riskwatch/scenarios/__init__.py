"""Labelled episodes as data, and a sample firm to live through them.

To add an episode, add one TOML file under ``data``: a window, way-points per asset or feed
(facts that are published, never a copied series), the venues' feeds and their faults, credit
events, and labels that say what is right. :mod:`.episode` checks it when it is read,
:mod:`.market` turns it into quotes, :mod:`.book` adds fills, balances and transfers of a sample
firm, or :mod:`.firm` those of the firm that the file states. Everything is the same for the same
seed.
"""

from __future__ import annotations

from heapq import merge
from typing import TYPE_CHECKING

from riskwatch.scenarios.book import HOLD, book_events
from riskwatch.scenarios.episode import Episode, load, names
from riskwatch.scenarios.firm import firm_events
from riskwatch.scenarios.market import EpisodePrices, news, quotes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from riskwatch.core.events import Event

__all__ = ["Episode", "EpisodePrices", "book_events", "events", "load", "names"]


def events(
    name: str | Episode, seed: int = 1, *, book: bool = True, hold: Sequence[str] = HOLD
) -> Iterator[Event]:
    """All events of an episode in order of time: account events, then news, then quotes.

    Parameters
    ----------
    name : str or Episode
        Which episode.
    seed : int
        Same seed, same events.
    book : bool
        Whether a firm lives through it; else only the market and the news.
    hold : sequence of str
        What the sample firm holds beside USD; a firm that the episode states holds what it says.

    Raises
    ------
    RiskwatchError
        If there is no such episode, or the firm cannot hold such an asset.

    Examples
    --------
    >>> first = next(events("usdc_2023", book=False))
    >>> first.venue, first.base, str(first.last)
    ('kraken', 'USDC', '1.0000')
    """
    episode = load(name) if isinstance(name, str) else name
    streams: list[Iterator[Event]] = []
    if book and episode.holdings:
        streams.append(firm_events(episode, seed))
    elif book:
        prices = EpisodePrices(episode)
        streams.append(book_events(episode.start, episode.end, seed, hold=hold, price=prices))
    streams.append(iter([news(item, n) for n, item in enumerate(episode.credit)]))
    streams.extend(quotes(episode, feed, seed) for feed in episode.feeds)
    return merge(*streams, key=lambda event: event.ts)
