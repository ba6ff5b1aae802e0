"""The scoreboard in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, text

from riskwatch.bench.scoreboard import Scoreboard
from riskwatch.bench.trial import ENSEMBLE
from riskwatch.core.clock import DAY, MINUTE
from riskwatch.core.enums import State
from riskwatch.store.scoreboard import SCOREBOARD_RESULT, write_run
from tests.unit.bench.samples import ONSET, case, change, fact, trial

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

RUN = {"engine": "test", "config": "", "cases": 1, "trials": 1}
TWICE = case(fact(over=ONSET + DAY), fact(onset=ONSET + 10 * DAY))


def test_two_events_of_one_scope_are_two_rows(engine: Engine) -> None:
    """A recording with two events of one scope has two rows of results."""
    made = [
        change(ONSET + MINUTE, State.NORMAL, State.WATCH),
        change(ONSET + DAY, State.WATCH, State.NORMAL),
    ]
    board = Scoreboard.of([trial(TWICE, made)])
    write_run(engine, RUN, board.results(), board.judgements(), board.verdicts())
    c = SCOREBOARD_RESULT.c
    with engine.connect() as conn:
        query = select(c.event, c.watch_s).where(c.contender == ENSEMBLE).order_by(c.event)
        assert conn.execute(query).all() == [(0, 60.0), (1, None)]
        view = text("SELECT event, watch_s FROM scoreboard WHERE contender = :who ORDER BY event")
        assert conn.execute(view, {"who": ENSEMBLE}).all() == [(0, 60.0), (1, None)]
    shown = [row for row in board.table() if row["contender"] == ENSEMBLE]
    assert [(row["onset"], row["WATCH"]) for row in shown] == [
        ("1970-01-01", "+1"),
        ("1970-01-11", "never"),
    ]
