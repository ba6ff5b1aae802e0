"""Canonical names: aliases by venue and date, units, and what does not count as a spelling."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskwatch.core.names import (
    ASSET_NAME,
    IDENTITY,
    INSTRUMENT_NAME,
    PARTY_NAME,
    UNITY,
    Alias,
    NamesConfig,
    NameTable,
    canonical_name,
    day_us,
)
from riskwatch.engine import bootstrap

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = bootstrap.configuration()
TABLE = CONFIG.name_table
OLD, NEW = day_us("2022-05-01"), day_us("2024-05-06")


def asset(spelling: str, venue: str | None = None, us: int = NEW) -> tuple[object, ...]:
    """Name and unit of a spelling of an asset."""
    return canonical_name(TABLE, ASSET_NAME, venue, spelling, us)[:2]


def party(spelling: str) -> tuple[object, ...]:
    """Name and unit of a spelling of a counterparty, and whether it is listed."""
    return tuple(canonical_name(TABLE, PARTY_NAME, None, spelling, NEW))


def aliases() -> Iterator[tuple[str, Alias, int]]:
    """Every alias of the shipped table, with a time at which it holds."""
    for kind, listed in ((ASSET_NAME, CONFIG.names.assets), (PARTY_NAME, CONFIG.names.parties)):
        for alias in listed:
            us = day_us(alias.since) if alias.since else OLD
            yield kind, alias, us


def test_every_spelling_of_the_shipped_table_has_its_name_and_unit() -> None:
    """At its venue and in its time, nothing else of the table comes before it."""
    for kind, alias, us in aliases():
        found = canonical_name(TABLE, kind, alias.venue or None, alias.spelling, us)
        assert found == (alias.name, Decimal(alias.unit), True), alias


def test_every_listed_name_is_its_own() -> None:
    """Except Terra's, which meant another chain before it began."""
    for name in CONFIG.reference.assets:
        assert asset(name) == (("USTC" if name == "UST" else name), 1)
    for name in CONFIG.reference.parties:
        assert party(name) == (name, 1, True)


@pytest.mark.parametrize(
    ("spelling", "venue", "us", "expected"),
    [
        ("XBt", "bitmex", NEW, ("BTC", Decimal("1e-8"))),
        ("XBT", "bitmex", NEW, ("BTC", 1)),
        ("USDt", "bitmex", NEW, ("USDT", Decimal("1e-6"))),
        ("USDt", "bitfinex", NEW, ("USDt", 1)),  # means a millionth elsewhere: not folded
        ("XBt", None, NEW, ("XBt", 1)),
        ("xbt", "bitmex", NEW, ("xbt", 1)),  # a bitcoin or a satoshi
        ("xbt", "kraken", NEW, ("BTC", 1)),
        ("kPEPE", "hyperliquid", NEW, ("PEPE", 1000)),
        ("1MBABYDOGE", "binance", NEW, ("BABYDOGE", 1_000_000)),
        ("LUNA", "binance", OLD, ("LUNC", 1)),
        ("LUNA", "binance", NEW, ("LUNA", 1)),
        ("LUNA", "kraken", NEW, ("LUNC", 1)),
        ("LUNA2", "kraken", NEW, ("LUNA", 1)),
        ("UST", "bitfinex", OLD, ("USDT", 1)),
        ("UST", "binance", OLD, ("UST", 1)),
        ("UST", "binance", NEW, ("USTC", 1)),
        ("TERRAUST", "bitfinex", OLD, ("UST", 1)),
        ("usdc", "kraken", NEW, ("USDC", 1)),
        ("STETH", "kraken", NEW, ("stETH", 1)),
        ("USDC.e", "kraken", NEW, ("USDC.e", 1)),
        ("WBTC", "kraken", NEW, ("WBTC", 1)),
        ("NOSUCH", "kraken", NEW, ("NOSUCH", 1)),
    ],
)
def test_names_by_venue_and_date(
    spelling: str, venue: str | None, us: int, expected: tuple[object, ...]
) -> None:
    """The alias of the venue comes first, and each holds in its time alone."""
    assert asset(spelling, venue, us) == expected


