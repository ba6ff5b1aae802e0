"""State of the market stage: one row per feed, per asset and per open data-quality issue."""

from __future__ import annotations

from math import exp, log, sqrt
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import DAY, HOUR, MINUTE, SECOND
from riskwatch.core.stage import Row, RowChanges, encode_row

if TYPE_CHECKING:
    from riskwatch.core.events import Peg, Quote
    from riskwatch.core.market.config import MarketConfig


# The state of a feed.

BP: Final = 1e-4
MAX_LOG_PRICE: Final = 27.631021115928547
"""Largest absolute log of a price that the fit uses: 1e12 of one asset for one unit of another.
Bitcoin in the weakest currency is below 1e10, the smallest coin in bitcoin above 1e-12."""
MAX_LOG_VALUE: Final = MAX_LOG_PRICE
"""Largest log of an asset's value in fiat that is a value: 1e12 USD for one unit."""
MIN_LOG_VALUE: Final = -23.025850929940457
"""Smallest one: 1e-10 USD, for a published price has ten decimals and would be zero below."""
LN2: Final = 0.6931471805599453
MINUTE_S: Final = 60.0
"""Seconds in a minute; also the mean gap that is assumed for a new feed."""
HOUR_S: Final = 3_600.0
"""Shortest silence after which a feed with an unknown mean gap is stale, and the longest time for
which one residual counts, seconds."""
RHYTHM_FROM: Final = 3
"""Number of messages from which the mean gap of a feed counts as known."""
SPREAD_RATE: Final = 0.1
"""Weight of the newest half spread: about the last ten books count."""
VOLUME_RATE: Final = 0.02
"""Weight of the newest traded value. Volume is bursty, so about the last fifty messages count."""
SIZE_RATE: Final = 0.1
"""Weight of the newest sizes of a book: about the last ten count."""
ISSUANCE_HOURS: Final = 25
"""Number of hours of which the supply and the redemptions are kept."""
DAYS: Final = 3
"""Number of complete days whose traded value bounds what a feed weighs."""
BURST_MINUTES: Final = 60.0
"""Time within which a feed may at most trade what it did on the quietest of these days, minutes."""
GAP_S: Final = 1.0
"""Shortest gap over which a volume is spread, seconds: two trades in one second are no rate."""
SPIKE_FROM: Final = 10
"""Number of observations from which the usual change is known well enough to detect a spike."""
SPIKE_LEFT: Final = 0.25
"""Largest share of a jump that may remain after the next print for it to be a spike."""
CLIP: Final = 4.0
"""A change or residual is clipped at this many times the usual one: an outlier is no noise."""
JUMP_RATE: Final = 0.05
"""Weight of the newest change in the usual change: about the last twenty count."""
GAP_RATE: Final = 0.05
"""Smallest weight of the newest gap: about the last twenty count, or all if there are fewer."""
GAP_CLIP: Final = 10.0
"""A gap is clipped at this many times the mean plus a minute: an outage is no usual gap."""


