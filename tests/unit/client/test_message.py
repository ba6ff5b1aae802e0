"""Records of the output topics: which are decoded, and which are refused."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import pytest

from riskwatch.client import Message, UnreadableError
from riskwatch.client.message import read
from riskwatch.contracts.outputs import encode_output
from tests.support import batches
from tests.support.golden import goldens

TOPIC = "riskwatch.killswitch"
SWITCH = batches.killswitch(1)
HEADERS = {"rw-worker": b"risk", "rw-epoch": b"2", "rw-seq": b"17"}


class Made(NamedTuple):
    """A record with the fields of a kafka-python record."""

    key: bytes | None = b"asset:USDC"
    value: bytes | None = encode_output(SWITCH)
    headers: tuple[tuple[str, bytes | None], ...] = tuple(HEADERS.items())
    partition: int = 0
    offset: int = 5


def headers(**changed: bytes | None) -> tuple[tuple[str, bytes | None], ...]:
    """Return headers with some changed."""
    return tuple({**HEADERS, **{f"rw-{name}": value for name, value in changed.items()}}.items())


def test_a_record_becomes_a_message() -> None:
    """The headers give the envelope and the value the output; unknown headers are ignored."""
    record = Made(headers=(("traceparent", None), *HEADERS.items()))
    assert read(TOPIC, record) == Message(TOPIC, "asset:USDC", "risk", 2, 17, SWITCH)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (Made(headers=()), "header rw-worker is missing"),
        (Made(headers=headers(worker=None)), "header rw-worker is missing"),
        (Made(headers=headers(worker=b"")), "header rw-worker is empty"),
        (Made(headers=headers(worker=b"\xff")), "can't decode byte 0xff"),
        (Made(headers=headers(seq=b"-1")), "header rw-seq must be a number in ASCII digits"),
        (Made(headers=headers(seq=b"1_0")), "header rw-seq must be a number"),
        (Made(headers=headers(epoch=b"")), "header rw-epoch must be a number"),
        (Made(headers=headers(epoch=b"1" * 5000)), "header rw-epoch must be a number"),
        (Made(value=None), "it has no value"),
        (Made(value=b""), "JSON is malformed|Input data was truncated"),
        (Made(value=b"\xff"), "malformed"),
        (Made(value=b'{"type":"KillSwitchChanged"}'), "missing required field"),
        (Made(value=goldens()["fill"]), "Invalid value 'fill'"),
        (Made(value=encode_output(batches.alert(1))), "AlertRaised does not travel on"),
        (Made(key=None), "its key must be 'asset:USDC', was None"),
        (Made(key=b"asset:USDT"), "its key must be 'asset:USDC'"),
        (Made(key=b"\xff"), "can't decode byte"),
        (
            Made(value=encode_output(SWITCH).replace(b"03:05:00Z", b"03:05:00")),
            "a time has no time zone",
        ),
    ],
)
def test_what_is_not_right_is_unreadable(record: Made, reason: str) -> None:
    """The error names the place of the record and what is wrong with it."""
    with pytest.raises(UnreadableError, match=reason) as caught:
        read(TOPIC, record)
    assert str(caught.value).startswith("riskwatch.killswitch/0 offset 5")


def test_a_deeply_nested_value_is_unreadable() -> None:
    """A value that would exhaust the stack is refused like any other."""
    value = msgspec.json.encode({"type": "KillSwitchChanged"})[:-1] + b',"x":' + b"[" * 100_000
    with pytest.raises(UnreadableError):
        read(TOPIC, Made(value=value))
