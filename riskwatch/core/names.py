"""Canonical names: one name and one unit for each spelling of an asset or a counterparty.

Venues spell one coin in many ways. Without one name, a holding drops out of each limit. The table
comes from ``names.toml``; reference data lists the canonical names. Of several answers the most
exact one counts, in this order:

1. an alias of the venue, with its unit and its dates;
2. a general alias, with its unit and its dates;
3. a listed name, as it is spelled;
4. for an instrument, its base (``BTC-PERP``, ``BTC/USD``);
5. a spelling that differs in case and white space alone, if it can mean only one thing.

Any other spelling stays as it is, and nothing lists it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from riskwatch.core.clock import micros
from riskwatch.core.scopes import ACCOUNT, ASSET, BANK, COUNTERPARTY, ISSUER, VENUE_ASSET, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ASSET_NAME: Final = "asset"
PARTY_NAME: Final = "counterparty"
INSTRUMENT_NAME: Final = "instrument"
"""An asset, spelled as the instrument of which it is the base."""
UNITY: Final = Decimal(1)
_DATE: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
_UNIT: Final = re.compile(r"10*|0\.0*1")
_WORDS: Final = re.compile(r"[-/_:]")
_TERMS: Final = ("perp", "perpetual", "swap", "future", "futures", "spot")
_PARTY_SCOPES: Final = (COUNTERPARTY, VENUE_ASSET, ACCOUNT, ISSUER, BANK)
_MAX_UNIT: Final = 14
"""Longest text of a unit."""
_CACHED: Final = 65_536
"""Most spellings whose canonical name is remembered."""


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """One spelling of a name.

    Attributes
    ----------
    spelling : str
        As a venue or a source spells it.
    name : str
        The canonical name that it means.
    venue : str
        Counterparty at which it means this; empty for everywhere.
    unit : str
        How many of the canonical asset one of the spelling is: a power of ten.
    since, until : str
        First day on which it means this, and the day from which it does not any more, UTC; empty
        for no bound.
    """

    spelling: str
    name: str
    venue: str = ""
    unit: str = "1"
    since: str = ""
    until: str = ""


class NamesConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table of names (``names.toml``); without the file every name stays as it is spelled.

    Attributes
    ----------
    fold : bool
        Whether a spelling may differ in case and white space.
    assets, parties : tuple of Alias
        Aliases of assets, and of venues, custodians, banks and issuers.
    books : tuple of str
        Names of all books; if there are none, every book counts as listed.
    """

    fold: bool = False
    assets: tuple[Alias, ...] = ()
    parties: tuple[Alias, ...] = ()
    books: tuple[str, ...] = ()


class CanonicalName(NamedTuple):
    """A canonical name, the amount of it that one unit of the spelling is, and if it is listed."""

    name: str
    unit: Decimal
    listed: bool


class _Spellings(NamedTuple):
    """The spellings that hold at one venue in one period."""

    exact: Mapping[str, CanonicalName]
    folded: Mapping[str, tuple[CanonicalName, ...]]


