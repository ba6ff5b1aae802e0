"""Labelled episodes as data, and the events of a sample firm during an episode.

To add an episode, add one TOML file under ``data``: a window, way-points per asset or feed
(published facts, never a copied series), the venues' feeds and their faults, credit events, and
labels with the correct assessment. :mod:`.episode` checks the file when it is read. :mod:`.market`
makes quotes from it. :mod:`.book` adds fills, balances and transfers of a sample firm; :mod:`.firm`
adds those of the firm that the file describes instead. The same seed gives the same events.
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
    """Return all events of an episode in order of time: account events, news, quotes.

    Parameters
    ----------
    name : str or Episode
        The episode, or its name.
    seed : int
        The same seed gives the same events.
    book : bool
        Whether to add the account events of a firm; otherwise only the market and the news.
    hold : sequence of str
        Assets that the sample firm holds beside USD. An episode that describes its own firm also
        gives the holdings.

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
