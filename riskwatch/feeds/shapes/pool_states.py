"""Balances of a pool of coins over time, as data vendors and block explorers write them."""

from __future__ import annotations

import re
from decimal import Context, Decimal, localcontext
from typing import TYPE_CHECKING, ClassVar, Final

from riskwatch.core.clock import moment
from riskwatch.core.events import Quote
from riskwatch.core.money import MAX_SCALE, canonical
from riskwatch.feeds.document import Form
from riskwatch.feeds.record import Reason
from riskwatch.feeds.shape import AMPLIFICATION, BASE, QUOTE, FileSession, FileShape, Fit, amount
from riskwatch.feeds.values import BadCellError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.events import Event
    from riskwatch.feeds.document import Document, Record
    from riskwatch.feeds.shape import FileLabels, FileReport

MAX_SHARE: Final = 1_000_000
"""Largest ratio of two balances; beyond it they have different units."""
_WIDE: Final = Context(prec=80)
_ROUNDS: Final = 255
_DIGITS: Final = 40
_TIMES: Final = ("time", "unix_timestamp", "timestamp", "date", "datetime", "block_time")
_PROOFS: Final = frozenset({"ideal", "ideal_balance", "virtual_price"})
_COIN: Final = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)?")
_SUFFIX: Final = re.compile(r"_(balance|pool|reserve)$")
_OTHER: Final = frozenset({*_TIMES, *_PROOFS, "index", "total", "address", "price_to_eth"})


class PoolStates(FileShape):
    """One quote at each time: the pool's balances of two of its coins as sizes, and its price.

    A coin too many in the pool is a coin that people get rid of, before its price says so. The
    price is the marginal one of the pool's invariant over all its coins, which are of like value:
    StableSwap with the amplification that the caller states, or the constant product. Balances in
    different units (raw amounts of coins with 6 and 18 decimals) are skipped.
    """

    name = "pool-states"
    about = "balances of a pool: a time, a column for each coin, and shares or ideal balance"
    gives = "quote"
    needs: ClassVar = (BASE, QUOTE, AMPLIFICATION)
    forms: ClassVar = (Form.TABLE,)

    def fit(self, document: Document) -> Fit:
        """Return how well a file fits: a time, two coins, and a column that only pools have."""
        have = frozenset(document.columns)
        shares = any(name.endswith("_p") and name.removesuffix("_p") in have for name in have)
        named = sum(_SUFFIX.search(name) is not None for name in have) > 1
        proof = bool(have & _PROOFS) or shares or named
        fits = have & {*_TIMES} and proof and len(pool_coins(document)) > 1
        return Fit(12 if fits else 0)

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _PoolSession(document, labels, report, f"{labels.venue}-pool")


def pool_coins(document: Document) -> dict[str, str]:
    """Return the coins of a pool, and the column of each."""
    have = document.columns
    names = [name for name in have if name not in _OTHER and _COIN.fullmatch(name)]
    marked = [name for name in names if _SUFFIX.search(name) or f"{name}_p" in have]
    plain = [name for name in (marked if len(marked) > 1 else names) if not name.endswith("_p")]
    return {_SUFFIX.sub("", name).upper(): name for name in plain}


class _PoolSession(FileSession):
    def take(self, record: Record) -> Iterator[Event]:
        """Return the quote of a time."""
        cells, labels = record.cells, self.labels
        us = self.time(cells[next(name for name in _TIMES if name in cells)])
        coins = pool_coins(self.document)
        for coin in (labels.base, labels.quote):
            if coin.upper() not in coins:
                raise BadCellError(Reason.UNKNOWN_PAIR, f"{coin}, the pool has {sorted(coins)}")
        sizes = {coin: amount(cells[column]) for coin, column in coins.items()}
        if min(sizes.values()) <= 0:
            raise BadCellError(Reason.NOT_POSITIVE, min(sizes.values()))
        if max(sizes.values()) > MAX_SHARE * min(sizes.values()):
            raise BadCellError(Reason.UNKNOWN_SIZE, f"balances differ by more than {MAX_SHARE:,}")
        base, quote = sizes[labels.base.upper()], sizes[labels.quote.upper()]
        price = pool_price(list(sizes.values()), base, quote, amount(labels.amplification))
        yield Quote(
            v=1, event_id=f"{labels.venue}:{labels.base}{labels.quote}:pool:{us}", ts=moment(us),
            source=self.source, venue=labels.venue, base=labels.base, quote=labels.quote,
            last=price, ask_size=cut(base), bid_size=cut(quote),
        )  # fmt: skip


def pool_price(sizes: list[Decimal], base: Decimal, quote: Decimal, factor: Decimal) -> Decimal:
    """Return the marginal price of a coin in another one, of a pool with these balances.

    Parameters
    ----------
    sizes : list of Decimal
        Balances of all coins.
    base, quote : Decimal
        Balances of the two coins.
    factor : Decimal
        Amplification as the contract of the pool states it; 0 for a constant product.

    Notes
    -----
    The invariant is the one of StableSwap (Egorov, 2019): with n coins of the sum S and the product
    P, ``A n S + D = A n D + D^(n+1) / (n^n P)``. The price is the ratio of its derivatives.

    Examples
    --------
    >>> from decimal import Decimal as D
    >>> pool_price([D(5), D(5)], D(5), D(5), D(100)), pool_price([D(4), D(2)], D(4), D(2), D(0))
    (Decimal('1'), Decimal('0.5'))
    """
    with localcontext(_WIDE):
        if not factor:
            return cut(quote / base)
        count = len(sizes)
        leverage, whole = factor * count, sum(sizes, start=Decimal(0))
        found = whole
        for _ in range(_ROUNDS):
            power = _power(found, sizes)
            step = found
            found = (
                (leverage * whole + count * power)
                * found
                / ((leverage - 1) * found + (count + 1) * power)
            )
            if abs(found - step) <= found.scaleb(-_DIGITS):
                break
        else:
            raise BadCellError(Reason.UNKNOWN_SIZE, "the invariant has no solution")
        power = _power(found, sizes)
        return cut((leverage + power / base) / (leverage + power / quote))


def _power(invariant: Decimal, sizes: list[Decimal]) -> Decimal:
    """Return ``D^(n+1) / (n^n P)``."""
    found = invariant
    for size in sizes:
        found = found * invariant / (size * len(sizes))
    return found


def cut(value: Decimal) -> Decimal:
    """Return a number with as many digits as the wire contract takes."""
    return canonical(_WIDE.quantize(value, _WIDE.scaleb(1, -MAX_SCALE)))
