"""The protocol of a reader of files of any shape, and what its readers share."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from decimal import Context
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from riskwatch.core.clock import moment
from riskwatch.core.events import UNALLOCATED, Adjustment, Fill, Transfer
from riskwatch.core.money import EXACT, MAX_SCALE, ZERO, add, canonical, mul, sub
from riskwatch.feeds.document import Form
from riskwatch.feeds.record import Reason, Tally
from riskwatch.feeds.symbol import split_pair
from riskwatch.feeds.values import BadCellError, number, parse_zone, time_us

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from decimal import Decimal

    from riskwatch.core.events import AdjustmentKind, Event, FillKind, Side
    from riskwatch.feeds.document import Document, Record

VENUE: Final = "--venue"
ACCOUNT: Final = "--account"
BASE: Final = "--base"
QUOTE: Final = "--quote"
ZONE: Final = "--zone"
AS_OF: Final = "--as-of"
MAP: Final = "--map"
AMPLIFICATION: Final = "--amplification"
CLOSING: Final = ":closing"
"""End of the id of a balance that a file states after its entries."""
MEANINGS: Final = (
    "date", "amount", "debit", "credit", "currency", "balance", "id", "text", "date_format",
    "decimal",
)  # fmt: skip
"""What a column of a bank's table can mean, and how its dates and numbers are written."""
_PREAMBLE_ZONE: Final = re.compile(
    r"Time ?Zone[:,]\s*\"?((?:UTC|GMT)?(?:[+-]\d{1,2})?(?::\d\d)?)", re.IGNORECASE
)
_WIDE: Final = Context(prec=60)
_NOT_NAME: Final = re.compile(r"[\s/:\x00-\x1f\x7f]+")


@dataclass(frozen=True)
class FileLabels:
    """What the events of a file are about, as far as the file does not say it.

    Attributes
    ----------
    venue, account, book : str
        Counterparty, account and book.
    wallet : str
        Wallet of a snapshot that names none.
    base, quote : str
        The pair of a file of prices that names none.
    amplification : str
        Amplification of a pool's invariant, as its contract states it; 0 for a constant product.
    step_us : int or None
        Distance of two quotes, microseconds; ``None`` leaves it to the reader.
    zone_us : int or None
        What the file's clock is ahead of UTC, microseconds.
    as_of_us : int or None
        Time of a snapshot that has none, microseconds.
    since_us, until_us : int or None
        Only entries with ``since_us <= time < until_us`` are read.
    trades : bool or None
        Whether the trades of a ledger are read; if nobody says so, they are.
    mapping : mapping of str to str
        Columns of a bank's table, by their meaning.
    """

    venue: str
    account: str = ""
    book: str = UNALLOCATED
    wallet: str = ""
    base: str = ""
    quote: str = ""
    amplification: str = ""
    step_us: int | None = None
    zone_us: int | None = None
    as_of_us: int | None = None
    since_us: int | None = None
    until_us: int | None = None
    trades: bool | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)


class StatedBalance(NamedTuple):
    """A balance that the file itself states after an entry, microseconds and amounts."""

    us: int
    row: int
    change: Decimal
    balance: Decimal


@dataclass
class FileReport:
    """What a reader found beside events.

    Attributes
    ----------
    tally : Tally
        Counts of the records.
    stated : dict
        The file's own running balances, by account, wallet and asset.
    unknown : Counter of str
        What the reader does not know, as text: kinds of entries, operations.
    totals, wrong_totals : int
        Entries with a total of the file's own, and those with another total than the event gives.
    first_us, last_us : int or None
        Times of the earliest and the latest event, microseconds.
    """

    tally: Tally = field(default_factory=Tally)
    stated: dict[tuple[str, str, str], list[StatedBalance]] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)
    totals: int = 0
    wrong_totals: int = 0
    first_us: int | None = None
    last_us: int | None = None

    def count(self, us: int) -> None:
        """Count an event, and note the first and the last time, microseconds."""
        self.tally.count_written(us)
        self.first_us = us if self.first_us is None else min(us, self.first_us)
        self.last_us = us if self.last_us is None else max(us, self.last_us)

    def state(self, place: tuple[str, str, str], line: StatedBalance) -> None:
        """Store a running balance of an account, a wallet and an asset."""
        self.stated.setdefault(place, []).append(line)

    def compare(self, computed: Decimal, stated: Decimal, digits: int = 0) -> None:
        """Count a total of the file's own, which may be off by one in the last of `digits`."""
        unit = EXACT.scaleb(1, -digits) if digits else ZERO
        self.totals += 1
        self.wrong_totals += abs(sub(computed, stated)) > unit


