"""Whether an order reduces: by quantity, position and open orders, never by declaration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from decimal import Decimal

Side = Literal["buy", "sell"]


def reduces(
    side: Side, qty: Decimal, position: Decimal, *, buying: Decimal, selling: Decimal
) -> bool:
    """Whether an order can only bring a position nearer to zero, whatever fills before it.

    To be asked for every scope that the order touches, with the position of that scope.

    Parameters
    ----------
    side : {"buy", "sell"}
        Of the order.
    qty : Decimal
        Its quantity, above 0.
    position : Decimal
        Signed quantity that is held now, in the same unit.
    buying, selling : Decimal
        Quantities of all open orders of either side, at least 0.

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
    # Open orders on the other side only help once they fill, which they may never do.
    if side == "sell":
        return qty + selling <= position
    return qty + buying <= -position
