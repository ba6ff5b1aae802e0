"""Withdrawals that wait at several venues at once, because of a network or an asset.

A congested network is not several failed venues. If withdrawals over one network, or of one asset,
wait at venues of two or more groups for at least `COMMON_RATIO` times their usual time, the wait
says something about the network and not about the venues. Such a withdrawal does not count in the
age of the oldest withdrawal of its venue. It has a feature of its own, ``network_wait_ratio``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import SECOND
from riskwatch.core.risk.transit import index_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.readings import TransferLeg
    from riskwatch.core.reference import Reference
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.state import PartyRow, RiskState

COMMON_RATIO: Final = 3.0
"""Wait from which a withdrawal counts as waiting, as a multiple of the usual time of its venue."""


def usual_withdrawal_s(party: PartyRow, config: RiskConfig) -> float:
    """Return how long a withdrawal from a counterparty usually takes, seconds."""
    if party.base is None:
        return config.baseline_default_s
    return max(float(2.0**party.base.location), config.baseline_min_s)


def common_waits(
    state: RiskState, us: int, config: RiskConfig, reference: Reference
) -> frozenset[str]:
    """Return the networks and assets over which withdrawals wait at venues of two or more groups.

    Parameters
    ----------
    state : RiskState
        Legs of transfers, and usual times by counterparty.
    us : int
        Event time, microseconds.
    config, reference : RiskConfig, Reference
        Default of the usual time, and groups.

    Returns
    -------
    frozenset of str
        ``network/<name>`` and ``asset/<name>``.
    """
    late = []
    for name in sorted(state.parties):
        party = state.parties[name]
        bound = COMMON_RATIO * usual_withdrawal_s(party, config)
        if party.flow.oldest_withdrawal_s + max(0, us - party.us) / SECOND >= bound:
            late.append((name, bound))
    if len(late) < 2:
        return frozenset()
    groups: dict[str, dict[str, None]] = {}
    for name, bound in late:
        group = reference.party(name).group or name
        for leg, age in waiting_withdrawals(state, name, us):
            if age >= bound:
                for key in _keys(leg):
                    groups.setdefault(key, {})[group] = None
    return frozenset(key for key, found in groups.items() if len(found) > 1)


def waiting_withdrawals(
    state: RiskState, name: str, us: int
) -> Iterator[tuple[TransferLeg, float]]:
    """Yield each withdrawal from a counterparty that was not sent yet, and its age in seconds."""
    for key in index_of(state).parties.get(name, ()):
        leg = state.legs[key].leg
        if leg.direction == "withdrawal" and leg.phase == "pending":
            yield leg, max(0, us - leg.first_us) / SECOND


def is_common(leg: TransferLeg, common: frozenset[str]) -> bool:
    """Whether a withdrawal waits because of its network or its asset."""
    return any(key in common for key in _keys(leg))


def _keys(leg: TransferLeg) -> tuple[str, ...]:
    asset = f"asset/{leg.asset}"
    return (f"network/{leg.network}", asset) if leg.network else (asset,)
