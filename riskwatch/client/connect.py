"""Making clients of kafka-python, which are let go of if the broker does not answer."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient

from riskwatch.client.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from riskwatch.contracts.connection import KafkaConnection

TIMEOUT_S: Final = 10.0
"""How long a broker may take to answer at first."""
_AGAIN_MS: Final = 1_000
"""Longest wait between two attempts to reach a broker that is away."""


def connect(
    make: Callable[..., Any], connection: KafkaConnection, timeout: float, **options: Any
) -> Any:
    """Make a consumer, producer or admin that has reached the broker.

    Raises
    ------
    BrokerError
        If the broker does not answer within `timeout` seconds, or refuses.
    """
    made: list[Any] = []

    def client(**configs: Any) -> Any:
        made.append(KafkaNetClient(**configs))
        return made[0]

    try:
        return make(
            **connection.options(),
            **options,
            bootstrap_timeout_ms=int(timeout * 1000),
            reconnect_backoff_max_ms=_AGAIN_MS,
            kafka_client=client,
        )
    except (KafkaError, OSError) as error:
        for left in made:  # kafka-python leaves its thread running
            with suppress(KafkaError):
                left.close()
        raise BrokerError(f"no answer from the broker at {connection.servers}: {error}") from error