class NameTable:
    """The table of names, ready to be asked.

    Parameters
    ----------
    config : NamesConfig
        Aliases.
    assets, parties : iterable of str
        Listed names.

    Attributes
    ----------
    config : NamesConfig
        Aliases.
    assets, parties : tuple of str
        Listed names, sorted.
    digest : str
        Digest of all of it, 32 hexadecimal digits; empty if there are no aliases and no folding.

    Examples
    --------
    >>> satoshi = Alias(spelling="XBt", name="BTC", venue="bitmex", unit="0.00000001")
    >>> made = NamesConfig(fold=True, assets=(Alias(spelling="XBT", name="BTC"), satoshi))
    >>> table = NameTable(made, ("BTC", "USD"), ("bitmex", "kraken"))
    >>> [canonical_name(table, "asset", "bitmex", text, 0)[:2] for text in ("XBT", "XBt", "btc")]
    [('BTC', Decimal('1')), ('BTC', Decimal('1E-8')), ('BTC', Decimal('1'))]
    """

    def __init__(
        self,
        config: NamesConfig | None = None,
        assets: Iterable[str] = (),
        parties: Iterable[str] = (),
    ) -> None:
        self.config = config or NamesConfig()
        self.assets = tuple(sorted(dict.fromkeys(assets)))
        self.parties = tuple(sorted(dict.fromkeys(parties)))
        is_empty = self.config == NamesConfig()
        parts = (self.config, self.assets, self.parties)
        self.digest = (
            ""
            if is_empty
            else blake2b(
                msgspec.json.encode(parts), digest_size=16, person=b"riskwatch-names"
            ).hexdigest()
        )
        aliases = (*self.config.assets, *self.config.parties)
        days = [day_us(day) for alias in aliases for day in (alias.since, alias.until) if day]
        self._edges = sorted(dict.fromkeys(days))
        self._by_venue = {a.spelling: None for a in self.config.assets if a.venue}
        self._spellings: dict[tuple[str, str, int], _Spellings] = {}
        self._elsewhere: dict[int, dict[str, tuple[CanonicalName, ...]]] = {}
        self._found: dict[tuple[str, str | None, str, int], CanonicalName] = {}

    def period(self, us: int) -> int:
        """Return a number that stays the same while no alias begins or ends."""
        return bisect_right(self._edges, us)

    def is_listed_book(self, name: str) -> bool:
        """Whether a book is listed, or books are not listed at all."""
        return not self.config.books or name in self.config.books

    def varies(self, spelling: str) -> bool:
        """Whether some venue spells another thing by this name."""
        return spelling in self._by_venue

    def find(self, kind: str, venue: str | None, spelling: str, us: int) -> CanonicalName:
        """Return the canonical name of a spelling; see :func:`canonical_name`."""
        key = (kind, venue, spelling, bisect_right(self._edges, us))
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= _CACHED:
                self._found.clear()
            found = self._found[key] = self._search(kind, venue, spelling, us)
        return found

    def _search(self, kind: str, venue: str | None, spelling: str, us: int) -> CanonicalName:
        if kind == PARTY_NAME:
            at = ""
        else:
            at = self.find(PARTY_NAME, None, venue, us).name if venue else ""
        known = self._at(PARTY_NAME if kind == PARTY_NAME else ASSET_NAME, at, us)
        found = known.exact.get(spelling)
        if found is None and kind == INSTRUMENT_NAME:
            found = self._base(at, spelling, us)
        if found is None and self.config.fold and spelling.isascii():
            means = known.folded.get(fold(spelling), ())
            other = self._others(us).get(spelling, ())
            if len(means) == 1 and all(each == means[0] for each in other):
                found = means[0]
        return found or CanonicalName(spelling, UNITY, listed=False)

    def _base(self, venue: str, spelling: str, us: int) -> CanonicalName | None:
        """Return the base of an instrument; ``None`` if the text is no instrument."""
        base, *more = _WORDS.split(spelling)
        if not more:
            return None
        found = self.find(ASSET_NAME, venue, base, us)
        rest = [
            word.lower() in _TERMS
            or word.isdigit()
            or self.find(ASSET_NAME, venue, word, us).listed
            for word in more
        ]
        return found if found.listed and all(rest) else None

    def _at(self, kind: str, venue: str, us: int) -> _Spellings:
        """Return the spellings of a kind that hold at a venue at a time."""
        key = (kind, venue, self.period(us))
        found = self._spellings.get(key)
        if found is None:
            if len(self._spellings) >= _CACHED:
                self._spellings.clear()
            found = self._spellings[key] = self._made(kind, venue, us)
        return found

    def _made(self, kind: str, venue: str, us: int) -> _Spellings:
        listed = self.assets if kind == ASSET_NAME else self.parties
        aliases = self.config.assets if kind == ASSET_NAME else self.config.parties
        exact = {name: CanonicalName(name, UNITY, listed=True) for name in listed}
        # The aliases of the venue come last, so that they replace the general ones.
        for where in dict.fromkeys(("", venue)):
            for alias in aliases:
                if alias.venue == where and holds_at(alias, us):
                    exact[alias.spelling] = self._meaning(alias, listed)
        folded: dict[str, dict[CanonicalName, None]] = {}
        for spelling, means in exact.items():
            if spelling.isascii():
                folded.setdefault(fold(spelling), {})[means] = None
        return _Spellings(exact, {text: tuple(means) for text, means in folded.items()})

    def _others(self, us: int) -> Mapping[str, tuple[CanonicalName, ...]]:
        """Return what each spelling with a venue means there, over all venues."""
        period = self.period(us)
        found = self._elsewhere.get(period)
        if found is None:
            made: dict[str, dict[CanonicalName, None]] = {}
            for alias in self.config.assets:
                if alias.venue and holds_at(alias, us):
                    made.setdefault(alias.spelling, {})[self._meaning(alias, self.assets)] = None
            found = {text: tuple(means) for text, means in made.items()}
            self._elsewhere[period] = found
        return found

    def _meaning(self, alias: Alias, listed: tuple[str, ...]) -> CanonicalName:
        return CanonicalName(alias.name, Decimal(alias.unit).normalize(), alias.name in listed)


