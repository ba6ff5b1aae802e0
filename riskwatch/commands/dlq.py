"""``riskwatch dlq``: list dead letters, replay them, and quarantine messages that stop a worker."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from riskwatch.client import Publisher
from riskwatch.commands.db import DEFAULT, Database
from riskwatch.commands.query import Json, show_rows
from riskwatch.commands.stream import Kafka, connection
from riskwatch.contracts.acks import ACKS
from riskwatch.core.clock import rfc3339
from riskwatch.errors import RiskwatchError
from riskwatch.store import dead_letters
from riskwatch.store.dead_letters import (
    DeadLetterFilter,
    DeadLetterPlace,
    StoredDeadLetter,
    input_topic_of,
    open_faults,
)
from riskwatch.store.engine import open_engine
from riskwatch.store.faults import REQUIRED_PEOPLE, request_quarantine, reset_crashes
from riskwatch.store.migrate import require_current
from riskwatch.store.queries import open_reader
from riskwatch.store.truth import TICKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.engine import Engine

    from riskwatch.store.dead_letters import DeadLetterSummary


# Dead letters as text and as JSON. No content of a dead letter may control the terminal.

MAX_HEX_DIGITS: Final = 4096
"""Most bytes that are shown as hexadecimal digits."""
_WIDTH: Final = 32


def printable(text: str, keep: str = "") -> str:
    r"""Return text without characters that control a terminal.

    Examples
    --------
    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(
        char if char.isprintable() or char in keep
        else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )  # fmt: skip


def summary_cells(summary: DeadLetterSummary) -> Iterable[Any]:
    """Yield the cells of a dead letter in the list."""
    place = summary.place
    yield from (printable(place.id), place.worker, summary.reason, printable(summary.detail))
    yield from (summary.payload_bytes, rfc3339(summary.us) if summary.us else "")
    yield printable(summary.replayed_by or "")


def summary_json(summary: DeadLetterSummary) -> dict[str, Any]:
    """Return the summary of a dead letter for JSON."""
    place = summary.place
    where = {"worker": place.worker, "stream": place.stream, "position": place.position}
    return {"id": place.id} | where | {
        "reason": summary.reason, "detail": summary.detail, "bytes": summary.payload_bytes,
        "us": summary.us, "replayed_by": summary.replayed_by,
    }  # fmt: skip


def dead_letter_lines(dead_letter: StoredDeadLetter) -> Iterable[str]:
    """Yield lines with the whole dead letter; bytes that are not UTF-8 as hexadecimal digits."""
    heading = dead_letter.heading
    place = heading.place
    yield f"id        {printable(place.id)}"
    yield f"worker    {place.worker}"
    yield f"reason    {heading.reason}: {printable(heading.detail)}"
    if heading.us:
        yield f"at        {rfc3339(heading.us)} (event time of the worker)"
    if heading.replayed_by is not None:
        yield f"replayed  by {printable(heading.replayed_by)}"
    yield f"key       {'none' if dead_letter.key is None else _printed_bytes(dead_letter.key)}"
    for name, value in dead_letter.headers:
        yield f"header    {printable(name)}: {_printed_bytes(value)}"
    yield f"payload   {len(dead_letter.payload)} bytes, SHA-256 {dead_letter.sha256}"
    kind, text = bytes_json(dead_letter.payload)
    if kind == "text":
        yield printable(text, "\n\t")
        return
    for at in range(0, min(len(dead_letter.payload), MAX_HEX_DIGITS), _WIDTH):
        yield f"{at:>8x}  {dead_letter.payload[at : at + _WIDTH].hex(' ')}"
    if len(dead_letter.payload) > MAX_HEX_DIGITS:
        yield f"and {len(dead_letter.payload) - MAX_HEX_DIGITS} bytes more: --raw gives all"


def _printed_bytes(data: bytes) -> str:
    kind, text = bytes_json(data)
    return printable(text) if kind == "text" else f"hex {text}"


def bytes_json(data: bytes) -> tuple[str, str]:
    """Return ``text`` and the text, or ``hex`` and the digits."""
    try:
        return "text", data.decode()
    except UnicodeDecodeError:
        return "hex", data.hex()


def show_json(row: dict[str, Any]) -> None:
    """Print one line of NDJSON."""
    typer.echo(msgspec.json.encode(row).decode())


REPLAYED: Final = "rw-replayed"
"""Header of a replayed dead letter: the short id of the dead letter."""

app = typer.Typer(help="Dead letters, and stages that raised.", no_args_is_help=True)

Which = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="STREAM@POSITION, or WORKER STREAM POSITION."),
]
Topic = Annotated[
    str | None, typer.Option(help="Only of this topic (riskwatch. may be left out) or file.")
]
Reason = Annotated[str | None, typer.Option(help="Only of this reason, such as FIELD_RANGE.")]
Worker = Annotated[str | None, typer.Option(help="Only what this worker refused.")]
Person = Annotated[
    str | None, typer.Option(help="Your name, for the record; the user of this system if unset.")
]


