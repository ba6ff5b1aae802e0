"""Venue and pair from a file name, if it is unambiguous."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeVar

from riskwatch.contracts.names_file import shipped_names
from riskwatch.core.names import ASSET_NAME, UNITY, canonical_name, day_us
from riskwatch.errors import OptionNeededError
from riskwatch.feeds.record import Feed

_VENUES: Final = """
binance binanceus bitfinex bitget bitstamp bittrex bybit coinbase cryptocom curve deribit ftx ftxus
gateio gemini htx huobi kraken kucoin okex okx poloniex uniswap upbit
"""
_ASSETS: Final = """
AAVE ADA AVAX BCH BNB BTC BUSD CRV DAI DOGE DOT ETC ETH EUR FDUSD FRAX FTT GBP GUSD LINK LTC LUNA
LUNC MATIC MIM PAX PYUSD SOL TRX TUSD UNI USD USDC USDD USDE USDP USDT UST USTC WBTC XBT XLM XRP
"""
VENUES: Final = frozenset(_VENUES.split())
ASSETS: Final = frozenset(_ASSETS.split())
STRONG_QUOTES: Final = ("FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USD")
"""Currencies that end a pair even if its base is unknown."""
WEAK_QUOTES: Final = ("EUR", "GBP", "JPY", "TRY", "DAI", "BTC", "ETH", "BNB", "XBT")
"""Currencies that end a pair only after a known base, because words end like this, too."""
_DAYS: Final = (day_us("2010-01-01"), day_us("2099-01-01"))
"""A file name has no time: only an alias that holds on both days is looked up."""

T = TypeVar("T")

_EXTENSIONS: Final = frozenset(
    {
        ".csv",
        ".parquet",
        ".gz",
        ".xz",
        ".bz2",
        ".txt",
        ".tsv",
        ".json",
        ".ndjson",
        ".jsonl",
        ".xml",
        ".sta",
        ".fix",
        ".log",
    }
)


def split_pair(symbol: str) -> tuple[str, str] | None:
    """Split a symbol written as one word; return ``None`` if the split is ambiguous.

    Examples
    --------
    >>> split_pair("BUSDUSDT"), split_pair("usdtusd"), split_pair("XBTUSD")
    (('BUSD', 'USDT'), ('USDT', 'USD'), ('BTC', 'USD'))
    >>> split_pair("XYZBUSD") is None  # XYZ/BUSD or XYZB/USD?
    True
    """
    symbol = symbol.upper()
    pairs = [
        (symbol.removesuffix(quote), quote)
        for quote in STRONG_QUOTES + WEAK_QUOTES
        if symbol.endswith(quote) and len(symbol) > len(quote) + 1
    ]
    known = [pair for pair in pairs if pair[0] in ASSETS]
    if len(known) > 1:  # USDTUSD is not US dollars priced in TUSD
        known = [pair for pair in known if pair[0] != "USD"]
    sure = known or [pair for pair in pairs if pair[1] in STRONG_QUOTES]
    if len(sure) != 1 or symbol in ASSETS:
        return None
    base, quote = sure[0]
    return canonical(base), canonical(quote)


def canonical(name: str) -> str:
    """Return the canonical name of an asset whose alias has always held; else the name.

    Examples
    --------
    >>> canonical("XBT"), canonical("LUNA")
    ('BTC', 'LUNA')
    """
    found = [canonical_name(shipped_names(), ASSET_NAME, None, name, us) for us in _DAYS]
    return found[0].name if found[0] == found[1] and found[0].unit == UNITY else name


def feed_of(
    path: Path, venue: str | None = None, base: str | None = None, quote: str | None = None
) -> Feed:
    """Return the feed that a file holds; the given parts take precedence over the file name.

    Raises
    ------
    OptionNeededError
        If the file name is ambiguous; the message names the option to give.

    Examples
    --------
    >>> str(feed_of(Path("kraken_usdcusd.parquet")))
    'kraken USDC/USD'
    >>> str(feed_of(Path("busd_2023_BUSDUSDT_1m.parquet"), venue="binance"))
    'binance BUSD/USDT'
    """
    words = _words(path)
    if venue is None:
        venues = {name for n in range(len(words)) if (name := _venue(words, n)) is not None}
        venue = _only(venues, path, "--venue")
    if base is None or quote is None:
        pair = _only(_pairs(words), path, "--base and --quote")
        base, quote = base or pair[0], quote or pair[1]
    return Feed(venue, base, quote)


def venue_in_name(path: Path) -> str | None:
    """Return the venue that a file name suggests, if it suggests one.

    Examples
    --------
    >>> venue_in_name(Path("okx_bills_2023.csv")), venue_in_name(Path("bills.csv"))
    ('okx', None)
    """
    words = _words(path)
    found = {name for n in range(len(words)) if (name := _venue(words, n)) is not None}
    return found.pop() if len(found) == 1 else None


def stem(path: Path) -> str:
    """Return the file name without the extensions of its format and compression.

    Examples
    --------
    >>> stem(Path("x/bitstamp_2015-05-01.csv.xz"))
    'bitstamp_2015-05-01'
    """
    name = path.name
    while Path(name).suffix.lower() in _EXTENSIONS:
        name = Path(name).stem
    return name


def _words(path: Path) -> list[str]:
    return [word for word in re.split(r"[^A-Za-z0-9]+", stem(path)) if word]


def _venue(words: list[str], n: int) -> str | None:
    word = words[n].lower()
    following = words[n + 1].lower() if n + 1 < len(words) else ""
    if following == "us" and word + "us" in VENUES:
        return word + "us"
    return word if word in VENUES else None


def _pairs(words: list[str]) -> set[tuple[str, str]]:
    """Return every pair in the words, written as one word or as two adjacent words."""
    found = {pair for word in words if (pair := split_pair(word)) is not None}
    for first, second in pairwise(words):
        base, quote = first.upper(), second.upper()
        if base in ASSETS and quote in STRONG_QUOTES + WEAK_QUOTES and base != quote:
            found.add((canonical(base), canonical(quote)))
    return found


def _only(found: set[T], path: Path, options: str) -> T:
    if len(found) != 1:
        problem = "does not say it" if not found else f"could be any of {sorted(map(str, found))}"
        raise OptionNeededError(str(path), options, f"the file name {problem}")
    return next(iter(found))
