"""The shared state of the sample firm: accounts, prices, and a schedule of actions."""

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
"""An action at an event time; it may schedule more actions."""

_DIGITS: Final = {"BTC": (2, 8)}
_DEFAULT_DIGITS: Final = (5, 2)


def digits(base: str) -> tuple[int, int]:
    """Return the decimals of (price, quantity) of `base`.

    Examples
    --------
    >>> digits("BTC"), digits("USDC")
    ((2, 8), (5, 2))
    """
    return _DIGITS.get(base, _DEFAULT_DIGITS)


class FirmSimulation:
    """The firm's accounts, prices, random generator and schedule.

    Parameters
    ----------
    accounts : Accounts
        Its holdings.
    hold, venues : tuple of str
        Coins held beside USD, and the venues.
    price : callable
        Prices at which it can trade.
    seed : int
        Seed of the random generator.
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
        self._sequence = count()

    def at(self, us: int, action: Action) -> None:
        """Schedule `action` at event time `us`, after earlier actions for the same time."""
        heappush(self._schedule, (us, next(self._sequence), action))

    def run(self, until: int) -> Iterator[Event]:
        """Run the scheduled actions up to and including `until` (microseconds)."""
        while self._schedule and self._schedule[0][0] <= until:
            us, _, action = heappop(self._schedule)
            yield from action(us)

    def span(self, low: float, high: float) -> int:
        """Draw a duration between `low` and `high` seconds: whole milliseconds, in microseconds."""
        return int(self.rng.uniform(low, high) * 1000) * (SECOND // 1000)
