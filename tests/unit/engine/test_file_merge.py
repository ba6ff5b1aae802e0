"""Files as streams: order, ends of lines, oversized lines, and proof of identity on resume."""

from __future__ import annotations

import os
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskwatch.contracts.codec import SIZE_LIMIT, decode
from riskwatch.contracts.refusal import Refusal
from riskwatch.core.enums import RejectReason
from riskwatch.engine.file import MAX_KEPT_BYTES, EventFileMerge
from riskwatch.errors import FeedError, StreamIdentityError
from tests.support.toy import quote_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from riskwatch.engine.record import InputRecord
    from riskwatch.store.batch import StreamOffset


def write(path: Path, *lines: bytes) -> Path:
    """Write a file of whole lines."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def label(record: InputRecord) -> str:
    """Id of an event, or the bytes of what is none."""
    event = record.event
    return record.raw.decode() if isinstance(event, Refusal) else getattr(event, "event_id", "")


def take(
    paths: list[Path], n: int | None = None, *, after: dict[str, StreamOffset] | None = None
) -> tuple[list[InputRecord], dict[str, StreamOffset]]:
    """Take `n` records (all, if ``None``), and the offsets behind them."""
    with EventFileMerge(paths, decode) as merge:
        merge.resume(after or {})
        records = list(islice(merge.records(), n))
        return records, (after or {}) | {o.stream: o for o in merge.offsets()}


def test_files_are_merged_by_time_and_ties_by_their_order(tmp_path: Path) -> None:
    """Each keeps its own order, even where that is not by time."""
    b = write(tmp_path / "b", quote_line(1, 0), quote_line(2, 20), quote_line(3, 5))
    a = write(tmp_path / "a", quote_line(4, 0), quote_line(5, 10), quote_line(6, 20))
    assert [label(r) for r in take([b, a])[0]] == ["q1", "q4", "q5", "q2", "q3", "q6"]
    assert [label(r) for r in take([a, b])[0]] == ["q4", "q1", "q5", "q6", "q2", "q3"]


def test_a_malformed_line_goes_at_once(tmp_path: Path) -> None:
    """It has no time, so it waits for nobody."""
    a = write(tmp_path / "a", quote_line(1, 50), b"x", b"", quote_line(2, 60))
    b = write(tmp_path / "b", b"y", quote_line(3, 55))
    assert [label(r) for r in take([a, b])[0]] == ["y", "q1", "x", "", "q3", "q2"]


def test_until_stops_before_what_is_later(tmp_path: Path) -> None:
    """What is not yielded is not consumed, and `more` says that there is something."""
    path = write(tmp_path / "a", quote_line(1, 0), quote_line(2, 10), quote_line(3, 20))
    with EventFileMerge([path], decode) as merge:
        first = next(iter(merge.records()))
        found = list(merge.records(first.us + 10_000_000))
        assert [label(r) for r in found] == ["q2"]
        assert merge.more
        assert merge.offsets()[0].records == 2


def test_positions_identities_and_progress(tmp_path: Path) -> None:
    """An offset has the next byte, the lines, and the digest of all bytes before."""
    lines = [quote_line(1, 0), b"", quote_line(2, 10)]
    path = write(tmp_path / "a", *lines)
    with EventFileMerge([path], decode) as merge:
        assert merge.offsets() == []
        assert merge.progress() == (0, path.stat().st_size)
        records = list(islice(merge.records(), 2))
        assert [r.position for r in records] == [0, len(lines[0]) + 1]
        (offset,) = merge.offsets()
        prefix = lines[0] + b"\n\n"
        assert (offset.stream, offset.position, offset.records) == ("a", len(prefix), 2)
        assert offset.identity == sha256(prefix).hexdigest()
        assert merge.offsets() == [], "nothing new"
        assert merge.progress()[0] == len(prefix)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 9)), max_size=30), st.data())
def test_stopping_anywhere_changes_no_order(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Taken in pieces by new merges, the stream is the same, bytes and places."""
    folder = tmp_path_factory.mktemp("merge")
    lines: list[list[bytes]] = [[], [], []]
    for n, (where, at) in enumerate(events):
        lines[where].append(quote_line(n, at) if at >= 0 else b"bad %d" % n)
    paths = [write(folder / str(n), *found) for n, found in enumerate(lines)]
    whole, end = take(paths)
    pieces: list[InputRecord] = []
    after: dict[str, StreamOffset] = {}
    while len(pieces) < len(whole):
        part, after = take(paths, data.draw(st.integers(1, 9)), after=after)
        pieces += part
    assert pieces == whole
    assert after == end


