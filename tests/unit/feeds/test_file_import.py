"""The import of a file of any shape: what it recognises, asks, refuses and says of it."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from riskwatch import cli
from riskwatch.commands.data import import_command
from riskwatch.errors import FeedError, OptionNeededError
from riskwatch.feeds.document import open_document
from riskwatch.feeds.file_import import all_readers, plan_file, recognise_file
from riskwatch.feeds.shape import FileLabels, FileShape
from riskwatch.feeds.shapes import SHAPES
from tests.support.files import import_text
from tests.unit.feeds.test_exports import KRAKEN_LEDGER

if TYPE_CHECKING:
    from pathlib import Path

CCXT_TRADES = {"ccxt-trades", "ccxt-public-trades"}
"""Two shapes of the same fields, which only their content tells apart."""
APP = typer.Typer()
APP.command("import")(import_command)
APP.command("none")(lambda: None)


def run(*args: object) -> str:
    """Run an import and return everything that it printed."""
    result = CliRunner().invoke(APP, ["import", *map(str, args)])
    if result.exception is not None and result.exit_code:
        raise result.exception
    return result.output


def test_the_name_of_a_file_decides_nothing(tmp_path: Path) -> None:
    """A ledger of Kraken is one under any name, and stays Kraken's."""
    made = import_text(tmp_path / "binance_trades_BTCUSDT.csv", KRAKEN_LEDGER, account="m")
    assert made.shape == "kraken-ledger"
    assert {e.counterparty for e in made.events} == {"kraken"}  # type: ignore[attr-defined]


