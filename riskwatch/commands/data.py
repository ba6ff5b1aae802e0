"""``riskwatch import`` and ``riskwatch feeds``: convert files of all shapes into events."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from riskwatch.contracts.codec import tag_of
from riskwatch.contracts.names_file import shipped_names
from riskwatch.core.clock import rfc3339
from riskwatch.core.events import UNALLOCATED
from riskwatch.errors import FeedError, OptionNeededError
from riskwatch.feeds.document import open_document
from riskwatch.feeds.file_import import (
    FilePlan,
    all_readers,
    closing_of,
    plan_file,
    read_file_events,
    recognise_file,
    wrong_balances,
)
from riskwatch.feeds.importer import Plan, plan, read_quotes
from riskwatch.feeds.record import Reject, Tally
from riskwatch.feeds.shape import BASE, MEANINGS, QUOTE, VENUE, FileLabels, FileReport, FileShape
from riskwatch.feeds.symbol import feed_of, stem
from riskwatch.feeds.trial import LedgerTrial
from riskwatch.feeds.values import BadCellError, parse_step, parse_zone, step_text, time_us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from riskwatch.core.events import Event

STDIN: Final = "-"
STDOUT: Final = "-"
_REFRESH: Final = 1000


Files = Annotated[
    list[Path], typer.Argument(help="Files of any shape, see `riskwatch feeds`; - is stdin.")
]
FormatOption = Annotated[str, typer.Option("--format", help="Reader, see `riskwatch feeds`.")]
VenueOption = Annotated[str | None, typer.Option(help="Venue or bank, if the file does not say.")]
AccountOption = Annotated[str | None, typer.Option(help="Account, if the file does not name it.")]
BookOption = Annotated[str | None, typer.Option(help="Book of what the file states.")]
WalletOption = Annotated[str | None, typer.Option(help="Wallet of a balance that names none.")]
BaseOption = Annotated[str | None, typer.Option(help="Asset that is priced or held.")]
QuoteOption = Annotated[str | None, typer.Option(help="Asset that it is priced in.")]
StepOption = Annotated[
    str | None, typer.Option(help="Length of a bar, e.g. 1m, 1h; inferred if absent.")
]
PoolOption = Annotated[
    str | None, typer.Option(help="A pool's StableSwap amplification; 0: constant product.")
]
ZoneOption = Annotated[str | None, typer.Option(help="Zone of the file's times, e.g. UTC+8.")]
AsOfOption = Annotated[str | None, typer.Option(help="Time of a snapshot that has none.")]
MapOption = Annotated[
    list[str] | None, typer.Option("--map", help="Column of a bank's table, e.g. amount=Betrag.")
]
SinceOption = Annotated[str | None, typer.Option("--from", help="First time, e.g. 2023-03-10.")]
UntilOption = Annotated[str | None, typer.Option("--to", help="First time not to import.")]
OutOption = Annotated[
    str, typer.Option("--out", "-o", help="NDJSON file; a folder for several; - for stdout.")
]
RejectsOption = Annotated[
    Path | None, typer.Option(help="NDJSON list of the rows that were skipped, and why.")
]
TradesOption = Annotated[
    bool | None,
    typer.Option("--with-trades/--without-trades", help="Read the trades of a ledger."),
]
TrustOption = Annotated[
    bool, typer.Option("--trust-names", help="Take venue and pair of prices from the file name.")
]
DryOption = Annotated[
    bool, typer.Option("--dry-run", help="Write no event; show events, balances and unknowns.")
]


def import_command(
    files: Files,
    *,
    fmt: FormatOption = "auto",
    venue: VenueOption = None,
    account: AccountOption = None,
    book: BookOption = None,
    wallet: WalletOption = None,
    base: BaseOption = None,
    quote: QuoteOption = None,
    step: StepOption = None,
    amplification: PoolOption = None,
    zone: ZoneOption = None,
    as_of: AsOfOption = None,
    mapping: MapOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    out: OutOption = STDOUT,
    rejects: RejectsOption = None,
    trades: TradesOption = None,
    trust_names: TrustOption = False,
    dry_run: DryOption = False,
) -> None:
    """Convert files of venues, banks and data vendors into events; the content tells the shape.

    What a file does not say is asked on a terminal; elsewhere the command ends with code 4, and
    names the option. A summary on stderr accounts for every row: read = used + skipped, with the
    reasons.
    """
    labels = FileLabels(
        venue=venue or "",
        account=account or "",
        book=book or UNALLOCATED,
        wallet=wallet or "",
        base=base or "",
        quote=quote or "",
        step_us=None if step is None else parse_step(step),
        amplification=amplification or "",
        zone_us=None if zone is None else parse_zone(zone),
        as_of_us=_moment("--as-of", as_of),
        since_us=_moment("--from", since),
        until_us=_moment("--to", until),
        mapping=_mapping(mapping),
        trades=trades,
    )
    with ExitStack() as stack:
        files = [_standard_input(stack) if str(path) == STDIN else path for path in files]
        targets = _targets(files, STDOUT if dry_run else out, rejects, dry_run=dry_run)
        plans = [_plan(path, fmt, labels, trust_names) for path in files]
        _check_twice(plans, trades)
        console = Console(stderr=True)
        rejected = None if rejects is None else stack.enter_context(_replacing(rejects))
        for path, made, target in zip(files, plans, targets, strict=True):
            writer = _reject_writer(path, rejected)
            if isinstance(made, FilePlan):
                lines = _import_file(made, writer, None if dry_run else target)
            else:
                lines = _import_bars(path, made, writer, target, console, dry_run=dry_run)
            for line in lines:
                if dry_run:
                    typer.echo(line)
                else:
                    console.print(escape(line), soft_wrap=True, highlight=False)


def _import_bars(
    path: Path,
    made: Plan,
    writer: Callable[[Reject], None] | None,
    target: _EventSink,
    console: Console,
    *,
    dry_run: bool,
) -> list[str]:
    """Write the quotes of a series of prices, and return its summary."""
    tally = Tally(on_reject=writer)
    if dry_run:
        for _ in read_quotes(made, tally):
            pass
    else:
        with _sink(target) as sink:
            _write(made, tally, sink, console)
    return import_summary(path, made, tally)


def _import_file(
    made: FilePlan, writer: Callable[[Reject], None] | None, target: _EventSink | None
) -> list[str]:
    """Write the events of a file, or with no target try them, and return the summary."""
    report = FileReport(tally=Tally(on_reject=writer))
    counts: Counter[str] = Counter()
    events = _count(read_file_events(made, report), counts)
    if target is None:
        trial = LedgerTrial()
        for event in events:
            trial.add(event)
        return [*file_summary(made, report, counts), *trial_lines(made, report, trial)]
    encode = msgspec.json.Encoder().encode
    with _sink(target) as sink:
        for event in events:
            sink.write(encode(event) + b"\n")
    return file_summary(made, report, counts)


def _count(events: Iterator[Event], counts: Counter[str]) -> Iterator[Event]:
    for event in events:
        counts[tag_of(type(event))] += 1
        yield event


def _plan(path: Path, fmt: str, labels: FileLabels, trust_names: bool) -> Plan | FilePlan:
    """Return the plan of a file, with everything asked that it does not say."""
    document = open_document(path)
    reader = recognise_file(document, fmt)
    if isinstance(reader, FileShape):
        return plan_file(document, reader, labels, _ask)
    parts = {VENUE: labels.venue, BASE: labels.base, QUOTE: labels.quote}
    missing = [option for option, value in parts.items() if not value]
    if missing and not trust_names:
        found = feed_of(path, labels.venue or None, labels.base or None, labels.quote or None)
        options = " and ".join(missing)
        if not _is_terminal() or not typer.confirm(f"{path.name}: is it {found}?", err=True):
            raise OptionNeededError(
                str(path), options, f"its name suggests {found}, which --trust-names takes"
            )
    return plan(
        path,
        venue=labels.venue or None,
        base=labels.base or None,
        quote=labels.quote or None,
        step_us=labels.step_us,
        since_us=labels.since_us,
        until_us=labels.until_us,
        reader=reader,
        table=document.table,
    )


def _check_twice(plans: list[Plan | FilePlan], trades: bool | None) -> None:
    """Refuse a ledger with trades beside a file of the same trades, unless the caller decides."""
    made = [each for each in plans if isinstance(each, FilePlan)]
    fills = {each.labels.venue for each in made if each.shape.gives.startswith("fill")}
    for each in made:
        if trades is None and each.shape.has_trades and each.labels.venue in fills:
            raise OptionNeededError(
                str(each.document.path),
                "--without-trades or --with-trades",
                "another of the files has the trades of this venue, too",
            )


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _ask(option: str, why: str, guess: str | None) -> str | None:
    """Ask for an option on a terminal; ``None`` if there is none."""
    if not _is_terminal():
        return None
    answer: str = typer.prompt(f"{why}; {option.removeprefix('--')}", default=guess, err=True)
    return answer.strip() or None


def _standard_input(stack: ExitStack) -> Path:
    """Return a temporary file with all of standard input."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    with (folder / "stdin").open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return folder / "stdin"


