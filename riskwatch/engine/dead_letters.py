"""Records of the dead-letter topics: how a dead letter returns to the topic of its stream."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from riskwatch.contracts.topics import DLQ_SUFFIX, TOPICS, dlq_of
from riskwatch.core.clock import moment
from riskwatch.store.batch import OutboxRecord

if TYPE_CHECKING:
    from riskwatch.store.batch import DeadLetter

MAX_WHOLE_BYTES: Final = 900 * 1024
"""Most bytes of key, value and headers that are sent; of more, the size and digest are sent."""
HEADER_PREFIX: Final = "rw-dlq-"
"""Prefix of the headers that give the reason."""


def has_dead_letter_topic(stream: str) -> bool:
    """Whether a stream is a partition of an input topic; each has a dead-letter topic.

    Examples
    --------
    >>> has_dead_letter_topic("riskwatch.fills/3"), has_dead_letter_topic("riskwatch.readings/0")
    (True, False)
    """
    return topic_of(stream) + DLQ_SUFFIX in TOPICS


def topic_of(stream: str) -> str:
    """Return the topic of a stream name ``topic/partition``.

    Examples
    --------
    >>> topic_of("riskwatch.fills/3")
    'riskwatch.fills'
    """
    return stream.rpartition("/")[0]


def dead_letter_record(dead_letter: DeadLetter, worker: str, seq: int, us: int) -> OutboxRecord:
    """Return the outbox record of a dead letter: the message as received, and the reason.

    Parameters
    ----------
    dead_letter : DeadLetter
        The refused message.
    worker : str
        Name of the worker that refused it.
    seq : int
        Sequence number among the outputs of that worker.
    us : int
        Event time reached, microseconds.

    Raises
    ------
    KeyError
        If its stream is not a partition of an input topic.
    """
    why: list[tuple[str, bytes]] = [
        (HEADER_PREFIX + "reason", dead_letter.reason.value.encode()),
        (HEADER_PREFIX + "detail", dead_letter.detail.encode()),
        (HEADER_PREFIX + "stream", dead_letter.stream.encode()),
        (HEADER_PREFIX + "position", str(dead_letter.position).encode()),
        (HEADER_PREFIX + "worker", worker.encode()),
    ]
    key, value, headers = dead_letter.key, dead_letter.payload, dead_letter.headers
    size = len(value) + len(key or b"") + sum(len(n) + len(v) for n, v in headers)
    if size > MAX_WHOLE_BYTES:
        why += [
            (HEADER_PREFIX + "bytes", str(len(value)).encode()),
            (HEADER_PREFIX + "sha256", sha256(value).hexdigest().encode()),
        ]
        key, value, headers = None, b"", ()
    return OutboxRecord(
        seq=seq,
        topic=dlq_of(topic_of(dead_letter.stream)),
        key=f"{dead_letter.stream}/{dead_letter.position}",
        value=value,
        ts=moment(us),
        raw_key=key,
        headers=(*headers, *why),
    )
