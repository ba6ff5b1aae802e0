"""The worker ``notify``: it reads alerts, stores notifications and dispatches them to routes.

It is separate from the workers that decide: no decision depends on it. One process leads by a
lease in SQL, others may stand by.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from riskwatch.alerting.consumer import AlertConsumer
from riskwatch.alerting.delivery import DeliveryThread, post_notification
from riskwatch.alerting.resync import resync
from riskwatch.config.config import digest
from riskwatch.contracts.notifications import notification_body
from riskwatch.core.alerting.notification import Notification
from riskwatch.core.alerting.notifier import Notifier
from riskwatch.core.alerting.state import NotifyState
from riskwatch.core.clock import SECOND, micros, moment
from riskwatch.engine.clock import wall
from riskwatch.errors import BrokerError
from riskwatch.store import notifications
from riskwatch.store.notifications import STAGE, WORKER, NotificationBatch
from riskwatch.worker.standby import StandbyWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from riskwatch.alerting.delivery import Post
    from riskwatch.alerting.routes import DeliveryTarget
    from riskwatch.core.alerting.config import NotifyConfig
    from riskwatch.core.alerting.notification import NotifierOutput
    from riskwatch.store.batch import StreamOffset
    from riskwatch.worker.settings import ProcessSettings

RETENTION: Final = timedelta(days=400)
"""Time for which notifications and their dispositions are stored."""
_TICK: Final = timedelta(seconds=1)
_COMPARE: Final = timedelta(seconds=15)
_AWAY_S: Final = 0.1
_JOIN_S: Final = 2.0
_DAY: Final = timedelta(days=1)
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)

log = structlog.get_logger("riskwatch.notify")


class NotificationWorker(StandbyWorker):
    """Reads alerts and notifies people.

    Parameters
    ----------
    settings : ProcessSettings
        Settings of the process.
    config : NotifyConfig
        The routes.
    targets : list of DeliveryTarget
        Endpoints of the routes.
    send : callable
        Makes one attempt to deliver.
    now : callable
        Returns the time.
    heart : callable
        Returns monotonic seconds, by which the time advances after the clock was set back.
    """

    def __init__(
        self,
        settings: ProcessSettings,
        config: NotifyConfig,
        targets: list[DeliveryTarget],
        send: Post = post_notification,
        now: Callable[[], datetime] = wall,
        heart: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(WORKER, settings, now)
        self.config = config
        self.targets = targets
        self.notifier = Notifier(config)
        self.state = NotifyState()
        self.threads: list[DeliveryThread] = []
        self._send = send
        self._place = 0
        self._monotonic = heart
        self._measured_s = heart()
        self._ticked = self._swept = self._compared = _LONG_AGO
        self._consumer: AlertConsumer | None = None

    def run_once(self) -> None:
        """Read alerts, make notifications, and store both."""
        assert self._consumer is not None
        self._raise_failures()
        try:
            polled = self._consumer.poll()
        except BrokerError as error:
            log.warning("reads anew", why=str(error))
            self.metrics.retried("broker")
            self._follow(self._consumer.place)
            return
        self.metrics.up("broker", ok=polled is not None)
        if polled is None:
            self.retry.pause(_AWAY_S, "broker")
        records, place = polled or ([], self._consumer.place)
        now = self._now()
        if not records and now - self._ticked < _TICK:
            return
        outputs: list[NotifierOutput] = []
        for record in records:
            if self.state.advance_cursor(record.worker, record.epoch, record.seq):
                us = self._time(now, record.output.ts)
                outputs += self.notifier.handle(self.state, record.output, record.worker, us)
        if now - self._compared >= _COMPARE:
            outputs += self._resync(now)
        else:
            outputs += self.notifier.tick(self.state, self._time(now))
        self._write(outputs, place, now)
        self._consumer.place = place
        self._ticked = now
        if now - self._swept >= _DAY:
            self._swept = now
            self._wait(lambda: notifications.forget_notifications(self._engine, now - RETENTION))

    def live(self) -> str | None:
        """Return why this process should end; ``None`` if it should not."""
        failures = [f"{c.route.id}: {c.failure}" for c in self.threads if c.failure is not None]
        return failures[0] if failures else None

    def _begin(self) -> None:
        self.state.load(self._resumed.rows.get(STAGE, {}))
        self.state.prune(self.config)
        self._place = self._wait(lambda: notifications.last_notification_place(self._engine))
        self._follow(next(iter(self._resumed.offsets.values()), None))
        self._start_threads()
        hosts = {target.route.id: target.host for target in self.targets}
        log.info("routes", routes=hosts, digest=digest(self.config)[:16])

    def _end(self) -> None:
        for thread in self.threads:
            thread.wake.set()
        for thread in self.threads:
            thread.join(_JOIN_S)
        if self._consumer is not None:
            self._consumer.close()

    def _follow(self, stored: StreamOffset | None) -> None:
        """Open a consumer at the stored offset. If it is gone, resynchronise with SQL next."""
        if self._consumer is not None:
            self._consumer.close()
        self._consumer = reading = self.retry.ask_broker(
            "open", lambda: AlertConsumer(self.connection, stored)
        )
        if not reading.anew:
            return
        for worker in sorted(self.state.cursors):
            del self.state.cursors[worker]
            self.state.mark("lane", worker)
        self._ticked = self._compared = _LONG_AGO

    def _resync(self, now: datetime) -> list[NotifierOutput]:
        """Resynchronise with SQL, and return what is due."""
        self._compared = now
        us = self._time(now)
        outputs = self._wait(lambda: resync(self._engine, self.notifier, self.state, us))
        latest = max((alert.last_us for alert in self.state.alerts.values()), default=us)
        return outputs + self.notifier.tick(self.state, self._time(now, moment(latest)))

    def _start_threads(self) -> None:
        """Start the delivery thread of each route."""
        names, now = [target.route.id for target in self.targets], self._now()
        epoch = self._resumed.epoch
        self._wait(lambda: notifications.give_up_orphans(self._engine, epoch, names, now))
        for target in self.targets:
            made = DeliveryThread(
                target, self._engine, epoch, self.retry, self.metrics, self._send, self._now
            )
            self.threads.append(made)
            made.start()

    def _raise_failures(self) -> None:
        for thread in self.threads:
            if thread.failure is not None:
                raise thread.failure

    def _time(self, now: datetime, ts: datetime | None = None) -> int:
        """Return the time of notifications: the wall clock's, or in a replay the latest event's."""
        if self.settings.clock == "wall":
            us, measured_s = micros(now), self._monotonic()
            passed, self._measured_s = measured_s - self._measured_s, measured_s
            # If the clock was set back, due notifications must not wait until it catches up.
            return us if us >= self.state.meta.us else self.state.meta.us + round(passed * SECOND)
        return self.state.meta.us if ts is None else max(self.state.meta.us, micros(ts))

    def _write(self, outputs: Iterable[NotifierOutput], place: StreamOffset, now: datetime) -> None:
        migrated, self._resumed.migrated = self._resumed.migrated.get(STAGE, {}), {}
        batch = NotificationBatch(rows={**migrated, **self.state.drain()}, offset=place)
        kinds = {target.route.id: target.route.kind for target in self.targets}
        for s in outputs:
            if not isinstance(s, Notification):
                batch.words[s.raise_id, s.route] = (
                    s.raise_id, s.route, s.alert, s.scope, s.severity.value, s.fate.value, s.why,
                    moment(s.us), s.notice_id,
                )  # fmt: skip
                continue
            self._place += 1
            row = notification_row(s, kinds[s.route], self._place, now, self.deployment)
            batch.notices.append(row)
        epoch = self._resumed.epoch
        given_up = self._wait(
            partial(notifications.commit_notifications, self._engine, epoch, batch)
        )
        if given_up:
            log.error("queue full", given_up=given_up)
        routes = {row[2] for row in batch.notices}
        for thread in self.threads:
            if thread.route.id in routes:
                thread.wake.set()
        waiting = self._wait(lambda: notifications.waiting_counts(self._engine))
        for target in self.targets:
            name = target.route.id
            self.metrics.notifications_waiting(name, waiting.get(name, 0))


def notification_row(
    notice: Notification, kind: str, place: int, now: datetime, deployment: str = ""
) -> tuple[Any, ...]:
    """Return the row of a notification in SQL. It is due at once, whatever the clock.

    Parameters
    ----------
    notice : Notification
        The notification.
    kind : str
        Kind of its route.
    place : int
        Position among all notifications.
    now : datetime
        The wall-clock time.
    deployment : str
        Deployment that the notification names.
    """
    urgency = 10 * notice.severity.rank + notice.level.rank
    return (
        notice.id, place, notice.route, notice.origin, notice.group, notice.kind.value,
        notice.severity.value, notice.level.value, urgency, notice.title,
        len(notice.items) + notice.more,
            notification_body(kind, notice, deployment).decode(), moment(notice.us), now,
        notifications.WAITING, 0, _LONG_AGO, None, "", "",
    )  # fmt: skip