def test_an_account_that_nobody_names_ends_with_code_four(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Off a terminal the exit code is 4, and the message names the option."""
    path = tmp_path / "x.csv"
    path.write_text(KRAKEN_LEDGER)
    monkeypatch.setattr(sys, "argv", ["riskwatch", "import", str(path)])
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 4
    assert "give --account: the file does not name the account" in capsys.readouterr().err


def test_an_answer_counts_like_an_option(tmp_path: Path) -> None:
    """What is asked is the option, why, and a guess from the name; the answer is used."""
    path = tmp_path / "okx.csv"
    path.write_text(KRAKEN_LEDGER)
    document = open_document(path)
    shape = recognise_file(document)
    assert isinstance(shape, FileShape)
    asked: list[tuple[str, str | None]] = []

    def ask(option: str, why: str, guess: str | None) -> str:
        asked.append((option, guess))
        assert why
        return "main"

    plan = plan_file(document, shape, FileLabels(venue=""), ask)
    assert (plan.labels.venue, plan.labels.account) == ("kraken", "main")
    assert asked == [("--account", None)]


def test_an_unknown_file_is_told_what_the_nearest_reader_misses(tmp_path: Path) -> None:
    """The message has the form, the columns, and the missing columns of the nearest shapes."""
    path = tmp_path / "x.csv"
    path.write_text("txid,refid,time,type,subtype,aclass,asset,amount\na,b,c,d,e,f,g,1\n")
    with pytest.raises(FeedError) as error:
        recognise_file(open_document(path))
    message = str(error.value)
    assert "no reader knows this table: txid, refid, time" in message
    assert "; kraken-ledger misses balance, fee" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b'{"a": ', "begins like JSON and is not"),
        (b'{"a": {"b": 1}}', "no reader knows this json"),
        (b"<x/>", "no reader knows this xml"),
        (b"a,b\n1,2\n", "no reader knows this table: a, b"),
    ],
)
def test_a_file_of_no_shape_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """Each with one clear error, and nothing is invented."""
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(FeedError, match=message):
        recognise_file(open_document(path))


def test_a_dry_run_shows_balances_beside_the_files_own(tmp_path: Path) -> None:
    """Counts, balances, and names that nothing lists; no event is written."""
    path = tmp_path / "x.csv"
    path.write_text(KRAKEN_LEDGER.replace("ZUSD", "NEWCOIN"))
    out = run(path, "--account", "main", "--dry-run", "--out", tmp_path / "o.ndjson")
    assert "  rows: 8 read = 7 used + 1 skipped (not_final 1)\n" in out
    assert "  balance: main/spot-main NEWCOIN 849, the file states 849: agrees\n" in out
    assert "  unknown: asset NEWCOIN, which nothing lists\n" in out
    assert not (tmp_path / "o.ndjson").exists()


def test_a_dry_run_says_where_balances_differ(tmp_path: Path) -> None:
    """An entry that was lost shows as a warning, and as a difference."""
    path = tmp_path / "x.csv"
    lines = KRAKEN_LEDGER.splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("L4")))
    out = run(path, "--account", "main", "--dry-run")
    assert "XXBT 0.011, the file states 0.0005: DIFFERS" in out
    assert "WARNING: main/spot-main/XXBT: the entries give another balance" in out


def test_standard_input_is_a_file(tmp_path: Path) -> None:
    """A dash reads standard input, and gives the events of the file."""
    path = tmp_path / "x.csv"
    path.write_text(KRAKEN_LEDGER)
    piped = CliRunner().invoke(APP, ["import", "-", "--account", "main"], input=KRAKEN_LEDGER)
    named = CliRunner().invoke(APP, ["import", str(path), "--account", "main"])
    assert piped.exit_code == 0
    assert piped.stdout == named.stdout != ""


def test_trades_of_two_files_do_not_count_twice(tmp_path: Path) -> None:
    """A ledger beside the fills of the same venue needs the caller's decision."""
    ledger, fills = tmp_path / "l.csv", tmp_path / "t.csv"
    ledger.write_text(KRAKEN_LEDGER)
    fills.write_text(
        "txid,ordertxid,pair,time,type,ordertype,price,cost,fee,vol,margin\n"
        "T1,O1,XXBTZUSD,2023-01-02 10:00:00,buy,limit,20000,400,1,0.02,0\n"
    )
    args = (ledger, fills, "--account", "main", "--out", tmp_path / "out")
    with pytest.raises(OptionNeededError, match="--without-trades or --with-trades"):
        run(*args)
    run(*args, "--without-trades")
    written = (tmp_path / "out" / "l.ndjson").read_text()
    assert "conversion" not in written
    assert (tmp_path / "out" / "t.ndjson").read_text().count('"fill"') == 1


def test_a_range_keeps_the_balance_before_it(tmp_path: Path) -> None:
    """The entries before the range are in the balance with which it begins."""
    path = tmp_path / "x.csv"
    path.write_text(KRAKEN_LEDGER)
    out = run(path, "--account", "main", "--from", "2023-01-03", "--dry-run")
    assert "XXBT 0.0005, the file states 0.0005: agrees" in out
    assert "outside_range 3" in out


def test_a_row_that_breaks_the_contract_is_skipped_with_the_reason(tmp_path: Path) -> None:
    """The contract's own words are the detail of the skipped row."""
    long = "X" * 65
    made = import_text(tmp_path / "x.csv", KRAKEN_LEDGER.replace("ZUSD", long), account="main")
    assert {str(r.reason) for r in made.rejects} == {"not_final", "refused"}
    assert any("asset" in r.detail for r in made.rejects)


def test_no_shape_is_proved_by_the_columns_of_another() -> None:
    """Each shape has a name of its own, and no set of its columns is part of another's."""
    names = [reader.name for reader in all_readers()]
    assert len(names) == len(set(names))
    sets = [(shape.name, columns) for shape in SHAPES for columns in shape.variants]
    assert not [
        (one, other)
        for one, columns in sets
        for other, others in sets
        if one != other and columns <= others and {one, other} != CCXT_TRADES
    ]


def test_json_lines_are_records(tmp_path: Path) -> None:
    """One object on each line is a file of records, like one list."""
    rows = [
        {"txid": "T1", "ordertxid": "O", "pair": "XXBTZUSD", "time": "1672653600", "type": "buy",
         "ordertype": "limit", "price": "20000", "cost": "400", "fee": "1", "vol": "0.02",
         "margin": "0"},
    ]  # fmt: skip
    lines = b"\n".join(msgspec.json.encode(row) for row in rows * 2)
    made = import_text(tmp_path / "x.ndjson", lines, account="m")
    assert (made.shape, made.report.tally.read) == ("kraken-trades", 2)


def test_the_page_lists_every_shape(root: Path) -> None:
    """The table of docs/files.md is the one that the registry gives."""
    page = (root / "docs" / "files.md").read_text()
    table = page.partition("<!-- shapes -->\n")[2].partition("<!-- /shapes -->")[0]
    rows = [f"| `{shape.name}` | {shape.about} | {shape.gives} |" for shape in SHAPES]
    assert table.splitlines() == ["| shape | files | events |", "|---|---|---|", *rows]
