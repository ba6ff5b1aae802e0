"""Leases and crash counts on a real Postgres: one winner of many, as on SQLite."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from riskwatch.errors import FencedError
from riskwatch.store import faults, migrate
from riskwatch.store.engine import open_engine
from riskwatch.store.lease import claim_lease, release_lease, renew_lease
from riskwatch.store.transaction import commit, take_lease
from tests.support.batches import batches
from tests.support.leases import one_of_several_gets_it

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

pytestmark = pytest.mark.postgres


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    """Migrated database."""
    migrate.upgrade(postgres_url)
    opened = open_engine(postgres_url)
    yield opened
    opened.dispose()


@pytest.mark.parametrize("free", ["new", "silent"])
def test_of_several_one_gets_it(postgres_url: str, engine: Engine, free: str) -> None:
    """All at once, each on its own connection; the epoch rose once."""
    if free == "silent":
        assert claim_lease(engine, "risk", "old", 10)
        release_lease(engine, "risk", 1)
    one_of_several_gets_it(postgres_url, engine, 1 if free == "new" else 2)


def test_a_lease_passes_on(engine: Engine) -> None:
    """Renewed, kept, taken, and its first holder fenced: as on SQLite."""
    assert claim_lease(engine, "risk", "a", 10)
    assert not claim_lease(engine, "risk", "b", 10)
    renew_lease(engine, "risk", 1)
    assert claim_lease(engine, "risk", "b", 0)
    with pytest.raises(FencedError, match="epoch 1 is over, b holds the lease with epoch 2"):
        renew_lease(engine, "risk", 1)


def test_a_batch_of_the_old_holder_waits_for_the_new_one_and_is_refused(engine: Engine) -> None:
    """Whoever comes first to the row of the lease; never both."""
    old = batches(take_lease(engine, "w", "slow").epoch)[0]
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as conn:
            conn.execute(text("UPDATE lease SET epoch = epoch + 1, holder = 'standby'"))
            late = pool.submit(commit, engine, old)
            with pytest.raises(TimeoutError):
                late.result(timeout=0.2)
        with pytest.raises(FencedError, match="standby holds the lease"):
            late.result(timeout=10)


def test_crashes_are_counted_on_postgres(engine: Engine) -> None:
    """With text that the database could not keep as it is."""
    assert faults.record_crash(engine, "w", ("t/0", 1), "bad\x00byte") == 1
    assert faults.record_crash(engine, "w", ("t/0", 1), "bad\x00byte") == 2
    for n, person in enumerate(("ann", "bob"), 1):
        assert faults.request_quarantine(engine, "w", ("t/0", 1), person, "x\x00") == n
    assert list(faults.quarantines(engine, "w")) == [("t/0", 1)]
    faults.clear_crashes(engine, "w")
    assert faults.faults(engine, "w") == []


def test_a_writer_that_is_paused_in_a_transaction_does_not_keep_the_lease(engine: Engine) -> None:
    """The server ends its transaction, so another process can take over within ten seconds."""
    assert claim_lease(engine, "risk", "paused", 10)
    with ThreadPoolExecutor(1) as pool, engine.connect() as paused:
        paused.execute(text("UPDATE lease SET renewed_at = renewed_at WHERE worker = 'risk'"))
        standby = pool.submit(claim_lease, engine, "risk", "standby", 0)
        try:
            assert standby.result(timeout=10)
        finally:
            paused.invalidate()
