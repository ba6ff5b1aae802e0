"""Files of any shape: a table, JSON, FIX messages, XML or a bank statement, told by content."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from riskwatch.errors import FeedError
from riskwatch.feeds.record import Reason, Tally
from riskwatch.feeds.table import TableHead, open_bytes, open_table, translate_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from riskwatch.feeds.table import Table

MAX_BYTES: Final = 512 * 2**20
"""Most bytes of a file that is read as a whole (JSON, XML, bank statements)."""
_HEAD_BYTES: Final = 65_536
_PREAMBLE: Final = 10
"""Most lines before the header of a table, or before a JSON text."""
_DEPTH: Final = 4
_FIX: Final = re.compile(rb"8=FIX(T)?\.\d\.\d[\x01|^]")
_SWIFT: Final = re.compile(rb"(\{1:F01|:20:)")


class Form(StrEnum):
    """What the bytes of a file are."""

    TABLE = "table"
    JSON = "json"
    FIX = "fix"
    XML = "xml"
    SWIFT = "swift"


class Record(NamedTuple):
    """One record of a file: its number, and its cells by normalised name."""

    row: int
    cells: Mapping[str, Any]


@dataclass(frozen=True)
class Document:
    """A file whose form is known.

    Attributes
    ----------
    path : Path
        The file.
    form : Form
        Its form.
    columns : tuple of str
        Names of the columns of a table, or of the fields of the first records of JSON.
    table : Table or None
        The table, if it is one.
    preamble : str
        Lines before the header of a table.
    value : object
        Content of JSON. Numbers are text, exactly as the file has them.
    """

    path: Path
    form: Form
    columns: tuple[str, ...] = ()
    table: Table | None = None
    preamble: str = ""
    value: Any = None
    _records: list[Record] = field(default_factory=list)

    @property
    def head(self) -> TableHead:
        """The head of the table; for another form one with the same columns."""
        return self.table.head if self.table is not None else TableHead(self.path, self.columns)

    def content(self) -> bytes:
        """Return the whole content.

        Raises
        ------
        FeedError
            If it has more than :data:`MAX_BYTES`.
        """
        return _whole(self.path)

    def records(self, tally: Tally) -> Iterator[Record]:
        """Yield the records, and count each as read; lines of the wrong width are skipped."""
        if self.table is None:
            for record in self._records:
                tally.read += 1
                yield record
            return

        def bad_row(row: int, line: str) -> None:
            tally.read += 1
            tally.skip(row, Reason.WRONG_WIDTH, line)

        for row, cells in self.table.rows(self.columns, bad_row):
            tally.read += 1
            yield Record(row, dict(zip(self.columns, cells, strict=True)))


def open_document(path: Path) -> Document:
    """Open a file by its content.

    Raises
    ------
    FeedError
        If there is no such file, or it is a folder, empty, damaged, or of no form that is known.
    """
    if path.is_dir():
        raise FeedError(f"{path}: is a folder, expected a file")
    with translate_errors(path, "a file"), open_bytes(path) as raw:
        head = raw.read(_HEAD_BYTES)
    if not head:
        raise FeedError(f"{path}: is empty, expected a CSV or Parquet file, JSON, FIX or XML")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _FIX.search(head):
        return Document(path, Form.FIX)
    if _SWIFT.match(text):
        return Document(path, Form.SWIFT)
    if text.startswith(b"<"):
        return Document(path, Form.XML)
    skipped = _lines_before_json(text)
    if skipped is not None:
        found = _open_json(path, skipped)
        if found is not None:
            return found
    return _open_table(path)


def _whole(path: Path) -> bytes:
    with translate_errors(path, "a file"), open_bytes(path) as raw:
        found = raw.read(MAX_BYTES + 1)
    if len(found) > MAX_BYTES:
        raise FeedError(f"{path}: has more than {MAX_BYTES:,} bytes, split it")
    return found.removeprefix(b"\xef\xbb\xbf")


def _lines_before_json(text: bytes) -> int | None:
    """Return how many lines stand before a JSON text; ``None`` if there is none."""
    for n, line in enumerate(text.split(b"\n", _PREAMBLE)[:_PREAMBLE]):
        if line.lstrip().startswith((b"{", b"[")):
            return n
    return None


def _open_json(path: Path, skipped: int) -> Document | None:
    """Return JSON, or one JSON value on each line; ``None`` if it is something else."""
    raw = _whole(path).lstrip()
    text = raw.split(b"\n", skipped)[skipped] if skipped else raw
    try:
        value = _parse(text)
    except ValueError as error:
        try:
            value = [_parse(line) for line in text.splitlines() if line.strip()]
        except ValueError:
            if skipped:
                return None
            raise FeedError(f"{path}: begins like JSON and is not: {error}") from error
    found = find_records(value)
    columns = dict.fromkeys(name for record in found[:100] for name in record.cells)
    return Document(path, Form.JSON, tuple(columns), None, "", value, found)


def _parse(text: bytes) -> Any:
    """Return the value of a JSON text, with every number as the text that it has."""
    return json.loads(text, parse_float=str, parse_int=str, parse_constant=str)


def find_records(value: Any) -> list[Record]:
    """Return the records in a JSON value: its outermost list of objects, or objects by key.

    The key of an object becomes the cell ``_key``.

    Examples
    --------
    >>> [record.cells for record in find_records({"result": {"a": {"x": "1"}, "b": {"x": "2"}}})]
    [{'_key': 'a', 'x': '1'}, {'_key': 'b', 'x': '2'}]
    """
    found = _objects(value, _DEPTH)
    return [Record(n, _cells(each)) for n, each in enumerate(found or [], 1)]


def _objects(value: Any, depth: int) -> list[dict[str, Any]] | None:
    if isinstance(value, list):
        return value if value and all(isinstance(each, dict) for each in value) else None
    if not isinstance(value, dict) or depth == 0:
        return None
    for each in value.values():
        if isinstance(each, list) and (found := _objects(each, depth)):
            return found
    inner = list(value.values())
    if inner and all(isinstance(each, dict) for each in inner):
        plain = [key for key, each in value.items() if any(map(_is_plain, each.values()))]
        if len(plain) == len(inner):
            return [{"_key": key, **each} for key, each in value.items()]
    for each in inner:
        if isinstance(each, dict) and (found := _objects(each, depth - 1)):
            return found
    return [value] if any(map(_is_plain, inner)) and depth == _DEPTH else None


def _is_plain(value: Any) -> bool:
    return not isinstance(value, dict | list)


def _cells(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields by normalised name; flags and nothing are text."""
    return {
        name if name == "_key" else normalise_field(name): _plain_cell(cell)
        for name, cell in fields.items()
    }


