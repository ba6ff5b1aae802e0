"""Routes to real endpoints, and notifications that wait for delivery."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from riskwatch.alerting.delivery import DeliveryThread, post_notification
from riskwatch.alerting.routes import resolve_target
from riskwatch.alerting.worker import notification_row
from riskwatch.core.alerting.notification import NotificationKind, make_notification
from riskwatch.core.clock import micros
from riskwatch.core.enums import State
from riskwatch.engine.retry import Retry
from riskwatch.store.notifications import NOTICE, WORKER, NotificationBatch, commit_notifications
from riskwatch.store.transaction import take_lease
from riskwatch.worker.metrics import Metrics
from tests.support.endpoint import KEY
from tests.unit.core.alerting import samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

    from riskwatch.alerting.delivery import Post
    from riskwatch.alerting.routes import DeliveryTarget
    from riskwatch.core.alerting.notification import Notification

_made = count(1)


def told(scope: str, severity: State = State.WATCH, route: str = "pager") -> Notification:
    """Make a notification of one alert."""
    desk = samples.Desk()
    desk.at(0, samples.raised(scope, severity, us=samples.START + next(_made)))
    (row,) = desk.state.alerts.values()
    item = desk.notifier.dispatcher.item(row)
    us = micros(datetime.now(UTC))
    return make_notification(NotificationKind.FIRING, route, (route, f"scope={scope}"), us, [item])


def leads(url: str, name: str = "pager", **given: Any) -> DeliveryTarget:
    """Make a route to a URL with short pauses between attempts."""
    known = {"allow_http": True, "backoff_s": 0.1, "backoff_max_s": 0.4, "timeout_s": 2.0}
    return resolve_target(samples.route(name, **known | given), {"U": url, "S": KEY})


class Office:
    """The notifications of a database, and delivery threads for them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.epoch = take_lease(engine, WORKER, "test").epoch
        self.stop = threading.Event()
        self.metrics = Metrics()
        self.retry = Retry(self.stop, self.metrics)
        self._place = 0

    def queue(self, *notices: Notification, kind: str = "webhook") -> int:
        """Queue notifications, and return how many others were given up for them."""
        rows = []
        for made in notices:
            self._place += 1
            rows.append(notification_row(made, kind, self._place, datetime.now(UTC)))
        return commit_notifications(self.engine, self.epoch, NotificationBatch(notices=rows))

    def courier(
        self, to: DeliveryTarget, send: Post = post_notification, **given: Any
    ) -> DeliveryThread:
        """Make a delivery thread without starting it."""
        return DeliveryThread(to, self.engine, self.epoch, self.retry, self.metrics, send, **given)

    @contextmanager
    def delivering(self, *targets: DeliveryTarget) -> Iterator[list[DeliveryThread]]:
        """Run a delivery thread per target until the end of the block."""
        made = [self.courier(to) for to in targets]
        for one in made:
            one.start()
        try:
            yield made
        finally:
            self.stop.set()
            for one in made:
                one.join(10)

    def rows(self) -> dict[str, Any]:
        """Return every notification, by id."""
        with self.engine.connect() as conn:
            return {row.id: row for row in conn.execute(select(NOTICE)).all()}

    def status(self, made: Notification) -> str:
        """Return the delivery status of a notification."""
        found: str = self.rows()[made.id].status
        return found

    def counted(self, outcome: str, route: str = "pager") -> float:
        """Return the count of the metrics for an outcome."""
        name, labels = "riskwatch_notices_total", {"route": route, "outcome": outcome}
        return self.metrics.registry.get_sample_value(name, labels) or 0.0
