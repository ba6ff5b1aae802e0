"""What a refused time says: what was expected, what it was, and what it looks like."""

from __future__ import annotations

import json
from typing import Any

import pytest

from riskwatch.contracts.codec import decode
from riskwatch.contracts.refusal import Refusal
from riskwatch.core.enums import RejectReason
from riskwatch.core.events import Fill

FILL = {
    "type": "fill", "v": 1, "event_id": "1", "ts": "2024-05-06T10:05:00Z", "source": "desk",
    "base": "BTC", "quote": "USD", "side": "buy", "qty": "1", "price": "60000",
    "counterparty": "kraken", "account": "main", "book": "arb",
}  # fmt: skip
EXPECTED = "must be an RFC 3339 time with a zone, such as '2024-05-06T10:05:00Z', was "
WHOLE = ("2024-05-06T10:05:00Z", "2024-05-06T10:05:00+02:00", "2024-05-06T10:05:00.123Z")
HINTS: dict[str | int | float | bool | None, str] = {
    "2024-05-06T10:05:00": ": it has no zone",
    "2024-05-06 10:05:00": ": it has no zone",
    1714989900: ": it looks like an epoch in seconds",
    1714989900.5: ": it looks like an epoch in seconds",
    1714989900000: ": it looks like an epoch in milliseconds",
    1714989900000000: ": it looks like an epoch in microseconds",
    "1714989900000": ": it looks like an epoch in milliseconds",
    "20240506-10:05:00.123": "",
    "05/06/2024 10:05": "",
    "noon": "",
    "": "",
    7: "",
    True: "",
}


def told(field: str, value: Any) -> Refusal:
    """Read a fill with this value, which is refused."""
    found = decode(json.dumps(FILL | {field: value}).encode())
    assert isinstance(found, Refusal)
    return found


@pytest.mark.parametrize("value", HINTS)
@pytest.mark.parametrize("field", ["ts", "arrived", "settles_at"])
def test_a_refused_time_says_what_was_expected(field: str, value: Any) -> None:
    """RFC 3339 with a zone, for every time field; and that an epoch or no zone was found."""
    refusal = told(field, value)
    assert refusal.reason is RejectReason.FIELD_TYPE
    assert refusal.detail == f"{field} {EXPECTED}{value!r}{HINTS[value]}"


def test_a_time_that_is_missing_or_null_is_one_of_the_contract() -> None:
    """Only where it must be there."""
    assert told("ts", None).detail.startswith(f"ts {EXPECTED}None")
    assert isinstance(decode(json.dumps(FILL | {"settles_at": None}).encode()), Fill)


@pytest.mark.parametrize("value", WHOLE)
def test_a_time_of_the_contract_is_taken(value: str) -> None:
    """With any zone, and with a fraction."""
    assert isinstance(decode(json.dumps(FILL | {"ts": value}).encode()), Fill)


@pytest.mark.parametrize(
    ("value", "reason", "most"),
    [
        ("0.000000000000000000000001", RejectReason.NUMBER_TOO_FINE, "18 fractional"),
        ("1E-19", RejectReason.NUMBER_TOO_FINE, "18 fractional"),
        ("1000000000000000000000000000", RejectReason.NUMBER_TOO_LARGE, "24 integer"),
    ],
)
def test_a_number_that_is_too_fine_is_not_too_large(
    value: str, reason: RejectReason, most: str
) -> None:
    """The text names the bound that is broken, and no other."""
    refusal = told("qty", value)
    assert refusal.reason is reason
    assert refusal.detail == f"qty must have at most {most} digits, was {value!r}"