def normalise_field(name: str) -> str:
    """Return a name in lower case, with ``_`` for everything but letters and digits.

    Examples
    --------
    >>> normalise_field("walletBalance"), normalise_field("Date(UTC)")
    ('walletbalance', 'date_utc')
    """
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def _plain_cell(cell: Any) -> Any:
    if cell is None:
        return ""
    return str(cell).lower() if isinstance(cell, bool) else cell


def _open_table(path: Path) -> Document:
    """Return a table; a short line before a wider one is no header but a preamble."""
    skip, preamble = _preamble(path)
    table = open_table(path, skip=skip)
    return Document(path, Form.TABLE, table.head.columns, table, preamble)


def _preamble(path: Path) -> tuple[int, str]:
    """Return the number of lines before the header, and these lines."""
    with translate_errors(path, "CSV"), open_bytes(path) as raw:
        head = raw.read(_HEAD_BYTES)
    if head.startswith(b"PAR1"):
        return 0, ""
    lines = head.decode("utf-8", "replace").replace("\ufeff", "").splitlines()[: _PREAMBLE + 1]
    delimiter = max(",;\t", key=lambda each: max((line.count(each) for line in lines), default=0))
    widths = [line.rstrip(delimiter + " ").count(delimiter) for line in lines]
    skip = 0
    while skip + 1 < len(widths) and 2 * widths[skip] < max(widths[skip + 1 :]):
        skip += 1
    if skip >= _PREAMBLE or _is_data(lines[skip], delimiter):
        return 0, ""
    return skip, "\n".join(lines[:skip])


def _is_data(line: str, delimiter: str) -> bool:
    """Whether a line has a number in some cell, so that it is no header."""
    return any(re.fullmatch(r"-?\d+(\.\d+)?", cell.strip('" ')) for cell in line.split(delimiter))