def test_oversized_lines_are_read_in_pieces(tmp_path: Path) -> None:
    """A line at the limit passes; a longer one is refused, by its beginning, size and digest."""
    exact = quote_line(1, 0).ljust(SIZE_LIMIT)
    huge = b"[" * (MAX_KEPT_BYTES + 3)
    path = write(tmp_path / "a", exact, exact + b" ", huge, quote_line(2, 1))
    records, offsets = take([path])
    assert [isinstance(r.event, Refusal) for r in records] == [False, True, True, False]
    assert [r.position for r in records][2:] == [
        2 * SIZE_LIMIT + 3,
        2 * SIZE_LIMIT + MAX_KEPT_BYTES + 7,
    ]
    refused = records[2]
    assert isinstance(refused.event, Refusal)
    assert refused.event.reason is RejectReason.MESSAGE_TOO_LARGE
    assert refused.raw == huge[:MAX_KEPT_BYTES]
    assert records[1].raw == exact + b" ", "kept whole"
    assert dict(refused.headers) == {
        "size": str(len(huge)).encode(), "sha256": sha256(huge).hexdigest().encode()
    }  # fmt: skip
    assert offsets["a"].identity == sha256(path.read_bytes()).hexdigest()
    path.write_bytes(huge)
    assert [r.headers for r in take([path])[0]] == [refused.headers], "without its newline"


def grow(path: Path) -> None:
    """Append a line."""
    with path.open("ab") as file:
        file.write(quote_line(9, 30) + b"\n")


def test_a_file_that_grew_goes_on(tmp_path: Path) -> None:
    """What was appended comes next."""
    path = write(tmp_path / "a", quote_line(1, 0))
    _, after = take([path])
    assert take([path], after=after) == ([], after)
    grow(path)
    assert [label(r) for r in take([path], after=after)[0]] == ["q9"]


def change(path: Path) -> None:
    """Change one byte that was consumed."""
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(change, "not those that were replayed", id="changed"),
        pytest.param(lambda p: os.truncate(p, 50), "has 50 bytes, but", id="shrunk"),
        pytest.param(lambda p: p.write_bytes(b""), "has 0 bytes, but", id="emptied"),
    ],
)
def test_another_file_of_the_name_is_refused(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    """A file that changed or shrank is not the stream that the offset belongs to."""
    path = write(tmp_path / "a", quote_line(1, 0), quote_line(2, 1))
    _, after = take([path], 1)
    spoil(path)
    with pytest.raises(StreamIdentityError, match=message):
        take([path], after=after)


def test_a_last_line_without_newline_is_a_line(tmp_path: Path) -> None:
    """It may get its newline later, but nothing else."""
    path = tmp_path / "a"
    path.write_bytes(quote_line(1, 0))
    records, after = take([path])
    assert [label(r) for r in records] == ["q1"]
    assert take([path], after=after) == ([], after)
    path.write_bytes(quote_line(1, 0) + b"\n" + quote_line(2, 1) + b"\n")
    records, end = take([path], after=after)
    assert [label(r) for r in records] == ["q2"]
    assert end["a"].identity == sha256(path.read_bytes()).hexdigest()
    path.write_bytes(quote_line(1, 0) + b" ")
    with pytest.raises(StreamIdentityError, match="has since become longer"):
        take([path], after=after)


def test_an_empty_file_has_no_events(tmp_path: Path) -> None:
    """It is nothing to complain of."""
    path = write(tmp_path / "a")
    assert take([path]) == ([], {})


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    """Missing, a folder, a pipe, no file at all, two of one name."""
    write(tmp_path / "a")
    (tmp_path / "d").mkdir()
    write(tmp_path / "d" / "a")
    os.mkfifo(tmp_path / "pipe")
    cases: list[tuple[list[str], str]] = [
        (["no"], "no cannot be read: No such file"),
        (["d"], "d is a directory"),
        (["pipe"], "pipe is not a regular file"),
        ([], "name at least one file"),
        (["a", "d/a"], "have one base name"),
        (["a", "a"], "have one base name"),
    ]
    for names, message in cases:
        with pytest.raises(FeedError, match=message):
            EventFileMerge([tmp_path / name for name in names], decode)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_said(tmp_path: Path) -> None:
    """The reason is the system's."""
    path = write(tmp_path / "a")
    path.chmod(0)
    with pytest.raises(FeedError, match="cannot be read: Permission denied"):
        EventFileMerge([path], decode)
