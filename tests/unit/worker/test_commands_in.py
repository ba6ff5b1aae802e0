"""Commands at the input of the risk stage: arrival, journal, and identities that stay free."""

from __future__ import annotations

import msgspec

from riskwatch.contracts.codec import decode, encode
from riskwatch.core.clock import SECOND, micros
from riskwatch.core.enums import CommandRefusal, RejectReason
from riskwatch.core.events import Command
from riskwatch.core.outputs import CommandApplied, CommandRefused, KillSwitchChanged
from riskwatch.engine import bootstrap
from riskwatch.engine.publish import NullPublisher
from riskwatch.engine.record import InputRecord
from riskwatch.engine.runner import Runner
from tests.support.fakes import MemoryStore
from tests.support.people import OPERATORS, command

STREAM = "riskwatch.commands/0"
CONFIG = msgspec.structs.replace(bootstrap.configuration(), operators=OPERATORS)


def told(*records: InputRecord) -> MemoryStore:
    """What a risk worker makes of records."""
    store = MemoryStore()
    pipeline = bootstrap.risk_pipeline(CONFIG)
    runner = Runner(store, pipeline, NullPublisher(), worker="risk", holder="test")
    runner.begin()
    for each in records:
        runner.apply(each)
    runner.commit([])
    return store


def came(made: Command, position: int, late_s: float) -> InputRecord:
    """Make a record that the broker took so much later than it was signed."""
    us = micros(made.ts)
    return InputRecord(
        STREAM, position, encode(made), made, us, arrived_us=us + round(late_s * SECOND)
    )  # fmt: skip


def test_a_command_arrives_when_the_broker_says_so() -> None:
    """Its sender cannot make an old one fresh."""
    made = command("ann", "halt", 1)
    fresh = msgspec.structs.replace(made, arrived=made.ts)
    outputs = told(came(fresh, 0, 3_600)).outputs.values()
    assert [o.refusal for o in outputs if isinstance(o, CommandRefused)] == [CommandRefusal.STALE]
    assert not [o for o in outputs if isinstance(o, KillSwitchChanged)]


def test_a_replay_of_the_journal_says_the_same() -> None:
    """The arrival is kept with the command, for what was decided rests on it."""
    store = told(came(command("ann", "halt", 1), 0, 3_600), came(command("bob", "halt", 2), 1, 1))
    lines = [payload for _, kind, payload in store.journal.values() if kind == "command"]
    again = []
    for n, line in enumerate(lines):
        event = decode(line)
        assert isinstance(event, Command)
        again.append(InputRecord("journal", n, line, event, micros(event.ts)))
    assert told(*again).outputs == store.outputs
    assert [type(o) for o in store.outputs.values()].count(KillSwitchChanged) == 1


def test_a_copy_of_a_command_is_recorded() -> None:
    """Other events that come twice are dropped without a word; who copies commands is told of."""
    made = command("ann", "halt", 1)
    store = told(came(made, 0, 1), came(made, 1, 2), came(made, 2, 3))
    refused = [o for o in store.outputs.values() if isinstance(o, CommandRefused)]
    assert [o.refusal for o in refused] == [CommandRefusal.REPLAYED] * 2
    assert [type(o) for o in store.outputs.values()].count(KillSwitchChanged) == 1


def test_a_forged_command_does_not_use_an_identity_up() -> None:
    """It is a dead letter; the true one, under the same identity, counts."""
    made = command("ann", "halt", 1)
    forged = msgspec.structs.replace(made, signature="0" * 128)
    store = told(came(forged, 0, 1), came(made, 1, 2))
    (letter,) = store.dead.values()
    assert letter.reason is RejectReason.COMMAND_REFUSED
    assert letter.payload == encode(forged)
    kinds = [type(o) for o in store.outputs.values()]
    assert kinds.count(CommandRefused) == kinds.count(CommandApplied) == 1
    assert store.last is not None
    assert (store.last.counts.applied, store.last.counts.rejected) == (1, 1)
