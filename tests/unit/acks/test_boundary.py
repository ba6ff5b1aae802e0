"""The boundary of the topic that clients write: hostile records, signatures, and bounds."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from riskwatch.acks.acknowledgements import MAX_CLIENTS, MAX_UNKNOWN, Acknowledgements
from riskwatch.acks.boundary import (
    ALERT_FOR,
    MAX_KEPT,
    MAX_LETTERS,
    MAX_SKEW,
    AckBoundary,
    AckRecord,
    Forget,
    RefusedRecords,
)
from riskwatch.acks.worker import (
    MAX_LATE_ALERTS,
    MORE_LATE,
    arrival,
    late_alerts,
    output_of,
    sequence_number,
)
from riskwatch.client.errors import ClientError
from riskwatch.client.guard.ack_publisher import AckPublisher
from riskwatch.contracts.acks import Ack, AppliedScope, DrillAck, Used, encode_ack
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.contracts.record_signing import SIGNATURE, signature_header
from riskwatch.contracts.refusal import Refusal
from riskwatch.contracts.signing import public_key_text
from riskwatch.core.enums import RejectReason, State
from tests.support.mirror import switch

NOW = datetime(2023, 3, 11, 3, 0, tzinfo=UTC)
TOPIC = "uat.riskwatch.acks"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
KEYS = {"desk": public_key_text(KEY.public_key())}


def ack(client: str = "desk", **changes: Any) -> Ack:
    """Return an honest acknowledgement."""
    given: dict[str, Any] = {
        "client": client, "started": NOW, "epoch": 1, "seq": 1, "beat_seq": 1, "beat_ts": NOW,
        "digest": "x", "floor": State.NORMAL, "why": "", "left_out": 0,
        "scopes": {"firm": AppliedScope(state=State.HALT, decision_id="d", seq=1, applied_ts=NOW)},
        "unwound": {"d": Used(usd=1.5, orders=2)}, "sources": {"kafka": "ok"}, "sent_ts": NOW,
    }  # fmt: skip
    return Ack(**given | changes)


def drill_ack(client: str = "desk", drill: str = "d") -> DrillAck:
    """Return an honest answer to a drill."""
    return DrillAck(
        drill=drill, client=client, scope="firm", applied_ts=NOW, refused=True, cancelled=True,
        digest_before="x", digest_after="x", real_before=State.NORMAL, real_after=State.NORMAL,
        sources={}, sent_ts=NOW,
    )  # fmt: skip


def record(
    said: Ack | DrillAck | bytes | None, key: str = "desk", at: datetime = NOW, **changes: Any
) -> AckRecord:
    """Return a record of the topic."""
    value = encode_ack(said) if isinstance(said, Ack | DrillAck) else said
    given: dict[str, Any] = {
        "offset": 7,
        "key": key.encode(),
        "value": value,
        "headers": (),
        "arrived": at,
    }
    return AckRecord(**given | changes)


def signed(
    said: Ack | DrillAck | None,
    key: str = "desk",
    private: Any = KEY,
    topic: str = TOPIC,
    of: str = "prod",
) -> AckRecord:
    """Return a record with a signature."""
    made = record(said, key)
    header = signature_header(private, of, topic, made.key or b"", made.value or b"")
    return record(said, key, headers=(header,))


def spoilt(**changes: Any) -> bytes:
    """Return the bytes of an acknowledgement with other fields."""
    return json.dumps(json.loads(encode_ack(ack())) | changes).encode()


SCOPE = json.loads(encode_ack(ack()))["scopes"]["firm"]
HOSTILE = {
    "no json": (b"\xff{", RejectReason.UTF8_INVALID),
    "empty": (b"", RejectReason.MESSAGE_EMPTY),
    "another type": (b'{"type":"fill"}', RejectReason.FIELD_TYPE),
    "deep": (
        b'{"type":"ack","x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        RejectReason.JSON_MALFORMED,
    ),
    "large": (spoilt(why="x" * 2**20), RejectReason.MESSAGE_TOO_LARGE),
    "naive start": (spoilt(started="2023-03-11T03:00:00"), RejectReason.FIELD_TYPE),
    "naive sent": (spoilt(sent_ts="2023-03-11T03:00:00"), RejectReason.FIELD_TYPE),
    "naive beat": (spoilt(beat_ts="2023-03-11T03:00:00"), RejectReason.FIELD_TYPE),
    "naive applied": (
        spoilt(scopes={"firm": SCOPE | {"applied_ts": "2023-03-11T03:00:00"}}),
        RejectReason.FIELD_TYPE,
    ),
    "year 9999": (spoilt(started="9999-12-31T23:59:59Z"), RejectReason.TS_OUT_OF_RANGE),
    "year 1": (spoilt(sent_ts="0001-01-01T00:00:00Z"), RejectReason.TS_OUT_OF_RANGE),
    "applied in year 1": (
        spoilt(scopes={"firm": SCOPE | {"applied_ts": "0001-01-01T00:00:00Z"}}),
        RejectReason.TS_OUT_OF_RANGE,
    ),
    "2**63": (spoilt(seq=2**63), RejectReason.FIELD_RANGE),
    "2**70": (spoilt(epoch=2**70), RejectReason.FIELD_RANGE),
    "negative": (spoilt(seq=-1), RejectReason.FIELD_RANGE),
    "2**63 of a scope": (spoilt(scopes={"firm": SCOPE | {"seq": 2**63}}), RejectReason.FIELD_RANGE),
    "used below zero": (
        spoilt(unwound={"d": {"usd": -1, "orders": 1}}),
        RejectReason.FIELD_RANGE,
    ),
    "advised beyond SQL": (
        spoilt(advised={"d": {"usd": 1, "orders": 2**63}}),
        RejectReason.FIELD_RANGE,
    ),
    "infinite": (
        encode_ack(ack()).replace(b"1.5", b"1e999"),
        RejectReason.JSON_MALFORMED,
    ),
    "NUL": (spoilt(why="a\0b"), RejectReason.FIELD_RANGE),
    "NUL in a digest": (spoilt(digest="\0"), RejectReason.FIELD_RANGE),
    "NUL in a decision": (
        spoilt(scopes={"firm": SCOPE | {"decision_id": "\0"}}),
        RejectReason.FIELD_RANGE,
    ),
    "NUL in a name": (spoilt(sources={"a\0": "ok"}), RejectReason.FIELD_RANGE),
    "a surrogate": (spoilt(why="\ud800"), RejectReason.JSON_MALFORMED),
    "no scope": (spoilt(scopes={"a b": SCOPE}), RejectReason.FIELD_RANGE),
    "no client": (spoilt(client="a\nb"), RejectReason.FIELD_RANGE),
    "many scopes": (
        spoilt(scopes={f"asset:A{n}": SCOPE for n in range(1_001)}),
        RejectReason.FIELD_RANGE,
    ),
    "many unwinds": (
        spoilt(unwound={f"d{n}": {"usd": 1, "orders": 1} for n in range(1_001)}),
        RejectReason.FIELD_RANGE,
    ),
    "a key twice": (
        encode_ack(ack()).replace(b'"seq":1', b'"seq":1,"seq":2', 1),
        RejectReason.KEY_DUPLICATED,
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_records_are_refused_with_a_reason(name: str) -> None:
    """None raises, and none becomes an acknowledgement."""
    raw, reason = HOSTILE[name]
    found = AckBoundary(TOPIC, {}, "prod").read(record(raw))
    assert isinstance(found, Refusal)
    assert found.reason is reason, found


@given(st.binary(max_size=300), st.one_of(st.none(), st.binary(max_size=30)))
def test_any_bytes_are_read(value: bytes, key: bytes | None) -> None:
    """Whatever is there, the answer is an answer."""
    boundary = AckBoundary(TOPIC, KEYS, "prod")
    found = boundary.read(AckRecord(0, key, value, ((SIGNATURE, None),), NOW))
    assert isinstance(found, Refusal | Ack | DrillAck)


def test_honest_records_are_read() -> None:
    """An acknowledgement, an answer, a request to forget, each under the key of its client."""
    boundary = AckBoundary(TOPIC, {}, "prod")
    assert boundary.read(record(ack())) == ack()
    assert boundary.read(record(drill_ack(), "desk/drill")) == drill_ack()
    assert boundary.read(record(None, "desk")) == Forget("desk")
    for wrong in (record(ack(), "bob"), record(drill_ack(), "desk"), record(ack(), "desk/drill")):
        found = boundary.read(wrong)
        assert isinstance(found, Refusal)
        assert found.reason is RejectReason.KEY_MISMATCH
    for key in (b"", b"a\0b", b"\xff", b"desk/drill", None):
        found = boundary.read(AckRecord(0, key, None, (), NOW))
        assert isinstance(found, Refusal)
        assert found.reason is RejectReason.KEY_MISMATCH


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param(record(ack(ended=True)), id="unsigned"),
        pytest.param(record(ack(), headers=((SIGNATURE, b""),)), id="empty signature"),
        pytest.param(signed(ack(ended=True), private=OTHER), id="another's signature"),
        pytest.param(signed(ack(), topic="prod.riskwatch.acks"), id="of another topic"),
        pytest.param(signed(ack(), of="staging"), id="of another deployment"),
        pytest.param(signed(drill_ack(), "desk/drill", of="staging"), id="answer of another one"),
        pytest.param(signed(ack(), of=""), id="of no deployment"),
        pytest.param(
            record(ack(ended=True), headers=signed(ack()).headers), id="signature of another one"
        ),
        pytest.param(record(ack(), headers=signed(ack()).headers * 2), id="two signatures"),
        pytest.param(record(drill_ack(), "desk/drill"), id="unsigned answer"),
        pytest.param(record(None), id="forgotten"),
        pytest.param(signed(None), id="forgotten by itself"),
    ],
)
def test_nobody_speaks_for_a_client_with_a_key(forged: AckRecord) -> None:
    """A forged end, acknowledgement, answer or request to forget is refused."""
    found = AckBoundary(TOPIC, KEYS, "prod").read(forged)
    assert isinstance(found, Refusal)
    assert found.reason is RejectReason.SIGNATURE_INVALID


def test_a_client_with_a_key_is_heard() -> None:
    """Its own signature counts, and clients without a key are as before."""
    boundary = AckBoundary(TOPIC, KEYS, "prod")
    assert boundary.read(signed(ack())) == ack()
    assert boundary.read(signed(drill_ack(), "desk/drill")) == drill_ack()
    assert boundary.read(record(ack("bob", ended=True), "bob")) == ack("bob", ended=True)


def test_a_client_with_a_key_signs_nothing_before_it_knows_its_deployment() -> None:
    """Such a signature would be valid for no deployment, and the operator reads why it is late."""
    nobody = KafkaConnection(servers="127.0.0.1:1", prefix="uat.")
    publisher = AckPublisher(nobody, "desk", ack, KEY)
    with pytest.raises(ClientError, match="nothing is signed before the deployment is known"):
        publisher._send()


def test_a_signed_record_cannot_be_sent_again_later() -> None:
    """A copy of an earlier one, or of a time long ago, is refused; the same one twice is not."""
    boundary, second = AckBoundary(TOPIC, KEYS, "prod"), timedelta(seconds=1)
    ended = signed(ack(ended=True, sent_ts=NOW))
    assert boundary.read(ended) == boundary.read(ended)
    assert isinstance(boundary.read(signed(ack(sent_ts=NOW + second))), Ack)
    found = boundary.read(ended)
    assert isinstance(found, Refusal)
    assert found.reason is RejectReason.FACT_TOO_LATE
    for off in (MAX_SKEW + second, -MAX_SKEW - second):
        late = record(ack(), at=NOW + off, headers=signed(ack()).headers)
        found = AckBoundary(TOPIC, KEYS, "prod").read(late)
        assert isinstance(found, Refusal)
        assert found.reason is RejectReason.FACT_TOO_LATE


@pytest.mark.parametrize("other", ["staging", "embedded"])
def test_a_client_of_another_deployment_is_refused(other: str) -> None:
    """Its acknowledgements and answers are dead letters that name both; those of none count."""
    boundary = AckBoundary(TOPIC, {}, "prod")
    answer = msgspec.structs.replace(drill_ack(), deployment=other)
    for found in (
        boundary.read(record(ack(deployment=other))),
        boundary.read(record(answer, "desk/drill")),
    ):
        assert isinstance(found, Refusal)
        assert found.reason is RejectReason.DEPLOYMENT_FOREIGN
        assert f"obeys deployment {other}, this is prod" in found.detail
    for own in ("prod", ""):
        assert boundary.read(record(ack(deployment=own))) == ack(deployment=own)


def test_dead_letters_are_bounded_per_client_and_told() -> None:
    """Sixty in an hour for each, none twice, and an alert for ten minutes after the last."""
    refused, bad = RefusedRecords(known={0, 1}), Refusal(RejectReason.FIELD_TYPE, "epoch")
    for n in range(MAX_LETTERS + 20):
        refused.add(record(b"{", "loud", offset=n), bad)
    refused.add(record(b"{", "quiet", offset=1_000), bad)
    refused.add(record(b"{", "quiet", offset=1_000), bad)
    letters = refused.take_letters()
    assert [x.position for x in letters] == [*range(2, MAX_LETTERS), 1_000]
    assert refused.take_letters() == []
    assert refused.total == MAX_LETTERS + 22
    assert letters[-1].reason is RejectReason.FIELD_TYPE
    assert refused.alert_reason(NOW + ALERT_FOR) == "'quiet': FIELD_TYPE: epoch"
    assert not refused.alert_reason(NOW + ALERT_FOR + timedelta(seconds=1))
    refused.add(record(b"x" * (MAX_KEPT + 1), "loud", NOW + timedelta(hours=1), offset=2_000), bad)
    (large,) = refused.take_letters()
    assert (len(large.payload), dict(large.headers)["size"]) == (MAX_KEPT, b"65537")


def test_random_scopes_cost_no_memory() -> None:
    """Three hundred messages of five hundred scopes each keep a handful, and none of it in SQL."""
    acks = Acknowledgements()
    acks.add_switch(switch("asset:USDC", State.HALT, 1), 1, NOW)
    applied = AppliedScope(state=State.HALT, decision_id="decision-1", seq=1, applied_ts=NOW)
    for n in range(300):
        scopes = {f"asset:R{n}-{m}": applied for m in range(500)} | {"asset:USDC": applied}
        assert acks.add_ack(ack("flood", scopes=scopes, started=NOW), NOW) is None
    kept = acks.received["flood"].ack
    assert len(kept.scopes) == MAX_UNKNOWN + 1
    assert kept.left_out == 500 - MAX_UNKNOWN
    stored = sum(len(each) for s in (acks._first, acks._written) for each in s.values())
    assert stored <= 2 * (MAX_UNKNOWN + 1)
    assert [row[1] for row in acks.new_ack_times()] == ["asset:USDC"]


def test_there_is_room_for_clients_with_a_key() -> None:
    """Invented clients fill the table; a known one comes in, and ended ones make room."""
    acks = Acknowledgements(keyed=KEYS)
    for n in range(MAX_CLIENTS):
        assert acks.add_ack(ack(f"c{n}", ended=n == 5), NOW) is None
    assert acks.add_ack(ack("new"), NOW) is None
    assert "c5" not in acks.received
    full = acks.add_ack(ack("newer"), NOW)
    assert full is not None
    assert full.reason is RejectReason.LIMIT_REACHED
    assert acks.add_ack(ack("desk"), NOW) is None
    assert len(acks.received) == MAX_CLIENTS + 1


def test_invented_clients_raise_a_bounded_number_of_alerts() -> None:
    """Those that are known longest have alerts of their own, and one alert counts all others."""
    acks = Acknowledgements()
    for n in range(MAX_LATE_ALERTS + 50):
        acks.add_ack(ack(f"c{n}", scopes={}), NOW)
    acks.add_switch(switch("firm", State.HALT, 1), 1, NOW)
    found = late_alerts(acks.late_clients(NOW + timedelta(seconds=9)), 1)
    assert len(found) == MAX_LATE_ALERTS + 1
    assert "client:c0|firm" in found
    assert found[MORE_LATE].reasons == ["50 more, such as c100 (firm)"]


def test_a_client_cannot_start_in_the_future() -> None:
    """A start after the first arrival counts as that arrival, so that its times are measured."""
    acks, second = Acknowledgements(), timedelta(seconds=1)
    future = {"started": NOW + timedelta(days=1)}
    acks.add_ack(ack("ahead", scopes={}, **future), NOW)
    acks.add_switch(switch("firm", State.HALT, 1), 1, NOW + second)
    applied = AppliedScope(state=State.HALT, decision_id="decision-1", seq=1, applied_ts=NOW)
    acks.add_ack(ack("ahead", scopes={"firm": applied}, **future), NOW + 2 * second)
    (row,) = acks.new_ack_times()
    assert row[-1] == 1.0


@pytest.mark.parametrize("stamp", [-1, 0, 2**63 - 1])
def test_any_time_of_a_record_is_a_time(stamp: int) -> None:
    """A topic that takes the producer's times may hold any number."""
    assert arrival(stamp).tzinfo is not None


@pytest.mark.parametrize("text", [b"9" * 5_000, b"x", b"", None, b"\xb2"])
def test_any_header_gives_a_sequence_number(text: bytes | None) -> None:
    """What is no number is zero."""
    assert sequence_number([("rw-seq", text)]) == 0


@pytest.mark.parametrize("value", [None, b"", b"[" * 100_000, b"\xff", b'{"type":"Nothing"}'])
def test_any_output_is_read(value: bytes | None) -> None:
    """What is no output is passed over."""
    assert output_of(value) is None
