"""When the next batch may wait, by examples."""

from __future__ import annotations

import pytest

from riskwatch.contracts.codec import decode
from riskwatch.engine.record import InputRecord
from riskwatch.worker.unit import Linger, UnitTiming
from tests.support.toy import credit_line, fill_line

PACE = UnitTiming(batch=10, linger_us=50)


def record(line: bytes) -> InputRecord:
    """One record of a partition."""
    return InputRecord("s/0", 0, line, decode(line), 1)


def test_what_can_wait_waits_for_company() -> None:
    """Counted from the beginning of the last batch; the first waits for nothing."""
    linger = Linger(PACE)
    linger.note_records([record(fill_line(1, 0))])
    assert not linger.should_wait(1_000, 1)
    linger.note_batch(1_000, 0)
    linger.note_records([record(fill_line(2, 0))])
    assert linger.should_wait(1_049, 1)
    assert not linger.should_wait(1_050, 1)


def test_a_full_batch_waits_for_nothing() -> None:
    """There is nothing to be won."""
    linger = Linger(PACE)
    linger.note_batch(1_000, 0)
    assert linger.should_wait(1_001, 9)
    assert not linger.should_wait(1_001, 10)


def test_a_clock_that_was_put_back_makes_nothing_wait() -> None:
    """However far it was put back."""
    linger = Linger(PACE)
    linger.note_batch(1_000, 0)
    assert not linger.should_wait(999, 0)


@pytest.mark.parametrize("left", [0, 3])
def test_news_waits_for_nothing_until_it_was_taken(left: int) -> None:
    """A batch may have left it for the next one."""
    linger = Linger(PACE)
    linger.note_batch(1_000, 0)
    linger.note_records([record(fill_line(1, 0)), record(credit_line(2, 0))])
    assert not linger.should_wait(1_001, 2)
    linger.note_batch(1_001, left)
    assert linger.should_wait(1_002, left) is (left == 0)
