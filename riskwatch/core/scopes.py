"""Scopes of the kill switch, their precedence, and the digest of a table of them.

Only this module computes which state applies to an order; client and server both use it. An order
is bound by the firm, its book, its counterparty, each of its assets, and each of these assets at
that counterparty; by its account and its trader; and by the groups, issuers, banks and networks
that it touches. Of all these scopes **the strictest state applies**: no scope can weaken another.
Precedence (the order of :data:`KINDS`) decides only between equal states: it selects the scope, and
so the decision and the reason, that a result names.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, Protocol, TypeVar

from riskwatch.core.enums import State
from riskwatch.core.text import name_fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FIRM: Final = "firm"
BOOK: Final = "book"
COUNTERPARTY: Final = "counterparty"
ASSET: Final = "asset"
VENUE_ASSET: Final = "venue-asset"
ACCOUNT: Final = "account"
TRADER: Final = "trader"
GROUP: Final = "group"
ISSUER: Final = "issuer"
BANK: Final = "bank"
NETWORK: Final = "network"
LINKED: Final = (GROUP, ISSUER, BANK)
"""Kinds of scopes that bind orders through their members: counterparties and assets."""
KINDS: Final = (
    FIRM, BOOK, COUNTERPARTY, ASSET, VENUE_ASSET, ACCOUNT, TRADER, *LINKED, NETWORK,
)  # fmt: skip
"""Kinds of scopes, in precedence."""
_PAIRED: Final = (VENUE_ASSET, ACCOUNT)
"""Kinds whose names are those of a venue and of an asset or an account, with a ``/`` in between."""
Assets = str | tuple[str, ...] | None
"""One asset, several (the base and the quote of a pair), or none."""
_CACHED: Final = 4_096
"""Number of parsed scopes in the cache: more than a firm has."""


class Scope(tuple[str, str, str]):
    """A parsed scope: its kind, its name, and for a venue-asset or account the second name."""

    __slots__ = ()

    @property
    def kind(self) -> str:
        """One of :data:`KINDS`."""
        return self[0]

    @property
    def name(self) -> str:
        """The name; the venue of a venue-asset and of an account; empty for the firm."""
        return self[1]

    @property
    def asset(self) -> str:
        """Asset of a venue-asset; empty for all others."""
        return self[2] if self[0] == VENUE_ASSET else ""

    @property
    def account(self) -> str:
        """Account at the venue of an account; empty for all others."""
        return self[2] if self[0] == ACCOUNT else ""


def covers_holding(
    at: Scope, *, counterparty: str, book: str, account: str, asset: str
) -> bool | None:
    """Whether a scope covers a holding; ``None`` if a holding does not tell.

    A holding names no trader and no network, and no members of a group, an issuer or a bank.

    Examples
    --------
    >>> held = {"counterparty": "kraken", "book": "arb", "account": "main", "asset": "USDC"}
    >>> [covers_holding(parse(s), **held) for s in ("firm", "book:mm", "trader:tom")]
    [True, False, None]
    """
    if at.kind == FIRM:
        return True
    if at.kind == ACCOUNT:
        return (at.name, at.account) == (counterparty, account)
    if at.kind == VENUE_ASSET:
        return (at.name, at.asset) == (counterparty, asset)
    named = {BOOK: book, COUNTERPARTY: counterparty, ASSET: asset}.get(at.kind)
    return None if named is None else at.name == named


@lru_cache(maxsize=_CACHED)
def parse(scope: str) -> Scope:
    """Parse a scope.

    Raises
    ------
    ValueError
        If the text is not a scope.

    Examples
    --------
    >>> parse("venue-asset:binance/USDe").asset, parse("firm").kind
    ('USDe', 'firm')
    >>> parse("account:binance/main").account
    'main'
    >>> parse("desk:1")
    Traceback (most recent call last):
    ValueError: scope must be firm, book:, counterparty:, asset:, venue-asset:, account:, trader:, \
group:, issuer:, bank: or network:, was 'desk:1'
    """
    kind, colon, name = scope.partition(":")
    if kind == FIRM and not colon:
        return Scope((FIRM, "", ""))
    if kind in _PAIRED:
        venue, slash, second = name.partition("/")
        if venue and slash and second:
            return Scope((kind, venue, second))
    elif kind in KINDS and kind != FIRM and name:
        return Scope((kind, name, ""))
    *named, last = (f"{each}:" for each in KINDS[1:])
    raise ValueError(f"scope must be firm, {', '.join(named)} or {last}, was {scope!r}")


def is_scope(scope: str) -> bool:
    """Whether a text is a scope that can have a switch: its names are valid names of events.

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
    return all(not name_fault(name) for name in at[1:] if name)


def kind_of_scope(scope: str) -> str:
    """Return the kind of a scope; for other subjects (an issuer, a worker) the text before ``:``.

    Examples
    --------
    >>> kind_of_scope("asset:USDC"), kind_of_scope("issuer:circle"), kind_of_scope("firm")
    ('asset', 'issuer', 'firm')
    """
    return scope.partition(":")[0]