class Fit(NamedTuple):
    """How well a file has the shape of a reader: a score, and what is missing if that is 0."""

    score: int
    found: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class FileShape:
    """Base of the readers of files that are no series of bars.

    Attributes
    ----------
    name, about, gives : str
        Name for ``--format``, one line about the files, and the types of events that come out.
    venue : str or None
        Counterparty that the shape proves; ``None`` if a file may be of any.
    variants : tuple of frozenset of str
        Columns (or fields of JSON), any one set of which proves the shape.
    needs : tuple of str
        Options that a file cannot answer.
    is_stream : bool
        Whether events come in the order of their time, so that they need not be sorted.
    has_trades : bool
        Whether it is a ledger, whose trades another file may have, too.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    gives: ClassVar[str]
    venue: ClassVar[str | None] = None
    variants: ClassVar[tuple[frozenset[str], ...]] = ()
    needs: ClassVar[tuple[str, ...]] = (ACCOUNT,)
    forms: ClassVar[tuple[Form, ...]] = (Form.TABLE, Form.JSON)
    is_stream: ClassVar[bool] = False
    has_trades: ClassVar[bool] = False

    def fit(self, document: Document) -> Fit:
        """Return how well a file fits: the number of proving columns, and 10."""
        if document.form not in self.forms:
            return Fit(0, (), (f"a file of the form {' or '.join(self.forms)}",))
        have = frozenset(document.columns)
        best = Fit(0)
        for columns in self.variants:
            found = tuple(sorted(columns & have))
            missing = tuple(sorted(columns - have))
            made = Fit(0 if missing else 10 + len(columns), found, missing)
            better = len(made.found) * len(best.missing or "1") > len(best.found) * len(
                made.missing or "1"
            )
            if made.score > best.score or (not best.score and (better or best == Fit(0))):
                best = made
        return best

    def venue_of(self, document: Document) -> str | None:
        """Return the counterparty that a file states or proves, if it does."""
        del document
        return self.venue

    def account_of(self, document: Document) -> str | None:
        """Return the account that a file states, if it does."""
        del document
        return None

    def needed(self, document: Document) -> tuple[str, ...]:
        """Return the options that this file needs."""
        needs = tuple(
            need for need in self.needs if need != ACCOUNT or self.account_of(document) is None
        )
        return needs if self.venue_of(document) else (VENUE, *needs)

    def records(self, document: Document, report: FileReport) -> Iterator[Record]:
        """Yield the records of a file, and count each as read."""
        return document.records(report.tally)

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        raise NotImplementedError


class FileSession:
    """The reading of one file: what is remembered from one record to the next.

    Parameters
    ----------
    document : Document
        The file.
    labels : FileLabels
        What the events are about.
    report : FileReport
        Receives what is found beside events.
    source : str
        Source of the events.
    """

    def __init__(
        self, document: Document, labels: FileLabels, report: FileReport, source: str = ""
    ) -> None:
        self.document = document
        self.labels = labels
        self.report = report
        self.source = source or labels.venue
        self._seen: Counter[str] = Counter()
        zone = zone_of(document) if labels.zone_us is None else labels.zone_us
        self._zone_us = zone or 0

    def take(self, record: Record) -> Iterable[Event]:
        """Return the events of a record.

        Raises
        ------
        BadCellError
            If the record cannot be used; it is counted as skipped.
        """
        raise NotImplementedError

    def finish(self) -> Iterable[Event]:
        """Return the events that only the end of the file completes."""
        return ()

    def time(self, cell: Any) -> int:
        """Return the time of a cell, microseconds, in UTC.

        Raises
        ------
        BadCellError
            If it is no time, or outside of the range that was asked for.
        """
        us = time_us(cell if isinstance(cell, int) else _full_time(text(cell)))
        us -= 0 if _has_zone(cell) else self._zone_us
        early = self.labels.since_us is not None and us < self.labels.since_us
        late = self.labels.until_us is not None and us >= self.labels.until_us
        if early or late:
            raise BadCellError(Reason.OUTSIDE_RANGE, cell)
        return us

    def row_id(self, record: Record) -> str:
        """Return an id for a record that has none: a digest of its cells.

        The n-th record with equal cells has an id of its own. A file that overlaps with another
        one gives the same ids.
        """
        cells = "\x1f".join(f"{key}={record.cells[key]}" for key in sorted(record.cells))
        made = blake2b(cells.encode(), digest_size=12).hexdigest()
        self._seen[made] += 1
        return made if self._seen[made] == 1 else f"{made}-{self._seen[made]}"

    def adjustment(
        self,
        entry: str,
        us: int,
        asset: str,
        amount: Decimal,
        kind: AdjustmentKind,
        **more: Any,
    ) -> Adjustment:
        """Return an entry of the venue's ledger."""
        return Adjustment(
            **self._common(f"adjustment:{entry}", us), adjustment_id=entry, asset=asset,
            amount=canonical(amount), kind=kind, **more,
        )  # fmt: skip

    def movement(self, entry: str, us: int, asset: str, change: Decimal, **more: Any) -> Transfer:
        """Return a transfer that is done: a deposit if `change` is positive, else a withdrawal.

        The `fee` is charged beside it.
        """
        direction = "withdrawal" if change < 0 else "deposit"
        common = self._common(f"{direction}:{entry}", us)
        return Transfer(
            **common, transfer_id=entry, asset=asset, amount=canonical(abs(change)),
            **{"direction": direction, "status": "confirmed"} | more,
        )  # fmt: skip

    def fill(
        self,
        entry: str,
        us: int,
        pair: tuple[str, str],
        side: Side,
        qty: Decimal,
        price: Decimal,
        **more: Any,
    ) -> Fill:
        """Return an execution."""
        base, quote = pair
        return Fill(
            **self._common(f"fill:{base}{quote}:{entry}", us), base=base, quote=quote, side=side,
            qty=qty, price=price, **{"trade_id": entry} | more,
        )  # fmt: skip

    def _common(self, entry: str, us: int) -> dict[str, Any]:
        labels = self.labels
        return {
            "v": 1, "event_id": f"{labels.account}:{entry}", "ts": moment(us),
            "source": self.source, "counterparty": labels.venue, "account": labels.account,
            "book": labels.book,
        }  # fmt: skip

    def state(
        self, us: int, row: int, asset: str, amounts: tuple[Decimal, Decimal], wallet: str = ""
    ) -> None:
        """Store what the file states after an entry: the change, and the balance."""
        place = (self.labels.account, wallet, asset)
        self.report.state(place, StatedBalance(us, row, *amounts))


