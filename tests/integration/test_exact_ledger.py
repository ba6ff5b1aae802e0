"""Holdings in SQL against an independent fold of the events in the journal."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING

import msgspec
import pytest
from sqlalchemy import select

from riskwatch import scenarios
from riskwatch.contracts.codec import decode
from riskwatch.contracts.refusal import Refusal
from riskwatch.core.clock import moment
from riskwatch.core.events import LEDGER_EVENTS, Event
from riskwatch.core.money import canonical
from riskwatch.engine import bootstrap
from riskwatch.engine.replay import ReplayJob, ReplayLimits, open_database, replay_files
from riskwatch.store import migrate
from riskwatch.store.content import content_digest
from riskwatch.store.projections import EXPOSURE, POSITION
from riskwatch.store.truth import RISK_JOURNAL
from tests.support.fold import fold, fold_positions

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path

CONFIG = bootstrap.configuration()
HOURS = 8


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first hours of the episode, with its sample firm."""
    path = tmp_path_factory.mktemp("events") / "episode.ndjson"
    end = scenarios.load("usdc_2023").start + timedelta(hours=HOURS)
    encode = msgspec.json.Encoder().encode
    made = takewhile(lambda e: e.ts < end, scenarios.events("usdc_2023", 3))
    path.write_bytes(b"".join(encode(event) + b"\n" for event in made))
    return path


@pytest.fixture(scope="module")
def sqlite(events: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a SQLite database into which the events went."""
    url = f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/r.db"
    replayed(events, url)
    return url


def replayed(events: Path, url: str) -> None:
    """Replay with every event kept."""
    what = ReplayJob([events], url, limits=ReplayLimits(500))
    pipeline = bootstrap.pipeline(CONFIG, keep_events=True)
    summary = replay_files(what, pipeline, config=CONFIG)
    assert summary.rejected == 0
    assert summary.read == summary.applied


def kept(url: str) -> tuple[list[Event], datetime]:
    """Ledger events of the journal, and the time of the last tick."""
    found: list[Event] = []
    with open_database(url) as engine, engine.connect() as conn:
        ticked = 0
        for kind, us, payload in conn.execute(
            select(RISK_JOURNAL.c.kind, RISK_JOURNAL.c.us, RISK_JOURNAL.c.payload).order_by(
                RISK_JOURNAL.c.seq
            )
        ):
            if kind == "tick":
                ticked = us
                continue
            event = decode(bytes(payload))
            if not isinstance(event, Refusal) and isinstance(event, LEDGER_EVENTS):
                found.append(event)
    return found, moment(ticked)


def stored(url: str) -> tuple[dict[tuple[str, ...], Decimal], dict[tuple[str, ...], Decimal]]:
    """Exposures and positions as SQL has them."""
    e, p = EXPOSURE.c, POSITION.c
    with open_database(url) as engine, engine.connect() as conn:
        exposures = conn.execute(
            select(e.book, e.counterparty, e.account, e.asset, e.component, e.amount)
        )
        holdings = {tuple(row[:5]): canonical(row[5]) for row in exposures}
        open_ = conn.execute(select(p.book, p.counterparty, p.account, p.instrument, p.qty))
        return holdings, {tuple(row[:4]): canonical(row[4]) for row in open_}


def check(url: str) -> None:
    """The last digit of every holding is what the kept events fold to."""
    events, ticked = kept(url)
    assert len(events) > 500
    holdings, positions = stored(url)
    assert holdings == {k: canonical(v) for k, v in fold(events, ticked).items()}
    assert positions == {k: canonical(v) for k, v in fold_positions(events).items()}
    assert len(holdings) > 20


def test_sqlite(sqlite: str) -> None:
    """Text decimals, folded in Python: SQLite's own sums are floats."""
    check(sqlite)


def test_postgres_has_the_same_content(events: Path, sqlite: str, postgres_url: str) -> None:
    """NUMERIC to the last digit, and the content of the whole database equal to SQLite's."""
    migrate.upgrade(postgres_url)
    replayed(events, postgres_url)
    check(postgres_url)
    with open_database(sqlite) as here, open_database(postgres_url) as there:
        assert content_digest(here) == content_digest(there)
