"""Small recordings in every format, with made-up prices."""

from __future__ import annotations

import gzip
import lzma
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pathlib import Path

START = 1_678_406_400
"""2023-03-10T00:00:00Z, seconds."""


def closes(rows: int) -> list[str]:
    """Return prices around 1 that go up and down, as text with eight decimals."""
    return [f"{1 - (n * 7919 % 400) / 100_000:.8f}" for n in range(rows)]


def bar_rows(rows: int, step: int = 60) -> list[tuple[int, str, str, str, str, str]]:
    """Return (opening second, open, high, low, close, volume); every fifth bar has no volume."""
    prices = closes(rows)
    return [
        (
            START + n * step,
            price,
            f"{float(price) + 0.001:.8f}",
            f"{float(price) - 0.001:.8f}",
            price,
            "0.00000000" if n % 5 == 0 else f"{1000 + n}.25",
        )
        for n, price in enumerate(prices)
    ]


def klines_csv(
    path: Path, rows: int = 400, *, header: bool = False, per_second: int = 1000
) -> Path:
    """Write klines as exchanges publish them."""
    lines = [
        f"{t * per_second},{o},{h},{lo},{c},{v},{(t + 60) * per_second - 1},1.0,3,0.5,0.5,0"
        for t, o, h, lo, c, v in bar_rows(rows)
    ]
    if header:
        lines.insert(
            0,
            "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
            "taker_buy_volume,taker_buy_quote_volume,ignore",
        )
    return write(path, lines)


def klines_parquet(path: Path, rows: int = 400) -> Path:
    """Write klines as a data frame: text prices, an index column at the end."""
    data = bar_rows(rows)
    columns = {
        "open_time": [t * 1000 for t, *_ in data],
        "open": [o for _, o, *_ in data],
        "high": [float(row[2]) for row in data],
        "low": [float(row[3]) for row in data],
        "close": [row[4] for row in data],
        "volume": [row[5] for row in data],
        "close_time": [t * 1000 + 59_999 for t, *_ in data],
        "timestamp": pa.array([t * 10**9 for t, *_ in data], pa.timestamp("ns", "UTC")),
    }
    return parquet(path, columns)


def candles_parquet(path: Path, rows: int = 400) -> Path:
    """Write candles with epoch text, in the venue's order of columns."""
    data = bar_rows(rows)
    columns = {
        "start": [str(row[0]) for row in data],
        "low": [float(row[3]) for row in data],
        "high": [float(row[2]) for row in data],
        "open": [float(row[1]) for row in data],
        "close": [float(row[4]) for row in data],
        "volume": [float(row[5]) for row in data],
    }
    return parquet(path, columns)


def ohlcvt_parquet(path: Path, rows: int = 400) -> Path:
    """Write bars with trade counts, with the time as an unnamed index."""
    data = bar_rows(rows)
    columns = {
        name: [float(row[n]) for row in data]
        for n, name in enumerate(("open", "high", "low", "close", "volume"), 1)
    }
    stamps = pa.array([row[0] * 10**9 for row in data], pa.timestamp("ns", "UTC"))
    return parquet(path, {**columns, "trades": [3] * rows, "__index_level_0__": stamps})


def ohlcvt_csv(path: Path, rows: int = 400) -> Path:
    """Write the venue's archive: no header, epoch seconds first, trades last."""
    return write(path, [",".join((*map(str, row), "3")) for row in bar_rows(rows)])


def bars_csv(path: Path, rows: int = 400, step: int = 3600) -> Path:
    """Write bars with dates without a zone, and a ticker."""
    lines = ["date,open,high,low,close,volume,ticker"]
    lines += [",".join((date(row[0]), *row[1:], "USDCUSDT")) for row in bar_rows(rows, step)]
    return write(path, lines)


def orders_csv(path: Path, seconds: int = 200) -> Path:
    """Write order events: every second a bid and an ask are placed and the last pair is deleted."""
    lines = ["id,timestamp,exchange.timestamp,price,volume,action,direction"]
    for n in range(seconds):
        ms = (START + n) * 1000
        bid, ask = f"{236 + n % 3}.10", f"{240 + n % 3}.20"
        lines.append(f"{2 * n},{ms},{ms},{bid},150000000,created,bid")
        lines.append(f"{2 * n + 1},{ms + 10},{ms},{ask},{200000000 + n},created,ask")
        if n:
            lines.append(f"{2 * n - 2},{ms + 20},{ms},{bid},150000000,deleted,bid")
            lines.append(f"{2 * n - 1},{ms + 30},{ms},{ask},0,deleted,ask")
    return write(path, lines)


def date(second: int) -> str:
    """Return an epoch second as text without a zone, as data frames print it."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")


def write(path: Path, lines: list[str]) -> Path:
    """Write lines, compressed according to the file name."""
    data = ("\n".join(lines) + "\n").encode()
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".xz":
        data = lzma.compress(data)
    path.write_bytes(data)
    return path


def parquet(path: Path, columns: dict[str, object]) -> Path:
    """Write columns as one Parquet file."""
    pq.write_table(pa.table(columns), path)
    return path
