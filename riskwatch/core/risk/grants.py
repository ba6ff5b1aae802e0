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

A grant counts until it has ended *and* all that was used of it is in the measurement. What was used
at a venue whose facts stand still is not.
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

MAX_HELD: Final = 64
"""Most tables whose grants are counted apart; older ones are merged."""
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
        lower = self.lower.get(client, {})
        if scope in lower:
            return lower[scope]
        if scope not in self.left:
            scope = any_subject(kind_of_scope(scope))
            if scope in lower:
                return lower[scope]
        left = self.left.get(scope)
        return None if left is None else self.shares.get(client, 0.0) * left


class _HeldGrants(msgspec.Struct, frozen=True, gc=False):
    """Grants that may be in use, or whose use may not be measured yet.

    They are in use until the steady time `until`. All of their use is measured when the facts of
    each of the venues are later than `facts_until`, seconds since 1970.
    """

    until: float
    facts_until: float
    venues: tuple[str, ...]
    grants: Grants

    def is_over(self, now: float, known: Mapping[str, float]) -> bool:
        """Whether they are neither in use nor used without being measured."""
        return self.until <= now and all(
            known.get(venue, -inf) >= self.facts_until for venue in self.venues
        )


class GrantLedger:
    """Makes the grants of each new table, and knows which older grants still count.

    Examples
    --------
    >>> ledger = GrantLedger()
    >>> shares = {"a": 0.5, "b": 0.5}
    >>> def grant(left, now):
    ...     made = ledger.grant({"firm": left}, shares, {}, now=now, until=now + 30.0)
    ...     return made.of("a", "firm")
    >>> grant(100.0, 0.0)
    50.0
    >>> grant(60.0, 15.0)  # b may still use 50 of its first grant
    10.0
    >>> grant(60.0, 45.0)
    30.0
    """

    def __init__(self) -> None:
        self._held: deque[_HeldGrants] = deque()

    def grant(
        self,
        left: Mapping[str, float],
        shares: Mapping[str, float],
        known: Mapping[str, float],
        *,
        now: float,
        until: float,
        facts_until: float = inf,
    ) -> Grants:
        """Return the grants of a new table.

        Parameters
        ----------
        left : mapping of str to float
            Headroom by scope, USD.
        shares : mapping of str to float
            Shares of the clients, which add up to at most 1.
        known : mapping of str to float
            By each venue where clients may use the grants, the time up to which its facts are in
            `left`, seconds since 1970.
        now, until : float
            Steady seconds: the present, and when no client uses the new grants any more.
        facts_until : float
            Facts of a venue that are later show all that was used there, seconds since 1970.
        """
        self._held = deque(held for held in self._held if not held.is_over(now, known))
        held = [older.grants for older in self._held]
        lower: dict[str, dict[str, float]] = {}
        fresh = Grants(dict(left), dict(shares), {})
        for scope in _scopes(held, left):
            for client, usd in _lower(scope, fresh, held):
                lower.setdefault(client, {})[scope] = usd
        made = Grants(fresh.left, fresh.shares, lower)
        self._held.append(_HeldGrants(until, facts_until, tuple(known), made))
        if len(self._held) > MAX_HELD:
            self._held.appendleft(_merged(self._held.popleft(), self._held.popleft()))
        return made


def _merged(one: _HeldGrants, two: _HeldGrants) -> _HeldGrants:
    """Return grants that count as long and as much as each of two."""
    both = (one.grants, two.grants)
    scopes = _scopes(both, {})
    clients = {**one.grants.shares, **two.grants.shares}
    lower = {
        client: {scope: max(_held(made, client, scope) for made in both) for scope in scopes}
        for client in clients
    }
    return _HeldGrants(
        max(one.until, two.until),
        max(one.facts_until, two.facts_until),
        tuple(dict.fromkeys((*one.venues, *two.venues))),
        Grants(dict.fromkeys(scopes, 0.0), dict.fromkeys(clients, 0.0), lower),
    )


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
