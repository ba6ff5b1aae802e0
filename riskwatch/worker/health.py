"""The HTTP server of a worker: ``/live``, ``/ready`` and ``/metrics``, in its own threads.

``/live`` shows whether the process should continue, ``/ready`` whether it works now. Each answers
200 with ``ok``, or 503 with the reason in one line.
"""

from __future__ import annotations

import socket
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final

import structlog
from prometheus_client.exposition import choose_encoder

from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    Check = Callable[[], str | None]

VARIABLE: Final = "RISKWATCH_HTTP"
REQUEST_S: Final = 5.0
"""Longest time for one client, seconds, however slowly it sends its bytes."""
MAX_CLIENTS: Final = 32
"""Most clients at a time. The server closes the connections of more."""
_POLL_S: Final = 0.1
_TEXT: Final = "text/plain; charset=utf-8"

log = structlog.get_logger("riskwatch.health")


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of ``host:port``. IPv6 hosts stand in brackets.

    Raises
    ------
    ConfigError
        If `address` is not of this form.

    Examples
    --------
    >>> split_address("127.0.0.1:8000"), split_address("[::1]:0")
    (('127.0.0.1', 8000), ('::1', 0))
    """
    host, colon, port = address.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 0xFFFF:
        raise ConfigError("environment", VARIABLE, "host:port", address)
    return host.removeprefix("[").removesuffix("]"), int(port)


class HealthServer:
    """Serves health and metrics on an address until it is closed.

    Parameters
    ----------
    address : str
        ``host:port``; port 0 takes any free port.
    registry : CollectorRegistry
        The metrics that ``/metrics`` shows.
    live, ready : callable
        Return what is wrong in one line, or ``None``. The server calls them from its threads.
        An exception counts as something wrong.

    Raises
    ------
    ConfigError
        If the address is not valid, or the server cannot listen on it.
    """

    def __init__(
        self, address: str, registry: CollectorRegistry, live: Check, ready: Check
    ) -> None:
        host, port = split_address(address)
        try:
            found = socket.getaddrinfo(
                host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            family, _, _, _, where = found[0]
            self._server = _Server(family, where, registry, {"/live": live, "/ready": ready})
        except OSError as error:
            expected = f"an address to listen on ({error.strerror})"
            raise ConfigError("environment", VARIABLE, expected, address) from error
        self.port: int = self._server.server_address[1]
        self._thread = Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="health", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening. Safe to call again."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """A threading server with a limit on the number of clients and on the time of each."""

    daemon_threads = True
    request_queue_size = MAX_CLIENTS

    def __init__(
        self,
        family: int,
        where: Any,
        registry: CollectorRegistry,
        checks: dict[str, Check],
    ) -> None:
        self.address_family = family
        self.registry = registry
        self.checks = checks
        self._since: dict[socket.socket, float] = {}
        self._lock = Lock()
        super().__init__(where, _Handler)

    def server_bind(self) -> None:
        """Bind without a reverse look-up of the host name, which the standard library makes."""
        TCPServer.server_bind(self)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for one more client."""
        del client_address
        with self._lock:
            if len(self._since) >= MAX_CLIENTS:
                return False
            self._since[request] = time.monotonic()
            return True

    def service_actions(self) -> None:
        """Close the connections of clients that take too long."""
        before = time.monotonic() - REQUEST_S
        with self._lock:
            slow = [request for request, since in self._since.items() if since < before]
        for request in slow:
            _hang_up(request)

    def shutdown_request(self, request: Any) -> None:
        """Remove a client whose request is finished."""
        with self._lock:
            self._since.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors of clients that went away; they do not affect other clients."""
        del request, client_address


class _Handler(BaseHTTPRequestHandler):
    """Handles one request."""

    server: _Server
    timeout = REQUEST_S
    server_version = "riskwatch"
    sys_version = ""

    def do_GET(self) -> None:
        """Send the answer to a GET request."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._metrics()
        elif path in self.server.checks:
            wrong = self._wrong(path)
            self._send(HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK, wrong or "ok")
        else:
            self._send(HTTPStatus.NOT_FOUND, "there are /live, /ready and /metrics")

    def log_message(self, *_: Any) -> None:
        """Log nothing, because requests come every few seconds."""

    def _wrong(self, path: str) -> str | None:
        try:
            found = self.server.checks[path]()
        except Exception as error:  # a check that fails is an answer, and the worst one
            log.exception("health.check_failed", path=path)
            found = f"{path} could not be looked at: {type(error).__name__}"
        return None if found is None else " ".join(found.split()) or "not said why"

    def _metrics(self) -> None:
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        self._send(HTTPStatus.OK, encode(self.server.registry), content_type)

    def _send(self, status: HTTPStatus, body: str | bytes, content_type: str = _TEXT) -> None:
        data = f"{body}\n".encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(data)


def _hang_up(request: socket.socket) -> None:
    try:
        request.shutdown(socket.SHUT_RDWR)
    except OSError:  # it went away by itself
        return
