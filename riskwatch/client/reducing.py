"""Check whether an order reduces a position, by quantity, position and open orders.

It never relies on what the sender of the order declares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from decimal import Decimal

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
