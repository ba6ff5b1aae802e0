"""A clock that is set back does not delay due notifications."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import pytest

from riskwatch.alerting.delivery import DeliveryResult
from riskwatch.alerting.worker import NotificationWorker
from riskwatch.core.alerting.config import NotifyConfig
from riskwatch.core.alerting.notification import Notification
from riskwatch.core.clock import SECOND, micros
from riskwatch.core.enums import State
from riskwatch.store import notifications
from riskwatch.worker.settings import ProcessSettings
from tests.support.notifying import Office, leads, told
from tests.unit.alerting.test_resync import stored
from tests.unit.core.alerting.samples import START, config, raised, route

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

NOW = datetime(2023, 3, 11, tzinfo=UTC)


def test_time_goes_on() -> None:
    """By what has passed since the last look, until the clock has caught up."""
    heart = 100.0
    made = NotificationWorker(ProcessSettings(), NotifyConfig(), [], heart=lambda: heart)
    seen = []
    for passed, clock in ((1, 3_600), (1, 3_601), (2, 0), (5, 5), (1, 4_000)):
        heart += passed
        us = made._time(NOW + timedelta(seconds=clock))
        made.notifier.tick(made.state, us)
        seen.append((us - micros(NOW)) // SECOND)
    assert seen == [3_600, 3_601, 3_603, 3_608, 4_000]


def test_in_a_replay_time_is_what_outputs_say() -> None:
    """And does not go backwards."""
    made = NotificationWorker(ProcessSettings(clock="event"), NotifyConfig(), [])
    times = []
    for ts in (NOW, NOW - timedelta(days=1), None, NOW + timedelta(days=1)):
        us = made._time(datetime.now(UTC), ts)
        made.notifier.tick(made.state, us)
        times.append((us - micros(NOW)) // (86_400 * SECOND))
    assert times == [0, 0, 0, 1]


@pytest.mark.parametrize("clock", ["event", "wall"])
def test_what_stands_is_told_at_a_time_that_was(
    engine: Engine, clock: Literal["event", "wall"]
) -> None:
    """In a replay that of the last of it, though nothing was heard yet; else the clock's."""
    stored(engine, raised("asset:USDC", State.HALT), raised("asset:DAI", State.HALT, us=START + 5))
    made = NotificationWorker(ProcessSettings(clock=clock), config(route()), [], now=lambda: NOW)
    made._engine = engine
    at = START + 5 if clock == "event" else micros(NOW)
    notices = [n for n in made._resync(NOW) if isinstance(n, Notification)]
    assert [(n.items[0].alert, n.us) for n in notices] == [("asset:DAI", at), ("asset:USDC", at)]


@pytest.mark.parametrize(("ahead", "tried"), [(timedelta(minutes=30), 0), (timedelta(days=1), 1)])
def test_a_delivery_is_not_put_off_for_ever(engine: Engine, ahead: timedelta, tried: int) -> None:
    """A time that no pause reaches was written before the clock was set back: it is due."""
    office = Office(engine)
    made = told("asset:USDC", State.HALT)
    office.queue(made)
    notifications.postpone(engine, office.epoch, made.id, NOW + ahead, "HTTP 500")
    sent: list[Any] = []

    def send(*given: Any) -> DeliveryResult:
        sent.append(given)
        return DeliveryResult()

    courier = office.courier(leads("http://127.0.0.1:1"), send, now=lambda: NOW)
    courier.try_next()
    assert len(sent) == tried
