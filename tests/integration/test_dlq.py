"""Dead letters on a real broker and a real Postgres: replayed unchanged, and only once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from riskwatch.cli import app
from riskwatch.core.enums import RejectReason
from riskwatch.errors import StoreError
from riskwatch.store import dead_letters, migrate
from riskwatch.store.batch import Batch, Counts, DeadLetter
from riskwatch.store.dead_letters import DeadLetterPlace
from riskwatch.store.engine import open_engine
from riskwatch.store.transaction import commit, take_lease
from riskwatch.store.truth import REPLAYED
from tests.support.cluster import Cluster, cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine
    from typer.testing import Result

__all__ = ["cluster"]
FILLS: Final = "riskwatch.fills"
PEGS: Final = "riskwatch.pegs"
RANGE: Final = RejectReason.FIELD_RANGE
LETTERS: Final = [
    DeadLetter(f"{FILLS}/3", 17, RANGE, "qty", b"\xff{", b"kraken", (("t", b"\xfe"), ("t", b""))),
    DeadLetter(f"{PEGS}/0", 4, RANGE, "price", b"{}", None, us=2),
    DeadLetter(f"{PEGS}/0", 3, RANGE, "price", b"[]", b"USDC", us=1),
    DeadLetter("mixed.ndjson", 9, RANGE, "price", b"7", None),
    DeadLetter(f"{PEGS}/0", 5, RejectReason.MESSAGE_TOO_LARGE, "size", b"x" * 3_000_000, None),
]


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    """A database with dead letters."""
    migrate.upgrade(postgres_url)
    engine = open_engine(postgres_url)
    epoch = take_lease(engine, "w", "test").epoch
    counts = Counts(read=len(LETTERS), rejected=len(LETTERS))
    commit(engine, Batch("w", epoch, dead_letters=LETTERS, counts=counts))
    yield engine
    engine.dispose()


def run(engine: Engine, cluster: Cluster, *args: str) -> Result:
    """Run a command on both."""
    environment = {
        "RISKWATCH_DATABASE": engine.url.render_as_string(hide_password=False),
        "RISKWATCH_KAFKA": cluster.connection.servers,
        "RISKWATCH_TOPIC_PREFIX": cluster.connection.prefix,
    }
    return CliRunner().invoke(app, ["dlq", *args], env=environment)


def replayed(engine: Engine) -> list[tuple[str, str]]:
    """Who sent which letter again."""
    with engine.connect() as conn:
        rows = conn.execute(select(REPLAYED)).all()
    return sorted((DeadLetterPlace(*row[:3]).id, row.person) for row in rows)


def test_a_letter_is_sent_as_it_came_and_once(engine: Engine, cluster: Cluster) -> None:
    """Bytes, key and headers, one header more; the second time only on purpose."""
    cluster.make(FILLS)
    done = run(engine, cluster, "replay", "fills/3@17", "--person", "Ann")
    assert done.stdout == f"{FILLS}/3@17: 2 bytes sent to {FILLS} by Ann\n"
    (sent,) = cluster.read(FILLS)
    assert (sent.key, sent.value) == (b"kraken", b"\xff{")
    marked = ("rw-replayed", f"{FILLS}/3@17".encode())
    assert list(sent.headers) == [("t", b"\xfe"), ("t", b""), marked]
    twice = run(engine, cluster, "replay", "fills/3@17", "--person", "Bob")
    assert isinstance(twice.exception, StoreError)
    assert "was sent again before, by Ann" in str(twice.exception)
    assert run(engine, cluster, "replay", "fills/3@17", "--person", "Bob", "--again").exit_code == 0
    assert len(cluster.read(FILLS)) == 2
    assert replayed(engine) == [(f"{FILLS}/3@17", "Bob")]
    assert "replayed  by Bob" in run(engine, cluster, "show", "fills/3@17").stdout


def test_all_of_a_reason_are_sent_in_their_order(engine: Engine, cluster: Cluster) -> None:
    """What cannot be sent, or was, is counted; nothing of another reason goes."""
    cluster.make(FILLS, PEGS)
    assert run(engine, cluster, "replay", "fills/3@17").exit_code == 0
    done = run(engine, cluster, "replay", "--all", "--reason", "FIELD_RANGE", "--yes",
               "--person", "Ann")  # fmt: skip
    assert done.stdout.splitlines() == [
        f"2 sent to {PEGS} by Ann",
        "1 not sent: it is from the file mixed.ndjson: correct it there, or `riskwatch publish` it",
        "1 not sent: sent again before (--again sends it anyway)",
    ]
    assert [r.value for r in cluster.read(PEGS)] == [b"[]", b"{}"]
    assert len(cluster.read(FILLS)) == 1
    ids = [name for name, _ in replayed(engine)]
    assert ids == [f"{FILLS}/3@17", f"{PEGS}/0@3", f"{PEGS}/0@4"]


@pytest.mark.parametrize("name", ["pegs/0@4", "pegs/0@5"])
def test_what_was_not_sent_is_not_noted(engine: Engine, cluster: Cluster, name: str) -> None:
    """Neither without a topic, nor where the message is too large to be sent."""
    if name.endswith("5"):
        cluster.make(PEGS)
    assert run(engine, cluster, "replay", name).exit_code != 0
    assert replayed(engine) == []


def test_two_people_at_once_send_it_once(engine: Engine) -> None:
    """The second waits for the first, and is told."""
    place = DeadLetterPlace("w", f"{PEGS}/0", 4)
    told: list[str] = []

    def second() -> None:
        try:
            with engine.begin() as conn:
                dead_letters.claim_dead_letter(conn, place, "Bob", again=False)
        except StoreError as error:
            told.append(str(error))

    with engine.begin() as conn:
        dead_letters.claim_dead_letter(conn, place, "Ann", again=False)
        other = threading.Thread(target=second)
        other.start()
        other.join(timeout=0.2)
        assert other.is_alive()
    other.join(timeout=30)
    assert told == [f"{PEGS}/0@4 was sent again before, by Ann: --again sends it anyway"]
