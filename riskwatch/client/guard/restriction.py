"""What passes under a restriction: what one order needs under one ground of one switch.

A switch at REDUCE or HALT restricts claims, market risk, or everything
(:mod:`riskwatch.core.restriction`). An order must pass under each ground of each switch that binds
it. Only switches at REDUCE or worse are asked, each about its own scope: a sale of USDC for BTC
adds BTC, and that matters only where BTC is restricted.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from riskwatch.core.enums import Restriction, State
from riskwatch.core.scopes import ACCOUNT, ASSET, COUNTERPARTY, FIRM, LINKED, VENUE_ASSET, Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

BUY: Final = "buy"
SELL: Final = "sell"
DEPOSIT: Final = "deposit"
WITHDRAWAL: Final = "withdrawal"
TRADES: Final = (BUY, SELL)
"""Sides of orders that are no transfers, so that they use no network."""
Destination = Literal["own", "custody"]
OWN: Final = "own"
CUSTODY: Final = "custody"
DESTINATIONS: Final = (OWN, CUSTODY)
"""Kinds of listed addresses: an own address, and one with a listed custodian."""
HOUR_S: Final = 3_600
_MINUTE_S: Final = 60
_HALT: Final = State.HALT.rank
_PAIR: Final = 2


class Requirement(IntEnum):
    """What an order needs to pass under one ground."""

    PASS = 0
    """Nothing."""
    CLOSING = 1
    """Room in this hour's share of closing orders, or an authorised unwind."""
    TOP_UP = 2
    """An authorised unwind: a signed command allows the deposit of margin."""
    UNWIND = 3
    """An authorised unwind."""
    REFUSED = 4
    """It does not pass."""


class Intent(msgspec.Struct, frozen=True, gc=False):
    """What an order does, as far as restrictions ask for it.

    Attributes
    ----------
    side : str or None
        ``buy``, ``sell``, ``deposit``, ``withdrawal`` or another word.
    reduces : bool or dict of str to bool
        Whether it can only reduce the exposure: of every scope, or by scope.
    hedge : bool
        Whether it reduces the net delta of its book.
    top_up : bool
        Whether it is a deposit of margin to the account that it names.
    bought, sold : tuple of str
        Assets that come in and that go out.
    account, trader, network : str or None
        Account at the counterparty, trader, and network of a transfer.
    address : str or None
        Address to which a withdrawal goes.
    position_usd : float or None
        Value of the position that it closes.
    """

    side: str | None = None
    reduces: bool | dict[str, bool] = False
    hedge: bool = False
    top_up: bool = False
    bought: tuple[str, ...] = ()
    sold: tuple[str, ...] = ()
    account: str | None = None
    trader: str | None = None
    network: str | None = None
    address: str | None = None
    position_usd: float | None = None

    @property
    def deposits(self) -> bool:
        """Whether it is a deposit, however it is spelled: a deposit is never mistaken."""
        return self.top_up or (self.side is not None and self.side.casefold() == DEPOSIT)

    @property
    def withdraws(self) -> bool:
        """Whether it is a withdrawal."""
        return self.side == WITHDRAWAL and not self.top_up

    @property
    def transfers(self) -> bool:
        """Whether it moves assets over a network."""
        return self.withdraws or self.deposits

    def reduces_firm(self, assets: tuple[str, ...]) -> bool:
        """Whether it reduces the exposure of the whole firm.

        A mapping that does not name the firm must name every asset that the order touches, and only
        scopes that the order reduces.

        Parameters
        ----------
        assets : tuple of str
            The assets that it touches.

        Examples
        --------
        >>> intent = Intent(reduces={"asset:BTC": True})
        >>> intent.reduces_firm(("BTC",)), intent.reduces_firm(("BTC", "USDC"))
        (True, False)
        """
        if isinstance(self.reduces, bool):
            return self.reduces
        named = bool(assets) and all(f"{ASSET}:{name}" in self.reduces for name in assets)
        return self.reduces.get(FIRM, named and all(self.reduces.values()))

    @property
    def reduced_scopes(self) -> tuple[str, ...]:
        """The scopes that a mapping says it reduces, in order."""
        if isinstance(self.reduces, bool):
            return ()
        return tuple(sorted(scope for scope, flag in self.reduces.items() if flag is True))

    def reduces_in(self, scope: str, touched: tuple[str, ...] = ()) -> bool:
        """Whether it reduces the exposure of a scope; a scope that a mapping lacks is not reduced.

        Parameters
        ----------
        scope : str
            The scope.
        touched : tuple of str
            Members of the scope that the order touches: if the mapping lacks the scope, it must
            reduce each of them.

        Examples
        --------
        >>> intent = Intent(reduces={"asset:USDC": True, "asset:BTC": False})
        >>> intent.reduces_in("asset:USDC"), intent.reduces_in("book:arb")
        (True, False)
        >>> intent.reduces_in("issuer:circle", ("asset:USDC",))
        True
        """
        if isinstance(self.reduces, bool):
            return self.reduces
        if scope in self.reduces or not touched:
            return self.reduces.get(scope, False)
        return all(self.reduces.get(each, False) for each in touched)

    def denies(self, scope: str) -> bool:
        """Whether a mapping says that it adds to a scope."""
        return not isinstance(self.reduces, bool) and self.reduces.get(scope) is False


