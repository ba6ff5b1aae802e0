"""Deterministic corruption of recorded quotes, to test how a monitor handles bad data.

Each function takes events in the order of their time and yields them with the damage. Only quotes
of the given feed change; all other events are yielded as the same objects. A function raises
:class:`FeedError` at the end if no quote matched, so that a test cannot pass without damage.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from riskwatch.core.events import Quote
from riskwatch.core.money import EXACT, MAX_SCALE, ZERO, canonical
from riskwatch.errors import FeedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from riskwatch.core.events import Event

_ROUND: Final = Context(prec=400)
_QUANTUM: Final = Decimal(1).scaleb(-MAX_SCALE)


class FeedKey(NamedTuple):
    """Selects the quotes of a venue, or of one pair at a venue.

    Examples
    --------
    >>> FeedKey("kraken", "USDC", "USD")
    FeedKey(venue='kraken', base='USDC', quote='USD')
    """

    venue: str
    base: str | None = None
    quote: str | None = None

    def matches(self, event: Event) -> bool:
        """Return whether `event` is a quote of this feed."""
        return (
            isinstance(event, Quote)
            and event.venue == self.venue
            and self.base in {None, event.base}
            and self.quote in {None, event.quote}
        )


def bad_print(
    events: Iterable[Event], *, at: datetime, feed: FeedKey, factor: Decimal
) -> Iterator[Event]:
    """Multiply every price of one quote: the first quote of `feed` at or after `at`.

    Parameters
    ----------
    factor : Decimal
        Positive; ``Decimal("0.1")`` is a misplaced decimal point.

    Raises
    ------
    FeedError
        If `factor` is not positive and finite, or no quote matched.
    """
    if not factor.is_finite() or factor <= 0:
        raise FeedError(f"factor must be positive and finite, was {factor}")
    hit = False
    for event in events:
        if not hit and isinstance(event, Quote) and feed.matches(event) and event.ts >= at:
            hit = True
            yield msgspec.structs.replace(
                event,
                bid=_times(event.bid, factor),
                ask=_times(event.ask, factor),
                last=_times(event.last, factor),
            )
        else:
            yield event
    _require_hit("bad_print", feed, hit)


def stale_book(
    events: Iterable[Event], *, start: datetime, end: datetime, feed: FeedKey
) -> Iterator[Event]:
    """Freeze prices from `start` to before `end`, and set the volume to 0.

    Each pair keeps the prices and sizes of its last quote before `start`. Without such a quote, it
    keeps those of its first quote in the interval. The times of the quotes do not change.

    Raises
    ------
    FeedError
        If no quote matched.
    """
    frozen: dict[tuple[str, str], Quote] = {}
    hit = False
    for event in events:
        if not (isinstance(event, Quote) and feed.matches(event)):
            yield event
            continue
        pair = (event.base, event.quote)
        if start <= event.ts < end:
            hit = True
            old = frozen.setdefault(pair, event)
            yield msgspec.structs.replace(
                event,
                bid=old.bid,
                ask=old.ask,
                last=old.last,
                bid_size=old.bid_size,
                ask_size=old.ask_size,
                depth=old.depth,
                volume=ZERO,
            )
        else:
            frozen[pair] = event
            yield event
    _require_hit("stale_book", feed, hit)


def gap(
    events: Iterable[Event], *, start: datetime, end: datetime, feed: FeedKey
) -> Iterator[Event]:
    """Drop the quotes of `feed` from `start` to before `end`.

    Raises
    ------
    FeedError
        If no quote matched.
    """
    hit = False
    for event in events:
        if feed.matches(event) and start <= event.ts < end:
            hit = True
        else:
            yield event
    _require_hit("gap", feed, hit)


def _times(price: Decimal | None, factor: Decimal) -> Decimal | None:
    if price is None:
        return None
    return canonical(EXACT.multiply(price, factor).quantize(_QUANTUM, context=_ROUND))


def _require_hit(name: str, feed: FeedKey, hit: bool) -> None:
    if not hit:
        raise FeedError(f"{name} found no quote of {feed} in that time: nothing was damaged")
