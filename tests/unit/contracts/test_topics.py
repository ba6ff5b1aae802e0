"""The table of topics."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from riskwatch.contracts.codec import decode
from riskwatch.contracts.refusal import Refusal
from riskwatch.contracts.topics import TOPICS, dlq_of, key_of, topic_of
from riskwatch.core.events import WireEvent
from riskwatch.core.outputs import AnyOutput
from tests.support.golden import goldens


@pytest.mark.parametrize("name", goldens())
def test_every_event_has_a_topic_and_a_key(name: str) -> None:
    """The topic carries its type, and the key is a name in the message."""
    raw = goldens()[name]
    event = decode(raw)
    assert not isinstance(event, Refusal)
    assert type(event) in TOPICS[topic_of(event)].carries
    assert key_of(event) in msgspec.json.decode(raw).values()


def test_events_travel_on_one_topic_each() -> None:
    """No event is on two input topics, and none is missing."""
    carried = [t for topic in TOPICS.values() if topic.role == "input" for t in topic.carries]
    assert len(carried) == len(set(carried))
    assert set(carried) == set(get_args(WireEvent))


def test_outputs_say_the_same_topic_as_the_table() -> None:
    """An output's own `topic` and the table agree, in both directions."""
    said = {t: t.topic for t in get_args(AnyOutput) if t.topic is not None}
    assert said == {
        t: topic.name for topic in TOPICS.values() if topic.role == "output" for t in topic.carries
    }


def test_what_a_ledger_worker_reads_is_partitioned_alike() -> None:
    """One worker owns a counterparty on both topics only if the counts are equal."""
    assert TOPICS["riskwatch.fills"].partitions == TOPICS["riskwatch.balances"].partitions


def test_compacted_topics_keep_for_ever() -> None:
    """A retention would delete the state of a scope that has not changed for long."""
    for topic in TOPICS.values():
        assert topic.compacted == (topic.retention_h is None), topic.name


def test_dead_letters_are_kept_for_a_month() -> None:
    """Every input has a dead-letter topic, and nothing else has one."""
    for topic in TOPICS.values():
        if topic.role == "input":
            assert TOPICS[dlq_of(topic.name)].retention_h == 30 * 24
        else:
            with pytest.raises(KeyError):
                dlq_of(topic.name)
