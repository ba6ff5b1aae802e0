"""Which new feed has room in the table of feeds, and which feed makes room for a better one.

A feed has a rank: 0 for a venue that the reference data does not list, 1 for a listed venue with an
asset that it does not list, 2 if it lists the venue and both assets. A feed of rank 2 always finds
room before others do, and no writer takes all of it with names that it invents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from riskwatch.core.events import Peg, Quote
    from riskwatch.core.market.state import FeedState, MarketState
    from riskwatch.core.reference import Reference

UNLISTED: Final = 0
"""Rank of a feed of a venue that is not listed."""
BEST: Final = 2
UNLISTED_SHARE: Final = 4
"""One writer has at most one in this many of all feeds at venues that are not listed."""


class FeedTable:
    """Counts of feeds by rank and writer, derived from the rows, and the decision who has room.

    Parameters
    ----------
    reference : Reference
        Listed venues and assets.
    most : int
        Most feeds.
    """

    def __init__(self, reference: Reference, most: int) -> None:
        self._reference = reference
        self._most = most

    def rank(self, venue: str, base: str, quote: str) -> int:
        """Return the rank of a feed."""
        if not self._reference.is_listed_venue(venue):
            return UNLISTED
        known = self._reference.assets
        return BEST if base in known and quote in known else 1

    def make_room(
        self, state: MarketState, event: Quote | Peg, base: str, quote: str
    ) -> tuple[bool, str | None]:
        """Make room for a new feed.

        Returns
        -------
        has_room : bool
            Whether the feed has room.
        loser : str or None
            The writer who had to give way: of this feed, or of the one that was removed for it.
        """
        counts, source = self._counts(state), event.source
        rank = self.rank(event.venue, base, quote)
        mine = counts.get((rank, source), 0)
        if rank == UNLISTED and mine >= max(1, self._most // UNLISTED_SHARE):
            return False, source
        if len(state.edges) < self._most:
            return True, None
        lowest = min(each for each, _ in counts)
        size, loser = max((n, writer) for (each, writer), n in counts.items() if each == lowest)
        if lowest > rank or (lowest == rank and size <= mine + 1):
            return False, source
        self.remove(state, self._quietest(state, lowest, loser))
        return True, loser

    def add(self, state: MarketState, key: str, edge: FeedState) -> None:
        """Add a feed."""
        counts = self._counts(state)
        state.edges[key] = edge
        place = self._place(edge)
        counts[place] = counts.get(place, 0) + 1

    def remove(self, state: MarketState, key: str) -> None:
        """Remove a feed."""
        counts = self._counts(state)
        edge = state.edges.pop(key)
        place = self._place(edge)
        counts[place] -= 1
        if not counts[place]:
            del counts[place]
        state.mark(f"edge/{key}")

    def _place(self, edge: FeedState) -> tuple[int, str]:
        return self.rank(edge.venue, edge.base, edge.quote), edge.source

    def _counts(self, state: MarketState) -> dict[tuple[int, str], int]:
        if state.counts is None:
            state.counts = {}
            for edge in state.edges.values():
                place = self._place(edge)
                state.counts[place] = state.counts.get(place, 0) + 1
        return state.counts

    def _quietest(self, state: MarketState, rank: int, source: str) -> str:
        """Return the feed of a rank and writer that has been silent for longest."""
        return min(
            (edge.heard, key)
            for key, edge in state.edges.items()
            if self._place(edge) == (rank, source)
        )[1]
