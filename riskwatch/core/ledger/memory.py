"""What the ledger remembers of the executions of one account: latest fills, and trade ids.

The latest :data:`FILLS` fills are kept one by one. They show which fill a correction without a
trade id means, and whether two sources report equal fills. Trade ids are kept as digests for a
month and more, so that a trade counts once however many sources report it and however late.

========================================== ===================================================
row                                        holds
========================================== ===================================================
``executions/<counterparty>/<account>``    sources, horizon of the trade ids, open issues
``fills/<counterparty>/<account>/<n>``     up to 32 fills, in order of arrival
``traded/<counterparty>/<account>/<hour>.<n>``  up to 256 trade ids of one hour of event time
========================================== ===================================================
"""

from __future__ import annotations

from decimal import Decimal
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from riskwatch.core.clock import HOUR, SECOND, micros
from riskwatch.core.enums import QualityIssue
from riskwatch.core.ledger.holding import NEVER
from riskwatch.core.ledger.trades import TradeFacts, facts_of
from riskwatch.core.money import EXACT, ZERO

if TYPE_CHECKING:
    from riskwatch.core.events import Fill
    from riskwatch.core.ledger.holding import DirtyRows

FILLS: Final = 4_096
"""Number of fills of one account that are kept one by one (a chunk more or less)."""
CHUNK_FILLS: Final = 32
"""Maximum number of fills in one row."""
CHUNK_TRADES: Final = 256
"""Maximum number of trade ids in one row: 6 KB of digests, 8 KB as text."""
QUIET_US: Final = HOUR
"""Event time without another occurrence after which an issue ends, microseconds."""
BUSTED: Final = 1
"""Flag of a trade that was cancelled."""
SETTLES: Final = 2
"""Flag of a trade that is tracked until it settles."""


# The latest fills, one by one.


class LoggedFill(msgspec.Struct, array_like=True, gc=False):
    """What is kept of one fill; `instrument` is empty for a spot fill."""

    us: int
    fill_id: str
    source: str
    book: str
    facts: TradeFacts
    fee: Decimal
    fee_asset: str
    trade_id: str | None
    settles: bool = False
    wallet: str = ""


def logged(event: Fill | LoggedFill) -> LoggedFill:
    """Return what is kept of a fill."""
    if isinstance(event, LoggedFill):
        return event
    return LoggedFill(
        micros(event.ts),
        event.event_id,
        event.source,
        event.book,
        facts_of(event),
        event.fee or ZERO,
        event.fee_asset or event.quote,
        event.trade_id,
        settles_later(event),
        event.wallet or "",
    )


def settles_later(event: Fill) -> bool:
    """Whether a fill is tracked until it settles."""
    return event.kind == "spot" and event.settles_at is not None


class FillChunk:
    """Fills that one row holds; an event becomes a :class:`LoggedFill` when it is needed."""

    __slots__ = ("fills", "key", "number")

    def __init__(self, place: str, number: int) -> None:
        self.key = f"fills/{place}/{number}"
        self.number = number
        self.fills: list[Fill | LoggedFill] = []

    def read(self) -> list[LoggedFill]:
        """Return the fills as they are kept."""
        kept = [logged(each) for each in self.fills]
        self.fills[:] = kept
        return kept

    def row(self) -> object:
        """Return the row's value."""
        return self.read()


_Equals = dict[tuple[int, TradeFacts], list[LoggedFill]]
"""Fills by their second and their facts."""


