"""Functions that open kafka-python clients, one for each kind, with common options."""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient
from kafka.net.sasl import get_sasl_mechanism

from riskwatch.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from riskwatch.contracts.connection import KafkaConnection

TIMEOUT_S: Final = 10.0
"""Time limit of a broker's first answer, seconds."""
PROBE_S: Final = 5.0
"""Time limit of each step of a login that looks for a fault, seconds."""
_LONGEST: Final = 65_536
"""Longest answer to a login, bytes."""
RECONNECT_MS: Final = 1_000
"""Longest wait between two attempts to reach an unavailable broker, milliseconds."""


def open_producer(
    connection: KafkaConnection,
    timeout_s: float = TIMEOUT_S,
    error: type[BrokerError] = BrokerError,
    **options: Any,
) -> Any:
    """Open a producer that has reached the broker; it creates no topics.

    Parameters
    ----------
    connection : KafkaConnection
        The cluster.
    timeout_s : float
        Time limit of the broker's first answer, seconds.
    error : type
        Type of the error that is raised.
    **options
        Options of :class:`kafka.KafkaProducer`.

    Raises
    ------
    BrokerError
        If the broker does not answer in time, or refuses.
    """
    defaults = {"allow_auto_create_topics": False}
    return _open(KafkaProducer, connection, timeout_s, error, defaults | options)


def open_consumer(
    connection: KafkaConnection,
    timeout_s: float = TIMEOUT_S,
    error: type[BrokerError] = BrokerError,
    **options: Any,
) -> Any:
    """Open a consumer that has reached the broker.

    It creates no topics and belongs to no group unless `options` name one. It neither commits nor
    skips to another offset by itself. Parameters and errors are those of :func:`open_producer`.
    """
    defaults = {
        "group_id": None,
        "auto_offset_reset": "none",
        "enable_auto_commit": False,
        "allow_auto_create_topics": False,
    }
    return _open(KafkaConsumer, connection, timeout_s, error, defaults | options)


def open_admin(
    connection: KafkaConnection,
    timeout_s: float = TIMEOUT_S,
    error: type[BrokerError] = BrokerError,
    **options: Any,
) -> Any:
    """Open an admin client that has reached the broker; see :func:`open_producer`."""
    return _open(KafkaAdminClient, connection, timeout_s, error, options)


def _open(
    make: Callable[..., Any],
    connection: KafkaConnection,
    timeout_s: float,
    error: type[BrokerError],
    options: dict[str, Any],
) -> Any:
    made: list[Any] = []

    def client(**configs: Any) -> Any:
        made.append(KafkaNetClient(**configs))
        return made[0]

    try:
        return make(
            **connection.options(),
            **options,
            bootstrap_timeout_ms=int(timeout_s * 1000),
            reconnect_backoff_max_ms=RECONNECT_MS,
            kafka_client=client,
        )
    except (KafkaError, OSError) as why:
        for opened in made:  # kafka-python leaves its thread running
            with suppress(KafkaError):
                opened.close()
        found = login_fault(connection) or f"no answer from the broker at {connection.servers}"
        raise error(f"{found}: {why}") from why


def login_fault(connection: KafkaConnection) -> str | None:
    """Return why a broker that can be reached takes no client; ``None`` if it cannot be reached.

    The client library reports a refused password as a timeout, so this function logs in by itself.
    """
    for server in connection.servers.split(","):
        try:
            return _login_fault(connection, server.strip())
        except ssl.SSLError as error:
            return f"the broker at {server.strip()} and this client do not agree on TLS ({error})"
        except OSError:
            continue
    return None


def _login_fault(connection: KafkaConnection, server: str) -> str | None:
    host, _, port = server.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), PROBE_S) as plain:
        if not connection.sasl:
            return (
                f"the broker at {server} does not answer in {connection.protocol}; "
                "if it asks for a login or TLS, set RISKWATCH_KAFKA_PROTOCOL"
            )
        with _secure(connection, plain, host) as link:
            return _refused_login(connection, link, server)


def _secure(connection: KafkaConnection, plain: socket.socket, host: str) -> socket.socket:
    if not connection.tls:
        return plain
    context = ssl.create_default_context(cafile=connection.cafile)
    if connection.certfile:
        context.load_cert_chain(connection.certfile, connection.keyfile)
    return context.wrap_socket(plain, server_hostname=host.strip("[]"))


def _refused_login(connection: KafkaConnection, link: socket.socket, server: str) -> str | None:
    """Log in, and return why the broker refuses it; ``None`` if it does not."""
    name = connection.mechanism.encode()
    try:
        answer = _ask(link, _HANDSHAKE, struct.pack(">h", len(name)) + name)
        if struct.unpack(">h", answer[:2])[0]:
            return f"the broker at {server} has no mechanism {connection.mechanism} for its logins"
        exchange = get_sasl_mechanism(connection.mechanism)(**connection.options())
        while not exchange.is_done():
            token = exchange.auth_bytes()
            answer = _ask(link, _AUTHENTICATE, struct.pack(">i", len(token)) + token)
            code, size = struct.unpack(">hh", answer[:4])
            if code:
                said = answer[4 : 4 + max(size, 0)].decode(errors="replace")
                return _refusal(connection, server, said)
            exchange.receive(answer[8 + max(size, 0) :])
    except (EOFError, ConnectionError):
        return _refusal(connection, server, "it ended the connection")
    except (KafkaError, ValueError, struct.error) as error:
        return _refusal(connection, server, str(error))
    return None


def _refusal(connection: KafkaConnection, server: str, said: str) -> str:
    return (
        f"the broker at {server} refuses the username or the password of {connection.username!r} "
        f"by {connection.mechanism} ({said})"
    )


_HANDSHAKE: Final = (17, 1)
_AUTHENTICATE: Final = (36, 0)
"""Number and version of the requests ``SaslHandshake`` and ``SaslAuthenticate``."""


def _ask(link: socket.socket, request: tuple[int, int], body: bytes) -> bytes:
    """Send a request of Kafka's protocol, and return the body of the answer."""
    message = struct.pack(">hhih", *request, 1, 0) + body
    link.sendall(struct.pack(">i", len(message)) + message)
    (size,) = struct.unpack(">i", _read(link, 4))
    if not 4 <= size <= _LONGEST:
        raise EOFError
    return _read(link, size)[4:]


def _read(link: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = link.recv(size - len(found))
        if not part:
            raise EOFError
        found += part
    return found
