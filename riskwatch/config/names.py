"""Names in configuration files: misspellings, suggestions, and the names that the pack ships.

A name from a closed list (a feature, a target) is refused if it is not in the list. A name that a
deployment chooses (an asset, a party, a source of news) is refused only if it looks like a name
that exists elsewhere: then it is a misspelling, and what it should have bound goes free.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

SHIPPED_ASSETS: Final = (
    "USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "SGD", "HKD", "KRW", "BRL", "TRY", "USDT",
    "USDC", "BUSD", "USDP", "PYUSD", "USDG", "GUSD", "TUSD", "FDUSD", "RLUSD", "USD1", "HUSD",
    "EURC", "EURT", "EURS", "DAI", "USDS", "LUSD", "GHO", "crvUSD", "MIM", "USDe", "FRAX", "USDD",
    "UST", "USTC", "BTC", "ETH", "SOL", "XRP", "ADA", "DOGE", "AVAX", "DOT", "LTC", "BCH", "LINK",
    "TRX", "POL", "MATIC", "UNI", "ATOM", "TON", "LUNA", "LUNC", "ENA", "SHIB", "PEPE", "BONK",
    "FLOKI", "BABYDOGE", "WBTC", "stETH", "wstETH", "cbBTC", "cbETH", "USDC.e", "BNB",
    "FTT", "CEL", "OKB", "HT", "KCS", "CRO", "LEO", "GT", "BGB", "MNT", "BMEX", "NEXO",
)  # fmt: skip
SHIPPED_PARTIES: Final = (
    "kraken", "coinbase", "bitstamp", "gemini", "binance", "binanceus", "bybit", "okx", "bitfinex",
    "deribit", "bitmex", "bullish", "lmax", "crypto-com", "upbit", "bithumb", "kucoin", "bitget",
    "gateio", "mexc", "htx", "huobi", "poloniex", "uniswap", "bittrex", "ftx", "ftx-us", "celsius",
    "blockfi", "voyager", "genesis", "nexo", "anchorage", "bitgo", "coinbase-custody", "copper",
    "zodia", "komainu", "bakkt", "prime-trust", "svb", "signature", "silvergate", "first-republic",
    "bny-mellon", "state-street", "jpmorgan", "citi", "customers-bank", "cross-river",
    "metropolitan", "dbs", "deltec", "tether", "paxos", "techteryx", "first-digital", "ripple",
    "world-liberty", "stable-universal", "stasis", "liquity", "aave", "curve", "abracadabra",
    "ethena", "lido", "tron-dao", "terra", "usdc-bridge", "circle", "sky", "frax",
)  # fmt: skip
SHIPPED_RATINGS: Final = ("AAA", "AA", "A", "BBB", "BB", "B", "unrated", "CCC", "D")
SHIPPED_SOURCES: Final = ("court", "regulator", "desk")
SHIPPED_TARGETS: Final = ("depeg", "dislocation", "withdrawal_stress")
"""Kinds of targets that the pack ships."""
_CUTOFF: Final = 0.6


def suggestion(name: object, known: Iterable[str]) -> str | None:
    """Return the known name that a wrong one most resembles, or ``None``.

    Examples
    --------
    >>> suggestion("discont_bp", ("discount_bp", "premium_bp")), suggestion("x", ("premium_bp",))
    ('discount_bp', None)
    """
    found = get_close_matches(name, list(known), 1, _CUTOFF) if isinstance(name, str) else []
    return found[0] if found else None


def is_one_edit(one: str, other: str) -> bool:
    """Whether one character inserted, left out, replaced or swapped makes one name the other.

    Examples
    --------
    >>> [is_one_edit("kraken", name) for name in ("krakn", "kraken", "karken", "krakens", "krxkxn")]
    [True, False, True, True, False]
    """
    short, long = sorted((one, other), key=len)
    if len(short) == len(long):
        at = [i for i, pair in enumerate(zip(short, long, strict=True)) if pair[0] != pair[1]]
        if len(at) == 2:  # two neighbours that changed places
            i, j = at
            return j == i + 1 and (short[i], short[j]) == (long[j], long[i])
        return len(at) == 1
    return len(long) == len(short) + 1 and any(
        long[:i] + long[i + 1 :] == short for i in range(len(long))
    )


def misspelt(name: str, known: Iterable[str], present: Container[str] = ()) -> str | None:
    """Return the known name that one edit makes of `name`, unless `name` is known itself.

    Parameters
    ----------
    name : str
        A name in a file.
    known : iterable of str
        Names that exist elsewhere.
    present : container of str
        Names that stand in the file, too: who has both means both.

    Examples
    --------
    >>> misspelt("GUSX", ("GUSD", "USDC")), misspelt("GUSX", ("GUSD",), present=("GUSD",))
    ('GUSD', None)
    """
    names = tuple(known)
    if name in names:
        return None
    return next((each for each in names if each not in present and is_one_edit(name, each)), None)
