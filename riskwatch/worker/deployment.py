"""A worker's check that the broker belongs to its database; every kind of worker begins with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from riskwatch.kafka.topics import cluster_id
from riskwatch.store.deployment import meet_broker

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from riskwatch.contracts.connection import KafkaConnection
    from riskwatch.engine.retry import Retry
    from riskwatch.store.deployment import Deployment

log = structlog.get_logger("riskwatch.worker")


def meet_own_broker(
    engine: Engine, connection: KafkaConnection, retry: Retry
) -> tuple[Deployment, bool]:
    """Return the deployment of a database, and whether it meets this broker for the first time.

    Raises
    ------
    StoreError
        If the database belongs to another broker; see
        :func:`riskwatch.store.deployment.meet_broker`.
    StoppedError
        If the process is asked to stop meanwhile.
    """
    cluster = retry.ask_broker("cluster", lambda: cluster_id(connection))
    found, first = retry.ask_store(
        "deployment", lambda: meet_broker(engine, cluster, connection.prefix, connection.servers)
    )
    if first:
        log.info(
            "met its broker", deployment=found.id, cluster=cluster, prefix=connection.prefix or None
        )
    return found, first