@app.command("list")
def list_command(
    *,
    topic: Topic = None,
    reason: Reason = None,
    worker: Worker = None,
    limit: Annotated[int, typer.Option(min=1, help="Most dead letters to show.")] = 50,
    database: Database = DEFAULT,
    as_json: Json = False,
) -> None:
    """Show dead letters, the newest first, and the number of each kind."""
    criteria = DeadLetterFilter(topic, reason, worker)
    with open_reader(database) as conn:
        found = dead_letters.dead_letter_summaries(conn, criteria, limit)
        counted = dead_letters.dead_letter_counts(conn, criteria)
    if as_json:
        for heading in found:
            show_json(summary_json(heading))
        return
    names = ["id", "worker", "reason", "detail", "bytes", "event time", "sent again by"]
    show_rows(names, [[*summary_cells(heading)] for heading in found])
    for source, why, n in counted:
        typer.echo(f"{n:>9,}  {printable(source)}  {why}")
    total = sum(n for *_, n in counted)
    typer.echo(f"{total:>9,}  in all" + (f", {limit} shown" if total > limit else ""))


@app.command("show")
def show_command(
    which: Which = None,
    *,
    raw: Annotated[
        bool, typer.Option("--raw", help="Only the bytes of the message, unchanged.")
    ] = False,
    database: Database = DEFAULT,
    as_json: Json = False,
) -> None:
    """Show one dead letter: why it was refused, and its whole content."""
    with open_reader(database) as conn:
        found = dead_letters.read_dead_letter(
            conn, dead_letters.find_dead_letter(conn, which or [])
        )
    if raw:
        sys.stdout.buffer.write(found.payload)
        sys.stdout.buffer.flush()
        return
    if as_json:
        headers = [[name, *bytes_json(value)] for name, value in found.headers]
        key = None if found.key is None else bytes_json(found.key)
        body = {"sha256": found.sha256, "key": key, "headers": headers}
        show_json(summary_json(found.heading) | body | {"payload": bytes_json(found.payload)})
        return
    for line in dead_letter_lines(found):
        typer.echo(line)


@app.command("replay")
def replay_command(
    which: Which = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="All dead letters of a --reason; see also --topic.")
    ] = False,
    topic: Topic = None,
    reason: Reason = None,
    worker: Worker = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --all: do it.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Even if it was replayed before.")] = False,
    person: Person = None,
    kafka: Kafka = None,
    database: Database = DEFAULT,
) -> None:
    """Publish dead letters to their topics again, unchanged, with their key and headers.

    A message that was applied before is detected by its identity and not applied twice. A message
    that is refused again becomes a dead letter again.
    """
    criteria = DeadLetterFilter(topic, reason, worker)
    if everything == bool(which):
        raise RiskwatchError("dlq replay: name one letter, or use --all with --reason")
    if everything and reason is None:
        raise RiskwatchError("dlq replay: --all goes with --reason")
    if not everything and criteria != DeadLetterFilter():
        raise RiskwatchError("dlq replay: --topic, --reason and --worker go with --all")
    with open_reader(database) as conn:
        if everything:
            chosen = dead_letters.dead_letter_places(conn, criteria)
        else:
            chosen = [dead_letters.find_dead_letter(conn, which or [])]
            why = unsendable_reason(dead_letters.read_dead_letter(conn, chosen[0]))
            if why is not None:
                raise RiskwatchError(f"{chosen[0].id} is not sent again: {why}")
    if everything and not yes:
        raise RiskwatchError(f"{len(chosen)} letters would be sent again: --yes does it")
    by = person_name(person)
    engine = _open(database)
    try:
        with Publisher(connection(kafka)) as publisher:
            if everything:
                _send_all(engine, publisher, chosen, by, again=again)
            else:
                typer.echo(_send(engine, publisher, chosen[0], by, again=again))
    finally:
        engine.dispose()


