"""Subscriptions: the alerts, and the states of the kill switch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.client.stream import Start, Stream
from riskwatch.contracts.kafka_clients import TIMEOUT_S
from riskwatch.core.outputs import AlertRaised, KillSwitchChanged

if TYPE_CHECKING:
    from collections.abc import Callable

    from riskwatch.client.message import AlertOutput, CaughtUp, Message
    from riskwatch.contracts.connection import KafkaConnection

ALERTS = AlertRaised.topic or ""
KILLSWITCH = KillSwitchChanged.topic or ""


def alerts(
    connection: KafkaConnection,
    group: str | None = None,
    start: Start = "latest",
    stop: Callable[[], bool] | None = None,
    *,
    timeout: float = TIMEOUT_S,
) -> Stream[Message[AlertOutput]]:
    """Follow ``riskwatch.alerts``: decisions, alerts and data-quality issues, as they are made.

    Parameters
    ----------
    connection : KafkaConnection
        The broker.
    group : str, optional
        Resume where this group stopped. The position is kept once the next message was asked
        for, so a crash repeats a message and loses none. One process per group.
    start : {"latest", "earliest"} or datetime
        Where to begin without a group, or the first time with one.
    stop : callable, optional
        Ends the iteration when it says true, such as ``threading.Event().is_set``; asked at
        least every quarter of a second.
    timeout : float
        Seconds that the broker may take to answer when the stream is opened.

    Returns
    -------
    Stream of Message
        An iterator and context manager. Each message comes once, none is older than the one
        before. A record that cannot be read raises :class:`UnreadableError`; the stream may
        be asked for the next one all the same.

    Raises
    ------
    BrokerError, TopicError, HistoryError
        See :class:`Stream`.
    """
    return Stream(
        connection, ALERTS, group=group, start=start, stop=stop, marks=False, timeout=timeout
    )


def killswitch(
    connection: KafkaConnection,
    stop: Callable[[], bool] | None = None,
    *,
    timeout: float = TIMEOUT_S,
) -> Stream[Message[KillSwitchChanged] | CaughtUp]:
    """Follow ``riskwatch.killswitch``: the state of every scope, then every change.

    Reads the whole compacted topic, gives one :class:`CaughtUp`, and goes on. Before that mark
    a table made of the messages is not complete, and a scope that is absent from it may be at
    HALT. After it, an absent scope is NORMAL as long as heartbeats vouch for the table.

    An order path must take :class:`UnreadableError` for the strictest thing that the record
    could have said about its `key`, and any other error, like silence, for REDUCE.

    Parameters
    ----------
    connection, stop, timeout
        As for :func:`alerts`.

    Returns
    -------
    Stream of Message or CaughtUp
        Per scope, each message comes once and none is older than the one before.

    Raises
    ------
    BrokerError, TopicError, HistoryError
        See :class:`Stream`.
    """
    return Stream(
        connection, KILLSWITCH, group=None, start="earliest", stop=stop, marks=True, timeout=timeout
    )
