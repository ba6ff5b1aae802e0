"""``riskwatch run notify`` on a real broker: alerts of the topic reach their endpoints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from riskwatch.cli import app
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.contracts.webhook import verify
from riskwatch.core.enums import State
from riskwatch.store.batch import Batch, Counts, SequencedOutput
from riskwatch.store.engine import open_engine
from riskwatch.store.notifications import NOTICE, NOTICE_WORD
from riskwatch.store.transaction import commit, take_lease
from riskwatch.store.truth import STREAM_OFFSET
from tests.support.cluster import Cluster
from tests.support.endpoint import KEY, Endpoint, Reply, until
from tests.unit.core.alerting import samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.outputs import Output

ROOT: Final = Path(__file__).parents[3]
COIN: Final = "asset:USDC"
ROUTES: Final = """
[routes.pager]
kind = "webhook"
url_env = "PAGER_URL"
secret_env = "PAGER_KEY"
allow_http = true
group_wait_s = "0s"
backoff_s = 0.1
backoff_max_s = 0.5
tries = 50
timeout_s = 2.0

[routes.desk]
kind = "slack"
url_env = "DESK_URL"
allow_http = true
match = [{ severity = ["REDUCE"] }]
group_wait_s = "0s"
tries = 2
backoff_s = 0.1
backoff_max_s = 0.1
"""


class Firm:
    """A database, a topic with alerts on it, two endpoints, and the worker as a process."""

    def __init__(self, url: str, connection: KafkaConnection, folder: Path) -> None:
        self.url = url
        self.cluster = Cluster(connection)
        self.cluster.make("riskwatch.alerts")
        self.pager, self.desk = Endpoint(), Endpoint()
        (folder / "notify.toml").write_text(ROUTES)
        self.environment = {
            **os.environ,
            "RISKWATCH_DATABASE": url,
            "RISKWATCH_KAFKA": connection.servers,
            "RISKWATCH_TOPIC_PREFIX": connection.prefix,
            "RISKWATCH_HTTP": "off",
            "RISKWATCH_LEASE": "2s",
            "RISKWATCH_CONFIG": str(folder),
            "RISKWATCH_LOG_FORMAT": "json",
            "PAGER_URL": self.pager.url,
            "PAGER_KEY": KEY,
            "DESK_URL": self.desk.url,
            "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": str(ROOT),
        }
        self.log = folder / "log"
        self.processes: list[Any] = []
        self.seq = 0

    def start(self) -> Any:
        """Start the worker."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "riskwatch", "run", "notify"]
            made = subprocess.Popen(command, env=self.environment, cwd=ROOT, stderr=log)
        self.processes.append(made)
        return made

    def tell(self, *outputs: Output, again: bool = False) -> None:
        """Have the risk worker put something out, or publish it again."""
        if again:
            self.seq -= len(outputs)
        else:
            stored(self.url, *outputs)
        self.publish(*outputs)

    def publish(self, *outputs: Output) -> None:
        """Have outputs come by the topic."""
        for output in outputs:
            self.seq += 1
            self.cluster.tell(output, self.seq)

    def rows(self, table: Any) -> list[Any]:
        """All rows of a table."""
        engine = open_engine(self.url, readonly=True)
        try:
            with engine.connect() as conn:
                return list(conn.execute(select(table)).all())
        finally:
            engine.dispose()

    def position(self) -> int:
        """How far the worker has read; -1 before it has begun."""
        found = [row for row in self.rows(STREAM_OFFSET) if row.worker == "notify"]
        return found[0].position if found else -1

    def wait_read(self, position: int) -> None:
        """Wait until the worker has read so far."""
        until(lambda: self.position() >= position, "it does not read", 60)

    def wait_got(self, n: int) -> None:
        """Wait until the pager has got so many requests."""
        until(lambda: len(self.pager.got) >= n, "it does not deliver", 60)

    def told(self) -> dict[str, str]:
        """First alert of each notice that the pager got, by the notice's id."""
        return {got.id: got.said["alerts"][0]["alert"] for got in list(self.pager.got)}

    def close(self) -> None:
        """End everything."""
        for process in self.processes:
            process.kill()
            process.wait()
        self.pager.close()
        self.desk.close()
        self.cluster.close()


@pytest.fixture
def firm(url: str, tmp_path: Path, kafka_broker: str, kafka_prefix: str) -> Iterator[Firm]:
    """Return a firm."""
    folder = tmp_path / "rules"
    folder.mkdir()
    made = Firm(url, KafkaConnection(servers=kafka_broker, prefix=kafka_prefix), folder)
    yield made
    made.close()


def stored(url: str, *alerts: Output) -> None:
    """Make alerts true in SQL, as the risk worker does before it publishes."""
    engine = open_engine(url)
    kept = take_lease(engine, "risk", "test")
    outputs = [SequencedOutput(kept.next_seq + n, alert) for n, alert in enumerate(alerts)]
    read = kept.counts.read + len(alerts)
    counts = Counts(read, read)
    commit(engine, Batch("risk", kept.epoch, outputs=outputs, counts=counts))
    engine.dispose()


