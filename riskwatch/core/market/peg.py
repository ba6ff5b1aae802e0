"""What a pegged asset promises: its value in the graph, and the rate at which it accrues."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Final

from riskwatch.core.market.state import PromisedRate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.events import Peg
    from riskwatch.core.market.fit import PriceGraphFit
    from riskwatch.core.market.state import AssetState
    from riskwatch.core.reference import Reference

MAX_LOG_RATE: Final = 6.907755278982137
"""Largest absolute log of a promised rate: a thousand units of the peg, or a thousandth of one."""


def peg_value(
    name: str, assets: Mapping[str, AssetState], fit: PriceGraphFit, reference: Reference
) -> float | None:
    """Return the log value in USD of what one unit of a pegged asset promises.

    It is ``None`` if the asset has no peg, if no live feeds give its value in its peg, or if it
    accrues and its rate was never stated.
    """
    asset = reference.asset(name)
    if asset.peg is None:
        return None
    rate = assets[name].rate if asset.accrues else None
    if asset.accrues and rate is None:
        return None
    promised = 0.0 if rate is None else rate.lr
    if asset.peg == "USD":
        return promised
    return fit.value(asset.peg) + promised if fit.is_joined(name, asset.peg) else None


def rate_problem(event: Peg, reference: Reference) -> str:
    """Return why the rate of an event does not count; empty if it does.

    Rates count from the issuer of the asset and from listed venues.
    """
    asset = reference.asset(event.asset)
    if not asset.accrues or asset.peg != event.peg:
        return f"{event.asset} is no asset of the reference data that accrues in {event.peg}"
    if event.venue != asset.issuer and not reference.is_listed_venue(event.venue):
        return f"{event.venue} is neither its issuer nor a listed venue"
    if event.rate is None or abs(log(event.rate)) > MAX_LOG_RATE:
        return f"a rate lies between 0.001 and 1,000, was {event.rate}"
    return ""


def observe_rate(state: AssetState, event: Peg, us: int) -> None:
    """Take a rate that counts."""
    if event.rate is None:
        return
    lr = log(event.rate)
    if state.rate is None:
        state.rate = PromisedRate(lr, us, lr, us)
    else:
        state.rate.observe(us, lr)
