"""One holding: its latest snapshot plus the later deltas, exact in any order of arrival.

A delta counts if its event time is after that of the snapshot. A delta with the same time is taken
to be included in the snapshot, because venues stamp a snapshot after applying what it shows. Recent
deltas are kept one by one, in chunks of event time, so that a snapshot that arrives after later
deltas can still be applied. Older deltas are folded into `LedgerHolding.base`. After that, a
snapshot from before the fold can no longer be applied; it is refused.

Each chunk is a row. The chunk of a delta depends on its time and on the deltas before it, never on
when rows were written. A fill therefore rewrites kilobytes, not the whole buffer.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from riskwatch.core.clock import SECOND
from riskwatch.core.money import EXACT, ZERO

_add = EXACT.add


class ReportedAmount:
    """The reported amount of one (book, account, wallet, asset, component).

    Attributes
    ----------
    amount : Decimal
        Exact sum of the contributions of holdings, transfers, trades, orders and loans.
    shown : bool
        Whether it was not zero in the last reading, so that a zero must be reported once.
    pins : int
        Number of holdings that contribute to it. Without any it is dropped once it is zero.
    """

    __slots__ = ("amount", "key", "pins", "shown")

    def __init__(self, party: str, place: tuple[str, str, str], component: str, name: str) -> None:
        self.key = f"shown/{party}/{'/'.join(place)}/{component}/{name}"
        self.amount = ZERO
        self.shown = False
        self.pins = 0

    def add(self, amount: Decimal) -> None:
        """Add `amount` to the reported amount."""
        self.amount = _add(self.amount, amount)

    def row(self) -> object:
        """Return the row's value; the row exists only while `shown` is true."""
        return 1


CHUNK_SPAN_S: Final = 15
CHUNK_SPAN: Final = CHUNK_SPAN_S * SECOND
"""Event time that one group of chunks covers, microseconds."""
MAX_CHUNK_DELTAS: Final = 256
"""Maximum number of deltas in one chunk."""
NEVER: Final = -1
"""A time before every event time."""

DirtyRows = dict[str, "object | None"]
"""The object to write by row key; ``None`` if the row is deleted."""
SnapshotKey = tuple[int, int, str]
"""(ts in microseconds, source_seq or 0, event_id); the greatest key is the latest snapshot."""


class DeltaChunk:
    """Deltas of one interval of event time, in order of arrival."""

    __slots__ = ("deltas", "index", "key", "ordinal")

    def __init__(self, holding_key: str, index: int, ordinal: int) -> None:
        self.key = f"delta/{index}.{ordinal}/{holding_key}"
        self.index = index
        self.ordinal = ordinal
        self.deltas: list[tuple[int, Decimal]] = []

    def row(self) -> object:
        """Return the row's value."""
        return self.deltas


class LedgerHoldingRow(msgspec.Struct, array_like=True):
    """The stored row of a :class:`LedgerHolding`."""

    snap: SnapshotKey | None
    base: Decimal
    fold_us: int
    borrowed: Decimal
    pnl: Decimal
    extra: PositionTerms | None
    since: int = NEVER
    stated: Decimal = ZERO
    gap: Decimal = ZERO
    told: int = NEVER
    by: str = ""
    opens: bool = False
    covers: str = ""
    owns: bool = False
    claim: Decimal = ZERO
    wallet_type: str = ""
    missing: Decimal = ZERO
    missing_us: int = NEVER
    missing_by: str = ""


class PositionTerms(msgspec.Struct, array_like=True):
    """The market of a position, and what the venue states of it.

    The fields are those of :class:`riskwatch.core.readings.OpenPosition`.
    """

    base: str
    quote: str
    entry_price: Decimal | None = None
    mark_price: Decimal | None = None
    liquidation_price: Decimal | None = None
    kind: str = ""
    form: str = ""
    contract_size: Decimal | None = None
    settle: str = ""
    unrealized_pnl: Decimal | None = None
    delta: Decimal | None = None
    gamma: Decimal | None = None
    vega: Decimal | None = None
    theta: Decimal | None = None
    iv: Decimal | None = None
    option_value: Decimal | None = None
    delta_convention: str = ""


