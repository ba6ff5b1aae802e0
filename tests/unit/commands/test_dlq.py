"""``riskwatch dlq`` on a database: lists, shows, refuses, and requires two people."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import pytest
from typer.testing import CliRunner

from riskwatch.cli import app
from riskwatch.core.enums import RejectReason
from riskwatch.errors import RiskwatchError, StoreError
from riskwatch.store import migrate
from riskwatch.store.batch import Batch, Counts, DeadLetter
from riskwatch.store.engine import open_engine
from riskwatch.store.faults import Fault, faults, quarantines, record_crash
from riskwatch.store.transaction import commit, take_lease
from riskwatch.store.truth import COMMITS, TICKS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import Engine
    from typer.testing import Result

FILLS: Final = "riskwatch.fills/3"
HOUR: Final = 3_600_000_000
START: Final = 1_678_500_000_000_000
LETTERS: Final = {
    "ledger/3": [
        DeadLetter(FILLS, 17, RejectReason.FIELD_RANGE, "qty \x1b[2J", b'{"a":"caf\xc3\xa9"}',
                   b"kraken", (("trace", b"\xff"),), START + HOUR),
        DeadLetter(FILLS, 18, RejectReason.UTF8_INVALID, "byte 0", b"\xff\x00" * 3000, None, (),
                   START + 3 * HOUR),
    ],
    "risk": [
        DeadLetter("riskwatch.readings/0", 17, RejectReason.FIELD_TYPE, "not a reading", b"x",
                   us=START + 2 * HOUR),
        DeadLetter("riskwatch.pegs/0", 4, RejectReason.FIELD_RANGE, "price", b"{}", b"USDC"),
    ],
    "embedded": [
        DeadLetter("mixed.ndjson", 17, RejectReason.MESSAGE_TOO_LARGE, "size=9 bytes", b"abc",
                   headers=(("size", b"9"),), us=START),
        DeadLetter("fills/3", 18, RejectReason.FIELD_RANGE, "a file of a treacherous name", b"1",
                   us=START),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database with dead letters of three workers, to copy."""
    path = tmp_path_factory.mktemp("dlq") / "template.db"
    url = f"sqlite:///{path}"
    migrate.upgrade(url)
    engine = open_engine(url)
    for worker, found in LETTERS.items():
        epoch = take_lease(engine, worker, "test").epoch
        counts = Counts(read=len(found), rejected=len(found))
        commit(engine, Batch(worker, epoch, dead_letters=found, counts=counts))
    engine.dispose()
    return path


