"""Alerts, commands and routes for the tests of notifications."""

from __future__ import annotations

from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from riskwatch.core.alerting.config import NotifyConfig, Route
from riskwatch.core.alerting.notification import AlertDisposition, Notification
from riskwatch.core.alerting.notifier import Notifier
from riskwatch.core.alerting.state import NotifyState
from riskwatch.core.clock import DAY, SECOND, moment
from riskwatch.core.enums import Cause, Quality, State
from riskwatch.core.outputs import AlertRaised, AlertResolved, CommandApplied, DecisionMade

if TYPE_CHECKING:
    from riskwatch.core.outputs import Output

START: Final = 1_700_000_000 * SECOND
_ids = count(1)


def route(name: str = "pager", **given: Any) -> Route:
    """Return a route that takes all alerts without waiting, changed as a test states."""
    defaults: dict[str, Any] = {"kind": "webhook", "url_env": "U", "secret_env": "S"}
    return Route(id=name, **defaults | {"group_wait_s": 10.0, "repeat_s": 3_600.0} | given)


def config(*routes: Route, **given: Any) -> NotifyConfig:
    """Return a configuration of some routes."""
    return NotifyConfig(routes={r.id: r for r in routes or (route(),)}, **given)


def raised(
    scope: str,
    severity: State = State.WATCH,
    *,
    alert: str | None = None,
    usd: str = "50000",
    us: int = START,
    **given: Any,
) -> AlertRaised:
    """Return an alert of a scope."""
    known: dict[str, Any] = {
        "id": f"r{next(_ids)}", "cause_id": "c", "ts": moment(us), "alert": alert or scope,
        "scope": scope, "severity": severity, "cause": Cause.ISSUER,
        "title": f"{scope} is {severity.value}", "reasons": ["it moved"],
        "exposure_usd": Decimal(usd),
    }  # fmt: skip
    return AlertRaised(**known | given)


def over(alert: str, scope: str | None = None) -> AlertResolved:
    """Return the end of an alert."""
    return AlertResolved(
        id=f"o{next(_ids)}", cause_id="c", ts=moment(START + DAY), alert=alert,
        scope=scope or alert, opened_id="x",
    )  # fmt: skip


def command(action: str, scope: str, **args: Any) -> CommandApplied:
    """Return an accepted command of ann."""
    return CommandApplied(
        id=f"c{next(_ids)}", cause_id="c", ts=moment(START), operator="ann", role="risk",
        action=action, scope=scope, reason="known", args=args, idempotency_key="k",
        commanded_at=moment(START), outcome="applied", detail="", signature="",
    )  # fmt: skip


def silence(scope: str, seconds: float) -> CommandApplied:
    """Return a silence of so many seconds from the start."""
    return command("silence", scope, until=moment(START + round(seconds * SECOND)).isoformat())


def decided(scope: str, state: State) -> DecisionMade:
    """Return a change of a state."""
    return DecisionMade(
        id=f"d{next(_ids)}", cause_id="c", ts=moment(START), scope=scope, previous=State.HALT,
        state=state, quality=Quality.GOOD, cause=Cause.OPERATOR, generation="operator",
        rule="operator.override", reasons=[], features={}, contributions={}, limits={},
        support=[], refute=[], flip={}, exposure_usd=Decimal(0), el_usd=Decimal(0),
        exit_cost_usd=Decimal(0),
    )  # fmt: skip


class Desk:
    """A notifier with its state; seconds are since :data:`START`."""

    def __init__(self, configuration: NotifyConfig | None = None) -> None:
        self.notifier = Notifier(configuration or config())
        self.state = NotifyState()
        self.words: list[AlertDisposition] = []

    def at(self, seconds: float, *outputs: Output) -> list[Notification]:
        """Handle outputs and return the notifications that are due."""
        us = START + round(seconds * SECOND)
        results = [s for o in outputs for s in self.notifier.handle(self.state, o, "risk", us)]
        results += self.notifier.tick(self.state, us)
        self.words += [s for s in results if isinstance(s, AlertDisposition)]
        return [s for s in results if isinstance(s, Notification)]

    def disposition(self, raise_id: str, route_id: str = "pager") -> tuple[str, str]:
        """Return the last disposition of a raise."""
        found = [w for w in self.words if (w.raise_id, w.route) == (raise_id, route_id)]
        return found[-1].fate.value, found[-1].why


def kinds(notices: list[Notification]) -> list[tuple[str, str, list[str]]]:
    """Return route, kind and alerts of notifications."""
    return [(n.route, n.kind.value, [i.alert for i in n.items]) for n in notices]
