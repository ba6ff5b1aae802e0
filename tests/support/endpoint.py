"""A real HTTP server with answers set by the test, which stores the requests."""

from __future__ import annotations

import json
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

KEY: Final = "a key of some thirty-two bytes ..."
SECRET_PATH: Final = "/hooks/T0PSECRET?token=hush-hush"
WAIT_S: Final = 20.0


@dataclass(frozen=True)
class Got:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def id(self) -> str:
        """Its idempotency key."""
        return self.headers["Idempotency-Key"]

    @property
    def said(self) -> Any:
        """Its body."""
        return json.loads(self.body)


@dataclass
class Reply:
    """How a request is answered; `hold` is waited for before the answer."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hold: threading.Event | None = None
    trickle: bool = False


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: _Server

    def do_POST(self) -> None:
        """Store the request, and answer as the test sets."""
        endpoint = self.server.endpoint
        body = self.rfile.read(int(self.headers["Content-Length"]))
        endpoint.got.append(Got(self.path, dict(self.headers.items()), body, time.monotonic()))
        reply = endpoint.replies.pop(0) if endpoint.replies else endpoint.default
        if reply.hold is not None:
            reply.hold.wait(WAIT_S)
        with suppress(OSError):  # who asked may have gone
            if reply.trickle:
                self._trickle(endpoint)
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _trickle(self, endpoint: Endpoint) -> None:
        """Send a byte now and then, so that no single wait is ever too long."""
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 2_000:
            self.wfile.write(bytes([byte]))
            if endpoint.closing.wait(0.05):
                return

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    """Says nothing of clients that were killed."""

    daemon_threads = True
    endpoint: Endpoint

    def handle_error(self, *_: Any) -> None:
        """Say nothing."""


class Endpoint:
    """Listens on a free port until it is closed.

    Parameters
    ----------
    replies : Reply
        Answers to the first requests; those after them get the default.
    tls : tuple of Path, Path or None
        Certificate and key.
    """

    def __init__(self, *replies: Reply, tls: tuple[Path, Path] | None = None) -> None:
        self.got: list[Got] = []
        self.replies = list(replies)
        self.default = Reply()
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.endpoint = self
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it is, with a secret in path and query."""
        return f"http://127.0.0.1:{self.port}{SECRET_PATH}"

    def close(self) -> None:
        """Stop listening."""
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def until(found: Callable[[], Any], what: str, seconds: float = WAIT_S) -> Any:
    """Ask again until there is an answer; fails after a while."""
    end = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < end, what
        time.sleep(0.02)
    return answer


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate of 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(alternative, critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    pem = serialization.Encoding.PEM
    paths[0].write_bytes(made.public_bytes(pem))
    private = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(pem, private, serialization.NoEncryption()))
    return paths
