"""Any number of NDJSON files as one stream, by event time.

The file whose next event is oldest goes first; ties go by the order in which the files were
given, and each file keeps its own order. A line that is no event has no time and goes at once.
"""

from __future__ import annotations

from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING

from riskwatch.errors import FeedError
from riskwatch.shell.file import EventFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from riskwatch.contracts.refusal import Refusal
    from riskwatch.core.events import WireEvent
    from riskwatch.shell.record import Record
    from riskwatch.store.batch import StreamOffset


class Merge:
    """Open files of events, merged. A context manager, for it holds them open.

    Parameters
    ----------
    paths : sequence of Path
        The files, named in the database by their base name.
    decode : callable
        Bytes of a line to an event or a refusal; called once per line.

    Attributes
    ----------
    files : list of EventFile
        In the order given.
    more : bool
        Whether the last :meth:`records` stopped before an event that was too late for it.

    Raises
    ------
    FeedError
        If there are no files, a file cannot be read, or two have one base name.
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
        """Go on behind what was consumed. Called once, before the first record.

        Raises
        ------
        StreamIdentityError
            If a file is not the one that was consumed.
        """
        for file in self.files:
            offset = offsets.get(file.name)
            if offset is not None:
                file.resume(offset)

    def records(self, until_us: int | None = None) -> Iterator[Record]:
        """Yield records in order; what was yielded counts as consumed.

        Parameters
        ----------
        until_us : int, optional
            Stop before the first event that is later.
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
        """Offsets of the files of which something was consumed since the last call."""
        return [offset for file in self.files if (offset := file.offset()) is not None]

    def progress(self) -> tuple[int, int]:
        """Bytes consumed and bytes there were when the files were opened."""
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
