"""History: intervals of what was said, the same however the outputs were cut into batches."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from riskwatch.errors import StoreError
from riskwatch.store.history import TRACKED, intervals, prune, rows_at
from riskwatch.store.project import fold
from riskwatch.store.projections import ASSET_VALUE, EXPOSURE
from riskwatch.store.queries import exposures, open_reader_at
from tests.support.batches import at, exposure, others

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Engine

    from riskwatch.core.outputs import Output

HELD = TRACKED[EXPOSURE.name]
PRICES = TRACKED[ASSET_VALUE.name]


def write(engine: Engine, *batches: Sequence[Output]) -> None:
    """Write the outputs of each batch in a transaction of its own."""
    for batch in batches:
        with engine.begin() as conn:
            fold(batch).write(conn)


def spans(engine: Engine, *names: str) -> list[tuple[Any, ...]]:
    """Beginning, end and the named columns of each interval of holdings."""
    with engine.connect() as conn:
        rows = intervals(conn, HELD, {})
    return [(r["valid_from"], r["valid_to"], *(str(r[n]) for n in names)) for r in rows]


def test_an_interval_ends_when_something_else_is_said(engine: Engine) -> None:
    """The end of one interval is the beginning of the next; a zero ends the last."""
    write(engine, [exposure(0, "1", "1")], [exposure(1, "2", "2"), exposure(3, "0", "0")])
    assert spans(engine, "amount") == [(at(0), at(1), "1"), (at(1), at(3), "2")]


def test_saying_the_same_again_opens_nothing(engine: Engine) -> None:
    """Only the time and the id differ, so the first interval goes on."""
    write(engine, [exposure(0, "1", "1")], [exposure(5, "1.0", "1.0")])
    assert spans(engine, "amount") == [(at(0), None, "1")]


def test_the_last_word_of_a_moment_counts(engine: Engine) -> None:
    """Two amounts at one time leave one interval, in one batch and in two."""
    write(engine, [exposure(0, "1", "1"), exposure(0, "2", "2")], [exposure(0, "3", "3")])
    assert spans(engine, "amount") == [(at(0), None, "3")]
    write(engine, [exposure(0, "0", "0")])
    assert spans(engine, "amount") == []


def test_a_price_that_creeps_opens_an_interval_in_the_end(engine: Engine) -> None:
    """Each step is below a thousandth; the sum of them is not."""
    [first] = [o for o in others(0) if type(o).__name__ == "AssetValued"]
    from msgspec.structs import replace

    def valued(n: int) -> Any:
        return replace(first, ts=at(n), price_usd=1.0 + n * 0.0004, deviation_bp=0.0)

    write(engine, *[[valued(n)] for n in range(7)])
    with engine.connect() as conn:
        found = [row["valid_from"] for row in intervals(conn, PRICES, {})]
    assert found == [at(0), at(3), at(6)]


amounts = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from("AB"), st.integers(0, 2)), max_size=12
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=amounts, cuts=st.sets(st.integers(0, 12)))
def test_intervals_do_not_depend_on_batches(
    engine: Engine, steps: list[tuple[int, str, int]], cuts: set[int]
) -> None:
    """The rows of every moment are those of an independent fold, however batches are cut."""
    now, outputs, said = 0, [], []
    for later, asset, amount in steps:
        now += later
        outputs.append(exposure(now, str(amount), str(amount), asset=asset))
        said.append((now, asset, amount))
    with engine.begin() as conn:
        conn.execute(delete(HELD.history))
    edges = [0, *sorted(c for c in cuts if 0 < c < len(outputs)), len(outputs)]
    write(engine, *[outputs[a:b] for a, b in pairwise(edges)])
    for moment in range(now + 2):
        held = {asset: amount for when, asset, amount in said if when <= moment}
        with engine.connect() as conn:
            rows = {r["asset"]: int(r["amount"]) for r in rows_at(conn, HELD, at(moment))}
        assert rows == {asset: amount for asset, amount in held.items() if amount}


def test_old_intervals_go_and_open_ones_stay(engine: Engine) -> None:
    """Retention deletes what ended long ago, by whole days, and never what still holds."""
    write(engine, [exposure(0, "1", "1"), exposure(0, "7", "7", asset="BTC")])
    write(engine, [exposure(60, "2", "2")])
    with engine.begin() as conn:
        prune(conn, at(60) + timedelta(days=1), days=1)
    assert len(spans(engine)) == 3
    with engine.begin() as conn:
        prune(conn, at(60) + timedelta(days=2), days=1)
    assert spans(engine, "asset") == [(at(0), None, "BTC"), (at(60), None, "USDC")]


def test_a_reader_of_the_past_sees_views_as_they_were(engine: Engine, url: str) -> None:
    """Every view works on the rows of then; a moment before the history is an error."""
    write(engine, [exposure(0, "1000", "970")], [exposure(9, "10", "9.7")])
    with open_reader_at(url, at(5)) as conn:
        assert [str(row["gross_usd"]) for row in exposures(conn, "asset")] == ["970.00"]
        assert conn.execute(select(EXPOSURE)).one().ts == at(0)
    with open_reader_at(url, at(9)) as conn:
        assert [str(row["gross_usd"]) for row in exposures(conn, "counterparty")] == ["9.70"]
    with (
        pytest.raises(StoreError, match="the history begins at"),
        open_reader_at(url, at(0) - timedelta(seconds=1)),
    ):
        pass


def test_a_key_that_is_none_is_refused(engine: Engine) -> None:
    """The error names the keys."""
    with engine.connect() as conn, pytest.raises(StoreError, match="are book, counterparty"):
        intervals(conn, HELD, {"amount": "1"})
