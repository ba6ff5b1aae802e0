"""Check whether an order reduces a position, by quantity, position and open orders.

It never relies on what the sender of the order declares.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

Side = Literal["buy", "sell"]


def reduces(
    side: Side, qty: Decimal, position: Decimal, *, buying: Decimal, selling: Decimal
) -> bool:
    """Return whether an order can only bring a position nearer to zero.

    The result holds whichever open orders fill before it. Call it for every scope that the order
    touches, with the position of that scope.

    Parameters
    ----------
    side : {"buy", "sell"}
        Side of the order.
    qty : Decimal
        Its quantity, above 0.
    position : Decimal
        Signed quantity of the current position, in the same unit.
    buying, selling : Decimal
        Quantities of all open orders of each side, at least 0.

    Examples
    --------
    >>> from decimal import Decimal as D
    >>> reduces("sell", D(3), D(5), buying=D(0), selling=D(2))
    True
    >>> reduces("sell", D(4), D(5), buying=D(0), selling=D(2))  # all filled, it would be short
    False
    >>> reduces("buy", D(1), D(5), buying=D(0), selling=D(0))
    False
    """
    if not qty > 0 or buying < 0 or selling < 0:
        return False
    # Open orders on the other side are ignored, because they may never fill.
    if side == "sell":
        return qty + selling <= position
    return qty + buying <= -position


class Inventory(msgspec.Struct, frozen=True):
    """What a scope holds of what an order changes, all in one unit.

    Attributes
    ----------
    position : Decimal
        Signed quantity of the current position.
    buying, selling : Decimal
        Quantities of all open orders of each side, at least 0.
    """

    position: Decimal
    buying: Decimal = Decimal(0)
    selling: Decimal = Decimal(0)


def reducing(changes: Mapping[str, Decimal], held: Mapping[str, Inventory]) -> dict[str, bool]:
    """Return, for each scope that an order touches, whether it can only reduce the position there.

    It is the value of ``reduces`` for :meth:`riskwatch.client.KillSwitch.allows`.

    Parameters
    ----------
    changes : mapping of str to Decimal
        By scope, the signed quantity by which the order changes the position if it fills.
    held : mapping of str to Inventory
        By scope, position and open orders. In a scope that is not given, the order does not reduce.

    Examples
    --------
    A sale of 1,000 USDC for 0.02 BTC, where the firm holds both:

    >>> from decimal import Decimal as D
    >>> reducing(
    ...     {"asset:USDC": D(-1000), "asset:BTC": D("0.02"), "book:arb": D(-1000)},
    ...     {"asset:USDC": Inventory(D(5000)), "asset:BTC": Inventory(D(1))},
    ... )
    {'asset:USDC': True, 'asset:BTC': False, 'book:arb': False}
    """
    found: dict[str, bool] = {}
    for scope, change in changes.items():
        known = held.get(scope)
        side: Side = "buy" if change > 0 else "sell"
        found[scope] = known is not None and reduces(
            side, abs(change), known.position, buying=known.buying, selling=known.selling
        )
    return found
