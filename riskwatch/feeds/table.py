"""CSV and Parquet files as a stream of rows, in bounded memory.

Cells are text, exactly as the file contains it. Binary floats are given as their shortest decimal
text (``0.9997``, never ``0.99970000000000003``), and columns of a time type as microseconds since
1970.

Arrow takes a third of a second to import. It is imported when a file is read, so that the command
line starts without it.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import IO, TYPE_CHECKING, Any, Final, cast

from riskwatch.core.money import MAX_SCALE
from riskwatch.errors import FeedError

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow.csv as pc

    from riskwatch.feeds.values import Cell

OnBadRow = Callable[[int, str], None]

_BLOCK_BYTES: Final = 1 << 20
_BATCH_ROWS: Final = 8192
_MAX_COLUMNS: Final = 200
_ROUND: Final = Context(prec=60)
_QUANTUM: Final = Decimal(1).scaleb(-MAX_SCALE)
_OPENERS: Final[dict[bytes, Callable[[Path], Any]]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ": lzma.open,
    b"BZh": bz2.open,
}


MAX_RATIO: Final = 200
"""Most bytes that one byte of a compressed file may become."""
FREE_BYTES: Final = 64 * 2**20
"""Bytes that a compressed file may become whatever its size is."""
FREE_ROWS: Final = 100_000
"""Rows that a Parquet file may hold whatever its size is."""
MAX_ROWS_PER_BYTE: Final = 8
"""Most rows for each byte of a Parquet file beyond that."""
MAX_CELL_BYTES: Final = 4_096
"""Most bytes of one cell of a Parquet file."""


class _BoundedBytes(io.RawIOBase):
    """The content of a compressed file; reading fails when it becomes too much.

    A file of 3 MB can hold 3 GB of the same line, which would take minutes to read.
    """

    def __init__(self, path: Path, inner: IO[bytes]) -> None:
        self._path = path
        self._inner = inner
        self._left = max(FREE_BYTES, MAX_RATIO * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._inner.read(len(buffer))
        self._left -= len(found)
        if self._left < 0:
            raise FeedError(
                f"{self._path}: becomes more than {MAX_RATIO} times its size, and more than "
                f"{FREE_BYTES:,} bytes"
            )
        buffer[: len(found)] = found
        return len(found)

    def close(self) -> None:
        self._inner.close()
        super().close()


_FLAGS: Final = frozenset({"true", "false"})
_INDEX_NAMES: Final = frozenset({"", "index_level_0", "unnamed_0"})
_LOW_LEVEL: Final = (OSError, EOFError, lzma.LZMAError, zlib.error, csv.Error)


@dataclass(frozen=True)
class TableHead:
    """The properties of a file by which a reader recognises its format.

    Attributes
    ----------
    path : Path
        The file.
    columns : tuple of str
        Names in lower case with ``_`` between words; an unnamed first column (a pandas index) is
        ``index``. Without a header they are ``"0"``, ``"1"``, ...
    headerless : bool
        Whether the first line is already data.
    first : tuple of str
        The cells of the first line of a CSV; empty for Parquet.
    """

    path: Path
    columns: tuple[str, ...]
    headerless: bool = False
    first: tuple[str, ...] = ()


class Table:
    """A recording that can be read any number of times, a batch of rows at a time.

    Attributes
    ----------
    head : TableHead
        Its columns.
    pulled : int
        Batches read so far, over all passes; tests use it to check that rows are streamed.
    """

    def __init__(self, head: TableHead) -> None:
        self.head = head
        self.pulled = 0

    def rows(
        self, names: Sequence[str], on_bad_row: OnBadRow
    ) -> Iterator[tuple[int, tuple[Cell, ...]]]:
        """Yield (row number, cells of the columns `names`); the first row of data is number 1.

        A line of the wrong width is passed to `on_bad_row` (row number, the line) instead.

        Raises
        ------
        FeedError
            If the file is damaged, or ends in the middle.
        """
        raise NotImplementedError


def open_table(
    path: Path,
    *,
    skip: int = 0,
    block_bytes: int = _BLOCK_BYTES,
    batch_rows: int = _BATCH_ROWS,
) -> Table:
    """Open a ``.csv`` (also ``.gz``, ``.xz``, ``.bz2``) or ``.parquet`` file by its content.

    The first `skip` lines of a CSV are not part of the table.

    Raises
    ------
    FeedError
        If there is no such file, or it is a folder, empty, or neither CSV nor Parquet.
    """
    if path.is_dir():
        raise FeedError(f"{path}: is a folder, expected a CSV or Parquet file")
    with translate_errors(path, "a CSV or Parquet file"):
        with path.open("rb") as file:
            magic = file.read(8)
        if not magic:
            raise FeedError(f"{path}: is empty, expected a CSV or Parquet file")
        if magic.startswith(b"PAR1"):
            return _ParquetTable(path, batch_rows)
    if path.suffix == ".parquet":
        raise FeedError(f"{path}: expected a Parquet file, but it does not begin as one")
    return _CsvTable(path, block_bytes, skip)


def open_bytes(path: Path, buffer_bytes: int = _BLOCK_BYTES) -> IO[bytes]:
    """Open a file for reading; a compressed one is decompressed, in bounded amount.

    Raises
    ------
    FeedError
        If it becomes more than :data:`MAX_RATIO` times its size.
    """
    with path.open("rb") as file:
        magic = file.read(8)
    opener = next((o for m, o in _OPENERS.items() if magic.startswith(m)), None)
    if opener is None:
        return path.open("rb")
    found = cast("IO[bytes]", opener(path))
    return io.BufferedReader(_BoundedBytes(path, found), buffer_bytes)


@contextmanager
def translate_errors(path: Path, what: str) -> Iterator[None]:
    """Convert the errors that the libraries raise into one error that names the file."""
    from pyarrow import ArrowException  # noqa: PLC0415 - the module's docstring says why

    try:
        yield
    except FileNotFoundError:
        raise FeedError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise FeedError(f"{path}: expected {what} in UTF-8: {error.reason}") from error
    except (ArrowException, *_LOW_LEVEL) as error:
        raise FeedError(f"{path}: cannot be read as {what}: {error}") from error


def normalise_names(names: Sequence[str], path: Path) -> tuple[str, ...]:
    """Return the column names in the form that readers use.

    Examples
    --------
    >>> from pathlib import Path
    >>> normalise_names(["", "Open time", "__index_level_0__x"], Path("x.csv"))
    ('index', 'open_time', 'index_level_0_x')
    """
    lower = [name.strip().lower().replace("%", "_p") for name in names]
    plain = [re.sub(r"[^a-z0-9]+", "_", name).strip("_") for name in lower]
    normal = tuple("index" if name in _INDEX_NAMES else name for name in plain)
    if len(normal) > _MAX_COLUMNS:
        raise FeedError(f"{path}: has {len(normal)} columns, expected at most {_MAX_COLUMNS}")
    double = sorted({name for name in normal if normal.count(name) > 1})
    if double:
        raise FeedError(f"{path}: expected different column names, found {double} twice")
    return normal


class _CsvTable(Table):
    def __init__(self, path: Path, block_bytes: int, skip: int) -> None:
        self._path = path
        self._block_bytes = block_bytes
        self._skip = skip
        with translate_errors(path, "CSV"), self._stream() as raw:
            text = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
            for _ in range(skip):
                text.readline(_BLOCK_BYTES)
            line = text.readline(_BLOCK_BYTES).replace("\ufeff", "")
            self._delimiter = max(",;\t", key=line.count)
            first = tuple(next(csv.reader([line], delimiter=self._delimiter), ()))
        if not line.strip() or "\x00" in line:
            raise FeedError(f"{path}: expected a header or a row of CSV in the first line")
        headerless = all(_is_number(cell) or cell.lower() in _FLAGS for cell in first)
        names = [str(n) for n in range(len(first))] if headerless else first
        super().__init__(TableHead(path, normalise_names(names, path), headerless, first))

    def _stream(self) -> IO[bytes]:
        return open_bytes(self._path, self._block_bytes)

    def rows(
        self, names: Sequence[str], on_bad_row: OnBadRow
    ) -> Iterator[tuple[int, tuple[Cell, ...]]]:
        header = self._skip + (0 if self.head.headerless else 1)
        bad: set[int] = set()

        def skip(row: pc.InvalidRow) -> str:
            bad.add(row.number - header)
            on_bad_row(row.number - header, row.text)
            return "skip"

        number = 0
        with translate_errors(self._path, "CSV"), self._stream() as raw:
            for batch in self._batches(raw, names, header, skip):
                self.pulled += 1
                for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    number += 1
                    while number in bad:
                        bad.discard(number)
                        number += 1
                    yield number, cells

    def _batches(
        self, raw: IO[bytes], names: Sequence[str], header: int, skip: Callable[[Any], str]
    ) -> Iterator[Any]:
        import pyarrow as pa  # noqa: PLC0415 - the module's docstring says why
        import pyarrow.csv as pc  # noqa: PLC0415

        try:
            # Arrow numbers the lines that it cannot use only with one thread.
            reader = pc.open_csv(
                raw,
                pc.ReadOptions(
                    column_names=self.head.columns,
                    skip_rows=header,
                    use_threads=False,
                    block_size=self._block_bytes,
                ),
                pc.ParseOptions(delimiter=self._delimiter, invalid_row_handler=skip),
                pc.ConvertOptions(
                    column_types=dict.fromkeys(self.head.columns, pa.string()),
                    include_columns=list(names),
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):  # a header without rows
                return
            raise
        yield from reader


class _ParquetTable(Table):
    def __init__(self, path: Path, batch_rows: int) -> None:
        from pyarrow import parquet as pq  # noqa: PLC0415 - the module's docstring says why

        self._path = path
        self._batch_rows = batch_rows
        with pq.ParquetFile(path) as file:
            self._stored = tuple(file.schema_arrow.names)
            _check_parquet(path, file.metadata)
        super().__init__(TableHead(path, normalise_names(self._stored, path)))

    def rows(
        self,
        names: Sequence[str],
        on_bad_row: OnBadRow,  # noqa: ARG002 - a Parquet row cannot have a wrong width
    ) -> Iterator[tuple[int, tuple[Cell, ...]]]:
        stored = [self._stored[self.head.columns.index(name)] for name in names]
        number = 0
        with translate_errors(self._path, "Parquet"), self._open(stored) as file:
            for batch in file.iter_batches(batch_size=self._batch_rows, columns=stored):
                self.pulled += 1
                columns = [_cells(_checked(self._path, batch.column(name))) for name in stored]
                for cells in zip(*columns, strict=True):
                    number += 1
                    yield number, cells

    def _open(self, stored: Sequence[str]) -> Any:
        """Open the file so that a repeated text is in memory once, however often it occurs."""
        from pyarrow import parquet as pq  # noqa: PLC0415 - the module's docstring says why

        return pq.ParquetFile(self._path, read_dictionary=list(stored), pre_buffer=False)


def _check_parquet(path: Path, metadata: Any) -> None:
    """Check what a Parquet file states of its size, before any of it is decoded."""
    size = path.stat().st_size
    if metadata.num_rows > FREE_ROWS + MAX_ROWS_PER_BYTE * size:
        raise FeedError(f"{path}: states {metadata.num_rows:,} rows in {size:,} bytes")
    groups = (metadata.row_group(n) for n in range(metadata.num_row_groups))
    columns = (group.column(n) for group in groups for n in range(group.num_columns))
    total = sum(column.total_uncompressed_size for column in columns)
    if total > max(FREE_BYTES, MAX_RATIO * size):
        raise FeedError(
            f"{path}: becomes {total:,} bytes, more than {MAX_RATIO} times its size, and more than "
            f"{FREE_BYTES:,} bytes"
        )


def _checked(path: Path, column: Any) -> Any:
    """Return a column as plain values; refuse it if a cell is too long."""
    import pyarrow as pa  # noqa: PLC0415 - the module's docstring says why
    import pyarrow.compute as pc  # noqa: PLC0415

    kind = column.type
    if not pa.types.is_dictionary(kind):
        return column
    longest = pc.max(pc.binary_length(column.dictionary)).as_py()
    if longest is not None and longest > MAX_CELL_BYTES:
        raise FeedError(f"{path}: a cell has {longest:,} bytes, at most {MAX_CELL_BYTES:,}")
    return column.cast(kind.value_type)


def _cells(column: Any) -> list[Cell]:
    """Return a column as text, or as microseconds if it has a time type."""
    import pyarrow as pa  # noqa: PLC0415 - the module's docstring says why

    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        # Nanoseconds are cut off. The time zone does not change the instant.
        stamps = column.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False)
        return list(stamps.cast(pa.int64()).to_pylist())
    texts: list[Cell] = list(column.cast(pa.string()).to_pylist())
    if pa.types.is_floating(kind):
        return [_short(text) for text in texts]
    return texts


def _short(text: Cell) -> Cell:
    """Round a float's text to the 18 decimals of the wire contract; the rest is noise."""
    if not isinstance(text, str) or len(text) <= MAX_SCALE or not _is_number(text):
        return text
    value = Decimal(text)
    if not value.is_finite() or abs(value) >= 1:
        return text
    return str(value.quantize(_QUANTUM, context=_ROUND))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
