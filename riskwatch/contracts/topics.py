"""The table of all topics: their role, their records and their layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core import events, outputs, readings

if TYPE_CHECKING:
    from riskwatch.core.events import WireEvent


# Record headers: the worker that wrote a record, its epoch, the record's sequence number, and the
# deployment. Builds that knew no deployments wrote no such header.
WORKER: Final = "rw-worker"
EPOCH: Final = "rw-epoch"
SEQ: Final = "rw-seq"
DEPLOYMENT: Final = "rw-deployment"


_DAY: Final = 24
ALERTS: Final = "riskwatch.alerts"
DLQ_SUFFIX: Final = ".dlq"
"""Suffix of the name of an input's dead-letter topic."""


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """One topic.

    Attributes
    ----------
    name : str
        Name of the topic, without the deployment's prefix.
    role : str
        ``input``, ``internal`` (between workers), ``output``, ``acknowledgement`` (from order
        paths) or ``dead_letter``.
    key : str
        Content of the record key; on inputs and readings, the name of the field.
    partitions : int
        Default number of partitions. `riskwatch.fills` and `riskwatch.balances` must have the same
        number, because one ledger worker owns a counterparty on both.
    retention_h : int or None
        Hours for which records are kept; ``None`` for ever (compaction removes replaced records).
    compacted : bool
        Whether the last record per key is kept.
    carries : tuple of type
        Structs of its records; empty if they are neither events nor outputs.
    about : str
        Description in one line.
    content_type : str
        Media type of the record value.
    """

    name: str
    role: str
    key: str
    partitions: int
    retention_h: int | None
    carries: tuple[type[msgspec.Struct], ...]
    about: str
    compacted: bool = False
    content_type: str = "application/json"


_INPUTS: Final = (
    Topic(
        name="riskwatch.fills",
        role="input",
        key="counterparty",
        partitions=8,
        retention_h=7 * _DAY,
        carries=(events.Fill, events.FillCorrection, events.Settlement, events.OpenOrder),
        about="Executions, their corrections and settlements, and resting orders.",
    ),
    Topic(
        name="riskwatch.balances",
        role="input",
        key="counterparty",
        partitions=8,
        retention_h=7 * _DAY,
        carries=(
            events.Balance,
            events.Position,
            events.Transfer,
            events.Loan,
            events.Adjustment,
            events.AccountSnapshot,
        ),
        about="Snapshots of balances, positions and loans, transfers, and adjustments.",
    ),
    Topic(
        name="riskwatch.pegs",
        role="input",
        key="asset",
        partitions=1,
        retention_h=7 * _DAY,
        carries=(events.Peg,),
        about="Prices stated against the peg.",
    ),
    Topic(
        name="riskwatch.quotes",
        role="input",
        key="base",
        partitions=1,
        retention_h=7 * _DAY,
        carries=(events.Quote,),
        about="Books, last trades and bars of the venues.",
    ),
    Topic(
        name="riskwatch.credit",
        role="input",
        key="subject",
        partitions=1,
        retention_h=365 * _DAY,
        carries=(events.Credit, events.LegalEntity, events.NettingSet),
        about="Credit news, legal entities and netting agreements.",
    ),
    Topic(
        name="riskwatch.commands",
        role="input",
        key="scope",
        partitions=1,
        retention_h=365 * _DAY,
        carries=(events.Command,),
        about="Signed commands of operators.",
    ),
)

_INTERNAL: Final = (
    Topic(
        name="riskwatch.readings",
        role="internal",
        key="counterparty",
        partitions=1,
        retention_h=7 * _DAY,
        carries=(readings.CounterpartyReading, readings.PartitionFault),
        about="From the ledger workers to the risk worker; the key of a fault is the worker.",
        content_type="application/msgpack",
    ),
)

