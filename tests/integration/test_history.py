"""History against the table of latest rows, as a replay that stops at that moment has it."""

from __future__ import annotations

from datetime import timedelta
from itertools import takewhile
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from sqlalchemy import select, text

from riskwatch import scenarios
from riskwatch.core.clock import micros
from riskwatch.engine import bootstrap
from riskwatch.engine.replay import ReplayJob, ReplayLimits, replay_files
from riskwatch.store import migrate
from riskwatch.store.history import TRACKED, rows_at
from riskwatch.store.projections import EXPOSURE, POSITION
from riskwatch.store.queries import open_reader

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    from riskwatch.core.events import Event

CONFIG: Final = bootstrap.configuration()
START: Final = scenarios.load("usdc_2023").start
HOURS: Final = 2
MOMENTS: Final = 100
EXACT: Final = (EXPOSURE, POSITION)
"""Tables whose rows of then are the rows of now of a replay, to the last digit."""


def write(path: Path, events: Iterable[Event]) -> Path:
    """Write events to a file."""
    encode = msgspec.json.Encoder().encode
    path.write_bytes(b"".join(encode(event) + b"\n" for event in events))
    return path


def replay(file: Path, url: str, until: datetime | None = None) -> None:
    """Go on with a file up to a moment."""
    limits = ReplayLimits(500, None if until is None else micros(until))
    replay_files(ReplayJob([file], url, limits=limits), bootstrap.pipeline(CONFIG), config=CONFIG)


def rows(url: str, moment: datetime | None = None) -> dict[str, list[dict[str, Any]]]:
    """Rows of each exact table: of now, or of a moment; without what only says when."""
    found = {}
    with open_reader(url) as conn:
        for table in EXACT:
            if moment is None:
                lines = [dict(r) for r in conn.execute(select(table)).mappings()]
            else:
                lines = list(rows_at(conn, TRACKED[table.name], moment))
            for line in lines:
                for written in ("ts", "output_id", "priced_at", "confirmed_at"):
                    del line[written]
            found[table.name] = sorted(lines, key=str)
    return found


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first hours of the episode, with its sample firm."""
    end = START + timedelta(hours=HOURS)
    made = takewhile(lambda e: e.ts < end, scenarios.events("usdc_2023", 3))
    return write(tmp_path_factory.mktemp("events") / "episode.ndjson", made)


@pytest.fixture(scope="module")
def whole(events: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a database that has read everything."""
    url = f"sqlite:///{tmp_path_factory.mktemp('whole')}/r.db"
    replay(events, url)
    return url


@pytest.mark.slow
def test_the_past_is_what_a_replay_up_to_then_says(
    events: Path, whole: str, tmp_path: Path
) -> None:
    """At a hundred random moments, holdings and positions are equal to the cent."""
    random = Random(11)
    seconds = sorted(random.randrange(60, HOURS * 3600) for _ in range(MOMENTS))
    url, seen = f"sqlite:///{tmp_path / 'upto.db'}", set()
    for after in seconds:
        moment = START + timedelta(seconds=after)
        replay(events, url, moment)
        expected = rows(url)
        assert rows(whole, moment) == expected, moment
        seen.add(str(expected))
    assert len(seen) > 5


def test_a_late_fact_changes_what_is_known_and_not_what_was_said(
    events: Path, tmp_path: Path
) -> None:
    """A fill that is heard an hour late is in the book from then on; the past stands as said."""
    lines = events.read_bytes().splitlines(keepends=True)
    first = next(line for line in lines if b'"type":"balance"' in line)
    fill = msgspec.json.decode(first)
    late = {
        "v": 1, "type": "fill", "event_id": "late", "source": "desk",
        "ts": (START + timedelta(minutes=40)).isoformat(),
        "counterparty": fill["counterparty"], "account": "late", "book": "late",
        "base": "BTC", "quote": "USD", "side": "buy", "qty": "3", "price": "20000",
    }  # fmt: skip
    before = tmp_path / "before.ndjson"
    after = tmp_path / "after.ndjson"
    before.write_bytes(b"".join(lines[: len(lines) // 2]))
    after.write_bytes(msgspec.json.encode(late) + b"\n" + b"".join(lines[len(lines) // 2 :]))
    said, known = f"sqlite:///{tmp_path / 'said.db'}", f"sqlite:///{tmp_path / 'known.db'}"
    replay(before, said)
    replay(after, said)
    ordered = tmp_path / "ordered.ndjson"
    together = sorted(
        [*lines, msgspec.json.encode(late) + b"\n"],
        key=lambda line: msgspec.json.decode(line)["ts"],
    )
    ordered.write_bytes(b"".join(together))
    replay(ordered, known)
    then = START + timedelta(minutes=50)

    def books(url: str, moment: datetime) -> set[str]:
        return {row["book"] for row in rows(url, moment)["exposure"]}

    assert "late" not in books(said, then)
    assert "late" in books(known, then)
    end = START + timedelta(hours=HOURS)
    assert "late" in books(said, end)
    amounts = [
        [(row["book"], row["counterparty"], row["asset"], row["amount"]) for row in found]
        for found in (rows(said, end)["exposure"], rows(known, end)["exposure"])
    ]
    assert amounts[0] == amounts[1]


@pytest.mark.postgres
def test_postgres_answers_by_a_function(postgres_url: str, events: Path) -> None:
    """``exposure_at`` gives the rows of the same moment as the library."""
    migrate.upgrade(postgres_url)
    replay(events, postgres_url)
    moment = START + timedelta(minutes=61)
    with open_reader(postgres_url) as conn:
        names = ("book", "counterparty", "account", "asset", "component", "amount", "value_usd")
        query = text(f"SELECT {', '.join(names)} FROM exposure_at(:at) ORDER BY 1, 2, 3, 4, 5")
        found = [tuple(row) for row in conn.execute(query, {"at": moment})]
        held = rows_at(conn, TRACKED[EXPOSURE.name], moment)
        assert sorted(found) == sorted(tuple(row[n] for n in names) for row in held)
        assert found
