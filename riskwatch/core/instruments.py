"""Instruments: what a derivative position is worth, how it moves with prices, and what it earned.

The size of a position is its number of contracts times the contract size. Its unit depends on the
form of the contract:

========= ===================================== ===========================================
form      size in units of                      profit, in units of the settlement coin
========= ===================================== ===========================================
linear    the base                              size x (mark - entry)
inverse   the quote                             size x (1 / entry - 1 / mark)
quanto    settlement coin per point of price    size x (mark - entry)
========= ===================================== ===========================================

An option has its size in units of the base. Its delta and its value are those that are stated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.money import saturated

if TYPE_CHECKING:
    from collections.abc import Callable

    from riskwatch.core.readings import OpenPosition

LINEAR: Final = "linear"
INVERSE: Final = "inverse"
QUANTO: Final = "quanto"
OPTION: Final = "option"
SIZED_BY_CONTRACTS: Final = (INVERSE, QUANTO)
"""Forms whose size is not an amount of the base, so that only contracts state it."""
PREMIUM_ADJUSTED: Final = "premium_adjusted"


def settlement_asset(form: str, base: str, quote: str, stated: str = "") -> str:
    """Return the coin that profits are paid in, if it is not stated that of the form.

    Examples
    --------
    >>> settlement_asset("inverse", "BTC", "USD"), settlement_asset("", "BTC", "USDT")
    ('BTC', 'USDT')
    """
    return stated or (base if form == INVERSE else quote)


class PositionValue(msgspec.Struct, frozen=True, gc=False):
    """What a position is worth at given prices.

    Attributes
    ----------
    price_usd : float or None
        Price of the base, USD; ``None`` if nothing states it.
    by : str
        ``market`` if a price of the base is known, ``mark`` if the position's own mark stands for
        it, else empty.
    mark : float or None
        Price of the contract, in units of the quote per unit of the base.
    notional_usd : float or None
        Signed notional, USD.
    delta : float or None
        How much of the base the position is equal to for small moves of its price, in units of the
        base, without the collateral. Unknown of an option that does not state it.
    delta_usd : float or None
        The same in USD.
    settle : str
        Coin of the profit.
    pnl, pnl_usd : float or None
        Profit that is not realised, in units of `settle` and in USD.
    option_usd : float
        Value of an option, USD: a claim if long, a debt if short; 0 of other instruments.
    """

    price_usd: float | None
    by: str
    mark: float | None
    notional_usd: float | None
    delta: float | None
    delta_usd: float | None
    settle: str
    pnl: float | None
    pnl_usd: float | None
    option_usd: float

    @property
    def exposure_usd(self) -> float | None:
        """Signed exposure that counts in limits, USD.

        It is the notional. Of an option it is the delta, or the notional if no delta is known.
        """
        if self.delta_usd is not None and self.notional_usd is not None:
            return self.delta_usd if self.option_usd or self.is_option else self.notional_usd
        return self.notional_usd

    is_option: bool = False


def value_position(
    position: OpenPosition, price_of: Callable[[str], float | None], basis: float = 1.0
) -> PositionValue:
    """Return what a position is worth.

    Parameters
    ----------
    position : OpenPosition
        The position.
    price_of : callable
        Returns the price of an asset in USD per unit, or ``None``.
    basis : float
        Price of the contract divided by the price of its base in the quote, when the venue last
        stated a mark.

    Examples
    --------
    One million contracts of 1 USD, long from 60,000, at 30,000:

    >>> from decimal import Decimal as D
    >>> from riskwatch.core.readings import OpenPosition
    >>> held = OpenPosition("arb", "main", "XBTUSD", "BTC", "USD", D(1_000_000), D(60_000), None,
    ...                     None, form="inverse")
    >>> found = value_position(held, {"BTC": 30_000.0, "USD": 1.0}.get)
    >>> round(found.pnl, 2), round(found.delta, 2), found.notional_usd
    (-16.67, 33.33, 1000000.0)
    """
    size, quote_usd = float(position.qty), price_of(position.quote)
    price, by = price_of(position.base), "market"
    is_option = position.kind == OPTION
    # The mark of an option is the price of the option, and says nothing of its base.
    mark = None if position.mark_price is None or is_option else float(position.mark_price)
    if price is None:
        price, by = (None, "") if mark is None or quote_usd is None else (mark * quote_usd, "mark")
    elif quote_usd:
        mark = price / quote_usd * basis
    settle = settlement_asset(position.form, position.base, position.quote, position.settle)
    settle_usd = price_of(settle)
    if settle_usd is None and settle == position.base:
        settle_usd = price
    notional = _notional(position, size, (price, quote_usd, settle_usd), mark)
    delta = _delta(position, notional, price)
    pnl = _pnl(position, size, mark)
    option_usd = 0.0
    if is_option and position.option_value is not None and settle_usd is not None:
        worth = abs(float(position.option_value)) * settle_usd
        option_usd = saturated(worth if size > 0.0 else -worth)
    return PositionValue(
        price_usd=price,
        by=by,
        mark=mark,
        notional_usd=notional,
        delta=delta,
        delta_usd=None if delta is None or price is None else saturated(delta * price),
        settle=settle,
        pnl=pnl,
        pnl_usd=None if pnl is None or settle_usd is None else saturated(pnl * settle_usd),
        option_usd=option_usd,
        is_option=is_option,
    )


def _notional(
    position: OpenPosition,
    size: float,
    prices: tuple[float | None, float | None, float | None],
    mark: float | None,
) -> float | None:
    """Return the signed notional in USD; `prices` are those of base, quote and settlement coin."""
    price, quote_usd, settle_usd = prices
    if position.form == INVERSE and position.kind != OPTION:
        return None if quote_usd is None else saturated(size * quote_usd)
    if position.form == QUANTO:
        known = mark is not None and settle_usd is not None
        return saturated(size * (mark or 0.0) * (settle_usd or 0.0)) if known else None
    return None if price is None else saturated(size * price)


def _delta(position: OpenPosition, notional: float | None, price: float | None) -> float | None:
    """Return the delta in units of the base."""
    if position.kind != OPTION:
        return None if notional is None or not price else notional / price
    if position.delta is None:
        return None
    delta = float(position.delta)
    settle = settlement_asset(position.form, position.base, position.quote, position.settle)
    if position.delta_convention == PREMIUM_ADJUSTED and settle == position.base:
        worth = abs(float(position.option_value or 0))
        delta += worth if position.qty > 0 else -worth
    return delta


def _pnl(position: OpenPosition, size: float, mark: float | None) -> float | None:
    """Return the profit that is not realised, in units of the settlement coin."""
    stated = None if position.unrealized_pnl is None else float(position.unrealized_pnl)
    entry = 0.0 if position.entry_price is None else float(position.entry_price)
    if position.kind == OPTION or not mark or entry <= 0.0:
        return stated
    if position.form == INVERSE:
        return size * (1.0 / entry - 1.0 / mark)
    return size * (mark - entry)