def text(cell: Any) -> str:
    """Return a cell as text without white space around it.

    Examples
    --------
    >>> text(" a "), text(None)
    ('a', '')
    """
    return "" if cell is None else str(cell).strip()


def amount(cell: Any, default: Decimal | None = None) -> Decimal:
    """Return the exact number of a cell; an empty one is `default`.

    Examples
    --------
    >>> amount("1,234.50"), amount("", ZERO)
    (Decimal('1234.5'), Decimal('0'))
    """
    found = text(cell).replace(",", "")
    if not found and default is not None:
        return default
    return number(found)


def digits_of(cell: Any) -> int:
    """Return the number of digits after the point of a cell.

    Examples
    --------
    >>> digits_of("99.9900"), digits_of("7")
    (4, 0)
    """
    return len(text(cell).partition(".")[2])


def name_of(cell: Any) -> str:
    """Return a cell as a name of the wire contract: no white space and no separators.

    Examples
    --------
    >>> name_of("spot / main")
    'spot-main'
    """
    return _NOT_NAME.sub("-", text(cell)).strip("-")


def first_name(document: Document, columns: tuple[str, ...]) -> str | None:
    """Return the name that one of some columns has in the first record; ``None`` if none has.

    A file of several of them has no single one.
    """
    column = next((each for each in columns if each in document.columns), None)
    if column is None:
        return None
    found = {name_of(record.cells.get(column)) for record in document.records(Tally())}
    return found.pop() or None if len(found) == 1 else None


def needed_name(cell: Any) -> str:
    """Return a cell as a name; refuse an empty one."""
    found = name_of(cell)
    if not found:
        raise BadCellError(Reason.MISSING, cell)
    return found


