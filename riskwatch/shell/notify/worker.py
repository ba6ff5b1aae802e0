"""The worker ``notify``: hears alerts, decides who is told, and has it delivered.

It stands apart from the workers that decide: nothing that is decided rests on it. One process leads
by a lease in SQL, another may stand by.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from riskwatch.contracts.notices import body
from riskwatch.core.clock import SECOND, micros, moment
from riskwatch.core.notify.hear import Notifier
from riskwatch.core.notify.notice import Notice
from riskwatch.core.notify.rows import NotifyState
from riskwatch.errors import BrokerError, StoreUnavailableError
from riskwatch.shell import holder
from riskwatch.shell.config import digest
from riskwatch.shell.metrics import Metrics
from riskwatch.shell.notify.courier import Courier
from riskwatch.shell.notify.post import post
from riskwatch.shell.notify.reading import Reading
from riskwatch.shell.notify.standing import resync
from riskwatch.shell.waiting import Patience
from riskwatch.store import lease, notices
from riskwatch.store.engine import open_engine
from riskwatch.store.migrate import require_current
from riskwatch.store.notices import STAGE, WORKER, Told
from riskwatch.store.transaction import take_lease

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy.engine import Engine

    from riskwatch.core.notify.config import NotifyConfig
    from riskwatch.core.notify.notice import Said
    from riskwatch.shell.notify.courier import Post
    from riskwatch.shell.notify.routes import Target
    from riskwatch.shell.settings import Settings
    from riskwatch.store.batch import Resumed, StreamOffset

KEPT: Final = timedelta(days=400)
"""How long notices and words are kept."""
_TICK: Final = timedelta(seconds=1)
_COMPARE: Final = timedelta(seconds=15)
_STANDBY_S: Final = 0.5
_AWAY_S: Final = 0.1
_JOIN_S: Final = 2.0
_DAY: Final = timedelta(days=1)
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)

log = structlog.get_logger("riskwatch.notify")


class NotifyWorker:
    """One process that tells people. Same life as a worker: prepare, turns, close.

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
        settings: Settings,
        config: NotifyConfig,
        targets: list[Target],
        send: Post = post,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        heart: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.config = config
        self.targets = targets
        self.holder = holder.own()
        self.stop = threading.Event()
        self.metrics = Metrics()
        self.patience = Patience(self.stop, self.metrics)
        self.standing: str | None = "starting"
        self.notifier = Notifier(config)
        self.state = NotifyState()
        self.couriers: list[Courier] = []
        self._send = send
        self._now = now
        self._place = 0
        self._heart = heart
        self._beat = heart()
        self._ticked = self._swept = self._compared = _LONG_AGO
        self._engine: Engine
        self._kept: Resumed
        self._reading: Reading | None = None

    def prepare(self) -> None:
        """Wait for the servers and for the lease, and go on from where SQL stands.

        Raises
        ------
        StoreError
            If the database has another schema.
        StoppedError
            If the process is asked to stop meanwhile.
        """
        self._engine = self._wait(lambda: open_engine(self.settings.database))
        with self._engine.connect() as conn:
            require_current(conn)
        self._stand_by()
        self._kept = self._wait(lambda: take_lease(self._engine, WORKER, self.holder))
        self.state.load(self._kept.rows.get(STAGE, {}))
        self.state.prune(self.config)
        self._place = self._wait(lambda: notices.last_place(self._engine))
        self._follow(next(iter(self._kept.offsets.values()), None))
        self._deliver()
        self.standing = None
        hosts = {target.route.id: target.host for target in self.targets}
        log.info("routes", routes=hosts, digest=digest(self.config)[:16])

    def turn(self) -> None:
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
            self.patience.pause(_AWAY_S, "broker")
        heard, place = polled or ([], self._reading.place)
        now = self._now()
        if not heard and now - self._ticked < _TICK:
            return
        said: list[Said] = []
        for record in heard:
            if self.state.passes(record.worker, record.epoch, record.seq):
                us = self._time(now, record.output.ts)
                said += self.notifier.hear(self.state, record.output, record.worker, us)
        if now - self._compared >= _COMPARE:
            said += self._stands(now)
        said += self.notifier.tick(self.state, self._time(now))
        self._write(said, place, now)
        self._reading.place = place
        self._ticked = now
        if now - self._swept >= _DAY:
            self._swept = now
            self._wait(lambda: notices.forget(self._engine, now - KEPT))

    def run(self) -> None:
        """Go on until it is asked to stop."""
        while not self.stop.is_set():
            self.turn()

    def ready(self) -> str | None:
        """Why this process does not do its work now; ``None`` if it does."""
        return self.standing

    def live(self) -> str | None:
        """Why this process should be ended; ``None`` if it should not."""
        failures = [f"{c.route.id}: {c.failure}" for c in self.couriers if c.failure is not None]
        return failures[0] if failures else None

    def close(self) -> None:
        """Give the lease back, and let go of the servers."""
        self.stop.set()
        for courier in self.couriers:
            courier.wake.set()
        for courier in self.couriers:
            courier.join(_JOIN_S)
        if self._reading is not None:
            self._reading.close()
        if hasattr(self, "_kept"):
            with suppress(StoreUnavailableError):
                lease.release(self._engine, WORKER, self._kept.epoch)
        if hasattr(self, "_engine"):
            self._engine.dispose()

    def _wait(self, act: Callable[[], Any]) -> Any:
        return self.patience.until_done("notices", "store", act, StoreUnavailableError)

    def _stand_by(self) -> None:
        def claim() -> bool:
            return lease.claim(self._engine, WORKER, self.holder, self.settings.lease)

        while not self._wait(claim):
            self.standing = "stands by for another"
            self.patience.pause(_STANDBY_S, "lease")

    def _follow(self, kept: StreamOffset | None) -> None:
        """Read from where it was left; where that is gone, take what stands from SQL."""
        if self._reading is not None:
            self._reading.close()
        connection = self.settings.connection
        self._reading = reading = self.patience.until_done(
            "open", "broker", lambda: Reading(connection, kept), BrokerError
        )
        if not reading.anew:
            return
        for worker in sorted(self.state.lanes):
            del self.state.lanes[worker]
            self.state.mark("lane", worker)
        now = self._now()
        said = self._stands(now)
        said += self.notifier.tick(self.state, self._time(now))
        self._write(said, reading.place, now)

    def _stands(self, now: datetime) -> list[Said]:
        """Hear of what stands in SQL and is not known."""
        self._compared = now
        us = self._time(now)
        found: list[Said] = self._wait(lambda: resync(self._engine, self.notifier, self.state, us))
        return found

    def _deliver(self) -> None:
        """Give each route its courier."""
        names, now = [target.route.id for target in self.targets], self._now()
        epoch = self._kept.epoch
        self._wait(lambda: notices.orphaned(self._engine, epoch, names, now))
        for target in self.targets:
            made = Courier(
                target, self._engine, epoch, self.patience, self.metrics, self._send, self._now
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

    def _write(self, said: Iterable[Said], place: StreamOffset, now: datetime) -> None:
        told = Told(rows=self.state.drain(), offset=place)
        kinds = {target.route.id: target.route.kind for target in self.targets}
        for s in said:
            if not isinstance(s, Notice):
                told.words[s.raise_id, s.route] = (
                    s.raise_id, s.route, s.alert, s.scope, s.severity.value, s.fate.value, s.why,
                    moment(s.us), s.notice_id,
                )  # fmt: skip
                continue
            self._place += 1
            told.notices.append(row_of(s, kinds[s.route], self._place, now))
        epoch = self._kept.epoch
        driven_out = self._wait(partial(notices.commit_told, self._engine, epoch, told))
        if driven_out:
            log.error("queue full", given_up=driven_out)
        routes = {row[2] for row in told.notices}
        for courier in self.couriers:
            if courier.route.id in routes:
                courier.wake.set()
        waiting = self._wait(lambda: notices.depths(self._engine))
        for target in self.targets:
            name = target.route.id
            self.metrics.notices_waiting(name, waiting.get(name, 0))


def row_of(notice: Notice, kind: str, place: int, now: datetime) -> tuple[Any, ...]:
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
        len(notice.items) + notice.more, body(kind, notice).decode(), moment(notice.us), now,
        notices.WAITING, 0, _LONG_AGO, None, "", "",
    )  # fmt: skip
