"""Functions that open kafka-python clients, one for each kind, with common options."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient

from riskwatch.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from riskwatch.contracts.connection import KafkaConnection

TIMEOUT_S: Final = 10.0
"""Time limit of a broker's first answer, seconds."""
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
        raise error(f"no answer from the broker at {connection.servers}: {why}") from why
