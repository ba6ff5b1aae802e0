"""Data types of an import: feeds, bars, skipped rows, and the tally of all rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from riskwatch.core.events import Name
from riskwatch.errors import FeedError

if TYPE_CHECKING:
    from collections.abc import Callable


class Reason(StrEnum):
    """Why a row became no quote. Every row that was read is used or has one of these reasons."""

    MISSING = "missing"
    """A required cell is empty."""
    NOT_FINITE = "not_finite"
    """A cell is NaN or infinite."""
    NOT_A_NUMBER = "not_a_number"
    """A cell is text that is not a decimal number."""
    TOO_LARGE = "too_large"
    """A number has more than 24 digits before the point, or more than 18 after it."""
    BAD_TIME = "bad_time"
    """The time is missing, invalid, or outside 1990 to 2100."""
    NOT_POSITIVE = "not_positive"
    """A price is zero or negative."""
    NEGATIVE_VOLUME = "negative_volume"
    """A volume is negative."""
    HIGH_BELOW_LOW = "high_below_low"
    """The bar's high is lower than its low."""
    CLOSE_OUTSIDE = "close_outside_range"
    """The bar's close is not between its low and its high: the row contradicts itself."""
    WRONG_WIDTH = "wrong_width"
    """The line has more or fewer cells than the header."""
    OTHER_SYMBOL = "other_symbol"
    """The row is about another pair than the first row."""
    DUPLICATE = "duplicate"
    """The same bar, or the same order, occurs again."""
    CONFLICT = "conflict"
    """A bar has the opening time of an earlier one but other numbers; the first is kept."""
    OUT_OF_ORDER = "out_of_order"
    """The row is older than a row already written, by more than the reordering window."""
    OUTSIDE_RANGE = "outside_range"
    """The row is valid, but outside the requested time range."""
    UNKNOWN_ORDER = "unknown_order"
    """A deletion of an order that was placed before the recording began."""
    DELETED_ORDER = "deleted_order"
    """The row is about an order that was already deleted, and must not restore it."""
    NOT_AN_ORDER = "not_an_order"
    """The row's action or side is not one of an order book."""
    NOT_FINAL = "not_final"
    """The entry is not completed, or was cancelled; it moved nothing."""
    NO_EFFECT = "no_effect"
    """The entry moves nothing and states nothing that riskwatch keeps."""
    UNKNOWN_PAIR = "unknown_pair"
    """The market does not say which asset is priced in which."""
    UNKNOWN_SIZE = "unknown_size"
    """The row states contracts, and not how much of the asset a contract is."""
    UNKNOWN_TRADE = "unknown_trade"
    """A correction of a trade that the file does not contain."""
    UNKNOWN_SIDE = "unknown_side"
    """The side is neither a purchase nor a sale."""
    UNKNOWN_STATUS = "unknown_status"
    """The status of the entry is none that the reader knows, so its effect is unknown."""
    OTHER_FILE = "other_file"
    """The entry is a trade, which another file states (``--without-trades``)."""
    REFUSED = "refused"
    """The event that the row states breaks the wire contract; the detail says how."""


class Reject(msgspec.Struct, frozen=True):
    """A row that was skipped.

    Attributes
    ----------
    row : int
        Row number; 1 is the first row of data (a CSV header and blank lines do not count).
    reason : Reason
        Why it was skipped.
    detail : str
        The invalid cell, or the value that it was compared with.
    """

    row: int
    reason: Reason
    detail: str


class Bar(msgspec.Struct, frozen=True, gc=False):
    """One bar of one feed. Times are microseconds since 1970; `volume` is in base units."""

    row: int
    open_us: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


@dataclass(frozen=True)
class Feed:
    """One price series: a pair at a venue.

    Raises
    ------
    FeedError
        If a part is not a valid name of the event contract.

    Examples
    --------
    >>> str(Feed("kraken", "USDC", "USD"))
    'kraken USDC/USD'
    """

    venue: str
    base: str
    quote: str

    def __post_init__(self) -> None:
        for option in ("venue", "base", "quote"):
            value = getattr(self, option)
            try:
                msgspec.convert(value, Name)
            except msgspec.ValidationError:
                raise FeedError(
                    f"--{option} must be a name of at most 64 characters without white space, "
                    f"'/' and ':', was {value!r}"
                ) from None

    def __str__(self) -> str:
        return f"{self.venue} {self.base}/{self.quote}"


@dataclass(frozen=True)
class Job:
    """Options for the import of one recording.

    Attributes
    ----------
    feed : Feed
        Feed that the prices belong to.
    step_us : int
        Length of a bar, or time between two quotes of a book, in microseconds.
    window : int
        Most rows that may be buffered to sort the rows; 0 for a file that is in order.
    since_us, until_us : int or None
        Only quotes with ``since_us <= ts < until_us`` are made.
    """

    feed: Feed
    step_us: int
    window: int = 0
    since_us: int | None = None
    until_us: int | None = None

    def accepts(self, ts_us: int) -> bool:
        """Return whether a quote of this time is in the requested range."""
        early = self.since_us is not None and ts_us < self.since_us
        late = self.until_us is not None and ts_us >= self.until_us
        return not (early or late)


@dataclass
class Tally:
    """Counts of one import; ``read == used + skipped`` always holds at the end.

    Attributes
    ----------
    read, used : int
        Rows of data read, and rows that became (or contributed to) a quote.
    skips : Counter of Reason
        Skipped rows, by reason.
    written : int
        Quotes made. Equal to `used` for bars; an order book makes one quote from many rows.
    withheld : Counter of str
        Quotes of an order book that were not made, by reason (``crossed``, ``one_sided``,
        ``outside_range``).
    first_us, last_us : int or None
        Times of the first and the last quote.
    missing_steps, longest_hole_us : int
        Bars that are missing between the first and the last one, and the longest such gap.
    on_reject : callable or None
        Called with every skipped row, except for rows outside the requested range.
    """

    read: int = 0
    used: int = 0
    skips: Counter[Reason] = field(default_factory=Counter)
    written: int = 0
    withheld: Counter[str] = field(default_factory=Counter)
    first_us: int | None = None
    last_us: int | None = None
    missing_steps: int = 0
    longest_hole_us: int = 0
    on_reject: Callable[[Reject], None] | None = None

    @property
    def skipped(self) -> int:
        """Rows that became no quote."""
        return self.skips.total()

    def skip(self, row: int, reason: Reason, detail: object = "") -> None:
        """Count a skipped row, and pass it to `on_reject`."""
        self.skips[reason] += 1
        if self.on_reject is not None and reason is not Reason.OUTSIDE_RANGE:
            self.on_reject(Reject(row, reason, str(detail)[:200]))

    def count_written(self, ts_us: int, step_us: int = 0) -> None:
        """Count a quote; with `step_us`, also count the bars missing since the last one."""
        if self.first_us is None:
            self.first_us = ts_us
        if step_us and self.last_us is not None and ts_us - self.last_us > step_us:
            self.missing_steps += (ts_us - self.last_us - 1) // step_us
            self.longest_hole_us = max(self.longest_hole_us, ts_us - self.last_us - step_us)
        self.last_us = ts_us
        self.written += 1
