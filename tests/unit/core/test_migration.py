"""Migrations of state rows: step by step, without guesses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from riskwatch.core.migration import ROW_FORMAT, RowFormat, overlay, row_changes
from riskwatch.errors import RowFormatError, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.stage import Row

ROWS = {"risk": {"b": b"1", "a": b"2"}, "market": {"m": b"3"}}


def doubled(rows: Mapping[str, Row]) -> dict[str, Row]:
    """Return rows with each body written twice."""
    return {key: rows[key] * 2 for key in rows}


def prefixed(rows: Mapping[str, Row]) -> dict[str, Row]:
    """Return rows with other names."""
    return {f"x/{key}": rows[key] for key in rows}


THREE = RowFormat(3, {1: {"risk": doubled}, 2: {"risk": prefixed, "market": doubled}})


def test_steps_follow_one_another() -> None:
    """Migration works from any format; stages that a step does not name do not change."""
    assert THREE.migrate(ROWS, 1) == {
        "market": {"m": b"33"},
        "risk": {"x/a": b"22", "x/b": b"11"},
    }
    assert THREE.migrate(ROWS, 2)["risk"] == {"x/a": b"2", "x/b": b"1"}
    assert THREE.migrate(ROWS, 3) == ROWS


def test_rows_are_in_order_and_what_is_given_stays() -> None:
    """Keys are sorted as a load expects them, and the input is not changed."""
    found = THREE.migrate(ROWS, 3)
    assert list(found) == ["market", "risk"]
    assert list(found["risk"]) == ["a", "b"]
    found["risk"].clear()
    assert ROWS["risk"] == {"b": b"1", "a": b"2"}


def test_a_stage_without_rows_gets_none() -> None:
    """A migration is applied to existing rows only."""
    assert THREE.migrate({}, 1) == {}


def test_a_newer_format_is_refused_by_name() -> None:
    """The message names the engine and the remedy; it is an error of the store."""
    with pytest.raises(RowFormatError, match="has format 4, written by engine 9") as told:
        THREE.migrate(ROWS, 4, "9.1.0")
    assert "start riskwatch 9.1.0 or newer" in str(told.value)
    assert "up to 3" in str(told.value)
    assert isinstance(told.value, StoreError)


def test_a_missing_step_is_an_error() -> None:
    """Without a migration rows are never taken for the next format."""
    with pytest.raises(RowFormatError, match="no migration of state rows from format 1"):
        RowFormat(3, {2: {}}).migrate(ROWS, 1)


def test_changes_lead_from_one_state_to_the_other() -> None:
    """Changed, new and deleted rows are returned by stage; equal states have none."""
    after = THREE.migrate(ROWS, 1)
    found = row_changes(ROWS, after)
    assert found == {
        "market": {"m": b"33"},
        "risk": {"a": None, "b": None, "x/a": b"22", "x/b": b"11"},
    }
    assert row_changes(ROWS, THREE.migrate(ROWS, 3)) == {}
    assert row_changes(ROWS, {"risk": {}}) == {
        "market": {"m": None},
        "risk": {"a": None, "b": None},
    }


def test_the_later_change_of_a_row_counts() -> None:
    """A row that a stage wrote after its migration is written as the stage wrote it."""
    first = {"risk": {"a": None, "x/a": b"22"}}
    assert overlay(first, {"risk": {"x/a": b"5"}}) == {"risk": {"a": None, "x/a": b"5"}}
    assert overlay(first, {"risk": {"x/a": None, "a": b"1"}})["risk"] == {"a": b"1", "x/a": None}
    assert overlay(first, {}) == first


def test_holdings_of_the_first_format_get_an_empty_wallet() -> None:
    """Keys of holdings, positions, their deltas and reported amounts change, and no others."""
    before = {
        "cell/kraken/mm/main/BTC/custody": b"1",
        "delta/7.0/cell/kraken/mm/main/BTC/custody": b"2",
        "delta/7.0/position/kraken/mm/main/BTC/USD": b"3",
        "order/kraken/mm/main/a/b": b"4",
        "party/kraken": b"5",
        "position/kraken/mm/main/BTC/USD": b"6",
        "shown/kraken/mm/main/custody/BTC": b"7",
        "shown/kraken/mm/main/position/BTC/USD": b"8",
    }
    after = {
        "cell/kraken/mm/main//BTC/custody": b"1",
        "delta/7.0/cell/kraken/mm/main//BTC/custody": b"2",
        "delta/7.0/position/kraken/mm/main///BTC/USD": b"3",
        "order/kraken/mm/main/a/b": b"4",
        "party/kraken": b"5",
        "position/kraken/mm/main///BTC/USD": b"6",
        "shown/kraken/mm/main//custody/BTC": b"7",
        "shown/kraken/mm/main//position//BTC/USD": b"8",
    }
    assert ROW_FORMAT.migrate({"ledger": before}, 1) == {"ledger": after}
