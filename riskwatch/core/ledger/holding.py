"""One holding: its latest snapshot plus the later deltas, exact whatever order they came in.

A delta at event time ``t`` counts when ``t`` is after the snapshot's; one with the same time is
taken to be included in the snapshot, since venues stamp a snapshot after applying what it shows.
Recent deltas are kept one by one, in chunks of event time, so that a snapshot that arrives after
later deltas still finds them. Older ones are folded into `Cell.base`: that loses only the ability
to apply a snapshot from before the fold, and such a snapshot is refused.

Chunks are rows of their own. Where a delta lands depends on its time and on the deltas before
it, never on when rows were written, so a fill rewrites kilobytes and not the whole buffer.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from riskwatch.core.clock import SECOND
from riskwatch.core.money import EXACT, ZERO

# What is reported of a counterparty: one amount each, that cells, orders and others add up to.

_add_amounts = EXACT.add


class ReportedAmount:
    """One reported amount, of one (book, account, asset, component).

    Attributes
    ----------
    amount : Decimal
        Exact sum of what every cell, transfer, trade, order and loan contributes.
    shown : bool
        Whether the last reading said that it is not zero, so that its end must be told.
    pins : int
        How many cells write to it; a line without any goes when it is zero.
    """

    __slots__ = ("account", "amount", "asset", "book", "component", "key", "pins", "shown")

    def __init__(self, party: str, book: str, account: str, asset: str, component: str) -> None:
        self.book = book
        self.account = account
        self.asset = asset
        self.component = component
        self.key = f"shown/{party}/{book}/{account}/{component}/{asset}"
        self.amount = ZERO
        self.shown = False
        self.pins = 0

    def add(self, amount: Decimal) -> None:
        """Add `amount` to what is reported."""
        self.amount = _add_amounts(self.amount, amount)

    def row(self) -> object:
        """Return the row's value: its presence says that the line was shown."""
        return 1


CHUNK_SPAN_S: Final = 15
CHUNK_SPAN: Final = CHUNK_SPAN_S * SECOND
"""Event time that one group of chunks covers, microseconds."""
MAX_CHUNK_DELTAS: Final = 256
"""Most deltas in one chunk."""
NEVER: Final = -1
"""Before every event time."""

_add = EXACT.add

DirtyRows = dict[str, "object | None"]
"""Row key to what is to be written, ``None`` where the row is gone."""
SnapshotKey = tuple[int, int, str]
"""(ts in microseconds, source_seq or 0, event_id): what makes one snapshot the latest."""


class DeltaChunk:
    """Deltas of one stretch of event time, in order of arrival."""

    __slots__ = ("deltas", "index", "key", "ordinal")

    def __init__(self, cell_key: str, index: int, ordinal: int) -> None:
        self.key = f"delta/{index}.{ordinal}/{cell_key}"
        self.index = index
        self.ordinal = ordinal
        self.deltas: list[tuple[int, Decimal]] = []

    def row(self) -> object:
        """Return the row's value."""
        return self.deltas


class LedgerHoldingRow(msgspec.Struct, array_like=True):
    """What a cell's row holds; see :class:`Cell`."""

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


class PositionTerms(msgspec.Struct, array_like=True):
    """What a position has beyond its quantity: its market, and prices as the venue gave them."""

    base: str
    quote: str
    entry_price: Decimal | None = None
    mark_price: Decimal | None = None
    liquidation_price: Decimal | None = None


class LedgerHolding:
    """One holding (or one position, where `extra` is set).

    Attributes
    ----------
    line : Line
        Where the amount is reported.
    snap : tuple or None
        The latest snapshot.
    base : Decimal
        What the snapshot stated, plus the deltas that were folded.
    fold_us : int
        Newest folded delta, microseconds: snapshots before it can no longer be applied.
    borrowed, pnl : Decimal
        Further components of the snapshot.
    since : int
        Time of the snapshot before the latest, microseconds: facts up to there are in both.
    stated, gap : Decimal
        What the latest snapshot stated, and by how much that exceeds what was expected, as far
        as is known by now.
    told : int
        The snapshot whose break was reported and is still open, by its time; -1 for none.
    breaks : dict
        Where a cell with a gap, or with a break that was told, is noted for the next tick.
    """

    __slots__ = (
        "base", "borrowed", "breaks", "chunks", "dirty", "extra", "fold_us", "gap", "hi", "key",
        "line", "lo", "pnl", "since", "snap", "snap_us", "stated", "tail", "tail_deltas", "told",
    )  # fmt: skip

    def __init__(
        self, key: str, line: ReportedAmount, dirty: DirtyRows, breaks: dict[str, LedgerHolding]
    ) -> None:
        self.key = key
        self.line = line
        self.dirty = dirty
        self.breaks = breaks
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
            Signed.
        reach : int
            Event time back to which deltas are kept one by one, microseconds.
        most : int
            Most deltas to keep.
        """
        if us <= self.snap_us:
            if us > self.since:
                self._explain(amount)
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

    def _explain(self, amount: Decimal) -> None:
        """Take note of a fact that the latest snapshot includes and that came after it."""
        self.gap = EXACT.subtract(self.gap, amount)
        self.breaks[self.key] = self
        self.dirty[self.key] = self

    def _place(self, us: int, amount: Decimal, reach: int, most: int) -> None:
        """Buffer a delta where no chunk is at hand for it."""
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
        """Count the deltas that are kept one by one."""
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

    def snapshot(self, snap: SnapshotKey, stated: Decimal) -> None:
        """Replace the latest snapshot; the caller has checked that `snap` is newer, not late."""
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
        self.line.add(EXACT.subtract(stated, expected))
        # Before the first there is nothing to compare with, and nothing that could come late.
        self.since = us if self.snap is None else self.snap_us
        self.gap = ZERO if self.snap is None else EXACT.subtract(stated, expected)
        if self.gap or self.told != NEVER:
            self.breaks[self.key] = self
        self.tail = None
        self.snap, self.snap_us, self.base, self.stated = snap, us, stated, stated
        self.dirty[self.key] = self

    def amount(self) -> Decimal:
        """Exact amount: base plus every buffered delta."""
        total = self.base
        for index in sorted(self.chunks):
            for chunk in self.chunks[index]:
                for _, amount in chunk.deltas:
                    total = _add(total, amount)
        return total

    def is_idle(self, since: int) -> bool:
        """Whether it is worth nothing and nothing was heard of it after `since`."""
        quiet = not self.chunks and self.snap_us < since and self.fold_us < since
        open_ = self.key in self.breaks
        return quiet and not (self.base or self.borrowed or self.pnl or open_)

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
        )

    def restore(self, row: LedgerHoldingRow) -> None:
        """Become what `row` says; chunks are added afterwards."""
        self.snap = row.snap
        self.snap_us = NEVER if row.snap is None else row.snap[0]
        self.base, self.fold_us = row.base, row.fold_us
        self.borrowed, self.pnl, self.extra = row.borrowed, row.pnl, row.extra
        self.since, self.stated, self.gap, self.told = row.since, row.stated, row.gap, row.told
        if self.gap or self.told != NEVER:
            self.breaks[self.key] = self
