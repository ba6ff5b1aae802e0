"""Our own fills: what they cost teaches what leaving will cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.core.risk.exposure import price_of
from riskwatch.core.risk.features import OLD, heard

if TYPE_CHECKING:
    from riskwatch.core.readings import Slip
    from riskwatch.core.risk.assess import Assessor
    from riskwatch.core.risk.rows import PartyRow
    from riskwatch.core.risk.state import RiskState

MOST: Final = 256
"""Most fills of one counterparty that wait for the next tick."""


def remember(row: PartyRow, slips: list[Slip]) -> None:
    """Keep fills until the next tick: which reading came first must not matter."""
    row.slips = [*row.slips, *slips][:MOST]


def dealings(state: RiskState, us: int, assessor: Assessor) -> None:
    """Learn from the fills that came since the last tick, in order of their time.

    A fill whose market is not seen now, or that is old, as in a catch-up, teaches nothing and is
    counted: nobody knows what it should have cost.
    """
    found = []
    for name in sorted(state.parties):
        row = state.parties[name]
        if row.slips:
            found += [(slip.us, name, i, slip) for i, slip in enumerate(row.slips)]
            row.slips = []
            state.mark(f"party/{name}")
    for when, _, _, slip in sorted(found, key=lambda each: each[:3]):
        price = price_of(slip.quote, state)
        if price is None or us - when > OLD or not heard(state.assets.get(slip.asset), us):
            assessor.slippage.miss(state.scorer, slip.asset)
            continue
        value, law = slip.notional * price, assessor.law(state, slip.asset)
        assessor.slippage.learn(state.scorer, slip.asset, value, law, slip.bp)