def test_alerts_come_to_people(firm: Firm) -> None:
    """Each by its routes, once, signed; what was open before the first start among them."""
    before = samples.raised("book:arb")
    firm.tell(before)  # on the topic, too, and never read: it begins at the end
    firm.start()
    until(lambda: firm.position() == 1, "it does not begin", 60)
    firm.wait_got(1)
    halt, quiet = samples.raised(COIN, State.HALT), samples.raised("asset:DAI", State.REDUCE)
    hidden = samples.raised("venue-asset:kraken/USDC")
    firm.tell(halt, quiet, hidden)
    # The relay was killed before it took note, and sends again.
    firm.tell(halt, quiet, hidden, again=True)
    firm.tell(samples.over(COIN))
    until(lambda: len(firm.pager.got) == 5, "not everybody is told")
    said = [(got.said["kind"], got.said["alerts"][0]["alert"]) for got in firm.pager.got]
    assert said[0] == ("firing", "book:arb")
    assert sorted(said[1:]) == [
        ("firing", "asset:DAI"),
        ("firing", COIN),
        ("firing", "venue-asset:kraken/USDC"),
        ("resolved", COIN),
    ]
    now = time.time()
    for got in firm.pager.got:
        assert verify(KEY.encode(), got.headers, got.body, now) is None
    until(lambda: len(firm.desk.got) == 1, "the desk is not told")
    assert "asset:DAI is REDUCE" in firm.desk.got[0].said["text"]
    words = {(w.raise_id, w.route): w.fate for w in firm.rows(NOTICE_WORD)}
    assert words[halt.id, "pager"] == words[quiet.id, "desk"] == "notified"
    status = CliRunner().invoke(app, ["notify", "list"], env=firm.environment)
    assert status.stdout.count("sent") >= 6
    log = firm.log.read_text()
    assert "T0PSECRET" not in log
    assert KEY not in log


@pytest.mark.slow
def test_killed_again_and_again_it_loses_nothing(firm: Firm) -> None:
    """SIGKILL at any place: every alert is told, and a repeat has the id of the first."""
    process = firm.start()
    until(lambda: firm.position() == 0, "it does not begin", 60)
    hold = Reply(500)
    firm.pager.replies = [hold] * 20
    wanted = []
    for n in range(4):
        batch = [samples.raised(f"asset:K{n}x{m}", State.HALT) for m in range(4)]
        wanted += batch
        firm.tell(*batch)
        seen = len(firm.pager.got)
        # Once nothing of it was heard, once it was heard, once it is being delivered.
        if n % 3 == 1:
            firm.wait_read(4 * (n + 1))
        elif n % 3 == 2:
            firm.wait_got(seen + 1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = firm.start()
    until(
        lambda: [row.status for row in firm.rows(NOTICE)].count("sent") == len(wanted),
        "something is lost", 90,
    )  # fmt: skip
    rows = firm.rows(NOTICE)
    assert len(rows) == len(wanted), "a notice was made twice"
    bodies: dict[str, set[bytes]] = {}
    for got in firm.pager.got:
        bodies.setdefault(got.id, set()).add(got.body)
    assert set(bodies) == {row.id for row in rows}
    assert all(len(found) == 1 for found in bodies.values())
    told = {got.said["alerts"][0]["raise_id"] for got in firm.pager.got}
    assert told == {alert.id for alert in wanted}


def test_what_never_came_by_the_topic_is_told(firm: Firm) -> None:
    """A risk worker that caught up published the last word of each key alone: SQL has the rest."""
    firm.start()
    until(lambda: firm.position() == 0, "it does not begin", 60)
    alert = samples.raised(COIN, State.HALT)
    stored(firm.url, alert)
    firm.wait_got(1)
    assert firm.pager.got[0].said["alerts"][0]["raise_id"] == alert.id
    firm.publish(alert)  # it comes by the topic after all
    stored(firm.url, samples.over(COIN))
    firm.wait_got(2)
    assert [got.said["kind"] for got in firm.pager.got] == ["firing", "resolved"]
    firm.publish(alert)
    firm.tell(samples.raised("asset:DAI", State.HALT))
    firm.wait_got(3)
    assert firm.pager.got[2].said["alerts"][0]["alert"] == "asset:DAI"


def test_a_standby_takes_over(firm: Firm) -> None:
    """One leads; when it dies, the other goes on from where it stood."""
    first = firm.start()
    until(lambda: firm.position() == 0, "it does not begin", 60)
    firm.start()
    firm.tell(samples.raised(COIN, State.HALT))
    firm.wait_got(1)
    first.kill()
    first.wait()
    firm.tell(samples.raised("asset:DAI", State.HALT))
    # The first notice may come again, if its arrival was not noted: under its own id.
    told = until(lambda: len(firm.told()) == 2 and firm.told(), "nobody takes over", 60)
    assert list(told.values()) == [COIN, "asset:DAI"]


def test_a_route_without_its_secret_is_told_at_the_start(firm: Firm) -> None:
    """One line that names file, route and variable, and exit code 2."""
    del firm.environment["PAGER_KEY"]
    assert firm.start().wait(timeout=60) == 2
    assert (
        "notify.toml: routes.pager.secret_env: expected a value in the variable PAGER_KEY"
        in firm.log.read_text()
    )


def test_a_person_tries_a_route(firm: Firm) -> None:
    """One message at once, or one line why not."""
    tried = CliRunner().invoke(app, ["notify", "test", "pager"], env=firm.environment)
    assert tried.stdout == "pager at 127.0.0.1 took it\n"
    assert firm.pager.got[0].said["kind"] == "test"
    firm.desk.default = Reply(404)
    refused = CliRunner().invoke(app, ["notify", "test", "desk"], env=firm.environment)
    assert str(refused.exception) == "desk at 127.0.0.1: HTTP 404"
    unknown = CliRunner().invoke(app, ["notify", "test", "boss"], env=firm.environment)
    assert "one of its routes (pager, desk)" in str(unknown.exception)
