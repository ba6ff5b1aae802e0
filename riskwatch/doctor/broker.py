"""Checks of the broker: whether it answers and has the right topics, and the lag of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.contracts.topics import TOPICS
from riskwatch.doctor.finding import Facts, Finding
from riskwatch.engine.replay import WORKER as EMBEDDED
from riskwatch.errors import BrokerError, ConfigError
from riskwatch.kafka.acls import NO_AUTHORIZER, topic_writers, unexpected_writers
from riskwatch.kafka.topics import admin, offset_bounds, topic_differences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.contracts.connection import KafkaConnection
    from riskwatch.worker.settings import ProcessSettings

LAG_WARNING: Final = 10_000
"""Lag that causes a warning, records. A worker applies as many in a second."""
CONSUMED_TOPICS: Final = tuple(
    topic for topic in TOPICS.values() if topic.role in ("input", "internal")
)
"""Topics that workers consume."""
_SHOWN: Final = 5


def findings(settings: ProcessSettings, facts: Facts) -> Iterator[Finding]:
    """Yield the findings about the cluster and its topics."""
    try:
        connection = settings.connection
        with admin(connection) as client:
            cluster = client.describe_cluster()
    except ConfigError as error:
        yield Finding("broker", "fail", str(error), "mend the RISKWATCH_KAFKA variables")
        return
    except BrokerError as error:
        do = "start it, or name another by RISKWATCH_KAFKA"
        yield Finding("broker", "fail", str(error), do)
        return
    facts.cluster = (str(cluster["cluster_id"]), connection.prefix)
    brokers = len(cluster["brokers"])
    name = f"{connection.servers}, cluster {cluster['cluster_id']}, brokers: {brokers}"
    yield Finding("broker", "ok", name)
    yield _rights_finding(connection, facts)
    try:
        wrong = topic_differences(connection)
        yield topic_finding(wrong)
        facts.bounds = offset_bounds(
            connection,
            [(topic.name, n) for topic in CONSUMED_TOPICS for n in range(topic.partitions)],
        )
    except BrokerError as error:
        # The finding about topics above names missing partitions.
        if not wrong:
            yield Finding("topics", "fail", str(error), "see the log of the broker")


def _rights_finding(connection: KafkaConnection, facts: Facts) -> Finding:
    """Return the finding about who may write which topic."""
    check, do = "rights on topics", 'see docs/security.md, "Who may write what"'
    try:
        facts.writers = topic_writers(connection)
    except BrokerError as error:
        return Finding(check, "warn", f"they cannot be read: {error}", do)
    if facts.writers is None:
        return Finding(check, "warn", NO_AUTHORIZER, do)
    wrong = unexpected_writers(facts.writers)
    if not wrong:
        return Finding(check, "ok", "no user but super users may write outputs")
    more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return Finding(check, "warn", "; ".join(wrong[:_SHOWN]) + more, do)


def topic_finding(wrong: list[str]) -> Finding:
    """Return the finding about differences from the table of topics.

    Examples
    --------
    >>> topic_finding(["riskwatch.fills is missing: run `riskwatch topics create`"]).seen
    'riskwatch.fills is missing'
    """
    if not wrong:
        return Finding("topics", "ok", f"all {len(TOPICS)} as they should be")
    more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    create = "run `riskwatch topics create`"
    shown = "; ".join(line.removesuffix(f": {create}") for line in wrong[:_SHOWN])
    do = f"{create}; it never deletes, and never changes partitions"
    return Finding("topics", "fail", shown + more, do)


def deployment_finding(facts: Facts) -> Finding | None:
    """Return the finding about the deployment, and whether the broker is its own.

    Examples
    --------
    >>> from riskwatch.store.deployment import Deployment
    >>> facts = Facts(deployment=Deployment(1, "prod", "c1", ""), cluster=("c2", ""))
    >>> deployment_finding(facts).status
    'fail'
    """
    found = facts.deployment
    if found is None:
        return None
    if found.id == EMBEDDED:
        do = "use a new one for workers, or `riskwatch db adopt --deployment NEW`"
        return Finding("deployment", "warn", f"{EMBEDDED}: a database of replays", do)
    if not found.cluster:
        return Finding("deployment", "ok", f"{found.id}, which has met no broker yet")
    own = (found.cluster, found.prefix)
    if facts.cluster is not None and facts.cluster != own and found.prefix is not None:
        do = (
            "name its own broker by RISKWATCH_KAFKA; for a copied database or a replaced broker, "
            "see `riskwatch db adopt --help`"
        )
        seen = f"{found.id} belongs to cluster {own[0]} (prefix {own[1]!r}), and this is another"
        return Finding("deployment", "fail", seen, do)
    return Finding("deployment", "ok", f"{found.id} of cluster {found.cluster}")


def lag_findings(facts: Facts) -> Iterator[Finding]:
    """Yield the lag of the workers per topic, if database and broker are known."""
    if facts.positions is None or facts.bounds is None:
        return
    for topic in CONSUMED_TOPICS:
        behind, lost, unknown = 0, 0, 0
        for n in range(topic.partitions):
            first, end = facts.bounds[topic.name, n]
            position = facts.positions.get(f"{topic.name}/{n}", first)
            behind += max(end - max(position, first), 0)
            lost += max(first - position, 0)
            unknown += max(position - end, 0)
        yield _lag(topic.name, behind, lost, unknown)


def _lag(name: str, behind: int, lost: int, unknown: int) -> Finding:
    check = f"lag of {name}"
    if lost:
        do = "workers refuse to skip them: restore the topic, or rebuild from its source"
        return Finding(check, "fail", f"{lost} records expired before they were applied", do)
    if unknown:
        do = "it was emptied or is another topic; workers refuse to go on with it"
        seen = f"the database is {unknown} records ahead of the broker"
        return Finding(check, "fail", seen, do)
    if behind > LAG_WARNING:
        do = "see whether its worker runs, and whether the number falls"
        return Finding(check, "warn", f"{behind} records behind", do)
    return Finding(check, "ok", f"{behind} records behind")
