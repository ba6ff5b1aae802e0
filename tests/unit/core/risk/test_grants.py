"""Grants: whoever takes a new table or keeps an old one, all together fit the headroom."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from riskwatch.core.risk.grants import MAX_HELD, GrantLedger, Grants

if TYPE_CHECKING:
    from collections.abc import Sequence

usd = st.floats(0.0, 1e6)
clients = st.dictionaries(st.sampled_from("abc"), st.floats(0.0, 1.0 / 3.0), min_size=1)
tables = st.lists(st.tuples(usd, clients), min_size=1, max_size=5)


@settings(deadline=None)
@given(tables)
def test_any_mix_of_old_and_new_grants_fits_if_the_old_ones_did(
    steps: Sequence[tuple[float, dict[str, float]]],
) -> None:
    """A client that takes the new grant adds no more than is spare."""
    ledger = GrantLedger()
    held: list[Grants] = []
    for n, (left, shares) in enumerate(steps):
        old = {c: max((made.of(c, "firm") or 0.0 for made in held), default=0.0) for c in "abc"}
        made = ledger.grant({"firm": left}, shares, {}, now=float(n), until=100.0)
        for took in product([False, True], repeat=3):
            new = {c: made.of(c, "firm") or 0.0 for c, t in zip("abc", took, strict=True) if t}
            rest = sum(old[c] for c in "abc" if c not in new)
            given_something = sum(usd for usd in new.values() if usd)
            if given_something:
                assert given_something + rest <= left * (1 + 1e-9) + 1e-6
        for client, share in shares.items():
            assert (made.of(client, "firm") or 0.0) <= share * left * (1 + 1e-9)
        held.append(made)


def test_a_limit_that_was_not_there_before_grants_nothing_at_first() -> None:
    """By the older table a client could use any amount."""
    ledger = GrantLedger()
    ledger.grant({}, {"a": 1.0}, {}, now=0.0, until=30.0)
    made = ledger.grant({"book:x": 100.0}, {"a": 1.0}, {}, now=15.0, until=45.0)
    assert made.of("a", "book:x") == 0.0
    made = ledger.grant({"book:x": 100.0}, {"a": 1.0}, {}, now=30.0, until=60.0)
    assert made.of("a", "book:x") == 100.0


def test_a_subject_that_is_named_from_now_on_had_the_grant_of_all_others() -> None:
    """The first holding at a venue uses the limit on ``*`` of the table before."""
    ledger = GrantLedger()
    shares = {"a": 0.5, "b": 0.5}
    ledger.grant({"asset:*": 100.0}, shares, {}, now=0.0, until=30.0)
    made = ledger.grant({"asset:*": 100.0, "asset:X": 60.0}, shares, {}, now=15.0, until=45.0)
    assert (made.of("a", "asset:X"), made.of("a", "asset:Y")) == (10.0, 50.0)
    made = ledger.grant({"asset:*": 100.0}, shares, {}, now=20.0, until=50.0)
    assert made.of("a", "asset:X") == 50.0  # nothing is held any more, and the old grants fit


def test_clients_that_the_policy_names_no_more_count_until_their_grants_end() -> None:
    """A share that moves from one client to another is not used twice."""
    ledger = GrantLedger()
    ledger.grant({"firm": 100.0}, {"a": 1.0}, {}, now=0.0, until=30.0)
    made = ledger.grant({"firm": 100.0}, {"b": 1.0}, {}, now=15.0, until=45.0)
    assert (made.of("a", "firm"), made.of("b", "firm")) == (0.0, 0.0)
    made = ledger.grant({"firm": 100.0}, {"b": 1.0}, {}, now=30.0, until=60.0)
    assert made.of("b", "firm") == 100.0
    assert Grants({}, {}, {}).of("b", "firm") is None


def test_a_grant_counts_until_its_use_is_measured() -> None:
    """One client spent its grant at a venue whose facts stand still; the other gets no more."""
    ledger, shares = GrantLedger(), {"a": 0.5, "b": 0.5}
    ledger.grant({"firm": 100.0}, shares, {"v": 0.0}, now=0.0, until=30.0, facts_until=35.0)
    for now in range(15, 5_000, 15):
        made = ledger.grant(
            {"firm": 80.0}, shares, {"v": 34.0}, now=now, until=now + 30.0, facts_until=now + 35.0
        )
        assert (made.of("a", "firm"), made.of("b", "firm")) == (30.0, 30.0)
    assert len(ledger._held) <= MAX_HELD
    made = ledger.grant({"firm": 80.0}, shares, {"v": 9_999.0}, now=9_000.0, until=9_030.0)
    assert made.of("a", "firm") == 40.0


def test_a_limit_on_all_others_that_falls_leaves_room_for_older_grants() -> None:
    """Subjects that no table names have the grant of ``*``, lowered as any other."""
    ledger, shares = GrantLedger(), {"a": 0.5, "b": 0.5}
    ledger.grant({"asset:*": 200.0}, shares, {}, now=0.0, until=30.0)
    made = ledger.grant({"asset:*": 100.0}, shares, {}, now=15.0, until=45.0)
    assert (made.of("a", "asset:X"), made.of("b", "asset:X")) == (0.0, 0.0)
