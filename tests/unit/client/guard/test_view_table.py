"""The table of a guard: rows never go backwards, and versions for the next heartbeat are kept."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from riskwatch.client.guard import view as module
from riskwatch.client.guard.view import MAX_VERSIONS, SwitchTable
from riskwatch.core.enums import State
from riskwatch.core.outputs import Unwind
from riskwatch.core.scopes import table_digest
from tests.support.guarding import Time, Truth

if TYPE_CHECKING:
    import pytest

STEPS = st.lists(
    st.tuples(st.sampled_from(["asset:a", "asset:b", "firm"]), st.sampled_from(list(State))),
    min_size=1,
    max_size=30,
)


@given(STEPS, st.randoms(use_true_random=False))
def test_any_order_with_repeats_comes_to_the_same_table(
    steps: list[tuple[str, State]], chance: object
) -> None:
    """Two subscriptions may bring messages of different scopes in any order, and twice."""
    truth = Truth(Time())
    rows = [truth.decide(scope, state) for scope, state in steps]
    mixed = [*rows, *rows]
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    table = SwitchTable()
    for row in mixed:
        table.put(row)
    want = table_digest((s, state.value, d) for s, (state, d) in truth.rows.items())
    assert table.digest() == want
    assert table.digest_at(truth.seq) == want


@given(STEPS)
def test_the_table_of_every_earlier_place_is_known(steps: list[tuple[str, State]]) -> None:
    """The table of every earlier number is known until a heartbeat verifies a later one."""
    truth, table, digests = Truth(Time()), SwitchTable(), {}
    for scope, state in steps:
        table.put(truth.decide(scope, state))
        digests[truth.seq] = truth.beat().digest
    for seq, digest in digests.items():
        assert table.digest_at(seq) == digest
    table.forget(truth.seq)
    assert table.digest_at(truth.seq) == digests[truth.seq]
    assert all(len(past) == 1 for past in table._past.values())


def test_the_past_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of versions per scope and of scopes are bounded; known scopes go on."""
    truth, table = Truth(Time()), SwitchTable()
    for n in range(2 * MAX_VERSIONS):
        table.put(truth.decide("firm", list(State)[n % 4]))
    assert len(table._past["firm"]) == MAX_VERSIONS
    monkeypatch.setattr(module, "MAX_SCOPES", 3)
    table.put(truth.decide("asset:a", State.WATCH))
    table.put(truth.decide("asset:b", State.WATCH))
    assert not table.put(truth.decide("asset:c", State.HALT))
    assert (len(table), table.left_out) == (3, 1)
    assert table.put(truth.decide("asset:b", State.HALT))
    table.clear()
    assert table.left_out == 0


def test_a_voided_term_says_nothing_new() -> None:
    """A record of an older epoch is ignored, whatever its number."""
    truth, table = Truth(Time(), epoch=2), SwitchTable()
    table.put(truth.decide("firm", State.HALT))
    zombie = msgspec.structs.replace(truth.decide("firm", State.NORMAL), epoch=1)
    assert not table.put(zombie)
    found = table.get("firm")
    assert found is not None
    assert found.state is State.HALT


def test_an_older_unwind_does_not_come_back() -> None:
    """The newest unwind of a decision stays, whatever is repeated or arrives late."""
    truth, table = Truth(Time()), SwitchTable()
    first = truth.decide("firm", State.HALT)
    until = datetime(2030, 1, 1, tzinfo=UTC)
    small, large = (Unwind(max_usd=Decimal(usd), max_slip_bp=1.0, until=until) for usd in (1, 9))
    rows = [
        first,
        msgspec.structs.replace(first, seq=7, unwind=large),
        msgspec.structs.replace(first, seq=9, unwind=small),
    ]
    for row in (*rows, *rows, rows[1], msgspec.structs.replace(rows[2], seq=50), *rows):
        table.put(row)
    found = table.get("firm")
    assert found is not None
    assert (found.seq, found.unwind) == (first.seq, small)
    assert table.digest_at(first.seq) == truth.beat().digest
    stale = msgspec.structs.replace(first, seq=20, decision_id="other", state=State.NORMAL)
    assert not table.put(stale)
