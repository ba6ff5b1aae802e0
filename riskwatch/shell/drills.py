"""Drills: the real way to every order path and back, on a topic of its own, and nothing changed."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from riskwatch.contracts.acks import ACKS, DRILLS, Ack, Drill, DrillAck, decode_ack, encode
from riskwatch.core.scopes import parse
from riskwatch.errors import BrokerError, RiskwatchError
from riskwatch.store.clients import quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from riskwatch.contracts.connection import KafkaConnection

SWITCHES: Final = "riskwatch.killswitch"
RECENT: Final = timedelta(seconds=30)
"""A client that spoke within this time is expected to answer."""
PASSED, FAILED, DISTURBED = "passed", "failed", "disturbed"
_ASK_MS: Final = 10_000
_POLL_MS: Final = 20


class Answered(msgspec.Struct, frozen=True):
    """One client at a drill.

    Attributes
    ----------
    client : str
        Who.
    stopped_s : float
        From just before the drill was sent to when its copy of the table refused orders, by the
        two machines' clocks.
    round_trip_s : float
        From just before the drill was sent to its word here, by this machine's clock alone.
    problems : list of str
        What was not as it must be.
    """

    client: str
    stopped_s: float
    round_trip_s: float
    problems: list[str]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a drill.

    Attributes
    ----------
    outcome : str
        ``passed``; ``failed``: a client did not answer, or not as it must; ``disturbed``: a real
        decision was made meanwhile, so that nothing is shown about what did not change.
    p50_s, p99_s, slowest_s : float or None
        Round trips of the clients that answered.
    digest_before, digest_after : str
        Of the real table of scopes in SQL.
    switches_before, switches_after : int
        End of the real topic.
    """

    id: str
    scope: str
    person: str
    reason: str
    sent: datetime
    outcome: str
    problems: list[str]
    expected: list[str]
    answered: list[Answered]
    p50_s: float | None
    p99_s: float | None
    slowest_s: float | None
    digest_before: str
    digest_after: str
    switches_before: int
    switches_after: int


def run_drill(
    connection: KafkaConnection,
    drill: Drill,
    digest: Callable[[], str],
    *,
    expect: Sequence[str] = (),
    timeout_s: float = 10.0,
) -> Report:
    """Send a drill, and hear the answers.

    Parameters
    ----------
    connection : KafkaConnection
        The broker.
    drill : Drill
        What is exercised.
    digest : callable
        Digest of the real table of scopes, now.
    expect : sequence of str
        Clients that must answer, beside those that spoke lately.
    timeout_s : float
        How long answers are waited for, seconds.

    Raises
    ------
    BrokerError
        If the broker does not answer.
    RiskwatchError
        If the scope is none.
    """
    try:
        parse(drill.scope)
    except ValueError as error:
        raise RiskwatchError(f"drill: {error}") from error
    with _clients(connection) as (producer, consumer):
        expected = sorted({*_speaking(connection, consumer), *expect})
        before = digest(), _end(connection, consumer, SWITCHES)
        began, drill = time.monotonic(), msgspec.structs.replace(drill, ts=datetime.now(UTC))
        producer.send(connection.topic(DRILLS), encode(drill), key=drill.scope.encode()).get(
            timeout=timeout_s
        )
        answered = _answers(consumer, drill, set(expected), began, timeout_s)
        after = digest(), _end(connection, consumer, SWITCHES)
    return judged(drill, expected, answered, before, after)


def judged(
    drill: Drill,
    expected: list[str],
    answered: list[Answered],
    before: tuple[str, int],
    after: tuple[str, int],
) -> Report:
    """Say what came of it."""
    silent = sorted({*expected} - {found.client for found in answered})
    problems = [f"{client} did not answer" for client in silent]
    problems += [f"{found.client}: {what}" for found in answered for what in found.problems]
    if not expected and not answered:
        problems.append("there is no client to exercise")
    outcome = FAILED if problems else PASSED
    if before != after:
        problems.append("a real decision was made during the drill")
        outcome = FAILED if outcome == FAILED else DISTURBED
    times = sorted(found.round_trip_s for found in answered)
    return Report(
        id=drill.id,
        scope=drill.scope,
        person=drill.person,
        reason=drill.reason,
        sent=drill.ts,
        outcome=outcome,
        problems=problems,
        expected=expected,
        answered=sorted(answered, key=lambda found: found.client),
        p50_s=quantile(times, 0.5),
        p99_s=quantile(times, 0.99),
        slowest_s=times[-1] if times else None,
        digest_before=before[0],
        digest_after=after[0],
        switches_before=before[1],
        switches_after=after[1],
    )


