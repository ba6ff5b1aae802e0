"""``riskwatch alerts --follow`` and ``killswitch watch``: print messages as they arrive."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from riskwatch.client import CaughtUp, Message, UnreadableError, alerts, killswitch
from riskwatch.commands import query
from riskwatch.commands.db import DEFAULT, Database
from riskwatch.contracts.outputs import encode_output
from riskwatch.core.clock import micros, rfc3339
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
    alert_from_fault,
)
from riskwatch.core.text import visible
from riskwatch.engine.replay import stop_on_signals
from riskwatch.errors import ConfigError
from riskwatch.worker.settings import ProcessSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.client import Stream
    from riskwatch.contracts.connection import KafkaConnection

Kafka = Annotated[
    str | None, typer.Option("--kafka", help="host:port of the broker instead of RISKWATCH_KAFKA.")
]


def alerts_command(
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print alerts from the broker as they arrive.")
    ] = False,
    begin: Annotated[
        str, typer.Option("--from", help="With --follow: latest or earliest.")
    ] = "latest",
    group: Annotated[
        str | None, typer.Option(help="With --follow: resume where this group stopped.")
    ] = None,
    kafka: Kafka = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="Include resolved alerts.")] = False,
    database: Database = DEFAULT,
    as_json: query.Json = False,
) -> None:
    """Show open alerts, the most severe first; or follow new ones as they arrive."""
    if not follow:
        query.alerts_command(all_of_them=all_of_them, database=database, as_json=as_json)
        return
    if begin not in {"latest", "earliest"}:
        raise ConfigError("alerts", "--from", "latest or earliest", begin)
    start: Any = begin
    with stop_on_signals() as stop:
        found = alerts(connection(kafka), group, start, stop=lambda: stop.signal is not None)
        _print(found, as_json=as_json)


def watch_command(*, kafka: Kafka = None, as_json: query.Json = False) -> None:
    """Print the state of every scope, then every change as it arrives."""
    with stop_on_signals() as stop:
        found = killswitch(connection(kafka), stop=lambda: stop.signal is not None)
        _print(found, as_json=as_json)


def connection(kafka: str | None) -> KafkaConnection:
    """Return the connection from the environment, with the servers `kafka` if given.

    Raises
    ------
    ConfigError
        If the settings do not give a connection.
    """
    # The client library logs warnings about errors that are raised anyway.
    logging.getLogger("kafka").addHandler(logging.NullHandler())
    found = ProcessSettings.read().connection
    return found if kafka is None else msgspec.structs.replace(found, servers=kafka)


def output_line(output: AnyOutput) -> str | None:
    """Return one line for people, or ``None`` if another line covers the output.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> output_line(AlertResolved(id="2", cause_id="x", ts=datetime(2023, 3, 11, tzinfo=UTC),
    ...                    alert="asset:USDC", scope="asset:USDC", opened_id="1"))
    '2023-03-11T00:00:00Z  RESOLVED  asset:USDC  asset:USDC'
    """
    if isinstance(output, StageFaulted):
        output = alert_from_fault(output)
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
        words = [output.effective, output.scope, f"state {output.state}", output.quality]
        words += [output.cause, *output.reasons[:1]]
    elif isinstance(output, CommandApplied):
        words = ["COMMAND", output.scope, f"{output.operator}: {output.action}", output.outcome]
        words += [output.detail, output.reason]
    elif isinstance(output, CommandRefused):
        words = ["REFUSED", output.scope, f"{output.operator}: {output.action}", output.refusal]
        words += [output.detail]
    else:
        return None
    line = "  ".join([rfc3339(micros(output.ts)), f"{words[0]:<8}", *words[1:]])
    # Text from elsewhere must not control the terminal.
    return visible(line)


class _StreamLine(msgspec.Struct):
    topic: str
    key: str
    worker: str
    epoch: int
    seq: int
    value: msgspec.Raw


class _UnreadableLine(msgspec.Struct):
    topic: str
    key: str | None
    offset: int
    unreadable: str


def _print(stream: Stream[Any], *, as_json: bool) -> None:
    """Print items until the stream is stopped, or a second Ctrl-C interrupts it at once.

    The first is a request to stop and no exception: one that is raised in a destructor of the
    client library would be lost.
    """
    try:
        with stream:
            for line in _items(stream, as_json=as_json):
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
    except KeyboardInterrupt:
        return


def _items(stream: Stream[Any], *, as_json: bool) -> Iterator[str]:
    while True:
        try:
            item = next(stream)
        except StopIteration:
            return
        except UnreadableError as error:
            if as_json:
                bad = _UnreadableLine(error.topic, error.key, error.offset, error.reason)
                yield msgspec.json.encode(bad).decode()
            else:
                yield visible(f"UNREADABLE  {error}")
            continue
        if isinstance(item, CaughtUp):
            typer.echo(f"{item.messages} states until now; following", err=True)
        elif as_json:
            yield _json(item)
        elif (line := output_line(item.output)) is not None:
            yield line


def _json(item: Message[Any]) -> str:
    value = msgspec.Raw(encode_output(item.output))
    line = _StreamLine(item.topic, item.key, item.worker, item.epoch, item.seq, value)
    return msgspec.json.encode(line).decode()
