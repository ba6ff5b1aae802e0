"""Column types: exact amounts, sortable times, text that both databases accept."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskwatch.core.money import canonical
from riskwatch.store.types import clean_text, dump_json, exact_text, time_text

amounts = st.decimals(allow_nan=False, allow_infinity=False, places=18)
moments = st.datetimes(
    datetime(2009, 1, 1),  # noqa: DTZ001 - the zone is added by the strategy
    datetime(2100, 1, 1),  # noqa: DTZ001 - the zone is added by the strategy
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5, minutes=-30))]),
)


@given(amounts)
def test_text_of_an_amount_is_exact_and_canonical(amount: Decimal) -> None:
    """The text restores the number, and equals the core's canonical form."""
    digits = exact_text(amount)
    assert Decimal(digits) == amount
    assert digits == format(canonical(amount), "f")


@pytest.mark.parametrize("bad", [Decimal("NaN"), Decimal("Infinity"), 1.5, 3, "1"])
def test_only_finite_decimals_are_amounts(bad: object) -> None:
    """Floats and NaN are refused."""
    with pytest.raises(ValueError, match="finite Decimal"):
        exact_text(bad)  # type: ignore[arg-type]  # that is the point


@given(moments, moments)
def test_times_sort_as_text_as_they_do_in_time(a: datetime, b: datetime) -> None:
    """Times of any zone become UTC text of one width."""
    assert (time_text(a) < time_text(b)) == (a < b)
    assert len(time_text(a)) == 27
    assert datetime.fromisoformat(time_text(a)) == a


def test_a_time_without_a_zone_is_refused() -> None:
    """Without a zone the moment is ambiguous."""
    with pytest.raises(ValueError, match="zone"):
        time_text(datetime(2023, 3, 11))  # noqa: DTZ001 - that is the point


def test_text_keeps_what_databases_can_hold() -> None:
    """Only NUL and lone surrogates are replaced."""
    assert clean_text("a\x00b\ud800c") == "a\ufffdb\ufffdc"
    assert clean_text("café 😀") == "café 😀"


def test_json_is_cleaned_and_sorted() -> None:
    """Keys and values are cleaned, amounts become exact text, and emoji stay."""
    text = dump_json({"b\x00": ["x\x00", {"k": "\ud83d"}], "a": "😀", "c": Decimal("1.50")})
    assert json.loads(text) == {
        "a": "😀",
        "b\ufffd": ["x\ufffd", {"k": "\ufffd"}],
        "c": "1.5",
    }
    assert dump_json({"b": 1, "a": 2}) == '{"a":2,"b":1}'


def test_json_refuses_what_is_not_json() -> None:
    """NaN and other types are refused."""
    with pytest.raises(ValueError, match="JSON compliant"):
        dump_json({"x": float("nan")})
    with pytest.raises(TypeError, match="JSON column"):
        dump_json({"x": object()})
