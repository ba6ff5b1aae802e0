"""Messages of version 1 decode for ever, and mean what they say."""

from __future__ import annotations

from decimal import Decimal
from typing import get_args

import msgspec
import pytest

from riskwatch.contracts.codec import SHAPES_BY_TAG, SHAPES_BY_TYPE, decode, encode
from riskwatch.contracts.outputs import decode_output, encode_output
from riskwatch.contracts.refusal import Refusal
from riskwatch.contracts.schema import documents
from riskwatch.core.outputs import AnyOutput
from tests.support.golden import goldens

EVENTS = goldens()
OUTPUTS = goldens(outputs=True)


def test_every_type_has_a_golden_file() -> None:
    """No event or output is without one."""
    assert {name.partition(".")[0] for name in EVENTS} == set(SHAPES_BY_TAG)
    assert set(OUTPUTS) == {t.__name__ for t in get_args(AnyOutput)}


@pytest.mark.parametrize("name", EVENTS)
def test_event_is_read_and_written_back(name: str) -> None:
    """A golden event decodes to its type, and encodes to the very same bytes."""
    event = decode(EVENTS[name])
    assert not isinstance(event, Refusal), event.detail
    assert type(event) is type(SHAPES_BY_TAG[name.partition(".")[0]].decoder.decode(EVENTS[name]))
    assert encode(event) == EVENTS[name]


def test_full_messages_use_every_field() -> None:
    """A golden file that is not marked minimal sets each field to something not its default."""
    for event_type, shape in SHAPES_BY_TYPE.items():
        tag = next(t for t, s in SHAPES_BY_TAG.items() if s is shape)
        assert set(msgspec.json.decode(EVENTS[tag])) == {
            "type",
            *event_type.__struct_fields__,
        }, tag


def test_values_are_read_exactly() -> None:
    """Eighteen fractional digits survive, and times keep their microseconds."""
    event = decode(EVENTS["balance"])
    assert not isinstance(event, Refusal)
    assert getattr(event, "free", None) == Decimal("1000000.000000000000000001")
    assert event.ts.isoformat() == "2023-03-11T03:13:00.123456+00:00"


@pytest.mark.parametrize("name", OUTPUTS)
def test_output_is_read_and_written_back(name: str) -> None:
    """A golden output decodes to its type, and encodes to the very same bytes."""
    output = decode_output(OUTPUTS[name])
    assert type(output).__name__ == name
    assert encode_output(output) == OUTPUTS[name]


@pytest.mark.parametrize("name", [*EVENTS, *OUTPUTS])
def test_schema_describes_the_golden_message(name: str) -> None:
    """The exported schema knows each key, and the message has each key that it requires."""
    folder = "output" if name in OUTPUTS else "event"
    schema = msgspec.json.decode(documents()[f"{folder}/{name.partition('.')[0]}.json"])
    keys = set(msgspec.json.decode({**EVENTS, **OUTPUTS}[name]))
    assert set(schema["required"]) <= keys <= set(schema["properties"])
