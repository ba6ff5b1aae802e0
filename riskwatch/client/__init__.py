"""What trading systems import: subscription to alerts and to the kill switch, and publishing.

:class:`KillSwitch` answers whether an order may go, without asking anybody; :class:`DeadMan`
keeps a venue's own cancel-on-timeout alive as long as it does. :func:`alerts` and
:func:`killswitch` are iterators of :class:`Message`; :func:`publish` sends
events. All take a :class:`~riskwatch.contracts.connection.KafkaConnection`. Everything that can
go wrong is a :class:`ClientError`. See ``docs/examples`` for ten lines of each.
"""

from riskwatch.client.deadman import DeadMan
from riskwatch.client.errors import (
    BrokerError,
    ClientError,
    HistoryError,
    PublishError,
    TopicError,
    UnreadableError,
)
from riskwatch.client.guard.switch import KillSwitch
from riskwatch.client.guard.trust import Terms
from riskwatch.client.guard.view import Answer
from riskwatch.client.message import AlertOutput, CaughtUp, Message
from riskwatch.client.publish import Pace, Published, Publisher, Refused, publish
from riskwatch.client.stream import Stream, alerts, killswitch

__all__ = [
    "AlertOutput",
    "Answer",
    "BrokerError",
    "CaughtUp",
    "ClientError",
    "DeadMan",
    "HistoryError",
    "KillSwitch",
    "Message",
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
]
