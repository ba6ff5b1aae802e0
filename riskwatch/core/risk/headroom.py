"""Headroom: how many USD are left of each limit, with open orders counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.money import MAX_USD
from riskwatch.core.risk.exposure import ExposureSums, bound_scopes, sum_exposures
from riskwatch.core.risk.limits import ANY_SUBJECT, exposure_table
from riskwatch.core.risk.marks import unknown_scopes
from riskwatch.core.scopes import (
    ASSET,
    COUNTERPARTY,
    FIRM,
    kind_of_scope,
    parse,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.reference import Reference
    from riskwatch.core.risk.limits import LimitBook, LimitUsage
    from riskwatch.core.risk.state import RiskState

_NOTHING: Final = ExposureSums()


class LimitHeadroom(msgspec.Struct, frozen=True, gc=False):
    """What is left of the tightest limit of one scope.

    Attributes
    ----------
    scope : str
        The subject of the limit, as in :class:`riskwatch.core.risk.limits.LimitUsage`. A name of
        ``*`` stands for each subject of the kind of which nothing is held.
    limit : str
        Id of the limit.
    hard_usd, used_usd, orders_usd : float
        The limit, its use, and what open orders can still add, USD.
    why : str
        Why the use is unknown; empty if it is known.
    """

    scope: str
    limit: str
    hard_usd: float
    used_usd: float
    orders_usd: float
    why: str = ""

    @property
    def left_usd(self) -> float:
        """USD that are left; 0 if the use is unknown."""
        return 0.0 if self.why else max(0.0, self.hard_usd - self.used_usd - self.orders_usd)


def measure_headroom(
    state: RiskState, reference: Reference, limits: LimitBook
) -> dict[str, LimitHeadroom]:
    """Return what is left of the limits that bind, by scope.

    Parameters
    ----------
    state : RiskState
        State at a tick.
    reference : Reference
        Issuers, banks and groups.
    limits : LimitBook
        The limits. Those that only advise are left out.

    Returns
    -------
    dict of str to LimitHeadroom
        Of several limits on one scope, the one that leaves least.
    """
    exposures = sum_exposures(state, reference)
    unknown = _unknown_scopes(state, reference)
    found: dict[str, LimitHeadroom] = {}
    for usage in limits.measure(exposures, state.limit_overrides):
        at = parse(usage.scope)
        sums = exposures.firm if at.kind == FIRM else exposure_table(at.kind, exposures)[at.name]
        _put(found, limits, usage, sums, unknown)
    for usage in limits.unused(exposures, state.limit_overrides):
        _put(found, limits, usage, _NOTHING, unknown)
    for scope, why in unknown.items():
        other = found.get(any_subject(kind_of_scope(scope)))
        if scope not in found and other is not None:  # held, but no part of it has a price
            found[scope] = msgspec.structs.replace(other, scope=scope, why=why)
    return found


def _put(
    found: dict[str, LimitHeadroom],
    limits: LimitBook,
    usage: LimitUsage,
    sums: ExposureSums,
    unknown: dict[str, str],
) -> None:
    """Add the headroom of a limit, unless another limit leaves less on the same scope."""
    if limits.is_advisory(usage.limit.id):
        return
    why = unknown.get(usage.scope, "")
    if sums.is_saturated:
        why = why or f"its sum reaches {MAX_USD:g} USD"
    orders = max(0.0, sums.orders)
    made = LimitHeadroom(usage.scope, usage.limit.id, usage.limit.hard_usd, usage.used, orders, why)
    had = found.get(usage.scope)
    if had is None or made.left_usd < had.left_usd:
        found[usage.scope] = made


def _unknown_scopes(state: RiskState, reference: Reference) -> dict[str, str]:
    """Return the scopes whose use is unknown, with the reason.

    A holding that nothing values makes every limit unknown that counts it. An asset that the
    reference data does not list may have been sent by anyone: it makes only its own limit unknown.
    """
    unknown = unknown_scopes(state, reference, opening=False)
    for worker in sorted(state.faults):
        for name in state.faults[worker]:
            scope = f"{COUNTERPARTY}:{name}"
            for other in (scope, *bound_scopes(scope, reference)):
                unknown.setdefault(other, f"{worker} does not keep {name} up to date")
    return unknown


def subjects_with_binds(reference: Reference) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield each asset and counterparty of the reference data whose use other limits count."""
    for kind, names in ((ASSET, reference.assets), (COUNTERPARTY, reference.parties)):
        for name in sorted(names):
            scope = f"{kind}:{name}"
            binds = bound_scopes(scope, reference)
            if binds:
                yield scope, binds


def any_subject(kind: str) -> str:
    """Return the scope that stands for each subject of a kind of which nothing is held.

    Examples
    --------
    >>> any_subject("asset")
    'asset:*'
    """
    return f"{kind}:{ANY_SUBJECT}"
