"""The tables that a worker resumes from, and those of the messages that it refused."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Table, Text

from riskwatch.store.types import METADATA, FreeText, Json, UtcTime

LEASE: Final = Table(
    "lease",
    METADATA,
    Column("worker", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("taken_at", UtcTime, nullable=False),
    Column("renewed_at", UtcTime, nullable=False),
)
"""Leases: which process may write for a worker. Their times are by wall clock."""

DEPLOYMENT: Final = Table(
    "deployment",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False),
    Column("cluster", Text, nullable=False),
    Column("prefix", Text, nullable=True),
    Column("ts", UtcTime, nullable=False),
    Column("person", FreeText, nullable=False),
    Column("reason", FreeText, nullable=False),
)
"""Deployment ids of the database; the entry with the greatest number holds. Its times are by wall
clock."""

HEARTBEAT: Final = Table(
    "heartbeat",
    METADATA,
    Column("worker", Text, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
    Column("ts", UtcTime, nullable=False),
    Column("valid_until", UtcTime, nullable=False),
)
"""The last heartbeat that a worker published: until when it confirms the table of scopes."""

STREAM_OFFSET: Final = Table(
    "stream_offset",
    METADATA,
    Column("worker", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("identity", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("records", BigInteger, nullable=False),
)

WORKER_PROGRESS: Final = Table(
    "worker_progress",
    METADATA,
    Column("worker", Text, primary_key=True),
    Column("read", BigInteger, nullable=False),
    Column("applied", BigInteger, nullable=False),
    Column("duplicate", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("us", BigInteger, nullable=False),
    Column("next_seq", BigInteger, nullable=False),
    Column("next_journal", BigInteger, nullable=False),
    Column("engine", Text, nullable=False),
    Column("state_format", Integer, nullable=False),
)

STATE_ROW: Final = Table(
    "state_row",
    METADATA,
    Column("worker", Text, primary_key=True),
    Column("stage", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

RISK_JOURNAL: Final = Table(
    "risk_journal",
    METADATA,
    Column("worker", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("us", BigInteger, nullable=False),
    Column("day", Text, nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)

DEAD_LETTER: Final = Table(
    "dead_letter",
    METADATA,
    Column("worker", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("reason", Text, nullable=False, index=True),
    Column("detail", FreeText, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("payload_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("key", LargeBinary, nullable=True),
    Column("headers", Json, nullable=False),
    Column("us", BigInteger, nullable=False),
)

OUTBOX: Final = Table(
    "outbox",
    METADATA,
    Column("worker", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("ts", UtcTime, nullable=False),
    Column("raw_key", LargeBinary, nullable=True),
    Column("headers", Json, nullable=True),
)

TICKS: Final = "tick"
"""Stream name of the place of a tick at which a stage fails."""

COMMITS: Final = "commit"
"""Stream that a batch of several inputs is noted under, when it cannot be stored; its position is
the number of records read by then. The worker commits its inputs one by one up to there."""

STAGE_FAULT: Final = Table(
    "stage_fault",
    METADATA,
    Column("worker", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("crashes", Integer, nullable=False),
    Column("error", FreeText, nullable=False),
)
"""Places at which a stage raised. The worker stops, and stays down after the third time."""

QUARANTINE: Final = Table(
    "quarantine",
    METADATA,
    Column("worker", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("person", Text, primary_key=True),
    Column("reason", FreeText, nullable=False),
)
"""Requests of people to quarantine a message; two people are required."""

REPLAYED: Final = Table(
    "dead_letter_replayed",
    METADATA,
    Column("worker", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("person", Text, nullable=False),
)
"""Dead letters that were replayed, and by whom."""
