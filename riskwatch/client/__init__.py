"""The library that trading systems import: the order guard, subscriptions and publishing.

:class:`KillSwitch` decides whether an order may go; it makes no network call for an order.
:class:`DeadMan` keeps a venue's own cancel-on-timeout alive as long as the kill switch allows.
:func:`alerts` and :func:`killswitch` are iterators of :class:`Message`; :func:`publish` sends
events. All of them take a :class:`~riskwatch.contracts.connection.KafkaConnection`. Every error is
a :class:`ClientError`. ``docs/examples`` shows each of them in ten lines.
"""

from riskwatch.client.deadman import DeadMan
from riskwatch.client.errors import (
    BrokerError,
    ClientError,
    HistoryError,
    InheritedError,
    PublishError,
    TopicError,
    UnreadableError,
)
from riskwatch.client.guard.limits import OrderLimits
from riskwatch.client.guard.switch import KillSwitch
from riskwatch.client.guard.trust import Terms
from riskwatch.client.guard.view import Answer
from riskwatch.client.message import AlertOutput, CaughtUp, Message
from riskwatch.client.publish import Pace, Published, Publisher, Refused, publish
from riskwatch.client.stream import Stream, alerts, killswitch
from riskwatch.contracts.names_file import read_names

__all__ = [
    "AlertOutput",
    "Answer",
    "BrokerError",
    "CaughtUp",
    "ClientError",
    "DeadMan",
    "HistoryError",
    "InheritedError",
    "KillSwitch",
    "Message",
    "OrderLimits",
    "Pace",
    "PublishError",
    "Published",
    "Publisher",
    "Refused",
    "Stream",
    "Terms",
    "TopicError",
    "UnreadableError",
    "alerts",
    "killswitch",
    "publish",
    "read_names",
]
