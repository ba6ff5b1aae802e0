"""Freshness of accounts: whether the venue still confirms what we have in each of them.

A balance, a position or an account snapshot is a proof of life of its source for its account, even
if it states what is known already. A source that proved itself often enough has a rhythm. An
account is stale if each of its sources has been silent for several times its longest usual gap, or
for longer than its calendar allows, while something is held there. An account whose sources have no
rhythm yet, and no calendar, is never stale: `confirmed_at` alone tells of it.

A stale account stays stale until a source proves itself. Nothing is stale that is not held.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.bounds import NotNegative
from riskwatch.core.clock import DAY, EPOCH_WEEKDAY, HOUR, MINUTE, SECOND, WEEKDAYS, rfc3339
from riskwatch.core.readings import StaleAccount

if TYPE_CHECKING:
    from riskwatch.core.ledger.holding import DirtyRows

RHYTHM_FROM: Final = 8
"""Number of proofs at different times from which a source has a rhythm."""
MAX_SOURCES: Final = 1_024
"""Maximum number of (account, source) of one counterparty; further ones have no freshness."""
MAX_ACCOUNTS: Final = MAX_SOURCES // 4
"""Maximum number of accounts of one source, so that none takes the room of others."""
_WEEK: Final = 7 * DAY
_TIME: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d|24:00")

SourceKey = tuple[str, str]
"""(account, source)."""


class AccountCalendar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a source, or the sources of an account, state what is there (``[[ledger.calendars]]``).

    Attributes
    ----------
    source : str
        The source; empty for each.
    account : str
        ``counterparty/account``, or a counterparty for all its accounts; empty for each.
    every_s : float
        Longest time between two statements, seconds of open time; 0 if nobody expects any.
    days : tuple of str
        Open days, ``mon`` to ``sun``.
    opens, closes : str
        Open time of such a day, ``HH:MM`` UTC, up to ``24:00``.

    Raises
    ------
    ValueError
        If it names nothing, or a day or time is none.

    Examples
    --------
    >>> AccountCalendar(account="jpm/main", every_s=3600.0, days=("mon", "sun")).days
    ('mon', 'sun')
    """

    source: str = ""
    account: str = ""
    every_s: NotNegative
    days: tuple[str, ...] = WEEKDAYS
    opens: str = "00:00"
    closes: str = "24:00"

    def __post_init__(self) -> None:
        if not (self.source or self.account):
            raise ValueError("a calendar needs a source or an account")
        for day in self.days or ("",):
            if day not in WEEKDAYS:
                raise ValueError(f"days must be of mon to sun, was {day!r}")
        for time in (self.opens, self.closes):
            if _TIME.fullmatch(time) is None:
                raise ValueError(f"opens and closes must be HH:MM, UTC, was {time!r}")
        if self.opens >= self.closes:
            raise ValueError(f"closes must be after opens ({self.opens}), was {self.closes}")

    def fits(self, source: str, party: str, account: str) -> int:
        """Return how exactly it names a source of an account; 0 if it does not.

        Examples
        --------
        >>> bank = AccountCalendar(account="jpm", every_s=0.0)
        >>> bank.fits("feed", "jpm", "main"), bank.fits("feed", "kraken", "main")
        (2, 0)
        """
        if self.source not in ("", source):
            return 0
        if self.account not in ("", party, f"{party}/{account}"):
            return 0
        return 2 * (self.account != "") + 2 * ("/" in self.account) + (self.source != "")

    def open_us(self, since: int, us: int) -> int:
        """Return the open time between two times, microseconds.

        Examples
        --------
        >>> bank = AccountCalendar(
        ...     account="jpm", every_s=0.0, days=("thu", "mon"), opens="09:00", closes="17:00")
        >>> bank.open_us(16 * HOUR, 4 * DAY + 10 * HOUR) // HOUR  # 1970 began on a Thursday
        2
        """
        opens, closes = _time_us(self.opens), _time_us(self.closes)
        weeks = (us - since) // _WEEK
        total = weeks * len(dict.fromkeys(self.days)) * (closes - opens)
        since += weeks * _WEEK
        for day in range(since // DAY, us // DAY + 1):
            if WEEKDAYS[(day + EPOCH_WEEKDAY) % len(WEEKDAYS)] in self.days:
                first, last = day * DAY + opens, day * DAY + closes
                total += max(0, min(last, us) - max(first, since))
        return total


def _time_us(time: str) -> int:
    """Return the time since midnight of ``HH:MM``, microseconds."""
    hours, minutes = time.split(":")
    return int(hours) * HOUR + int(minutes) * MINUTE


class SourceRow(msgspec.Struct, array_like=True):
    """What is known of one source of one account.

    Attributes
    ----------
    us : int
        Event time of its last proof of life, microseconds.
    count : int
        Number of its proofs at different times, up to :data:`RHYTHM_FROM`.
    longest : int
        Its longest usual gap, microseconds. Longer ones are forgotten within weeks.
    told : bool
        Whether its account was told as stale.
    """

    us: int
    count: int = 1
    longest: int = 0
    told: bool = False

    def row(self) -> object:
        """Return the row's value."""
        return self

    def prove(self, us: int) -> bool:
        """Take a proof of life, and return whether it is newer than the last one."""
        gap = us - self.us
        if gap <= 0:
            return False
        faded = self.longest - self.longest * min(gap, _WEEK) // _WEEK
        # The gap that ends when a dead source comes back is no usual one.
        self.longest = faded if self.told else max(gap, faded)
        self.us, self.count = us, min(self.count + 1, RHYTHM_FROM)
        return True


class AccountFreshness:
    """Sources of the accounts of one counterparty, and which accounts are stale.

    Parameters
    ----------
    party : str
        The counterparty.
    dirty : dict
        Rows that changed.

    Attributes
    ----------
    sources : dict
        Rows by account and source.
    next_us : int or None
        No account becomes stale before this time, microseconds; ``None`` if nobody knows.
    """

    __slots__ = ("dirty", "next_us", "party", "sources", "stale")

    def __init__(self, party: str, dirty: DirtyRows) -> None:
        self.party = party
        self.dirty = dirty
        self.sources: dict[SourceKey, SourceRow] = {}
        self.next_us: int | None = None
        self.stale: dict[str, None] = {}

    def prove(self, account: str, source: str, us: int) -> None:
        """Take a proof of life of a source for an account at event time `us`."""
        key = (account, source)
        row = self.sources.get(key)
        if row is None:
            of_source = sum(each[1] == source for each in self.sources)
            if len(self.sources) >= MAX_SOURCES or of_source >= MAX_ACCOUNTS:
                return
            row = self.sources[key] = SourceRow(us)
            self.next_us = None
        elif not row.prove(us):
            return
        elif row.count < RHYTHM_FROM or row.told:
            self.next_us = None
        self.dirty[self._key(key)] = row

    def drop(self, key: SourceKey) -> None:
        """Forget a source of an account."""
        del self.sources[key]
        self.dirty[self._key(key)] = None
        self.next_us = None

    def restore(self, key: SourceKey, row: SourceRow) -> None:
        """Load a source from its row."""
        self.sources[key] = row
        if row.told:
            self.stale[key[0]] = None

    def look(
        self, us: int, held: dict[str, None], config: FreshnessConfig
    ) -> dict[str, StaleAccount | None]:
        """Return the accounts that became stale, and with ``None`` those that are no longer.

        Parameters
        ----------
        us : int
            Event time, microseconds.
        held : dict of str
            Accounts where something is held.
        config : FreshnessConfig
            When a source is too silent.
        """
        accounts: dict[str, list[SourceKey]] = {}
        for key in sorted(self.sources):
            accounts.setdefault(key[0], []).append(key)
        changed: dict[str, StaleAccount | None] = {}
        earliest = us + DAY
        for account, keys in accounts.items():
            left = [self._left(key, us, config) for key in keys]
            known = [each for each in left if each is not None]
            fresh_us = max(known, default=DAY)
            earliest = min(earliest, us + max(fresh_us, 0))
            stale = bool(known) and fresh_us <= 0 and account in held
            if stale is (account in self.stale):
                continue
            changed[account] = self.describe(account) if stale else None
            for key in keys:
                self.sources[key].told = stale
                self.dirty[self._key(key)] = self.sources[key]
            if stale:
                self.stale[account] = None
            else:
                del self.stale[account]
        self.next_us = earliest
        return changed

    def describe(self, account: str) -> StaleAccount:
        """Return what a reading says of a stale account: its sources, and the last proof."""
        of = {key[1]: row.us for key, row in self.sources.items() if key[0] == account}
        return StaleAccount(account, sorted(of), max(of.values()))

    def _left(self, key: SourceKey, us: int, config: FreshnessConfig) -> int | None:
        """Return how much longer a source may be silent, microseconds; ``None`` if for ever.

        Without a calendar and a rhythm it keeps its account fresh for the shortest time that makes
        an account stale, and has no word on it afterwards.
        """
        row, calendar = self.sources[key], config.calendar(key[1], self.party, key[0])
        silent = us - row.us
        if calendar is not None:
            if not calendar.every_s:
                return None
            return round(calendar.every_s * SECOND) - calendar.open_us(row.us, us)
        least = config.account_stale_s * SECOND
        if row.count < RHYTHM_FROM:
            return least - silent if silent < least else None
        return max(least, round(config.account_stale_gaps * row.longest)) - silent

    def _key(self, key: SourceKey) -> str:
        return f"stated/{self.party}/{key[0]}/{key[1]}"


class FreshnessConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that say when a source is too silent; see ``LedgerConfig``."""

    account_stale_s: int
    account_stale_gaps: float
    calendars: tuple[AccountCalendar, ...]

    def calendar(self, source: str, party: str, account: str) -> AccountCalendar | None:
        """Return the calendar that names a source of an account most exactly, else ``None``."""
        best = max(self.calendars, key=lambda c: c.fits(source, party, account), default=None)
        return best if best is not None and best.fits(source, party, account) else None


def stale_detail(stale: StaleAccount) -> str:
    """Return what an issue says of a stale account."""
    return (
        f"what we have there was last confirmed at {rfc3339(stale.us)}, by "
        f"{', '.join(stale.sources)}; [[ledger.calendars]] states how often that is expected"
    )
