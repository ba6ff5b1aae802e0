"""Publisher of events: it sends typed events or raw lines to their topic with their key."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from kafka.errors import KafkaError, MessageSizeTooLargeError

from riskwatch.client.errors import BrokerError, PublishError, TopicError
from riskwatch.client.fork import check_owner, close_after_fork, drop_producer
from riskwatch.contracts.codec import SIZE_LIMIT, decode, encode
from riskwatch.contracts.kafka_clients import TIMEOUT_S, open_admin, open_producer
from riskwatch.contracts.keyfile import read_private_key
from riskwatch.contracts.naming import stable_event
from riskwatch.contracts.record_signing import signature_header
from riskwatch.contracts.refusal import Refusal, refuse
from riskwatch.contracts.topics import key_of, topic_of
from riskwatch.contracts.validation import check_command_text
from riskwatch.core.clock import SECOND
from riskwatch.core.deployment import UNBOUND, deployment_fault
from riskwatch.core.enums import RejectReason
from riskwatch.core.events import Credit, LegalEntity, NettingSet, identity
from riskwatch.core.names import IDENTITY
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from riskwatch.contracts.connection import KafkaConnection
    from riskwatch.core.events import WireEvent
    from riskwatch.core.names import NameTable


class Pace:
    """Delays events to the pace at which they happened, or a multiple of it.

    Parameters
    ----------
    speed : float
        Multiple of real time; 0 means as fast as possible.
    clock : callable
        Returns seconds of a monotonic clock.
    sleep : callable
        Waits for the given number of seconds.

    Examples
    --------
    >>> waits = []
    >>> pace = Pace(60.0, clock=lambda: 0.0, sleep=waits.append)
    >>> for second in (0, 30, 90):
    ...     pace.wait(second * SECOND)
    >>> waits
    [0.5, 1.5]
    """

    def __init__(
        self,
        speed: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._speed = speed
        self._clock = clock
        self._sleep = sleep
        self._origin: tuple[int, float] | None = None

    def wait(self, us: int) -> None:
        """Return when an event of time `us` is due; return at once if it is late."""
        if not self._speed:
            return
        if self._origin is None:
            self._origin = (us, self._clock())
        first, began = self._origin
        left = began + (us - first) / SECOND / self._speed - self._clock()
        if left > 0:
            self._sleep(left)


# The result of publishing.


class Refused(msgspec.Struct, frozen=True):
    """An item that is not a valid event of the contract, and was not sent.

    Attributes
    ----------
    number : int
        Number of the item, counted from 1 in the order given.
    reason : RejectReason
        The rule that it breaks.
    detail : str
        The field, the expected value and the value found.
    """

    number: int
    reason: RejectReason
    detail: str


class Published(msgspec.Struct):
    """Counts of the sent and the refused items.

    Attributes
    ----------
    sent : dict of str to int
        Events that the broker acknowledged, by plain name of the topic.
    refused : int
        Items that were not valid events.
    first : list of Refused
        The first refused items, with reasons.
    """

    sent: dict[str, int] = msgspec.field(default_factory=dict)
    refused: int = 0
    first: list[Refused] = msgspec.field(default_factory=list)

    @property
    def total(self) -> int:
        """Events that the broker acknowledged, over all topics."""
        return sum(self.sent.values())


DELIVERY_S: Final = 30.0
IN_FLIGHT: Final = 5_000
"""Most events that are sent and not yet acknowledged."""
IN_FLIGHT_BYTES: Final = 32 * 2**20
MAX_KEPT_REFUSALS: Final = 20
"""Most refused items that a result lists."""
_CLOSE_S: Final = 5.0
_LINGER_MS: Final = 5


class _InFlight(NamedTuple):
    number: int
    what: str
    topic: str
    size: int
    future: Any


class Publisher:
    """Sends events in order; all replicas acknowledge each of them. A context manager.

    A retry never duplicates a record. :meth:`send` blocks when too many events are in flight, so
    memory is bounded however slow the broker is. Leaving the context waits for all
    acknowledgements.

    Parameters
    ----------
    connection : KafkaConnection
        The broker.
    timeout : float
        Seconds that the broker may take to answer the first request.
    delivery : float
        Seconds after which an event without an acknowledgement is an error.
    in_flight : int
        Most events that are sent and not yet acknowledged.
    signing_key : Path, optional
        File of the Ed25519 private key of a source of credit news, which signs its records.
    deployment : str, optional
        Deployment for which they are signed; required with a key. They are valid in no other one.
    names : NameTable, optional
        Canonical names that events are sent under; :func:`riskwatch.client.read_names` reads them.
        Without them every name is sent as it is.

    Attributes
    ----------
    result : Published
        Counts of the items so far.

    Raises
    ------
    BrokerError
        If the broker does not answer.
    SigningError
        If the signing key cannot be read, or others can read it.
    ConfigError
        If there is a signing key, and `deployment` is not the id of a live deployment.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        timeout: float = TIMEOUT_S,
        delivery: float = DELIVERY_S,
        in_flight: int = IN_FLIGHT,
        signing_key: Path | None = None,
        deployment: str | None = None,
        names: NameTable = IDENTITY,
    ) -> None:
        fault = None if signing_key is None else deployment_fault(deployment)
        if fault is not None:
            raise ConfigError("publisher", "deployment", fault, deployment)
        self._key = None if signing_key is None else read_private_key(signing_key)
        self._deployment = deployment or UNBOUND
        self._names = names
        self.result = Published()
        self._pid = os.getpid()
        self._connection = connection
        self._delivery = delivery
        self._most = in_flight
        self._number = 0
        self._flying: deque[_InFlight] = deque()
        self._bytes = 0
        admin = open_admin(connection, timeout, BrokerError)
        try:
            self._topics = frozenset(admin.list_topics())
        except KafkaError as error:
            raise BrokerError(f"{connection.servers} lists no topics: {error}") from error
        finally:
            admin.close()
        self._producer: Any = open_producer(
            connection,
            timeout,
            BrokerError,
            acks="all",
            enable_idempotence=True,
            linger_ms=_LINGER_MS,
            batch_size=2**16,
            max_request_size=2 * SIZE_LIMIT,
            max_block_ms=int(timeout * 1000),
            request_timeout_ms=max(1, int(delivery * 500)),
            delivery_timeout_ms=int(delivery * 1000),
        )
        close_after_fork(self)

    def send(self, item: WireEvent | bytes) -> Refused | None:
        """Send an event, or a line that holds one; return why it was refused, or ``None``.

        Raises
        ------
        TopicError
            If its topic does not exist.
        PublishError
            If this or an earlier event cannot be delivered.
        """
        value = item.rstrip(b"\r\n") if isinstance(item, bytes) else encode(item)
        # A typed event is decoded too, because its class does not check the ranges of the contract.
        event = decode(value)
        return self.refuse(event) if isinstance(event, Refusal) else self.post(event, value)

    def post(self, event: WireEvent, value: bytes) -> Refused | None:
        """Send `event`, whose bytes are `value`; otherwise like :meth:`send`.

        An event with other names than the canonical ones is sent with these.
        """
        named = stable_event(event, self._names)
        if isinstance(named, Refusal):
            return self.refuse(named)
        if named != event:
            event, value = named, encode(named)
        refusal = check_command_text(event)
        if refusal is not None:
            return self.refuse(refusal)
        topic, key = topic_of(event), key_of(event).encode()
        headers = []
        if self._key is not None and isinstance(event, Credit | LegalEntity | NettingSet):
            name = self._connection.topic(topic)
            headers = [signature_header(self._key, self._deployment, name, key, value)]
        return self.raw(topic, key, value, identity(event), headers)

    def refuse(self, refusal: Refusal) -> Refused:
        """Count an item that is not a valid event."""
        self._number += 1
        return self._refused(refusal)

    def raw(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        what: str = "",
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> Refused | None:
        """Send any bytes to any topic; error messages name them by `what`.

        Raises
        ------
        TopicError
            If the topic does not exist.
        PublishError
            If this or an earlier item cannot be delivered.
        """
        check_owner(self._pid, "publisher")
        self._number += 1
        name = self._connection.topic(topic)
        if name not in self._topics:
            raise TopicError(
                f"topic {name} does not exist at {self._connection.servers}: "
                "run `riskwatch topics create`"
            )
        try:
            future = self._producer.send(name, value=value, key=key, headers=list(headers))
        except MessageSizeTooLargeError as error:
            return self._refused(refuse(RejectReason.MESSAGE_TOO_LARGE, str(error)))
        except KafkaError as error:
            raise self._failed(self._number, what, topic, error) from error
        self._flying.append(_InFlight(self._number, what, topic, len(value), future))
        self._bytes += len(value)
        while self._flying and (
            self._flying[0].future.is_done
            or len(self._flying) > self._most
            or self._bytes > IN_FLIGHT_BYTES
        ):
            self._land()
        return None

    def flush(self) -> None:
        """Wait until every event is acknowledged.

        Raises
        ------
        PublishError
            If an event could not be delivered.
        InheritedError
            If another process created this publisher.
        """
        check_owner(self._pid, "publisher")
        while self._flying:
            self._land()

    def _land(self) -> None:
        """Wait for the acknowledgement of the oldest event in flight."""
        flight = self._flying.popleft()
        self._bytes -= flight.size
        try:
            flight.future.get(timeout=self._delivery + _CLOSE_S)
        except KafkaError as error:
            raise self._failed(flight.number, flight.what, flight.topic, error) from error
        self.result.sent[flight.topic] = self.result.sent.get(flight.topic, 0) + 1

    def _refused(self, refusal: Refusal) -> Refused:
        refused = Refused(self._number, refusal.reason, refusal.detail)
        self.result.refused += 1
        if len(self.result.first) < MAX_KEPT_REFUSALS:
            self.result.first.append(refused)
        return refused

    def _failed(self, number: int, what: str, topic: str, error: Exception) -> PublishError:
        which = f"event {number}" + (f" ({what})" if what else "")
        return PublishError(
            number,
            f"{which} was not acknowledged on {self._connection.topic(topic)} by "
            f"{self._connection.servers}: {error}; {self.result.total} events before it were",
        )

    def close(self) -> None:
        """Close the connection; drop what is not acknowledged within five seconds."""
        if os.getpid() != self._pid:
            return  # the connection is the parent's
        with suppress(KafkaError):
            self._producer.close(timeout=_CLOSE_S)

    def after_fork(self) -> None:
        """Drop the parent's connection in a forked child; what is in flight stays the parent's."""
        self._flying.clear()
        drop_producer(self._producer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.flush()
        finally:
            self.close()
            with suppress(PublishError):  # the first error is raised; this completes the totals
                while self._flying and self._flying[0].future.is_done:
                    self._land()


def publish(
    connection: KafkaConnection,
    events: Iterable[WireEvent | bytes],
    *,
    timeout: float = TIMEOUT_S,
    delivery: float = DELIVERY_S,
) -> Published:
    """Send events, and return when all replicas have acknowledged all of them.

    Parameters
    ----------
    connection : KafkaConnection
        The broker.
    events : iterable of WireEvent or bytes
        Typed events, or lines of JSON. Lines are sent unchanged. An item that is not a valid event
        of the contract is not sent; the result counts such items and lists the first of them with
        reasons.
    timeout, delivery : float
        See :class:`Publisher`.

    Raises
    ------
    BrokerError
        If the broker does not answer.
    TopicError
        If a topic does not exist.
    PublishError
        If an event is not acknowledged in time; the error names the event.
    """
    with Publisher(connection, timeout=timeout, delivery=delivery) as publisher:
        for event in events:
            publisher.send(event)
    return publisher.result