class FillLog:
    """The latest fills of one account.

    Attributes
    ----------
    source : str or None
        The only source so far; ``None`` before the first fill and from the second source on.
    """

    __slots__ = ("_chunks", "_dirty", "_equals", "_place", "_tail", "source")

    def __init__(self, place: str, dirty: DirtyRows) -> None:
        self._place = place
        self._dirty = dirty
        self._chunks: dict[int, FillChunk] = {}
        self._tail: FillChunk | None = None
        self._equals: _Equals | None = None
        self.source: str | None = None

    def add(self, event: Fill) -> None:
        """Add a fill."""
        tail = self._tail
        if tail is None or len(tail.fills) >= CHUNK_FILLS:
            tail = self._roll()
        tail.fills.append(event)
        self._dirty[tail.key] = tail
        if self._equals is not None:
            each = logged(event)
            self._equals.setdefault((each.us // SECOND, each.facts), []).append(each)

    def _roll(self) -> FillChunk:
        """Begin a chunk; beyond :data:`FILLS` fills drop the oldest."""
        number = 0 if self._tail is None else self._tail.number + 1
        tail = self._tail = self._chunks[number] = FillChunk(self._place, number)
        if len(self._chunks) > FILLS // CHUNK_FILLS:
            self._drop(min(self._chunks))
        return tail

    def _drop(self, number: int) -> None:
        oldest = self._chunks.pop(number)
        self._dirty[oldest.key] = None
        equals = self._equals
        if equals is None:
            return
        for each in oldest.read():
            place = (each.us // SECOND, each.facts)
            left = [other for other in equals[place] if other != each]
            if left:
                equals[place] = left
            else:
                del equals[place]

    def forget_all(self) -> None:
        """Forget everything, with the account."""
        for number in sorted(self._chunks):
            self._drop(number)

    def forget_before(self, us: int) -> None:
        """Forget rows of fills before `us`, but the newest row."""
        for number in sorted(self._chunks)[:-1]:
            if any(each.us >= us for each in self._chunks[number].read()):
                return
            self._drop(number)

    def _index(self) -> _Equals:
        found: _Equals = {}
        for number in sorted(self._chunks):
            for each in self._chunks[number].read():
                found.setdefault((each.us // SECOND, each.facts), []).append(each)
        return found

    def find(self, book: str, fill_id: str) -> LoggedFill | None:
        """Return the newest fill of an id in a book, if it is among the latest."""
        for number in sorted(self._chunks, reverse=True):
            for each in reversed(self._chunks[number].fills):
                known = each.fill_id if isinstance(each, LoggedFill) else each.event_id
                if known == fill_id and each.book == book:
                    return logged(each)
        return None

    def find_trade(self, trade_id: str, mark: bytes) -> LoggedFill | None:
        """Return the fill of a trade id and its :func:`trade_mark`, if it is among the latest."""
        for number in sorted(self._chunks, reverse=True):
            for each in reversed(self._chunks[number].fills):
                if each.trade_id == trade_id:
                    fill = logged(each)
                    if trade_mark(fill.facts, trade_id) == mark:
                        return fill
        return None

    def equal_fill(self, event: Fill, us: int) -> LoggedFill | None:
        """Return an equal fill of another source within a second, unless both have trade ids."""
        if self._equals is None:
            self._equals = self._index()
        facts, second = facts_of(event), us // SECOND
        for place in (second - 1, second, second + 1):
            for each in self._equals.get((place, facts), ()):
                other = each.source != event.source and abs(each.us - us) <= SECOND
                if other and (each.trade_id is None or event.trade_id is None):
                    return each
        return None

    def replace(self, book: str, fill_id: str, facts: TradeFacts | None) -> None:
        """Change what is known of a fill, or forget it with ``None``."""
        for number in sorted(self._chunks):
            chunk = self._chunks[number]
            kept = []
            for each in chunk.read():
                if (each.book, each.fill_id) != (book, fill_id):
                    kept.append(each)
                elif facts is not None:
                    kept.append(msgspec.structs.replace(each, facts=facts))
            if kept != chunk.fills:
                chunk.fills[:] = kept
                self._dirty[chunk.key] = chunk
                self._equals = None

    def restore(self, number: int, fills: list[LoggedFill]) -> None:
        """Load one row."""
        chunk = self._chunks[number] = FillChunk(self._place, number)
        chunk.fills = list(fills)
        if self._tail is None or self._tail.number < number:
            self._tail = chunk


# Trade ids, as digests.

_normalise = EXACT.normalize
_MARK, _FACTS, _FILL, _FEE, _PLACE = 8, 5, 4, 4, 2
_ENTRY: Final = _MARK + _FACTS + _FILL + _FEE + _PLACE + 1
_NO_FEE: Final = bytes(_FEE)


def _digest(text: str, size: int) -> bytes:
    return blake2b(text.encode(), digest_size=size).digest()


def trade_mark(facts: TradeFacts, trade_id: str) -> bytes:
    """Return the digest of a trade's identity within its account: instrument or pair, and id."""
    kind = "derivative" if facts.instrument else "spot"
    return _digest(f"{kind}\n{facts.market}\n{trade_id}", _MARK)


def facts_mark(facts: TradeFacts) -> bytes:
    """Return the digest of what two reports of a trade must agree about."""
    qty, price = _normalise(facts.qty), _normalise(facts.price)
    return _digest(
        f"{facts.instrument}\n{facts.base}/{facts.quote}\n{facts.side}\n{qty}\n{price}", _FACTS
    )


def fee_mark(fee: Decimal | None, asset: str) -> bytes:
    """Return the digest of a fee; zeros if there is none or it is zero."""
    if not fee:
        return _NO_FEE
    found = _digest(f"{asset}\n{_normalise(fee)}", _FEE)
    return found if found != _NO_FEE else b"\x01" + _NO_FEE[1:]


def place_mark(book: str, wallet: str) -> bytes:
    """Return the digest of a book and a wallet."""
    return _digest(f"{book}\n{wallet}", _PLACE)


class TradeEntry(NamedTuple):
    """What is remembered of one trade: digests and flags."""

    mark: bytes
    facts: bytes
    fill: bytes
    fee: bytes
    place: bytes
    flag: int

    @property
    def has_fee(self) -> bool:
        """Whether a report stated a fee."""
        return self.fee != _NO_FEE

    def pack(self) -> bytes:
        """Return the entry as bytes."""
        return b"".join(self[:-1]) + bytes((self.flag,))


def new_entry(event: Fill, facts: TradeFacts, mark: bytes) -> TradeEntry:
    """Return the entry of the first report of a trade."""
    fee = fee_mark(event.fee, event.fee_asset or event.quote)
    fill = _digest(event.event_id, _FILL)
    flag = SETTLES if settles_later(event) else 0
    place = place_mark(event.book, event.wallet or "")
    return TradeEntry(mark, facts_mark(facts), fill, fee, place, flag)


class TradeChunk:
    """Entries of trades of one hour of event time, in order of arrival."""

    __slots__ = ("data", "hour", "key", "last", "number")

    def __init__(self, place: str, hour: int, number: int) -> None:
        self.key = f"traded/{place}/{hour}.{number}"
        self.hour = hour
        self.number = number
        self.last = NEVER
        self.data = bytearray()

    def row(self) -> object:
        """Return the row's value."""
        return self.last, bytes(self.data)


class TradeMemory:
    """Trade ids of one account.

    Attributes
    ----------
    horizon : int
        Time of the newest trade that was forgotten, microseconds. A trade up to this time may have
        been counted already.
    """

    __slots__ = ("_chunks", "_dirty", "_index", "_place", "_tails", "horizon")

    def __init__(self, place: str, dirty: DirtyRows) -> None:
        self._place = place
        self._dirty = dirty
        self._chunks: dict[tuple[int, int], TradeChunk] = {}
        self._tails: dict[int, TradeChunk] = {}
        self._index: dict[bytes, TradeChunk] = {}
        self.horizon = NEVER

    def __len__(self) -> int:
        return len(self._index)

    def find(self, mark: bytes) -> TradeEntry | None:
        """Return what is remembered under a :func:`trade_mark`."""
        chunk = self._index.get(mark)
        return None if chunk is None else _entry(chunk.data, _offset(chunk.data, mark))

    def find_fill(self, fill_id: str, facts: TradeFacts) -> TradeEntry | None:
        """Return the trade whose first report was a fill of this id, with these facts if it can."""
        fill, wanted = _digest(fill_id, _FILL), facts_mark(facts)
        found = None
        for place in sorted(self._chunks):
            data = self._chunks[place].data
            at = data.find(fill)
            while at >= 0:
                if at % _ENTRY == _MARK + _FACTS:
                    entry = _entry(data, at - _MARK - _FACTS)
                    if entry.facts == wanted:
                        return entry
                    found = found or entry
                at = data.find(fill, at + 1)
        return found

    def add(self, us: int, entry: TradeEntry) -> None:
        """Remember a new trade."""
        hour = us // HOUR
        tail = self._tails.get(hour)
        if tail is None or len(tail.data) >= CHUNK_TRADES * _ENTRY:
            number = 0 if tail is None else tail.number + 1
            tail = self._tails[hour] = TradeChunk(self._place, hour, number)
            self._chunks[hour, number] = tail
        tail.data += entry.pack()
        tail.last = max(tail.last, us)
        self._index[entry.mark] = tail
        self._dirty[tail.key] = tail

    def update(self, entry: TradeEntry) -> None:
        """Replace what is remembered of a trade."""
        chunk = self._index[entry.mark]
        at = _offset(chunk.data, entry.mark)
        chunk.data[at : at + _ENTRY] = entry.pack()
        self._dirty[chunk.key] = chunk

    def forget_before(self, us: int) -> bool:
        """Forget the hours that end at or before `us`; return whether there were any."""
        old = [place for place in sorted(self._chunks) if (place[0] + 1) * HOUR <= us]
        for place in old:
            self._drop(place)
        return bool(old)

    def forget_oldest(self) -> None:
        """Forget the oldest chunk."""
        self._drop(min(self._chunks))

    def _drop(self, place: tuple[int, int]) -> None:
        chunk = self._chunks.pop(place)
        if self._tails[chunk.hour] is chunk:
            del self._tails[chunk.hour]
        for at in range(0, len(chunk.data), _ENTRY):
            del self._index[bytes(chunk.data[at : at + _MARK])]
        self.horizon = max(self.horizon, chunk.last)
        self._dirty[chunk.key] = None

    def restore(self, hour: int, number: int, row: tuple[int, bytes]) -> None:
        """Load one row."""
        chunk = self._chunks[hour, number] = TradeChunk(self._place, hour, number)
        chunk.last, chunk.data = row[0], bytearray(row[1])
        tail = self._tails.get(hour)
        if tail is None or tail.number < number:
            self._tails[hour] = chunk
        for at in range(0, len(chunk.data), _ENTRY):
            self._index[bytes(chunk.data[at : at + _MARK])] = chunk


def _offset(data: bytearray, mark: bytes) -> int:
    at = data.find(mark)
    while at % _ENTRY:
        at = data.find(mark, at + 1)
    return at


def _entry(data: bytearray, at: int) -> TradeEntry:
    parts = []
    for size in (_MARK, _FACTS, _FILL, _FEE, _PLACE):
        parts.append(bytes(data[at : at + size]))
        at += size
    mark, facts, fill, fee, place = parts
    return TradeEntry(mark, facts, fill, fee, place, data[at])


# An account.


class ExecutionsRow(msgspec.Struct, array_like=True):
    """The stored row of an :class:`AccountExecutions`."""

    source: str | None
    several: bool
    horizon: int
    issues: dict[str, int]


class AccountExecutions:
    """Executions of one account.

    Attributes
    ----------
    log : FillLog
        Its latest fills.
    memory : TradeMemory
        Its trade ids.
    several : bool
        Whether more than one source reports its fills.
    issues : dict of str to int
        Open issues about its executions, with the time of the last occurrence, microseconds.
    """

    __slots__ = ("_dirty", "issues", "key", "log", "memory", "place", "several")

    def __init__(self, counterparty: str, account: str, dirty: DirtyRows) -> None:
        self.place = f"{counterparty}/{account}"
        self.key = f"executions/{self.place}"
        self.log = FillLog(self.place, dirty)
        self.memory = TradeMemory(self.place, dirty)
        self.several = False
        self.issues: dict[str, int] = {}
        self._dirty = dirty

    def note_source(self, source: str) -> bool:
        """Record the source of a fill; return whether several sources report fills."""
        if not self.several:
            self.several = self.log.source not in (None, source)
            self.log.source = None if self.several else source
            self.change()
        return self.several

    def note_issue(self, issue: str, us: int) -> bool:
        """Record an occurrence of an issue; return whether it is open already."""
        last = self.issues.get(issue)
        self.issues[issue] = us if last is None else max(last, us)
        self.change()
        return last is not None

    def subject(self, issue: str) -> str:
        """Return the subject of an issue about the account or about its trade ids."""
        return f"{'trades' if issue == QualityIssue.TABLE_FULL else 'account'}:{self.place}"

    def end_issues(self, us: int) -> list[str]:
        """End the issues that did not occur for :data:`QUIET_US`, and return them."""
        ended = sorted(issue for issue in self.issues if us - self.issues[issue] >= QUIET_US)
        for issue in ended:
            del self.issues[issue]
            self.change()
        return ended

    def forget(self) -> None:
        """Drop all rows, because the counterparty is forgotten."""
        self.log.forget_all()
        while len(self.memory):
            self.memory.forget_oldest()
        self._dirty[self.key] = None

    def change(self) -> None:
        """Mark the row as changed."""
        self._dirty[self.key] = self

    def row(self) -> object:
        """Return the row's value."""
        return ExecutionsRow(self.log.source, self.several, self.memory.horizon, self.issues)

    def restore(self, row: ExecutionsRow) -> None:
        """Load the account from its row; its fills and trade ids are added afterwards."""
        self.log.source, self.several = row.source, row.several
        self.memory.horizon, self.issues = row.horizon, row.issues