def precedence(scope: str) -> int:
    """Return the position of a scope's kind in :data:`KINDS`, 0 for the firm.

    Raises
    ------
    ValueError
        If the text is not a scope.
    """
    return KINDS.index(parse(scope).kind)


def scopes_of(
    *, book: str | None = None, counterparty: str | None = None, asset: Assets = None
) -> tuple[str, ...]:
    """Return all scopes that bind an order by its book, counterparty and assets, in precedence.

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
    """Whether an order of one asset exists that both scopes bind.

    Raises
    ------
    ValueError
        If one of the texts is not a scope.

    Examples
    --------
    >>> overlap("asset:USDC", "venue-asset:kraken/USDC"), overlap("asset:USDC", "asset:USDT")
    (True, False)
    """
    required = _required_names(one)
    return all(required.get(what, name) == name for what, name in _required_names(other).items())


def _required_names(scope: str) -> dict[str, str]:
    """Return the names that an order must have for a scope to bind it, by kind."""
    kind, name, second = parse(scope)
    if kind == VENUE_ASSET:
        return {COUNTERPARTY: name, ASSET: second}
    if kind == ACCOUNT:
        return {COUNTERPARTY: name, ACCOUNT: second}
    return {} if kind == FIRM else {kind: name}


def strictest_scope(
    states: Mapping[str, State],
    *,
    book: str | None = None,
    counterparty: str | None = None,
    asset: Assets = None,
) -> tuple[str, State]:
    """Return the scope and state that apply to an order: the strictest, of equals the first.

    Parameters
    ----------
    states : mapping of str to State
        Effective state by scope; a missing scope is NORMAL.
    book, counterparty, asset : str or None
        Book, counterparty and assets of the order.

    Examples
    --------
    >>> strictest_scope({"asset:USDC": State.HALT, "firm": State.REDUCE}, asset="USDC")
    ('asset:USDC', <State.HALT: 'HALT'>)
    >>> states = {"asset:USDC": State.HALT, "book:arb": State.HALT}
    >>> strictest_scope(states, book="arb", asset="USDC")
    ('book:arb', <State.HALT: 'HALT'>)
    """
    index = ScopeIndex(_ScopeState(scope, state) for scope, state in states.items())
    found = index.find(book, counterparty, asset)
    return (FIRM, State.NORMAL) if found is None else (found.scope, found.state)


def covering_scopes(scope: str) -> tuple[str, ...]:
    """Return the scopes that bind every order that a scope binds, itself included, in precedence.

    Raises
    ------
    ValueError
        If the text is not a scope.

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
    if at.kind == ACCOUNT:
        return (*scopes_of(counterparty=at.name), scope)
    return (FIRM,) if at.kind == FIRM else (FIRM, scope)


class RankedScope(Protocol):
    """A row of a :class:`ScopeIndex`: any object with a scope and a rank."""

    @property
    def scope(self) -> str:
        """The scope."""
        ...

    @property
    def rank(self) -> int:
        """Strictness, as in :attr:`State.rank`."""
        ...

    @property
    def members(self) -> tuple[str, ...]:
        """Counterparties and assets, as scopes, that a group, issuer or bank stands for."""
        ...


RankedScopeT = TypeVar("RankedScopeT", bound=RankedScope)


class _ScopeState:
    """A scope and its state."""

    def __init__(self, scope: str, state: State) -> None:
        self.scope = scope
        self.state = state
        self.rank = state.rank
        self.members: tuple[str, ...] = ()


class OrderParties(NamedTuple):
    """What an order touches, beside its book, counterparty and assets.

    Attributes
    ----------
    account, trader, network : str or None
        Account at the counterparty, trader, and network of a transfer; ``None`` if unknown.
    transfer : bool
        Whether it is a deposit or a withdrawal, so that it uses a network.
    """

    account: str | None = None
    trader: str | None = None
    network: str | None = None
    transfer: bool = False


def binds(
    at: Scope,
    members: tuple[str, ...],
    counterparty: str | None,
    assets: tuple[str, ...],
    more: OrderParties,
) -> bool:
    """Whether a scope of an account, trader, group, issuer, bank or network binds an order.

    What the order does not state is unknown, and binds it: an order at a venue without an account
    may be of any account there, and an order without a trader of any trader. A group, issuer or
    bank without known members binds every order that touches a counterparty or an asset.

    Examples
    --------
    >>> at = parse("account:kraken/main")
    >>> [binds(at, (), "kraken", (), OrderParties(account=a)) for a in ("main", "b", None)]
    [True, False, True]
    >>> binds(parse("group:g"), ("counterparty:kraken",), "coinbase", (), OrderParties())
    False
    """
    if at.kind == ACCOUNT:
        if counterparty is None:
            return more.account == at.account
        return counterparty == at.name and more.account in (None, at.account)
    if at.kind == TRADER:
        return more.trader in (None, at.name)
    if at.kind == NETWORK:
        return more.transfer and more.network in (None, at.name)
    touched = [f"{ASSET}:{name}" for name in assets]
    if counterparty is not None:
        touched.append(f"{COUNTERPARTY}:{counterparty}")
    return any(each in members for each in touched) if members else bool(touched)


