"""``riskwatch audit`` and ``riskwatch verify``: their output and their exit codes."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete
from typer.testing import CliRunner

from riskwatch.cli import app
from riskwatch.contracts.audit import Head
from riskwatch.errors import RiskwatchError, StoreError
from riskwatch.store.audit import chain_tail
from riskwatch.store.projections import DECISION_LOG
from tests.support.audit import WORKER, C, change, cut_off, fill_chain, unguarded
from tests.support.batches import decision
from tests.support.sqlite import engine, template, url

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Engine
    from typer.testing import Result

__all__ = ["engine", "template", "url"]
SPAN = ("--from", "2023-03-11T00:00:00Z", "--to", "2023-03-12T00:00:00Z")


def run(url: str, *args: str) -> Result:
    """Run a command on a database."""
    return CliRunner().invoke(app, list(args), env={"RISKWATCH_DATABASE": url})


@pytest.fixture
def filled(engine: Engine, url: str) -> str:
    """Return the URL of a database with a chain of eight rows."""
    fill_chain(engine, 4)
    return url


def test_an_intact_chain(filled: str, engine: Engine) -> None:
    """The output has one line per worker with the head; exit code 0."""
    with engine.connect() as conn:
        seq, digest = chain_tail(conn, WORKER)
    done = run(filled, "audit", "verify", "--head", f"{WORKER}:{seq}:{digest}")
    said = f"risk: 8 rows, intact; ends at row 8 with {digest}; 1 heads compared\n"
    assert (done.exit_code, done.stdout) == (0, said)
    told = json.loads(run(filled, "audit", "verify", "--json").stdout)
    assert told == {
        "worker": "risk", "rows": 8, "seq": 8, "digest": digest, "heads": 0, "breaches": [],
    }  # fmt: skip


def test_a_chain_that_was_tampered_with(filled: str, engine: Engine) -> None:
    """Each breach is a line, and the exit code is 1."""
    with engine.begin() as conn:
        seq, digest = chain_tail(conn, WORKER)
        unguarded(conn)
        change(conn, random.Random(1))
    done = run(filled, "audit", "verify")
    assert done.exit_code == 1
    assert "was changed" in done.stdout
    with engine.begin() as conn:
        conn.execute(delete(C.seq.table))
    done = run(filled, "audit", "verify", "--head", f"{WORKER}:{seq}:{digest}")
    assert done.exit_code == 1
    assert "ends at row 0, but row 8 was published: 8 rows were cut off" in done.stdout


def test_heads_of_the_topic_are_compared(
    filled: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing tail is found; a topic without heads is refused because it proves nothing."""
    with engine.begin() as conn:
        seq, digest = chain_tail(conn, WORKER)
        unguarded(conn)
        cut_off(conn, random.Random(2))
    heads = [Head(worker=WORKER, epoch=1, seq=seq, digest=digest, ts="", engine="0")]
    monkeypatch.setattr("riskwatch.commands.audit.published_heads", lambda _: heads)
    assert run(filled, "audit", "verify", "--from-topic").exit_code == 1
    heads.clear()
    done = run(filled, "audit", "verify", "--from-topic")
    assert isinstance(done.exception, RiskwatchError)
    assert "holds no head" in str(done.exception)


def test_a_head_must_be_as_it_was_logged(filled: str) -> None:
    """A head in another form is refused."""
    done = run(filled, "audit", "verify", "--head", "risk:8")
    assert "WORKER:SEQ:DIGEST" in str(done.exception)


def test_an_empty_database_has_no_chain(url: str) -> None:
    """A database without a chain is reported, and is not a breach."""
    assert run(url, "audit", "verify").stdout == "there is no chain yet\n"
    assert run(url, "verify", "--all").stdout == "there is no decision yet\n"


def test_a_bundle_goes_out_and_is_checked(filled: str, engine: Engine, tmp_path: Path) -> None:
    """A bundle is signed and checked; a broken chain is not signed."""
    key, out = str(tmp_path / "k"), str(tmp_path / "out")
    assert "keep it to yourself" in run(filled, "audit", "keygen", key).stdout
    done = run(filled, "audit", "export", *SPAN, "--out", out, "--key", key)
    assert done.exit_code == 0, done.exception
    assert "8 rows of risk, signed by " in done.stdout
    assert "without holdings and scores of the moment: risk: there is no journal" in done.stdout
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "alerts.jsonl", "chain.jsonl", "configuration.json", "manifest.json", "manifest.sig",
        "report.html", "scenes.jsonl",
    }  # fmt: skip
    checked = run(filled, "audit", "check", out, "--key", key + ".pub")
    assert checked.exit_code == 0
    assert "rows 1 to 8 of risk" in checked.stdout
    assert "by the key you named" in checked.stdout
    assert "--key says whether" in run(filled, "audit", "check", out).stdout
    (tmp_path / "out" / "report.html").write_text("nothing happened")
    assert run(filled, "audit", "check", out).exit_code == 1
    with engine.begin() as conn:
        unguarded(conn)
        change(conn, random.Random(3))
    done = run(filled, "audit", "export", *SPAN, "--out", str(tmp_path / "n"), "--key", key)
    assert isinstance(done.exception, StoreError)
    assert "nothing is signed" in str(done.exception)
    assert not (tmp_path / "n").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--worker", "ledger/1"), "--worker must be one of risk, was ledger/1"),
        (("--from", "2024-01-01T00:00:00Z"), "--from must not be after --to"),
        (("--key", "nowhere"), "nowhere cannot be read: No such file or directory"),
    ],
)
def test_an_export_that_cannot_be(filled: str, tmp_path: Path, args: tuple[str], said: str) -> None:
    """The error is one line with the remedy."""
    key = str(tmp_path / "k")
    run(filled, "audit", "keygen", key)
    command = ["audit", "export", *SPAN, "--out", str(tmp_path / "o"), "--key", key, *args]
    assert said in str(run(filled, *command).exception)


def test_decisions_that_cannot_be_derived(filled: str, engine: Engine) -> None:
    """Exit code 3 if a decision cannot be derived, 1 if one differs."""
    done = run(filled, "verify", decision(1).id[:10])
    assert done.exit_code == 3
    assert done.stdout.startswith(f"unknown {decision(1).id}\n  not derived from the journal: ")
    with engine.begin() as conn:
        conn.execute(DECISION_LOG.update().values(rule="mine"))
    done = run(filled, "verify", "--all", "--json")
    assert done.exit_code == 1
    assert {json.loads(line)["status"] for line in done.stdout.splitlines()} == {"differs"}


def test_verify_needs_to_know_what(filled: str) -> None:
    """Either ids or --all is required."""
    assert "name decisions, or use --all" in str(run(filled, "verify").exception)
    both = run(filled, "verify", "--all", decision(1).id)
    assert isinstance(both.exception, RiskwatchError)
