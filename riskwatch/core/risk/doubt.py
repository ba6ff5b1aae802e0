"""Counterparties whose holdings are not kept up, because the worker that does it is down."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from riskwatch.core.readings import PartitionFault
    from riskwatch.core.risk.state import RiskState


def begin(state: RiskState, fault: PartitionFault) -> None:
    """Take note of what a worker leaves in doubt; it replaces what it left before."""
    if fault.counterparties:
        state.faults[fault.worker] = sorted(fault.counterparties)
    else:
        state.faults.pop(fault.worker, None)
    state.mark(f"fault/{fault.worker}")


def end(state: RiskState, counterparty: str) -> None:
    """A reading came: this one is kept up."""
    for worker in [w for w in sorted(state.faults) if counterparty in state.faults[w]]:
        left = [name for name in state.faults[worker] if name != counterparty]
        if left:
            state.faults[worker] = left
        else:
            del state.faults[worker]
        state.mark(f"fault/{worker}")


def doubts(state: RiskState) -> dict[str, str]:
    """Say of each counterparty that is in doubt why it is."""
    return {
        name: f"{worker} stays down: what we have with {name} is not kept up"
        for worker in sorted(state.faults)
        for name in state.faults[worker]
    }
