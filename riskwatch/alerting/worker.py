"""The worker ``notify``: hears alerts, decides who is told, and has it delivered.

It stands apart from the workers that decide: nothing that is decided rests on it. One process leads
by a lease in SQL, another may stand by.
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
"""How long notices and words are kept."""
_TICK: Final = timedelta(seconds=1)
_COMPARE: Final = timedelta(seconds=15)
_AWAY_S: Final = 0.1
_JOIN_S: Final = 2.0
_DAY: Final = timedelta(days=1)
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)

log = structlog.get_logger("riskwatch.notify")


class NotificationWorker(StandbyWorker):
    """One process that tells people.

    Parameters
    ----------
    settings : Settings
        From the environment.
    config : NotifyConfig
        Routes.
    targets : list of Target
        Where they lead.
    send : callable
        One try to deliver.
    now : callable
        The time.
    heart : callable
        Seconds that only grow, by which time goes on where the clock was set back.
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
        self.couriers: list[DeliveryThread] = []
        self._send = send
        self._place = 0
        self._heart = heart
        self._beat = heart()
        self._ticked = self._swept = self._compared = _LONG_AGO
        self._reading: AlertConsumer | None = None

    def run_once(self) -> None:
        """Hear, tell, and write both down."""
        assert self._reading is not None
        self._fail_with_couriers()
        try:
            polled = self._reading.poll()
        except BrokerError as error:
            log.warning("reads anew", why=str(error))
            self.metrics.retried("broker")
            self._follow(self._reading.place)
            return
        self.metrics.up("broker", ok=polled is not None)
        if polled is None:
            self.retry.pause(_AWAY_S, "broker")
        heard, place = polled or ([], self._reading.place)
        now = self._now()
        if not heard and now - self._ticked < _TICK:
            return
        said: list[NotifierOutput] = []
        for record in heard:
            if self.state.advance_cursor(record.worker, record.epoch, record.seq):
                us = self._time(now, record.output.ts)
                said += self.notifier.handle(self.state, record.output, record.worker, us)
        if now - self._compared >= _COMPARE:
            said += self._stands(now)
        else:
            said += self.notifier.tick(self.state, self._time(now))
        self._write(said, place, now)
        self._reading.place = place
        self._ticked = now
        if now - self._swept >= _DAY:
            self._swept = now
            self._wait(lambda: notifications.forget_notifications(self._engine, now - RETENTION))

    def live(self) -> str | None:
        """Why this process should be ended; ``None`` if it should not."""
        failures = [f"{c.route.id}: {c.failure}" for c in self.couriers if c.failure is not None]
        return failures[0] if failures else None

    def _begin(self) -> None:
        self.state.load(self._resumed.rows.get(STAGE, {}))
        self.state.prune(self.config)
        self._place = self._wait(lambda: notifications.last_notification_place(self._engine))
        self._follow(next(iter(self._resumed.offsets.values()), None))
        self._deliver()
        hosts = {target.route.id: target.host for target in self.targets}
        log.info("routes", routes=hosts, digest=digest(self.config)[:16])

    def _end(self) -> None:
        for courier in self.couriers:
            courier.wake.set()
        for courier in self.couriers:
            courier.join(_JOIN_S)
        if self._reading is not None:
            self._reading.close()

    def _follow(self, kept: StreamOffset | None) -> None:
        """Read from where it was left; where that is gone, the next turn asks SQL what stands."""
        if self._reading is not None:
            self._reading.close()
        self._reading = reading = self.retry.ask_broker(
            "open", lambda: AlertConsumer(self.connection, kept)
        )
        if not reading.anew:
            return
        for worker in sorted(self.state.cursors):
            del self.state.cursors[worker]
            self.state.mark("lane", worker)
        self._ticked = self._compared = _LONG_AGO

    def _stands(self, now: datetime) -> list[NotifierOutput]:
        """Hear of what stands in SQL and is not known, and tell what is due."""
        self._compared = now
        us = self._time(now)
        said = self._wait(lambda: resync(self._engine, self.notifier, self.state, us))
        latest = max((alert.last_us for alert in self.state.alerts.values()), default=us)
        return said + self.notifier.tick(self.state, self._time(now, moment(latest)))

    def _deliver(self) -> None:
        """Give each route its courier."""
        names, now = [target.route.id for target in self.targets], self._now()
        epoch = self._resumed.epoch
        self._wait(lambda: notifications.give_up_orphans(self._engine, epoch, names, now))
        for target in self.targets:
            made = DeliveryThread(
                target, self._engine, epoch, self.retry, self.metrics, self._send, self._now
            )
            self.couriers.append(made)
            made.start()

    def _fail_with_couriers(self) -> None:
        for courier in self.couriers:
            if courier.failure is not None:
                raise courier.failure

    def _time(self, now: datetime, ts: datetime | None = None) -> int:
        """Time of what is told: the wall's, or in a replay the latest that was heard of."""
        if self.settings.clock == "wall":
            us, beat = micros(now), self._heart()
            passed, self._beat = beat - self._beat, beat
            # A clock that was set back must not make what waits wait until it catches up.
            return us if us >= self.state.meta.us else self.state.meta.us + round(passed * SECOND)
        return self.state.meta.us if ts is None else max(self.state.meta.us, micros(ts))

    def _write(self, said: Iterable[NotifierOutput], place: StreamOffset, now: datetime) -> None:
        migrated, self._resumed.migrated = self._resumed.migrated.get(STAGE, {}), {}
        told = NotificationBatch(rows={**migrated, **self.state.drain()}, offset=place)
        kinds = {target.route.id: target.route.kind for target in self.targets}
        for s in said:
            if not isinstance(s, Notification):
                told.words[s.raise_id, s.route] = (
                    s.raise_id, s.route, s.alert, s.scope, s.severity.value, s.fate.value, s.why,
                    moment(s.us), s.notice_id,
                )  # fmt: skip
                continue
            self._place += 1
            told.notices.append(notification_row(s, kinds[s.route], self._place, now))
        epoch = self._resumed.epoch
        driven_out = self._wait(
            partial(notifications.commit_notifications, self._engine, epoch, told)
        )
        if driven_out:
            log.error("queue full", given_up=driven_out)
        routes = {row[2] for row in told.notices}
        for courier in self.couriers:
            if courier.route.id in routes:
                courier.wake.set()
        waiting = self._wait(lambda: notifications.waiting_counts(self._engine))
        for target in self.targets:
            name = target.route.id
            self.metrics.notifications_waiting(name, waiting.get(name, 0))


def notification_row(notice: Notification, kind: str, place: int, now: datetime) -> tuple[Any, ...]:
    """Row of `notice` in SQL, which is due at once, whatever clocks say.

    Parameters
    ----------
    notice : Notice
        What is told.
    kind : str
        Of its route.
    place : int
        Its place among all notices.
    now : datetime
        The wall's clock.
    """
    urgency = 10 * notice.severity.rank + notice.level.rank
    return (
        notice.id, place, notice.route, notice.origin, notice.group, notice.kind.value,
        notice.severity.value, notice.level.value, urgency, notice.title,
        len(notice.items) + notice.more,
            notification_body(kind, notice).decode(), moment(notice.us), now,
        notifications.WAITING, 0, _LONG_AGO, None, "", "",
    )  # fmt: skip
