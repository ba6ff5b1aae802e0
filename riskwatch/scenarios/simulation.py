"""What every part of the sample firm shares: accounts, prices, a diary of what comes next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import SECOND
from riskwatch.core.events import Event
from riskwatch.scenarios.market import generator

if TYPE_CHECKING:
    from riskwatch.scenarios.accounts import Accounts

PriceOf = Callable[[str, str, str, int], float | None]
"""``(venue, base, quote, us) -> price``, ``None`` where there is none."""

Action = Callable[[int], Iterator[Event]]
"""Something done at an event time; it may put more into the diary."""

_DIGITS: Final = {"BTC": (2, 8)}
_DEFAULT_DIGITS: Final = (5, 2)


def digits(base: str) -> tuple[int, int]:
    """Decimals of (price, quantity) of `base`.

    Examples
    --------
    >>> digits("BTC"), digits("USDC")
    ((2, 8), (5, 2))
    """
    return _DIGITS.get(base, _DEFAULT_DIGITS)


class FirmSimulation:
    """The firm's accounts, the prices it sees, its own luck, and its diary.

    Parameters
    ----------
    accounts : Accounts
        What it holds.
    hold, venues : tuple of str
        Coins beside USD, and where.
    price : callable
        What it can trade at.
    seed : int
        Its luck.
    """

    def __init__(
        self,
        accounts: Accounts,
        *,
        hold: tuple[str, ...],
        venues: tuple[str, ...],
        price: PriceOf,
        seed: int,
    ) -> None:
        self.accounts = accounts
        self.hold = hold
        self.venues = venues
        self.price = price
        self.rng = generator("book", seed)
        self.numbers = {venue: count(1) for venue in venues}
        self._schedule: list[tuple[int, int, Action]] = []
        self._turn = count()

    def at(self, us: int, action: Action) -> None:
        """Do `action` at event time `us`, after whatever is already there at that time."""
        heappush(self._schedule, (us, next(self._turn), action))

    def run(self, until: int) -> Iterator[Event]:
        """Work through the diary up to `until` (microseconds), included."""
        while self._schedule and self._schedule[0][0] <= until:
            us, _, action = heappop(self._schedule)
            yield from action(us)

    def span(self, low: float, high: float) -> int:
        """Draw a span between `low` and `high` seconds: whole milliseconds, in microseconds."""
        return int(self.rng.uniform(low, high) * 1000) * (SECOND // 1000)
