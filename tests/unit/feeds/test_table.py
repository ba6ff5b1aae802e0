"""Opening files: formats by content, damage as one clear error, rows in bounded memory."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskwatch.errors import FeedError
from riskwatch.feeds import open_table
from riskwatch.feeds.table import _cells
from tests.unit.feeds import samples

if TYPE_CHECKING:
    from pathlib import Path


def count(path: Path) -> int:
    """Return the number of rows of the first column."""
    table = open_table(path)
    return sum(1 for _ in table.rows(table.head.columns[:1], lambda *_: None))


def test_no_such_file(tmp_path: Path) -> None:
    """The error names the path."""
    with pytest.raises(FeedError, match=r"nowhere\.csv: no such file"):
        open_table(tmp_path / "nowhere.csv")


def test_a_folder(tmp_path: Path) -> None:
    """The error states that the path is a folder."""
    with pytest.raises(FeedError, match="is a folder, expected a CSV or Parquet file"):
        open_table(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n", b"   \n1,2\n", b"a\x00b,c\n"])
def test_nothing_that_could_be_a_table(tmp_path: Path, content: bytes) -> None:
    """Empty and binary files are refused; the error states what was expected."""
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(FeedError, match="expected a"):
        open_table(path)


def test_csv_called_parquet(tmp_path: Path) -> None:
    """A wrong extension is detected before the file is read as text."""
    path = samples.bars_csv(tmp_path / "b.csv", 3).rename(tmp_path / "b.parquet")
    with pytest.raises(FeedError, match="expected a Parquet file"):
        open_table(path)


def test_parquet_called_csv(tmp_path: Path) -> None:
    """The first bytes determine the format, not the name."""
    path = samples.candles_parquet(tmp_path / "c.parquet", 3).rename(tmp_path / "c.csv")
    assert count(path) == 3


@pytest.mark.parametrize("name", ["c.parquet", "k.csv.gz", "k.csv.xz"])
def test_a_truncated_file(tmp_path: Path, name: str) -> None:
    """A file that ends in the middle is an error, not fewer rows."""
    build = samples.candles_parquet if name.endswith("parquet") else samples.klines_csv
    path = build(tmp_path / name, 3000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FeedError, match="cannot be read as"):
        count(path)


def test_damage_inside_a_parquet_file(tmp_path: Path) -> None:
    """Damaged data pages are an error that names the file."""
    path = samples.candles_parquet(tmp_path / "c.parquet", 3000)
    data = bytearray(path.read_bytes())
    data[4:2000] = b"\xff" * 1996
    path.write_bytes(data)
    with pytest.raises(FeedError, match=r"c\.parquet: cannot be read as Parquet"):
        count(path)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    """The first invalid bytes stop the import, in the header or after it."""
    path = tmp_path / "x.csv"
    path.write_bytes(b"pr\xe9,b\n1,2\n")
    with pytest.raises(FeedError, match="UTF-8"):
        open_table(path)
    path.write_bytes(b"a,b\n" + b"1,2\n" * 10_000 + b"\xe9,2\n")
    with pytest.raises(FeedError, match="invalid UTF8 data"):
        count(path)


def test_a_column_twice(tmp_path: Path) -> None:
    """Two columns of one name are refused as ambiguous."""
    with pytest.raises(FeedError, match=r"found \['close'\] twice"):
        open_table(samples.write(tmp_path / "x.csv", ["close,Close", "1,2"]))


def test_names_a_byte_order_mark_and_other_delimiters(tmp_path: Path) -> None:
    """Names are normalised, without a byte-order mark or semicolons."""
    path = tmp_path / "x.csv"
    path.write_bytes("\ufeff;Open time;Close\r\n7;1;2\r\n".encode())
    table = open_table(path)
    assert table.head.columns == ("index", "open_time", "close")
    assert list(table.rows(["close", "index"], lambda *_: None)) == [(1, ("2", "7"))]


def test_rows_stream(tmp_path: Path) -> None:
    """The first row comes before the second block is read; row numbers continue over blocks."""
    path = samples.klines_csv(tmp_path / "k.csv", 2000)
    table = open_table(path, block_bytes=4096)
    rows = table.rows(["0"], lambda *_: None)
    assert next(rows)[0] == 1
    assert table.pulled == 1
    assert [number for number, _ in rows] == list(range(2, 2001))
    assert table.pulled > 30


@given(st.floats(min_value=1e-4, max_value=1e12))
def test_a_float_keeps_its_value_as_text(value: float) -> None:
    """The text is the shortest decimal that reads back as the float, cut at 1e-18."""
    (text,) = _cells(pa.array([value]))
    assert abs(Decimal(str(text)) - Decimal(repr(value))) < Decimal("1e-18")
    if value >= 0.1:
        assert Decimal(str(text)) == Decimal(repr(value))
