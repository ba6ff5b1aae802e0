"""Routes to real endpoints, and notices that wait for them."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from riskwatch.alerting.delivery import Courier, post
from riskwatch.alerting.routes import target
from riskwatch.alerting.worker import row_of
from riskwatch.core.alerting.notification import Kind, notice
from riskwatch.core.clock import micros
from riskwatch.core.enums import State
from riskwatch.engine.retry import Patience
from riskwatch.store.notifications import NOTICE, WORKER, Told, commit_told
from riskwatch.store.transaction import take_lease
from riskwatch.worker.metrics import Metrics
from tests.support.endpoint import KEY
from tests.unit.core.alerting import samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

    from riskwatch.alerting.delivery import Post
    from riskwatch.alerting.routes import Target
    from riskwatch.core.alerting.notification import Notice

_made = count(1)


def told(scope: str, severity: State = State.WATCH, route: str = "pager") -> Notice:
    """A notice of one alert."""
    desk = samples.Desk()
    desk.at(0, samples.raised(scope, severity, us=samples.START + next(_made)))
    (row,) = desk.state.alerts.values()
    item = desk.notifier.teller.item(row)
    us = micros(datetime.now(UTC))
    return notice(Kind.FIRING, route, (route, f"scope={scope}"), us, [item])


def leads(url: str, name: str = "pager", **given: Any) -> Target:
    """A route to a URL, quick to try again."""
    known = {"allow_http": True, "backoff_s": 0.1, "backoff_max_s": 0.4, "timeout_s": 2.0}
    return target(samples.route(name, **known | given), {"U": url, "S": KEY})


class Office:
    """Notices of a database, and couriers that deliver them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.epoch = take_lease(engine, WORKER, "test").epoch
        self.stop = threading.Event()
        self.metrics = Metrics()
        self.patience = Patience(self.stop, self.metrics)
        self._place = 0

    def queue(self, *notices: Notice, kind: str = "webhook") -> int:
        """Have notices wait; returns how many were driven out."""
        rows = []
        for made in notices:
            self._place += 1
            rows.append(row_of(made, kind, self._place, datetime.now(UTC)))
        return commit_told(self.engine, self.epoch, Told(notices=rows))

    def courier(self, to: Target, send: Post = post, **given: Any) -> Courier:
        """A courier that is not started."""
        return Courier(to, self.engine, self.epoch, self.patience, self.metrics, send, **given)

    @contextmanager
    def delivering(self, *targets: Target) -> Iterator[list[Courier]]:
        """Couriers at work."""
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
        """Every notice, by id."""
        with self.engine.connect() as conn:
            return {row.id: row for row in conn.execute(select(NOTICE)).all()}

    def status(self, made: Notice) -> str:
        """How the delivery of a notice stands."""
        found: str = self.rows()[made.id].status
        return found

    def counted(self, outcome: str, route: str = "pager") -> float:
        """What the metrics say."""
        name, labels = "riskwatch_notices_total", {"route": route, "outcome": outcome}
        return self.metrics.registry.get_sample_value(name, labels) or 0.0
