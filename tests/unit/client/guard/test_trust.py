"""The trust state of a guard: when the table is trusted, and when it no longer is."""

from __future__ import annotations

import msgspec
import pytest

from riskwatch.client.errors import HistoryError
from riskwatch.client.guard import trust, view
from riskwatch.client.guard.trust import Terms
from riskwatch.core.enums import State
from tests.support.guarding import LIFE_S, Scene

COIN, VENUE = "asset:USDC", "counterparty:kraken"
ENDING = Terms(reduce_s=30.0)


def state_of(scene: Scene, scope: str) -> State:
    """Return the state of a scope in the view."""
    rows = {row.scope: row for row in scene.trust.view.index.find_all(None, "kraken", "USDC")}
    return rows[scope].row.state if scope in rows else State.NORMAL


def test_nothing_is_known_at_first() -> None:
    """Before a heartbeat agrees with the table, everything is at HALT, with rows or without."""
    scene = Scene()
    assert scene.settle() is State.HALT
    scene.trust.row(scene.truth.decide(COIN, State.WATCH))
    assert scene.settle() is State.HALT
    assert scene.pass_(100) is State.HALT


def test_a_heartbeat_that_agrees_ends_it() -> None:
    """After it, rows have their states, and a scope without a row is NORMAL."""
    scene = Scene()
    assert scene.known(scene.truth.decide(COIN, State.HALT)) is State.NORMAL
    assert state_of(scene, COIN) is State.HALT
    assert state_of(scene, VENUE) is State.NORMAL


def test_rows_may_come_after_the_heartbeat_that_vouches_for_them() -> None:
    """A row may arrive after its heartbeat, because they come from two topics."""
    scene = Scene()
    row = scene.truth.decide(COIN, State.HALT)
    scene.trust.beat(scene.truth.beat())
    assert scene.settle() is State.HALT
    scene.trust.row(row)
    assert scene.settle() is State.NORMAL


def test_a_heartbeat_vouches_for_the_table_of_its_time() -> None:
    """Rows that are newer than the heartbeat do not make the table differ."""
    scene = Scene()
    scene.known(scene.truth.decide(COIN, State.WATCH))
    scene.time.pass_(1.0)
    beat = scene.truth.beat()
    scene.trust.row(scene.truth.decide(COIN, State.HALT))
    scene.trust.beat(beat)
    assert scene.pass_(10) is State.NORMAL
    assert scene.trust.verified == beat
    assert state_of(scene, COIN) is State.HALT


def test_expiry_is_reduce_then_halt_and_ends_by_itself() -> None:
    """At `valid_until` REDUCE, after `reduce_s` HALT, and NORMAL with the next heartbeat."""
    scene = Scene(ENDING)
    scene.known(scene.truth.decide(COIN, State.WATCH))
    assert scene.pass_(LIFE_S - 0.25) is State.NORMAL
    assert scene.pass_(0.25) is State.REDUCE
    assert scene.pass_(scene.terms.reduce_s - 0.25) is State.REDUCE
    assert scene.pass_(0.25) is State.HALT
    assert scene.known() is State.NORMAL


def test_a_known_halt_outlives_expiry() -> None:
    """After expiry the last known HALT still restricts orders."""
    scene = Scene()
    scene.known(scene.truth.decide(COIN, State.HALT))
    assert scene.pass_(LIFE_S + 1) is State.REDUCE
    assert state_of(scene, COIN) is State.HALT


def test_no_heartbeat_is_believed_longer_than_the_terms_allow() -> None:
    """A heartbeat that claims a day is believed for `longest_s`."""
    scene = Scene(Terms(longest_s=90.0))
    scene.trust.row(scene.truth.decide(COIN, State.WATCH))
    scene.trust.beat(scene.truth.beat(life_s=86_400.0))
    assert scene.settle() is State.NORMAL
    assert scene.pass_(89.75) is State.NORMAL
    assert scene.pass_(0.25) is State.REDUCE


def test_the_same_heartbeat_again_extends_nothing() -> None:
    """The validity counts from when the heartbeat was made, not from when it arrives."""
    scene = Scene()
    scene.known()
    beat = scene.truth.beat()
    for _ in range(7):
        scene.pass_(10)
        scene.trust.beat(beat)
    assert scene.settle() is not State.NORMAL


