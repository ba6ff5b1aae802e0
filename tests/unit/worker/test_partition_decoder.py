"""Messages become records: misplaced ones are refused, and nothing raises."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner import DefaultPartitioner

from riskwatch.contracts.codec import encode
from riskwatch.contracts.outputs import encode_internal
from riskwatch.contracts.record_signing import SIGNATURE, signature_header
from riskwatch.contracts.refusal import Refusal
from riskwatch.contracts.signing import public_key_text
from riskwatch.core.clock import SECOND, micros
from riskwatch.core.enums import RejectReason
from riskwatch.core.events import Command, Credit, Fill
from riskwatch.core.readings import CounterpartyReading, FlowFeatures
from riskwatch.engine.record import NO_EVENT_TIME, InputRecord
from riskwatch.worker.merge import (
    EventTimeMerge,
    InboundMessage,
    PartitionCursor,
    PartitionDecoder,
    SourceProofs,
    partition_of,
)
from tests.support.people import command
from tests.support.toy import START_S, credit_line, fill_line, quote_line
from tests.support.units import read_last

HOME = partition_of(b"kraken", 8)
ARRIVED = (START_S + 1) * SECOND


def message(value: bytes | None, key: bytes | None = b"kraken") -> InboundMessage:
    """One message at offset 7."""
    return InboundMessage(7, ARRIVED, key, value, (("trace", b"1"),))


class Cluster:
    """What a partitioner asks of a cluster of one topic."""

    def __init__(self, partitions: int) -> None:
        self.partitions = set(range(partitions))

    def topics(self) -> list[str]:
        """Names."""
        return ["t"]

    def partitions_for_topic(self, topic: str) -> set[int]:
        """All of them."""
        del topic
        return self.partitions

    available_partitions_for_topic = partitions_for_topic


@given(st.binary(), st.integers(1, 64))
def test_keys_belong_where_kafkas_own_producers_put_them(key: bytes, partitions: int) -> None:
    """The same partition as the default partitioner's, for any key and count."""
    wanted = DefaultPartitioner().partition("t", key, key, b"", b"", Cluster(partitions))
    assert partition_of(key, partitions) == wanted


def test_an_event_in_its_place_is_read() -> None:
    """With its time, and everything that came with it."""
    record = read_last(f"riskwatch.fills/{HOME}", 8, message(fill_line(1, 5)))
    assert isinstance(record.event, Fill)
    assert record.us == (START_S + 5) * SECOND
    assert (record.stream, record.position) == (f"riskwatch.fills/{HOME}", 7)
    assert (record.key, record.arrived_us) == (b"kraken", ARRIVED)
    assert record.headers == (("trace", b"1"),)


@pytest.mark.parametrize(
    ("partition", "key", "why"),
    [
        (HOME, None, "the key must be 'kraken', was None"),
        (HOME, b"Kraken", "the key must be 'kraken', was b'Kraken'"),
        (HOME, b"\xff", "the key must be 'kraken', was"),
        (HOME + 1, b"kraken", f"key 'kraken' belongs in partition {HOME} of 8, was in {HOME + 1}"),
    ],
)
def test_an_event_elsewhere_is_refused(partition: int, key: bytes | None, why: str) -> None:
    """Under another key, or where its key does not belong: twice, for homes are remembered."""
    wrong = message(fill_line(1, 5), key)
    for times in (1, 2):
        record = read_last(f"riskwatch.fills/{partition}", 8, *[wrong] * times)
        assert isinstance(record.event, Refusal)
        assert record.event.reason is RejectReason.KEY_MISMATCH
        assert why in record.event.detail
        assert (record.us, record.raw) == (NO_EVENT_TIME, fill_line(1, 5))


@pytest.mark.parametrize(
    ("stream", "line", "kind"),
    [
        ("riskwatch.quotes/0", credit_line(1, 5), "credit"),
        ("riskwatch.quotes/0", encode(command("ann", "release", 1)), "command"),
        ("riskwatch.credit/0", quote_line(1, 5), "quote"),
        ("riskwatch.credit/0", encode(command("ann", "release", 1)), "command"),
        ("riskwatch.commands/0", credit_line(1, 5), "credit"),
    ],
)
def test_a_topic_takes_what_it_carries(stream: str, line: bytes, kind: str) -> None:
    """The right to write quotes is no right to publish news or commands."""
    record = read_last(stream, 1, message(line, None))
    assert isinstance(record.event, Refusal)
    assert record.event.reason is RejectReason.NOT_ROUTED
    assert record.event.detail == f"type={kind} is not of {stream.partition('/')[0]}"


def test_one_partition_takes_any_key() -> None:
    """Nothing can be in the wrong half."""
    record = read_last("riskwatch.quotes/0", 1, message(quote_line(1, 5), None))
    assert record.us == (START_S + 5) * SECOND


@given(st.one_of(st.none(), st.binary()))
def test_rubbish_is_refused(value: bytes | None) -> None:
    """No bytes make it raise, and a message without a value is no event."""
    for stream in ("riskwatch.fills/0", "riskwatch.readings/0"):
        record = read_last(stream, 8, message(value))
        assert isinstance(record.event, Refusal)
        assert (record.us, record.raw) == (NO_EVENT_TIME, value or b"")


