"""A fact with a future stamp in a replayed file is a dead letter, and moves nobody's time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from riskwatch.contracts.codec import encode
from riskwatch.core.clock import MINUTE, micros, moment
from riskwatch.core.enums import RejectReason
from riskwatch.engine import bootstrap, replay
from riskwatch.engine.replay import WORKER, ReplayJob, replay_files
from riskwatch.errors import StoreError
from riskwatch.store.engine import open_engine
from riskwatch.store.projections import EXPOSURE
from riskwatch.store.truth import DEAD_LETTER, WORKER_PROGRESS
from tests.support.people import command

if TYPE_CHECKING:
    from pathlib import Path

DAY = datetime(2024, 5, 6, 10, 0, tzinfo=UTC)
CONFIG = bootstrap.configuration()
DESK = {"counterparty": "kraken", "account": "main", "book": "arb"}


def line(kind: str, number: int, ts: datetime, **fields: Any) -> str:
    """Make a line of a file."""
    own = {"type": kind, "v": 1, "event_id": f"{kind}-{ts}-{number}", "ts": ts.isoformat()}
    return json.dumps(own | {"source": "desk"} | fields)


def day(start: datetime, held: str) -> list[str]:
    """Make half an hour of quotes of two venues, and a balance of a stablecoin."""
    out = [line("balance", 0, start, asset="USDC", free=held, **DESK)]
    for minute in range(30):
        for n, venue in enumerate(("kraken", "coinbase")):
            for base, price in (("BTC", "60000"), ("USDC", "1")):
                ts = start + timedelta(minutes=minute)
                quote = {"venue": venue, "base": base, "quote": "USD", "bid": price, "ask": price}
                own = {"source": venue, "volume": "5", "event_id": f"{ts}-{n}-{base}"}
                out.append(line("quote", minute, ts, **quote, **own))
    return out


def poison(ts: datetime) -> str:
    """Make the fill of a unit bug."""
    fields = {"base": "BTC", "quote": "USD", "side": "buy", "qty": "1", "price": "60000"}
    return line("fill", 1, ts, **fields, **DESK)


def run(folder: Path, name: str, lines: list[str]) -> Any:
    """Replay a file into the database of the folder."""
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    job = ReplayJob([path], f"sqlite:///{folder}/risk.db")
    return replay_files(job, bootstrap.pipeline(CONFIG), config=CONFIG)


def rows(folder: Path, query: Any) -> list[Any]:
    """Run a query in the database."""
    engine = open_engine(f"sqlite:///{folder}/risk.db")
    try:
        with engine.connect() as conn:
            return list(conn.execute(query).all())
    finally:
        engine.dispose()


def held(folder: Path) -> dict[str, str]:
    """Return the amounts that the firm holds, by asset."""
    query = select(EXPOSURE.c.asset, EXPOSURE.c.amount).where(EXPOSURE.c.counterparty == "kraken")
    return {asset: f"{amount:f}" for asset, amount in rows(folder, query) if amount}


@pytest.mark.parametrize("later", [timedelta(minutes=10), timedelta(days=365 * 69)])
def test_a_future_stamp_is_a_dead_letter_and_the_next_day_counts(
    tmp_path: Path, later: timedelta
) -> None:
    """Nothing else of its file is lost, and a later file changes what is held."""
    ts = datetime.now(UTC) + later
    first = day(DAY, "100000")
    summary = run(tmp_path, "first.ndjson", [*first[:20], poison(ts), *first[20:]])
    assert (summary.read, summary.rejected) == (len(first) + 1, 1)
    assert summary.reached_us <= micros(DAY) + 31 * MINUTE
    ((reason, detail, payload),) = rows(
        tmp_path, select(DEAD_LETTER.c.reason, DEAD_LETTER.c.detail, DEAD_LETTER.c.payload)
    )
    assert reason == RejectReason.TS_FROM_FUTURE
    assert detail.startswith("ts must not be later than now, which is ")
    assert ts.isoformat() in detail
    assert bytes(payload).decode() == poison(ts)
    assert held(tmp_path) == {"USDC": "100000"}
    run(tmp_path, "second.ndjson", day(DAY + timedelta(days=1), "123456"))
    assert held(tmp_path) == {"USDC": "123456"}


def test_a_halt_in_a_file_has_no_future_either(tmp_path: Path) -> None:
    """A file binds nobody, and has no arrival as of which a HALT could count."""
    made = json.loads(encode(command("ann", "halt", 1))) | {"ts": "2095-05-06T10:05:00Z"}
    summary = run(tmp_path, "a.ndjson", [*day(DAY, "1"), json.dumps(made)])
    assert summary.rejected == 1
    assert summary.reached_us <= micros(DAY) + 31 * MINUTE


def test_a_stamp_of_now_is_taken(tmp_path: Path) -> None:
    """As fresh as a recording can be, with a clock that is slightly behind."""
    now = datetime.now(UTC)
    summary = run(tmp_path, "a.ndjson", [poison(now), poison(now + timedelta(seconds=4))])
    assert (summary.applied, summary.rejected) == (2, 0)
    # Its closing tick may be later than now; the next file goes on all the same.
    assert run(tmp_path, "b.ndjson", [poison(now + timedelta(seconds=1))]).applied == 1


def test_a_database_that_an_earlier_build_moved_to_the_future_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replaying into it would apply everything and change nothing: it is refused, untouched."""
    far = datetime(2095, 5, 6, tzinfo=UTC)
    with monkeypatch.context() as patch:
        patch.setattr(replay, "wall", lambda: far)
        run(tmp_path, "first.ndjson", [*day(DAY, "100000"), poison(far)])
    query = select(WORKER_PROGRESS.c.us, WORKER_PROGRESS.c.read).where(
        WORKER_PROGRESS.c.worker == WORKER
    )
    before = rows(tmp_path, query)
    assert moment(before[0].us).year == far.year
    with pytest.raises(StoreError, match="has reached 2095-05-06T00:00:00Z, but it is 20"):
        run(tmp_path, "second.ndjson", day(DAY + timedelta(days=1), "123456"))
    assert rows(tmp_path, query) == before
