"""`riskwatch import` end to end: on files made here, and on every public recording present."""

from __future__ import annotations

import itertools
import json
import os
import time
from pathlib import Path

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from riskwatch.commands.data import feeds_command, import_command
from riskwatch.core.events import Quote, WireEvent
from riskwatch.errors import FeedError
from riskwatch.feeds.file_import import all_readers
from tests.unit.feeds import samples

APP = typer.Typer()
APP.command("import")(import_command)
APP.command("feeds")(feeds_command)

RECORDINGS = Path(
    os.environ.get("RISKWATCH_RECORDINGS")
    or Path(__file__).resolve().parents[2].parent / "shared" / "data"
)
NOT_FEEDS = (
    "MANIFEST.csv", "accounts", "flows", "pool_balances", "supply_daily", "transition_matrix",
)  # fmt: skip
"""In the path of what is neither a recording of prices nor of orders."""


def recordings() -> list[Path]:
    """Return every recording of prices or orders that is present."""
    files = (
        f for f in sorted(RECORDINGS.rglob("*")) if f.name.endswith((".csv", ".xz", ".parquet"))
    )
    return [
        f for f in files if not any(word in str(f.relative_to(RECORDINGS)) for word in NOT_FEEDS)
    ]


def run(*args: object, code: int = 0):  # type: ignore[no-untyped-def] # typer's result
    """Run a command and expect its exit code."""
    result = CliRunner().invoke(APP, [str(arg) for arg in args])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def failure(*args: object) -> str:
    """Run a command that fails and return its error."""
    error = run(*args, code=1).exception
    assert isinstance(error, FeedError)
    return str(error)


def events(lines: bytes) -> list[Quote]:
    """Decode NDJSON as the wire contract has it."""
    decoder: msgspec.json.Decoder[WireEvent] = msgspec.json.Decoder(WireEvent)
    decoded = [decoder.decode(line) for line in lines.splitlines()]
    assert all(isinstance(event, Quote) for event in decoded)
    return [event for event in decoded if isinstance(event, Quote)]


def test_one_file_to_stdout(tmp_path: Path) -> None:
    """Events alone on stdout, the account of every row on stderr."""
    path = samples.ohlcvt_csv(tmp_path / "kraken_usdcusd.csv", 300)
    result = run("import", path, "--trust-names")
    assert len(events(result.stdout_bytes)) == 300
    assert result.stderr == (
        "kraken_usdcusd.csv: ohlcvt, kraken USDC/USD, step 1m\n"
        "  rows: 300 read = 300 written + 0 skipped\n"
        "  closes: 2023-03-10T00:01:00Z to 2023-03-10T05:00:00Z\n"
    )


def test_summary_and_list_of_rejects(tmp_path: Path) -> None:
    """Skipped rows are counted by reason and listed with file, row and cell."""
    lines = samples.ohlcvt_csv(tmp_path / "raw.csv", 10).read_text().splitlines()
    lines[4] = "1678406640,nan,1,1,1,1,1"
    lines[6] = "torn"
    lines.append(lines[9])
    path = samples.write(tmp_path / "kraken_usdcusd.csv", lines)
    out, rejects = tmp_path / "new" / "o.ndjson", tmp_path / "r.ndjson"
    result = run("import", path, "--out", out, "--rejects", rejects, "--trust-names")
    assert result.stdout == ""
    assert "  rows: 11 read = 8 written + 3 skipped (duplicate 1, not_finite 1, wrong_width 1)" in (
        result.stderr
    )
    assert "; 2 steps without a row, at most 1m in a row" in result.stderr
    assert len(events(out.read_bytes())) == 8
    listed = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert {(r["row"], r["reason"], r["detail"]) for r in listed} == {
        (5, "not_finite", "nan"),
        (7, "wrong_width", "torn"),
        (11, "duplicate", "row 10"),
    }
    assert {r["file"] for r in listed} == {str(path)}


def test_several_files_into_a_folder(tmp_path: Path) -> None:
    """One NDJSON per input; options hold for all of them."""
    one = samples.candles_parquet(tmp_path / "coinbase_usdtusd.parquet", 20)
    two = samples.orders_csv(tmp_path / "bitstamp_btcusd.csv.xz", 20)
    end = "2023-03-10T00:00:11Z"
    result = run("import", one, two, "--out", tmp_path / "out", "--to", end, "--trust-names")
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == [
        "bitstamp_btcusd.ndjson",
        "coinbase_usdtusd.ndjson",
    ]
    assert "  rows: 20 read = 0 written + 20 skipped (outside_range 20)\n" in result.stderr
    assert "  quotes: 10 written, 10 withheld (outside_range)\n" in result.stderr