def side_of(cell: Any) -> Side:
    """Return the side of a cell.

    Examples
    --------
    >>> side_of("BUY"), side_of("s")
    ('buy', 'sell')
    """
    found = text(cell).lower()
    if found in {"buy", "b", "bid", "long"}:
        return "buy"
    if found in {"sell", "s", "ask", "short"}:
        return "sell"
    raise BadCellError(Reason.UNKNOWN_SIDE, cell)


def pair_of(cell: Any) -> tuple[str, str]:
    """Return base and quote of a market.

    Examples
    --------
    >>> pair_of("BTC/USDT:USDT"), pair_of("eth-usd"), pair_of("BTCUSDT")
    (('BTC', 'USDT'), ('ETH', 'USD'), ('BTC', 'USDT'))
    """
    symbol = text(cell).partition(":")[0]
    for separator in "/-_":
        parts = symbol.split(separator)
        if len(parts) >= 2 and parts[0] and parts[1]:
            return parts[0].upper(), parts[1].upper()
    found = split_pair(symbol)
    if found is None:
        raise BadCellError(Reason.UNKNOWN_PAIR, cell)
    return found


def value_of(qty: Decimal, price: Decimal) -> Decimal:
    """Return the exact product of a quantity and a price."""
    return canonical(mul(qty, price))


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Return the exact sum of some amounts."""
    found = ZERO
    for each in amounts:
        found = add(found, each)
    return found


def kind_of(market: str) -> FillKind:
    """Return what kind of market a type is, as clients and venues name it.

    Examples
    --------
    >>> kind_of("SWAP"), kind_of("MARGIN"), kind_of("FUTURES")
    ('perp', 'spot', 'future')
    """
    found = market.lower()
    if "swap" in found or "perp" in found or found in {"linear", "inverse"}:
        return "perp"
    if "futur" in found or "delivery" in found:
        return "future"
    return "option" if "option" in found else "spot"


def _has_zone(cell: Any) -> bool:
    """Whether a time says its zone, or is an epoch."""
    found = text(cell)
    return bool(re.fullmatch(r"\d+(\.\d*)?", found) or re.search(r"(Z|UTC|[+-]\d\d:?\d\d)$", found))


def _full_time(found: str) -> str:
    """Return a time with a year of four digits and an hour of two.

    Examples
    --------
    >>> _full_time("21-07-29 1:19:30"), _full_time("2021-07-29 10:19:30 UTC")
    ('2021-07-29 01:19:30', '2021-07-29 10:19:30Z')
    """
    found = re.sub(r"^(\d\d-\d\d-\d\d[ T])", r"20\1", found)
    return re.sub(r"^(\d{4}-\d\d-\d\d[ T])(\d:)", r"\g<1>0\2", found).replace(" UTC", "Z")


def ccxt_market(symbol: str) -> tuple[FillKind, str | None, bool]:
    """Return kind and instrument of a symbol of ccxt, and whether it settles in its base.

    Examples
    --------
    >>> ccxt_market("BTC/USD"), ccxt_market("BTC/USDT:USDT")
    (('spot', None, False), ('perp', 'BTC/USDT:USDT', False))
    >>> ccxt_market("BTC/USD:BTC-230331"), ccxt_market("BTC/USD:BTC-230331-30000-C")[0]
    (('future', 'BTC/USD:BTC-230331', True), 'option')
    """
    pair, _, settled = symbol.partition(":")
    if not settled:
        return "spot", None, False
    parts = settled.split("-")
    kinds: tuple[FillKind, ...] = ("perp", "future", "option")
    is_inverse = parts[0] == pair.partition("/")[0]
    return kinds[min(len(parts), 3) - 1], symbol, is_inverse


def exact_ratio(value: Decimal, price: Decimal) -> Decimal | None:
    """Return a value divided by a price, if that has an end within the digits of the contract.

    Examples
    --------
    >>> from decimal import Decimal
    >>> exact_ratio(Decimal("15"), Decimal("30000")), exact_ratio(Decimal(1), Decimal(3))
    (Decimal('0.0005'), None)
    """
    found = canonical(_WIDE.divide(value, price))
    exponent = found.as_tuple().exponent
    fits = isinstance(exponent, int) and exponent >= -MAX_SCALE
    return found if fits and mul(found, price) == value else None


def zone_of(document: Document) -> int | None:
    """Return what the clock of a file is ahead of UTC, as the lines before its header state it.

    Microseconds; ``None`` if they do not say it.
    """
    found = _PREAMBLE_ZONE.search(document.preamble)
    return parse_zone(found[1]) if found and found[1] else None