def test_readings_are_read_on_their_topic_alone() -> None:
    """By the codec of what travels between workers."""
    flow = FlowFeatures(0.1, 0.0, 0, 0, 0, {}, {}, 0.0, 0)
    reading = CounterpartyReading(START_S * SECOND, "kraken", [], [], flow)
    raw = encode_internal(reading)
    record = read_last("riskwatch.readings/0", 8, message(raw, None))
    assert (record.event, record.us) == (reading, START_S * SECOND)
    assert isinstance(read_last("riskwatch.pegs/0", 1, message(raw)).event, Refusal)
    found = read_last("riskwatch.readings/0", 8, message(fill_line(1, 0))).event
    assert isinstance(found, Refusal)
    assert found.detail.startswith("not a reading")


def test_a_header_without_a_value_has_an_empty_one() -> None:
    """Kafka allows it; what keeps headers does not."""
    odd = InboundMessage(1, 0, None, b"", (("trace", None), ("b", b"1")))
    assert read_last("riskwatch.pegs/0", 1, odd).headers == (("trace", b""), ("b", b"1"))


@pytest.mark.parametrize("ahead_s", [6, 10 * 365 * 86400])
@pytest.mark.parametrize("stamped", [False, True])
def test_the_brokers_clock_bounds_every_event(ahead_s: int, *, stamped: bool) -> None:
    """Whoever stamped it: what is ahead of the broker is refused, and holds nothing up."""
    line = json.loads(fill_line(1, ahead_s))
    if stamped:
        line["arrived"] = line["ts"]
    sent = InboundMessage(1, START_S * SECOND, b"kraken", json.dumps(line).encode(), ())
    record = read_last(f"riskwatch.fills/{HOME}", 8, sent)
    assert isinstance(record.event, Refusal)
    assert record.event.reason is RejectReason.TS_FROM_FUTURE
    assert record.us == NO_EVENT_TIME


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"reason": "seen\u202eton"}, "reason must not hold the character U+202E"),
        ({"reason": "one\nann: approved"}, "reason must not hold the character U+000A"),
        ({"operator": "\u0430nn"}, "operator must be written in one script"),
        ({}, None),
    ],
)
def test_a_command_that_hides_something_is_refused(
    change: dict[str, str], detail: str | None
) -> None:
    """A reason is one visible line, and an operator's name looks like no other name."""
    made = msgspec.structs.replace(command("ann", "halt", 1), **change)
    us = micros(made.ts) + SECOND
    found = read_last(
        "riskwatch.commands/0", 1, InboundMessage(7, us, made.scope.encode(), encode(made), ())
    ).event
    if detail is None:
        assert isinstance(found, Command)
    else:
        assert isinstance(found, Refusal)
        assert found.reason is RejectReason.FIELD_RANGE
        assert detail in found.detail


KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PROOFS = SourceProofs({"press": public_key_text(KEY.public_key())}, "uat.{}".format, "prod")


def news(headers: tuple[tuple[str, bytes | None], ...], line: bytes) -> InputRecord:
    """Return the record of a line of news with headers, of which `press` has a key."""
    stream = "riskwatch.credit/0"
    cursor = PartitionCursor("id", 0, 0, 0, 0)
    merge = EventTimeMerge({stream: cursor}, {stream: PartitionDecoder(stream, 1, None, PROOFS)})
    made = InboundMessage(7, ARRIVED, b"kraken", line, headers)
    (record,) = merge.put(stream, [made], 8)
    return record


def of_the_first_domain(topic: str, line: bytes) -> tuple[tuple[str, bytes], ...]:
    """Return a signature that does not cover the deployment."""
    parts = (topic.encode(), b"kraken", line)
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return ((SIGNATURE, KEY.sign(b"riskwatch/record/1" + framed)),)


def test_nobody_speaks_for_a_source_with_a_key() -> None:
    """News in its name needs its signature, of this record, this topic and this deployment."""
    line = credit_line(1, 0)

    def signed(
        topic: str, value: bytes = line, key: bytes = b"kraken", of: str = "prod"
    ) -> tuple[Any, ...]:
        return (signature_header(KEY, of, topic, key, value),)

    assert isinstance(news(signed("uat.riskwatch.credit"), line).event, Credit)
    forged = [
        (),
        (("rw-signature", None),),
        (("rw-signature", b"x" * 64),),
        signed("riskwatch.credit"),
        signed("uat.riskwatch.credit", credit_line(2, 0)),
        signed("uat.riskwatch.credit", line, b"ftx"),
        signed("uat.riskwatch.credit") * 2,
        signed("uat.riskwatch.credit", of="staging"),
        signed("uat.riskwatch.credit", of=""),
        of_the_first_domain("uat.riskwatch.credit", line),
    ]
    for headers in forged:
        event = news(headers, line).event
        assert isinstance(event, Refusal)
        assert event.reason is RejectReason.SIGNATURE_INVALID
        assert event.detail.endswith("sign this for uat.riskwatch.credit of deployment prod")
    netting = json.dumps(
        {"type": "netting_set", "v": 1, "event_id": "n", "source": "press", "accounts": ["a"],
         "ts": "2023-03-11T02:00:00Z", "counterparty": "kraken", "netting_set": "n",
         "enforceable": True}
    ).encode()  # fmt: skip
    assert isinstance(news((), netting).event, Refusal)


def test_sources_without_a_key_are_as_before() -> None:
    """Their news needs no signature."""
    line = credit_line(1, 0).replace(b'"press"', b'"rumour"')
    assert isinstance(news((), line).event, Credit)
