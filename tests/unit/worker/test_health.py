"""Health over HTTP: every request gets an answer, and no client can block the server."""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.errors import ConfigError
from riskwatch.worker import health
from riskwatch.worker.health import HealthServer
from riskwatch.worker.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def fine() -> None:
    """Nothing is wrong."""


@contextmanager
def serving(
    live: Callable[[], str | None] = fine,
    ready: Callable[[], str | None] = fine,
    metrics: Metrics | None = None,
) -> Iterator[HealthServer]:
    """Serve on any port."""
    server = HealthServer("127.0.0.1:0", (metrics or Metrics()).registry, live, ready)
    try:
        yield server
    finally:
        server.close()


def get(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str, str]:
    """Ask; returns status, text and content type."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers["Content-Type"]
    finally:
        connection.close()


def test_what_is_well_is_ok() -> None:
    """One line, and a query string does not matter."""
    with serving() as server:
        assert get(server, "/live")[:2] == (200, "ok\n")
        assert get(server, "/ready?verbose=1")[:2] == (200, "ok\n")


def test_what_is_wrong_is_said_in_one_line() -> None:
    """Alive and ready are two questions."""
    with serving(ready=lambda: "the lease is\n  held by host/7") as server:
        assert get(server, "/live")[0] == 200
        assert get(server, "/ready")[:2] == (503, "the lease is held by host/7\n")


def test_a_check_that_fails_is_not_ok(
    logged: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """An exception is an answer and a log line, and no traceback on its own."""

    def broken() -> str | None:
        raise ZeroDivisionError("secret")

    with serving(live=broken) as server:
        status, body, _ = get(server, "/live")
    assert (status, "ZeroDivisionError" in body, "secret" in body) == (503, True, False)
    assert [line["event"] for line in logged] == ["health.check_failed"]
    assert capsys.readouterr().err == ""


def test_metrics_are_shown() -> None:
    """In the format that scrapers read."""
    metrics = Metrics()
    metrics.outbox("risk", 7)
    with serving(metrics=metrics) as server:
        status, body, content_type = get(server, "/metrics")
    assert status == 200
    assert 'riskwatch_outbox_records{worker="risk"} 7.0' in body
    assert content_type.startswith("text/plain; version=")


@pytest.mark.parametrize("path", ["/", "/livex", "/metrics/", "/../live"])
def test_other_paths_are_not_found(path: str) -> None:
    """And say which there are."""
    with serving() as server:
        status, body, _ = get(server, path)
    assert (status, body.count("\n")) == (404, 1)


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither requests, nor other methods, nor garbage, nor clients that go away."""
    with serving() as server:
        get(server, "/live")
        assert get(server, "/live", "POST")[0] == 501
        for sent in (b"\x00\xff\r\n\r\n", b"GET /live HTTP/1.0\r\n\r\n", b""):
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(sent)
        assert get(server, "/live")[0] == 200
    assert capsys.readouterr() == ("", "")


def test_a_taken_port_is_named() -> None:
    """With the variable to change."""
    with serving() as server, pytest.raises(ConfigError, match=f"RISKWATCH_HTTP.*{server.port}"):
        HealthServer(f"127.0.0.1:{server.port}", Metrics().registry, fine, fine)


@pytest.mark.parametrize(
    "address", ["8000", "localhost", "localhost:", ":http", "a:99999", "no such host:80"]
)
def test_a_wrong_address_is_named(address: str) -> None:
    """The variable, and what was there."""
    with pytest.raises(ConfigError, match="RISKWATCH_HTTP"):
        HealthServer(address, Metrics().registry, fine, fine)


def test_ipv6_and_names_can_be_listened_on() -> None:
    """Where the machine has them; an empty host is every address."""
    addresses = ["localhost:0", ":0"]
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        addresses.append("[::1]:0")
    except OSError:
        pass
    for address in addresses:
        HealthServer(address, Metrics().registry, fine, fine).close()


def test_slow_clients_are_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """However they spread their bytes, and while they wait others are served."""
    monkeypatch.setattr(health, "REQUEST_S", 0.3)
    with serving() as server:
        slow = socket.create_connection(("127.0.0.1", server.port))
        slow.settimeout(0.02)
        assert get(server, "/live")[0] == 200
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                slow.send(b"G")
                if slow.recv(10) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        slow.close()
        assert time.monotonic() < until


def test_too_many_clients_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than allowed is hung up on at once; a place that becomes free is used."""
    monkeypatch.setattr(health, "MAX_CLIENTS", 2)
    with serving() as server:
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as extra:
            assert extra.recv(10) == b""
        for client in held:
            client.close()
        until = time.monotonic() + 10
        while True:
            try:
                assert get(server, "/live")[0] == 200
                break
            except OSError:
                assert time.monotonic() < until


def test_closing_frees_the_port() -> None:
    """At once, and closing twice is no mistake."""
    with serving() as server:
        port = server.port
        assert get(server, "/live")[0] == 200
    server.close()
    again = HealthServer(f"127.0.0.1:{port}", Metrics().registry, fine, fine)
    again.close()
