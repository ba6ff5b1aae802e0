"""Subscribing to and publishing on a real broker."""

from __future__ import annotations

import gc
import logging
import queue
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from riskwatch.client import (
    BrokerError,
    CaughtUp,
    HistoryError,
    Message,
    Publisher,
    PublishError,
    TopicError,
    UnreadableError,
    alerts,
    killswitch,
    publish,
)
from riskwatch.contracts.codec import SIZE_LIMIT, decode, encode
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.contracts.refusal import Refusal
from riskwatch.contracts.topics import TOPICS, key_of, topic_of
from riskwatch.core.enums import RejectReason, State
from tests.support import batches
from tests.support.cluster import WAIT_S, Cluster, cluster
from tests.support.golden import goldens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from riskwatch.core.events import WireEvent
    from riskwatch.core.outputs import KillSwitchChanged
    from tests.support.kafka import Node

ALERTS = "riskwatch.alerts"
KILLSWITCH = "riskwatch.killswitch"
__all__ = ["cluster"]


@pytest.fixture
def leaks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Collect the sockets that kafka-python does not close when a connection is refused."""
    caplog.set_level(logging.CRITICAL, logger="kafka")  # its records hold on to them
    yield
    gc.collect()


refused = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


def switch(minute: float, scope: str, state: State = State.HALT) -> KillSwitchChanged:
    """Set the switch of any scope."""
    return msgspec.structs.replace(
        batches.killswitch(minute, state), scope=scope, id=f"{scope}@{minute}"
    )


def numbers(messages: list[Any]) -> list[int]:
    """Numbers of messages, in their order."""
    return [message.seq for message in messages]


def soon() -> Callable[[], bool]:
    """Make a `stop` that lets a test fail where it would wait for ever."""
    until = time.monotonic() + WAIT_S
    return lambda: time.monotonic() > until


def take(stream: Iterator[Any], count: int) -> list[Any]:
    """Read `count` items."""
    return [next(stream) for _ in range(count)]


def test_alerts_come_typed_with_their_envelope(cluster: Cluster) -> None:
    """Every kind of output of the topic arrives equal to what the worker wrote."""
    cluster.make(ALERTS)
    said = [
        batches.decision(1), batches.alert(1), batches.quality(1), batches.resolved(2),
        batches.quality_resolved(2),
    ]  # fmt: skip
    for seq, output in enumerate(said, 7):
        cluster.tell(output, seq, epoch=3)
    with alerts(cluster.connection, start="earliest", stop=soon()) as stream:
        got = take(stream, len(said))
    assert [message.output for message in got] == said
    assert got[1] == Message(ALERTS, "asset:USDC", "risk", 3, 8, said[1])


def test_latest_begins_with_what_comes(cluster: Cluster) -> None:
    """Without a group, what was said before is not told; `stop` ends the iteration."""
    cluster.make(ALERTS)
    cluster.tell(batches.alert(1), 1)
    stop = threading.Event()
    with alerts(cluster.connection, stop=stop.is_set) as stream:
        cluster.tell(batches.alert(2), 2)
        assert next(stream).seq == 2
        stop.set()
        assert list(stream) == []
    assert stream.closed


def test_a_time_to_begin_at(cluster: Cluster) -> None:
    """A start in the far past is the beginning, one in the future is the end."""
    cluster.make(ALERTS)
    cluster.tell(batches.alert(1), 1)
    with alerts(cluster.connection, start=batches.START, stop=soon()) as stream:
        assert next(stream).seq == 1
    stop = threading.Event()
    later = batches.START.replace(year=2100)
    with alerts(cluster.connection, start=later, stop=stop.is_set) as stream:
        assert stream.caught_up is False
        cluster.tell(batches.alert(2), 2)
        assert next(stream).seq == 2


def test_the_item_in_hand_comes_again_and_none_before_it(cluster: Cluster) -> None:
    """An offset is kept once the next item was asked for, neither earlier nor never."""
    cluster.make(ALERTS)
    for seq in range(1, 6):
        cluster.tell(batches.alert(seq), seq)
    with alerts(cluster.connection, "pager", "earliest", stop=soon()) as stream:
        assert numbers(take(stream, 3)) == [1, 2, 3]
    with alerts(cluster.connection, "pager", "latest", stop=soon()) as stream:
        assert numbers(take(stream, 3)) == [3, 4, 5]


READER = """
import sys
from riskwatch.client import alerts
from riskwatch.contracts.connection import KafkaConnection
connection = KafkaConnection(servers=sys.argv[1], prefix=sys.argv[2])
for message in alerts(connection, "pager", "earliest"):
    print(message.seq, flush=True)
    sys.stdin.readline()
