"""Grants: how much of the headroom each client may use, while older grants can still be in use.

A share of the headroom alone is not safe. Of 100 USD, two clients get 50 each. One of them spends
its 50, the other does not. The next table has 50 left. If the first client took 25 of them while
the other still holds its older grant of 50, both together could spend 125.

Let `H` be the headroom of the new table, `s` the share of a client, `G` the most that it may hold
by older tables, and `D` by how much the sum of all `G` exceeds `H`. The new grant is at most
`s * H`. Where `D <= 0`, it is at most `G - s * D`. Where `D > 0`, it is at most `G - D`, or
nothing. Then, whichever clients have taken the new table, all of them together may use at most `H`:

* If `D <= 0`, the sum of the larger of the old and the new grants is at most `sum(G) - D = H`.
* If `D > 0`, each client that took the table and got something has `D` less than before. So
  together with the others they have at most `sum(G) - D = H`. If none of them got anything, only
  older grants are in use, and their sum was within the limit before.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.risk.headroom import any_subject
from riskwatch.core.scopes import kind_of_scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ROUNDING: Final = 1e-12


class Grants(msgspec.Struct, frozen=True, gc=False):
    """The grants of one table.

    Attributes
    ----------
    left : dict of str to float
        Headroom by scope, USD.
    shares : dict of str to float
        Share of the headroom by client.
    lower : dict of str to dict of str to float
        By client and scope, grants that are lower than the client's share, USD.
    """

    left: dict[str, float]
    shares: dict[str, float]
    lower: dict[str, dict[str, float]]

    def of(self, client: str, scope: str) -> float | None:
        """Return what a client may use of a scope, USD; ``None`` if no limit binds the scope.

        Examples
        --------
        >>> made = Grants({"firm": 100.0, "asset:*": 10.0}, {"a": 0.5}, {"a": {"firm": 40.0}})
        >>> made.of("a", "firm"), made.of("a", "asset:X"), made.of("a", "book:b")
        (40.0, 5.0, None)
        >>> made.of("b", "firm")
        0.0
        """
        lower = self.lower.get(client)
        if lower is not None and scope in lower:
            return lower[scope]
        left = self.left.get(scope)
        if left is None:
            left = self.left.get(any_subject(kind_of_scope(scope)))
        return None if left is None else self.shares.get(client, 0.0) * left


class GrantLedger:
    """Makes the grants of each new table, and knows which older grants may still be in use.

    Examples
    --------
    >>> ledger = GrantLedger()
    >>> ledger.grant({"firm": 100.0}, {"a": 0.5, "b": 0.5}, now=0.0, until=30.0).of("a", "firm")
    50.0
    >>> after = ledger.grant({"firm": 60.0}, {"a": 0.5, "b": 0.5}, now=15.0, until=45.0)
    >>> after.of("a", "firm")  # b may still use 50 of its first grant
    10.0
    >>> ledger.grant({"firm": 60.0}, {"a": 0.5, "b": 0.5}, now=45.0, until=75.0).of("a", "firm")
    30.0
    """

    def __init__(self) -> None:
        self._held: deque[tuple[float, Grants]] = deque()

    def grant(
        self, left: Mapping[str, float], shares: Mapping[str, float], *, now: float, until: float
    ) -> Grants:
        """Return the grants of a new table.

        Parameters
        ----------
        left : mapping of str to float
            Headroom by scope, USD.
        shares : mapping of str to float
            Shares of the clients, which add up to at most 1.
        now, until : float
            Steady seconds: the present, and when no client uses the new grants any more.
        """
        while self._held and self._held[0][0] <= now:
            self._held.popleft()
        held = [made for _, made in self._held]
        lower: dict[str, dict[str, float]] = {}
        fresh = Grants(dict(left), dict(shares), {})
        for scope in _scopes(held, left):
            for client, usd in _lower(scope, fresh, held):
                lower.setdefault(client, {})[scope] = usd
        made = Grants(fresh.left, fresh.shares, lower)
        self._held.append((until, made))
        return made


def _scopes(held: Iterable[Grants], left: Mapping[str, float]) -> dict[str, None]:
    """Return every scope that the new table or an older one names."""
    found = dict.fromkeys(left)
    for made in held:
        found |= dict.fromkeys(made.left)
        for lower in made.lower.values():
            found |= dict.fromkeys(lower)
    return found


def _lower(scope: str, fresh: Grants, held: list[Grants]) -> list[tuple[str, float]]:
    """Return the clients that must get less of a scope than their share, and how much."""
    whole = fresh.left.get(scope)
    if whole is None:
        whole = fresh.left.get(any_subject(kind_of_scope(scope)))
    if whole is None:
        return []
    clients = dict.fromkeys(fresh.shares)
    for made in held:
        clients |= dict.fromkeys(made.shares)
    # Under no limit before, a client could use any amount.
    most = {
        client: max((_held(made, client, scope) for made in held), default=0.0)
        for client in clients
    }
    spare = whole - sum(most.values())
    found = []
    for client, share in fresh.shares.items():
        # What is spare is divided; what is missing, each client alone may have used already.
        room = most[client] + share * spare if spare >= 0.0 else _less(most[client], -spare)
        if room < share * whole * (1.0 - _ROUNDING):
            found.append((client, room))
    return found


def _less(most: float, missing: float) -> float:
    return max(0.0, most - missing) if missing < inf else 0.0


def _held(made: Grants, client: str, scope: str) -> float:
    usd = made.of(client, scope)
    return inf if usd is None else usd
