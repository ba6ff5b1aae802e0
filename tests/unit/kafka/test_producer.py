"""The Kafka publisher with a hand-written producer: order, headers, refusals and waits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.errors import MessageSizeTooLargeError

from riskwatch.errors import BrokerError, StoppedError
from riskwatch.kafka.producer import IN_ORDER, KafkaPublisher
from riskwatch.store.batch import OutboxRecord
from tests.support.producer import FakeKafka, Local


def out(seq: int, **changes: Any) -> OutboxRecord:
    """Make a record."""
    fields: dict[str, Any] = {"topic": "riskwatch.alerts", "key": f"k{seq}", "value": b"{}"}
    return OutboxRecord(seq=seq, ts=datetime.now(UTC), **fields | changes)


def test_records_carry_who_sent_them_and_their_place() -> None:
    """Deployment, worker, the epoch of now, and the seq that they had at first."""
    kafka = FakeKafka()
    publisher = KafkaPublisher(Local(kafka), "prod")
    publisher.set_leader("risk", 7)
    publisher.publish([out(3), out(4)])
    own = [("rw-worker", b"risk"), ("rw-epoch", b"7"), ("rw-deployment", b"prod")]
    assert kafka.sent == [
        ("p.riskwatch.alerts", b"k3", b"{}", [*own, ("rw-seq", b"3")]),
        ("p.riskwatch.alerts", b"k4", b"{}", [*own, ("rw-seq", b"4")]),
    ]
    publisher.set_leader("risk", 8)
    publisher.publish([out(4)])
    assert kafka.sent[2][3][1:] == [
        ("rw-epoch", b"8"), ("rw-deployment", b"prod"), ("rw-seq", b"4"),
    ]  # fmt: skip


def test_dead_letters_keep_their_own_key_and_headers() -> None:
    """Before ours."""
    kafka = FakeKafka()
    publisher = KafkaPublisher(Local(kafka), "prod")
    publisher.set_leader("risk", 1)
    publisher.publish([out(1, raw_key=None, headers=(("trace", b"1"),))])
    ((_, key, _, headers),) = kafka.sent
    assert (key, headers[0], headers[-1]) == (None, ("trace", b"1"), ("rw-seq", b"1"))


def test_an_absent_broker_is_waited_for_without_changing_the_order() -> None:
    """When it is opened, when there is no room, and until all is confirmed."""
    kafka = FakeKafka(busy=2, slow=2)
    local = Local(kafka, absent=1)
    KafkaPublisher(local, "prod").publish([out(n) for n in range(1, 6)])
    assert [key for _, key, _, _ in kafka.sent] == [b"k1", b"k2", b"k3", b"k4", b"k5"]
    assert local.told("riskwatch_retries_total", what="publish") == 5
    assert local.told("riskwatch_up", what="broker") == 1


def test_confirmed_records_tell_the_brokers_time() -> None:
    """The latest of them; a topic that keeps the senders' times tells nothing."""
    found: list[int] = []
    times = iter([1_000_000, 3_000_000, 2_000_000])
    kafka = FakeKafka(clock=lambda: next(times))
    KafkaPublisher(Local(kafka, note_broker=found.append), "prod").publish([out(1), out(2), out(3)])
    KafkaPublisher(Local(FakeKafka(), note_broker=found.append), "prod").publish([out(4)])
    assert found == [3_000_000, 0]


def test_a_refused_record_ends_the_worker() -> None:
    """The error names topic and place; it is still in the outbox."""
    local = Local(FakeKafka(refuse={2: MessageSizeTooLargeError("x")}))
    with pytest.raises(BrokerError, match=r"riskwatch\.alerts: record 2 was refused"):
        KafkaPublisher(local, "prod").publish([out(1), out(2), out(3)])


@pytest.mark.parametrize("where", ["opening", "sending", "confirming"])
def test_a_signal_ends_the_waiting_for_the_broker(where: str) -> None:
    """What was not confirmed stays in the outbox."""
    kafka = FakeKafka(busy=99 if where == "sending" else 0, slow=99 if where == "confirming" else 0)
    local = Local(kafka, absent=99 if where == "opening" else 0)
    local.stop.set()
    with pytest.raises(StoppedError):
        KafkaPublisher(local, "prod").publish([out(1)])
    assert local.told("riskwatch_up", what="broker") == 0


def test_closing_does_not_wait() -> None:
    """A broker that is away does not keep the process."""
    local = Local(FakeKafka())
    local.close()
    assert local.kafka.closed == []
    KafkaPublisher(local, "prod").publish([out(1)])
    local.close()
    local.close()
    assert local.kafka.closed == [0]


def test_a_record_that_is_sent_again_overtakes_nothing_and_counts_once() -> None:
    """The producer is an idempotent one with one request in flight: settings that Kafka knows."""
    assert IN_ORDER == {"enable_idempotence": True, "max_in_flight_requests_per_connection": 1}
    assert IN_ORDER.keys() <= KafkaProducer.DEFAULT_CONFIG.keys()