def test_an_alias_holds_until_the_day_on_which_it_ends() -> None:
    """The last microsecond before it is the old meaning, the first one of it the new."""
    edge = day_us("2022-05-28")
    assert asset("LUNA", "binance", edge - 1)[0] == "LUNC"
    assert asset("LUNA", "binance", edge)[0] == "LUNA"


def test_the_venue_may_have_another_name_itself() -> None:
    """Aliases of a venue hold under each of its own names."""
    assert asset("UST", "bitfinex2", NEW) == ("USDT", 1)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("BTC-PERP", "BTC"), ("BTC/USD", "BTC"), ("XBT/USDT:USDT", "BTC"), ("BTC-USDT-SWAP", "BTC"),
        ("ETH_PERP", "ETH"), ("BTC-240628", "BTC"), ("ETH-NOSUCH", "ETH-NOSUCH"),
        ("-PERP", "-PERP"),
    ],
)  # fmt: skip
def test_an_instrument_means_its_base(text: str, name: str) -> None:
    """Only if every other word of it is an asset, a date or a kind of contract."""
    assert canonical_name(TABLE, INSTRUMENT_NAME, "kraken", text, NEW).name == name
    assert asset(text, "kraken")[0] == text


@pytest.mark.parametrize(
    "name",
    ["\u0412TC", "BT\u0421", "\u212araken", "U\u200bSDC", "\uff22\uff34\uff23", "X\u0392T"],
)
def test_a_name_that_only_looks_like_another_does_not_fold(name: str) -> None:
    """Homoglyphs, mixed scripts, hidden and wide characters stay names of their own."""
    assert asset(name, "kraken") == (name, 1)
    assert party(name) == (name, 1, False)


def test_without_a_table_every_name_stays() -> None:
    """That is what configurations of before mean; nothing has a digest then."""
    assert canonical_name(IDENTITY, ASSET_NAME, "kraken", "xbt", NEW).name == "xbt"
    assert not IDENTITY.digest
    assert TABLE.digest


NAMES = st.sampled_from(
    [alias.spelling for _, alias, _ in aliases()]
    + [
        *CONFIG.reference.assets,
        *CONFIG.reference.parties,
        "NOSUCH",
        "usdc",
        "Kraken",
        "xbt",
        "USDt",
    ]
)
VENUES = st.sampled_from([None, "kraken", "kraken-pro", "bitmex", "bitfinex", "binance", "nowhere"])


@given(NAMES, VENUES, st.sampled_from([OLD, NEW]), st.randoms(use_true_random=False))
def test_the_order_of_the_table_and_repeats_change_nothing(
    name: str, venue: str | None, us: int, rng: object
) -> None:
    """A table with its lines in any order, asked in any order and twice, answers the same."""
    mixed = list(CONFIG.names.assets)
    rng.shuffle(mixed)  # type: ignore[attr-defined]
    made = NamesConfig(fold=True, assets=tuple(mixed), parties=CONFIG.names.parties[::-1])
    other = NameTable(made, list(CONFIG.reference.assets)[::-1], CONFIG.reference.parties)
    for kind in (ASSET_NAME, PARTY_NAME, INSTRUMENT_NAME):
        first = canonical_name(TABLE, kind, venue, name, us)
        assert canonical_name(other, kind, venue, name, us) == first
        assert canonical_name(TABLE, kind, venue, name, us) == first


@given(NAMES, st.sampled_from([OLD, NEW]))
def test_a_canonical_name_is_its_own_canonical_name(name: str, us: int) -> None:
    """Without a venue, a second look changes nothing."""
    for kind in (ASSET_NAME, PARTY_NAME):
        found = canonical_name(TABLE, kind, None, name, us)
        again = canonical_name(TABLE, kind, None, found.name, us)
        assert (again.name, again.unit) == (found.name, UNITY)


def test_any_change_of_the_table_changes_its_digest() -> None:
    """Another unit, day or listed name is another table."""
    one = Alias(spelling="XBT", name="BTC")
    tables = [
        NameTable(NamesConfig(assets=(one,)), ("BTC",)),
        NameTable(NamesConfig(assets=(one,)), ("BTC", "USD")),
        NameTable(NamesConfig(assets=(one,), fold=True), ("BTC",)),
        NameTable(NamesConfig(assets=(Alias(spelling="XBT", name="BTC", unit="10"),)), ("BTC",)),
    ]
    assert len({table.digest for table in tables}) == len(tables)
