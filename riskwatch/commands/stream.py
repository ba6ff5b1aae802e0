"""``riskwatch alerts --follow``, ``killswitch watch`` and ``publish``: the broker by hand."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec
import typer

from riskwatch.client import CaughtUp, Message, Pace, Publisher, UnreadableError, alerts, killswitch
from riskwatch.commands import query
from riskwatch.commands.db import DEFAULT, Database
from riskwatch.contracts.codec import SIZE_LIMIT, decode
from riskwatch.contracts.outputs import encode_output
from riskwatch.contracts.refusal import Refusal, refuse
from riskwatch.contracts.topics import TOPICS, key_of
from riskwatch.core.clock import micros, text
from riskwatch.core.faults import as_alert
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    AnyOutput,
    AuthorityChanged,
    CommandApplied,
    CommandRefused,
    DataQualityRaised,
    DataQualityResolved,
    KillSwitchChanged,
    StageFaulted,
)
from riskwatch.core.readings import CounterpartyReading, PartitionFault
from riskwatch.core.reasons import RejectReason
from riskwatch.errors import ConfigError, FeedError
from riskwatch.shell.merge import Merge
from riskwatch.shell.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from riskwatch.client import Published, Stream
    from riskwatch.contracts.connection import KafkaConnection
    from riskwatch.core.events import WireEvent

STDIN: Final = "-"
SHOWN: Final = 20
"""Refused lines that are named one by one."""
INTERRUPTED: Final = 130

Kafka = Annotated[
    str | None, typer.Option("--kafka", help="host:port of the broker instead of RISKWATCH_KAFKA.")
]


def alerts_command(
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print alerts from the broker as they come.")
    ] = False,
    begin: Annotated[
        str, typer.Option("--from", help="With --follow: latest or earliest.")
    ] = "latest",
    group: Annotated[
        str | None, typer.Option(help="With --follow: resume where this group stopped.")
    ] = None,
    kafka: Kafka = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    database: Database = DEFAULT,
    as_json: query.Json = False,
) -> None:
    """Show open alerts, the gravest and dearest first; or follow them as they come."""
    if not follow:
        query.alerts_command(all_of_them=all_of_them, database=database, as_json=as_json)
        return
    if begin not in {"latest", "earliest"}:
        raise ConfigError("alerts", "--from", "latest or earliest", begin)
    start: Any = begin
    _print(alerts(connection(kafka), group, start), as_json=as_json)


def watch_command(*, kafka: Kafka = None, as_json: query.Json = False) -> None:
    """Print the state of every scope, then every change as it comes."""
    _print(killswitch(connection(kafka)), as_json=as_json)


def publish_command(
    files: Annotated[list[str], typer.Argument(help="NDJSON files of events; - for stdin.")],
    *,
    speed: Annotated[
        float, typer.Option(min=0.0, help="Times real time, by event time; 0 for all at once.")
    ] = 0.0,
    raw_topic: Annotated[
        str | None, typer.Option(help="Send every line as it is to this topic, events or not.")
    ] = None,
    kafka: Kafka = None,
) -> None:
    """Send events to the broker, of several files the oldest first.

    A line that is no event is reported and not sent; then the exit code is 2.
    """
    if raw_topic is not None and raw_topic not in TOPICS:
        raise ConfigError("publish", "--raw-topic", "one of " + ", ".join(TOPICS), raw_topic)
    began = time.monotonic()
    with Publisher(connection(kafka)) as publisher, _lines(files) as lines:
        interrupted = False
        try:
            _publish(publisher, lines, Pace(speed), raw_topic)
        except KeyboardInterrupt:
            interrupted = True
    typer.echo(summary(publisher.result, time.monotonic() - began))
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if publisher.result.refused:
        raise typer.Exit(2)


def connection(kafka: str | None) -> KafkaConnection:
    """Where the environment says that the broker is, or `kafka`.

    Raises
    ------
    ConfigError
        If that makes no connection.
    """
    # The client library warns about what is about to be raised, in lines of its own.
    logging.getLogger("kafka").addHandler(logging.NullHandler())
    found = Settings.read().connection
    return found if kafka is None else msgspec.structs.replace(found, servers=kafka)


def summary(result: Published, seconds: float) -> str:
    """Say in one line what was sent."""
    topics = ", ".join(f"{topic} {count}" for topic, count in sorted(result.sent.items()))
    rate = f" ({result.total / seconds:,.0f}/s)" if seconds > 0 else ""
    refused = f"; {result.refused} lines were no events" if result.refused else ""
    total = f"{result.total} events sent in {seconds:.1f} s{rate}{refused}"
    return f"{topics}: {total}" if topics else total


def line(output: AnyOutput) -> str | None:
    """One line for people, or nothing for what is told by another line.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> line(AlertResolved(id="2", cause_id="x", ts=datetime(2023, 3, 11, tzinfo=UTC),
    ...                    alert="asset:USDC", scope="asset:USDC", opened_id="1"))
    '2023-03-11T00:00:00Z  RESOLVED  asset:USDC  asset:USDC'
    """
    if isinstance(output, StageFaulted):
        output = as_alert(output)
    if isinstance(output, AlertRaised):
        words = [output.severity, output.scope, output.title, f"${output.exposure_usd:,.2f}"]
        words += output.reasons[:1]
    elif isinstance(output, AlertResolved):
        words = ["RESOLVED", output.scope, output.alert]
    elif isinstance(output, DataQualityRaised):
        words = ["DATA", output.subject, output.issue, output.detail]
    elif isinstance(output, DataQualityResolved):
        words = ["DATA OK", output.subject, output.issue]
    elif isinstance(output, AuthorityChanged):
        moved = f"{output.former} to {output.authority}"
        words = ["MODEL", output.generation, output.target, moved, output.detail]
    elif isinstance(output, KillSwitchChanged):
        until = f"valid until {text(micros(output.valid_until))}"
        words = [output.effective, output.scope, f"state {output.state}", output.quality]
        words += [output.cause, until, *output.reasons[:1]]
    elif isinstance(output, CommandApplied):
        words = ["COMMAND", output.scope, f"{output.operator}: {output.action}", output.outcome]
        words += [output.detail, output.reason]
    elif isinstance(output, CommandRefused):
        words = ["REFUSED", output.scope, f"{output.operator}: {output.action}", output.refusal]
        words += [output.detail]
    else:
        return None
    told = "  ".join([text(micros(output.ts)), f"{words[0]:<8}", *words[1:]])
    # What others wrote must not steer the terminal.
    return "".join(char if char.isprintable() else "?" for char in told)


class _Line(msgspec.Struct):
    topic: str
    key: str
    worker: str
    epoch: int
    seq: int
    value: msgspec.Raw


class _Bad(msgspec.Struct):
    topic: str
    key: str | None
    offset: int
    unreadable: str


def _print(stream: Stream[Any], *, as_json: bool) -> None:
    """Print what comes until the reader has enough."""
    try:
        with stream:
            for told in _told(stream, as_json=as_json):
                sys.stdout.write(told + "\n")
                sys.stdout.flush()
    except KeyboardInterrupt:
        return


def _told(stream: Stream[Any], *, as_json: bool) -> Iterator[str]:
    while True:
        try:
            item = next(stream)
        except StopIteration:
            return
        except UnreadableError as error:
            if as_json:
                bad = _Bad(error.topic, error.key, error.offset, error.reason)
                yield msgspec.json.encode(bad).decode()
            else:
                yield f"UNREADABLE  {error}"
            continue
        if isinstance(item, CaughtUp):
            typer.echo(f"{item.messages} states until now; following", err=True)
        elif as_json:
            yield _json(item)
        elif (told := line(item.output)) is not None:
            yield told


def _json(item: Message[Any]) -> str:
    value = msgspec.Raw(encode_output(item.output))
    told = _Line(item.topic, item.key, item.worker, item.epoch, item.seq, value)
    return msgspec.json.encode(told).decode()


class _Source(NamedTuple):
    """One line of input, decoded, with where it is."""

    where: str
    event: WireEvent | Refusal
    raw: bytes
    us: int


def _publish(
    publisher: Publisher, lines: Iterator[_Source], pace: Pace, raw_topic: str | None
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
    if count <= SHOWN:
        typer.echo(f"{where}: not sent: {why}", err=True)
    elif count == SHOWN + 1:
        typer.echo("further lines that are no events are only counted", err=True)


@contextmanager
def _lines(files: Sequence[str]) -> Iterator[Iterator[_Source]]:
    if STDIN in files:
        if len(files) > 1:
            raise FeedError("- reads stdin alone: it cannot be merged with files")
        yield _stdin()
        return
    with Merge([Path(file) for file in files], decode) as merge:
        yield _merged(merge)


def _merged(merge: Merge) -> Iterator[_Source]:
    files = {file.name: file for file in merge.files}
    for record in merge.records():
        file, event = files[record.stream], record.event
        assert not isinstance(event, CounterpartyReading | PartitionFault), (
            "readings are not decoded here"
        )
        yield _Source(f"{file.path}:{file.records}", event, record.raw, record.us)


def _stdin() -> Iterator[_Source]:
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
        yield _Source(f"stdin:{number}", event, raw, us)
