"""``riskwatch scenario``: list the embedded episodes, and write them as events."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import msgspec
import typer

from riskwatch import scenarios
from riskwatch.core.clock import micros, rfc3339
from riskwatch.errors import RiskwatchError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from riskwatch.core.events import Event

app = typer.Typer(help="Embedded episodes: list them, write them as events.", no_args_is_help=True)


@app.command("list")
def list_command() -> None:
    """List the episodes that come with riskwatch."""
    for name in scenarios.names():
        episode = scenarios.load(name)
        window = f"{rfc3339(micros(episode.start))} to {rfc3339(micros(episode.end))}"
        typer.echo(f"{name}  {window}  {len(episode.feeds)} feeds  {episode.title}")


@app.command("write")
def write_command(
    name: Annotated[str, typer.Argument(help="An episode, see `riskwatch scenario list`.")],
    *,
    out: Annotated[str, typer.Option("--out", "-o", help="NDJSON file, or - for stdout.")] = "-",
    seed: Annotated[int, typer.Option(help="Same seed, same events.")] = 1,
    book: Annotated[
        bool, typer.Option(help="With the account events of a sample firm, or without.")
    ] = True,
) -> None:
    """Write an episode's events as NDJSON, in order of time."""
    events = scenarios.events(name, seed, book=book)
    if out == "-":
        count = _write(events, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    else:
        count = _replace(Path(out), events)
    typer.echo(f"{name}: {count} events", err=True)


def _write(events: Iterable[Event], sink: IO[bytes]) -> int:
    encode = msgspec.json.Encoder().encode
    count = 0
    for event in events:
        sink.write(encode(event) + b"\n")
        count += 1
    return count


def _replace(path: Path, events: Iterable[Event]) -> int:
    """Write a file under a temporary name, and rename it when it is complete."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as sink:
            count = _write(events, sink)
        part.replace(path)
    except OSError as error:
        raise RiskwatchError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return count