"""


def test_a_killed_reader_loses_nothing(cluster: Cluster) -> None:
    """Resumed after SIGKILL: every alert comes, in order and once within each run."""
    cluster.make(ALERTS)
    everything = list(range(1, 101))
    for seq in everything:
        cluster.tell(batches.alert(seq), seq)

    def run(enough: Callable[[list[int]], bool]) -> list[int]:
        seen: list[int] = []
        args = [cluster.connection.servers, cluster.connection.prefix]
        child = subprocess.Popen(
            [sys.executable, "-c", READER, *args],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        with child:
            for line in child.stdout:
                seen.append(int(line))
                if enough(seen):
                    break
                child.stdin.write("\n")
                child.stdin.flush()
            child.kill()
        return seen

    first = run(lambda seen: len(seen) == 40)
    second = run(lambda seen: seen[-1] == 100)
    assert first == everything[:40]
    assert second == list(range(second[0], 101))
    assert second[0] <= 40


def test_repeats_and_voided_writers_are_dropped(cluster: Cluster) -> None:
    """A number once, an id once, and nobody speaks whose term is over."""
    cluster.make(ALERTS)
    for seq in (1, 2, 3, 2, 3):
        cluster.tell(batches.alert(seq), seq)
    cluster.tell(batches.alert(3), 4)
    cluster.tell(batches.alert(5), 5, epoch=2)
    cluster.tell(batches.alert(6), 6, epoch=1)
    cluster.tell(batches.alert(7), 6, epoch=2)
    cluster.tell(batches.alert(8), 1, worker="other")
    with alerts(cluster.connection, start="earliest", stop=soon()) as stream:
        got = take(stream, 6)
        assert [(message.worker, message.seq) for message in got] == [
            ("risk", 1), ("risk", 2), ("risk", 3), ("risk", 5), ("risk", 6), ("other", 1),
        ]  # fmt: skip
        assert (stream.order.repeated, stream.order.outdated) == (3, 1)


def test_a_replaced_database_is_seen(cluster: Cluster) -> None:
    """A worker that counts from one again, about other things, is not taken for a repeat."""
    cluster.make(ALERTS)
    cluster.tell(batches.alert(1), 1)
    cluster.tell(batches.alert(9), 1)
    with alerts(cluster.connection, start="earliest", stop=soon()) as stream:
        assert next(stream).seq == 1
        with pytest.raises(HistoryError, match="worker risk wrote number 1"):
            next(stream)


def test_what_cannot_be_read_is_never_swallowed(cluster: Cluster) -> None:
    """It raises, comes again for a group that did not go on, and can be gone on behind."""
    cluster.make(ALERTS)
    cluster.tell(batches.alert(1), 1)
    cluster.write(ALERTS, b"asset:USDC", b"{", rw_worker="risk", rw_epoch="1", rw_seq="2")
    cluster.tell(batches.alert(3), 3)
    for first in ([1], []):
        with alerts(cluster.connection, "pager", "earliest", stop=soon()) as stream:
            assert numbers(take(stream, len(first))) == first
            with pytest.raises(UnreadableError, match="offset 1 for 'asset:USDC'") as caught:
                next(stream)
            assert (caught.value.key, caught.value.offset) == ("asset:USDC", 1)
    with alerts(cluster.connection, "pager", stop=soon()) as stream:
        with pytest.raises(UnreadableError):
            next(stream)
        assert next(stream).seq == 3


def test_the_kill_switch_says_when_the_table_is_complete(cluster: Cluster) -> None:
    """First what is there, then the mark, then what comes; nothing goes backwards per scope."""
    cluster.make(KILLSWITCH)
    with killswitch(cluster.connection, soon()) as stream:
        assert next(stream) == CaughtUp(0)
    cluster.tell(switch(1, "asset:USDC"), 5)
    cluster.tell(switch(2, "asset:USDT"), 9)
    # A repeat of an older record of another scope, as compaction may leave it.
    cluster.tell(switch(1, "counterparty:kraken"), 4)
    cluster.tell(switch(1, "asset:USDC"), 5)
    with killswitch(cluster.connection, soon()) as stream:
        keys = [item.key for item in take(stream, 3)]
        assert keys == ["asset:USDC", "asset:USDT", "counterparty:kraken"]
        assert next(stream) == CaughtUp(3)
        cluster.tell(switch(0, "asset:USDT", State.NORMAL), 3)
        cluster.tell(switch(3, "asset:USDT", State.NORMAL), 10)
        news = next(stream)
        assert isinstance(news, Message)
        assert (news.seq, news.output.state) == (10, State.NORMAL)


@refused
@pytest.mark.usefixtures("leaks")
def test_a_restarted_broker_is_waited_for(kafka_node: Node) -> None:
    """A reader that follows outlives its broker, and misses nothing."""
    cluster = Cluster(KafkaConnection(servers=kafka_node.address, prefix="t."))
    cluster.make(ALERTS)
    got: queue.Queue[int] = queue.Queue()
    stop = threading.Event()

    def follow() -> None:
        with alerts(cluster.connection, "pager", "earliest", stop=stop.is_set) as stream:
            for message in stream:
                got.put(message.seq)

    cluster.tell(batches.alert(1), 1)
    reader = threading.Thread(target=follow)
    reader.start()
    try:
        assert got.get(timeout=WAIT_S) == 1
        kafka_node.stop()
        kafka_node.start()
        cluster.tell(batches.alert(2), 2)
        assert got.get(timeout=WAIT_S) == 2
    finally:
        stop.set()
        reader.join(timeout=WAIT_S)
        cluster.close()
    assert not reader.is_alive()


@refused
@pytest.mark.usefixtures("leaks")
def test_a_missing_broker_or_topic_is_named(cluster: Cluster) -> None:
    """Errors say which server, and which topic."""
    nobody = KafkaConnection(servers="127.0.0.1:1")
    for use in (lambda: alerts(nobody, timeout=0.5), lambda: Publisher(nobody, timeout=0.5)):
        with pytest.raises(BrokerError, match=r"127\.0\.0\.1:1"):
            use()
    there = f"{cluster.connection.prefix}{KILLSWITCH} does not exist at"
    with pytest.raises(TopicError, match=there):
        killswitch(cluster.connection)
    with pytest.raises(TopicError, match=r"riskwatch\.pegs does not exist at 127"):
        publish(cluster.connection, [goldens()["peg"]])


def test_an_event_that_cannot_be_delivered_is_named(cluster: Cluster) -> None:
    """Where the broker refuses one, the error says which, and how many went before it."""
    cluster.make("riskwatch.pegs", max_message_bytes="600")
    line = goldens()["peg"]
    wide = line[:-1] + b',"note":"' + b"x" * 600 + b'"}'
    named = r"event 2 \(.+/.+\) was not acknowledged on .+pegs by .+; 1 events before it were"
    with Publisher(cluster.connection) as sender:
        sender.send(line)
        sender.flush()
        sender.send(wide)
        with pytest.raises(PublishError, match=named) as caught:
            sender.flush()
    assert caught.value.number == 2


def test_the_largest_event_passes_and_a_larger_one_is_refused(cluster: Cluster) -> None:
    """The limit is the contract's; what no request can hold is told like any other bad item."""
    cluster.make("riskwatch.pegs")
    line = goldens()["peg"]

    def padded(size: int) -> bytes:
        return line[:-1] + b',"note":"' + b"x" * (size - len(line) - 10) + b'"}'

    with Publisher(cluster.connection) as sender:
        assert sender.send(padded(SIZE_LIMIT)) is None
        sender.send(padded(SIZE_LIMIT + 1))
        sender.raw("riskwatch.pegs", None, padded(3 * SIZE_LIMIT))
    assert (sender.result.total, sender.result.refused) == (1, 2)
    assert {bad.reason for bad in sender.result.first} == {RejectReason.MESSAGE_TOO_LARGE}


def test_every_event_arrives_where_it_belongs(cluster: Cluster) -> None:
    """Typed or raw, each event is on its topic, under its key, byte for byte."""
    cluster.make(*(topic.name for topic in TOPICS.values() if topic.role == "input"))
    lines = list(goldens().values())
    events: list[WireEvent] = []
    for line in lines:
        event = decode(line)
        assert not isinstance(event, Refusal)
        events.append(event)
    result = publish(cluster.connection, [*lines, b"{", *events])
    assert result.total == 2 * len(lines)
    assert [(bad.number, bad.reason) for bad in result.first] == [
        (len(lines) + 1, RejectReason.JSON_MALFORMED)
    ]
    said = [*zip(events, lines, strict=True), *((event, encode(event)) for event in events)]
    want = sorted((topic_of(event), key_of(event).encode(), value) for event, value in said)
    got = [
        (topic, record.key, record.value) for topic in result.sent for record in cluster.read(topic)
    ]
    assert sorted(got) == want
