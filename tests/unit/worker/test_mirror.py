"""The mirror without a Redis: no method waits or raises, and the queue is bounded."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.client.mirror import MirrorReader, MirrorReading
from riskwatch.contracts.mirror import TIMEOUT_S
from riskwatch.core.enums import State
from riskwatch.errors import ConfigError
from riskwatch.worker.metrics import Metrics
from riskwatch.worker.mirror import Mirror
from tests.support.mirror import heartbeat, record, switch, until
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["gone", "slow"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where nobody listens, and where somebody listens and never says a word."""
    if request.param == "gone":
        yield f"redis://127.0.0.1:{free_port()}/0"
        return
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def test_a_worker_never_waits(url: str, logged: list[Any]) -> None:
    """Thousands of calls take less than one answer of Redis may; the condition is told once."""
    metrics = Metrics()
    mirror = Mirror(url, metrics, queue=100)
    started = time.monotonic()
    records = [record(n, switch("asset:USDC", State.HALT)) for n in range(10)]
    for n in range(1000):
        mirror.write("risk", 1, records)
        mirror.heartbeat(heartbeat(1, n) if n == 0 else b"{}", 60.0)
    took = time.monotonic() - started
    value = metrics.registry.get_sample_value
    until(lambda: (value("riskwatch_retries_total", {"what": "mirror"}) or 0) >= 2)
    assert value("riskwatch_up", {"what": "mirror"}) == 0
    assert mirror._queued <= 100
    mirror.close()
    assert took < TIMEOUT_S
    assert [line["event"] for line in logged] == ["mirror.down"]


def test_closing_does_not_hang(url: str) -> None:
    """Whatever waits is left: it is in SQL."""
    mirror = Mirror(url, Metrics())
    mirror.write("risk", 1, [record(1, switch("asset:USDC", State.HALT))])
    started = time.monotonic()
    mirror.close()
    mirror.close()
    assert time.monotonic() - started < 3 * TIMEOUT_S
    assert not mirror._thread.is_alive()


def test_a_reader_without_redis_knows_nothing(url: str) -> None:
    """And says so soon, instead of raising."""
    reader = MirrorReader(url)
    started = time.monotonic()
    seen = reader.killswitch("firm")
    assert time.monotonic() - started < 3 * TIMEOUT_S
    assert (seen.kind, seen.effective) == ("absent", State.HALT)
    assert seen.why.startswith("Redis does not answer")
    reader.close()


def test_a_url_that_is_none_is_refused_without_showing_it() -> None:
    """It may hold a password."""
    for make in (lambda: Mirror("http://u:secret@h", Metrics()), lambda: MirrorReader("secret")):
        with pytest.raises(ConfigError, match="redis://host:port/0") as caught:
            make()
        assert "secret" not in str(caught.value)


def test_a_row_is_obeyed_by_what_is_effective() -> None:
    """Of what has no state, nothing is allowed."""
    row = switch("firm", State.WATCH)
    assert MirrorReading("row", row).effective is State.WATCH
    assert MirrorReading("row", object()).effective is State.HALT