_OUTPUTS: Final = (
    Topic(
        name="riskwatch.exposures",
        role="output",
        key="the row",
        partitions=1,
        retention_h=None,
        compacted=True,
        carries=(
            outputs.ExposureChanged,
            outputs.PositionChanged,
            outputs.PnlMeasured,
            outputs.CounterpartyAssessed,
            outputs.LimitMeasured,
        ),
        about="Exposure per row, assessment per scope, use per limit.",
    ),
    Topic(
        name="riskwatch.scores",
        role="output",
        key="the score, or advisory|scope",
        partitions=1,
        retention_h=None,
        compacted=True,
        carries=(outputs.AssetValued, outputs.ScoreUpdated, outputs.DecisionAdvised),
        about="Values of assets, probabilities with their explanation, and what advisory rules "
        "would have decided, which binds nobody. A value or a score goes out when it changed; one "
        "that does not come again still holds while heartbeats are valid.",
    ),
    Topic(
        name=ALERTS,
        role="output",
        key="the alert, scope, issue, worker or model",
        partitions=1,
        retention_h=90 * _DAY,
        carries=(
            outputs.DecisionMade,
            outputs.AlertRaised,
            outputs.AlertResolved,
            outputs.DataQualityRaised,
            outputs.DataQualityResolved,
            outputs.StageFaulted,
            outputs.AuthorityChanged,
            outputs.CommandApplied,
            outputs.CommandRefused,
        ),
        about="Decisions, alerts, data-quality issues, faults of our own, authority of models, "
        "commands of operators.",
    ),
    Topic(
        name="riskwatch.killswitch",
        role="output",
        key="the scope",
        partitions=1,
        retention_h=None,
        compacted=True,
        carries=(outputs.KillSwitchChanged,),
        about="State of every scope; read it from the beginning, then follow it.",
    ),
    Topic(
        name="riskwatch.heartbeat",
        role="output",
        key="firm",
        partitions=1,
        retention_h=_DAY,
        carries=(),
        about="Digest of the whole scope table and how long it is valid.",
    ),
    Topic(
        name="riskwatch.drills",
        role="output",
        key="the scope",
        partitions=1,
        retention_h=90 * _DAY,
        carries=(outputs.DrillSignalled,),
        about="Drills, apart from all real states.",
    ),
    Topic(
        name="riskwatch.audit",
        role="output",
        key="the worker",
        partitions=1,
        retention_h=365 * _DAY,
        carries=(),
        about="Head of the audit chain, every minute; it reveals removed and rewritten rows.",
    ),
)

_ACKNOWLEDGEMENTS: Final = (
    Topic(
        name="riskwatch.acks",
        role="acknowledgement",
        key="the client; of an answer to a drill, with /drill behind it",
        partitions=1,
        retention_h=None,
        compacted=True,
        carries=(),
        about="What each order path applied of the kill switch, and its answers to drills.",
    ),
)

_DEAD_LETTERS: Final = tuple(
    Topic(
        name=f"{topic.name}{DLQ_SUFFIX}",
        role="dead_letter",
        key=topic.key,
        partitions=1,
        retention_h=30 * _DAY,
        carries=(),
        about=f"Records of {topic.name} that were refused, with the reason in their headers.",
        content_type="application/octet-stream",
    )
    for topic in _INPUTS
)

TOPICS: Final[dict[str, Topic]] = {
    topic.name: topic
    for topic in (*_INPUTS, *_INTERNAL, *_OUTPUTS, *_ACKNOWLEDGEMENTS, *_DEAD_LETTERS)
}
"""All topics by name, from inputs to outputs."""

_TOPIC_OF: Final = {event: topic for topic in _INPUTS for event in topic.carries}
# The key of a topic names a field; legal entities and netting sets have another key than credit.
_KEY_OF: Final = {event: topic.key for event, topic in _TOPIC_OF.items()} | {
    events.LegalEntity: "counterparty",
    events.NettingSet: "counterparty",
}


def topic_of(event: WireEvent) -> str:
    """Return the topic of an event.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> entity = events.LegalEntity(v=1, event_id="1", ts=datetime(2023, 3, 11, tzinfo=UTC),
    ...                             source="desk", counterparty="kraken", entity="payward")
    >>> topic_of(entity), key_of(entity)
    ('riskwatch.credit', 'kraken')
    """
    return _TOPIC_OF[type(event)].name


def key_of(event: WireEvent) -> str:
    """Return the record key of an event, which determines its partition."""
    key: str = getattr(event, _KEY_OF[type(event)])
    return key


def dlq_of(topic: str) -> str:
    """Return the dead-letter topic of an input topic.

    Raises
    ------
    KeyError
        If `topic` is not an input.

    Examples
    --------
    >>> dlq_of("riskwatch.fills")
    'riskwatch.fills.dlq'
    """
    return TOPICS[f"{topic}{DLQ_SUFFIX}"].name