@pytest.fixture
def url(template: Path, tmp_path: Path) -> str:
    """Return the URL of a copy of the template."""
    return f"sqlite:///{shutil.copy(template, tmp_path / 'risk.db')}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """Return an engine on the copy."""
    opened = open_engine(url)
    yield opened
    opened.dispose()


def run(url: str, *args: str) -> Result:
    """Run a command on a database."""
    return CliRunner().invoke(app, ["dlq", *args], env={"RISKWATCH_DATABASE": url})


def ids(url: str, *args: str) -> list[str]:
    """Return the listed ids in their order."""
    lines = run(url, "list", "--json", *args).stdout.splitlines()
    return [json.loads(line)["id"] for line in lines]


def test_the_newest_come_first(url: str) -> None:
    """The list is ordered by event time, and limited."""
    newest = ["riskwatch.fills/3@18", "riskwatch.readings/0@17", "riskwatch.fills/3@17"]
    assert ids(url)[:3] == newest
    assert ids(url, "--limit", "2") == newest[:2]


@pytest.mark.parametrize(
    ("args", "found"),
    [
        (["--topic", "riskwatch.fills"], ["riskwatch.fills/3@18", "riskwatch.fills/3@17"]),
        (["--topic", "pegs"], ["riskwatch.pegs/0@4"]),
        (["--topic", "mixed.ndjson"], ["mixed.ndjson@17"]),
        (["--topic", "riskwatch.fill"], []),
        (["--topic", "mixed_ndjson"], []),
        (["--reason", "field_range", "--worker", "ledger/3"], ["riskwatch.fills/3@17"]),
    ],
)
def test_lists_are_filtered(url: str, args: list[str], found: list[str]) -> None:
    """The list is filtered by topic with or without its prefix, by reason and by worker."""
    assert ids(url, *args) == found


def test_counts_are_by_topic_and_reason(url: str) -> None:
    """The counts include dead letters beyond the limit of the list."""
    shown = run(url, "list", "--limit", "1").stdout.splitlines()
    assert "        1  riskwatch.fills  UTF8_INVALID" in shown
    assert "        1  mixed.ndjson  MESSAGE_TOO_LARGE" in shown
    assert shown[-1] == "        6  in all, 1 shown"


def test_a_letter_is_shown_as_text(url: str) -> None:
    """Reason, key and headers are shown; the content cannot control the terminal."""
    shown = run(url, "show", "fills/3@17")
    assert shown.stdout == run(url, "show", "ledger/3", FILLS, "17").stdout
    assert shown.stdout.splitlines() == [
        "id        riskwatch.fills/3@17",
        "worker    ledger/3",
        "reason    FIELD_RANGE: qty \\x1b[2J",
        "at        2023-03-11T03:00:00Z (event time of the worker)",
        "key       kraken",
        "header    trace: hex ff",
        f"payload   13 bytes, SHA-256 {sha256(LETTERS['ledger/3'][0].payload).hexdigest()}",
        '{"a":"café"}',
    ]


def test_bytes_that_are_no_text_are_shown_as_digits(url: str) -> None:
    """At most 4 KiB are shown as digits; --raw gives all bytes and nothing else."""
    shown = run(url, "show", f"{FILLS}@18").stdout.splitlines()
    assert shown[-130].endswith("6000 bytes, SHA-256 " + shown[-130].rpartition(" ")[2])
    assert shown[-129] == "       0  " + "ff 00 " * 15 + "ff 00"
    assert shown[-1] == "and 1904 bytes more: --raw gives all"
    assert run(url, "show", f"{FILLS}@18", "--raw").stdout_bytes == b"\xff\x00" * 3000
    told = json.loads(run(url, "show", f"{FILLS}@18", "--json").stdout)
    assert (told["key"], told["payload"]) == (None, ["hex", "ff00" * 3000])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["fills/3@1"], "there is no dead letter fills/3@1"),
        (["ledger/4", FILLS, "17"], "there is no dead letter"),
        (["17"], "STREAM@POSITION"),
        ([f"{FILLS}@x"], "STREAM@POSITION"),
        ([f"{FILLS}@²"], "STREAM@POSITION"),
        ([f"{FILLS}@" + "9" * 19], "STREAM@POSITION"),
        ([FILLS, "17"], "STREAM@POSITION"),
        ([], "STREAM@POSITION"),
        (["fills/3@18"], "could be embedded fills/3 18, ledger/3 riskwatch.fills/3 18"),
    ],
)
def test_what_names_no_letter_is_said(url: str, words: list[str], why: str) -> None:
    """The error is one line."""
    failed = run(url, "show", *words).exception
    assert isinstance(failed, StoreError)
    assert why in str(failed)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["mixed.ndjson@17"], "it is from the file mixed.ndjson"),
        (["embedded", "fills/3", "18"], "it is from the file fills/3"),
        (["readings/0@17"], "riskwatch.readings is no input"),
        ([], "name one letter"),
        (["--all"], "--all goes with --reason"),
        (["--all", "--reason", "FIELD_RANGE"], "3 letters would be sent again"),
        (["--all", "--reason", "FIELD_RANGE", "fills/3@17"], "name one letter"),
        (["fills/3@17", "--reason", "FIELD_RANGE"], "go with --all"),
        ([f"{FILLS}@18", "--person", " "], "--person must be a name"),
    ],
)
def test_what_cannot_be_sent_again_is_said(url: str, args: list[str], why: str) -> None:
    """The error comes before any connection to the broker."""
    failed = run(url, "replay", *args).exception
    assert isinstance(failed, RiskwatchError)
    assert why in str(failed)


def test_two_different_people_set_a_message_aside(url: str, engine: Engine) -> None:
    """The first request has no effect, a repeat is refused, and the second person decides."""
    record_crash(engine, "ledger/3", (FILLS, 20), "ZeroDivisionError: x")
    args = ["quarantine", "ledger/3", FILLS, "20", "--reason", "bug 7", "--person"]
    first = run(url, *args, "Ann").stdout
    assert first.startswith("1 of 2 people ask that ledger/3 passes riskwatch.fills/3@20 over.")
    assert "riskwatch dlq quarantine ledger/3 riskwatch.fills/3 20 --person" in first
    assert quarantines(engine, "ledger/3") == {}
    same = run(url, *args, " ann ").exception
    assert isinstance(same, StoreError)
    assert "takes another person" in str(same)
    second = run(url, *args, "Bob").stdout
    assert second.startswith("2 of 2 people ask")
    assert "goes on" in second
    assert quarantines(engine, "ledger/3") == {(FILLS, 20): "Ann: bug 7; Bob: bug 7"}
    told = json.loads(run(url, "faults", "--json").stdout)
    assert (told["crashes"], told["asked"]) == (1, ["Ann: bug 7", "Bob: bug 7"])
    assert "2 of 2: Ann: bug 7" in run(url, "faults").stdout


@pytest.mark.parametrize(
    ("stream", "reason", "why"),
    [(FILLS, "x", "no stage failed"), (FILLS, " ", "must say why")],
)
def test_only_a_fault_can_be_set_aside(url: str, stream: str, reason: str, why: str) -> None:
    """A quarantine needs an open fault and a reason."""
    args = ["quarantine", "ledger/3", stream, "20", "--person", "Ann", "--reason", reason]
    failed = run(url, *args).exception
    assert isinstance(failed, RiskwatchError)
    assert why in str(failed)


def test_a_tick_is_skipped_when_two_people_request_it(url: str, engine: Engine) -> None:
    """The command says what is lost."""
    record_crash(engine, "risk", (TICKS, 0), "ZeroDivisionError: x")
    args = ["quarantine", "risk", TICKS, "0", "--reason", "x", "--person"]
    assert run(url, *args, "Ann").stdout.startswith("1 of 2")
    assert isinstance(run(url, *args, "ann").exception, StoreError)
    assert "nothing is decided at the tick" in run(url, *args, "Bob").stdout


def test_a_batch_cannot_be_set_aside(url: str, engine: Engine) -> None:
    """Its inputs are committed one by one; the command says so."""
    record_crash(engine, "risk", (COMMITS, 12), "IntegrityError: x")
    args = ["quarantine", "risk", COMMITS, "12", "--person", "Ann", "--reason", "x"]
    failed = run(url, *args).exception
    assert isinstance(failed, StoreError)
    assert "one by one" in str(failed)


def test_a_worker_can_be_let_try_again(url: str, engine: Engine) -> None:
    """One person is enough, because nothing is skipped."""
    for _ in range(3):
        record_crash(engine, "ledger/3", (FILLS, 20), "ZeroDivisionError: x")
    assert run(url, "retry", "ledger/3").stdout == "ledger/3 tries again: riskwatch.fills/3@20\n"
    assert faults(engine, "ledger/3") == [Fault(FILLS, 20, 0, "ZeroDivisionError: x")]
    assert isinstance(run(url, "retry", "ledger/4").exception, StoreError)
