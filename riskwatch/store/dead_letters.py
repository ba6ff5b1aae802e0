"""Queries for dead letters and stage faults, and the record of replayed dead letters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, or_, select

from riskwatch.contracts.topics import DLQ_SUFFIX, TOPICS
from riskwatch.errors import StoreError
from riskwatch.store.engine import Headers, headers_from
from riskwatch.store.truth import DEAD_LETTER, QUARANTINE, REPLAYED, STAGE_FAULT
from riskwatch.store.write import insert_into

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Connection


TOPIC_PREFIX: Final = "riskwatch."
"""Prefix of a stream that a short id may omit."""
_SHOWN: Final = 5
_D: Final = DEAD_LETTER.c
_R: Final = REPLAYED.c


@dataclass(frozen=True, slots=True)
class DeadLetterPlace:
    """Identity of a dead letter: the worker that refused it, its stream and its position."""

    worker: str
    stream: str
    position: int

    @property
    def id(self) -> str:
        """Short id of the dead letter.

        Examples
        --------
        >>> DeadLetterPlace("ledger/3", "riskwatch.fills/3", 17).id
        'riskwatch.fills/3@17'
        """
        return f"{self.stream}@{self.position}"

    @property
    def source(self) -> str:
        """Topic or file that it came from.

        Examples
        --------
        >>> DeadLetterPlace("risk", "riskwatch.pegs/0", 1).source
        'riskwatch.pegs'
        >>> DeadLetterPlace("embedded", "a/0", 1).source
        'a/0'
        """
        return source_of(self.stream)


@dataclass(frozen=True, slots=True)
class DeadLetterSummary:
    """A dead letter without its bytes.

    Attributes
    ----------
    place : DeadLetterPlace
        Identity.
    reason, detail : str
        Reason of the refusal.
    payload_bytes : int
        Size of the stored payload.
    us : int
        Event time that its worker had reached, microseconds; 0 if none.
    replayed_by : str or None
        Person who replayed it last.
    """

    place: DeadLetterPlace
    reason: str
    detail: str
    payload_bytes: int
    us: int
    replayed_by: str | None


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """A dead letter with its original bytes."""

    heading: DeadLetterSummary
    sha256: str
    key: bytes | None
    headers: Headers
    payload: bytes


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Filter of dead letters by source, reason and worker. ``None`` matches all."""

    topic: str | None = None
    reason: str | None = None
    worker: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the filter as SQL conditions."""
        found: list[ColumnElement[bool]] = []
        if self.topic is not None:
            names = [self.topic, TOPIC_PREFIX + self.topic]
            found.append(
                or_(
                    *(_D.stream == name for name in names),
                    *(_D.stream.startswith(f"{name}/", autoescape=True) for name in names),
                )
            )
        if self.reason is not None:
            found.append(_D.reason == self.reason.upper())
        if self.worker is not None:
            found.append(_D.worker == self.worker)
        return found


def dead_letter_positions(conn: Connection, worker: str, stream: str) -> set[int]:
    """Return the positions of the dead letters of one worker and stream."""
    query = select(_D.position).where(_D.worker == worker, _D.stream == stream)
    return set(conn.execute(query).scalars())


def source_of(stream: str) -> str:
    """Return the topic of a partition, or the stream itself if it is a file."""
    topic = stream.rpartition("/")[0]
    return topic if topic in TOPICS else stream


def input_topic_of(stream: str) -> str | None:
    """Return the input topic to which a dead letter can be replayed; ``None`` if there is none.

    Examples
    --------
    >>> [input_topic_of(s) for s in ("riskwatch.fills/3", "riskwatch.readings/0", "a.ndjson")]
    ['riskwatch.fills', None, None]
    """
    topic = stream.rpartition("/")[0]
    return topic if topic + DLQ_SUFFIX in TOPICS else None


def dead_letter_summaries(
    conn: Connection, letter_filter: DeadLetterFilter, limit: int
) -> list[DeadLetterSummary]:
    """Return dead letters without their bytes, the newest first, at most `limit`."""
    query = (
        _heading()
        .where(*letter_filter.conditions())
        .order_by(_D.us.desc(), _D.position.desc(), _D.stream, _D.worker)
        .limit(limit)
    )
    return [_read(row) for row in conn.execute(query)]


def dead_letter_places(conn: Connection, letter_filter: DeadLetterFilter) -> list[DeadLetterPlace]:
    """Return the identities of all matching dead letters, in order of refusal."""
    query = (
        select(_D.worker, _D.stream, _D.position)
        .where(*letter_filter.conditions())
        .order_by(_D.us, _D.stream, _D.position, _D.worker)
    )
    return [DeadLetterPlace(*row) for row in conn.execute(query)]


def dead_letter_counts(
    conn: Connection, letter_filter: DeadLetterFilter
) -> list[tuple[str, str, int]]:
    """Count dead letters by source and reason, the most frequent first."""
    query = (
        select(_D.stream, _D.reason, func.count())
        .where(*letter_filter.conditions())
        .group_by(_D.stream, _D.reason)
    )
    found: dict[tuple[str, str], int] = {}
    for stream, reason, n in conn.execute(query):
        key = (source_of(stream), reason)
        found[key] = found.get(key, 0) + n
    return sorted(((*key, n) for key, n in found.items()), key=lambda row: (-row[2], *row[:2]))


def find_dead_letter(conn: Connection, words: Sequence[str]) -> DeadLetterPlace:
    """Find a dead letter by its short id, or by worker, stream and position.

    Parameters
    ----------
    conn : Connection
        See :func:`riskwatch.store.queries.open_reader`.
    words : sequence of str
        ``stream@position`` (without :data:`TOPIC_PREFIX` if you like), or three words.

    Raises
    ------
    StoreError
        If there is no such dead letter, or several workers have one.
    """
    worker, stream, position = _parsed(words)
    text = " ".join(words)
    names = [stream, TOPIC_PREFIX + stream]
    query = select(_D.worker, _D.stream, _D.position).where(
        _D.stream.in_(names), _D.position == position
    )
    if worker is not None:
        query = query.where(_D.worker == worker)
    found = [DeadLetterPlace(*row) for row in conn.execute(query.order_by(_D.worker, _D.stream))]
    if not found:
        raise StoreError(f"there is no dead letter {text}: `riskwatch dlq list` shows all")
    if len(found) > 1:
        names = [f"{p.worker} {p.stream} {p.position}" for p in found[:_SHOWN]]
        raise StoreError(f"{text} could be {', '.join(names)}: say which, in three words")
    return found[0]


def read_dead_letter(conn: Connection, place: DeadLetterPlace) -> StoredDeadLetter:
    """Read a dead letter with its bytes.

    Raises
    ------
    StoreError
        If it does not exist any more.
    """
    query = _heading(_D.sha256, _D.key, _D.headers, _D.payload).where(
        _D.worker == place.worker, _D.stream == place.stream, _D.position == place.position
    )
    row = conn.execute(query).one_or_none()
    if row is None:
        raise StoreError(f"there is no dead letter {place.id} of {place.worker} any more")
    sha256, key, headers, payload = row[8:]
    return StoredDeadLetter(_read(row), sha256, key, headers_from(headers), bytes(payload))


def claim_dead_letter(
    conn: Connection, place: DeadLetterPlace, person: str, *, again: bool
) -> None:
    """Record that `person` replays a dead letter, in a transaction that ends after the replay.

    A concurrent claim of the same dead letter waits for the end of that transaction.

    Raises
    ------
    StoreError
        If it was replayed before, unless `again`.
    """
    insert = insert_into(REPLAYED, conn.dialect)
    mine = insert.values(
        worker=place.worker, stream=place.stream, position=place.position, person=person
    )
    keys = ["worker", "stream", "position"]
    if again:
        conn.execute(mine.on_conflict_do_update(index_elements=keys, set_={"person": person}))
        return
    if conn.execute(mine.on_conflict_do_nothing().returning(_R.position)).one_or_none() is None:
        before = conn.execute(
            select(_R.person).where(
                _R.worker == place.worker, _R.stream == place.stream, _R.position == place.position
            )
        ).scalar_one()
        raise StoreError(f"{place.id} was sent again before, by {before}: --again sends it anyway")


def _heading(*more: ColumnElement[Any]) -> Any:
    joined = DEAD_LETTER.outerjoin(
        REPLAYED,
        (_R.worker == _D.worker) & (_R.stream == _D.stream) & (_R.position == _D.position),
    )
    columns = (_D.worker, _D.stream, _D.position, _D.reason, _D.detail, _D.payload_bytes, _D.us)
    return select(*columns, _R.person, *more).select_from(joined)


def _read(row: Any) -> DeadLetterSummary:
    return DeadLetterSummary(DeadLetterPlace(*row[:3]), *row[3:8])


def _parsed(words: Sequence[str]) -> tuple[str | None, str, int]:
    if len(words) == 1:
        worker, (stream, at, position) = None, words[0].rpartition("@")
    elif len(words) == 3:
        worker, stream, at, position = words[0], words[1], "@", words[2]
    else:
        at = position = stream = ""
        worker = None
    if not at or not (position.isascii() and position.isdigit()) or len(position) > 18:
        raise StoreError(
            "a dead letter is named STREAM@POSITION, such as fills/3@17, or in three words, "
            f"WORKER STREAM POSITION; was {' '.join(words)!r}"
        )
    return worker, stream, int(position)


# Query of open stage faults. `store.faults` holds what workers write about them.


@dataclass(frozen=True, slots=True)
class OpenFault:
    """A place at which a stage raised, and the people who asked to set it aside."""

    place: DeadLetterPlace
    crashes: int
    error: str
    asked: tuple[str, ...]


def open_faults(conn: Connection) -> list[OpenFault]:
    """Return every place at which a stage raised and that its worker has not passed since."""
    q, f = QUARANTINE.c, STAGE_FAULT.c
    requests: dict[DeadLetterPlace, list[str]] = {}
    people = select(q.worker, q.stream, q.position, q.person, q.reason)
    for worker, stream, position, person, why in conn.execute(people.order_by(q.person)):
        requests.setdefault(DeadLetterPlace(worker, stream, position), []).append(
            f"{person}: {why}"
        )
    raised = select(f.worker, f.stream, f.position, f.crashes, f.error)
    out = []
    for row in conn.execute(raised.order_by(f.worker, f.stream, f.position)):
        place = DeadLetterPlace(*row[:3])
        out.append(OpenFault(place, row.crashes, row.error, tuple(requests.get(place, ()))))
    return out