def test_a_heartbeat_that_differs_is_given_a_moment() -> None:
    """A missing row closes after the grace period, long before the old heartbeat expires."""
    scene = Scene()
    scene.known(scene.truth.decide(COIN, State.WATCH))
    missed = scene.truth.decide(VENUE, State.HALT)
    scene.time.pass_(1.0)
    scene.trust.beat(scene.truth.beat())
    assert scene.settle() is State.NORMAL
    assert scene.pass_(scene.terms.grace_s - 0.25) is State.NORMAL
    assert scene.pass_(0.25) is State.REDUCE
    scene.trust.row(missed)
    assert scene.settle() is State.NORMAL
    assert state_of(scene, VENUE) is State.HALT


def test_a_voided_workers_stale_row_is_caught_by_the_digest() -> None:
    """A stale row that compaction kept closes the guard until a newer row arrives."""
    scene = Scene()
    stale = scene.truth.decide(COIN, State.NORMAL)
    scene.truth.epoch = 2
    real = scene.truth.decide(COIN, State.HALT)
    assert scene.known(stale) is State.HALT
    assert scene.pass_(5) is State.HALT
    scene.trust.row(real)
    assert scene.settle() is State.NORMAL
    assert state_of(scene, COIN) is State.HALT
    scene.trust.row(stale)
    assert scene.settle() is State.NORMAL
    assert state_of(scene, COIN) is State.HALT


def test_a_table_that_goes_on_differing_is_read_again() -> None:
    """After a while everything is read again; the last known rows restrict orders meanwhile."""
    scene = Scene()
    halted = scene.truth.decide(COIN, State.HALT)
    scene.known(halted)
    missed = scene.truth.decide(VENUE, State.WATCH)
    scene.time.pass_(1.0)
    scene.trust.beat(scene.truth.beat())
    scene.settle()
    scene.pass_(scene.terms.grace_s + scene.terms.rebuild_s + 1)
    assert scene.trust.generation == 1
    assert len(scene.trust.table) == 0
    assert state_of(scene, COIN) is State.HALT
    scene.trust.row(halted)
    scene.trust.row(missed)
    assert scene.settle() is State.NORMAL


def test_the_mirrors_places_do_not_matter() -> None:
    """The mirror rewrites rows under later numbers; the digest of the current rows is enough."""
    scene = Scene()
    first = scene.truth.decide(COIN, State.HALT)
    scene.truth.decide("book:x", State.WATCH)
    other = scene.truth.decide("book:x", State.NORMAL)
    filled = [msgspec.structs.replace(row, seq=50) for row in (first, other)]
    assert scene.known(*filled) is State.NORMAL


def test_lost_connections_close() -> None:
    """Without an answer from any server the guard closes within seconds, despite the heartbeat."""
    scene = Scene(ENDING)
    scene.known()
    assert scene.pass_(scene.terms.lost_s - 0.25, answering=False) is State.NORMAL
    assert scene.pass_(0.5, answering=False) is State.REDUCE
    assert scene.pass_(scene.terms.reduce_s, answering=False) is State.HALT
    assert scene.known() is State.NORMAL


def test_a_stalled_thread_closes() -> None:
    """Without calls of `settle` the current view expires by itself."""
    scene = Scene(ENDING)
    scene.known()
    scene.time.pass_(scene.terms.lost_s + 0.1)
    assert scene.trust.floor() is State.REDUCE
    scene.time.pass_(scene.terms.reduce_s)
    assert scene.trust.floor() is State.HALT


@pytest.mark.parametrize("step", [3600.0, -3600.0, 1.5, -1.5])
def test_a_jump_of_the_clock_closes_until_the_next_heartbeat(step: float) -> None:
    """After a jump in either direction only heartbeats from after it are trusted."""
    scene = Scene()
    scene.known()
    old = scene.truth.beat()
    scene.time.wall += step
    assert scene.settle() is State.REDUCE
    scene.trust.beat(old)
    assert scene.settle() is State.REDUCE
    scene.time.wall = max(scene.time.wall, scene.trust.calendar.wall())
    scene.pass_(1)
    fresh = scene.truth.beat()
    if step > 0:
        scene.trust.beat(fresh)
        assert scene.settle() is State.NORMAL
        return
    # The machine is behind now, so a current heartbeat is dated in its future.
    scene.trust.beat(scene.truth.beat(ts=scene.time.wall - step))
    near = -step <= scene.terms.skew_s
    assert (scene.settle() is State.NORMAL) is near


