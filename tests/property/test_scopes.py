"""Precedence of scopes, compared with its definition."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskwatch.core.enums import State
from riskwatch.core.scopes import (
    FIRM,
    KINDS,
    ScopeIndex,
    overlap,
    parse,
    precedence,
    scopes_of,
    strictest_scope,
    table_digest,
)

Table = dict[str, State]
Order = dict[str, Any]
NAMES = st.sampled_from(["a", "b", "c/d", "e:f"])
VENUES = st.sampled_from(["a", "b", "e:f"])
SCOPES = st.one_of(
    st.just(FIRM),
    NAMES.map("book:{}".format),
    VENUES.map("counterparty:{}".format),
    NAMES.map("asset:{}".format),
    st.tuples(VENUES, NAMES).map(lambda pair: f"venue-asset:{pair[0]}/{pair[1]}"),
)
STATES = st.sampled_from(list(State))
TABLES = st.dictionaries(SCOPES, STATES)
ORDERS = st.fixed_dictionaries(
    {
        "book": st.none() | NAMES,
        "counterparty": st.none() | VENUES,
        "asset": st.none() | NAMES | st.tuples(NAMES, NAMES),
    }
)


@given(TABLES, ORDERS)
def test_the_strictest_wins_and_of_equals_the_one_that_precedes(table: Table, order: Order) -> None:
    """The result equals the four-line definition."""
    binding = [(table.get(scope, State.NORMAL), scope) for scope in scopes_of(**order)]
    strictest = max(state.rank for state, _ in binding)
    first = next(scope for state, scope in binding if state.rank == strictest)
    want = (
        (first, next(s for s in State if s.rank == strictest))
        if strictest
        else (FIRM, State.NORMAL)
    )
    assert strictest_scope(table, **order) == want


def test_an_asset_of_an_enumeration_is_one_asset() -> None:
    """A string enumeration member counts as one asset, and not as its letters."""
    coins = StrEnum("coins", {"USDC": "USDC"})
    for scope in ("asset:USDC", "venue-asset:kraken/USDC"):
        table = {scope: State.HALT}
        for asset in (coins["USDC"], (coins["USDC"], "USD")):
            found = strictest_scope(table, counterparty="kraken", asset=asset)
            assert found == (scope, State.HALT)


@given(TABLES, ORDERS, SCOPES, STATES)
def test_no_scope_weakens_another(table: Table, order: Order, scope: str, state: State) -> None:
    """A row of one more scope never makes the answer milder."""
    without = {name: was for name, was in table.items() if name != scope}
    before = strictest_scope(without, **order)[1]
    assert strictest_scope(without | {scope: state}, **order)[1].rank >= before.rank


@given(TABLES, ORDERS, SCOPES)
def test_what_an_order_does_not_touch_does_not_bind_it(
    table: Table, order: Order, scope: str
) -> None:
    """A coin without a row is NORMAL beside any number of halted ones."""
    if scope not in scopes_of(**order):
        without = {name: was for name, was in table.items() if name != scope}
        assert strictest_scope(without | {scope: State.HALT}, **order) == strictest_scope(
            without, **order
        )


@given(SCOPES)
def test_scopes_are_taken_apart_and_ranked(scope: str) -> None:
    """The kind is the word before the colon, and kinds have one order."""
    assert parse(scope).kind == scope.partition(":")[0]
    assert KINDS[precedence(scope)] == parse(scope).kind


def test_precedence_is_firm_book_counterparty_asset_venue_asset() -> None:
    """Kinds have this order, and the scopes of an order follow it."""
    found = scopes_of(book="b", counterparty="v", asset=("x", "y"))
    assert [precedence(scope) for scope in found] == [0, 1, 2, 3, 3, 4, 4]


@pytest.mark.parametrize(
    "scope",
    ["", "firm:", "firm:x", "book:", "asset:", "desk:1", "venue-asset:x", "venue-asset:/x",
     "venue-asset:x/", "FIRM", "counterparty"],
)  # fmt: skip
def test_what_is_no_scope_is_refused(scope: str) -> None:
    """Every function that takes a scope refuses an invalid one, by name."""
    with pytest.raises(ValueError, match="scope must be"):
        parse(scope)
    with pytest.raises(ValueError, match="scope must be"):
        strictest_scope({scope: State.HALT})


@given(TABLES, ORDERS)
def test_touching_are_all_that_bind(table: Table, order: Order) -> None:
    """Every restricted row of the order's scopes, in precedence, and no other."""

    class Row:
        def __init__(self, scope: str, state: State) -> None:
            self.scope, self.rank = scope, state.rank
            self.members: tuple[str, ...] = ()

    index = ScopeIndex(Row(scope, state) for scope, state in table.items())
    want = [s for s in scopes_of(**order) if table.get(s, State.NORMAL).rank]
    touching = index.find_all(order["book"], order["counterparty"], order["asset"])
    assert [row.scope for row in touching] == want
    assert index.empty == (not any(state.rank for state in table.values()))


@given(TABLES, TABLES)
def test_equal_digests_are_equal_tables(one: Table, two: Table) -> None:
    """Digests are equal exactly for equal tables, whatever the order of rows."""
    rows = [(scope, state.value, f"d-{scope}") for scope, state in one.items()]
    others = [(scope, state.value, f"d-{scope}") for scope, state in two.items()]
    assert table_digest(rows) == table_digest(reversed(rows))
    assert (table_digest(rows) == table_digest(others)) == (sorted(rows) == sorted(others))


@given(SCOPES, SCOPES)
def test_scopes_overlap_if_some_order_is_bound_by_both(one: str, other: str) -> None:
    """Two scopes overlap if some order is bound by both; all orders are tried."""
    names = ("a", "b", "c/d", "e:f")
    bound = (
        scopes_of(book=book, counterparty=venue, asset=asset)
        for book in names
        for venue in ("a", "b", "e:f")
        for asset in names
    )
    both = any(one in scopes and other in scopes for scopes in bound)
    assert overlap(one, other) is overlap(other, one) is both


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("firm", "book:a", True),
        ("counterparty:kraken", "venue-asset:kraken/USDC", True),
        ("counterparty:kraken", "venue-asset:coinbase/USDC", False),
        ("venue-asset:kraken/USDC", "asset:USDT", False),
        ("venue-asset:kraken/USDC", "venue-asset:kraken/USDT", False),
        ("book:a", "asset:USDC", True),
        ("book:a", "book:b", False),
    ],
)
def test_scopes_overlap_both_ways(one: str, other: str, *, both: bool) -> None:
    """Examples of overlapping scopes."""
    assert overlap(one, other) is overlap(other, one) is both
