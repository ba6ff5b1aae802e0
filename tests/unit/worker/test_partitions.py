"""The partition manager without servers: fetches, rebalances and iterations."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest

from riskwatch.errors import FencedError, FetchGapError
from riskwatch.worker.partitions import BUFFER
from tests.support.desks import BATCH, ONE, ZERO, LocalPartitions
from tests.support.units import message

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_partitions_are_worked_by_their_units() -> None:
    """Each unit takes its own; a turn is one batch of each."""
    manager = LocalPartitions()
    assert manager.not_ready_reason() == "no partitions are assigned"
    assert manager.assign([ONE, ZERO]) == {ZERO: 0, ONE: 0}
    assert manager.not_ready_reason() == "catching up: ledger/0, ledger/1"
    manager.bring(ZERO, 0, 7)
    manager.bring(ONE, 0, 2)
    assert manager.work()
    assert (manager.applied("ledger/0"), manager.applied("ledger/1")) == (5, 2)
    assert manager.offsets() == {ZERO: 5, ONE: 2}
    assert manager.work()
    assert not manager.work()
    assert manager.not_ready_reason() is None
    manager.close()
    assert [b.book.released for b in manager.benches.values()] == [[1], [1]]
    assert manager.unit("ledger/0") is None


def test_what_waits_in_memory_is_bounded() -> None:
    """A partition is full with a few batches, handed over or taken in, and not for ever."""
    manager = LocalPartitions()
    manager.assign([ZERO])
    assert not manager.is_full(ZERO)
    manager.bring(ZERO, 0, BUFFER * BATCH)
    assert manager.is_full(ZERO)
    assert not manager.is_full(ONE)
    manager.work()
    assert not manager.is_full(ZERO)
    manager.bring(ZERO, BUFFER * BATCH, BATCH)
    assert manager.is_full(ZERO)
    while manager.work():
        pass
    assert not manager.is_full(ZERO)
    assert manager.applied("ledger/0") == (BUFFER + 1) * BATCH


def test_a_fetch_that_comes_while_partitions_move_is_forgotten() -> None:
    """Before, during and after: what was not taken in is read again."""
    manager = LocalPartitions()
    manager.assign([ZERO])
    manager.bring(ZERO, 0, 3)
    manager.suspend()
    assert not manager.is_full(ZERO)
    manager.bring(ZERO, 3, BUFFER * BATCH)
    assert manager.is_full(ZERO)
    assert not manager.work()
    assert not manager.is_full(ZERO)
    assert manager.not_ready_reason() == "no partitions are assigned"
    manager.bring(ZERO, 3, 2)
    assert manager.assign([ZERO]) == {ZERO: 0}
    manager.bring(ZERO, 0, 5)
    manager.work()
    assert manager.applied("ledger/0") == 5
    assert manager.unit("ledger/0") is not None


def test_a_fetch_begins_where_the_last_one_ended() -> None:
    """What was fetched and did not come in would be skipped: the worker stops instead."""
    manager = LocalPartitions()
    manager.assign([ZERO])
    manager.bring(ZERO, 0, 3)
    manager.enqueue(ZERO, [message(3, b"{")], 4, start=3)
    manager.work()
    manager.enqueue(ZERO, [message(7, b"{")], 8, start=6)
    with pytest.raises(FetchGapError, match=r"fills/0: a fetch began at offset 6, .* offset 4"):
        manager.work()


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    kept = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(kept)


@pytest.mark.usefixtures("hasty")
def test_two_threads_count_alike() -> None:
    """Fetches, turns and rebalances at once leave no partition full, and break nothing."""
    manager = LocalPartitions()
    manager.assign([ZERO])

    def consume() -> None:
        for _ in range(10_000):
            manager.enqueue(ONE, [message(0, b"")] * 3, 3)

    consumer = threading.Thread(target=consume)
    consumer.start()
    turn = 0
    while consumer.is_alive():
        turn += 1
        if turn % 3:
            manager.work()
        else:
            manager.suspend()
    consumer.join()
    manager.work()
    assert not manager._inbox
    assert not any(manager._inbox_sizes.values())


def test_a_unit_stays_where_its_partition_does() -> None:
    """Its state is not loaded again; one that moved away is forgotten, and its metrics."""
    manager = LocalPartitions()
    manager.assign([ZERO, ONE])
    manager.bring(ZERO, 0, 2)
    manager.work()
    stays, moves = manager.unit("ledger/0"), manager.unit("ledger/1")
    assert moves is not None
    manager.suspend()
    assert manager.assign([ZERO]) == {ZERO: 2}
    assert manager.unit("ledger/0") is stays
    assert manager.unit("ledger/1") is None
    assert manager.benches["ledger/0"].store.epoch == 1
    assert manager.benches["ledger/1"].sample("riskwatch_epoch", worker="ledger/1") is None


def test_a_unit_that_was_elsewhere_begins_anew() -> None:
    """Another process had it between two rebalances: the state is loaded again."""
    manager = LocalPartitions()
    manager.assign([ZERO])
    first = manager.unit("ledger/0")
    manager.suspend()
    manager.benches["ledger/0"].store.take_lease("ledger/0", "other")
    manager.assign([ZERO])
    assert manager.unit("ledger/0") is not first
    assert manager.benches["ledger/0"].store.epoch == 3


def test_who_is_fenced_says_so() -> None:
    """The manager does not hide it: the process has to end."""
    manager = LocalPartitions()
    manager.assign([ZERO])
    manager.benches["ledger/0"].store.take_lease("ledger/0", "other")
    manager.bring(ZERO, 0, 1)
    with pytest.raises(FencedError):
        manager.work()


def test_a_unit_that_is_down_is_a_reason() -> None:
    """Health says which one, and why."""
    manager = LocalPartitions()
    manager.assign([ZERO])
    manager.benches["ledger/0"].unit.fault = "t 1"
    assert manager.not_ready_reason() == "ledger/0: t 1"
