"""``riskwatch publish``: publish events from files or stdin to the broker."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from riskwatch.client import Pace, Publisher
from riskwatch.commands.stream import Kafka, connection
from riskwatch.config import paths
from riskwatch.config.config import load_name_table
from riskwatch.contracts.codec import SIZE_LIMIT, decode
from riskwatch.contracts.refusal import Refusal, refuse
from riskwatch.contracts.topics import TOPICS, key_of
from riskwatch.core.clock import DAY, SECOND, micros, rfc3339
from riskwatch.core.deployment import VARIABLE
from riskwatch.core.enums import RejectReason
from riskwatch.core.readings import CounterpartyReading, PartitionFault
from riskwatch.engine.clock import wall_us
from riskwatch.engine.file import EventFileMerge
from riskwatch.errors import ConfigError, FeedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from riskwatch.client import Published
    from riskwatch.core.events import WireEvent

STDIN: Final = "-"
MAX_REFUSALS_SHOWN: Final = 20
"""Most refused lines that are reported one by one."""
INTERRUPTED: Final = 130
OLD_S: Final = 3_600
"""Age of an event from which on it is not sent without a question, seconds."""


def publish_command(
    files: Annotated[list[str], typer.Argument(help="NDJSON files of events; - for stdin.")],
    *,
    speed: Annotated[
        float,
        typer.Option(min=0.0, help="Multiple of real time, by event time; 0 for all at once."),
    ] = 0.0,
    raw_topic: Annotated[
        str | None,
        typer.Option(help="Send every line unchanged to this topic, valid event or not."),
    ] = None,
    signing_key: Annotated[
        Path | None,
        typer.Option(help="Private key of a source of credit news, which signs its records."),
    ] = None,
    deployment: Annotated[
        str | None,
        typer.Option(envvar=VARIABLE, help="Deployment for which the key signs."),
    ] = None,
    old: Annotated[
        bool,
        typer.Option(help="Send events older than an hour, too, without a question."),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(envvar="RISKWATCH_CONFIG", help="Folder of rules, for the names of events."),
    ] = None,
    kafka: Kafka = None,
) -> None:
    """Publish events to the broker; several files are merged in order of time.

    A line that is not a valid event is reported and not sent; the exit code is then 2. Events
    older than an hour are sent only with --old, or after a question at a terminal.
    """
    if raw_topic is not None and raw_topic not in TOPICS:
        raise ConfigError("publish", "--raw-topic", "one of " + ", ".join(TOPICS), raw_topic)
    began = time.monotonic()
    names = load_name_table(config or paths.rules_folder())
    made = Publisher(connection(kafka), signing_key=signing_key, deployment=deployment, names=names)
    with made as publisher, _lines(files) as lines:
        interrupted = False
        try:
            _publish(publisher, _consented(lines, old=old), Pace(speed), raw_topic)
        except KeyboardInterrupt:
            interrupted = True
    typer.echo(publish_summary(publisher.result, time.monotonic() - began))
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if publisher.result.refused:
        raise typer.Exit(2)


def publish_summary(result: Published, seconds: float) -> str:
    """Return one line with the numbers of events sent."""
    topics = ", ".join(f"{topic} {count}" for topic, count in sorted(result.sent.items()))
    rate = f" ({result.total / seconds:,.0f}/s)" if seconds > 0 else ""
    refused = f"; {result.refused} lines were no events" if result.refused else ""
    total = f"{result.total} events sent in {seconds:.1f} s{rate}{refused}"
    return f"{topics}: {total}" if topics else total


class _SourceLine(NamedTuple):
    """One line of input, decoded, with its place."""

    where: str
    event: WireEvent | Refusal
    raw: bytes
    us: int


def _consented(lines: Iterator[_SourceLine], *, old: bool) -> Iterator[_SourceLine]:
    """Yield lines; before the first old event, ask whether it may be sent.

    Raises
    ------
    FeedError
        If nobody can be asked.
    typer.Exit
        If the answer is no.
    """
    for line in lines:
        if not old and 0 < line.us < wall_us() - OLD_S * SECOND:
            _ask_for_old(line)
            old = True
        yield line


def _ask_for_old(line: _SourceLine) -> None:
    days = (wall_us() - line.us) / DAY
    age = f"{days:,.0f} days" if days >= 2 else f"{days * 24:,.1f} hours"
    typer.echo(
        f"{line.where}: the event is of {rfc3339(line.us)}, {age} ago. A live stack refuses old "
        "prices and snapshots, and adds old fills, transfers and news to what it holds now.",
        err=True,
    )
    if line.where.startswith("stdin:") or not sys.stdin.isatty():
        raise FeedError("old events are sent with --old only; nothing was sent from this line on")
    if not typer.confirm("Send old events?", err=True):
        typer.echo("nothing was sent from this line on", err=True)
        raise typer.Exit(1)


def _publish(
    publisher: Publisher, lines: Iterator[_SourceLine], pace: Pace, raw_topic: str | None
) -> None:
    for where, event, raw, us in lines:
        value = raw.rstrip(b"\r\n")
        if isinstance(event, Refusal):
            key = None
        else:
            key = key_of(event).encode()
            pace.wait(us)
        if raw_topic is not None:
            refused = publisher.raw(raw_topic, key, value, where)
        elif isinstance(event, Refusal):
            refused = publisher.refuse(event)
        else:
            refused = publisher.post(event, value)
        if refused is not None:
            _report(where, f"{refused.reason}: {refused.detail}", publisher.result.refused)


def _report(where: str, why: str, count: int) -> None:
    if count <= MAX_REFUSALS_SHOWN:
        typer.echo(f"{where}: not sent: {why}", err=True)
    elif count == MAX_REFUSALS_SHOWN + 1:
        typer.echo("further lines that are no events are only counted", err=True)


@contextmanager
def _lines(files: Sequence[str]) -> Iterator[Iterator[_SourceLine]]:
    if STDIN in files:
        if len(files) > 1:
            raise FeedError("- reads stdin alone: it cannot be merged with files")
        yield _stdin()
        return
    with EventFileMerge([Path(file) for file in files], decode) as merge:
        yield _merged(merge)


def _merged(merge: EventFileMerge) -> Iterator[_SourceLine]:
    files = {file.name: file for file in merge.files}
    for record in merge.records():
        file, event = files[record.stream], record.event
        assert not isinstance(event, CounterpartyReading | PartitionFault), (
            "readings are not decoded here"
        )
        yield _SourceLine(f"{file.path}:{file.records}", event, record.raw, record.us)


def _stdin() -> Iterator[_SourceLine]:
    number = 0
    while raw := sys.stdin.buffer.readline(SIZE_LIMIT + 1):
        number += 1
        event = decode(raw)
        if len(raw) > SIZE_LIMIT and raw[-1:] != b"\n":
            size = len(raw)
            while raw[-1:] != b"\n" and (raw := sys.stdin.buffer.readline(SIZE_LIMIT)):
                size += len(raw)
            event = refuse(RejectReason.MESSAGE_TOO_LARGE, f"size={size} bytes")
        us = -1 if isinstance(event, Refusal) else micros(event.ts)
        yield _SourceLine(f"stdin:{number}", event, raw, us)