def _mapping(pairs: list[str] | None) -> dict[str, str]:
    """Return the columns of a bank's table by their meaning."""
    found = {}
    for pair in pairs or []:
        meaning, sign, column = pair.partition("=")
        if not sign or not column or meaning not in MEANINGS:
            raise FeedError(
                f"--map must be MEANING=COLUMN with a meaning of {', '.join(MEANINGS)}, was "
                f"{pair!r}"
            )
        found[meaning] = column
    return found


def feeds_command() -> None:
    """List the formats that `riskwatch import` reads."""
    readers = all_readers()
    width = max(len(reader.name) for reader in readers)
    for reader in readers:
        typer.echo(f"{reader.name:<{width}}  {reader.about}")


def file_summary(made: FilePlan, report: FileReport, counts: Counter[str]) -> list[str]:
    """Return the counts of an import; they account for every row."""
    tally, labels = report.tally, made.labels
    place = "/".join(part for part in (labels.venue, labels.account) if part)
    lines = [f"{made.document.path.name}: {made.shape.name}, {place}".rstrip(", ")]
    proved = made.shape.venue
    if proved is not None and proved != labels.venue:
        lines.append(f"  note: the file is one of {proved}; --venue {labels.venue} is used")
    reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(tally.skips.items()))
    lines.append(
        f"  rows: {tally.read} read = {tally.used} used + {tally.skipped} skipped"
        + (f" ({reasons})" if reasons else "")
    )
    lines.append(
        "  events: " + (", ".join(f"{n} {k}" for k, n in sorted(counts.items())) or "none")
    )
    if report.first_us is not None and report.last_us is not None:
        lines.append(f"  times: {rfc3339(report.first_us)} to {rfc3339(report.last_us)}")
    for what, n in sorted(report.unknown.items()):
        lines.append(f"  unknown: {what} ({n})")
    for place_of, stated in sorted(report.stated.items()):
        groups, wrong = wrong_balances(stated)
        if wrong:
            lines.append(
                f"  WARNING: {'/'.join(filter(None, place_of))}: the entries give another balance "
                f"than the file at {wrong} of {groups} times"
            )
    if report.wrong_totals:
        lines.append(
            f"  WARNING: {report.wrong_totals} of {report.totals} totals of the file are not price "
            "times quantity and fee"
        )
    return lines


