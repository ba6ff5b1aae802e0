"""The topics of a cluster: creation, comparison with the table of topics, and identity.

:data:`riskwatch.contracts.topics.TOPICS` is the table of required topics. This module never
deletes topics and never changes their number of partitions, because that would move counterparties
between workers (``docs/operations.md`` describes how to do it).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic, OffsetSpec
from kafka.errors import KafkaError

from riskwatch.contracts.kafka_clients import open_admin
from riskwatch.contracts.topics import TOPICS, Topic
from riskwatch.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kafka import KafkaAdminClient

    from riskwatch.contracts.connection import KafkaConnection

HOUR_MS: Final = 3_600_000
MAX_RECORD_BYTES: Final = 8 * 2**20
"""Most bytes of a record. An event has at most 1 MiB, a reading at its limits about 4 MiB."""
WAIT_MS: Final = 5_000
BROKER_TIMED_TOPICS: Final = (
    "riskwatch.killswitch",
    "riskwatch.acks",
    "riskwatch.drills",
    "riskwatch.heartbeat",
    "riskwatch.audit",
)
"""Topics outside of inputs with the broker's times, not the senders'.

The round trip of the first three to the clients is measured, and so by the broker's clock only. The
last two have a record at intervals, whose confirmation tells a worker the broker's time.
"""


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """The identity of a topic: another topic of the same name has another identity.

    Attributes
    ----------
    cluster : str
        Id of the cluster.
    topic : str
        Id of the topic; a recreated topic has another id.
    partitions : int
        Number of partitions; another number sends keys to other partitions.
    """

    cluster: str
    topic: str
    partitions: int

    def __str__(self) -> str:
        """Return the text that is stored beside offsets."""
        return f"cluster={self.cluster};topic={self.topic};partitions={self.partitions}"


@contextmanager
def admin(connection: KafkaConnection) -> Iterator[KafkaAdminClient]:
    """Open an admin client, and close it at the end of the block.

    Raises
    ------
    BrokerError
        If the broker cannot be reached, or refuses.
    """
    client = open_admin(
        connection, WAIT_MS / 1_000, client_id="riskwatch-admin", request_timeout_ms=WAIT_MS
    )
    try:
        yield client
    except KafkaError as error:
        raise BrokerError(f"{connection.servers}: {error}") from error
    finally:
        client.close()


def topic_settings(topic: Topic) -> dict[str, str]:
    """Return the configuration of a topic, by the broker's names.

    Examples
    --------
    >>> topic_settings(TOPICS["riskwatch.killswitch"])["cleanup.policy"]
    'compact'
    """
    retention = -1 if topic.retention_h is None else topic.retention_h * HOUR_MS
    settings = {
        "cleanup.policy": "compact" if topic.compacted else "delete",
        "retention.ms": str(retention),
        "max.message.bytes": str(MAX_RECORD_BYTES),
    }
    if topic.role in ("input", "internal") or topic.name in BROKER_TIMED_TOPICS:
        # The broker's time of arrival is the same on every delivery of a message.
        settings["message.timestamp.type"] = "LogAppendTime"
    return settings


def create_topics(connection: KafkaConnection, replication: int = 1) -> list[str]:
    """Create the missing topics, and apply the settings of all topics.

    Parameters
    ----------
    connection : KafkaConnection
        The cluster.
    replication : int
        Replicas of each new partition.

    Returns
    -------
    list of str
        Plain names of the topics that were created.

    Raises
    ------
    BrokerError
        If the broker refuses, or a topic has another number of partitions than in the table.
    """
    with admin(connection) as client:
        found = _described(client, connection, TOPICS)
        missing = [t for t in TOPICS.values() if t.name not in found]
        if missing:
            client.create_topics(
                [
                    NewTopic(
                        connection.topic(t.name),
                        num_partitions=t.partitions,
                        replication_factor=replication,
                        topic_configs=topic_settings(t),
                    )
                    for t in missing
                ],
                wait_for_metadata=True,
            )
        for name, partitions in found.items():
            if partitions != TOPICS[name].partitions:
                raise BrokerError(_miscounted(TOPICS[name], partitions))
        changes = [
            ConfigResource(
                ConfigResourceType.TOPIC,
                connection.topic(name),
                configs={
                    key: value
                    for key, value in topic_settings(TOPICS[name]).items()
                    if present.get(key) != value
                },
            )
            for name, present in _configured(client, connection, found).items()
            if not topic_settings(TOPICS[name]).items() <= present.items()
        ]
        if changes:
            client.alter_configs(changes)
    return [t.name for t in missing]


def topic_differences(connection: KafkaConnection) -> list[str]:
    """Return the differences between the cluster and the table of topics, one per line.

    Raises
    ------
    BrokerError
        If the broker cannot be reached, or refuses.
    """
    out = []
    with admin(connection) as client:
        found = _described(client, connection, TOPICS)
        present = _configured(client, connection, found)
    for topic in TOPICS.values():
        if topic.name not in found:
            out.append(f"{topic.name} is missing: run `riskwatch topics create`")
            continue
        if found[topic.name] != topic.partitions:
            out.append(_miscounted(topic, found[topic.name]))
        for key, value in topic_settings(topic).items():
            has = present[topic.name].get(key, "the broker's default")
            if has != value:
                out.append(f"{topic.name}: {key} must be {value}, was {has}")
    return out


def topic_identities(
    connection: KafkaConnection, topics: Iterable[str]
) -> dict[str, TopicIdentity]:
    """Return the identity of each of `topics` (plain names).

    Raises
    ------
    BrokerError
        If the broker cannot be reached, or a topic is missing.
    """
    with admin(connection) as client:
        cluster = client.describe_cluster()["cluster_id"]
        out = {}
        for row in client.describe_topics([connection.topic(name) for name in topics]):
            name = connection.plain(row["name"])
            if row["error_code"]:
                raise BrokerError(f"{row['name']} is missing: run `riskwatch topics create`")
            out[name] = TopicIdentity(cluster, str(row["topic_id"]), len(row["partitions"]))
        return out


def cluster_id(connection: KafkaConnection) -> str:
    """Return the id of the broker's cluster.

    Raises
    ------
    BrokerError
        If the broker cannot be reached, or names no cluster.
    """
    with admin(connection) as client:
        found = client.describe_cluster()["cluster_id"]
    if not found:
        raise BrokerError(f"{connection.servers} names no cluster id")
    return str(found)


def offset_bounds(
    connection: KafkaConnection, partitions: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], tuple[int, int]]:
    """Return the first offset and the offset behind the last record, per partition.

    Raises
    ------
    BrokerError
        If the broker cannot be reached, or a topic is missing.
    """
    places = {TopicPartition(connection.topic(t), p): (t, p) for t, p in partitions}
    with admin(connection) as client:
        first = client.list_partition_offsets(dict.fromkeys(places, OffsetSpec.EARLIEST))
        last = client.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST))
    return {place: (first[tp].offset, last[tp].offset) for tp, place in places.items()}


def _described(
    client: KafkaAdminClient, connection: KafkaConnection, names: Iterable[str]
) -> dict[str, int]:
    """Return the number of partitions of each topic that exists, by plain name."""
    rows = client.describe_topics([connection.topic(name) for name in names])
    return {
        connection.plain(row["name"]): len(row["partitions"])
        for row in rows
        if not row["error_code"]
    }


def _configured(
    client: KafkaAdminClient, connection: KafkaConnection, names: Iterable[str]
) -> dict[str, dict[str, str]]:
    """Return the settings of topics that are not the broker's defaults, by plain name."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, connection.topic(name)) for name in names]
    if not resources:
        return {}
    answer = client.describe_configs(resources)["topic"]
    return {
        connection.plain(name): {key: _value(value) for key, value in found.items()}
        for name, found in answer.items()
    }


def _value(found: object) -> str:
    """Return the value of a setting, which some versions of the protocol wrap."""
    return str(found["value"] if isinstance(found, dict) else found)


def _miscounted(topic: Topic, found: int) -> str:
    return (
        f"{topic.name} has {found} partitions and must have {topic.partitions}: keys would go "
        "elsewhere than their state is (see docs/operations.md, repartitioning)"
    )