def test_a_failure_leaves_no_half_file(tmp_path: Path) -> None:
    """A file that turns out to be damaged after some rows gives no output at all."""
    path = samples.klines_csv(tmp_path / "kraken_usdcusd.csv", 40_000)
    path.write_bytes(path.read_bytes() + b"1680806400000,1,1,1,\xff,1,1,1,1,1,1,1\n")
    out = tmp_path / "out.ndjson"
    assert "cannot be read as CSV" in failure("import", path, "--out", out, "--trust-names")
    assert [f.name for f in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["a.csv", "b.csv"], "several files need --out FOLDER"),
        (["a.csv", "b.csv", "--out", "a.csv"], "--out must be a folder"),
        (["a.csv", "--out", "a.csv"], "over an input"),
        (["a.csv", "sub/a.csv", "--out", "o"], "written twice"),
        (["a.csv", "--out", "r", "--rejects", "r"], "written twice"),
        (["a.csv", "--step", "soon"], "--step must be"),
        (["a.csv", "--from", "then"], "--from must be a date"),
        (["a.csv", "--out", "a.csv/x"], "cannot be written"),
        (["a.csv", "--format", "x"], "--format must be auto or one of"),
        (["none.csv"], "no such file"),
        (["."], "is a folder"),
        (["doubt.csv"], "give --venue"),
        (["kraken_usdcusd.csv"], "its name suggests kraken USDC/USD, which --trust-names takes"),
    ],
)
def test_what_the_caller_did_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    """One clear error each, before anything is written."""
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    for name in ("a.csv", "b.csv", "doubt.csv", "kraken_usdcusd.csv", "sub/a.csv"):
        samples.bars_csv(Path(name), 5)
    kind = (
        []
        if {"doubt.csv", "kraken_usdcusd.csv"} & {*args}
        else ["--venue", "v", "--base", "A", "--quote", "B"]
    )
    before = sorted(tmp_path.rglob("*"))
    assert message in failure("import", *args, *kind)
    assert sorted(tmp_path.rglob("*")) == before


def test_feeds_lists_every_reader() -> None:
    """Each with its line."""
    listed = run("feeds").stdout.splitlines()
    readers = all_readers()
    assert [line.split()[0] for line in listed] == [reader.name for reader in readers]
    assert all(reader.about in line for reader, line in zip(readers, listed, strict=True))


@pytest.mark.slow
def test_thirty_thousand_bars_take_seconds(tmp_path: Path) -> None:
    """A month of minutes is imported in less processor time than it takes to read this."""
    path = samples.klines_csv(tmp_path / "kraken_usdcusd.csv", 30_000)
    start = time.process_time()
    run("import", path, "--out", tmp_path / "o.ndjson", "--trust-names")
    assert time.process_time() - start < 5


@pytest.mark.recordings
@pytest.mark.skipif(not recordings(), reason=f"no recordings (RISKWATCH_RECORDINGS): {RECORDINGS}")
def test_every_recording(tmp_path: Path) -> None:
    """Every row accounted for; times of each feed strictly increasing closes; ids unique."""
    for path in recordings():
        named = any(v in path.name for v in ("kraken", "coinbase", "binanceus", "bitstamp"))
        options = [] if named else ["--venue", "binance"]
        if "bitstamp" in path.name:
            options += ["--base", "BTC", "--quote", "USD"]
        out = tmp_path / "one.ndjson"
        options.append("--trust-names")
        account = run("import", path, "--out", out, *options).stderr.splitlines()[1].split()
        read, used, skipped = (int(account[n]) for n in (1, 4, 7))
        quotes = events(out.read_bytes())
        assert read == used + skipped > 0, path.name
        assert len({q.event_id for q in quotes}) == len(quotes) > 0, path.name
        assert all(a.ts < b.ts for a, b in itertools.pairwise(quotes)), path.name
        assert all(q.ts.second == 0 for q in quotes if q.last is not None), path.name
        assert all(q.bid < q.ask for q in quotes if q.bid and q.ask), path.name
        if "bitstamp" not in path.name:
            assert (len(quotes), skipped) == (read, 0), path.name
