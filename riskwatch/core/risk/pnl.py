"""Profit and loss that facts state: the results of fills, their fees, and entries of ledgers.

The result of a fill is what its two legs are worth at the prices of the tick: a fill at the price
earns nothing. What changes of prices earn is measured in :mod:`riskwatch.core.risk.drawdown`.
Transfers, and what only a snapshot tells, are no profit and no loss: they are flows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.core.money import saturated
from riskwatch.core.risk.exposure import price_of, value_of
from riskwatch.core.risk.state import PnlSums
from riskwatch.core.scopes import ACCOUNT, BOOK, FIRM

if TYPE_CHECKING:
    from riskwatch.core.readings import AccountAdjustment, FillGroup
    from riskwatch.core.risk.state import RiskState

MAX_PRICE_RATIO: Final = 2.0
"""Largest ratio between the price of a fill and the price of its asset of which a result is known.

The amounts of options and quanto contracts are in other units, and fall outside.
"""
_PARTS: Final = {
    "funding": "funding",
    "fee": "fees",
    "rebate": "fees",
    "liquidation_fee": "fees",
    "interest": "interest",
    "conversion": "trading",
    "auto_conversion": "trading",
    "dust": "trading",
    "airdrop": "other",
    "insurance": "other",
    "socialised_loss": "other",
    "other": "other",
}
"""The part of the result that each kind of adjustment belongs to.

`realised_pnl` is missing, because the changes of prices have earned it before; so are the kinds
that only exchange one form of an asset for another.
"""


def booked_results(state: RiskState) -> dict[str, PnlSums]:
    """Return what the fills and adjustments since the last tick earned, by scope."""
    out: dict[str, PnlSums] = {}
    for name in sorted(state.parties):
        row = state.parties[name]
        for group in row.fills:
            scopes = scopes_of_result(name, group.account, group.book)
            _add(out, scopes, "trading", _result(state, group))
            for asset, fee in group.fees.items():
                price = price_of(asset, state)
                if price is not None:
                    _add(out, scopes, "fees", -value_of(fee, price))
        for each in row.adjustments:
            part = _PARTS.get(each.kind)
            if part is not None:
                scopes = scopes_of_result(name, each.account, each.book)
                _add(out, scopes, part, _entry(state, each))
    return out


def scopes_of_result(party: str, account: str, book: str) -> list[str]:
    """Return the scopes whose result an account and a book add to.

    Examples
    --------
    >>> scopes_of_result("kraken", "main", "arb")
    ['firm', 'account:kraken/main', 'book:arb']
    """
    scopes = [FIRM, f"{ACCOUNT}:{party}/{account}"]
    return [*scopes, f"{BOOK}:{book}"] if book else scopes


def _add(out: dict[str, PnlSums], scopes: list[str], part: str, value: float) -> None:
    for scope in scopes if value else ():
        sums = out.setdefault(scope, PnlSums())
        setattr(sums, part, saturated(getattr(sums, part) + value))


def _result(state: RiskState, group: FillGroup) -> float:
    """Return what the legs of fills are worth now, USD; 0 if a price is missing or far away."""
    base, quote = price_of(group.base, state), price_of(group.quote, state)
    if not base or not quote or not group.qty:
        return 0.0
    paid = value_of(group.notional, quote)
    worth = value_of(group.qty, base)
    if not worth / MAX_PRICE_RATIO <= paid <= worth * MAX_PRICE_RATIO:
        return 0.0
    return worth - paid if group.side == "buy" else paid - worth


def _entry(state: RiskState, each: AccountAdjustment) -> float:
    """Return what an entry added, USD; 0 if a price is missing."""
    price = price_of(each.asset, state)
    if price is None:
        return 0.0
    value = value_of(each.amount, price)
    if each.to_asset:
        other = price_of(each.to_asset, state)
        return 0.0 if other is None else saturated(value + value_of(each.to_amount, other))
    return value
