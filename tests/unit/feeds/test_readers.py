"""Every reader on a file of its format: values, times, ids, order."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from riskwatch.core.clock import MINUTE, SECOND
from riskwatch.errors import FeedError
from riskwatch.feeds import READERS, Reason, Reject, TableHead, Tally, plan, read_quotes, recognise
from tests.unit.feeds import samples

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.core.events import Quote

PAIR: dict[str, Any] = {"venue": "here", "base": "USDC", "quote": "USD"}


def read(path: Path, **options: object) -> tuple[list[Quote], Tally, list[Reject]]:
    """Import a file with explicit options."""
    rejects: list[Reject] = []
    tally = Tally(on_reject=rejects.append)
    made = plan(path, **{**PAIR, **options})
    quotes = list(read_quotes(made, tally))
    assert tally.read == tally.used + tally.skipped
    return quotes, tally, rejects


@pytest.mark.parametrize(
    ("build", "name", "reader", "step"),
    [
        (samples.klines_csv, "k.csv", "klines", 60),
        (samples.klines_csv, "k.csv.gz", "klines", 60),
        (samples.klines_csv, "k.csv.xz", "klines", 60),
        (samples.klines_parquet, "k.parquet", "klines", 60),
        (samples.candles_parquet, "c.parquet", "candles", 60),
        (samples.ohlcvt_parquet, "o.parquet", "ohlcvt", 60),
        (samples.ohlcvt_csv, "o.csv", "ohlcvt", 60),
        (samples.bars_csv, "b.csv", "bars", 3600),
    ],
)
def test_bars_of_every_format(
    tmp_path: Path, build: object, name: str, reader: str, step: int
) -> None:
    """One quote per bar: its close as exact text, at open plus step, with its volume."""
    path = build(tmp_path / name)  # type: ignore[operator] # a builder of samples
    assert plan(path, **PAIR).reader.name == reader
    quotes, tally, _ = read(path)
    rows = samples.bar_rows(400, step)
    assert [q.last for q in quotes] == [Decimal(row[4]) for row in rows]
    assert [q.volume for q in quotes] == [Decimal(row[5]) for row in rows]
    assert [q.ts.timestamp() for q in quotes] == [row[0] + step for row in rows]
    assert tally.used == tally.written == 400


def test_wire_text_of_a_quote(tmp_path: Path) -> None:
    """The JSON has plain decimals and UTC times, with a stable id and sequence number."""
    quotes, _, _ = read(samples.candles_parquet(tmp_path / "c.parquet", 2))
    assert msgspec.json.decode(msgspec.json.encode(quotes[1])) == {
        "type": "quote",
        "v": 1,
        "event_id": "here:USDCUSD:1m:1678406460",
        "ts": "2023-03-10T00:02:00Z",
        "source": "here-bars",
        "source_seq": 27973441,
        "venue": "here",
        "base": "USDC",
        "quote": "USD",
        "last": "0.99681",
        "volume": "1001.25",
    }


@pytest.mark.parametrize("per_second", [1000, 1_000_000, 1_000_000_000])
@pytest.mark.parametrize("header", [True, False])
def test_klines_in_any_unit_of_time(tmp_path: Path, per_second: int, header: bool) -> None:
    """The size of a time determines its unit, with a header or without."""
    path = samples.klines_csv(tmp_path / "k.csv", 10, header=header, per_second=per_second)
    quotes, _, _ = read(path)
    assert quotes[0].ts == datetime(2023, 3, 10, 0, 1, tzinfo=UTC)
    assert len(quotes) == 10


def test_another_cut_gives_the_same_ids(tmp_path: Path) -> None:
    """Ids and sequence numbers do not depend on where a recording begins."""
    whole, _, _ = read(samples.ohlcvt_csv(tmp_path / "a.csv", 50))
    lines = (tmp_path / "a.csv").read_text().splitlines()
    part, _, _ = read(samples.write(tmp_path / "b.csv", lines[20:]))
    assert part == whole[20:]


HEADER = "start,low,high,open,close,volume"


def candle(second: int, close: str = "1", **cells: str) -> str:
    """Return one line of candles around `close`."""
    row = {"low": "0.5", "high": "2", "open": "1", "close": close, "volume": "7", **cells}
    return ",".join((str(samples.START + second), *(row[n] for n in HEADER.split(",")[1:])))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (candle(120, "NaN"), Reason.NOT_FINITE),
        (candle(120, volume="-inf"), Reason.NOT_FINITE),
        (candle(120, ""), Reason.MISSING),
        (candle(120, "1_000"), Reason.NOT_A_NUMBER),
        (candle(120, "٣"), Reason.NOT_A_NUMBER),
        (candle(120, "1e24", high="1e25"), Reason.TOO_LARGE),
        (candle(120, "1.0000000000000000001"), Reason.TOO_LARGE),
        (candle(120, "0", low="0"), Reason.NOT_POSITIVE),
        (candle(120, "-1", low="-2"), Reason.NOT_POSITIVE),
        (candle(120, volume="-1"), Reason.NEGATIVE_VOLUME),
        (candle(120, high="0.4"), Reason.HIGH_BELOW_LOW),
        (candle(120, "2.1"), Reason.CLOSE_OUTSIDE),
        (candle(120, "0.4"), Reason.CLOSE_OUTSIDE),
        ("yesterday,0.5,2,1,1,7", Reason.BAD_TIME),
        ("12,0.5,2,1,1,7", Reason.BAD_TIME),
        ("9" * 25 + ",0.5,2,1,1,7", Reason.BAD_TIME),
        (candle(120) + ",8", Reason.WRONG_WIDTH),
        ("1678406", Reason.WRONG_WIDTH),
        (candle(60), Reason.DUPLICATE),
        (candle(60, "1.5"), Reason.CONFLICT),
    ],
)
def test_a_row_that_cannot_be_used(tmp_path: Path, line: str, reason: Reason) -> None:
    """It is skipped, counted with its reason and listed with its row; the others are used."""
    lines = [HEADER, candle(0), candle(60), line, candle(180), candle(240, "1.25")]
    quotes, tally, rejects = read(samples.write(tmp_path / "x.csv", lines))
    assert [q.ts.timestamp() - samples.START for q in quotes] == [60, 120, 240, 300]
    assert quotes[1].last == 1
    assert dict(tally.skips) == {reason: 1}
    assert [(r.row, r.reason) for r in rejects] == [(3, reason)]


def test_rows_after_a_broken_line_keep_their_number(tmp_path: Path) -> None:
    """Row numbers count broken lines, so that a listed row can be found in the file."""
    lines = [HEADER, candle(0), "broken", candle(60), candle(120, "NaN"), candle(180)]
    _, _, rejects = read(samples.write(tmp_path / "x.csv", lines))
    assert [(r.row, r.reason) for r in rejects] == [
        (2, Reason.WRONG_WIDTH),
        (4, Reason.NOT_FINITE),
    ]


def test_rows_in_any_order(tmp_path: Path) -> None:
    """A file with the newest row first gives the same quotes as one in order."""
    lines = [candle(60 * n, f"1.{n:03d}") for n in range(200)]
    forward, _, _ = read(samples.write(tmp_path / "a.csv", [HEADER, *lines]))
    reverse, tally, _ = read(samples.write(tmp_path / "b.csv", [HEADER, *reversed(lines)]))
    assert reverse == forward
    assert tally.skipped == 0


def test_missing_minutes_are_counted_not_invented(tmp_path: Path) -> None:
    """A gap gives no quotes; the tally has its steps and its length."""
    lines = [HEADER, *(candle(60 * n) for n in (0, 1, 2, 5, 6, 8))]
    quotes, tally, _ = read(samples.write(tmp_path / "x.csv", lines))
    assert len(quotes) == 6
    assert (tally.missing_steps, tally.longest_hole_us) == (3, 2 * MINUTE)


def test_range_is_on_closes_and_half_open(tmp_path: Path) -> None:
    """``from <= close < to``; rows outside are counted but not listed."""
    path = samples.write(tmp_path / "x.csv", [HEADER, *(candle(60 * n) for n in range(10))])
    us = samples.START * SECOND
    quotes, tally, rejects = read(path, since_us=us + 3 * MINUTE, until_us=us + 5 * MINUTE)
    assert [q.ts.timestamp() - samples.START for q in quotes] == [180, 240]
    assert dict(tally.skips) == {Reason.OUTSIDE_RANGE: 8}
    assert rejects == []


def test_another_ticker_in_one_file(tmp_path: Path) -> None:
    """Rows about another pair do not become quotes of the feed."""
    lines = samples.bars_csv(tmp_path / "b.csv", 5).read_text().splitlines()
    lines.insert(3, lines[3].replace("USDCUSDT", "BTCUSDT"))
    quotes, tally, _ = read(samples.write(tmp_path / "c.csv", lines))
    assert len(quotes) == 5
    assert dict(tally.skips) == {Reason.OTHER_SYMBOL: 1}


def test_floats_are_their_shortest_text(tmp_path: Path) -> None:
    """Binary floats give their shortest decimal, cut at 1e-18; also 32-bit floats."""
    import pyarrow as pa

    single = pa.array([0.9997, 1.0001], pa.float32())
    path = samples.parquet(
        tmp_path / "c.parquet",
        {
            "start": [samples.START, samples.START + 60],
            "low": [1e-7, 0.5],
            "high": [2.0, 2.0],
            "open": [1.0, 1.0],
            "close": single,
            "volume": [0.1 + 0.2, 0.00003 + 0.000000000000000000004],
        },
    )
    quotes, _, _ = read(path)
    assert [str(q.last) for q in quotes] == ["0.9997", "1.0001"]
    assert [str(q.volume) for q in quotes] == ["0.30000000000000004", "0.00003"]


def test_readers_agree_on_nothing_but_their_own(tmp_path: Path) -> None:
    """No two readers match one another's samples equally well."""
    built = {
        "klines": samples.klines_parquet(tmp_path / "k.parquet", 5),
        "candles": samples.candles_parquet(tmp_path / "c.parquet", 5),
        "ohlcvt": samples.ohlcvt_parquet(tmp_path / "o.parquet", 5),
        "bars": samples.bars_csv(tmp_path / "b.csv", 5),
        "orders": samples.orders_csv(tmp_path / "e.csv", 5),
    }
    assert {reader.name for reader in READERS} == built.keys()
    for name, path in built.items():
        assert plan(path, **PAIR).reader.name == name


def test_two_readers_equally_sure(tmp_path: Path) -> None:
    """A tie is an error that names the option."""
    from riskwatch.feeds.formats import Candles

    class Twin(Candles):
        """Claims what Candles claims."""

        name = "twin"

    head = TableHead(tmp_path / "x.csv", tuple(HEADER.split(",")))
    with pytest.raises(FeedError, match="could be candles or twin: say which by --format"):
        recognise(head, [*READERS, Twin()])
