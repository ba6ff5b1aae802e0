"""NDJSON files as streams of records: position, digest of the read part, merge by event time."""

from __future__ import annotations

import stat
from hashlib import sha256
from heapq import heapify, heappop, heapreplace
from typing import IO, TYPE_CHECKING, Final

from riskwatch.contracts.codec import SIZE_LIMIT
from riskwatch.contracts.refusal import Refusal, refuse
from riskwatch.core.clock import micros
from riskwatch.core.enums import RejectReason
from riskwatch.engine.record import NO_EVENT_TIME, InputRecord
from riskwatch.errors import FeedError, StreamIdentityError
from riskwatch.store.batch import StreamOffset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from hashlib import _Hash as HASH
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from riskwatch.core.events import WireEvent


BUFFER: Final = 2**18
_NEWLINE: Final = 0x0A
MAX_KEPT_BYTES: Final = 16 * 2**20
"""Most bytes that a record holds of a line that is longer than the contract allows."""


class EventFile:
    """Reads and decodes the lines of one file, with position and digest of the consumed bytes.

    Parameters
    ----------
    path : Path
        A regular file.
    decode : callable
        Converts the bytes of a line to an event or a refusal.

    Attributes
    ----------
    name : str
        Base name of the file; the database stores its offset under this name.
    position, records : int
        Bytes and lines consumed.
    size : int
        Bytes of the file when it was opened.

    Raises
    ------
    FeedError
        If the file is missing, not readable, or not a regular file.
    """

    def __init__(self, path: Path, decode: Callable[[bytes], WireEvent | Refusal]) -> None:
        self.path = path
        self.name = path.name
        self.position = 0
        self.records = 0
        self._decode = decode
        self._hash = sha256()
        self._head: InputRecord | None = None
        self._line = b""
        self._ahead: HASH | None = None
        self._next = 0
        self._reported = 0
        try:
            # Check before open(), because opening a pipe blocks until something writes to it.
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                kind = "a directory" if stat.S_ISDIR(found.st_mode) else "not a regular file"
                raise FeedError(f"{path} is {kind}: events are read from NDJSON files")
            self._file: IO[bytes] = path.open("rb", buffering=BUFFER)
        except OSError as error:
            raise FeedError(f"{path} cannot be read: {error.strerror}") from error
        self.size = found.st_size

    def resume(self, offset: StreamOffset) -> None:
        """Continue behind `offset`, after a check that the bytes before it did not change.

        Raises
        ------
        StreamIdentityError
            If the file changed, shrank, or its last line became longer.
        """
        self._skip(offset)
        if self._hash.hexdigest() != offset.identity:
            raise StreamIdentityError(
                f"{self.path}: its first {offset.position} bytes are not those that were replayed "
                "into this database: the file was changed or replaced. Use the file as it was, "
                "another name for the new one, or a new database"
            )
        self.position = self._next = self._reported = offset.position
        self.records = offset.records
        self._finish_line()

    def _skip(self, offset: StreamOffset) -> None:
        left = offset.position
        while left:
            block = self._file.read(min(left, BUFFER))
            if not block:
                raise StreamIdentityError(
                    f"{self.path} has {self.size} bytes, but {offset.position} were replayed "
                    "into this database: the file was cut or replaced"
                )
            self._hash.update(block)
            self._line = block[-1:]
            left -= len(block)

    def _finish_line(self) -> None:
        """Consume the newline that a last line lacked when it was replayed, if it has one now."""
        if self.position == 0 or self._line == b"\n":
            return
        more = self._file.read(1)
        if more == b"\n":
            self._hash.update(more)
            self.position += 1
            self._next += 1
        elif more:
            raise StreamIdentityError(
                f"{self.path}: the line that ended the file when it was replayed, at byte "
                f"{self.position}, has since become longer: half of it was taken for the whole. "
                "Replay the complete file into a new database"
            )

    def read(self) -> InputRecord | None:
        """Return the next line, decoded, without consuming it; ``None`` at the end."""
        if self._head is not None:
            return self._head
        line = self._file.readline(SIZE_LIMIT + 1)
        if not line:
            return None
        start, self._line = self._next, line
        self._next += len(line)
        ended = line[-1] == _NEWLINE
        if len(line) > SIZE_LIMIT and not ended:
            self._head = self._oversized(start, line)
            return self._head
        raw = line[:-1] if ended else line
        event = self._decode(raw)
        us = NO_EVENT_TIME if type(event) is Refusal else micros(event.ts)  # type: ignore[union-attr]
        self._head = InputRecord(self.name, start, raw, event, us)
        return self._head

    def take(self) -> InputRecord:
        """Consume the line that :meth:`read` returned, and return it."""
        head = self._head
        assert head is not None, "a line is read before it is taken"
        if self._ahead is None:
            self._hash.update(self._line)
        else:
            self._hash, self._ahead = self._ahead, None
        self.position = self._next
        self.records += 1
        self._head = None
        return head

    def _oversized(self, start: int, line: bytes) -> InputRecord:
        """Read a line that is too long to its end, and return a refused record.

        The record holds at most :data:`MAX_KEPT_BYTES` from the beginning of the line. Its
        headers hold the size and the digest of the whole line.
        """
        kept, ahead, whole = bytearray(), self._hash.copy(), sha256()
        size = 0
        while True:
            ahead.update(line)
            text = line.removesuffix(b"\n")
            whole.update(text)
            kept += text[: MAX_KEPT_BYTES - len(kept)]
            size += len(text)
            if not line or line[-1] == _NEWLINE:
                break
            line = self._file.readline(BUFFER)
            self._next += len(line)
        self._ahead = ahead
        why = refuse(
            RejectReason.MESSAGE_TOO_LARGE,
            f"size={size} bytes, limit={SIZE_LIMIT} bytes, kept={len(kept)} bytes",
        )
        proof = (("size", str(size).encode()), ("sha256", whole.hexdigest().encode()))
        return InputRecord(self.name, start, bytes(kept), why, NO_EVENT_TIME, headers=proof)

    def offset(self) -> StreamOffset | None:
        """Return the offset behind the consumed lines; ``None`` if it is that of the last call."""
        if self.position == self._reported:
            return None
        self._reported = self.position
        return StreamOffset(self.name, self._hash.hexdigest(), self.position, self.records)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class EventFileMerge:
    """Merges any number of event files by event time. It is a context manager.

    The file with the earliest next event comes first. Ties go by the order in which the files
    were given. Each file keeps its own order. A line that is not an event has no time and comes
    at once.

    Parameters
    ----------
    paths : sequence of Path
        The files. The database names them by their base name.
    decode : callable
        Converts the bytes of a line to an event or a refusal; called once per line.

    Attributes
    ----------
    files : list of EventFile
        The open files, in the order given.
    more : bool
        Whether the last :meth:`records` stopped before an event later than its limit.

    Raises
    ------
    FeedError
        If there are no files, a file cannot be read, or two have the same base name.
    """

    def __init__(
        self, paths: Sequence[Path], decode: Callable[[bytes], WireEvent | Refusal]
    ) -> None:
        if not paths:
            raise FeedError("nothing to read: name at least one file of events")
        by_name: dict[str, Path] = {}
        for path in paths:
            other = by_name.setdefault(path.name, path)
            if other is not path:
                raise FeedError(
                    f"{other} and {path} have one base name, by which offsets are kept: rename one"
                )
        self.more = False
        self.files: list[EventFile] = []
        try:
            for path in paths:
                self.files.append(EventFile(path, decode))
        except BaseException:
            self.close()
            raise

    def resume(self, offsets: Mapping[str, StreamOffset]) -> None:
        """Continue behind the consumed lines. Called once, before the first record.

        Raises
        ------
        StreamIdentityError
            If a file is not the one that was consumed before.
        """
        for file in self.files:
            offset = offsets.get(file.name)
            if offset is not None:
                file.resume(offset)

    def records(self, until_us: int | None = None) -> Iterator[InputRecord]:
        """Yield records in order. A yielded record counts as consumed.

        Parameters
        ----------
        until_us : int, optional
            Last event time, microseconds. The iterator stops before the first later event.
        """
        files = self.files
        self.more = False
        heap: list[tuple[int, int]] = []
        for index, file in enumerate(files):
            head = file.read()
            if head is not None:
                heap.append((head.us, index))
        heapify(heap)
        while heap:
            us, index = heap[0]
            if until_us is not None and us > until_us:
                self.more = True
                return
            file = files[index]
            record = file.take()
            head = file.read()
            if head is None:
                heappop(heap)
            else:
                heapreplace(heap, (head.us, index))
            yield record

    def offsets(self) -> list[StreamOffset]:
        """Return the offsets that changed since the last call."""
        return [offset for file in self.files if (offset := file.offset()) is not None]

    def progress(self) -> tuple[int, int]:
        """Return the bytes consumed, and the size of the files when they were opened."""
        return sum(f.position for f in self.files), sum(f.size for f in self.files)

    def close(self) -> None:
        """Close all files."""
        for file in self.files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
