"""What a switch restricts: for each ground, the state that it asks for, and how grounds combine.

A switch has one state, and its grounds may be of different kinds (:class:`Restriction`). A peg that
breaks is a claim, a limit on a book is a matter of market risk. So a switch carries a mapping from
restriction to state. An order must satisfy **every** entry, each at its own state: no ground
weakens another. A switch without an entry at its own state restricts everything there
(:attr:`Restriction.FULL`). That is also the meaning of records from before there were restrictions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.core.enums import Restriction, State, strictest
from riskwatch.core.scopes import (
    ACCOUNT,
    ASSET,
    BANK,
    BOOK,
    COUNTERPARTY,
    FIRM,
    GROUP,
    ISSUER,
    TRADER,
    parse,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from riskwatch.core.reference import Reference

Restrictions = dict[Restriction, State]
"""State by restriction, each REDUCE or HALT, ordered by the name of the restriction."""

DEFAULTS: Final[Mapping[str, Restriction]] = {
    FIRM: Restriction.MARKET,
    BOOK: Restriction.MARKET,
    ACCOUNT: Restriction.MARKET,
    TRADER: Restriction.MARKET,
}
"""What rules mean by the kind of their scope; rules on every other kind restrict claims."""


def default_restriction(scope_kind: str) -> Restriction:
    """Return what a rule on a kind of scope means if nothing else is said.

    Examples
    --------
    >>> default_restriction("book").value, default_restriction("counterparty").value
    ('market', 'claim')
    """
    return DEFAULTS.get(scope_kind, Restriction.CLAIM)


def combine(grounds: Iterable[tuple[Restriction, State]]) -> Restrictions:
    """Combine grounds: by restriction the strictest state, of those at REDUCE or HALT.

    Examples
    --------
    >>> claim, market = Restriction.CLAIM, Restriction.MARKET
    >>> combine([(market, State.REDUCE), (claim, State.HALT), (claim, State.WATCH)])
    {<Restriction.CLAIM: 'claim'>: <State.HALT: 'HALT'>, \
<Restriction.MARKET: 'market'>: <State.REDUCE: 'REDUCE'>}
    """
    found: Restrictions = {}
    for restriction, state in grounds:
        if state.rank >= State.REDUCE.rank:
            found[restriction] = strictest((state, found.get(restriction, State.NORMAL)))
    return dict(sorted(found.items()))


def restrictions_at(state: State, known: Mapping[Restriction, State]) -> Restrictions:
    """Return what a switch at `state` restricts, by what is known of it.

    Unless an entry is at that state, everything is restricted at it. Entries beyond it are lowered.

    Examples
    --------
    >>> restrictions_at(State.HALT, {})
    {<Restriction.FULL: 'full'>: <State.HALT: 'HALT'>}
    >>> restrictions_at(State.HALT, {Restriction.CLAIM: State.REDUCE})
    {<Restriction.CLAIM: 'claim'>: <State.REDUCE: 'REDUCE'>, <Restriction.FULL: 'full'>: \
<State.HALT: 'HALT'>}
    >>> restrictions_at(State.WATCH, {Restriction.CLAIM: State.REDUCE})
    {}
    """
    if state.rank < State.REDUCE.rank:
        return {}
    found = combine((each, of.at_most(state)) for each, of in known.items())
    if state in found.values():
        return found
    return combine([*found.items(), (Restriction.FULL, state)])


def latched(restrictions: Mapping[Restriction, State]) -> Restrictions:
    """Return the entries at HALT, which last until people release them."""
    return {each: state for each, state in restrictions.items() if state is State.HALT}


def restriction_text(
    state: State, restrictions: Mapping[Restriction, State], members: Iterable[str] = ()
) -> str:
    """Return one text for what a switch restricts and for its members; digests cover it.

    Examples
    --------
    >>> restriction_text(State.HALT, {Restriction.CLAIM: State.HALT}, ["asset:USDC"])
    'claim=HALT asset:USDC'
    >>> restriction_text(State.HALT, {}), restriction_text(State.NORMAL, {})
    ('full=HALT', '')
    """
    found = restrictions_at(state, restrictions)
    parts = [f"{each.value}={found[each].value}" for each in found]
    return " ".join([*parts, *sorted(members)])


def members_of(scope: str, reference: Reference) -> list[str]:
    """Return the counterparties and assets that a group, issuer or bank stands for, as scopes.

    A group stands for its parties and for the coins that they issue, an issuer for itself and its
    coins, a bank for itself and for the coins of issuers whose reserves it holds. Other scopes have
    no members. A name that the reference data does not have gives no members, so that the scope
    binds every order (:func:`riskwatch.core.scopes.binds`).
    """
    at = parse(scope)
    if at.kind == GROUP:
        parties = [p for p in sorted(reference.parties) if reference.parties[p].group == at.name]
        issuers = parties
    elif at.kind == ISSUER:
        parties = issuers = [at.name]
    elif at.kind == BANK:
        parties = [at.name]
        issuers = [
            name
            for name in sorted(reference.parties)
            if any(share.holder == at.name for share in reference.parties[name].backing)
        ]
    else:
        return []
    coins = [name for name in sorted(reference.assets) if reference.assets[name].issuer in issuers]
    if not coins and not any(name in reference.parties for name in parties):
        return []
    return [*(f"{COUNTERPARTY}:{name}" for name in parties), *(f"{ASSET}:{c}" for c in coins)]
