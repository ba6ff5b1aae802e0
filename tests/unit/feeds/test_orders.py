"""The reader of order events: quotes, depth, crossed books, invalid rows."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import TYPE_CHECKING

from riskwatch.core.clock import SECOND
from riskwatch.feeds import Reason, Tally, plan, read_quotes
from riskwatch.feeds.book import MAX_REMEMBERED, Book, BookSide, RestingOrder
from tests.unit.feeds import samples

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.core.events import Quote

HEADER = "id,timestamp,exchange.timestamp,price,volume,action,direction"


def row(ms: int, order: int, action: str, side: str, price: str, size: int) -> str:
    """Return one line, `ms` after the start."""
    at = samples.START * 1000 + ms
    return f"{order},{at},{at},{price},{size},{action},{side}"


def read(path: Path, lines: list[str], step_us: int = SECOND) -> tuple[list[Quote], Tally]:
    """Rebuild a book from lines."""
    tally = Tally()
    samples.write(path, [HEADER, *lines])
    made = plan(path, venue="here", base="BTC", quote="USD", step_us=step_us)
    assert made.reader.name == "orders"
    quotes = list(read_quotes(made, tally))
    assert tally.read == tally.used + tally.skipped == len(lines)
    return quotes, tally


def test_one_quote_per_second_with_news(tmp_path: Path) -> None:
    """A second with events gives a quote of the book at its end; other seconds give none."""
    lines = [
        row(0, 1, "created", "bid", "100.00", 200_000_000),
        row(1, 2, "created", "ask", "100.10", 50_000_000),
        row(2, 3, "created", "bid", "99.96", 100_000_000),
        row(999, 1, "changed", "bid", "100.00", 150_000_000),
        row(5000, 1, "deleted", "bid", "100.00", 0),
    ]
    first, second = read(tmp_path / "o.csv", lines)[0]
    assert first.ts.timestamp() == samples.START + 1
    assert (first.bid, first.ask) == (Decimal(100), Decimal("100.1"))
    assert (first.bid_size, first.ask_size) == (Decimal("1.5"), Decimal("0.5"))
    assert first.depth is not None
    depth = {int(bps): (bid, ask) for bps, bid, ask in first.depth}
    assert depth[5] == (Decimal("1.5"), Decimal("0.5"))  # mid 100.05: 99.999975 to 100.100025
    assert depth[10] == (Decimal("2.5"), Decimal("0.5"))  # from 99.94995
    assert second.ts.timestamp() == samples.START + 6
    assert second.bid == Decimal("99.96")


def test_an_order_that_moves_leaves_its_old_price(tmp_path: Path) -> None:
    """A change of price removes the size from the old price."""
    lines = [
        row(0, 1, "created", "bid", "100", 1),
        row(1, 2, "created", "ask", "101", 1),
        row(2, 1, "changed", "bid", "99", 1),
    ]
    assert [q.bid for q in read(tmp_path / "o.csv", lines)[0]] == [Decimal(99)]


def test_a_deleted_order_stays_deleted(tmp_path: Path) -> None:
    """A late event of a deleted order does not restore it."""
    lines = [
        row(0, 1, "created", "bid", "100", 1),
        row(0, 2, "created", "ask", "101", 1),
        row(1, 9, "deleted", "bid", "100.5", 5),
        row(2, 9, "created", "bid", "100.5", 5),
        row(3, 9, "changed", "bid", "100.5", 4),
        row(4, 9, "deleted", "bid", "100.5", 0),
    ]
    quotes, tally = read(tmp_path / "o.csv", lines)
    assert [q.bid for q in quotes] == [Decimal(100)]
    assert dict(tally.skips) == {
        Reason.UNKNOWN_ORDER: 1,
        Reason.DELETED_ORDER: 2,
        Reason.DUPLICATE: 1,
    }


def test_a_change_tells_of_an_order_from_before(tmp_path: Path) -> None:
    """A change adds an order that was placed before the recording."""
    lines = [row(0, 1, "changed", "bid", "100", 3), row(1, 2, "changed", "ask", "101", 4)]
    assert [q.bid_size for q in read(tmp_path / "o.csv", lines)[0]] == [Decimal("3E-8")]


def test_a_crossed_or_one_sided_book_gives_no_quote(tmp_path: Path) -> None:
    """It is counted as withheld, and the next valid second gives a quote."""
    lines = [
        row(0, 1, "created", "bid", "100", 1),
        row(1000, 2, "created", "ask", "101", 1),
        row(2000, 3, "created", "bid", "101", 1),
        row(3000, 2, "deleted", "ask", "101", 0),
        row(3001, 4, "created", "ask", "102", 0),
        row(3002, 5, "created", "ask", "103", 1),
    ]
    quotes, tally = read(tmp_path / "o.csv", lines)
    assert [(q.bid, q.ask) for q in quotes] == [
        (Decimal(100), Decimal(101)),
        (Decimal(101), Decimal(103)),
    ]
    assert tally.withheld == {"one_sided": 1, "crossed": 1}


def test_rows_that_no_book_has(tmp_path: Path) -> None:
    """Each invalid row is skipped with its own reason and changes nothing."""
    lines = [
        row(0, 1, "created", "bid", "100", 1),
        row(0, 2, "created", "ask", "101", 1),
        row(5000, 3, "amended", "bid", "100", 1),
        row(5000, 3, "created", "buy", "100", 1),
        row(5000, 3, "created", "bid", "0", 1),
        row(5000, 3, "created", "bid", "100", -1),
        row(5000, 3, "created", "bid", "100", 1).replace(",1,created", ",1.5,created"),
        row(5000, 1, "created", "bid", "100", 1),
        row(0, 4, "created", "bid", "100.5", 1),
    ]
    quotes, tally = read(tmp_path / "o.csv", lines)
    assert len(quotes) == 1
    assert dict(tally.skips) == {
        Reason.NOT_AN_ORDER: 2,
        Reason.NOT_POSITIVE: 1,
        Reason.NEGATIVE_VOLUME: 1,
        Reason.NOT_A_NUMBER: 1,
        Reason.DUPLICATE: 1,
        Reason.OUT_OF_ORDER: 1,
    }


def test_a_longer_step(tmp_path: Path) -> None:
    """``--step`` sets the distance of quotes, on its own grid."""
    lines = samples.orders_csv(tmp_path / "all.csv", 60).read_text().splitlines()[1:]
    quotes, _ = read(tmp_path / "o.csv", lines, 10 * SECOND)
    assert [q.ts.timestamp() - samples.START for q in quotes] == [10, 20, 30, 40, 50, 60]


def test_the_book_equals_a_plain_recount() -> None:
    """After any sequence of events, best prices and depth equal those of a slow recount."""
    rng = random.Random(7)
    book, live = Book(), dict[str, RestingOrder]()
    for n in range(3000):
        order_id = str(rng.randrange(60))
        if rng.random() < 0.4:
            assert book.delete(order_id) == (live.pop(order_id, None) is not None)
        else:
            side: BookSide = "bid" if rng.random() < 0.5 else "ask"
            centre = 9_980 if side == "bid" else 10_020
            live[order_id] = RestingOrder(side, centre + rng.randrange(-15, 16), rng.randrange(4))
            book.put(order_id, live[order_id])
        resting = [order for order in live.values() if order.size]
        bids = [order for order in resting if order.side == "bid"]
        asks = [order for order in resting if order.side == "ask"]
        if not bids or not asks:
            continue
        top, low = max(o.price for o in bids), min(o.price for o in asks)
        bid, ask = book.best("bid"), book.best("ask")
        assert bid == (top, sum(o.size for o in bids if o.price == top)), n
        assert ask == (low, sum(o.size for o in asks if o.price == low)), n
        mid = Decimal(top + low) / 2
        for bps, bid_size, ask_size in book.depth([1, 10, 25]):
            reach = mid * bps / 10_000
            assert bid_size == sum(o.size for o in bids if o.price >= mid - reach)
            assert ask_size == sum(o.size for o in asks if o.price <= mid + reach)


def test_memory_of_deletions_is_bounded() -> None:
    """The oldest deletion is dropped first."""
    book = Book()
    for n in range(MAX_REMEMBERED + 1):
        book.delete(str(n))
    assert (book.is_deleted("0"), book.is_deleted("1"), book.is_deleted(str(MAX_REMEMBERED))) == (
        False,
        True,
        True,
    )