class FeedState(msgspec.Struct):
    """State of one feed (venue, base, quote), stored as one row.

    Attributes
    ----------
    lp, before, before2 : float
        Log of the last price and of the two observations before it.
    heard : int
        Event time of the last message, microseconds.
    fresh : int
        Event time at which a trade or a live book last confirmed the price, microseconds.
    gap_s : float
        Mean gap between messages, seconds, exponentially weighted.
    band : float
        Noise band, the root mean square of the residual, log units.
    jump : float
        Root mean square of the change from one observation to the next, log units.
    fresh_gap_s : float
        Mean gap between fresh observations, seconds, exponentially weighted.
    n, heard_n : int
        Number of fresh observations, and of messages, so far.
    bar : bool
        Whether it gives last trades (which may be up to one gap old) instead of a book.
    volume_usd : float
        Traded value per minute, exponentially weighted (base units until priced).
    half_spread : float
        Half of the relative spread; 0 before the first book.
    share, residual : float
        Share of its weight and residual in the last fit.
    source : str
        Writer of its first message; empty if that was not recorded.
    first_day : int
        Day of its first message, in days since 1970; 0 if that was not recorded.
    day : int
        Day of its last message.
    day_volume : float
        Base quantity traded on that day.
    days : list of float
        Base quantity traded on each of the last complete days with a message, at most three, the
        oldest first.
    bid_size, ask_size : float
        Sizes of the book, or balances of a pool, exponentially weighted, base units; both 0 if
        unknown.
    issuance : list of [int, float, float]
        By hour since 1970, the oldest first: the supply that it last stated (0 if it never did),
        and what was redeemed in the hour; base units. At most 25 hours.
    usual : float or None
        Log price around which it usually is; ``None`` before the first fit.
    states_volume : bool
        Whether it has stated a traded quantity, be it zero.
    """

    venue: str
    base: str
    quote: str
    lp: float
    before: float
    before2: float
    heard: int
    fresh: int
    gap_s: float
    band: float
    jump: float
    fresh_gap_s: float
    n: int = 1
    heard_n: int = 1
    bar: bool = True
    volume: float = 0.0
    half_spread: float = 0.0
    share: float = 1.0
    residual: float = 0.0
    fitted: int = 0
    source: str = ""
    first_day: int = 0
    day: int = 0
    day_volume: float = 0.0
    days: list[float] = []
    bid_size: float = 0.0
    ask_size: float = 0.0
    issuance: list[tuple[int, float, float]] = []
    usual: float | None = None
    states_volume: bool = False

    @property
    def departure(self) -> float:
        """How far the last price is from the usual one, log units; 0 before that is known."""
        return 0.0 if self.usual is None else self.lp - self.usual

    @property
    def name(self) -> str:
        """Name of the feed in reasons and alerts: ``venue:base/quote``."""
        return f"{self.venue}:{self.base}/{self.quote}"

    def observe(self, us: int, lp: float, volume: float | None, half_spread: float | None) -> bool:
        """Update the feed by a message.

        Parameters
        ----------
        us : int
            Event time, microseconds.
        lp : float
            Log price.
        volume : float or None
            Base quantity traded since the last message; ``None`` if the feed does not state it.
        half_spread : float or None
            Half of the relative spread, if the message has a book.

        Returns
        -------
        bool
            Whether it was a *fresh* observation. A message with an unchanged price and zero volume
            shows only that the feed is alive.
        """
        if us < self.heard:
            return False
        self._count_volume(us // DAY, volume or 0.0)
        gap = (us - self.heard) / SECOND
        if gap > 0.0:
            self.gap_s = _mean(self.gap_s, gap, self.heard_n)
            self.heard_n += 1
        self.heard = us
        if half_spread is not None:
            self.bar = False
            self.half_spread += (half_spread - self.half_spread) * SPREAD_RATE
        self.states_volume |= volume is not None
        if volume is not None and gap > 0.0:
            per_minute = volume * MINUTE_S / max(gap, GAP_S)
            self.volume += (per_minute - self.volume) * VOLUME_RATE
        if volume == 0.0 and lp == self.lp:
            return False
        if us > self.fresh:
            self.fresh_gap_s = _mean(self.fresh_gap_s, (us - self.fresh) / SECOND, self.n)
        self.before2, self.before, self.lp = self.before, self.lp, lp
        self.fresh = us
        self.n += 1
        return True

    def observe_sizes(self, bid: float, ask: float) -> None:
        """Update the sizes of the book or the balances of the pool, base units."""
        if bid + ask <= 0.0:
            return
        rate = SIZE_RATE if self.bid_size + self.ask_size > 0.0 else 1.0
        self.bid_size += (bid - self.bid_size) * rate
        self.ask_size += (ask - self.ask_size) * rate

    def observe_issuance(self, us: int, supply: float | None, redeemed: float | None) -> None:
        """Update the stated supply, and add what was redeemed since the last message."""
        hour = us // HOUR
        last = self.issuance[-1] if self.issuance else (hour, 0.0, 0.0)
        if hour < last[0]:
            return
        stated = last[1] if supply is None else supply
        within = last[2] if hour == last[0] else 0.0
        kept = self.issuance[:-1] if self.issuance and hour == last[0] else self.issuance
        self.issuance = [*kept[1 - ISSUANCE_HOURS :], (hour, stated, within + (redeemed or 0.0))]

    def imbalance(self) -> float | None:
        """Return the share by which more is offered than asked for; ``None`` if unknown."""
        both = self.bid_size + self.ask_size
        return (self.ask_size - self.bid_size) / both if both > 0.0 else None

    def redemption(self, us: int) -> tuple[float | None, float | None]:
        """Return the share of the supply that is gone since 24 hours, and that was redeemed."""
        least = us // HOUR - ISSUANCE_HOURS + 1
        recent = [each for each in self.issuance if each[0] >= least]
        stated = [supply for _, supply, _ in recent if supply > 0.0]
        if not stated:
            return None, None
        before = max(stated)
        redeemed = sum(amount for _, _, amount in recent)
        return max(0.0, 1.0 - recent[-1][1] / before), min(1.0, redeemed / before)

    def _count_volume(self, day: int, volume: float) -> None:
        """Add a traded quantity to its day."""
        if day > self.day:
            self.days = self._complete_days(day)
            self.day, self.day_volume = day, 0.0
        self.day_volume += volume

    def _complete_days(self, day: int) -> list[float]:
        """Return the quantities of the last complete days before `day` that had a message.

        The day of the first message is not complete.
        """
        if day <= self.day or self.day <= self.first_day:
            return self.days
        return [*self.days, self.day_volume][-DAYS:]

    def is_proven(self, us: int) -> bool:
        """Whether the feed is known for a whole day, so that newer ones do not outweigh it."""
        return us // DAY - self.first_day > 1

    def traded(self, us: int) -> float | None:
        """Return the base quantity traded per minute; ``None`` if the feed does not state it.

        At most, the quantity of the quietest of the last days within an hour: a crisis trades many
        times the usual, and a burst that nobody ever traded gives no weight.
        """
        if self.volume <= 0.0:
            return 0.0 if self.states_volume else None
        days = self._complete_days(us // DAY)
        return min(self.volume, min(days) / BURST_MINUTES) if days else self.volume

    def has_spiked(self, sd: float, least: float) -> bool:
        """Whether the last observation reversed a jump of the one before it.

        Parameters
        ----------
        sd : float
            Number of root-mean-square changes that the jump must exceed.
        least : float
            Smallest size of the jump, log units.
        """
        out, home = self.before - self.before2, self.lp - self.before
        jumped = self.n > SPIKE_FROM and abs(out) > max(sd * self.jump, least)
        back = jumped and abs(out + home) < SPIKE_LEFT * abs(out)
        size = min(abs(home), CLIP * self.jump)
        self.jump = sqrt(self.jump**2 + (size**2 - self.jump**2) * JUMP_RATE)
        return back

    def is_silent(self, us: int, config: MarketConfig) -> bool:
        """Whether no message arrived for longer than its heartbeat, or its mean gap, allows."""
        return (us - self.heard) / SECOND > self.most_silent_s(config)

    def most_silent_s(self, config: MarketConfig) -> float:
        """Return for how long it may be silent, seconds."""
        least_s = config.stale_min_s
        heartbeat_s = config.heartbeat_s(self.venue, self.name)
        if heartbeat_s is not None:
            return heartbeat_s + least_s
        if self.heard_n < RHYTHM_FROM:
            least_s = max(least_s, HOUR_S)
        return max(config.stale_gaps * self.gap_s, least_s)

    def sd(self, us: int, vol_sq_per_min: float, floor: float) -> float:
        """Return the expected standard deviation of this feed now, log units.

        It is the noise band, widened by the possible movement of the assets since the price was
        confirmed. The last trade of a bar may itself be up to one gap old.
        """
        age_min = max(0, us - self.fresh) / MINUTE  # a feed's clock may be ahead of the tick
        if self.bar:
            age_min += self.gap_s / (2.0 * MINUTE_S)  # half a gap, on average
        band = max(self.band, floor)
        return sqrt(band * band + vol_sq_per_min * age_min)

    def learn(
        self, residual: float, us: int, *, widen: bool, half_life_s: float, least_bp: float = 50.0
    ) -> None:
        """Move the noise band towards the size of this residual, clipped at four bands.

        If `widen` is false, the band may narrow but not grow: while an asset is off its peg, a feed
        must not learn the deviation as its noise.
        """
        seconds = min((us - self.fitted) / SECOND, HOUR_S) if self.fitted else MINUTE_S
        self.fitted = us
        a = 1.0 - exp(-LN2 * seconds / half_life_s)
        if self.usual is None:
            self.usual = self.lp
        elif abs(residual) < least_bp * BP:
            # What it agrees on with the others is usual, and not where it went alone.
            self.usual += (self.lp - self.usual) * a
        size = min(abs(residual), CLIP * self.band)
        band_sq = self.band * self.band
        moved = band_sq + (size * size - band_sq) * a
        if widen or moved < band_sq:
            self.band = sqrt(moved)

    def confirmed_price(self, count: int, centre: float = 0.0) -> float:
        """Return the log price above `centre` nearest to it of the last `count` (at most 3) ones.

        For a direct feed against the peg this is the deviation that all of them confirm, so that
        one print alone does not count. It is 0 if there are fewer observations, or if they are on
        different sides.
        """
        last = [lp - centre for lp in (self.lp, self.before, self.before2)[:count]]
        if self.n < count:
            return 0.0
        if all(s > 0.0 for s in last):
            return min(last)
        if all(s < 0.0 for s in last):
            return max(last)
        return 0.0


def _mean(mean: float, value: float, n: int) -> float:
    """Return an exponentially weighted mean that starts at its first value and clips outages."""
    if n < 2:
        return value
    return mean + (min(value, GAP_CLIP * mean + MINUTE_S) - mean) * max(GAP_RATE, 1.0 / n)


def is_possible_price(lp: float) -> bool:
    """Whether a log price lies within :data:`MAX_LOG_PRICE`."""
    return -MAX_LOG_PRICE <= lp <= MAX_LOG_PRICE


def bounded_value(x: float) -> float:
    """Log value `x`, moved into the range of values.

    Examples
    --------
    >>> bounded_value(0.5), bounded_value(800.0) == MAX_LOG_VALUE
    (0.5, True)
    """
    return min(max(x, MIN_LOG_VALUE), MAX_LOG_VALUE)


def new_feed(
    event: Quote | Peg, base: str, quote: str, us: int, lp: float, config: MarketConfig
) -> FeedState:
    """Return the state of a new feed after its first message."""
    return FeedState(
        venue=event.venue,
        base=base,
        quote=quote,
        source=event.source,
        first_day=us // DAY,
        day=us // DAY,
        lp=lp,
        before=lp,
        before2=lp,
        heard=us,
        fresh=us,
        gap_s=MINUTE_S,
        fresh_gap_s=MINUTE_S,
        band=config.band_start_bp * BP,
        jump=config.band_start_bp * BP,
    )


def log_price(bid: float, ask: float, last: float) -> tuple[float, float | None]:
    """Return the log of the best single price of a quote, and half of its relative spread.

    Zero means absent. The price is the mid of a two-sided book, else the last trade, else the one
    side that is present. A crossed book is no book.

    Examples
    --------
    >>> lp, half = log_price(0.999, 1.001, 0.0)
    >>> round(lp, 12), round(half, 6)
    (0.0, 0.001)
    >>> log_price(0.0, 0.0, 1.0), log_price(1.1, 1.0, 1.0)
    ((0.0, None), (0.0, None))
    """
    if 0.0 < bid <= ask:
        mid = (bid + ask) / 2.0
        return log(mid), (ask - bid) / (2.0 * mid)
    if last > 0.0:
        return log(last), None
    return log(bid if bid > 0.0 else ask), None


RATE_GROWTH: Final = 0.01
"""Largest growth of a promised rate in a day, log units; staking pays less in a month."""
RATE_SLACK: Final = 1e-4
"""A rate that is lower by no more than this is rounded, log units; the higher one stays."""
RATE_SETTLES: Final = 7 * DAY
"""Time for which a rate that is not plausible must be stated until it counts, microseconds."""


class PromisedRate(msgspec.Struct):
    """The amount of its peg that one unit of an accruing asset promises.

    A promise grows slowly. A lower one is a loss, and not another promise, so the former one counts
    until a week has passed; the loss is then no news. So it is with a rate that grew too fast.

    Attributes
    ----------
    lr : float
        Log of the rate that counts.
    us : int
        Event time of the last plausible statement, microseconds.
    base : float
        Log of the rate from which the growth of a day is measured.
    base_us : int
        Time of that rate, microseconds.
    doubt : float
        Log of a stated rate that is not plausible; 0 while there is none.
    doubt_us : int
        Since when rates are stated that are not plausible, microseconds; 0 while there are none.
    """

    lr: float
    us: int
    base: float
    base_us: int
    doubt: float = 0.0
    doubt_us: int = 0

    def observe(self, us: int, lr: float) -> None:
        """Take a statement of the rate.

        Examples
        --------
        >>> rate = PromisedRate(0.1, 0, 0.1, 0)
        >>> for lr in (0.101, 0.5, 0.05):
        ...     rate.observe(1, lr)
        >>> rate.lr, rate.doubt
        (0.101, 0.05)
        """
        if us < self.us:
            return
        if us - self.base_us >= DAY:
            self.base, self.base_us = self.lr, us
        ceiling = self.base + RATE_GROWTH * (1.0 + (us - self.us) / DAY)
        if self.lr - RATE_SLACK <= lr <= ceiling:
            self.lr, self.us = max(self.lr, lr), us
            self.doubt, self.doubt_us = 0.0, 0
        elif self.doubt_us and us - self.doubt_us >= RATE_SETTLES:
            self.lr = self.base = lr
            self.us = self.base_us = us
            self.doubt, self.doubt_us = 0.0, 0
        else:
            self.doubt, self.doubt_us = lr, self.doubt_us or us


LONE_JUMP: Final = 0.05
"""Jump of a price from which it waits if one feed alone states it, log units."""
LONE_SEEN: Final = 3
"""Number of observations that end the wait, after at least :data:`LONE_SOON`."""
LONE_SOON: Final = 30 * SECOND
LONE_LATE: Final = 5 * MINUTE
"""Time after which a second observation is enough, microseconds."""


class LonePrice(msgspec.Struct):
    """The price of an asset for what we hold, which waits out a jump that one feed alone states.

    Attributes
    ----------
    x : float
        Log price that counts.
    since : int
        Since when a feed alone states another one, microseconds; 0 while none does.
    seen : int
        Observations at that feed before the jump.
    jump : float
        The stated price above the one that counts, log units; 0 while there is no wait.
    """

    x: float
    since: int = 0
    seen: int = 0
    jump: float = 0.0

    def observe(self, x: float, us: int, seen: int, *, alone: bool) -> None:
        """Take the price of a fit; `seen` counts the observations of its only feed.

        Examples
        --------
        >>> price = LonePrice(0.0)
        >>> for second, x in ((1, 0.3), (11, 0.3), (41, 0.3)):
        ...     price.observe(x, second * 1_000_000, second, alone=True)
        >>> price.x
        0.3
        """
        if not alone or abs(x - self.x) <= LONE_JUMP:
            self.x, self.since, self.seen, self.jump = x, 0, 0, 0.0
            return
        if not self.since:
            self.since, self.seen = us, seen - 1
        self.jump = x - self.x
        waited, observed = us - self.since, seen - self.seen
        if (waited >= LONE_SOON and observed >= LONE_SEEN) or (
            waited >= LONE_LATE and observed > 1
        ):
            self.x, self.since, self.seen, self.jump = x, 0, 0, 0.0


class AssetState(msgspec.Struct):
    """Last solution for one asset.

    Attributes
    ----------
    x : float
        Log value against fiat.
    vol_sq : float
        Variance of its log value per minute.
    observations : int
        Number of ticks with at least one fresh observation of a feed of the asset.
    solved : int
        Event time of the last solution, microseconds; 0 before the first.
    established : bool
        Whether two independent venues have agreed on the present deviation since it began.
    rate : PromisedRate or None
        Amount of its peg that an accruing asset promises; ``None`` before the first statement.
    price : LonePrice or None
        The price that counts while one feed alone states another one; ``None`` before the first.
    """

    x: float = 0.0
    vol_sq: float = 0.0
    observations: int = 0
    solved: int = 0
    established: bool = False
    rate: PromisedRate | None = None
    price: LonePrice | None = None

    @property
    def log_rate(self) -> float:
        """Log of the promised rate; 0 if none is known."""
        return 0.0 if self.rate is None else self.rate.lr


class OpenIssue(msgspec.Struct):
    """An open data-quality issue: when it began, and when it was last found; microseconds."""

    since: int
    last: int


class MarketMeta(msgspec.Struct):
    """State of the stage as a whole.

    Attributes
    ----------
    solved, reported : int
        Times of the last solution and of the last reading, microseconds.
    heard : bool
        Whether a message of a listed venue arrived since.
    unlisted_heard : bool
        Whether a message of another venue arrived since.
    unlisted : list of str
        Assets with fresh observations of such venues alone since.
    """

    solved: int = 0
    reported: int = 0
    heard: bool = False
    unlisted_heard: bool = False
    unlisted: list[str] = []


class MarketState:
    """Rows ``edge/<venue>:<base>/<quote>``, ``asset/<id>``, ``issue/<kind>|<feed>``, ``meta``."""

    def __init__(self) -> None:
        self.edges: dict[str, FeedState] = {}
        self.assets: dict[str, AssetState] = {}
        self.issues: dict[str, OpenIssue] = {}
        self.meta = MarketMeta()
        self.touched: dict[str, None] = {}
        self.unlisted: dict[str, None] = {}
        self.counts: dict[tuple[int, str], int] | None = None
        """Number of feeds by rank and writer; ``None`` if it must be derived from the rows."""
        self._dirty: dict[str, None] = {}

    def mark(self, row: str) -> None:
        """Mark a row as changed or deleted, so that it is written."""
        self._dirty[row] = None

    def drain(self) -> RowChanges:
        """Return the rows that changed since the last call, keys sorted."""
        out: RowChanges = {}
        for key in sorted(self._dirty):
            kind, _, name = key.partition("/")
            if kind == "edge":
                value: object | None = self.edges.get(name)
            elif kind == "asset":
                value = self.assets.get(name)
            elif kind == "issue":
                value = self.issues.get(name)
            else:
                self.meta.unlisted = sorted(self.unlisted)
                value = [self.meta, sorted(self.touched)]
            out[key] = None if value is None else encode_row(value)
        self._dirty.clear()
        return out

    def load(self, rows: dict[str, Row]) -> None:
        """Load the state from its rows."""
        for key in sorted(rows):
            kind, _, name = key.partition("/")
            if kind == "edge":
                self.edges[name] = msgspec.json.decode(rows[key], type=FeedState)
            elif kind == "asset":
                self.assets[name] = msgspec.json.decode(rows[key], type=AssetState)
            elif kind == "issue":
                self.issues[name] = msgspec.json.decode(rows[key], type=OpenIssue)
            else:
                self.meta, touched = msgspec.json.decode(
                    rows[key], type=tuple[MarketMeta, list[str]]
                )
                self.touched = dict.fromkeys(touched)
                self.unlisted = dict.fromkeys(self.meta.unlisted)
