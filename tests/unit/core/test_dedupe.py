"""The dedupe window: its identities, their expiry, and its rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskwatch.core.dedupe import (
    CONTENT_WIDTH,
    WIDTH,
    DedupeWindow,
    content_digest,
    identity_digest,
    older_identity_digest,
)

FILLS = "riskwatch.fills"


def mark_of(identity: str) -> bytes:
    """Return the digest of an identity on one topic."""
    return identity_digest(FILLS, identity)


def check_and_add(window: DedupeWindow, identity: str) -> bool:
    """Return whether an identity is in a window, and add it if it is not."""
    found = window.content(mark_of(identity)) is not None
    if not found:
        window.remember(mark_of(identity), content_digest(identity.encode()))
    return found


def left(window: DedupeWindow, count: int) -> list[int]:
    """Return which of the first numbers are in a window, each with its own content."""
    found = [n for n in range(count) if window.content(mark_of(str(n))) is not None]
    for n in found:
        assert window.content(mark_of(str(n))) == content_digest(str(n).encode())
    return found


def older_row(ordinal: int, *identities: str) -> bytes:
    """Return a row as builds before engine 0.3.0 wrote it."""
    return ordinal.to_bytes(8, "big") + b"".join(map(older_identity_digest, identities))


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
    assert [check_and_add(window, i) for i in ("a/1", "a/2", "a/1", "b/1")] == [
        False,
        False,
        True,
        False,
    ]


def test_the_oldest_block_is_forgotten_as_a_whole() -> None:
    """A ring of 3 blocks of 2 holds the last 5 or 6 identities."""
    window = DedupeWindow(block=2, blocks=3)
    for n in range(6):
        assert not check_and_add(window, str(n))
    assert left(window, 6) == [0, 1, 2, 3, 4, 5]
    check_and_add(window, "6")
    assert left(window, 7) == [2, 3, 4, 5, 6]
    assert len(window) == 5


def test_only_changed_blocks_are_drained() -> None:
    """A drain gives two rows per changed block; a repeat changes none."""
    window = DedupeWindow(block=2, blocks=3)
    assert window.drain() == {}
    check_and_add(window, "0")
    assert list(window.drain()) == ["block/00", "content/00"]
    check_and_add(window, "0")
    assert window.drain() == {}
    for n in range(1, 5):
        check_and_add(window, str(n))
    places = ("00", "01", "02")
    assert list(window.drain()) == [f"{row}/{n}" for row in ("block", "content") for n in places]
    check_and_add(window, "5")
    assert list(window.drain()) == ["block/02", "content/02"]


def test_more_than_a_ring_between_two_drains() -> None:
    """Blocks that were dropped before a drain are not drained."""
    window = DedupeWindow(block=2, blocks=2)
    for n in range(9):
        check_and_add(window, str(n))
    rows: dict[str, bytes] = {}
    stored(window, rows)
    widths = [WIDTH, 2 * WIDTH, CONTENT_WIDTH, 2 * CONTENT_WIDTH]
    assert [len(row) - 8 for row in rows.values()] == widths
    assert left(loaded(rows, 2, 2), 9) == [6, 7, 8]


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
        assert check_and_add(whole, str(i)) == check_and_add(broken, str(i))
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
        pytest.param(
            lambda rows: rows.update({"content/01": rows["content/01"] + b"x"}), id="ragged content"
        ),
        pytest.param(
            lambda rows: rows.update({"content/01": rows["content/01"] + bytes(CONTENT_WIDTH)}),
            id="more content than identities",
        ),
        pytest.param(
            lambda rows: rows.update({"content/01": rows["content/00"]}), id="content elsewhere"
        ),
    ],
)
def test_rows_of_another_shape_are_refused(spoil: object) -> None:
    """Rows that a window of this shape cannot have written do not load."""
    window, rows = DedupeWindow(2, 3), dict[str, bytes]()
    for n in range(3):
        check_and_add(window, str(n))
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


def test_an_identity_counts_within_its_topic() -> None:
    """The same identity on another topic is another one, and each keeps its own content."""
    window = DedupeWindow()
    window.remember(identity_digest("riskwatch.quotes", "court/1"), content_digest(b"quote"))
    assert window.content(identity_digest("riskwatch.credit", "court/1")) is None


@pytest.mark.parametrize("old", [1, 2, 3, 5])
def test_entries_of_an_older_build_stay_until_they_leave(old: int) -> None:
    """They have no content, keep their meaning across restarts, and are counted out at the end."""
    names = [f"old/{n}" for n in range(old)]
    rows = {
        f"block/{at:02}": older_row(at, *names[2 * at : 2 * at + 2]) for at in range(-(-old // 2))
    }
    window = loaded(rows, 2, 3)
    for n in range(4):
        kept = [window.contains_older(name) for name in names]
        first = max(0, (old + n + 1) // 2 - 3) * 2
        assert kept == [at >= first for at in range(old)], n
        assert window.has_older is any(kept)
        assert not check_and_add(window, f"new/{n}")
        assert window.content(mark_of(f"new/{n}")) == content_digest(f"new/{n}".encode())
        stored(window, rows)
        window = loaded(rows, 2, 3)
    for n in range(4, 10):
        check_and_add(window, f"new/{n}")
    assert not window.has_older
    stored(window, rows)
    assert not loaded(rows, 2, 3).has_older
