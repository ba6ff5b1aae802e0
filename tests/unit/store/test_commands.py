"""The command-line commands that query the database."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import typer
from sqlalchemy import select
from typer.testing import CliRunner

from riskwatch.commands import db, query
from riskwatch.errors import StoreError
from riskwatch.store import migrate
from riskwatch.store.projections import KILLSWITCH
from tests.support.batches import alert, decision
from tests.support.views import fill

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Engine
    from typer.testing import Result

app = typer.Typer()
app.add_typer(db.app, name="db")
app.add_typer(query.killswitch_app, name="killswitch")
app.command("exposure")(query.exposure_command)
app.command("alerts")(query.alerts_command)
app.command("explain")(query.explain_command)
app.command("sql")(query.sql_command)


def run(url: str, *args: str) -> Result:
    """Run a command on a database."""
    return CliRunner().invoke(app, list(args), env={"RISKWATCH_DATABASE": url})


@pytest.fixture
def filled(engine: Engine, url: str) -> str:
    """Return the URL of a database with the sample history."""
    fill(engine)
    return url


def test_db_upgrade_makes_a_database_that_checks(tmp_path: Path) -> None:
    """The upgrade creates the schema of this build, and `current` prints its revision."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    upgraded = run(url, "db", "upgrade").stdout
    made = rf"at revision {migrate.head_revision()}, deployment [0-9a-f]{{16}}\n"
    assert re.fullmatch(made, upgraded)
    assert run(url, "db", "current").stdout == upgraded
    assert run(url, "db", "upgrade").stdout == upgraded
    assert run(url, "db", "check").exit_code == 0


@pytest.mark.parametrize(
    "args",
    [
        ("exposure",),
        ("alerts",),
        ("explain", "12"),
        ("killswitch", "status"),
        ("sql", "SELECT 1"),
        ("db", "current"),
        ("db", "check"),
    ],
)
def test_a_missing_or_empty_database_is_one_clear_line(tmp_path: Path, args: tuple[str]) -> None:
    """The error says what to run, and no file is created."""
    missing = run(f"sqlite:///{tmp_path / 'none.db'}", *args)
    assert isinstance(missing.exception, StoreError)
    assert "riskwatch db upgrade" in str(missing.exception)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty.db").touch()
    empty = run(f"sqlite:///{tmp_path / 'empty.db'}", *args)
    assert isinstance(empty.exception, StoreError)
    assert "has no riskwatch schema" in str(empty.exception)


def test_exposure_shows_dollars_and_exact_quantities(filled: str) -> None:
    """It prints a table, or JSON with ``--json``."""
    shown = run(filled, "exposure").stdout
    assert "11,067.25" in shown
    assert "700 USDC" in shown
    assert "123,456,789,012,345,678,901,234.123456789012345678 XYZ" in shown
    rows = [json.loads(line) for line in run(filled, "exposure", "--json").stdout.splitlines()]
    assert [row["counterparty"] for row in rows] == ["kraken", "binance"]
    assert rows[0]["quantities"] == {"USDC": "700"}
    assert rows[0]["ts"] == "2023-03-11T03:04:00.000000Z"


def test_exposure_by_issuer_says_that_rows_do_not_add_up(filled: str) -> None:
    """The output says that look-through counts a dollar at the issuer and at its bank."""
    shown = run(filled, "exposure", "--by", "issuer").stdout
    assert "rows do not add up" in shown
    rows = run(filled, "exposure", "--by", "issuer", "--json").stdout.splitlines()
    assert [(r["party"], r["quantities"]) for r in map(json.loads, rows)] == [
        ("circle", {"USDC": "700"}),
        ("bny", {}),
        ("svb", {}),
    ]


def test_alerts_are_open_ones_unless_all_are_asked_for(filled: str) -> None:
    """Without ``--all`` only open alerts are listed, with their ids."""
    shown = run(filled, "alerts").stdout
    assert alert(3.5).id[:12] in shown
    assert alert(2).id[:12] not in shown
    assert alert(2).id[:12] in run(filled, "alerts", "--all").stdout
    lines = run(filled, "alerts", "--json").stdout.splitlines()
    assert [json.loads(line)["exposure_usd"] for line in lines] == ["970"]


