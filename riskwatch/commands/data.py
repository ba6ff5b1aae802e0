"""``riskwatch import`` and ``riskwatch feeds``: convert recordings into events."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from riskwatch.core.clock import rfc3339
from riskwatch.errors import FeedError
from riskwatch.feeds.formats import READERS
from riskwatch.feeds.importer import Plan, plan, read_quotes
from riskwatch.feeds.record import Reject, Tally
from riskwatch.feeds.symbol import stem
from riskwatch.feeds.values import BadCellError, parse_step, step_text, time_us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STDOUT: Final = "-"
_REFRESH: Final = 1000


def import_command(
    files: Annotated[list[Path], typer.Argument(help="CSV (also .gz, .xz, .bz2) or Parquet.")],
    *,
    fmt: Annotated[str, typer.Option("--format", help="Reader, see `riskwatch feeds`.")] = "auto",
    venue: Annotated[str | None, typer.Option(help="Venue, if no file name contains it.")] = None,
    base: Annotated[str | None, typer.Option(help="Asset that is priced.")] = None,
    quote: Annotated[str | None, typer.Option(help="Asset that it is priced in.")] = None,
    step: Annotated[
        str | None, typer.Option(help="Length of a bar, e.g. 1m, 1h; inferred if absent.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="First close to import, e.g. 2023-03-10.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="First close not to import.")] = None,
    out: Annotated[
        str, typer.Option("--out", "-o", help="NDJSON file; a folder for several; - for stdout.")
    ] = STDOUT,
    rejects: Annotated[
        Path | None, typer.Option(help="NDJSON list of the rows that were skipped, and why.")
    ] = None,
) -> None:
    """Convert public recordings into events: one quote per bar, at the bar's close.

    A summary on stderr accounts for every row: read = written + skipped, with the reasons.
    """
    targets = _targets(files, out, rejects)
    plans = [
        plan(
            path,
            fmt=fmt,
            venue=venue,
            base=base,
            quote=quote,
            step_us=None if step is None else parse_step(step),
            since_us=_moment("--from", since),
            until_us=_moment("--to", until),
        )
        for path in files
    ]
    console = Console(stderr=True)
    with ExitStack() as stack:
        rejected = None if rejects is None else stack.enter_context(_replacing(rejects))
        for path, made, target in zip(files, plans, targets, strict=True):
            tally = Tally(on_reject=_reject_writer(path, rejected))
            with _sink(target) as sink:
                _write(made, tally, sink, console)
            for line in import_summary(path, made, tally):
                console.print(escape(line), soft_wrap=True, highlight=False)


def feeds_command() -> None:
    """List the formats that `riskwatch import` reads."""
    width = max(len(reader.name) for reader in READERS)
    for reader in READERS:
        typer.echo(f"{reader.name:<{width}}  {reader.about}")


def import_summary(path: Path, made: Plan, tally: Tally) -> list[str]:
    """Return the counts of an import, in at most four lines; they account for every row."""
    job = made.job
    lines = [f"{path.name}: {made.reader.name}, {job.feed}, step {step_text(job.step_us)}"]
    reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(tally.skips.items()))
    kept = "written" if tally.used == tally.written else "used"
    lines.append(
        f"  rows: {tally.read} read = {tally.used} {kept} + {tally.skipped} skipped"
        + (f" ({reasons})" if reasons else "")
    )
    if tally.used != tally.written or tally.withheld:
        held = "".join(f", {n} withheld ({why})" for why, n in sorted(tally.withheld.items()))
        lines.append(f"  quotes: {tally.written} written{held}")
    if tally.first_us is not None and tally.last_us is not None:
        holes = ""
        if tally.missing_steps:
            longest = step_text(tally.longest_hole_us)
            holes = f"; {tally.missing_steps} steps without a row, at most {longest} in a row"
        lines.append(f"  closes: {rfc3339(tally.first_us)} to {rfc3339(tally.last_us)}{holes}")
    else:
        lines.append("  closes: none, nothing was written")
    return lines


@dataclass(frozen=True)
class _EventSink:
    """The destination of the events of one input; ``None`` is stdout."""

    path: Path | None


def _targets(files: list[Path], out: str, rejects: Path | None) -> list[_EventSink]:
    """Return one target per input; none is an input, the rejects file, or another's target."""
    if out == STDOUT:
        if len(files) > 1:
            raise FeedError("several files need --out FOLDER: one NDJSON file is made for each")
        return [_EventSink(None)]
    folder = Path(out)
    if len(files) == 1 and not folder.is_dir() and not out.endswith("/"):
        targets = [folder]
    else:
        if folder.exists() and not folder.is_dir():
            raise FeedError(f"--out must be a folder for several files, {out} is a file")
        targets = [folder / f"{stem(path)}.ndjson" for path in files]
    taken = [path.resolve() for path in (*files, *targets, *([rejects] if rejects else []))]
    for target in targets:
        if taken.count(target.resolve()) > 1:
            raise FeedError(f"--out: {target} would be written twice, or over an input")
    return [_EventSink(target) for target in targets]


def _moment(option: str, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return time_us(value)
    except BadCellError:
        raise FeedError(f"{option} must be a date or a time in RFC 3339, was {value!r}") from None


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file under a temporary name, and rename it when it is complete."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("wb")
    except OSError as error:
        raise FeedError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        with file:
            yield file
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def _sink(target: _EventSink) -> Iterator[IO[bytes]]:
    if target.path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with _replacing(target.path) as file:
            yield file


def _reject_writer(path: Path, rejected: IO[bytes] | None) -> Callable[[Reject], None] | None:
    if rejected is None:
        return None

    def write(reject: Reject) -> None:
        row = {"file": str(path), **msgspec.structs.asdict(reject)}
        rejected.write(msgspec.json.encode(row) + b"\n")

    return write


def _write(made: Plan, tally: Tally, sink: IO[bytes], console: Console) -> None:
    encode = msgspec.json.Encoder().encode
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    quiet = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=quiet) as progress:
        task = progress.add_task(escape(made.table.head.path.name), total=made.rows)
        for event in read_quotes(made, tally):
            sink.write(encode(event) + b"\n")
            if tally.written % _REFRESH == 0:
                progress.update(task, completed=tally.read)