def trial_lines(made: FilePlan, report: FileReport, trial: LedgerTrial) -> list[str]:
    """Return what a dry run found: balances beside the file's own, and names that nothing lists."""
    lines = []
    own = {place: closing_of(stated) for place, stated in report.stated.items()}
    for place in sorted(trial.balances().keys() | own.keys()):
        account, wallet, asset = place
        found = trial.balances().get(place)
        where = f"{account}/{wallet}" if wallet else account
        result = "none" if found is None else f"{found:f}"
        line = f"  balance: {where} {asset} {result}"
        if place in own:
            agrees = "agrees" if found == own[place] else "DIFFERS"
            line += f", the file states {own[place]:f}: {agrees}"
        lines.append(line)
    for (account, instrument), qty in sorted(trial.positions().items()):
        lines.append(f"  position: {account} {instrument} {qty:f}")
    for reason, n in sorted(trial.refusals.items()):
        lines.append(f"  refused by the ledger: {reason} ({n})")
    names = trial.unlisted(shipped_names(), made.labels.venue)
    lines += [f"  unknown: {kind} {name}, which nothing lists" for kind, name in names]
    if report.totals:
        right = report.totals - report.wrong_totals
        lines.append(f"  totals: {right} of {report.totals} agree with the file's own")
    return lines


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


def _targets(
    files: list[Path], out: str, rejects: Path | None, *, dry_run: bool
) -> list[_EventSink]:
    """Return one target per input; none is an input, the rejects file, or another's target."""
    if out == STDOUT:
        if len(files) > 1 and not dry_run:
            raise FeedError("several files need --out FOLDER: one NDJSON file is made for each")
        return [_EventSink(None) for _ in files]
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
