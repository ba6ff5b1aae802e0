"""Commands that were changed after signing: none has an effect.

``RISKWATCH_FUZZ`` sets the number of examples (default 300); see ``make fuzz``.
"""

from __future__ import annotations

import os
from typing import Any, Final

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from riskwatch.contracts.codec import decode, encode
from riskwatch.contracts.refusal import Refusal
from riskwatch.core.command_signing import command_bytes
from riskwatch.core.events import Command
from riskwatch.core.outputs import (
    CommandApplied,
    CommandRefused,
    ControlChanged,
    DecisionMade,
    KillSwitchChanged,
)
from tests.support.people import command, people, until

EXAMPLES: Final = int(os.environ.get("RISKWATCH_FUZZ", "300"))
DESK: Final = people()
SIGNED: Final = [
    command("ann", "halt", 1, "firm"),
    command("ann", "release", 1),
    command("ann", "override", 1, until=until(60), state="REDUCE"),
    command("ann", "rebase", 1, "firm"),
    command("ann", "set_limit", 1, limit="usdc", hard_usd="1.5", warning_share="0.5"),
    command("tom", "halt", 1, "book:arb"),
    command("rita", "silence", 1, until=until(60), nested={"a": [1, 2.5, None, True]}),
]
FIELDS: Final = [
    "event_id", "source", "operator", "scope", "reason", "idempotency_key", "signature"
]  # fmt: skip
OTHERS: Final = ["ann", "bob", "rita", "tom", "eve", "halt", "release", "firm", "asset:USDC"]
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def unrecorded() -> int:
    """Number of refusals that are counted only, because there were too many in an hour."""
    return sum(row.unrecorded for row in DESK.state.refusals.values())


def without_effect(made: Command) -> None:
    """Assert that the command gives a refusal, or is counted as one, and does nothing else."""
    before = unrecorded()
    out = DESK.stage.step(DESK.state, made)
    answers = [type(o) for o in out if isinstance(o, CommandApplied | CommandRefused)]
    assert answers + [CommandRefused] * (unrecorded() - before) == [CommandRefused]
    assert not [o for o in out if isinstance(o, DecisionMade | KillSwitchChanged | ControlChanged)]
    state = DESK.state
    kept = [state.scopes, state.controls, state.limit_overrides, state.commands]
    assert kept == [{}, {}, {}, {}]


@fuzz
@given(st.sampled_from(SIGNED), st.data())
def test_a_changed_field_is_seen(made: Command, data: st.DataObject) -> None:
    """A change of any field to any other value is refused."""
    name = data.draw(st.sampled_from([*FIELDS, "args", "ts", "source_seq", "action"]))
    new: Any
    if name == "args":
        new = data.draw(st.dictionaries(st.text(max_size=9), st.none() | st.text() | st.integers()))
    elif name == "ts":
        new = data.draw(st.datetimes(timezones=st.just(made.ts.tzinfo)))
    elif name == "source_seq":
        new = data.draw(st.integers(0, 2**62))
    elif name == "action":
        new = data.draw(st.sampled_from(["halt", "approve", "retire", "drill", "unwind"]))
    else:
        new = data.draw(st.sampled_from(OTHERS) | st.text(max_size=40))
    changed = msgspec.structs.replace(made, **{name: new})
    if command_bytes(changed) != command_bytes(made) or changed.signature != made.signature:
        without_effect(changed)


@fuzz
@given(st.sampled_from(SIGNED), st.data())
def test_changed_bytes_are_seen(made: Command, data: st.DataObject) -> None:
    """Flipped, dropped, repeated or inserted bytes never give another valid command."""
    raw = bytearray(encode(made))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        kind = data.draw(st.sampled_from(["turn", "drop", "double", "put"]))
        if kind == "turn":
            raw[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "drop":
            del raw[at]
        elif kind == "double":
            raw[at:at] = raw[at : at + data.draw(st.integers(1, 9))]
        else:
            raw[at:at] = data.draw(st.binary(min_size=1, max_size=4))
    found = decode(bytes(raw))
    if isinstance(found, Refusal) or not isinstance(found, Command):
        return
    same = command_bytes(found) == command_bytes(made) and found.signature == made.signature
    if not same:
        without_effect(found)


@fuzz
@given(st.sampled_from(SIGNED), st.sampled_from(SIGNED), st.binary(min_size=0, max_size=70))
def test_a_signature_fits_one_command(made: Command, other: Command, noise: bytes) -> None:
    """A signature of another command and a random signature are refused."""
    for text in (other.signature, noise.hex(), noise.decode("latin-1"), made.signature[:-1]):
        if text != made.signature:
            without_effect(msgspec.structs.replace(made, signature=text))
