"""The dedupe window: its identities, their expiry, and its rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskwatch.core.dedupe import WIDTH, DedupeWindow, identity_digest


def stored(window: DedupeWindow, rows: dict[str, bytes]) -> None:
    """Apply the drained changes of a window to `rows`, as a store does."""
    for key, row in window.drain().items():
        assert row is not None
        rows[key] = row


def loaded(rows: dict[str, bytes], block: int, blocks: int) -> DedupeWindow:
    """Return a window that is loaded from rows."""
    window = DedupeWindow(block, blocks)
    window.load(dict(reversed(rows.items())))
    return window


def test_an_identity_is_new_once() -> None:
    """The second time it is in the window; others are not."""
    window = DedupeWindow()
    assert [window.check_and_add(i) for i in ("a/1", "a/2", "a/1", "b/1")] == [
        False,
        False,
        True,
        False,
    ]


def test_the_oldest_block_is_forgotten_as_a_whole() -> None:
    """A ring of 3 blocks of 2 holds the last 5 or 6 identities."""
    window = DedupeWindow(block=2, blocks=3)
    for n in range(6):
        assert not window.check_and_add(str(n))
    assert all(window.contains(identity_digest(str(n))) for n in range(6))
    window.check_and_add("6")
    assert [n for n in range(7) if window.contains(identity_digest(str(n)))] == [2, 3, 4, 5, 6]
    assert len(window) == 5


def test_only_changed_blocks_are_drained() -> None:
    """A drain gives one row per changed block; a repeat changes none."""
    window = DedupeWindow(block=2, blocks=3)
    assert window.drain() == {}
    window.check_and_add("0")
    assert list(window.drain()) == ["block/00"]
    window.check_and_add("0")
    assert window.drain() == {}
    for n in range(1, 5):
        window.check_and_add(str(n))
    assert list(window.drain()) == ["block/00", "block/01", "block/02"]
    window.check_and_add("5")
    assert list(window.drain()) == ["block/02"]


def test_more_than_a_ring_between_two_drains() -> None:
    """Blocks that were dropped before a drain are not drained."""
    window = DedupeWindow(block=2, blocks=2)
    for n in range(9):
        window.check_and_add(str(n))
    rows: dict[str, bytes] = {}
    stored(window, rows)
    assert [len(row) - 8 for row in rows.values()] == [WIDTH, 2 * WIDTH]
    assert [n for n in range(9) if loaded(rows, 2, 2).contains(identity_digest(str(n)))] == [
        6,
        7,
        8,
    ]


@given(st.lists(st.integers(0, 30), max_size=80), st.sets(st.integers(0, 79)), st.integers(1, 4))
def test_rows_do_not_depend_on_drains_or_restarts(
    ids: list[int], cuts: set[int], block: int
) -> None:
    """Draining and loading at any point does not change results or rows."""
    whole, rows_whole = DedupeWindow(block, 3), dict[str, bytes]()
    broken, rows_broken = DedupeWindow(block, 3), dict[str, bytes]()
    for n, i in enumerate(ids):
        if n in cuts:
            stored(broken, rows_broken)
            broken = loaded(rows_broken, block, 3)
        assert whole.check_and_add(str(i)) == broken.check_and_add(str(i))
    stored(whole, rows_whole)
    stored(broken, rows_broken)
    assert rows_whole == rows_broken


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda rows: rows.pop("block/00"), id="a block is missing"),
        pytest.param(
            lambda rows: rows.update({"block/00": rows["block/00"][:-WIDTH]}), id="not full"
        ),
        pytest.param(lambda rows: rows.update({"block/00": rows["block/01"]}), id="wrong place"),
        pytest.param(lambda rows: rows.update({"block/01": rows["block/01"] + b"x"}), id="ragged"),
        pytest.param(
            lambda rows: rows.update({"block/01": rows["block/01"][:8]}), id="empty at the end"
        ),
    ],
)
def test_rows_of_another_shape_are_refused(spoil: object) -> None:
    """Rows that a window of this shape cannot have written do not load."""
    window, rows = DedupeWindow(2, 3), dict[str, bytes]()
    for n in range(3):
        window.check_and_add(str(n))
    stored(window, rows)
    assert callable(spoil)
    spoil(rows)
    with pytest.raises(ValueError, match="not one of 3 blocks of 2"):
        DedupeWindow(2, 3).load(rows)


@pytest.mark.parametrize(("block", "blocks"), [(0, 2), (1, 1)])
def test_a_window_has_room(block: int, blocks: int) -> None:
    """A ring of one block would drop all identities at once."""
    with pytest.raises(ValueError, match="needs block >= 1 and blocks >= 2"):
        DedupeWindow(block, blocks)
