"""Scopes of the kill switch, their precedence, and the digest of a table of them.

Client and server compute what holds for an order here and nowhere else. An order is bound by the
firm, its book, its counterparty, each of its assets, and each of them at that counterparty. Of
all these **the strictest state wins**: no scope can weaken another. Precedence (firm over book
over counterparty over asset over venue-asset) decides between equals alone: which scope, and so
which decision and reason, an answer names.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from riskwatch.core.enums import State
from riskwatch.core.text import name_fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FIRM: Final = "firm"
BOOK: Final = "book"
COUNTERPARTY: Final = "counterparty"
ASSET: Final = "asset"
VENUE_ASSET: Final = "venue-asset"
KINDS: Final = (FIRM, BOOK, COUNTERPARTY, ASSET, VENUE_ASSET)
"""Kinds of scopes, the one that takes precedence first."""
Assets = str | tuple[str, ...] | None
"""One asset, several (the base and the quote of a pair), or none."""
_CACHED: Final = 4_096
"""Scopes whose parts are remembered: more than a firm has."""


class Scope(tuple[str, str, str]):
    """A scope in its parts: kind, name, and of a venue-asset its asset."""

    __slots__ = ()

    @property
    def kind(self) -> str:
        """One of :data:`KINDS`."""
        return self[0]

    @property
    def name(self) -> str:
        """Book, counterparty or asset; empty for the firm."""
        return self[1]

    @property
    def asset(self) -> str:
        """Asset of a venue-asset; empty for all others."""
        return self[2]


@lru_cache(maxsize=_CACHED)
def parse(scope: str) -> Scope:
    """Take a scope apart.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> parse("venue-asset:binance/USDe").asset, parse("firm").kind
    ('USDe', 'firm')
    >>> parse("desk:1")
    Traceback (most recent call last):
    ValueError: scope must be firm, book:, counterparty:, asset: or venue-asset:, was 'desk:1'
    """
    kind, colon, name = scope.partition(":")
    if kind == FIRM and not colon:
        return Scope((FIRM, "", ""))
    if kind == VENUE_ASSET:
        venue, slash, asset = name.partition("/")
        if venue and slash and asset:
            return Scope((VENUE_ASSET, venue, asset))
    elif kind in KINDS and kind != FIRM and name:
        return Scope((kind, name, ""))
    raise ValueError(
        f"scope must be firm, book:, counterparty:, asset: or venue-asset:, was {scope!r}"
    )


def is_scope(scope: str) -> bool:
    """Whether a switch can stand on it: a scope whose names are names as events spell them.

    Names in mixed scripts are refused, see :func:`riskwatch.core.text.name_fault`.

    Examples
    --------
    >>> [is_scope(s) for s in ("firm", "book:arb", "venue-asset:kraken/USDC", "asset:", "x")]
    [True, True, True, False, False]
    """
    try:
        at = parse(scope)
    except ValueError:
        return False
    return all(not name_fault(name) for name in (at.name, at.asset) if name)


def kind_of_scope(scope: str) -> str:
    """Kind of a scope; of what is none (an issuer, a worker), what stands before the colon.

    Examples
    --------
    >>> kind_of_scope("asset:USDC"), kind_of_scope("issuer:circle"), kind_of_scope("firm")
    ('asset', 'issuer', 'firm')
    """
    return scope.partition(":")[0]


def precedence(scope: str) -> int:
    """Place of a scope's kind in :data:`KINDS`, 0 for the firm.

    Raises
    ------
    ValueError
        If it is no scope.
    """
    return KINDS.index(parse(scope).kind)


def scopes_of(
    *, book: str | None = None, counterparty: str | None = None, asset: Assets = None
) -> tuple[str, ...]:
    """All scopes that bind an order, in their precedence.

    Examples
    --------
    >>> scopes_of(book="arb", counterparty="kraken", asset="USDC")
    ('firm', 'book:arb', 'counterparty:kraken', 'asset:USDC', 'venue-asset:kraken/USDC')
    """
    assets = () if asset is None else (asset,) if isinstance(asset, str) else asset
    found = [FIRM]
    found += [f"{BOOK}:{book}"] if book is not None else []
    found += [f"{COUNTERPARTY}:{counterparty}"] if counterparty is not None else []
    found += [f"{ASSET}:{name}" for name in assets]
    if counterparty is not None:
        found += [f"{VENUE_ASSET}:{counterparty}/{name}" for name in assets]
    return tuple(found)


def overlap(one: str, other: str) -> bool:
    """Whether some order, of one asset, is bound by both scopes.

    Raises
    ------
    ValueError
        If one of them is none.

    Examples
    --------
    >>> overlap("asset:USDC", "venue-asset:kraken/USDC"), overlap("asset:USDC", "asset:USDT")
    (True, False)
    """
    asks = _asked(one)
    return all(asks.get(what, name) == name for what, name in _asked(other).items())


def _asked(scope: str) -> dict[str, str]:
    """What an order must be about for a scope to bind it."""
    kind, name, asset = parse(scope)
    if kind == VENUE_ASSET:
        return {COUNTERPARTY: name, ASSET: asset}
    return {} if kind == FIRM else {kind: name}


def strictest_scope(
    states: Mapping[str, State],
    *,
    book: str | None = None,
    counterparty: str | None = None,
    asset: Assets = None,
) -> tuple[str, State]:
    """Scope and state that hold for an order: the strictest; of equals, the one that precedes.

    Parameters
    ----------
    states : mapping of str to State
        Effective state by scope; one that is not in it is NORMAL.
    book, counterparty, asset : str or None
        What the order touches.

    Examples
    --------
    >>> strictest_scope({"asset:USDC": State.HALT, "firm": State.REDUCE}, asset="USDC")
    ('asset:USDC', <State.HALT: 'HALT'>)
    >>> states = {"asset:USDC": State.HALT, "book:arb": State.HALT}
    >>> strictest_scope(states, book="arb", asset="USDC")
    ('book:arb', <State.HALT: 'HALT'>)
    """
    index = ScopeIndex(_Bare(scope, state) for scope, state in states.items())
    found = index.find(book, counterparty, asset)
    return (FIRM, State.NORMAL) if found is None else (found.scope, found.state)


def covering_scopes(scope: str) -> tuple[str, ...]:
    """Scopes that bind everything that a scope binds, itself among them, in their precedence.

    Raises
    ------
    ValueError
        If it is no scope.

    Examples
    --------
    >>> covering_scopes("venue-asset:kraken/USDC")
    ('firm', 'counterparty:kraken', 'asset:USDC', 'venue-asset:kraken/USDC')
    >>> covering_scopes("book:arb")
    ('firm', 'book:arb')
    """
    at = parse(scope)
    if at.kind == VENUE_ASSET:
        return scopes_of(counterparty=at.name, asset=at.asset)
    return (FIRM,) if at.kind == FIRM else (FIRM, scope)


class RankedScope(Protocol):
    """What an :class:`ScopeIndex` holds: anything that has a scope and a rank."""

    @property
    def scope(self) -> str:
        """Which scope."""
        ...

    @property
    def rank(self) -> int:
        """How strict, as :attr:`State.rank`."""
        ...


RankedScopeT = TypeVar("RankedScopeT", bound=RankedScope)


class _Bare:
    """A scope and its state."""

    def __init__(self, scope: str, state: State) -> None:
        self.scope = scope
        self.state = state
        self.rank = state.rank


class ScopeIndex(Generic[RankedScopeT]):
    """A table of scopes, arranged so that an order's strictest row is found in a few look-ups.

    Rows of rank 0 are left out: they hold for no order.

    Parameters
    ----------
    rows : iterable
        One per scope.

    Raises
    ------
    ValueError
        If a row's scope is none.
    """

    __slots__ = ("_assets", "_books", "_firm", "_parties", "_venues", "empty")

    def __init__(self, rows: Iterable[RankedScopeT] = ()) -> None:
        self._firm: RankedScopeT | None = None
        self._books: dict[str, RankedScopeT] = {}
        self._parties: dict[str, RankedScopeT] = {}
        self._assets: dict[str, RankedScopeT] = {}
        self._venues: dict[str, dict[str, RankedScopeT]] = {}
        self.empty = True
        """Whether nothing is restricted or watched."""
        for row in rows:
            at = parse(row.scope)
            if row.rank:
                self.empty = False
                self._put(at, row)

    def _put(self, at: Scope, row: RankedScopeT) -> None:
        if at.kind == FIRM:
            self._firm = row
        elif at.kind == VENUE_ASSET:
            self._venues.setdefault(at.name, {})[at.asset] = row
        else:
            named = {BOOK: self._books, COUNTERPARTY: self._parties, ASSET: self._assets}
            named[at.kind][at.name] = row

    def find(
        self, book: str | None, counterparty: str | None, asset: Assets = None
    ) -> RankedScopeT | None:
        """Row that prevails for an order; ``None`` if all that it touches is NORMAL."""
        best = self._firm
        rank = 0 if best is None else best.rank
        row = self._books.get(book) if book is not None else None
        if row is not None and row.rank > rank:
            best, rank = row, row.rank
        row = self._parties.get(counterparty) if counterparty is not None else None
        if row is not None and row.rank > rank:
            best, rank = row, row.rank
        if asset is None:
            return best
        here = self._venues.get(counterparty) if counterparty is not None else None
        assets = (asset,) if isinstance(asset, str) else asset
        for name in assets:
            row = self._assets.get(name)
            if row is not None and row.rank > rank:
                best, rank = row, row.rank
        if here is not None:
            for name in assets:
                row = here.get(name)
                if row is not None and row.rank > rank:
                    best, rank = row, row.rank
        return best

    def find_all(
        self, book: str | None, counterparty: str | None, asset: Assets = None
    ) -> list[RankedScopeT]:
        """Every row that binds an order, in precedence."""
        assets = () if asset is None else (asset,) if isinstance(asset, str) else asset
        here = {} if counterparty is None else self._venues.get(counterparty, {})
        found = [
            self._firm,
            None if book is None else self._books.get(book),
            None if counterparty is None else self._parties.get(counterparty),
            *(self._assets.get(name) for name in assets),
            *(here.get(name) for name in assets),
        ]
        return [row for row in found if row is not None]


def table_digest(rows: Iterable[tuple[str, str, str]]) -> str:
    """Digest of (scope, effective state, decision id), whatever their order; 32 hex digits.

    A heartbeat carries it, and a client that computes the same holds the same table.

    Examples
    --------
    >>> table_digest([("a", "HALT", "1"), ("b", "WATCH", "2")]) == table_digest(
    ...     [("b", "WATCH", "2"), ("a", "HALT", "1")])
    True
    """
    h = blake2b(digest_size=16, person=b"riskwatch-table")
    for row in sorted(rows):
        for part in row:
            data = part.encode()
            h.update(len(data).to_bytes(4, "big"))
            h.update(data)
    return h.hexdigest()
