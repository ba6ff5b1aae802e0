"""The import of a file of any shape: recognise it, ask what it does not say, read its events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.contracts.codec import decode
from riskwatch.contracts.refusal import Refusal
from riskwatch.core.clock import micros, moment
from riskwatch.core.events import UNALLOCATED, Balance
from riskwatch.core.money import add, canonical, sub
from riskwatch.errors import FeedError, OptionNeededError
from riskwatch.feeds.document import Form
from riskwatch.feeds.formats import READERS
from riskwatch.feeds.record import Reason
from riskwatch.feeds.shape import (
    ACCOUNT,
    AMPLIFICATION,
    AS_OF,
    BASE,
    CLOSING,
    MAP,
    QUOTE,
    VENUE,
    ZONE,
    FileReport,
)
from riskwatch.feeds.shapes import SHAPES
from riskwatch.feeds.symbol import venue_in_name
from riskwatch.feeds.values import BadCellError, parse_zone, time_us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from decimal import Decimal

    from riskwatch.core.events import Event
    from riskwatch.feeds.base import FeedReader
    from riskwatch.feeds.document import Document, Record
    from riskwatch.feeds.shape import FileLabels, FileSession, FileShape, StatedBalance

QUESTIONS: Final = {
    VENUE: ("venue", "the file does not say which venue it is of"),
    ACCOUNT: ("account", "the file does not name the account"),
    BASE: ("base", "the file does not name the asset that is priced or held"),
    QUOTE: ("quote", "the file does not name the asset that it is priced in"),
    ZONE: ("zone_us", "the file does not say of which zone its times are"),
    AS_OF: ("as_of_us", "the file does not say of which time it is"),
    AMPLIFICATION: (
        "amplification",
        "the file does not say how its pool prices a trade (amplification; 0: constant product)",
    ),
    MAP: ("mapping", "the file does not say what its columns mean"),
}
"""Field of the labels, and what is unknown, by option."""
PARSERS: Final[dict[str, Callable[[str], object]]] = {ZONE: parse_zone, AS_OF: time_us}
"""How an answer becomes a value."""
_NEAR: Final = 3
"""Most shapes that a message about an unknown file names."""


@dataclass(frozen=True)
class FilePlan:
    """A file whose shape is known, with everything that its events need."""

    document: Document
    shape: FileShape
    labels: FileLabels


def recognise_file(document: Document, fmt: str = "auto") -> FileShape | FeedReader:
    """Return the reader of a file: the one that most of its columns prove.

    Raises
    ------
    FeedError
        If no reader knows the file, or two know it equally well.
    """
    if fmt != "auto":
        return _named(fmt)
    scores: list[tuple[int, FileShape | FeedReader]] = [
        (shape.fit(document).score, shape) for shape in SHAPES
    ]
    if document.form is Form.TABLE:
        scores += [(reader.sniff(document.head), reader) for reader in READERS]
    best = max(score for score, _ in scores)
    if best == 0:
        raise FeedError(_unknown_file(document))
    sure = [reader for score, reader in scores if score == best]
    if len(sure) > 1:
        names = " or ".join(reader.name for reader in sure)
        raise FeedError(f"{document.path}: could be {names}: say which by --format")
    return sure[0]


def all_readers() -> list[FileShape | FeedReader]:
    """Return the readers of series of prices, and those of all other shapes."""
    return [*READERS, *SHAPES]


def _named(fmt: str) -> FileShape | FeedReader:
    for reader in all_readers():
        if reader.name == fmt:
            return reader
    known = ", ".join(reader.name for reader in all_readers())
    raise FeedError(f"--format must be auto or one of {known}, was {fmt!r}")


def _unknown_file(document: Document) -> str:
    """Return what was recognised of an unknown file, and what the nearest readers miss."""
    columns = ", ".join(document.columns[:30]) or "no columns"
    if document.form is Form.TABLE and document.head.headerless:
        columns = f"{len(document.columns)} columns without a header"
    fits = [(shape.fit(document), shape) for shape in SHAPES]
    near = [(fit, shape) for fit, shape in fits if fit.found]
    near.sort(key=lambda each: -len(each[0].found) / len(each[0].found + each[0].missing))
    lines = [f"{document.path}: no reader knows this {document.form}: {columns}"]
    for fit, shape in near[:_NEAR]:
        lines.append(f"{shape.name} misses {', '.join(fit.missing)}")
    if not near:
        known = ", ".join(reader.name for reader in all_readers())
        lines.append(f"readers: {known}")
    return "; ".join(lines)


def plan_file(
    document: Document, shape: FileShape, labels: FileLabels, ask: Callable[..., str | None]
) -> FilePlan:
    """Return the plan of a file; ask for what neither the file nor the options say.

    Parameters
    ----------
    document, shape : Document, FileShape
        The file and its reader.
    labels : FileLabels
        What the options say; an empty text says nothing.
    ask : callable
        Asked with an option, a reason and a guess; returns the answer, or ``None``.

    Raises
    ------
    OptionNeededError
        If nobody answers.
    """
    labels = replace(labels, venue=labels.venue or shape.venue_of(document) or "")
    labels = replace(labels, account=labels.account or shape.account_of(document) or "")
    for option in shape.needed(document):
        field, why = QUESTIONS[option]
        if getattr(labels, field) not in ("", None, {}):
            continue
        guess = venue_in_name(document.path) if option == VENUE else None
        answer = ask(option, why, guess)
        if not answer:
            hint = f" (its name suggests {guess})" if guess else ""
            raise OptionNeededError(str(document.path), option, why + hint)
        value: Any = PARSERS.get(option, str)(answer)
        labels = replace(labels, **{field: value})
    return FilePlan(document, shape, labels)


def read_file_events(plan: FilePlan, report: FileReport) -> Iterator[Event]:
    """Yield the events of a file by increasing time, and fill `report`.

    Before the entries of a file with running balances comes the balance that it begins with, and
    after them the one that it ends with.

    Raises
    ------
    FeedError
        If the file is damaged, or a record was lost.
    """
    made = _entries(plan, report)
    if plan.shape.is_stream:
        yield from made
    else:
        events = list(made)
        opening, closing = stated_events(plan, report)
        events = [*opening, *events, *closing]
        yield from sorted(events, key=lambda event: event.ts)
    tally = report.tally
    if tally.read != tally.used + tally.skipped:
        raise FeedError(
            f"{plan.document.path}: reader {plan.shape.name} lost rows: read {tally.read}, used "
            f"{tally.used}, skipped {tally.skipped}"
        )


def _entries(plan: FilePlan, report: FileReport) -> Iterator[Event]:
    """Yield the events of all records; count each record as used or skipped."""
    session = plan.shape.session(plan.document, plan.labels, report)
    for record in plan.shape.records(plan.document, report):
        try:
            events = _checked(session, record)
        except BadCellError as bad:
            report.tally.skip(record.row, bad.reason, bad.detail)
            continue
        report.tally.used += 1
        for event in events:
            report.count(micros(event.ts))
            yield event
    for event in session.finish():
        fault = contract_fault(event)
        if fault is not None:
            raise FeedError(f"{plan.document.path}: {event.event_id}: {fault}")
        report.count(micros(event.ts))
        yield event


def _checked(session: FileSession, record: Record) -> list[Event]:
    """Return the events of a record; refuse it as a whole if one breaks the contract."""
    events = list(session.take(record))
    for event in events:
        fault = contract_fault(event)
        if fault is not None:
            raise BadCellError(Reason.REFUSED, fault)
    return events


def contract_fault(event: Event) -> str | None:
    """Return how an event breaks the wire contract; ``None`` if it does not."""
    found = decode(msgspec.json.encode(event))
    return f"{found.reason}: {found.detail}" if isinstance(found, Refusal) else None


def stated_events(plan: FilePlan, report: FileReport) -> tuple[list[Event], list[Event]]:
    """Return balances before the first entries, and the last stated ones, by place."""
    opening: list[Event] = []
    closing: list[Event] = []
    for place, lines in report.stated.items():
        account, wallet, asset = place
        ordered = sorted(lines, key=lambda line: line.us)
        first, last = ordered[0].us, ordered[-1].us
        before = opening_of(lines)
        common = {"v": 1, "source": plan.shape.name, "counterparty": plan.labels.venue,
                  "account": account, "book": plan.labels.book or UNALLOCATED, "asset": asset,
                  "wallet": wallet or None}  # fmt: skip
        label = f"{account}:balance:{wallet}:{asset}"
        if before:
            opening.append(Balance(
                event_id=f"{label}:{first - 1}", ts=moment(first - 1), free=canonical(before),
                **common))  # type: ignore[arg-type] # fmt: skip
        closing.append(Balance(
            event_id=f"{label}:{last}{CLOSING}", ts=moment(last), free=closing_of(lines),
            **common))  # type: ignore[arg-type] # fmt: skip
    return opening, closing


def is_newest_first(lines: Sequence[StatedBalance]) -> bool:
    """Whether a file lists its entries from the newest to the oldest."""
    return lines[0].us > lines[-1].us


def by_time(lines: Sequence[StatedBalance]) -> list[list[StatedBalance]]:
    """Return running balances grouped by time, the oldest first, each group in its order."""
    ordered = list(reversed(lines)) if is_newest_first(lines) else list(lines)
    groups: dict[int, list[StatedBalance]] = {}
    for line in ordered:
        groups.setdefault(line.us, []).append(line)
    return [groups[us] for us in sorted(groups)]


def opening_of(lines: Sequence[StatedBalance]) -> Decimal:
    """Return the balance before the first entry.

    It is the one that makes the last balance of the first time right; if some later one can only be
    right otherwise, :func:`wrong_balances` counts it.
    """
    group = by_time(lines)[0]
    found = group[-1].balance
    for line in group:
        found = sub(found, line.change)
    first = sub(group[0].balance, group[0].change)
    is_running = _runs(first, group)
    return first if is_running else found


def _runs(opening: Decimal, group: Sequence[StatedBalance]) -> bool:
    for line in group:
        opening = add(opening, line.change)
        if opening != line.balance:
            return False
    return True


def closing_of(lines: Sequence[StatedBalance]) -> Decimal:
    """Return the last balance that a file states."""
    return by_time(lines)[-1][-1].balance


def wrong_balances(lines: Sequence[StatedBalance]) -> tuple[int, int]:
    """Return how many times have a balance, and at how many the sum of all entries is another.

    The entries of one time may stand in any order, so one of their balances has to be the sum.
    """
    now, wrong = opening_of(lines), 0
    groups = by_time(lines)
    for group in groups:
        for line in group:
            now = add(now, line.change)
        wrong += all(line.balance != now for line in group)
    return len(groups), wrong