def told(report: Report) -> str:
    """Report for people."""
    lines = [
        f"Drill {report.id} of {report.scope}: {report.outcome.upper()}",
        f"sent {report.sent.isoformat()} by {report.person}: {report.reason}",
        f"{len(report.answered)} clients answered, {len(report.expected)} were expected",
    ]
    if report.slowest_s is not None:
        lines.append(
            f"round trip p50 {report.p50_s:.3f} s, p99 {report.p99_s:.3f} s, "
            f"slowest {report.slowest_s:.3f} s"
        )
    lines += [
        f"  {found.client}: stopped after {found.stopped_s:.3f} s, heard after "
        f"{found.round_trip_s:.3f} s"
        for found in report.answered
    ]
    same = "the same before and after" if report.digest_before == report.digest_after else "CHANGED"
    lines.append(f"real table of scopes: {same} ({report.digest_after})")
    lines.append(f"real topic: ended at {report.switches_before}, then {report.switches_after}")
    lines += [f"PROBLEM: {what}" for what in report.problems]
    return "\n".join(lines) + "\n"


@contextmanager
def _clients(connection: KafkaConnection) -> Iterator[tuple[Any, Any]]:
    made: list[Any] = []
    try:
        options = {**connection.options(), "bootstrap_timeout_ms": _ASK_MS}
        made.append(KafkaProducer(**options, linger_ms=0, max_block_ms=_ASK_MS))
        made.append(
            KafkaConsumer(
                **options, group_id=None, auto_offset_reset="none", enable_auto_commit=False
            )
        )
        yield made[0], made[1]
    except KafkaError as error:
        raise BrokerError(f"{connection.servers}: {error}") from error
    finally:
        for client in made:
            client.close()


def _end(connection: KafkaConnection, consumer: Any, name: str) -> int:
    part = TopicPartition(connection.topic(name), 0)
    ends: dict[TopicPartition, int] = consumer.end_offsets([part], timeout_ms=_ASK_MS)
    return ends[part]


def _speaking(connection: KafkaConnection, consumer: Any) -> Iterator[str]:
    """Clients that spoke lately; leaves the consumer at the end of their topic."""
    part = TopicPartition(connection.topic(ACKS), 0)
    consumer.assign([part])
    end = consumer.end_offsets([part], timeout_ms=_ASK_MS)[part]
    consumer.seek(part, consumer.beginning_offsets([part], timeout_ms=_ASK_MS)[part])
    last: dict[bytes, tuple[int, bytes | None]] = {}
    while consumer.position(part) < end:
        for records in consumer.poll(_POLL_MS).values():
            last |= {record.key: (record.timestamp, record.value) for record in records}
    since = (datetime.now(UTC) - RECENT).timestamp() * 1000
    for at, value in last.values():
        ack = _read(value)
        if at >= since and isinstance(ack, Ack) and not ack.ended:
            yield ack.client


def _read(value: bytes | None) -> Ack | DrillAck | None:
    try:
        return None if value is None else decode_ack(value)
    except ValueError:
        return None


def _answers(
    consumer: Any, drill: Drill, missing: set[str], began: float, timeout_s: float
) -> list[Answered]:
    found: dict[str, Answered] = {}
    # Those that nobody expected may answer too, and count.
    while time.monotonic() - began < timeout_s and (missing or not found):
        for records in consumer.poll(_POLL_MS).values():
            now = time.monotonic()
            for record in records:
                ack = _read(record.value)
                if isinstance(ack, DrillAck) and ack.drill == drill.id:
                    found.setdefault(ack.client, _answered(ack, drill, now - began))
                    missing.discard(ack.client)
    return list(found.values())


def _answered(ack: DrillAck, drill: Drill, took: float) -> Answered:
    checks = {
        "an order in the scope was not refused": ack.refused,
        "a cancel was refused": ack.cancelled,
        "its real table changed": ack.digest_before == ack.digest_after,
        "what its real table says of the order changed": ack.real_before is ack.real_after,
        "it answered for another scope": ack.scope == drill.scope,
    }
    stopped = (ack.applied_ts - drill.ts).total_seconds()
    problems = [what for what, fine in checks.items() if not fine]
    return Answered(ack.client, stopped, took, problems)
