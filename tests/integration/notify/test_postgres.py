"""Notifications on Postgres: the same as on SQLite, with two processes at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from riskwatch.core.enums import State
from riskwatch.store import migrate
from riskwatch.store.engine import open_engine
from tests.support.endpoint import Endpoint, Reply, until
from tests.support.notifying import Office, leads, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    """Open database of this build's schema."""
    migrate.upgrade(postgres_url)
    opened = open_engine(postgres_url)
    yield opened
    opened.dispose()


def test_routes_deliver_while_more_comes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Couriers and whoever writes hold the same lease, and nobody waits for ever."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    office = Office(engine)
    made = [told(f"asset:P{n}", State.HALT, route=f"r{n % 3}") for n in range(30)]
    with Endpoint(*[Reply(500)] * 5) as endpoint:
        targets = [leads(endpoint.url, f"r{n}") for n in range(3)]
        with office.delivering(*targets) as couriers:
            writer = threading.Thread(target=lambda: [office.queue(one) for one in made])
            writer.start()
            writer.join()
            until(
                lambda: all(row.status == "sent" for row in office.rows().values()),
                "not all are sent",
            )
            assert [courier.failure for courier in couriers] == [None] * 3
        assert {got.id for got in endpoint.got} == {one.id for one in made}
