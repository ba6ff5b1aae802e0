"""Errors that the client raises."""

from __future__ import annotations

from riskwatch import errors


class ClientError(errors.RiskwatchError):
    """Base of every error of :mod:`riskwatch.client`."""


class BrokerError(ClientError, errors.BrokerError):
    """The broker does not answer, or refuses a request. The message names its address."""


class TopicError(ClientError):
    """A topic does not exist, or its partitions changed. The message names the topic."""


class HistoryError(ClientError):
    """The records of a topic do not continue the records that were read before.

    Either records between them were removed, or a worker writes a different history under sequence
    numbers that it has used before, because its database was replaced. Continuing automatically
    could lose an alert, so a person decides. The usual remedy is to start again without a group or
    under another group.
    """


class UnreadableError(ClientError):
    """A record of an output topic cannot be decoded, so its content is unknown.

    The stream never hides it: code that waits for a HALT must treat this error as a HALT. The
    stream treats the record as processed when the caller asks for the next item, and continues
    behind it.

    Attributes
    ----------
    topic : str
        Plain name of the topic.
    partition, offset : int
        Position of the record.
    key : str or None
        Key of the record; on ``riskwatch.killswitch`` the scope that the record is about.
    reason : str
        Why the record cannot be decoded.
    """

    def __init__(
        self, topic: str, partition: int, offset: int, key: str | None, reason: str
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.key = key
        self.reason = reason
        of = "" if key is None else f" for {key!r}"
        super().__init__(f"{topic}/{partition} offset {offset}{of} cannot be read: {reason}")


class PublishError(ClientError):
    """An event could not be sent. The message names it; all earlier events were sent.

    Attributes
    ----------
    number : int
        Number of the event, counted from 1 in the order given.
    """

    def __init__(self, number: int, message: str) -> None:
        self.number = number
        super().__init__(message)
