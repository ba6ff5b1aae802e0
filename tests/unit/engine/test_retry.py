"""Retries of calls to servers, and commits whose answer was lost."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.engine import retry
from riskwatch.engine.ports import SqlStore
from riskwatch.engine.retry import Retry, RetryingStore
from riskwatch.errors import FencedError, StoppedError, StoreError, StoreUnavailableError
from riskwatch.store.content import content_digest
from riskwatch.store.transaction import commit, take_lease
from tests.support.batches import batches

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Engine

    from riskwatch.store.batch import Batch


@dataclass
class Said:
    """A meter that keeps what it was told."""

    tries: list[str] = field(default_factory=list)
    answers: list[tuple[str, bool]] = field(default_factory=list)

    def retried(self, what: str) -> None:
        """Keep it."""
        self.tries.append(what)

    def up(self, what: str, *, ok: bool) -> None:
        """Keep it."""
        self.answers.append((what, ok))


class Hurried(Retry):
    """Patience that notes its pauses instead of waiting."""

    def __init__(self, stop: threading.Event, meter: Said) -> None:
        super().__init__(stop, meter)
        self.pauses: list[float] = []

    def pause(self, seconds: float, what: str) -> None:
        """Note it; still stop when asked to."""
        self.pauses.append(seconds)
        super().pause(0, what)


def failing(times: int, error: Exception, answer: str = "done") -> Callable[[], str]:
    """Something that fails so often."""
    left = [error] * times

    def act() -> str:
        if left:
            raise left.pop()
        return answer

    return act


def test_what_passes_is_tried_again() -> None:
    """With pauses that double up to two seconds, and told to the meter."""
    meter = Said()
    patience = Hurried(threading.Event(), meter)
    act = failing(8, StoreUnavailableError("gone"))
    assert patience.until_done("commit", "store", act, StoreUnavailableError) == "done"
    assert patience.pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert meter.tries == ["commit"] * 8
    assert meter.answers == [("store", False)] * 8 + [("store", True)]


def test_it_is_said_when_it_begins_and_when_it_ends(logged: list[Any]) -> None:
    """And now and then meanwhile."""
    patience = Hurried(threading.Event(), Said())
    patience.until_done("x", "store", failing(65, OSError("gone")), OSError)
    assert [(e["event"], e["tries"]) for e in logged] == [
        ("waiting", 1), ("waiting", 30), ("waiting", 60), ("goes on", 65),
    ]  # fmt: skip


def test_what_does_not_pass_is_raised() -> None:
    """At once."""
    patience = Hurried(threading.Event(), Said())
    with pytest.raises(StoreError, match="for good"):
        patience.until_done("x", "store", failing(1, StoreError("for good")), StoreUnavailableError)
    assert patience.pauses == []


def test_a_signal_ends_the_waiting() -> None:
    """Within the pause, not after it."""
    stop = threading.Event()
    patience = Retry(stop, Said())
    stop.set()
    with pytest.raises(StoppedError, match="stopped while it waited: commit"):
        patience.until_done("commit", "store", failing(1, OSError()), OSError)
    assert patience.until_done("commit", "store", failing(0, OSError()), OSError) == "done"
    threading.Timer(0.05, stop.set).start()
    stop.clear()
    with pytest.raises(StoppedError):
        patience.pause(60, "lease")


@dataclass
class Cut:
    """A store whose answers get lost: what was asked takes effect, and the caller is not told."""

    inner: SqlStore
    lose: int = 1

    def take_lease(self, worker: str, holder: str) -> Any:
        """Take it, and lose the answer."""
        return self._answer(self.inner.take_lease(worker, holder))

    def commit(self, batch: Batch) -> None:
        """Commit, and lose the answer."""
        self.inner.commit(batch)
        self._answer(None)

    def pending(self, worker: str, limit: int, *, latest_only: bool = False) -> Any:
        """Look, and lose the answer."""
        return self._answer(self.inner.pending(worker, limit, latest_only=latest_only))

    def _answer(self, found: Any) -> Any:
        if self.lose:
            self.lose -= 1
            raise StoreUnavailableError("server closed the connection unexpectedly")
        return found


@pytest.mark.parametrize("lost", range(5))
def test_a_commit_that_took_effect_is_committed_again_for_nothing(
    engine: Engine, lost: int
) -> None:
    """Whichever batch it was: the database is what it is without the trouble."""
    cut = Cut(SqlStore(engine), lose=0)
    store = RetryingStore(cut, Hurried(threading.Event(), Said()))
    made = batches(store.take_lease("w", "test").epoch)
    for n, batch in enumerate(made):
        store.commit(batch)
        if n == lost:
            before = content_digest(engine)
            cut.lose = 3
            store.commit(batch)
            assert cut.lose == 0
            assert content_digest(engine) == before
    assert store.pending("w", 10) == cut.inner.pending("w", 10)


def test_a_commit_that_took_effect_before_the_lease_passed_on_is_fenced(engine: Engine) -> None:
    """The batch is true, and the next holder has it; who sent it must stop all the same."""
    cut = Cut(SqlStore(engine), lose=0)
    store = RetryingStore(cut, Hurried(threading.Event(), Said()))
    made = batches(store.take_lease("w", "slow").epoch)
    commit(engine, made[0])
    found = take_lease(engine, "w", "standby")
    assert found.counts == made[0].counts
    with pytest.raises(FencedError):
        store.commit(made[0])


def test_a_lease_whose_answer_got_lost_is_taken_again(engine: Engine) -> None:
    """Its epoch rises twice, which harms nobody."""
    store = RetryingStore(Cut(SqlStore(engine)), Hurried(threading.Event(), Said()))
    assert store.take_lease("w", "test").epoch == 2


def test_pauses_are_short() -> None:
    """A server that is back is noticed within seconds."""
    assert retry.FIRST_PAUSE_S <= 0.1
    assert retry.MAX_PAUSE_S <= 2