def test_sleep_of_the_machine_closes() -> None:
    """The steady clock continues in suspend, so an old table is not trusted afterwards."""
    scene = Scene()
    scene.known()
    scene.time.pass_(3600)
    assert scene.trust.floor() is State.REDUCE


def test_heartbeats_from_the_future_or_the_past_vouch_for_nothing() -> None:
    """A heartbeat beyond the allowed skew, or expired, does not verify the table."""
    scene = Scene()
    now = scene.time.wall
    scene.trust.beat(scene.truth.beat(ts=now + scene.terms.skew_s + 0.5))
    assert scene.settle() is State.HALT
    assert "ahead of this machine's clock" in scene.trust.note
    scene.trust.beat(scene.truth.beat(ts=now - LIFE_S))
    assert scene.settle() is State.HALT
    assert "was over" in scene.trust.note
    scene.trust.beat(scene.truth.beat(ts=now + scene.terms.skew_s))
    assert scene.settle() is State.NORMAL
    # It does not verify the table beyond its own validity.
    assert scene.pass_(LIFE_S) is State.REDUCE


@pytest.mark.parametrize("off_s", [-7_200.0, -91.0, 91.0, 7_200.0])
def test_a_heartbeat_of_a_worker_that_decides_nothing_closes_at_once(off_s: float) -> None:
    """Its last tick is far from its own time; the next heartbeat with ticks ends it."""
    scene = Scene(ENDING)
    assert scene.known() is State.NORMAL
    scene.pass_(15)
    scene.trust.beat(scene.truth.beat(reached=scene.time.wall + off_s))
    assert scene.settle() is State.REDUCE
    assert scene.trust.view.bound.startswith("the worker decides nothing: its last tick ")
    assert scene.pass_(31) is State.HALT
    scene.trust.beat(scene.truth.beat(reached=scene.time.wall - 60))
    assert scene.settle() is State.NORMAL


def test_a_guard_that_starts_says_that_the_worker_decides_nothing() -> None:
    """Without a heartbeat before, the reason is beside the one of a start."""
    scene = Scene()
    scene.trust.beat(scene.truth.beat(reached=scene.time.wall - 7_200))
    assert scene.settle() is State.HALT
    assert "decides nothing" in scene.trust.note
    scene.pass_(15)
    assert scene.known() is State.NORMAL
    assert scene.trust.note == ""


def test_a_heartbeat_that_states_no_ticks_is_judged_as_before() -> None:
    """Workers of earlier versions, and a worker before its first event."""
    scene = Scene()
    assert scene.known() is State.NORMAL
    assert scene.truth.beat().reached is None


def test_a_delayed_heartbeat_without_ticks_closes_nothing() -> None:
    """A newer one came already."""
    scene = Scene()
    stuck = scene.truth.beat(reached=scene.time.wall - 7_200)
    scene.pass_(15)
    assert scene.known() is State.NORMAL
    scene.trust.beat(stuck)
    assert scene.settle() is State.NORMAL


def test_a_voided_workers_heartbeat_is_left_out() -> None:
    """A heartbeat of an earlier epoch is ignored."""
    scene = Scene()
    scene.truth.epoch = 2
    scene.known()
    scene.truth.epoch = 1
    scene.time.pass_(1.0)
    zombie = scene.truth.beat()
    scene.trust.beat(zombie)
    scene.settle()
    assert scene.trust.verified != zombie


def test_another_history_begins_anew() -> None:
    """A replaced database starts its numbers again: the guard closes, then trusts the new table."""
    scene = Scene()
    scene.truth.epoch = 5
    scene.known(scene.truth.decide(COIN, State.HALT))
    scene.pass_(LIFE_S + 5)
    other = Scene(time=scene.time).truth
    row = other.decide(COIN, State.WATCH)
    scene.trust.beat(other.beat())
    assert scene.settle() is not State.NORMAL
    assert scene.trust.generation == 1
    # The first one was of a history that was not expected; the next is taken at its word.
    scene.time.pass_(1.0)
    scene.trust.row(row)
    scene.trust.beat(other.beat())
    assert scene.settle() is State.NORMAL
    assert state_of(scene, COIN) is State.WATCH


