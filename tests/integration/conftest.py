"""Fixtures of the integration tests."""

from __future__ import annotations

from tests.support.kafka import kafka_broker, kafka_node, kafka_prefix
from tests.support.mirror import mirror_db, mirror_template, redis_plain
from tests.support.postgres import postgres_own, postgres_server, postgres_url
from tests.support.redis import redis_own, redis_server, redis_url

__all__ = [
    "kafka_broker",
    "kafka_node",
    "kafka_prefix",
    "mirror_db",
    "mirror_template",
    "postgres_own",
    "postgres_server",
    "postgres_url",
    "redis_own",
    "redis_plain",
    "redis_server",
    "redis_url",
]
