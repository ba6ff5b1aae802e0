"""Canonical names of orders, and rows about names that nothing lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.client.guard.view import PreparedAnswers, SwitchRow
from riskwatch.core.enums import State
from riskwatch.core.names import (
    INSTRUMENT_NAME,
    PARTY_NAME,
    CanonicalName,
    canonical_name,
    canonical_scope,
    own_asset,
)
from riskwatch.core.scopes import ASSET, BOOK, COUNTERPARTY

if TYPE_CHECKING:
    from riskwatch.client.guard.order_check import Order
    from riskwatch.core.names import NameTable
    from riskwatch.core.scopes import Assets

PAIR: Final = "/"


def split_pair(asset: object) -> object:
    """Return base and quote of a text such as ``BTC/USD``; anything else as it is.

    Examples
    --------
    >>> split_pair("BTC/USDT:USDT"), split_pair("BTC")
    (('BTC', 'USDT'), 'BTC')
    """
    if isinstance(asset, str) and PAIR in asset:
        return tuple(part.partition(":")[0] for part in asset.split(PAIR))
    return asset


def canonical_order(order: Order, table: NameTable, unlisted: State, us: int) -> Order:
    """Return an order under its canonical names, with rows about those that nothing lists.

    Where a venue spells one coin by the name of another, the order touches both.

    Parameters
    ----------
    order : Order
        The order as it was stated.
    table : NameTable
        The table of names.
    unlisted : State
        State of an order with a name that nothing lists.
    us : int
        Time, microseconds.
    """
    if not table.digest:
        return order
    party = order.counterparty
    if party is not None:
        party = canonical_name(table, PARTY_NAME, None, party, us).name
    meanings = {
        name: _meanings(table, party, name, us)
        for name in (*order.assets, *order.intent.bought, *order.intent.sold)
    }
    intent = msgspec.structs.replace(
        order.intent,
        bought=_named(order.intent.bought, meanings),
        sold=_named(order.intent.sold, meanings),
        reduces=_reduced(order, table, us),
    )
    rows = tuple(
        _row(scope, unlisted)
        for scope in _unlisted_scopes(order, table, party, meanings, us)
        if unlisted is not State.NORMAL
    )
    price = order.price
    if price is not None and order.assets:
        base = meanings[order.assets[0]][0].unit
        quote = meanings[order.assets[1]][0].unit if len(order.assets) > 1 else 1
        price = price * float(quote / base)
    return msgspec.structs.replace(
        order,
        counterparty=party,
        asset=_assets(order.asset, meanings),
        intent=intent,
        price=price,
        unlisted=rows,
    )


def is_plain(order: Order, named: Order, table: NameTable) -> bool:
    """Whether an order is stated in canonical names that are listed, and mean that everywhere."""
    return (
        not named.unlisted
        and not any(table.varies(name) for name in order.assets)
        and order.counterparty == named.counterparty
        and order.asset == named.asset
    )


def _meanings(table: NameTable, party: str | None, name: str, us: int) -> tuple[CanonicalName, ...]:
    """Return what an asset means: as the venue spells it, and as riskwatch does."""
    venue = canonical_name(table, INSTRUMENT_NAME, party, name, us)
    own = own_asset(table, party, name, us)
    return (venue,) if own.name == venue.name or not own.listed else (venue, own)


def _named(
    names: tuple[str, ...], meanings: dict[str, tuple[CanonicalName, ...]]
) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found.name for name in names for found in meanings[name]))


def _assets(asset: Assets, meanings: dict[str, tuple[CanonicalName, ...]]) -> Assets:
    if asset is None:
        return None
    if isinstance(asset, tuple):
        return _named(asset, meanings)
    found = _named((asset,), meanings)
    return found[0] if len(found) == 1 else found


def _reduced(order: Order, table: NameTable, us: int) -> bool | dict[str, bool]:
    """Return the scopes that an order reduces, under their canonical names.

    Of two spellings of one scope, both must say so.
    """
    if isinstance(order.intent.reduces, bool):
        return order.intent.reduces
    found: dict[str, bool] = {}
    for scope, flag in order.intent.reduces.items():
        named = canonical_scope(table, scope, us)
        found[named] = flag and found.get(named, True)
    return found


def _unlisted_scopes(
    order: Order,
    table: NameTable,
    party: str | None,
    meanings: dict[str, tuple[CanonicalName, ...]],
    us: int,
) -> list[str]:
    """Return the scopes of an order whose names nothing lists."""
    found = [
        f"{ASSET}:{each.name}"
        for several in meanings.values()
        for each in several
        if not each.listed
    ]
    if party is not None and not canonical_name(table, PARTY_NAME, None, party, us).listed:
        found.append(f"{COUNTERPARTY}:{party}")
    if order.book is not None and not table.is_listed_book(order.book):
        found.append(f"{BOOK}:{order.book}")
    return list(dict.fromkeys(found))


def _row(scope: str, state: State) -> PreparedAnswers:
    why = "nothing lists this name, and the policy answers so (docs/names.md)"
    row = SwitchRow(
        scope=scope, state=state, decision_id="", why=why, worker="", epoch=0, seq=0, applied=0.0
    )
    return PreparedAnswers(row)