def test_explain_takes_the_beginning_of_an_id(filled: str) -> None:
    """An alert is explained with the decision behind it."""
    text = run(filled, "explain", alert(2).id[:8], "--details").stdout
    assert text.startswith("Alert asset:USDC")
    assert f"  id {decision(2).id}, after tick/2" in text
    assert "Kill switch: asset:USDC REDUCE" in text
    found = json.loads(run(filled, "explain", decision(2).id, "--json").stdout)
    assert found["alert"] is None
    assert found["decision"]["features"]["discount_bp"] == 180.0


def test_explain_is_short_until_details_are_asked_for(filled: str) -> None:
    """The summary names the alert, the reasons and what contradicts, and leaves values out."""
    text = run(filled, "explain", alert(2).id[:8]).stdout
    assert text.startswith("Alert asset:USDC, ")
    assert "limit 100 bp" in text
    assert "contradict: binance:USDC/USDT" in text
    assert "Contributions" not in text
    assert f"riskwatch explain {decision(2).id[:12]} --details" in text
    assert "Contributions" in run(filled, "explain", alert(2).id[:8], "--details").stdout


def test_killswitch_status_shows_what_is_in_force(filled: str) -> None:
    """It shows the effective state and the reasons, and that no heartbeat confirms them."""
    shown = run(filled, "killswitch", "status", "--details").stdout
    assert "asset:USDC" in shown
    assert "restricts" in shown
    assert "2023-03-11T03:08:00Z" not in shown
    assert "no heartbeat" in shown
    (line,) = run(filled, "killswitch", "status", "--json").stdout.splitlines()
    assert json.loads(line)["effective"] == "HALT"
    assert json.loads(line)["valid_until"] is None


def test_killswitch_status_has_one_line_per_scope(filled: str, engine: Engine) -> None:
    """A scope has one line with its strongest reason; what is special about it has another."""
    states = [
        ("NORMAL", "NORMAL", "good"),
        ("WATCH", "REDUCE", "stale"),
        ("NORMAL", "WATCH", "good"),
    ]
    more = [
        {"scope": f"book:b{n:02}", "state": state, "effective": effective, "quality": quality}
        for n, (state, effective, quality) in enumerate(states)
    ]
    with engine.begin() as conn:
        (row,) = conn.execute(select(KILLSWITCH)).mappings()
        reasons = ["book:b01 is over its limit", "second reason"]
        for values in more:
            conn.execute(KILLSWITCH.insert().values({**row, "reasons": reasons, **values}))
    lines = run(filled, "killswitch", "status").stdout.splitlines()
    assert lines[0].startswith("no heartbeat")
    assert [line.split()[0] for line in lines[2:5]] == ["HALT", "REDUCE", "WATCH"]
    assert "REDUCE (own WATCH) book:b01" in lines[3]
    assert lines[3].endswith("over its limit")
    assert not any("second reason" in line for line in lines)
    assert "asset:USDC: nothing proves that the HALT took effect" in lines
    assert "book:b01: part of the data behind it is stale" in lines
    assert not any("book:b00" in line for line in lines)
    assert "NORMAL: 1 with a decision, see --details" in lines
    assert lines[-1] == f"why: riskwatch explain {row['decision_id'][:12]}"
    assert "book:b00" in run(filled, "killswitch", "status", "--details").stdout


def test_sql_reads(filled: str) -> None:
    """It runs any query, and says when the limit cut rows off."""
    result = run(filled, "sql", "SELECT scope, '[red]x' FROM decision")
    assert "asset:USDC" in result.stdout
    assert "[red]x" in result.stdout
    some = run(filled, "sql", "SELECT stream, payload, key FROM dead_letter", "--limit", "2")
    assert some.stdout.count("<140000 bytes>") == 2
    assert "only the first 2 rows" in some.stderr
    as_json = run(filled, "sql", "SELECT 1 AS one, NULL AS none, x'ff' AS raw", "--json").stdout
    assert json.loads(as_json) == {"one": 1, "none": None, "raw": "/w=="}
    assert "nothing" in run(filled, "sql", "SELECT 1 WHERE 1 = 2").stdout


@pytest.mark.parametrize(
    ("query_text", "text"),
    [
        ("DELETE FROM alert", "only reads"),
        ("PRAGMA journal_mode=DELETE", "only reads"),
        ("SELECT * FROM nowhere", "no such table"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("/* nothing */", "answers nothing"),
    ],
)
def test_sql_refuses_the_rest(filled: str, query_text: str, text: str) -> None:
    """Other statements fail with one line."""
    result = run(filled, "sql", query_text)
    assert isinstance(result.exception, StoreError)
    assert text in str(result.exception)