@app.command("quarantine")
def quarantine_command(
    worker: Annotated[str, typer.Argument(help="Worker, such as ledger/3.")],
    stream: Annotated[
        str, typer.Argument(help="Its stream, such as riskwatch.fills/3; `tick` for a tick.")
    ],
    position: Annotated[
        int, typer.Argument(min=0, help="Offset of the message; of a tick, as `dlq faults` says.")
    ],
    *,
    person: Annotated[str, typer.Option(help="Who asks for it.")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    database: Database = DEFAULT,
) -> None:
    """Request to skip a message or a tick that a stage cannot process; two people must request it.

    A tick is skipped once: nothing is decided at its time, and the next one comes as usual.
    """
    place, by = DeadLetterPlace(worker, stream, position), person_name(person)
    if not reason.strip():
        raise RiskwatchError("dlq quarantine: --reason must say why")
    engine = _open(database)
    try:
        asked = request_quarantine(engine, worker, (stream, position), by, reason.strip())
    finally:
        engine.dispose()
    typer.echo(
        f"{min(asked, REQUIRED_PEOPLE)} of {REQUIRED_PEOPLE} people ask that {worker} "
        f"passes {place.id} over."
    )
    if asked < REQUIRED_PEOPLE:
        typer.echo(
            f"Nothing happens before another person asks: riskwatch dlq quarantine {worker} "
            f"{stream} {position} --person ... --reason ..."
        )
    else:
        typer.echo(
            f"{worker} goes on, within seconds if it runs; the message is kept with the dead "
            "letters, reason QUARANTINED, and can be sent again from there."
            if stream != TICKS
            else f"{worker} goes on, within seconds if it runs; nothing is decided at the tick, a "
            "dead letter of stream `tick` says so, and the next tick comes as usual."
        )


@app.command("retry")
def retry_command(
    worker: Annotated[str, typer.Argument(help="Worker, such as ledger/3.")],
    *,
    database: Database = DEFAULT,
) -> None:
    """Let a stopped worker process its message again, after an update; nothing is skipped."""
    engine = _open(database)
    try:
        places = reset_crashes(engine, worker)
    finally:
        engine.dispose()
    typer.echo(f"{worker} tries again: {', '.join(DeadLetterPlace(worker, *p).id for p in places)}")


@app.command("faults")
def faults_command(*, database: Database = DEFAULT, as_json: Json = False) -> None:
    """Show where stages raised, how often, and who requested to quarantine the message."""
    with open_reader(database) as conn:
        found = open_faults(conn)
    if as_json:
        for f in found:
            p = f.place
            show_json({"worker": p.worker, "stream": p.stream, "position": p.position}
                  | {"crashes": f.crashes, "error": f.error, "asked": f.asked})  # fmt: skip
        return
    names = ["worker", "stream", "position", "crashes", "error", "set aside by"]
    rows = [
        [f.place.worker, f.place.stream, f.place.position, f.crashes, printable(f.error),
         f"{len(f.asked)} of {REQUIRED_PEOPLE}: {printable('; '.join(f.asked))}"
         if f.asked else "nobody"]
        for f in found
    ]  # fmt: skip
    show_rows(names, rows)


def unsendable_reason(dead_letter: StoredDeadLetter) -> str | None:
    """Return why a dead letter cannot be replayed; ``None`` if it can."""
    place = dead_letter.heading.place
    if place.stream == TICKS:
        return "it is a tick that was skipped, and no message"
    if input_topic_of(place.stream) is None:
        if place.source != place.stream:
            writers = "clients" if place.source == ACKS else "the workers"
            return f"{place.source} is no input; {writers} write it themselves"
        return f"it is from the file {place.stream}: correct it there, or `riskwatch publish` it"
    size = dict(dead_letter.headers).get("size", b"")
    cut = dead_letter.heading.reason == "MESSAGE_TOO_LARGE" and size.isdigit()
    if cut and int(size) > len(dead_letter.payload):
        return f"only {len(dead_letter.payload)} of its {int(size)} bytes are stored"
    return None


def person_name(person: str | None) -> str:
    """Return the name of the acting person.

    Raises
    ------
    RiskwatchError
        If it is blank.
    """
    found = getpass.getuser() if person is None else person
    if not found.strip():
        raise RiskwatchError("--person must be a name")
    return found.strip()


def _send(
    engine: Engine, publisher: Publisher, place: DeadLetterPlace, person: str, *, again: bool
) -> str:
    """Replay one dead letter; return a report line once the broker has acknowledged it."""
    with engine.begin() as conn:
        dead_letter = dead_letters.read_dead_letter(conn, place)
        dead_letters.claim_dead_letter(conn, place, person, again=again)
        topic = input_topic_of(place.stream)
        assert topic is not None, "unsendable() was asked"
        headers = (*dead_letter.headers, (REPLAYED, place.id.encode()))
        refused = publisher.raw(topic, dead_letter.key, dead_letter.payload, place.id, headers)
        if refused is not None:
            raise RiskwatchError(f"{place.id} is not sent again: {refused.detail}")
        publisher.flush()
    return f"{place.id}: {len(dead_letter.payload)} bytes sent to {topic} by {person}"


def _send_all(
    engine: Engine,
    publisher: Publisher,
    chosen: Sequence[DeadLetterPlace],
    person: str,
    *,
    again: bool,
) -> None:
    """Replay the dead letters that can be replayed, in their order; report the others and why."""
    not_sent: dict[str, int] = {}
    for place in chosen:
        with engine.connect() as conn:
            heading = dead_letters.read_dead_letter(conn, place)
        why = unsendable_reason(heading)
        if why is None and heading.heading.replayed_by is not None and not again:
            why = "sent again before (--again sends it anyway)"
        if why is None:
            _send(engine, publisher, place, person, again=again)
        else:
            not_sent[why] = not_sent.get(why, 0) + 1
    for topic, n in sorted(publisher.result.sent.items()):
        typer.echo(f"{n} sent to {topic} by {person}")
    for why, n in sorted(not_sent.items()):
        typer.echo(f"{n} not sent: {why}")
    if not chosen:
        typer.echo("there is no such letter")


def _open(database: str) -> Engine:
    engine = open_engine(database)
    try:
        with engine.connect() as conn:
            require_current(conn)
    except RiskwatchError:
        engine.dispose()
        raise
    return engine