IDENTITY: Final = NameTable()
"""The table in which every name stays as it is spelled."""


def canonical_name(
    table: NameTable, kind: str, venue: str | None, spelling: str, us: int
) -> CanonicalName:
    """Return the canonical name of a spelling, and how much of it one unit of the spelling is.

    Parameters
    ----------
    table : NameTable
        The table.
    kind : str
        :data:`ASSET_NAME`, :data:`PARTY_NAME` or :data:`INSTRUMENT_NAME`.
    venue : str or None
        Counterparty that spells it so, in any spelling of its own; ``None`` if unknown.
    spelling : str
        The name as it was sent.
    us : int
        Event time, microseconds.
    """
    return table.find(kind, venue, spelling, us)


def canonical_scope(table: NameTable, scope: str, us: int) -> str:
    """Return a scope of the kill switch under its canonical names; another text as it is.

    A scope is spelled by people, in the names of riskwatch. The spelling of a venue counts only
    where nothing lists the name.

    Parameters
    ----------
    table : NameTable
        The table.
    scope : str
        The scope.
    us : int
        Time, microseconds.
    """
    if not table.digest:
        return scope
    try:
        at = parse(scope)
    except ValueError:
        return scope
    if at.kind == ASSET:
        return f"{ASSET}:{table.find(ASSET_NAME, None, at.name, us).name}"
    if at.kind not in _PARTY_SCOPES:
        return scope
    party = table.find(PARTY_NAME, None, at.name, us).name
    if at.kind == VENUE_ASSET:
        return f"{VENUE_ASSET}:{party}/{own_asset(table, party, at.asset, us).name}"
    return f"{at.kind}:{party}/{at.account}" if at.kind == ACCOUNT else f"{at.kind}:{party}"


def own_asset(table: NameTable, venue: str | None, name: str, us: int) -> CanonicalName:
    """Return the canonical name of an asset that is spelled in the firm's names.

    Only if nothing lists it, it is one that the venue spells.

    Examples
    --------
    >>> old = Alias(spelling="LUNA", name="LUNC", venue="kraken")
    >>> table = NameTable(NamesConfig(assets=(old,)), ("LUNA", "LUNC"))
    >>> own_asset(table, "kraken", "LUNA", 0).name
    'LUNA'
    """
    found = table.find(ASSET_NAME, None, name, us)
    return found if found.listed else table.find(ASSET_NAME, venue, name, us)


def fold(text: str) -> str:
    """Return a text without white space and differences of case.

    Examples
    --------
    >>> fold(" Usd c ")
    'usdc'
    """
    return "".join(text.split()).casefold()


def day_us(day: str) -> int:
    """Return the first microsecond of a day such as ``2022-05-28``, UTC.

    Raises
    ------
    ValueError
        If the text is no day.

    Examples
    --------
    >>> day_us("1970-01-02")
    86400000000
    """
    if _DATE.fullmatch(day) is None:
        raise ValueError(f"not a day such as 2022-05-28: {day!r}")
    return micros(datetime.fromisoformat(day).replace(tzinfo=UTC))


def unit_fault(unit: str) -> str | None:
    """Return what a unit must be instead; ``None`` if it is one.

    A unit is a power of ten, because a price divided by it has to stay exact.

    Examples
    --------
    >>> unit_fault("0.00000001"), unit_fault("1000"), unit_fault("3")
    (None, None, "a power of ten as text, such as '1000' or '0.00000001'")
    """
    if len(unit) <= _MAX_UNIT and _UNIT.fullmatch(unit):
        return None
    return "a power of ten as text, such as '1000' or '0.00000001'"


def holds_at(alias: Alias, us: int) -> bool:
    """Whether an alias holds at a time.

    Examples
    --------
    >>> old = Alias(spelling="LUNA", name="LUNC", until="2022-05-28")
    >>> holds_at(old, day_us("2022-05-27")), holds_at(old, day_us("2022-05-28"))
    (True, False)
    """
    begins = not alias.since or day_us(alias.since) <= us
    return begins and (not alias.until or us < day_us(alias.until))


def overlaps(one: Alias, other: Alias) -> bool:
    """Whether two aliases hold on a common day.

    Examples
    --------
    >>> old = Alias(spelling="LUNA", name="LUNC", until="2022-05-28")
    >>> overlaps(old, Alias(spelling="LUNA", name="LUNA", since="2022-05-28"))
    False
    """
    starts = max(one.since, other.since)
    ends = [until for until in (one.until, other.until) if until]
    return not ends or starts < min(ends)
