"""What can go wrong between a client and the broker."""

from __future__ import annotations

from riskwatch import errors


class ClientError(errors.RiskwatchError):
    """Base of every error of :mod:`riskwatch.client`."""


class BrokerError(ClientError, errors.BrokerError):
    """The broker does not answer, or refuses. The message names its address."""


class TopicError(ClientError):
    """A topic is not there, or is no longer laid out as it was. The message names it."""


class HistoryError(ClientError):
    """What a topic holds is not the continuation of what was read.

    Records between were removed, or a worker writes another history under numbers that it has
    used before (its database was replaced). Going on by itself could lose an alert, so a person
    decides: as a rule by starting anew, without a group or under another one.
    """


class UnreadableError(ClientError):
    """A record of an output topic cannot be understood, so it may say anything.

    Never swallowed: whoever waits for a HALT must take this one for it. Asking the stream for
    its next item goes on behind the record, and says that it was dealt with.

    Attributes
    ----------
    topic : str
        Plain name of the topic.
    partition, offset : int
        Where on it.
    key : str or None
        Key of the record; on ``riskwatch.killswitch`` the scope that it would have been about.
    reason : str
        What is wrong with it.
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
    """An event could not be sent. The message says which; those before it were sent.

    Attributes
    ----------
    number : int
        Which, counted from 1 in the order given.
    """

    def __init__(self, number: int, message: str) -> None:
        self.number = number
        super().__init__(message)
