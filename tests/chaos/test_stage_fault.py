"""A ledger that fails at one message, on a real broker and a real Postgres, from end to end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest
from typer.testing import CliRunner

from riskwatch.cli import app
from riskwatch.contracts.outputs import decode_output
from riskwatch.core.outputs import AlertResolved, StageFaulted
from riskwatch.worker.merge import partition_of
from riskwatch.worker.worker import LEDGER_TOPICS
from tests.chaos.lab import Lab, wait_for
from tests.chaos.verdict import conserved, topics_hold
from tests.support.toy import fill_line, quote_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.kafka import Node
    from tests.support.postgres import Server

# Clients of a broker that is killed leave sockets behind, which are collected at some time.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
NUMBER: Final = partition_of(b"kraken", 8)
UNIT: Final = f"ledger/{NUMBER}"
STREAM: Final = f"riskwatch.fills/{NUMBER}"
LOUD: Final = re.compile(rb"^riskwatch: .* for time (\d): .*a planted bug$", re.MULTILINE)
KILLSWITCH: Final = (
    "SELECT state, effective, quality FROM killswitch WHERE scope = 'counterparty:{}'"
)


@pytest.fixture
def lab(root: Path, tmp_path: Path, kafka_chaos: tuple[Node, Server]) -> Iterator[Lab]:
    """Workers whose ledger raises at one message."""
    made = Lab(root, tmp_path, *kafka_chaos, "stage", module=("tests.chaos.faulty", "stage"))
    made.set_up()
    try:
        made.start("ledger-1", "risk-1")
        yield made
    finally:
        made.destroy()


def quotes(first: int, last: int) -> list[bytes]:
    """What a bitcoin costs on three venues, each minute."""
    return [
        quote_line(10 * minute + n, 60 * minute, "20000", base="BTC", venue=venue)
        for minute in range(first, last)
        for n, venue in enumerate(("kraken", "coinbase", "bitstamp"))
    ]


def fill(n: int, minute: float, party: str, **changes: Any) -> bytes:
    """A bitcoin bought there."""
    return fill_line(n, 60 * minute, counterparty=party, **changes)


def until(lab: Lab, what: str, query: str, *wanted: tuple[object, ...]) -> None:
    """Wait until the database answers so, starting again what ended."""

    def so() -> bool:
        lab.supervise()
        return lab.asked(query) == list(wanted)

    wait_for(so, what, lab.folder)


def held(party: str) -> str:
    """Query for the bitcoins that the world knows of."""
    return (
        "SELECT amount::text FROM exposure WHERE asset = 'BTC' AND component = 'custody' "
        f"AND counterparty = '{party}'"
    )


def quarantine(lab: Lab, person: str) -> str:
    """One person asks that the message is set aside."""
    args = ["dlq", "quarantine", UNIT, STREAM, "1", "--person", person, "--reason", "bug 7"]
    done = CliRunner().invoke(app, args, env={"RISKWATCH_DATABASE": lab.database})
    assert done.exit_code == 0, done.output
    return done.stdout


def faults_told(lab: Lab) -> list[Any]:
    """What the ledger worker said of itself on the topic of alerts."""
    found = [r for r in lab.published(["riskwatch.alerts"]) if r.worker == UNIT]
    return [decode_output(r.value) for r in found]


def test_a_stage_that_raises_is_heard_of_and_nothing_is_lost(lab: Lab) -> None:
    """Three loud crashes, then it stays down; REDUCE there, business as usual elsewhere.

    One person changes nothing. The second makes it go on, without the message, which is kept.
    """
    assert partition_of(b"coinbase", 8) != NUMBER
    log = lab.folder / f"{lab.name}-ledger-1.log"
    lab.publish([*quotes(0, 4), fill(1, 1, "kraken"), fill(2, 1, "coinbase")])
    until(lab, "holdings", held("kraken"), ("1",))
    until(lab, "holdings", held("coinbase"), ("1",))

    poison = fill(3, 4, "kraken", event_id="poison")
    lab.publish([*quotes(4, 8), poison, fill(4, 5, "kraken"), fill(5, 5, "coinbase")])
    alert = f"SELECT severity, raised FROM alert_open WHERE alert = 'worker:{UNIT}|fault'"
    until(lab, "the alert", alert, ("REDUCE", 1))
    assert LOUD.findall(log.read_bytes()) == [b"1", b"2", b"3"]
    until(lab, "the doubt", KILLSWITCH.format("kraken"), ("NORMAL", "REDUCE", "unknown"))
    until(lab, "the others to go on", held("coinbase"), ("2",))
    assert lab.asked(KILLSWITCH.format("coinbase")) == []
    assert quarantine(lab, "ann").startswith("1 of 2")
    lab.settle(seconds=2)  # it looks more often than that
    offset = f"SELECT position FROM stream_offset WHERE stream = '{STREAM}'"
    assert lab.asked(offset) == [(1,)]
    assert [type(o) for o in faults_told(lab)] == [StageFaulted]
    assert lab.asked("SELECT * FROM dead_letter") == []

    assert quarantine(lab, "bob").startswith("2 of 2")
    until(lab, "the message to be set aside", offset, (3,))
    until(lab, "the alert to end", alert)
    until(lab, "the doubt to end", KILLSWITCH.format("kraken"), ("NORMAL", "NORMAL", "good"))
    until(lab, "what came after it", held("kraken"), ("2",))
    assert lab.asked("SELECT worker, stream, position, reason, payload FROM dead_letter") == [
        (UNIT, STREAM, 1, "QUARANTINED", poison)
    ]
    lab.wait_done()
    assert [type(o) for o in faults_told(lab)] == [StageFaulted, AlertResolved]
    assert lab.read()["ledger"] == lab.sent.count(LEDGER_TOPICS)
    lab.stop()
    assert lab.exits == []
    assert [*conserved(lab), *topics_hold(lab)] == []
