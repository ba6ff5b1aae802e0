"""A live unit that is behind holds its outputs, and releases them when it has caught up."""

from __future__ import annotations

import pytest

from riskwatch.core.clock import SECOND
from riskwatch.worker.unit import UnitTiming
from tests.support.toy import fill_line
from tests.support.units import START_US, Bench


def published(bench: Bench) -> list[int]:
    """Seqs in the order in which they went out."""
    return [line[0] for line in bench.publisher.lines]


def test_what_is_held_back_goes_out_when_it_is_fresh() -> None:
    """A restart of seconds publishes all that happened meanwhile, each record."""
    bench = Bench(UnitTiming(batch=1))
    bench.open(end=3)
    bench.now_us = START_US + 4 * SECOND
    bench.put(*(fill_line(n, n) for n in range(3)))
    bench.work()
    bench.work()
    assert (published(bench), bench.unit.is_caught_up) == ([], False)
    bench.work()
    assert bench.unit.is_caught_up
    assert published(bench) == sorted(bench.store.outputs or published(bench))
    assert len(published(bench)) == 3
    bench.put(fill_line(9, 4.5), first=3)
    bench.work(1)
    assert len(published(bench)) == 4


@pytest.mark.parametrize("behind", [60, 100, 1000, 4000])
def test_what_is_history_goes_out_as_it_ended(behind: int) -> None:
    """After an outage only the last record of each key, however long it was."""
    bench = Bench(UnitTiming(batch=10))
    bench.open(end=30)
    bench.now_us = START_US + (30 + behind) * SECOND
    bench.put(*(fill_line(n, n) for n in range(30)))
    bench.work()
    bench.work()
    assert not published(bench)
    bench.work()
    (seq,) = published(bench)
    bench.work(1)
    assert seq == max(s for _, _, seqs in bench.told for s in seqs)
    assert not bench.store.outbox


def test_a_restart_after_an_outage_is_behind_by_the_outage() -> None:
    """Not by what is left of the backlog when it is worked off."""
    bench = Bench()
    bench.open(end=1)
    bench.put(fill_line(1, 0))
    bench.work(1)
    bench.work(1)
    bench.publisher.lines.clear()
    bench.made()
    bench.now_us = START_US + 300 * SECOND
    bench.open(end=4)
    bench.put(*(fill_line(1 + n, 100 * n - 1.5) for n in (1, 2, 3)), first=1)
    bench.work()
    assert len(published(bench)) == 1


def test_an_outage_makes_history_of_a_live_worker() -> None:
    """What it missed goes out as it ended, and meanwhile it says that it is not caught up."""
    bench = Bench(UnitTiming(batch=10))
    bench.open(end=1)
    bench.put(fill_line(1, 0))
    bench.work(1)
    assert bench.unit.is_caught_up
    before = len(published(bench))
    bench.put(*(fill_line(2 + n, 2 + n) for n in range(20)), first=1)
    bench.work(300)
    assert (len(published(bench)), bench.unit.is_caught_up) == (before, False)
    bench.work()
    bench.work()
    assert (len(published(bench)), bench.unit.is_caught_up) == (before + 1, True)


def test_a_stream_that_never_pauses_is_caught_up_when_it_is_near() -> None:
    """More is always on its way; the time reached says that it is the present."""
    bench = Bench(UnitTiming(batch=2))
    bench.open(end=100)
    bench.now_us = START_US + 10 * SECOND
    bench.put(*(fill_line(n, n) for n in range(11)), end=100)
    while not bench.unit.is_caught_up:
        assert bench.work() == 2
    assert not bench.idle
    assert len(published(bench)) > 4


def test_a_crash_between_publishing_and_noting_it_repeats_in_order() -> None:
    """What was let go is let go again by the next process, with the places it had."""
    bench = Bench()
    bench.open(end=3)
    bench.now_us = START_US + 4 * SECOND
    bench.put(*(fill_line(n, n) for n in range(3)))
    bench.publisher.fail_at = 1
    with pytest.raises(BrokenPipeError):
        bench.work()
    assert len(bench.store.outbox) == 3
    first = sorted(bench.store.outbox)
    bench.made()
    bench.open(end=3)
    bench.work()
    assert published(bench) == first
    assert bench.publisher.epoch == 2