class LedgerHolding:
    """One holding (or one position, if `extra` is set).

    Attributes
    ----------
    line : ReportedAmount
        The reported amount to which the holding contributes.
    snap : tuple or None
        Key of the latest snapshot.
    base : Decimal
        Amount of the snapshot plus the folded deltas.
    fold_us : int
        Time of the newest folded delta, microseconds. Older snapshots can no longer be applied.
    borrowed, pnl : Decimal
        Further components of the snapshot.
    since : int
        Time of the snapshot before the latest, microseconds. Both include facts up to this time.
    stated, gap : Decimal
        Amount of the latest snapshot, and its difference from the amount that the facts known so
        far give.
    told : int
        Time of the snapshot whose break was reported and is still open; -1 if there is none.
    by : str
        Source of the fact that created it; empty for a position, and in rows of older builds.
    opens : bool
        Whether it stands for its account: it created the account, with a listed asset.
    breaks : dict
        Holdings to check at the next tick: those with a gap or with a reported break.
    book : str
        Its book.
    slot : tuple of str
        Its wallet and its kind (of a position: its side).
    covers : str
        What the latest snapshot covers: ``account``, ``book``, or empty if it does not say.
    owns : bool
        Whether the latest snapshot states the whole wallet, for all books.
    owner : LedgerHolding or None
        The holding whose snapshot includes this one.
    claim : Decimal
        What this one held at the time of that snapshot.
    floor : int
        The later of the times of the own snapshot and of that one, microseconds.
    wallet_type : str
        Type of the wallet as the latest snapshot states it; empty if it does not.
    missing : Decimal
        What snapshots took away without facts, and no second one has confirmed yet.
    missing_us, missing_by : int, str
        Time and source of the first of these snapshots; -1 if there is none.
    """

    __slots__ = (
        "base", "book", "borrowed", "breaks", "by", "chunks", "claim", "covers", "dirty", "extra",
        "floor", "fold_us", "gap", "hi", "key", "line", "lo", "missing", "missing_by", "missing_us",
        "opens", "owner", "owns", "pnl", "since", "slot", "snap", "snap_us", "stated", "tail",
        "tail_deltas", "told", "wallet_type",
    )  # fmt: skip

    def __init__(
        self,
        key: str,
        line: ReportedAmount,
        dirty: DirtyRows,
        breaks: dict[str, LedgerHolding],
        at: tuple[str, tuple[str, str]] = ("", ("", "")),
    ) -> None:
        self.key = key
        self.book, self.slot = at
        self.covers = self.wallet_type = self.missing_by = ""
        self.owns = False
        self.owner: LedgerHolding | None = None
        self.claim = self.missing = ZERO
        self.floor = self.missing_us = NEVER
        self.line = line
        self.dirty = dirty
        self.breaks = breaks
        self.by = ""
        self.opens = False
        self.since = self.told = NEVER
        self.stated = self.gap = ZERO
        self.snap: SnapshotKey | None = None
        self.snap_us = NEVER
        self.base = ZERO
        self.fold_us = NEVER
        self.borrowed = ZERO
        self.pnl = ZERO
        self.extra: PositionTerms | None = None
        self.chunks: dict[int, list[DeltaChunk]] = {}
        self.lo = self.hi = 0
        self.tail: DeltaChunk | None = None
        self.tail_deltas: list[tuple[int, Decimal]] = []
        line.pins += 1

    def apply(self, us: int, amount: Decimal, reach: int, most: int) -> None:
        """Add `amount` at event time `us`.

        Parameters
        ----------
        us : int
            Event time, microseconds.
        amount : Decimal
            Signed amount.
        reach : int
            Event time from which deltas are kept one by one, microseconds.
        most : int
            Maximum number of deltas to keep.
        """
        if us <= self.floor and self._is_included(us, amount):
            return
        line = self.line
        line.amount = _add(line.amount, amount)
        tail = self.tail
        if tail is not None and self.lo <= us < self.hi:
            deltas = self.tail_deltas
            if len(deltas) < MAX_CHUNK_DELTAS:
                deltas.append((us, amount))
                self.dirty[tail.key] = tail
                return
        self._place(us, amount, reach, most)

    def _is_included(self, us: int, amount: Decimal) -> bool:
        """Whether the own snapshot includes a delta. Correct the claim if only one of both does."""
        owner = self.owner
        if us > self.snap_us:
            assert owner is not None, "the floor is above the own snapshot"
            self.claim_more(amount)
            if us > owner.since:
                owner._explain(amount)  # noqa: SLF001 - another of the same class
            return False
        if us > self.since:
            self._explain(amount)
        if owner is not None and us > owner.snap_us:
            self.claim_more(amount.copy_negate())
        return True

    def claim_more(self, amount: Decimal) -> None:
        """Add `amount` to the claim on the owner."""
        if amount:
            self.set_owner(self.owner, _add(self.claim, amount))

    def set_owner(
        self, owner: LedgerHolding | None, claim: Decimal, *, loaded: bool = False
    ) -> None:
        """Set the owner and the claim, and move the difference between the reported amounts."""
        for of, amount in ((self.owner, self.claim), (owner, claim.copy_negate())):
            if of is not None:
                payer = self if of.book == self.book else of
                payer.line.add(amount)
        if loaded:
            self.claim = claim
        elif claim != self.claim:  # an equal one keeps its digits, as its row does
            self.claim = claim
            self.dirty[self.key] = self
        self.owner = owner
        self.floor = self.snap_us if owner is None else max(self.snap_us, owner.snap_us)

    def held_at(self, us: int) -> Decimal:
        """Return the amount without the deltas after `us`, as far as they are kept."""
        total = self.amount()
        for index in sorted(self.chunks):
            for chunk in self.chunks[index]:
                for at, amount in chunk.deltas:
                    if at > us:
                        total = EXACT.subtract(total, amount)
        return total

    def void(self, us: int) -> None:
        """Forget the snapshot and what was before `us`: another book states the wallet now."""
        self.snapshot((us, 0, ""), ZERO)
        self.snap, self.snap_us, self.since = None, NEVER, NEVER
        self.fold_us = max(self.fold_us, us)
        self.gap = self.stated = self.missing = ZERO
        self.missing_us, self.missing_by = NEVER, ""
        self.covers = self.wallet_type = ""
        self.floor = NEVER if self.owner is None else self.owner.snap_us

    def _explain(self, amount: Decimal) -> None:
        """Reduce the gap by a fact that the latest snapshot includes and that arrived after it."""
        self.gap = EXACT.subtract(self.gap, amount)
        if self.missing and amount < ZERO:
            self.missing = max(ZERO, _add(self.missing, amount))
            if not self.missing:
                self.missing_us, self.missing_by = NEVER, ""
        self.breaks[self.key] = self
        self.dirty[self.key] = self

    def _place(self, us: int, amount: Decimal, reach: int, most: int) -> None:
        """Buffer a delta that does not fit into the current chunk."""
        index = us // CHUNK_SPAN
        if index not in self.chunks:
            self.fold(reach)
        group = self.chunks.get(index, [])
        if not group or len(group[-1].deltas) >= MAX_CHUNK_DELTAS:
            if self.buffered() >= most:
                self._fold_chunk(min(self.chunks), 1)
            group = self.chunks.setdefault(index, [])
            group.append(DeltaChunk(self.key, index, group[-1].ordinal + 1 if group else 0))
        chunk = group[-1]
        chunk.deltas.append((us, amount))
        self.dirty[chunk.key] = chunk
        self.tail, self.tail_deltas = chunk, chunk.deltas
        self.lo, self.hi = index * CHUNK_SPAN, (index + 1) * CHUNK_SPAN

    def _absorb(self, us: int, amount: Decimal) -> None:
        self.base = _add(self.base, amount)
        self.fold_us = max(self.fold_us, us)
        self.dirty[self.key] = self

    def buffered(self) -> int:
        """Return the number of deltas that are kept one by one."""
        return sum(len(chunk.deltas) for group in self.chunks.values() for chunk in group)

    def fold(self, reach: int) -> None:
        """Fold the groups of chunks that end at or before `reach`."""
        for index in sorted(self.chunks):
            if (index + 1) * CHUNK_SPAN > reach:
                break
            self._fold_chunk(index, len(self.chunks[index]))

    def _fold_chunk(self, index: int, count: int) -> None:
        """Fold the first `count` chunks of a group."""
        group = self.chunks[index]
        for chunk in group[:count]:
            for us, amount in chunk.deltas:
                self._absorb(us, amount)
            self.dirty[chunk.key] = None
        del group[:count]
        if not group:
            del self.chunks[index]
        self.tail = None

    def snapshot(self, snap: SnapshotKey, stated: Decimal, gained: Decimal = ZERO) -> Decimal:
        """Replace the latest snapshot; the caller has checked that `snap` is newer, not late.

        Parameters
        ----------
        snap : tuple
            Key of the snapshot.
        stated : Decimal
            Its amount.
        gained : Decimal
            What other holdings that it includes gained since the snapshot before.

        Returns
        -------
        Decimal
            The change of the amount.
        """
        us = snap[0]
        expected = self.base
        for index in sorted(self.chunks):
            group = self.chunks[index]
            for chunk in group:
                later = [delta for delta in chunk.deltas if delta[0] > us]
                for delta in chunk.deltas:
                    if delta[0] <= us:
                        expected = _add(expected, delta[1])
                if len(later) < len(chunk.deltas):
                    chunk.deltas = later
                    self.dirty[chunk.key] = chunk if later else None
            left = [chunk for chunk in group if chunk.deltas]
            if left:
                self.chunks[index] = left
            else:
                del self.chunks[index]
        change = EXACT.subtract(stated, expected)
        self.line.add(change)
        # The first snapshot has no expected amount to compare with.
        self.since = us if self.snap is None else self.snap_us
        self.gap = ZERO if self.snap is None else EXACT.subtract(change, gained)
        if self.gap or self.told != NEVER:
            self.breaks[self.key] = self
        self.tail = None
        self.snap, self.snap_us, self.base, self.stated = snap, us, stated, stated
        self.floor = us if self.owner is None else max(us, self.owner.snap_us)
        self.dirty[self.key] = self
        return change

    def amount(self) -> Decimal:
        """Return the exact amount: the base plus every buffered delta."""
        total = self.base
        for index in sorted(self.chunks):
            for chunk in self.chunks[index]:
                for _, amount in chunk.deltas:
                    total = _add(total, amount)
        return total

    def is_idle(self, since: int) -> bool:
        """Whether it is zero in all components and has received no fact after `since`."""
        quiet = not self.chunks and self.snap_us < since and self.fold_us < since
        open_ = self.key in self.breaks
        held = self.base or self.borrowed or self.pnl or self.claim or self.missing
        return quiet and not (held or open_)

    def row(self) -> object:
        """Return the row's value."""
        return LedgerHoldingRow(
            self.snap,
            self.base,
            self.fold_us,
            self.borrowed,
            self.pnl,
            self.extra,
            self.since,
            self.stated,
            self.gap,
            self.told,
            self.by,
            self.opens,
            self.covers,
            self.owns,
            self.claim,
            self.wallet_type,
            self.missing,
            self.missing_us,
            self.missing_by,
        )

    def restore(self, row: LedgerHoldingRow) -> None:
        """Load the holding from its row; its chunks are added afterwards."""
        self.snap = row.snap
        self.snap_us = NEVER if row.snap is None else row.snap[0]
        self.base, self.fold_us = row.base, row.fold_us
        self.borrowed, self.pnl, self.extra = row.borrowed, row.pnl, row.extra
        self.since, self.stated, self.gap, self.told = row.since, row.stated, row.gap, row.told
        self.by, self.opens, self.covers = row.by, row.opens, row.covers
        self.owns, self.claim, self.wallet_type = row.owns, row.claim, row.wallet_type
        self.missing, self.missing_us = row.missing, row.missing_us
        self.missing_by = row.missing_by
        self.floor = self.snap_us
        if self.gap or self.told != NEVER:
            self.breaks[self.key] = self
