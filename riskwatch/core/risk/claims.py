"""What a holding counts for: books of one account are netted, and doubtful snapshots wait.

A venue owes us what it holds for the account; books are our own attribution of it. A negative
amount whose opening nothing states is no claim. A snapshot that takes away more than a share of the
equity without fills or transfers counts once a second one confirms it (the ledger says which).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from riskwatch.core.money import ZERO, add

if TYPE_CHECKING:
    from collections.abc import Callable

    from riskwatch.core.readings import Holding

UNOPENED: Final = "unopened"
"""Basis of a negative amount whose opening nothing states."""
UNCLEAR: Final = "unclear"
"""Basis of an amount of which several books state what the account has."""
PENDING: Final = "pending"
"""Basis of an amount that a snapshot took away and that still counts."""
_OF_ACCOUNT: Final = ("custody", "margin", "collateral_posted")
"""Components that the venue holds for an account."""


def counted_holdings(
    holdings: list[Holding], most_usd: float, value_usd: Callable[[Holding], float | None]
) -> list[Holding]:
    """Return holdings as they count, with what is missing where that is too much to believe.

    Parameters
    ----------
    holdings : list of Holding
        Those of one counterparty.
    most_usd : float
        What snapshots of one account may take away without facts and without a confirmation, USD.
    value_usd : callable
        Returns the value of the missing amount of a holding, USD; ``None`` if it has no price,
        which is too much to believe.
    """
    doubtful = [h for h in holdings if h.missing]
    if not doubtful:
        return holdings
    gone: dict[str, float | None] = {}
    for h in doubtful:
        value, known = value_usd(h), gone.get(h.account, 0.0)
        gone[h.account] = None if value is None or known is None else known + abs(value)
    out = []
    for h in holdings:
        lost = gone.get(h.account)
        waits = h.missing and (lost is None or lost > most_usd)
        out.append(replace(h, amount=add(h.amount, h.missing), basis=PENDING) if waits else h)
    return out


def claims_of(holdings: list[Holding]) -> list[Holding]:
    """Return what a counterparty owes us or is owed, books of one account and wallet netted."""
    merged: dict[tuple[str, ...], Holding] = {}
    for h in holdings:
        key: tuple[str, ...] = (h.account, h.asset, h.component, h.wallet, h.book)
        if h.component in _OF_ACCOUNT:
            key = (h.account, h.asset, h.within or f"{h.wallet}/{h.component}")
        known = merged.get(key)
        if known is not None:
            amount = add(known.amount, h.amount)
            h = replace(known, amount=amount, basis=known.basis or h.basis)  # noqa: PLW2901
        merged[key] = h
    return [h for h in merged.values() if not (h.basis == UNOPENED and h.amount < ZERO)]
