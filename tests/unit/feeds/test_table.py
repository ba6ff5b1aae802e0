"""Opening files: formats by content, damage as one clear error, rows in bounded memory."""

from __future__ import annotations

import gzip
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskwatch.errors import FeedError
from riskwatch.feeds import open_table
from riskwatch.feeds.table import FREE_BYTES, MAX_RATIO, _cells
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


def test_a_small_parquet_file_cannot_take_gigabytes(tmp_path: Path) -> None:
    """One long text that occurs in every row is in memory once, and is refused for its length."""
    rows = 8_192
    path = tmp_path / "x.parquet"
    same = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["x" * 180_000])
    pq.write_table(pa.table({"open": same}), path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 2_048
    before = pa.total_allocated_bytes()
    with pytest.raises(FeedError, match=r"a cell has 180,000 bytes, at most 4,096"):
        count(path)
    assert pa.default_memory_pool().max_memory() - before < 2**27


def test_parquet_that_becomes_too_much(tmp_path: Path) -> None:
    """Stated sizes and numbers of rows are checked before anything is decoded."""
    wide, long = tmp_path / "wide.parquet", tmp_path / "long.parquet"
    text = pa.table({"open": ["x" * 100_000] * 1_000})
    pq.write_table(text, wide, compression="zstd", use_dictionary=False)
    with pytest.raises(FeedError, match="more than 200 times its size"):
        open_table(wide)
    pq.write_table(pa.table({"open": pa.array([1] * 1_000_000)}), long, compression="zstd")
    with pytest.raises(FeedError, match="states 1,000,000 rows"):
        open_table(long)


def test_a_compressed_csv_that_becomes_too_much(tmp_path: Path) -> None:
    """Reading ends soon after the bound, and the error names the file."""
    path = tmp_path / "x.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"open\n")
        for _ in range(100):
            file.write(b"1\n" * 2**19)
    table = open_table(path)
    seen = 0
    with pytest.raises(FeedError, match=r"x\.csv\.gz: becomes more than 200 times its size"):
        for seen, _ in table.rows(("open",), lambda *_: None):  # noqa: B007 - counted
            pass
    assert 2 * seen <= max(FREE_BYTES, MAX_RATIO * path.stat().st_size)
