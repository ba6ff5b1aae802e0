"""The trust state of a guard: its table, what confirms the table, and until when it is valid.

It has no threads and no clock of its own. The table is trusted only while **all** of these hold:

* a heartbeat that is still valid carries the digest of the table;
* no newer heartbeat has carried another digest for longer than the grace period;
* the newest heartbeat shows that the worker's ticks pass;
* some subscription had an answer from its server recently;
* the clock of the machine has not jumped since.

Otherwise the guard fails closed: REDUCE from that moment, and HALT after `reduce_s` if that has an
end. Before the first heartbeat that agrees it is HALT. This is not a latch: it ends with the next
heartbeat whose digest agrees.
"""

from __future__ import annotations

import time
from functools import partial
from math import inf
from threading import RLock
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.client.guard.deployment import SOURCE, DeploymentPin
from riskwatch.client.guard.view import NEVER, SwitchRow, SwitchTable, View, index_rows
from riskwatch.contracts.heartbeat import LAG_S, GuardPolicy, Heartbeat, tick_fault
from riskwatch.core.clock import SECOND, micros
from riskwatch.core.enums import State
from riskwatch.core.names import IDENTITY
from riskwatch.core.scopes import FIRM, ScopeIndex, parse
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from riskwatch.core.names import NameTable


# The guard uses one monotonic clock. It is tied to the wall clock when messages come.


def steady() -> Callable[[], float]:
    """Return a clock in seconds that only grows, and that continues while the machine sleeps.

    The ordinary monotonic clock of Linux stops in suspend. With it, a laptop or a virtual machine
    that wakes after an hour would treat an old table as current.
    """
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic if boot is None else partial(time.clock_gettime, boot)


