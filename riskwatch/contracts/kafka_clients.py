"""Clients of kafka-python: one function for each kind, with what all of ours have in common."""

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
"""How long a broker may take to answer at first."""
RECONNECT_MS: Final = 1_000
"""Longest wait between two attempts to reach a broker that is away."""


def open_producer(
    connection: KafkaConnection,
    timeout_s: float = TIMEOUT_S,
    error: type[BrokerError] = BrokerError,
    **options: Any,
) -> Any:
    """Make a producer that has reached the broker; it makes no topics.

    Parameters
    ----------
    connection : KafkaConnection
        The cluster.
    timeout_s : float
        How long the broker may take to answer at first, seconds.
    error : type
        What is raised.
    **options
        Of :class:`kafka.KafkaProducer`.

    Raises
    ------
    BrokerError
        If the broker does not answer in time, or refuses.
    """
    ours = {"allow_auto_create_topics": False}
    return _opened(KafkaProducer, connection, timeout_s, error, ours | options)


def open_consumer(
    connection: KafkaConnection,
    timeout_s: float = TIMEOUT_S,
    error: type[BrokerError] = BrokerError,
    **options: Any,
) -> Any:
    """Make a consumer that has reached the broker.

    It makes no topics, belongs to no group unless `options` name one, commits nothing by itself
    and never skips to another offset by itself. Parameters and errors as of
    :func:`open_producer`.
    """
    ours = {
        "group_id": None,
        "auto_offset_reset": "none",
        "enable_auto_commit": False,
        "allow_auto_create_topics": False,
    }
    return _opened(KafkaConsumer, connection, timeout_s, error, ours | options)


def open_admin(
    connection: KafkaConnection,
    timeout_s: float = TIMEOUT_S,
    error: type[BrokerError] = BrokerError,
    **options: Any,
) -> Any:
    """Make an admin client that has reached the broker; see :func:`open_producer`."""
    return _opened(KafkaAdminClient, connection, timeout_s, error, options)


def _opened(
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
        for left in made:  # kafka-python leaves its thread running
            with suppress(KafkaError):
                left.close()
        raise error(f"no answer from the broker at {connection.servers}: {why}") from why
