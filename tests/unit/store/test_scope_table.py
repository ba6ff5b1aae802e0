"""The scope table and its digest, which only the holder of the lease may publish."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from riskwatch.client.guard.source import row_of
from riskwatch.client.guard.view import SwitchRow, SwitchTable
from riskwatch.contracts.outputs import decode_output, encode_output
from riskwatch.core.clock import MINUTE, moment
from riskwatch.core.enums import Restriction, State
from riskwatch.core.outputs import KillSwitchChanged
from riskwatch.core.scopes import KINDS, table_digest
from riskwatch.errors import FencedError
from riskwatch.store.batch import Batch, Counts, SequencedOutput
from riskwatch.store.current_state import read_current_state
from riskwatch.store.lease import lease_state
from riskwatch.store.queries import confirmed_until
from riskwatch.store.scope_table import (
    ScopeTable,
    count_by_state,
    record_heartbeat,
    scope_table,
)
from riskwatch.store.transaction import commit, take_lease
from riskwatch.worker.worker import make_heartbeat
from tests.support.batches import batches
from tests.support.mirror import switch

if TYPE_CHECKING:
    from random import Random

    from sqlalchemy.engine import Engine

Row = tuple[str, str, str]
rows = st.lists(st.tuples(st.text(), st.text(), st.text()), max_size=6, unique_by=lambda r: r[0])


@given(rows, st.randoms())
def test_the_order_of_scopes_does_not_matter(
    found: list[tuple[str, str, str]], rng: Random
) -> None:
    """The digest does not depend on the order of scopes."""
    mixed = list(found)
    rng.shuffle(mixed)
    assert table_digest(mixed) == table_digest(found)


@given(rows, rows)
def test_different_tables_have_different_digests(one: list[Row], two: list[Row]) -> None:
    """The digest covers the boundaries between texts."""
    assert (table_digest(one) == table_digest(two)) == (sorted(one) == sorted(two))


def test_texts_do_not_run_into_each_other() -> None:
    """The digest covers the boundaries between rows."""
    assert table_digest([("a", "bc", "d")]) != table_digest([("ab", "c", "d")])
    assert table_digest([]) != table_digest([("", "", "")])


@pytest.mark.parametrize("state", [State.NORMAL, State.REDUCE, State.HALT])
def test_what_is_committed_is_what_clients_compute(engine: Engine, state: State) -> None:
    """Both digests are those of a client that received the same switches, members included.

    What is read back from SQL, as the mirror publishes it, gives the same row.
    """
    epoch = take_lease(engine, "w", "test").epoch
    plain, linked = switch("firm", state, 0), switch("issuer:circle", state, 1)
    plain = msgspec.structs.replace(
        plain, restriction={Restriction.CLAIM: State.REDUCE, Restriction.MARKET: state}
    )
    linked = msgspec.structs.replace(linked, members=["counterparty:circle", "asset:USDC"])
    outputs = [SequencedOutput(n, each) for n, each in enumerate((plain, linked), 1)]
    commit(engine, Batch("w", epoch, outputs=outputs, counts=Counts(1, 1)))
    found, client = scope_table(engine, "w", epoch), SwitchTable()
    for each in outputs:
        client.put(_received(encode_output(each.output), epoch, each.seq))
    assert found.digest == client.digest()
    assert found.restriction_digest in client.restriction_digests(2)
    again = SwitchTable()
    for record in read_current_state(engine, "w", epoch).records:
        again.put(_received(record.value, epoch, record.seq))
    assert again.restriction_digests(2)[1] == found.restriction_digest
    assert {row.scope: row.members for row in again.rows()}["issuer:circle"] == (
        "counterparty:circle", "asset:USDC",
    )  # fmt: skip


def _received(raw: bytes, epoch: int, seq: int) -> SwitchRow:
    output = decode_output(raw)
    assert isinstance(output, KillSwitchChanged)
    return row_of(output, ("w", epoch, seq), 0.0)


def test_a_table_is_what_is_committed(engine: Engine) -> None:
    """It holds states, decisions and the last sequence number, and reading renews the lease."""
    epoch = take_lease(engine, "w", "test").epoch
    assert scope_table(engine, "w", epoch).seq == 0
    made = batches(epoch)
    for batch in made:
        commit(engine, batch)
    table = scope_table(engine, "w", epoch)
    assert table.seq == max(s.seq for batch in made for s in batch.outputs)
    assert table.states
    assert list(table.states) == list(table.decisions)
    assert table.digest == table_digest(
        (scope, table.states[scope], table.decisions[scope]) for scope in table.states
    )
    assert sum(count_by_state(table.states).values()) == len(table.states)
    found = lease_state(engine, "w")
    assert found is not None
    assert found.idle_s < MINUTE


def test_a_switch_is_valid_until_the_last_heartbeat_says(engine: Engine) -> None:
    """And not until a minute after its decision; without a heartbeat nothing confirms it."""
    epoch = take_lease(engine, "w", "test").epoch
    for batch in batches(epoch):
        commit(engine, batch)
    until = text("SELECT valid_until FROM killswitch_now")
    with engine.connect() as conn:
        assert set(conn.execute(until).scalars()) == {None}
        assert confirmed_until(conn) is None
    for minute in (600, 601):
        beat = make_heartbeat("w", epoch, scope_table(engine, "w", epoch), minute * MINUTE, "prod")
        record_heartbeat(engine, beat)
    with engine.connect() as conn:
        assert confirmed_until(conn) == moment(602 * MINUTE)
        assert all(str(found).startswith("1970-01-01") for found in conn.execute(until).scalars())
    take_lease(engine, "w", "standby")
    with pytest.raises(FencedError):
        record_heartbeat(engine, beat)


@pytest.mark.parametrize("kind", KINDS)
def test_a_digest_covers_scopes_of_every_kind(kind: str) -> None:
    """A table with a scope of one kind more, or in another state, has another digest."""
    scope = f"{kind}:a/b" if "-" in kind else f"{kind}:a"
    without = ScopeTable({"firm": "NORMAL"}, {"firm": "d1"}, 1)
    halted = ScopeTable(without.states | {scope: "HALT"}, without.decisions | {scope: "d2"}, 1)
    reduced = ScopeTable(without.states | {scope: "REDUCE"}, halted.decisions, 1)
    assert len({without.digest, halted.digest, reduced.digest}) == 3


def test_who_lost_the_lease_has_nothing_to_vouch_for(engine: Engine) -> None:
    """A process without the lease cannot read the table for publication."""
    epoch = take_lease(engine, "w", "slow").epoch
    take_lease(engine, "w", "standby")
    with pytest.raises(FencedError):
        scope_table(engine, "w", epoch)
