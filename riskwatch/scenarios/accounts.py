"""The exact holdings of a sample firm: totals, locked amounts, and balance snapshots."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from riskwatch.core.clock import moment
from riskwatch.core.events import Balance
from riskwatch.core.money import ZERO, add, sub
from riskwatch.errors import RiskwatchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MARKET_MAKING = "market-making"
TREASURY = "treasury"
BOOKS = (MARKET_MAKING, TREASURY)

OPENING: dict[str, Decimal] = {
    "USD": Decimal(3_900_000),
    "USDC": Decimal(3_200_000),
    "USDT": Decimal(2_100_000),
    "BTC": Decimal(120),
}
"""Opening amounts over all venues and books, beside 400,000 USD of margin."""

_WEIGHTS = (5, 3, 2)
"""Shares of the first venues, in tenths; venues after the third open empty."""
_BOOK_TENTHS = {MARKET_MAKING: 6, TREASURY: 4}

Key = tuple[str, str, str]
"""Venue, book, asset."""


@dataclass(slots=True)
class Accounts:
    """Totals per (venue, book, asset), and the amounts that orders and withdrawals have locked."""

    total: dict[Key, Decimal] = field(default_factory=dict)
    opening: dict[Key, Decimal] = field(default_factory=dict)
    _locks: dict[str, tuple[Key, Decimal]] = field(default_factory=dict)

    @classmethod
    def open(cls, hold: Sequence[str], venues: Sequence[str]) -> Accounts:
        """Open accounts in USD and the assets of `hold`, spread over `venues`.

        Raises
        ------
        RiskwatchError
            If there is no venue, or the sample firm does not trade an asset.

        Examples
        --------
        >>> accounts = Accounts.open(["BTC"], ["kraken", "coinbase", "binanceus"])
        >>> accounts.total["kraken", "market-making", "BTC"]
        Decimal('36')
        """
        unknown = [a for a in hold if a not in OPENING]
        if unknown or not venues:
            raise RiskwatchError(
                f"the sample book holds some of {', '.join(OPENING)} at one venue or more, "
                f"was asked for {', '.join(hold)} at {len(venues)} venues"
            )
        total: dict[Key, Decimal] = {}
        weights = _WEIGHTS[: len(venues)] + (0,) * (len(venues) - len(_WEIGHTS))
        first = weights[0] + 10 - sum(weights)
        for i, venue in enumerate(venues):
            tenths = weights[i] if i else first
            for book in BOOKS:
                for asset in ("USD", *(a for a in hold if a != "USD")):
                    hundredths = Decimal(tenths * _BOOK_TENTHS[book])
                    total[venue, book, asset] = (OPENING[asset] * hundredths) / 100
        return cls(total=total, opening=dict(total))

    def locked(self, key: Key) -> Decimal:
        """Return the sum of the locks on `key`."""
        held = ZERO
        for which, amount in self._locks.values():
            if which == key:
                held = add(held, amount)
        return held

    def free(self, key: Key) -> Decimal:
        """Return the amount that can be spent now; zero for an asset that is not held."""
        return sub(self.total.get(key, ZERO), self.locked(key))

    def lock(self, name: str, key: Key, amount: Decimal) -> bool:
        """Lock `amount` under `name`; return false if the free amount is too small."""
        if self.free(key) < amount:
            return False
        self._locks[name] = (key, amount)
        return True

    def unlock(self, name: str) -> None:
        """Release the amount locked under `name`."""
        del self._locks[name]

    def move(self, key: Key, amount: Decimal) -> None:
        """Add `amount` (signed) to the total of `key`."""
        self.total[key] = add(self.total.get(key, ZERO), amount)

    def snapshots(self, venue: str, us: int, seq: Iterator[int]) -> Iterator[Balance]:
        """Yield a balance for every (book, asset) of `venue`."""
        for key, total in self.total.items():
            if key[0] != venue:
                continue
            locked = self.locked(key)
            n = next(seq)
            yield Balance(
                v=1,
                event_id=f"balance-{n}",
                ts=moment(us),
                source=f"{venue}-account",
                source_seq=n,
                counterparty=venue,
                account=key[1],
                book=key[1],
                asset=key[2],
                free=sub(total, locked),
                locked=locked,
            )