def directions(
    side: str | None, assets: tuple[str, ...], pair: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the assets that an order buys and those that it sells, by its side.

    Of a pair, the base comes first: a purchase of (BTC, USDC) buys BTC and sells USDC. Without a
    side, or with more assets, nothing is known.

    Examples
    --------
    >>> directions("buy", ("BTC", "USDC"), pair=True), directions("sell", ("USDC",), pair=False)
    ((('BTC',), ('USDC',)), ((), ('USDC',)))
    >>> directions(None, ("USDC",), pair=False)
    ((), ())
    """
    known = len(assets) == (_PAIR if pair else 1) and len(set(assets)) == len(assets)
    if not known or side not in (BUY, SELL):
        return (), ()
    base, quote = assets[:1], assets[1:]
    return (base, quote) if side == BUY else (quote, base)


class Binding(msgspec.Struct, frozen=True, gc=False):
    """A switch that binds an order: its scope, and what of the order it is about.

    Attributes
    ----------
    scope : str
        The scope.
    at : Scope
        The scope, parsed.
    members : tuple of str
        Members of a group, issuer or bank.
    """

    scope: str
    at: Scope
    members: tuple[str, ...] = ()

    def touched(self, counterparty: str | None, assets: tuple[str, ...]) -> tuple[str, ...]:
        """Return the members that an order touches."""
        if self.at.kind not in LINKED:
            return ()
        named = [f"{ASSET}:{name}" for name in assets]
        if counterparty is not None:
            named.append(f"{COUNTERPARTY}:{counterparty}")
        return tuple(each for each in named if each in self.members)

    def coins(self, counterparty: str | None, assets: tuple[str, ...]) -> tuple[str, ...]:
        """Return the assets by which alone the scope binds an order; none if by anything else."""
        if self.at.kind == ASSET:
            return (self.at.name,)
        if self.at.kind == VENUE_ASSET:
            return (self.at.asset,)
        if self.at.kind in LINKED and f"{COUNTERPARTY}:{counterparty}" not in self.members:
            return tuple(name for name in assets if f"{ASSET}:{name}" in self.members)
        return ()


def requirement(
    binding: Binding,
    ground: tuple[Restriction, int],
    intent: Intent,
    counterparty: str | None,
    assets: tuple[str, ...],
    destination: Destination | None,
) -> Requirement:
    """Return what an order needs to pass under one ground of a switch that binds it.

    Parameters
    ----------
    binding : Binding
        The switch.
    ground : tuple of Restriction and int
        What it restricts, and the rank of the state that this ground asks for.
    intent : Intent
        What the order does.
    counterparty, assets
        What the order touches.
    destination : str or None
        Kind of the listed address to which a withdrawal goes; ``None`` if it is not listed.
    """
    restriction, rank = ground
    if intent.withdraws:
        return _withdrawal(binding, ground, destination)
    reduces = intent.reduces_in(binding.scope, binding.touched(counterparty, assets))
    if restriction is Restriction.FULL:
        passing = Requirement.UNWIND if rank >= _HALT else Requirement.PASS
        return passing if reduces else Requirement.REFUSED
    hedges = intent.hedge and not intent.denies(binding.scope)
    if restriction is Restriction.MARKET:
        lowers = intent.top_up if intent.deposits else reduces or hedges
        return Requirement.PASS if lowers else Requirement.REFUSED
    if intent.deposits:
        return Requirement.TOP_UP if intent.top_up else Requirement.REFUSED
    coins = binding.coins(counterparty, assets)
    if reduces or leaves_coins(intent, coins):
        return Requirement.CLOSING if rank >= _HALT else Requirement.PASS
    return Requirement.PASS if hedges and not coins and rank < _HALT else Requirement.REFUSED


def _withdrawal(
    binding: Binding, ground: tuple[Restriction, int], destination: Destination | None
) -> Requirement:
    """Return what a withdrawal needs: it takes a claim back, so that few switches stop it.

    A HALT of the firm passes only withdrawals to listed custody. A HALT of market risk on an
    account keeps its margin there.
    """
    restriction, rank = ground
    if rank >= _HALT and binding.at.kind == FIRM:
        return Requirement.PASS if destination == CUSTODY else Requirement.REFUSED
    if rank >= _HALT and binding.at.kind == ACCOUNT and restriction is Restriction.MARKET:
        return Requirement.REFUSED
    return Requirement.PASS


def leaves_coins(intent: Intent, coins: tuple[str, ...]) -> bool:
    """Whether an order only sells the coins by which a scope binds it."""
    return bool(coins) and all(c in intent.sold and c not in intent.bought for c in coins)


# Closing orders that have passed within the last hour, by minute.

Minutes = dict[str, float]
"""USD by minute since 1970."""


def closed_within_hour(minutes: Mapping[str, float], wall: float) -> float:
    """Return the USD of closing orders of the last hour, the present minute included.

    Minutes later than now count too: if the clock was set back, nothing may be used twice.

    Examples
    --------
    >>> closed_within_hour({"0": 5.0, "60": 2.0}, 3_600.0), closed_within_hour({"0": 5.0}, 3_660.0)
    (7.0, 0.0)
    """
    first = int(wall) // _MINUTE_S - HOUR_S // _MINUTE_S
    return sum((usd for minute, usd in minutes.items() if int(minute) >= first), 0.0)


def with_closing(minutes: Mapping[str, float], wall: float, usd: float) -> Minutes:
    """Return the closing orders of the last hour with one more."""
    now = int(wall) // _MINUTE_S
    first = now - HOUR_S // _MINUTE_S
    kept = {minute: had for minute, had in minutes.items() if int(minute) >= first}
    return kept | {str(now): kept.get(str(now), 0.0) + usd}
