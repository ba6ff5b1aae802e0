"""Positions that can hardly be: far beyond the equity in one step, or far from every other price.

What is implausible is told, and counts. A mistake of units shows here, and so does a real loss of
control; the difference is for people to find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.core.enums import Cause, QualityIssue, State
from riskwatch.core.instruments import OPTION, value_position
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved, Origin
from riskwatch.core.risk.decision import alert_raised, alert_resolved
from riskwatch.core.risk.explanation import ExposureAtStake
from riskwatch.core.risk.exposure import basis_of, position_key, price_of
from riskwatch.core.risk.features import is_live
from riskwatch.core.scopes import COUNTERPARTY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.outputs import Output
    from riskwatch.core.readings import OpenPosition
    from riskwatch.core.risk.state import PartyRow, RiskState

MAX_STEP: Final = 10.0
"""Largest plausible change of the exposure of one position between two ticks, in equities."""
MAX_GAP: Final = 0.5
"""Largest plausible distance of a mark from the price of the base, as a share of that price."""


def judge_positions(state: RiskState, us: int, equity_usd: float) -> Iterator[Output]:
    """Tell positions that are implausible, and end what is over.

    Parameters
    ----------
    state : RiskState
        Changed in place.
    us : int
        Event time, microseconds.
    equity_usd : float
        The firm's equity, USD.
    """
    for name in sorted(state.parties):
        row = state.parties[name]
        if not (row.positions or row.sizes or row.implausible):
            continue
        sizes: dict[str, float] = {}
        found: dict[str, str] = {}
        for position in row.positions:
            key = position_key(position)
            worth = value_position(position, lambda a: price_of(a, state), basis_of(row, position))
            exposure = 0.0 if worth.exposure_usd is None else abs(worth.exposure_usd)
            sizes[key] = exposure
            bound = MAX_STEP * equity_usd
            jumped = exposure - row.sizes.get(key, 0.0) > bound or key in row.implausible
            if exposure > bound and jumped:
                found[key] = (
                    f"{exposure:,.0f} USD is more than {MAX_STEP:g} times the equity of "
                    f"{equity_usd:,.0f} USD, and came in one step: are its units right?"
                )
            elif gap := _gap(state, position, us):
                found[key] = gap
        yield from _tell(row, name, found, sizes, us)
        if sizes != row.sizes:
            row.sizes = sizes
            state.mark(f"party/{name}")


def _gap(state: RiskState, position: OpenPosition, us: int) -> str:
    """Return why the mark of a position is implausible; empty if it is not."""
    row = state.assets.get(position.base)
    price, quote = price_of(position.base, state), price_of(position.quote, state)
    known = price and quote and row is not None and is_live(row, us)
    if not known or position.mark_price is None or not position.qty or position.kind == OPTION:
        return ""
    mark = float(position.mark_price) * (quote or 0.0)
    if abs(mark - (price or 0.0)) <= MAX_GAP * (price or 0.0):
        return ""
    return f"its mark is {mark:,.6g} USD, and every other price of {position.base} {price:,.6g} USD"


def _tell(
    row: PartyRow, name: str, found: dict[str, str], sizes: dict[str, float], us: int
) -> Iterator[Output]:
    """Raise what is new, and resolve what is over."""
    issue, scope = QualityIssue.POSITION_IMPLAUSIBLE, f"{COUNTERPARTY}:{name}"
    for key in sorted(row.implausible.keys() | found.keys()):
        subject, alert = f"{name}/{key}", f"{scope}|position/{key}"
        why = found.get(key)
        if why is None:
            yield DataQualityResolved(
                **Origin.tick(us).stamp(DataQualityResolved, f"{issue}|{subject}"),
                issue=issue,
                subject=subject,
            )
            yield alert_resolved(Origin.tick(us), alert, scope, row.implausible.pop(key))
        elif key not in row.implausible:
            yield DataQualityRaised(
                **Origin.tick(us).stamp(DataQualityRaised, f"{issue}|{subject}"),
                issue=issue,
                subject=subject,
                detail=why,
                cause=Cause.COUNTERPARTY,
            )
            raised = alert_raised(
                Origin.tick(us),
                alert,
                scope,
                f"{issue}: {subject}: a position that can hardly be; it counts",
                severity=State.WATCH,
                cause=Cause.COUNTERPARTY,
                reasons=[why],
                stakes=ExposureAtStake(sizes.get(key, 0.0), 0.0, 0.0),
            )
            row.implausible[key] = raised.id
            yield raised
