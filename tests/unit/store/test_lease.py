"""The lease: one holder at a time, also under concurrent claims."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from riskwatch.engine.retry import Retry
from riskwatch.errors import FencedError, StoreUnavailableError
from riskwatch.store import engine as engine_module
from riskwatch.store.engine import open_engine
from riskwatch.store.lease import claim_lease, hold_lease, lease_state, release_lease, renew_lease
from riskwatch.store.transaction import take_lease
from riskwatch.store.truth import LEASE
from riskwatch.worker.lease import wait_for_lease
from riskwatch.worker.metrics import Metrics
from tests.support.leases import one_of_several_gets_it

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


def age(engine: Engine, seconds: float) -> None:
    """Set the last renewal of the lease to some time ago."""
    with engine.begin() as conn:
        (renewed,) = conn.execute(LEASE.select().with_only_columns(LEASE.c.renewed_at)).scalars()
        conn.execute(update(LEASE).values(renewed_at=renewed - timedelta(seconds=seconds)))


def test_a_lease_that_nobody_has_is_free(engine: Engine) -> None:
    """The first claim gets it with epoch 1, and reading does not take it."""
    assert lease_state(engine, "risk") is None
    assert claim_lease(engine, "risk", "a", 10)
    found = lease_state(engine, "risk")
    assert found is not None
    assert (found.holder, found.epoch) == ("a", 1)
    assert 0 <= found.idle_s < 5


def test_a_lease_that_is_held_is_not_given(engine: Engine) -> None:
    """After the timeout a claim raises the epoch, and the first holder is fenced."""
    claim_lease(engine, "risk", "a", 10)
    age(engine, 9)
    assert not claim_lease(engine, "risk", "b", 10)
    renew_lease(engine, "risk", 1)
    age(engine, 9)
    assert not claim_lease(engine, "risk", "b", 10)
    age(engine, 2)
    assert claim_lease(engine, "risk", "b", 10)
    with pytest.raises(FencedError, match="risk: epoch 1 is over, b holds the lease with epoch 2"):
        renew_lease(engine, "risk", 1)
    renew_lease(engine, "risk", 2)


def test_a_clock_that_was_set_back_keeps_no_lease_for_a_dead_process(engine: Engine) -> None:
    """A lease of the future is taken if it is still as it was seen, and not if it was renewed."""
    claim_lease(engine, "risk", "a", 10)
    age(engine, -7_200)
    seen = lease_state(engine, "risk")
    assert seen is not None
    assert seen.idle_s < -7_000
    assert not claim_lease(engine, "risk", "b", 10)
    age(engine, -1)
    assert not claim_lease(engine, "risk", "b", 10, unless_renewed=seen)
    age(engine, 1)
    assert claim_lease(engine, "risk", "b", 10, unless_renewed=seen)


def test_a_standby_takes_what_it_saw_unchanged_for_the_lease_time(engine: Engine) -> None:
    """By its own steady clock, whatever the clock of the database says."""
    claim_lease(engine, "risk", "elsewhere/1/x", 10)
    age(engine, -7_200)
    leaders: list[str] = []
    begun = time.monotonic()
    retry = Retry(threading.Event(), Metrics())
    wait_for_lease(engine, "risk", "standby", 1.0, retry, leaders.append)
    assert time.monotonic() - begun >= 1.0
    assert set(leaders) == {"elsewhere/1/x"}
    found = lease_state(engine, "risk")
    assert found is not None
    assert (found.holder, found.epoch) == ("standby", 2)


def test_a_lease_that_is_given_back_is_free_at_once(engine: Engine) -> None:
    """Only its holder can release it, and cannot write afterwards."""
    claim_lease(engine, "risk", "a", 10)
    release_lease(engine, "risk", 0)
    assert not claim_lease(engine, "risk", "b", 10)
    release_lease(engine, "risk", 1)
    assert claim_lease(engine, "risk", "b", 10)
    release_lease(engine, "risk", 1)
    found = lease_state(engine, "risk")
    assert found is not None
    assert found.idle_s < 10
    with pytest.raises(FencedError):
        renew_lease(engine, "risk", 1)


def test_leases_are_apart(engine: Engine) -> None:
    """Each worker has a lease of its own."""
    assert claim_lease(engine, "ledger/0", "a", 10)
    assert claim_lease(engine, "ledger/1", "b", 10)
    release_lease(engine, "ledger/1", 1)
    assert not claim_lease(engine, "ledger/0", "b", 10)


def test_whoever_takes_it_within_a_transaction_fences_the_rest(engine: Engine) -> None:
    """Taking the lease in a transaction ignores its age."""
    claim_lease(engine, "risk", "a", 10)
    assert take_lease(engine, "risk", "b").epoch == 2
    with pytest.raises(FencedError, match="epoch 1 is over"), engine.begin() as conn:
        hold_lease(conn, "risk", 1)


def test_nobody_holds_what_is_not_there(engine: Engine) -> None:
    """Renewing a lease that does not exist fails, and the error says so."""
    with pytest.raises(FencedError, match="risk: nobody holds the lease"):
        renew_lease(engine, "risk", 1)


@pytest.mark.parametrize("free", ["new", "silent", "released"])
def test_of_several_one_gets_it(url: str, engine: Engine, free: str) -> None:
    """Of concurrent claims on separate connections exactly one succeeds."""
    epoch = 1
    if free != "new":
        epoch += claim_lease(engine, "risk", "old", 10)
        age(engine, 60)
    if free == "released":
        release_lease(engine, "risk", 1)
    one_of_several_gets_it(url, engine, epoch)


def test_a_database_that_is_locked_may_be_asked_again(
    url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A locked database raises a transient error for every operation on the lease."""
    monkeypatch.setattr(engine_module, "BUSY_MS", 1)
    hasty = open_engine(url)
    acts = (
        lambda: claim_lease(hasty, "risk", "a", 10),
        lambda: renew_lease(hasty, "risk", 1),
        lambda: release_lease(hasty, "risk", 1),
        lambda: lease_state(hasty, "risk"),
    )
    with engine.begin():
        for act in acts:
            with pytest.raises(StoreUnavailableError, match="locked"):
                act()
    hasty.dispose()
