"""An order book that is rebuilt from events of single orders, in integers of 1e-8."""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from riskwatch.errors import FeedError

if TYPE_CHECKING:
    from collections.abc import Iterable

BookSide = Literal["bid", "ask"]

MAX_ORDERS: Final = 1_000_000
MAX_REMEMBERED: Final = 10_000
_WHOLE: Final = 10_000


class RestingOrder(NamedTuple):
    """A resting order; `price` and `size` are in units of 1e-8."""

    side: BookSide
    price: int
    size: int


class BookLevel(NamedTuple):
    """Best price of a side and the size that rests there, in units of 1e-8."""

    price: int
    size: int


class Book:
    """Open orders by id, sizes by price, and sorted prices.

    Examples
    --------
    >>> book = Book()
    >>> book.put("1", RestingOrder("bid", 100, 5)); book.put("2", RestingOrder("ask", 102, 7))
    >>> book.best("bid"), book.best("ask"), book.crossed()
    (BookLevel(price=100, size=5), BookLevel(price=102, size=7), False)
    """

    def __init__(self) -> None:
        self._orders: dict[str, RestingOrder] = {}
        self._sizes: dict[BookSide, dict[int, int]] = {"bid": {}, "ask": {}}
        self._prices: dict[BookSide, list[int]] = {"bid": [], "ask": []}
        self._deleted: dict[str, None] = {}

    def __contains__(self, order_id: str) -> bool:
        return order_id in self._orders

    def is_deleted(self, order_id: str) -> bool:
        """Return whether the order is among the last 10,000 deleted orders."""
        return order_id in self._deleted

    def put(self, order_id: str, order: RestingOrder) -> None:
        """Add an order, or replace the stored one; an order of size 0 adds nothing to the levels.

        Raises
        ------
        FeedError
            If more than a million orders are open, because deletions must be missing.
        """
        self._remove(order_id)
        if len(self._orders) >= MAX_ORDERS:
            raise FeedError(f"more than {MAX_ORDERS:,} orders are open: are deletions missing?")
        self._orders[order_id] = order
        if order.size:
            sizes = self._sizes[order.side]
            if order.price not in sizes:
                insort(self._prices[order.side], order.price)
            sizes[order.price] = sizes.get(order.price, 0) + order.size

    def delete(self, order_id: str) -> bool:
        """Remove an order permanently; return false if it was not in the book."""
        if len(self._deleted) >= MAX_REMEMBERED:
            del self._deleted[next(iter(self._deleted))]
        self._deleted[order_id] = None
        return self._remove(order_id)

    def best(self, side: BookSide) -> BookLevel | None:
        """Return the highest bid or the lowest ask, ``None`` if that side is empty."""
        prices = self._prices[side]
        if not prices:
            return None
        price = prices[-1] if side == "bid" else prices[0]
        return BookLevel(price, self._sizes[side][price])

    def crossed(self) -> bool:
        """Return whether the highest bid is at or above the lowest ask, so a match is under way."""
        bid, ask = self.best("bid"), self.best("ask")
        return bid is not None and ask is not None and bid.price >= ask.price

    def depth(self, bps: Iterable[int]) -> list[tuple[int, int, int]]:
        """Return the cumulated (bid, ask) sizes within each number of basis points of the mid.

        Examples
        --------
        >>> book = Book()
        >>> book.put("1", RestingOrder("bid", 9_990, 5))
        >>> book.put("2", RestingOrder("ask", 10_010, 7))
        >>> book.depth([5, 10])
        [(5, 0, 0), (10, 5, 7)]
        """
        bid, ask = self.best("bid"), self.best("ask")
        if bid is None or ask is None:
            return []
        twice_mid = bid.price + ask.price
        return [
            (
                n,
                self._within("bid", -(-twice_mid * (_WHOLE - n) // (2 * _WHOLE))),
                self._within("ask", twice_mid * (_WHOLE + n) // (2 * _WHOLE)),
            )
            for n in bps
        ]

    def _within(self, side: BookSide, limit: int) -> int:
        """Return the size from the best price up to and including `limit`."""
        prices, sizes = self._prices[side], self._sizes[side]
        if side == "bid":
            near = islice(prices, bisect_left(prices, limit), None)
        else:
            near = islice(prices, bisect_left(prices, limit + 1))
        return sum(sizes[price] for price in near)

    def _remove(self, order_id: str) -> bool:
        order = self._orders.pop(order_id, None)
        if order is None:
            return False
        if order.size:
            sizes = self._sizes[order.side]
            sizes[order.price] -= order.size
            if not sizes[order.price]:
                del sizes[order.price]
                prices = self._prices[order.side]
                del prices[bisect_left(prices, order.price)]
        return True