class ClockCalibration:
    """Computes wall time from the steady clock and the difference between the two clocks.

    Parameters
    ----------
    clock, wall : callable
        Steady seconds, and seconds since 1970.
    jump_s : float
        Largest change of the difference between two calibrations that is not a jump.
    """

    def __init__(
        self, clock: Callable[[], float], wall: Callable[[], float], jump_s: float
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._jump_s = jump_s
        self._offset = wall() - clock()

    def recalibrate(self) -> float | None:
        """Measure the difference again; return by how much it jumped, or ``None``."""
        offset = self._wall() - self._clock()
        moved, self._offset = offset - self._offset, offset
        return moved if abs(moved) > self._jump_s else None

    def wall(self) -> float:
        """Return seconds since 1970; a jump of the wall clock shows only after a calibration."""
        return self._clock() + self._offset

    def steady(self, wall: float) -> float:
        """Return the steady seconds at a wall time."""
        return wall - self._offset


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Waiting times of the guard, in seconds.

    Attributes
    ----------
    reduce_s : float
        How long REDUCE holds after failing closed, before it becomes HALT; without end by default.
        If the policy of the last heartbeat says less, that counts.
    lost_s : float
        Longest time without an answer from any server.
    grace_s : float
        How long a heartbeat may differ from the table, since the message that explains the
        difference travels on another topic.
    skew_s : float
        How far a heartbeat may be ahead of this machine's clock.
    jump_s : float
        Largest step of this machine's clock that is not a jump.
    longest_s : float
        Longest validity of a heartbeat that is accepted.
    rebuild_s : float
        How long the table may differ before everything is read again.
    lag_s : float
        How far the worker's last tick may be before or behind its heartbeat. It is at least
        ``RISKWATCH_TICK`` and ``RISKWATCH_TICK_LAG`` together.
    """

    reduce_s: float = inf
    lost_s: float = 5.0
    grace_s: float = 2.0
    skew_s: float = 2.0
    jump_s: float = 1.0
    longest_s: float = 300.0
    rebuild_s: float = 10.0
    lag_s: float = LAG_S

    def __post_init__(self) -> None:
        """Refuse values for which a wait would never end, such as NaN.

        Raises
        ------
        ConfigError
            If a value is not a finite number of seconds, 0 or more; `reduce_s` may be infinite.
        """
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not 0.0 <= value < inf and not (name == "reduce_s" and value == inf):
                raise ConfigError("kill switch", f"terms.{name}", "seconds, 0 or more", value)


UNLISTED_S: Final = 30.0
"""How long withdrawals to unlisted addresses pass in an outage whose REDUCE has no end."""
_LONGEST_S: Final = 60.0
"""Longest pause between two attempts to rebuild the table."""
MAX_MARKS: Final = 1_000
"""Most scopes whose messages cannot be used; beyond them the firm stands for all."""
_CONFIRMATIONS: Final = 2
"""Heartbeats that must verify the table before an unreadable message no longer counts."""


class _TimedHeartbeat(msgspec.Struct, frozen=True):
    """A heartbeat, when it arrived, and when it expires, by the steady clock."""

    beat: Heartbeat
    since: float
    deadline: float


class TrustState:
    """The state that the guard has received, and the view derived from it.

    Any thread may call every method. The sources call the methods of the first group when messages
    arrive, and then :meth:`settle`, at least every quarter of a second.

    Parameters
    ----------
    terms : Terms
        Waiting times.
    clock, wall : callable
        Steady seconds, and seconds since 1970.
    deployment : str or None
        Deployment to obey; ``None`` for the first that is verified.
    names : NameTable
        Canonical names; a heartbeat with the digest of another table verifies nothing.

    Attributes
    ----------
    deployment : DeploymentPin
        Deployment that is obeyed.
    names : NameTable
        Canonical names of orders; none while the worker has none.
    view : View
        The view that answers orders. It is replaced as a whole.
    generation : int
        Grows when everything must be read from the beginning again.
    sources : dict of str to str
        ``ok``, or what is wrong, by subscription.
    changed : callable
        Called under the lock when there is something new to acknowledge.
    accepted : callable
        Called under the lock with each heartbeat that verifies the table.
    """

    def __init__(
        self,
        terms: Terms,
        clock: Callable[[], float],
        wall: Callable[[], float],
        deployment: str | None = None,
        names: NameTable = IDENTITY,
    ) -> None:
        self.deployment = DeploymentPin(deployment)
        self._own_names = names
        self.names = names
        self.terms = terms
        self.clock = clock
        self.lock = RLock()
        self.calendar = ClockCalibration(clock, wall, terms.jump_s)
        self.table = SwitchTable()
        self.view = View(ScopeIndex(), NEVER, "no heartbeat was verified yet")
        self.generation = 0
        self.sources: dict[str, str] = {}
        self.changed: Callable[[], None] = _nothing
        self.accepted: Callable[[Heartbeat], None] = _ignore
        self.note = ""
        self._good: _TimedHeartbeat | None = None
        self._pending: _TimedHeartbeat | None = None
        self._last: tuple[int, int, datetime] | None = None
        self._last_until: datetime | None = None
        self._dropped = (NEVER, "no heartbeat was verified yet")
        self._differs: float | None = None
        self._rebuilt = NEVER
        self._pause = terms.rebuild_s
        self._tried = -1
        self._answered: dict[str, float] = {}
        self._bad: dict[str, int] = {}
        self._bad_changes = 0
        self._shown = (-1, -1, False, False)
        self._policy = GuardPolicy()
        self._stated = False
        self._rows: dict[str, SwitchRow] = {}
        self._rebuilding = False
        self._floor = State.HALT
        self._ended = False

    # Messages from the sources.

    def row(self, row: SwitchRow, deployment: str = "") -> None:
        """Add the row of a message about a scope, unless it is of another deployment.

        Raises
        ------
        HistoryError
            If it contradicts what is known; see :meth:`reset`.
        """
        with self.lock:
            try:
                parse(row.scope)
            except ValueError:
                self.mark_unreadable(row.scope)
                return
            if self.deployment.refuses_row(row.scope, deployment):
                self._tell_foreign()
                return
            left_out = self.table.left_out
            if self.table.put(row) and self._bad.pop(row.scope, None) is not None:
                self._bad_changes += 1
            if self.table.left_out > left_out:
                self.mark_unreadable(row.scope)

    def mark_unreadable(self, scope: str | None) -> None:
        """Record that a message about `scope` cannot be decoded, since it may have been a HALT.

        So is one for which the table has no room. Beyond :data:`MAX_MARKS` scopes, `firm` is
        marked. The mark ends with the next readable message about the scope, or once two later
        heartbeats have verified the table.
        """
        with self.lock:
            known = scope or FIRM
            try:
                parse(known)
            except ValueError:
                known = FIRM
            if known not in self._bad and len(self._bad) >= MAX_MARKS:
                known = FIRM
            if self._bad.get(known) != 0:
                self._bad_changes += 1
            self._bad[known] = 0

    def beat(self, beat: Heartbeat) -> None:
        """Accept a heartbeat; ignore one that is old, foreign, invalidated or of the future."""
        with self.lock:
            if self.deployment.refuses("a heartbeat", beat.deployment):
                self._tell_foreign()
                return
            now, wall = self.clock(), self.calendar.wall()
            made, ends = _epoch_seconds(beat.ts), _epoch_seconds(beat.valid_until)
            if made > wall + self.terms.skew_s:
                self.note = f"the heartbeat is {made - wall:.1f} s ahead of this machine's clock"
                return
            if ends <= wall:
                self.note = (
                    f"the heartbeat was over {wall - ends:.1f} s ago by this machine's clock"
                )
                return
            place = (beat.epoch, beat.seq, beat.ts)
            if self._last is not None and place <= self._last:
                if self._last_until is None or beat.ts <= self._last_until:
                    return
                # The last heartbeat expired before this one was made: the history is another one.
                self.reset("the heartbeats are of another history now")
            self.note = ""
            self._last, self._last_until = place, beat.valid_until
            fault = tick_fault(beat.ts, beat.reached, self.terms.lag_s)
            if fault is not None:
                self._drop(fault)
                self._pending = None
                self.note = "" if self._dropped[1] == fault else fault
                return
            life = min(ends - wall, ends - made)
            self._pending = _TimedHeartbeat(beat, now, now + life)
            self._tried = -1

    def refuses_table(self, beat: Heartbeat) -> bool:
        """Whether a heartbeat and its rows are of another deployment; it is shown if so."""
        with self.lock:
            refused = self.deployment.refuses("a table", beat.deployment)
            if refused:
                self._tell_foreign()
            return refused

    def refuses_drill(self, deployment: str) -> bool:
        """Whether a drill is of another deployment; it is shown if so."""
        with self.lock:
            refused = self.deployment.refuses("a drill", deployment)
            if refused:
                self._tell_foreign()
            return refused

    def mark_answered(self, source: str) -> None:
        """Record that a server answered."""
        with self.lock:
            self._answered[source] = self.clock()
            self.sources[source] = "ok"

    def mark_lost(self, source: str, why: str) -> None:
        """Record what is wrong with a subscription."""
        with self.lock:
            self.sources[source] = why

    def reset(self, why: str) -> None:
        """Clear the table, fail closed, and have everything read again."""
        with self.lock:
            self._drop(why)
            self.table.clear()
            self.deployment.clear()
            self._pending = self._last = self._last_until = None
            self._again()

    def end(self) -> None:
        """Trust nothing any more, because the guard was closed."""
        with self.lock:
            self._ended = True
            self._good = self._pending = None
            self._dropped = (NEVER, "the guard is closed")
            self.view = self.view.lasting(*self._dropped)

    def inherit(self, why: str) -> None:
        """Trust nothing any more in a forked child.

        A thread of the parent may have held the lock at the fork, so the lock is replaced.
        """
        self.lock = RLock()
        self._ended = True
        self._good = self._pending = None
        self.note = ""
        self.changed = _nothing
        self.accepted = _ignore
        self._dropped = (NEVER, why)
        self.view = View(ScopeIndex(), *self._dropped)

    # The view derived from them.

    def settle(self) -> None:
        """Update the view from what is known and from the time."""
        with self.lock:
            if self._ended:
                return  # a source that stops late must not make the table trusted again
            now = self.clock()
            moved = self.calendar.recalibrate()
            if moved is not None:
                self._drop(f"the clock of this machine jumped by {moved:.1f} s")
                self._pending = None
            self._verify(now)
            self._swap(now)

    def floor(self, now: float | None = None) -> State:
        """Return the state that holds for every order; NORMAL while the table is trusted."""
        at = self.clock() if now is None else now
        view = self.view
        if at < view.until:
            return State.NORMAL
        return self.floor_since(view.until, at)

    def floor_since(self, until: float, now: float, reduce_s: float | None = None) -> State:
        """Return the state of everything at `now` if the table is not trusted since `until`.

        `reduce_s` replaces the present term.
        """
        if until == NEVER:
            return State.HALT
        lasts = self.reduce_s if reduce_s is None else reduce_s
        return State.REDUCE if now < until + lasts else State.HALT

    @property
    def reduce_s(self) -> float:
        """How long REDUCE holds after failing closed: the shorter of the terms and the policy."""
        stated = self.policy.outage_reduce_s
        return self.terms.reduce_s if stated is None else min(self.terms.reduce_s, stated)

    @property
    def unlisted_s(self) -> float:
        """How long after failing closed withdrawals to unlisted addresses pass."""
        return self.reduce_s if self.reduce_s < inf else UNLISTED_S

    @property
    def policy(self) -> GuardPolicy:
        """The policy of the last heartbeat that verified the table; the shipped one before that."""
        return self._policy

    @property
    def verified(self) -> Heartbeat | None:
        """The heartbeat that verifies the table."""
        return None if self._good is None else self._good.beat

    def _verify(self, now: float) -> None:
        held = self._pending
        if held is None:
            return
        if self._tried != self.table.changes:
            self._tried = self.table.changes
            digest = held.beat.digest
            # The mirror stores only the current rows, without the sequence numbers of old ones.
            # Either digest will do: it covers decisions, and no two tables have the same one.
            agrees = digest in (self.table.digest_at(held.beat.seq), self.table.digest())
            if agrees and self._restrictions_agree(held.beat):
                fault = names_fault(self._own_names, held.beat)
                if fault:
                    self._distrust(held, fault)
                    return
                mixed = self.deployment.mixed(held.beat.deployment)
                if not mixed:
                    self._accept(held)
                    return
                self.note = mixed
        if self._differs is None:
            self._differs = held.since
        waited = now - max(self._differs + self.terms.grace_s, self._rebuilt)
        if self.table.left_out:
            return  # reading everything again would leave the same out
        if waited > self._pause:
            self._pause = min(2 * self._pause, _LONGEST_S)
            self._drop(self._difference())
            self.table.clear()
            self.deployment.clear()
            self._again()

    def _distrust(self, held: _TimedHeartbeat, fault: str) -> None:
        """Fail closed at REDUCE: the table is verified, and orders cannot be looked up in it."""
        if self._dropped[1] != fault or self._good is not None:
            self._dropped = (self.clock(), fault)
        self._good = self._pending = self._differs = None
        self._policy = held.beat.policy or GuardPolicy()
        self.note = ""

    def _restrictions_agree(self, beat: Heartbeat) -> bool:
        """Whether the table restricts what the heartbeat says; an older worker does not say it."""
        stated = beat.restriction_digest
        return not stated or stated in self.table.restriction_digests(beat.seq)

    def _accept(self, held: _TimedHeartbeat) -> None:
        self._good, self._pending, self._differs = held, None, None
        self._policy = held.beat.policy or GuardPolicy()
        self.names = self._own_names if held.beat.names_digest else IDENTITY
        self._stated = bool(held.beat.restriction_digest)
        self._rebuilding = False
        self._pause = self.terms.rebuild_s
        self.deployment.confirm(held.beat.deployment)
        self._show_foreign()
        self.table.forget(held.beat.seq)
        self.accepted(held.beat)
        for scope in list(self._bad):
            self._bad[scope] += 1
            if self._bad[scope] >= _CONFIRMATIONS:
                del self._bad[scope]
                self._bad_changes += 1
        self.changed()

    def _tell_foreign(self) -> None:
        """Show what was refused: in the reasons of answers, and in acknowledgements."""
        self.note = self.deployment.fault
        self._show_foreign()

    def _show_foreign(self) -> None:
        if self.deployment.fault:
            self.sources[SOURCE] = self.deployment.fault
        else:
            self.sources.pop(SOURCE, None)

    def _swap(self, now: float) -> None:
        until, bound = self._until()
        shown = (self.table.changes, self._bad_changes, self._rebuilding, self._stated)
        if shown == self._shown:
            self.view = self.view.lasting(until, bound)
        else:
            self._shown = shown
            rows = {row.scope: row for row in self._known()}
            if not self._rebuilding:
                self._rows = rows
            rows = rows | {scope: _unreadable_row(scope) for scope in self._bad}
            shown_rows = rows.values() if self._stated else map(_without_terms, rows.values())
            self.view = View(index_rows(shown_rows), until, bound)
            self.changed()
        floor = self.floor(now)
        if floor is not self._floor:
            self._floor = floor
            self.changed()

    def _known(self) -> Iterable[SwitchRow]:
        """Return the rows to show; during a rebuild, rows known before still restrict orders."""
        if not self._rebuilding:
            return self.table.rows()
        rows = dict(self._rows)
        for row in self.table.rows():
            had = rows.get(row.scope)
            if had is None or row.seq > had.seq:
                rows[row.scope] = row
        return rows.values()

    def _until(self) -> tuple[float, str]:
        if self._good is None:
            return self._dropped
        return min(self._bounds(self._good, self.terms))[:2]

    def _bounds(self, good: _TimedHeartbeat, terms: Terms) -> list[tuple[float, str, str]]:
        """Until when each term lets a table be believed: steady seconds, why, and which term."""
        ends = good.beat.valid_until.isoformat()
        deadline = min(good.deadline, good.since + terms.longest_s)
        bounds = [(deadline, f"the last heartbeat was valid until {ends}", "longest_s")]
        if self._differs is not None:
            at = self._differs + terms.grace_s
            bounds.append((at, self._difference(), "grace_s"))
        answered = max(self._answered.values(), default=NEVER)
        bounds.append((answered + terms.lost_s, "no server answers", "lost_s"))
        return bounds

    def _difference(self) -> str:
        """Say why the table is not that of the heartbeat."""
        if not self.table.left_out:
            return "the table differs from the heartbeat"
        return f"the table is full: {len(self.table)} scopes, and messages about others came"

    def tried_end(self, terms: Terms) -> tuple[float, str, str]:
        """Until when the table would be believed under other terms, why, and which term ends it.

        Where it is not believed any more, that is when and why it ended.
        """
        with self.lock:
            view, good = self.view, self._good
            if good is None:
                return view.until, view.bound, "reduce_s"
            end = min(self._bounds(good, terms))
        return end if end[0] < view.until else (view.until, view.bound, "reduce_s")

    def _drop(self, why: str) -> None:
        """Stop trusting the table now, if it is trusted."""
        if self._good is not None or self._dropped[0] > NEVER:
            until = min(self.view.until, self.clock())
            self._dropped = (until, why)
        self._good = None

    def _again(self) -> None:
        self.generation += 1
        self._rebuilding = True
        self._rebuilt = self.clock()
        self._tried = -1


def names_fault(names: NameTable, beat: Heartbeat) -> str:
    """Return why a table of names is not that of a heartbeat; empty if it is.

    A worker without names looks nothing up, and so does the guard then.
    """
    if beat.names_digest in ("", names.digest):
        return ""
    return (
        f"the names of this guard are another table ({names.digest[:8] or 'none'}) than those of "
        f"riskwatch ({beat.names_digest[:8]}): give it the file of `riskwatch rules names`"
    )


def _unreadable_row(scope: str) -> SwitchRow:
    why = "a message about it cannot be read, or has no room in the table"
    return SwitchRow(
        scope=scope, state=State.HALT, decision_id="", why=why, worker="", epoch=0, seq=0,
        applied=0.0,
    )  # fmt: skip


def _without_terms(row: SwitchRow) -> SwitchRow:
    """Return a row that restricts everything: no heartbeat vouches for what it says of that."""
    return msgspec.structs.replace(row, restriction={}, members=())


def _nothing() -> None:
    """Acknowledge nothing."""


def _ignore(beat: Heartbeat) -> None:
    """Do nothing with a heartbeat."""


def _epoch_seconds(moment: datetime) -> float:
    return micros(moment) / SECOND
