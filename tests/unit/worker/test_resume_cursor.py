"""Where reading of a partition continues, and when it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from riskwatch.errors import StreamIdentityError
from riskwatch.store.batch import StreamOffset
from riskwatch.worker.merge import PartitionCursor, PartitionMetadata, resume_cursor


def known(position: int, identity: str = "t1") -> StreamOffset:
    """What SQL has of the partition."""
    return StreamOffset("t/0", identity, position, 7)


@pytest.mark.parametrize("position", [3, 5, 9])
def test_reading_goes_on_where_it_ended(position: int) -> None:
    """Anywhere from the first offset that is left to the end."""
    found = resume_cursor("t/0", PartitionMetadata("t1", 8, 3, 9), known(position))
    assert found == PartitionCursor("t1", position, position, 7, 9)


def test_an_unknown_partition_is_read_from_its_beginning(logged: list[Any]) -> None:
    """With a warning if the broker dropped some of it before anybody looked."""
    assert resume_cursor("t/0", PartitionMetadata("t1", 8, 0, 9), None) == PartitionCursor(
        "t1", 0, 0, 0, 9
    )
    assert not logged
    assert resume_cursor("t/0", PartitionMetadata("t1", 8, 4, 9), None) == PartitionCursor(
        "t1", 4, 4, 0, 9
    )
    (line,) = logged
    assert (line["log_level"], line["first"]) == ("warning", 4)


@pytest.mark.parametrize(
    ("placed", "why"),
    [
        (
            PartitionMetadata("t2", 8, 0, 9),
            "the topic is t2, the offsets are of t1: it was recreated",
        ),
        (
            PartitionMetadata("t1", 8, 6, 9),
            "offsets 5 to 5 are gone from the broker and were never read",
        ),
        (
            PartitionMetadata("t1", 8, 0, 4),
            "read up to offset 5, but the broker ends at 4: it lost what",
        ),
    ],
)
def test_what_was_not_read_is_never_skipped(placed: PartitionMetadata, why: str) -> None:
    """Another topic, a hole, and an end before the offset stop the worker."""
    with pytest.raises(StreamIdentityError, match=why):
        resume_cursor("t/0", placed, known(5))
