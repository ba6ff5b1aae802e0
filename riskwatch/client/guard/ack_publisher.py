"""Publisher of acknowledgements: it reports what an order path applied, in its own thread."""

from __future__ import annotations

import logging
from collections import deque
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final

import msgspec
from kafka.errors import KafkaError

from riskwatch.client.errors import BrokerError, ClientError
from riskwatch.client.fork import drop_producer
from riskwatch.contracts.acks import ACKS, DRILL_KEY, Ack, DrillAck, encode_ack
from riskwatch.contracts.kafka_clients import open_producer
from riskwatch.contracts.record_signing import signature_header
from riskwatch.core.deployment import UNBOUND

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from riskwatch.contracts.connection import KafkaConnection

EVERY_S: Final = 5.0
"""Longest time between two acknowledgements of a running client."""
_LEAST_S: Final = 0.02
_AGAIN_S: Final = 1.0
_CONNECT_S: Final = 3.0
_SENT_S: Final = 2.0
_WAITING: Final = 100
_CLOSE_S: Final = 5.0

log = logging.getLogger("riskwatch.client")


class AckPublisher:
    """Publishes acknowledgements after each change, and at least every five seconds.

    It runs in its own thread, so that no order waits for it.

    Parameters
    ----------
    connection : KafkaConnection
        The broker.
    client : str
        Name of the order path; key of its records.
    build : callable
        Builds the current acknowledgement.
    key : Ed25519PrivateKey, optional
        Private key that signs each record for the deployment that the client obeys. While the
        client knows none, it publishes nothing.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        client: str,
        build: Callable[[], Ack],
        key: Ed25519PrivateKey | None = None,
    ) -> None:
        self._connection = connection
        self._key = key
        self._client = client
        self._build = build
        self._drills: deque[DrillAck] = deque(maxlen=_WAITING)
        self._changed = Event()
        self._stop = Event()
        self._producer: Any = None
        self._thread = Thread(target=self._run, name="killswitch-acks", daemon=True)
        self.trouble = ""
        """Why acknowledgements cannot be published; empty if they can."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Publish a last acknowledgement and stop the thread."""
        self._stop.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)

    def inherit(self) -> None:
        """Publish nothing in a forked child, and drop the parent's connection."""
        self._stop = Event()  # a thread of the parent may have held the lock of the old one
        self._stop.set()
        self._changed = Event()
        producer, self._producer = self._producer, None
        if producer is not None:
            drop_producer(producer)

    def changed(self) -> None:
        """Request an acknowledgement soon, because something changed."""
        self._changed.set()

    def add_drill(self, ack: DrillAck) -> None:
        """Queue the acknowledgement of a drill for publication."""
        self._drills.append(ack)
        self._changed.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._changed.wait(EVERY_S)
            if self._stop.wait(_LEAST_S):  # one acknowledgement covers changes that come together
                break
            self._changed.clear()
            try:
                self._send()
                self.trouble = ""
            except (KafkaError, ClientError, OSError) as error:
                self._failed(error)
            except Exception as error:  # a bug here must not end the acknowledgements for good
                log.exception("kill switch: acknowledgement")
                self._failed(error)
        with suppress(KafkaError, ClientError, OSError):
            self._send(ended=True)
        self._drop()

    def _send(self, *, ended: bool = False) -> None:
        ack = msgspec.structs.replace(self._build(), ended=ended)
        if self._key is not None and ack.deployment == UNBOUND:
            raise ClientError("nothing is signed before the deployment is known: give deployment=")
        if self._producer is None:
            self._producer = open_producer(
                self._connection,
                _CONNECT_S,
                BrokerError,
                acks=1,
                enable_idempotence=False,
                linger_ms=0,
                max_block_ms=int(_SENT_S * 1000),
                request_timeout_ms=int(_SENT_S * 1000),
                delivery_timeout_ms=int(2 * _SENT_S * 1000),
            )
        waiting = list(self._drills)
        futures = [
            self._produce(
                f"{self._client}{DRILL_KEY}",
                # A drill may have come before the deployment was known.
                msgspec.structs.replace(drill, deployment=drill.deployment or ack.deployment),
            )
            for drill in waiting
        ]
        futures.append(self._produce(self._client, ack))
        for future in futures:
            future.get(timeout=_SENT_S)
        for _ in waiting:
            self._drills.popleft()

    def _produce(self, name: str, ack: Ack | DrillAck) -> Any:
        topic, key, value = self._connection.topic(ACKS), name.encode(), encode_ack(ack)
        headers = []
        if self._key is not None:
            headers = [signature_header(self._key, ack.deployment, topic, key, value)]
        return self._producer.send(topic, value, key=key, headers=headers)

    def _failed(self, error: Exception) -> None:
        why = f"{type(error).__name__}: {error}"
        if not self.trouble:
            log.warning("kill switch: nothing can be acknowledged: %s", why)
        self.trouble = why
        # The producer is kept, because it reconnects by itself.
        self._stop.wait(_AGAIN_S)
        self._changed.set()

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError):
                producer.close(timeout=0)
