"""Digests of what whole runs publish and store; ``python -m tests.support.run_goldens`` pins them.

A run is a list of events and commands that goes through all stages into a new SQLite file. The
file ``tests/contract/golden/runs/digests.json`` keeps two digests of everything that a run makes:
``raw`` of the bytes as they are, and ``masked`` of the same with :func:`mask` applied. A change
that only moves code alters neither. Another engine version alters ``raw`` alone.

The file changes only in a commit of its own, and that commit says why.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from sqlalchemy import select

from riskwatch import scenarios
from riskwatch.config.config import digest
from riskwatch.core.events import Command, Quote
from riskwatch.core.outputs import CommandApplied
from riskwatch.core.stage import encode_row
from riskwatch.engine import bootstrap
from riskwatch.engine.publish import NdjsonPublisher
from riskwatch.engine.replay import ReplayJob, ReplayLimits, open_database, replay_files
from riskwatch.store.content import dump
from riskwatch.store.schema import METADATA
from riskwatch.store.truth import RISK_JOURNAL
from tests.support.people import OPERATORS, command, until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy.engine import Engine

    from riskwatch.config.config import Config
    from riskwatch.core.events import Event

FILE: Final = Path(__file__).parents[1] / "contract" / "golden" / "runs" / "digests.json"
BATCH: Final = 500
MASK: Final = "*"
EPISODES: Final = {
    "usdc_2023": (
        datetime(2023, 3, 11, 2, 20, tzinfo=UTC),
        datetime(2023, 3, 11, 3, 50, tzinfo=UTC),
    ),
    "usde_2025": (
        datetime(2025, 10, 10, 20, 30, tzinfo=UTC),
        datetime(2025, 10, 10, 22, 40, tzinfo=UTC),
    ),
}
"""Windows of shipped episodes. USDC goes to HALT in one, USDe at one venue in the other."""
COMMANDS: Final = "commands"
"""Name of the run with a history of commands."""
RUNS: Final = (*EPISODES, COMMANDS)

_DIGEST: Final = re.compile(
    r"(?<![0-9A-Za-z.])(?:[0-9a-f]{128}|[0-9a-f]{64}|[0-9a-f]{32})(?![0-9A-Za-z])"
    r"|(?<=alert )[0-9a-f]{12}"
)
_FIELD: Final = re.compile(r'(\\*"(?:engine|id|cause_id)\\*":\\*")[^"\\]*')


def mask(line: str) -> str:
    r"""Replace what a change of engine, of ids or of digests alters by a constant.

    Masked are the values of the JSON fields ``engine``, ``id`` and ``cause_id``, at any depth and
    in JSON within strings; and every word of 32, 64 or 128 hexadecimal digits: ids of outputs,
    SHA-256 digests and signatures. An id that a text shortens to 12 digits is masked, too.

    Examples
    --------
    >>> mask('{"id":"limit","engine":"0.1.0","after":"9f86d081884c7d659a2feaa0c55ad015","n":1.25}')
    '{"id":"*","engine":"*","after":"*","n":1.25}'
    >>> mask(r'{"payload":"{\"cause_id\":\"tick/2023\",\"scope\":\"firm\"}"}')
    '{"payload":"{\\"cause_id\\":\\"*\\",\\"scope\\":\\"firm\\"}"}'
    """
    return _DIGEST.sub(MASK, _FIELD.sub(rf"\1{MASK}", line))


def run(name: str, *, batch: int = BATCH) -> dict[str, Any]:
    """Play a run; gives its digests as the file keeps them.

    Parameters
    ----------
    name : str
        One of :data:`RUNS`.
    batch : int
        Events per transaction, which must not matter.
    """
    with TemporaryDirectory(prefix="riskwatch-golden-") as folder:
        path, out = Path(folder) / f"{name}.ndjson", BytesIO()
        url = f"sqlite:///{folder}/run.db"
        if name == COMMANDS:
            _play_commands(path, url, out, batch)
        else:
            _append(path, _episode(name, *EPISODES[name]))
            _replay(path, url, out, bootstrap.configuration(), batch)
        published = out.getvalue().decode().splitlines()
        with open_database(url) as engine:
            return {
                "events": _digests(path.read_text().splitlines()),
                "published": _digests(published),
                "content": _digests(_content(engine), ordered=False),
                "journal": _digests(_journal(engine), ordered=False),
            }


def pinned() -> dict[str, Any]:
    """Digests that the file keeps, by run."""
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


def _replay(path: Path, url: str, out: BytesIO, config: Config, batch: int) -> None:
    what = ReplayJob([path], url, limits=ReplayLimits(batch), publisher=NdjsonPublisher(out))
    replay_files(what, bootstrap.pipeline(config, keep_events=True), config=config)


def _append(path: Path, events: Iterable[Event]) -> None:
    with path.open("ab") as sink:
        for event in events:
            sink.write(msgspec.json.encode(event) + b"\n")


def _episode(name: str, begin: datetime, end: datetime) -> Iterator[Event]:
    """Events of an episode up to `end`, of which quotes from `begin` on only."""
    for event in takewhile(lambda e: e.ts < end, scenarios.events(name, 1)):
        if event.ts >= begin or not isinstance(event, Quote):
            yield event


def _play_commands(path: Path, url: str, out: BytesIO, batch: int) -> None:
    """Play an hour with commands among the events, up to each request and on from there."""
    config = bootstrap.configuration()
    parts = (config.reference, config.limits, config.rules, config.policy, OPERATORS)
    own = digest(*parts, names=config.names)
    config = msgspec.structs.replace(config, operators=OPERATORS, digest=own)
    begin = datetime(2023, 3, 11, 2, 40, tzinfo=UTC)
    events = [e for e in _episode("usdc_2023", begin, begin + timedelta(hours=1)) if e.ts >= begin]
    last = begin
    for commands in HISTORY:
        made = list(_answering(commands, out.getvalue()))
        between = [e for e in events if last <= e.ts < made[-1].ts]
        last = made[-1].ts
        _append(path, sorted([*between, *made], key=lambda e: e.ts))
        _replay(path, url, out, config, batch)
    _append(path, [e for e in events if e.ts >= last])
    _replay(path, url, out, config, batch)


HISTORY: Final[Sequence[Sequence[Command]]] = (
    (
        command("rita", "acknowledge", 160.5),
        command("tom", "halt", 161, "book:arb"),
        command("tom", "halt", 161.5, "book:arb", key="tom-halt-book:arb-161"),
        command("rita", "silence", 162, until=until(230)),
        command("ann", "set_limit", 163, "asset:USDC", limit="usdc", hard_usd="4000000"),
        command("ann", "drill", 164, "firm"),
        command("vic", "halt", 165, "firm"),
        command("ann", "halt", 165.5, "firm", by="tom"),
        command("rita", "halt", 166, "counterparty:kraken"),
        command("ann", "demote", 167, "firm", target="depeg(discount 20bp, 1h)",
                generation="anchored", to="shadow"),
        command("ann", "release", 168, "counterparty:kraken"),
    ),
    (
        command("ann", "approve", 169, "counterparty:kraken", request="?"),
        command("bob", "approve", 170, "counterparty:kraken", request="?"),
        command("bob", "approve", 171, "counterparty:kraken", request="?", key="again"),
        command("ann", "set_limit", 186, "asset:USDC", limit="usdc", hard_usd="4250000", key="up"),
    ),
    (
        command("bob", "approve", 187, "asset:USDC", request="?"),
        command("rita", "acknowledge", 212.5),
        command("rita", "unwind", 213, until=until(219), max_usd="1000"),
        command("ann", "release", 213.5),
        command("ann", "override", 214, until=until(217)),
    ),
    (
        command("bob", "approve", 215, request="?"),
        command("ann", "retire", 218, "book:arb"),
        command("rita", "silence", 219, end=True, key="end"),
    ),
)  # fmt: skip
"""Commands in order of time, cut behind each request; ``?`` stands for the id of that request."""


def _answering(commands: Sequence[Command], published: bytes) -> Iterator[Command]:
    """Commands, with the id of the last request that was published where they approve it."""
    applied = [
        value
        for line in published.splitlines()
        if (value := json.loads(line)["value"])["type"] == CommandApplied.__name__
    ]
    for each in commands:
        if each.action == "approve":
            minutes = (each.ts - command("ann", "halt", 0).ts) / timedelta(minutes=1)
            key = each.idempotency_key
            request = applied[-1]["request_id"]
            yield command(each.operator, "approve", minutes, each.scope, key=key, request=request)
        else:
            yield each


def _content(engine: Engine) -> Iterator[str]:
    """Rows of all tables, as JSON objects by column."""
    for table, row in dump(engine):
        columns = METADATA.tables[table].columns.keys()
        named = {name: _text(value) for name, value in zip(columns, row, strict=True)}
        yield encode_row([table, named]).decode()


def _journal(engine: Engine) -> Iterator[str]:
    """Rows of the journal in their order."""
    columns = RISK_JOURNAL.c
    with engine.connect() as conn:
        for row in conn.execute(select(RISK_JOURNAL).order_by(columns.worker, columns.seq)):
            named = {name: _text(value) for name, value in row._mapping.items()}
            yield encode_row(named).decode()


def _text(value: Any) -> Any:
    """Bytes as text, so that they can be masked."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _digests(lines: Iterable[str], *, ordered: bool = True) -> dict[str, Any]:
    """Count and SHA-256 of lines, raw and masked; ids as keys put masked rows in any order."""
    raw = list(lines)
    masked = [mask(line) for line in raw]
    if not ordered:
        masked.sort()
    return {"lines": len(raw), "raw": _sha(raw), "masked": _sha(masked)}


def _sha(lines: Iterable[str]) -> str:
    made = sha256()
    for line in lines:
        made.update(line.encode() + b"\n")
    return made.hexdigest()


def main() -> None:
    """Write the file anew, and say what changed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    before = pinned() if FILE.exists() else {}
    made = {name: run(name) for name in RUNS}
    for name, parts in made.items():
        for part, digests in parts.items():
            old = before.get(name, {}).get(part, {})
            changed = [kind for kind, value in digests.items() if old.get(kind) != value]
            if changed:
                sys.stdout.write(f"{name} {part}: {', '.join(changed)} changed\n")
    FILE.write_text(json.dumps(made, indent=2) + "\n")


if __name__ == "__main__":
    main()