def test_a_full_table_fails_closed_and_keeps_what_it_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does not start again, its rows still hold and change, and no order passes unverified."""
    monkeypatch.setattr(view, "MAX_SCOPES", 2)
    scene = Scene(ENDING)
    assert scene.known(scene.truth.decide(COIN, State.WATCH)) is State.NORMAL
    scene.known(scene.truth.decide("asset:OTHER", State.WATCH))
    for n in range(3):
        scene.trust.row(scene.truth.decide(f"asset:flood{n}", State.HALT))
    scene.trust.row(scene.truth.decide(COIN, State.HALT))
    scene.trust.row(scene.truth.decide(VENUE, State.NORMAL))
    scene.settle()
    assert state_of(scene, VENUE) is State.HALT  # unknown, so it is not allowed
    for _ in range(40):
        scene.trust.beat(scene.truth.beat())
        floor = scene.settle()
        scene.time.pass_(5.0)
    assert floor is State.HALT
    assert scene.trust.generation == 0
    assert state_of(scene, COIN) is State.HALT
    assert "the table is full: 2 scopes" in scene.trust.view.bound


def test_marks_of_unusable_messages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the firm is at HALT in place of further scopes."""
    monkeypatch.setattr(trust, "MAX_MARKS", 3)
    scene = Scene()
    scene.known()
    for n in range(3):
        scene.trust.mark_unreadable(f"asset:flood{n}")
    scene.settle()
    assert state_of(scene, "firm") is State.NORMAL
    scene.trust.mark_unreadable(COIN)
    scene.settle()
    assert state_of(scene, "firm") is State.HALT
    assert len(scene.trust._bad) == 4


def test_one_place_for_two_things_is_an_error() -> None:
    """One number with two contents is an error; after it the guard fails closed."""
    scene = Scene()
    row = scene.truth.decide(COIN, State.WATCH)
    scene.known(row)
    with pytest.raises(HistoryError, match="its database was replaced"):
        scene.trust.row(msgspec.structs.replace(row, decision_id="other"))
    scene.trust.reset("another history")
    assert scene.settle() is State.REDUCE


@pytest.mark.parametrize(
    ("key", "scope"), [(COIN, COIN), (None, "firm"), ("", "firm"), ("nonsense", "firm")]
)
def test_what_cannot_be_read_is_a_halt(key: str | None, scope: str) -> None:
    """An unreadable record halts its scope, or the firm if the scope is unknown."""
    scene = Scene()
    scene.known()
    scene.trust.mark_unreadable(key)
    assert scene.settle() is State.NORMAL
    assert state_of(scene, scope) is State.HALT
    scene.time.pass_(15)
    assert scene.known() is State.NORMAL
    assert state_of(scene, scope) is State.HALT
    scene.time.pass_(15)
    assert scene.known() is State.NORMAL
    assert state_of(scene, scope) is State.NORMAL


def test_the_next_message_that_can_be_read_ends_it_too() -> None:
    """The next readable message about the scope replaces the unreadable one."""
    scene = Scene()
    scene.known()
    scene.trust.mark_unreadable(COIN)
    scene.trust.row(scene.truth.decide(COIN, State.WATCH))
    scene.settle()
    assert state_of(scene, COIN) is State.WATCH


def test_a_row_of_no_scope_is_a_halt_of_the_firm() -> None:
    """A row with an invalid scope halts the firm, since it may bind anything."""
    scene = Scene()
    scene.known()
    scene.trust.row(scene.truth.decide("galaxy:milky", State.NORMAL))
    scene.settle()
    assert state_of(scene, "firm") is State.HALT


def test_a_closed_guard_believes_nothing() -> None:
    """After `end` nothing is trusted, whatever arrives."""
    scene = Scene()
    scene.known()
    scene.trust.end()
    assert scene.trust.floor() is State.HALT
    scene.time.pass_(1)
    assert scene.known(scene.truth.decide(COIN, State.WATCH)) is State.HALT
