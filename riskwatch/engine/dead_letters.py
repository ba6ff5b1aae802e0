"""Dead letters on their way back: to the dead-letter topic of the stream that they came from."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from riskwatch.contracts.topics import DLQ_SUFFIX, TOPICS, dlq_of
from riskwatch.core.clock import moment
from riskwatch.store.batch import OutboxRecord

if TYPE_CHECKING:
    from riskwatch.store.batch import DeadLetter

MAX_WHOLE_BYTES: Final = 900 * 1024
"""Most bytes of key and value that travel; what is larger travels as its size and digest."""
HEADER_PREFIX: Final = "rw-dlq-"
"""Begins the names of the headers that say why."""


def has_dead_letter_topic(stream: str) -> bool:
    """Whether a stream is a partition of an input, which has a dead-letter topic.

    Examples
    --------
    >>> has_dead_letter_topic("riskwatch.fills/3"), has_dead_letter_topic("riskwatch.readings/0")
    (True, False)
    """
    return topic_of(stream) + DLQ_SUFFIX in TOPICS


def topic_of(stream: str) -> str:
    """Name of the topic that ``topic/partition`` is a part of.

    Examples
    --------
    >>> topic_of("riskwatch.fills/3")
    'riskwatch.fills'
    """
    return stream.rpartition("/")[0]


def dead_letter_record(letter: DeadLetter, worker: str, seq: int, us: int) -> OutboxRecord:
    """Make the outbox record of a dead letter: as it came, and with the reason.

    Parameters
    ----------
    letter : DeadLetter
        What was refused.
    worker : str
        Who refused it.
    seq : int
        Its place among the outputs of that worker.
    us : int
        Event time reached.

    Raises
    ------
    KeyError
        If its stream is no partition of an input topic.
    """
    why: list[tuple[str, bytes]] = [
        (HEADER_PREFIX + "reason", letter.reason.value.encode()),
        (HEADER_PREFIX + "detail", letter.detail.encode()),
        (HEADER_PREFIX + "stream", letter.stream.encode()),
        (HEADER_PREFIX + "position", str(letter.position).encode()),
        (HEADER_PREFIX + "worker", worker.encode()),
    ]
    key, value, headers = letter.key, letter.payload, letter.headers
    size = len(value) + len(key or b"") + sum(len(n) + len(v) for n, v in headers)
    if size > MAX_WHOLE_BYTES:
        why += [
            (HEADER_PREFIX + "bytes", str(len(value)).encode()),
            (HEADER_PREFIX + "sha256", sha256(value).hexdigest().encode()),
        ]
        key, value, headers = None, b"", ()
    return OutboxRecord(
        seq=seq,
        topic=dlq_of(topic_of(letter.stream)),
        key=f"{letter.stream}/{letter.position}",
        value=value,
        ts=moment(us),
        raw_key=key,
        headers=(*headers, *why),
    )