class ScopeIndex(Generic[RankedScopeT]):
    """An index of scopes that finds an order's strictest row in a few look-ups.

    Rows of rank 0 are left out, because they restrict no order.

    Parameters
    ----------
    rows : iterable
        One row per scope.

    Raises
    ------
    ValueError
        If a row's scope is not valid.
    """

    __slots__ = ("_assets", "_books", "_firm", "_others", "_parties", "_venues", "empty")

    def __init__(self, rows: Iterable[RankedScopeT] = ()) -> None:
        self._firm: RankedScopeT | None = None
        self._books: dict[str, RankedScopeT] = {}
        self._parties: dict[str, RankedScopeT] = {}
        self._assets: dict[str, RankedScopeT] = {}
        self._venues: dict[str, dict[str, RankedScopeT]] = {}
        self._others: list[tuple[Scope, RankedScopeT]] = []
        self.empty = True
        """Whether no scope is restricted or at WATCH."""
        for row in rows:
            at = parse(row.scope)
            if row.rank:
                self.empty = False
                self._put(at, row)
        self._others.sort(key=lambda other: (-other[1].rank, KINDS.index(other[0].kind), other[0]))

    def _put(self, at: Scope, row: RankedScopeT) -> None:
        if at.kind == FIRM:
            self._firm = row
        elif at.kind == VENUE_ASSET:
            self._venues.setdefault(at.name, {})[at.asset] = row
        elif at.kind in (BOOK, COUNTERPARTY, ASSET):
            named = {BOOK: self._books, COUNTERPARTY: self._parties, ASSET: self._assets}
            named[at.kind][at.name] = row
        else:
            self._others.append((at, row))

    @property
    def firm(self) -> RankedScopeT | None:
        """The row of the firm; ``None`` if it is NORMAL."""
        return self._firm

    def find(
        self,
        book: str | None,
        counterparty: str | None,
        asset: Assets = None,
        account: str | None = None,
        trader: str | None = None,
        network: str | None = None,
        *,
        transfer: bool = False,
    ) -> RankedScopeT | None:
        """Return the strictest row that binds an order; ``None`` if all its scopes are NORMAL.

        Parameters
        ----------
        book, counterparty, asset
            What the order touches; ``None`` is nothing.
        account, trader, network, transfer
            As of :class:`OrderParties`; ``None`` is unknown.
        """
        best = self._firm
        rank = 0 if best is None else best.rank
        row = self._books.get(book) if book is not None else None
        if row is not None and row.rank > rank:
            best, rank = row, row.rank
        row = self._parties.get(counterparty) if counterparty is not None else None
        if row is not None and row.rank > rank:
            best, rank = row, row.rank
        assets = () if asset is None else (asset,) if isinstance(asset, str) else asset
        for name in assets:
            row = self._assets.get(name)
            if row is not None and row.rank > rank:
                best, rank = row, row.rank
        here = self._venues.get(counterparty) if counterparty is not None else None
        if here is not None:
            for name in assets:
                row = here.get(name)
                if row is not None and row.rank > rank:
                    best, rank = row, row.rank
        if not self._others:
            return best
        more = OrderParties(account, trader, network, transfer)
        return self._find_other(best, counterparty, assets, more)

    def _find_other(
        self,
        best: RankedScopeT | None,
        counterparty: str | None,
        assets: tuple[str, ...],
        more: OrderParties,
    ) -> RankedScopeT | None:
        """Return the strictest row of `best` and of those of other kinds that bind an order."""
        rank = 0 if best is None else best.rank
        for at, row in self._others:  # the strictest first
            if row.rank <= rank:
                break
            if binds(at, row.members, counterparty, assets, more):
                return row
        return best

    def find_all(
        self,
        book: str | None,
        counterparty: str | None,
        asset: Assets = None,
        account: str | None = None,
        trader: str | None = None,
        network: str | None = None,
        *,
        transfer: bool = False,
    ) -> list[RankedScopeT]:
        """Return every row that binds an order, in precedence; parameters are those of `find`."""
        more = OrderParties(account, trader, network, transfer)
        assets = () if asset is None else (asset,) if isinstance(asset, str) else asset
        here = {} if counterparty is None else self._venues.get(counterparty, {})
        found = [
            self._firm,
            None if book is None else self._books.get(book),
            None if counterparty is None else self._parties.get(counterparty),
            *(self._assets.get(name) for name in assets),
            *(here.get(name) for name in assets),
        ]
        others = [
            (KINDS.index(at.kind), at, row)
            for at, row in self._others
            if binds(at, row.members, counterparty, assets, more)
        ]
        others.sort(key=lambda other: other[:2])
        return [row for row in found if row is not None] + [row for _, _, row in others]


def table_digest(rows: Iterable[tuple[str, str, str]]) -> str:
    """Return the digest of rows (scope, effective state, decision id) in any order; 32 hex digits.

    A heartbeat carries it. A client that computes the same digest has the same table.

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
