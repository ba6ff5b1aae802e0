"""The desk without servers: what a fetch, a rebalance and a turn do to each other."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest

from riskwatch.errors import FencedError, FetchGapError
from riskwatch.worker.partitions import BUFFER
from tests.support.desks import BATCH, ONE, ZERO, LocalDesk
from tests.support.units import message

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_partitions_are_worked_by_their_units() -> None:
    """Each unit takes its own; a turn is one batch of each."""
    desk = LocalDesk()
    assert desk.not_ready_reason() == "no partitions are assigned"
    assert desk.assign([ONE, ZERO]) == {ZERO: 0, ONE: 0}
    assert desk.not_ready_reason() == "catching up: ledger/0, ledger/1"
    desk.bring(ZERO, 0, 7)
    desk.bring(ONE, 0, 2)
    assert desk.work()
    assert (desk.applied("ledger/0"), desk.applied("ledger/1")) == (5, 2)
    assert desk.offsets() == {ZERO: 5, ONE: 2}
    assert desk.work()
    assert not desk.work()
    assert desk.not_ready_reason() is None
    desk.close()
    assert [b.book.released for b in desk.benches.values()] == [[1], [1]]
    assert desk.unit("ledger/0") is None


def test_what_waits_in_memory_is_bounded() -> None:
    """A partition is full with a few batches, handed over or taken in, and not for ever."""
    desk = LocalDesk()
    desk.assign([ZERO])
    assert not desk.is_full(ZERO)
    desk.bring(ZERO, 0, BUFFER * BATCH)
    assert desk.is_full(ZERO)
    assert not desk.is_full(ONE)
    desk.work()
    assert not desk.is_full(ZERO)
    desk.bring(ZERO, BUFFER * BATCH, BATCH)
    assert desk.is_full(ZERO)
    while desk.work():
        pass
    assert not desk.is_full(ZERO)
    assert desk.applied("ledger/0") == (BUFFER + 1) * BATCH


def test_a_fetch_that_comes_while_partitions_move_is_forgotten() -> None:
    """Before, during and after: what was not taken in is read again."""
    desk = LocalDesk()
    desk.assign([ZERO])
    desk.bring(ZERO, 0, 3)
    desk.suspend()
    assert not desk.is_full(ZERO)
    desk.bring(ZERO, 3, BUFFER * BATCH)
    assert desk.is_full(ZERO)
    assert not desk.work()
    assert not desk.is_full(ZERO)
    assert desk.not_ready_reason() == "no partitions are assigned"
    desk.bring(ZERO, 3, 2)
    assert desk.assign([ZERO]) == {ZERO: 0}
    desk.bring(ZERO, 0, 5)
    desk.work()
    assert desk.applied("ledger/0") == 5
    assert desk.unit("ledger/0") is not None


def test_a_fetch_begins_where_the_last_one_ended() -> None:
    """What was fetched and did not come in would be skipped: the worker stops instead."""
    desk = LocalDesk()
    desk.assign([ZERO])
    desk.bring(ZERO, 0, 3)
    desk.enqueue(ZERO, [message(3, b"{")], 4, start=3)
    desk.work()
    desk.enqueue(ZERO, [message(7, b"{")], 8, start=6)
    with pytest.raises(FetchGapError, match=r"fills/0: a fetch began at offset 6, .* offset 4"):
        desk.work()


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
    desk = LocalDesk()
    desk.assign([ZERO])

    def consume() -> None:
        for _ in range(10_000):
            desk.enqueue(ONE, [message(0, b"")] * 3, 3)

    consumer = threading.Thread(target=consume)
    consumer.start()
    turn = 0
    while consumer.is_alive():
        turn += 1
        if turn % 3:
            desk.work()
        else:
            desk.suspend()
    consumer.join()
    desk.work()
    assert not desk._inbox
    assert not any(desk._inbox_sizes.values())


def test_a_unit_stays_where_its_partition_does() -> None:
    """Its state is not loaded again; one that moved away is forgotten, and its metrics."""
    desk = LocalDesk()
    desk.assign([ZERO, ONE])
    desk.bring(ZERO, 0, 2)
    desk.work()
    stays, moves = desk.unit("ledger/0"), desk.unit("ledger/1")
    assert moves is not None
    desk.suspend()
    assert desk.assign([ZERO]) == {ZERO: 2}
    assert desk.unit("ledger/0") is stays
    assert desk.unit("ledger/1") is None
    assert desk.benches["ledger/0"].store.epoch == 1
    assert desk.benches["ledger/1"].sample("riskwatch_epoch", worker="ledger/1") is None


def test_a_unit_that_was_elsewhere_begins_anew() -> None:
    """Another process had it between two rebalances: the state is loaded again."""
    desk = LocalDesk()
    desk.assign([ZERO])
    first = desk.unit("ledger/0")
    desk.suspend()
    desk.benches["ledger/0"].store.take_lease("ledger/0", "other")
    desk.assign([ZERO])
    assert desk.unit("ledger/0") is not first
    assert desk.benches["ledger/0"].store.epoch == 3


def test_who_is_fenced_says_so() -> None:
    """The desk does not hide it: the process has to end."""
    desk = LocalDesk()
    desk.assign([ZERO])
    desk.benches["ledger/0"].store.take_lease("ledger/0", "other")
    desk.bring(ZERO, 0, 1)
    with pytest.raises(FencedError):
        desk.work()


def test_a_unit_that_is_down_is_a_reason() -> None:
    """Health says which one, and why."""
    desk = LocalDesk()
    desk.assign([ZERO])
    desk.benches["ledger/0"].unit.fault = "t 1"
    assert desk.not_ready_reason() == "ledger/0: t 1"
