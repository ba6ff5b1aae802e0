"""How often people are paged about WATCH: a budget per month, and one alert for what is over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import moment
from riskwatch.core.risk.control import BudgetRow
from riskwatch.core.risk.turn import Intervention, alert_resolved, notice
from riskwatch.core.scopes import FIRM

if TYPE_CHECKING:
    from riskwatch.core.outputs import AlertRaised, AlertResolved
    from riskwatch.core.risk.config import PeopleConfig
    from riskwatch.core.risk.grounds import Scene
    from riskwatch.core.risk.rows import ScopeRow
    from riskwatch.core.risk.state import RiskState

KEY: Final = "firm|folded"
_MONTHS: Final = 12


def afford(state: RiskState, us: int, config: PeopleConfig) -> bool:
    """Spend one alert of WATCH of this month's budget, if there is one left.

    REDUCE and HALT do not ask.
    """
    month = month_of(us)
    if month > state.budget.month:
        state.budget = BudgetRow(month, alert_id=state.budget.alert_id)
    state.mark("budget")
    if state.budget.raised >= config.watch_alerts_month:
        return False
    state.budget.raised += 1
    return True


def folded(state: RiskState, scene: Scene, row: ScopeRow) -> list[AlertRaised | AlertResolved]:
    """Put one more alert into the month's one; people hear of the 1st, 2nd, 4th, 8th, ..."""
    budget = state.budget
    reasons = [f"the last was {scene.scope}", *row.reasons[:1]]
    by = Intervention(scene.origin.cause_id, scene.us, "fold", reasons)
    out: list[AlertRaised | AlertResolved] = []
    if budget.folded == 0 and budget.alert_id:
        out.append(alert_resolved(by.origin, KEY, FIRM, budget.alert_id))  # an earlier month's
        budget.alert_id = ""
    budget.folded += 1
    if budget.folded & (budget.folded - 1) == 0:
        title = f"{budget.folded} alerts of WATCH over the budget of the month"
        raised = notice(KEY, FIRM, title, by)
        budget.alert_id = budget.alert_id or raised.id
        out.append(raised)
    return out


def month_of(us: int) -> int:
    """Number of a calendar month of event time, UTC.

    Examples
    --------
    >>> month_of(0) - month_of(-1)
    1
    """
    at = moment(us)
    return at.year * _MONTHS + at.month
