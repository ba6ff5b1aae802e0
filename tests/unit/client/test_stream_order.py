"""The filter of repeated and outdated messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskwatch.client import HistoryError, Message
from riskwatch.client import stream as module
from riskwatch.client.stream import SequenceFilter
from tests.support import batches

if TYPE_CHECKING:
    from riskwatch.core.outputs import AlertRaised


def message(
    seq: int, *, epoch: int = 1, worker: str = "risk", key: str = "k", name: str | None = None
) -> Message[AlertRaised]:
    """Return a message; its id follows from its number, unless a name is given."""
    output = msgspec.structs.replace(batches.alert(1), id=name or f"{worker}{seq}")
    return Message("riskwatch.alerts", key, worker, epoch, seq, output)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 12)), max_size=40))
def test_numbers_only_grow_per_worker(sent: list[tuple[str, int]]) -> None:
    """The numbers that pass strictly increase, in any order and with any repeats."""
    order = SequenceFilter(by_key=False)
    passed: dict[str, list[int]] = {"a": [], "b": []}
    for worker, seq in sent:
        if order.is_new(message(seq, worker=worker)):
            passed[worker].append(seq)
    for worker, numbers in passed.items():
        assert numbers == sorted(set(numbers))
        assert max(numbers, default=-1) == max((n for w, n in sent if w == worker), default=-1)
    assert order.repeated == len(sent) - sum(map(len, passed.values()))


def test_a_compacted_topic_is_ordered_per_key() -> None:
    """An older record of another key passes, an older one of the same key does not."""
    order = SequenceFilter(by_key=True)
    assert order.is_new(message(9, key="a"))
    assert order.is_new(message(4, key="b"))
    assert not order.is_new(message(4, key="b"))
    assert order.is_new(message(5, key="b"))


def test_a_voided_term_is_over() -> None:
    """A writer of an earlier epoch does not pass, even with a new number."""
    order = SequenceFilter(by_key=False)
    assert order.is_new(message(1, epoch=2))
    assert not order.is_new(message(2, epoch=1))
    assert order.is_new(message(2, epoch=2))
    assert (order.repeated, order.outdated) == (0, 1)


def test_an_id_passes_once() -> None:
    """The same output under a new number is a repeat, and can itself be repeated."""
    order = SequenceFilter(by_key=False)
    assert order.is_new(message(1, name="x"))
    assert not order.is_new(message(2, name="x"))
    assert not order.is_new(message(2, name="x"))
    assert order.is_new(message(3, name="y"))


def test_a_number_that_means_something_else_is_another_history() -> None:
    """A used number with a new id raises, also if its id is no longer stored."""
    order = SequenceFilter(by_key=False, window=3)
    for seq in range(1, 6):
        assert order.is_new(message(seq))
    with pytest.raises(HistoryError, match="wrote number 4 as risk4 and now as other"):
        order.is_new(message(4, name="other"))
    assert not order.is_new(message(4))
    with pytest.raises(HistoryError, match="wrote number 1 long ago and now as risk1"):
        order.is_new(message(1))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old ids are dropped, and too many keys are an error."""
    order = SequenceFilter(by_key=True, window=10)
    for seq in range(100):
        order.is_new(message(seq))
    assert len(order._ids) == len(order._seen) == 10
    monkeypatch.setattr(module, "MAX_KEYS", 2)
    assert order.is_new(message(200, key="b"))
    assert order.is_new(message(201, key="b"))
    with pytest.raises(HistoryError, match="more than 2 keys"):
        order.is_new(message(202, key="c"))
