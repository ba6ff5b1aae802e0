"""Tables of the scoreboard: results and verdicts of each run of ``riskwatch bench``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, Table, Text, func, select

from riskwatch.store.types import METADATA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Engine

SCOREBOARD_RUN: Final = Table(
    "scoreboard_run",
    METADATA,
    Column("run", BigInteger, primary_key=True, autoincrement=False),
    Column("engine", Text, nullable=False),
    Column("config", Text, nullable=False),
    Column("cases", Integer, nullable=False),
    Column("trials", Integer, nullable=False),
)

SCOREBOARD_RESULT: Final = Table(
    "scoreboard_result",
    METADATA,
    Column("run", BigInteger, primary_key=True, autoincrement=False),
    Column("episode", Text, primary_key=True),
    Column("seed", Integer, primary_key=True, autoincrement=False),
    Column("contender", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("generation", Text, nullable=False),
    Column("watch_s", Double, nullable=True),
    Column("reduce_s", Double, nullable=True),
    Column("halt_s", Double, nullable=True),
    Column("false_watch", Integer, nullable=False),
    Column("false_reduce", Integer, nullable=False),
    Column("false_halt", Integer, nullable=False),
    Column("entity_months", Double, nullable=False),
    Column("cause", Text, nullable=False),
    Column("cause_right", Boolean, nullable=True),
    Column("exposed_usd", Double, nullable=True),
    Column("normal_s", Double, nullable=True),
    Column("latched", Boolean, nullable=False),
    Column("event", Integer, primary_key=True, autoincrement=False),
)

SCOREBOARD_PROBABILITY: Final = Table(
    "scoreboard_probability",
    METADATA,
    Column("run", BigInteger, primary_key=True, autoincrement=False),
    Column("episode", Text, primary_key=True),
    Column("seed", Integer, primary_key=True, autoincrement=False),
    Column("scope", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("generation", Text, primary_key=True),
    Column("samples", Integer, nullable=False),
    Column("positives", Integer, nullable=False),
    Column("events", Integer, nullable=False),
    Column("average_precision", Double, nullable=True),
    Column("deviation_precision", Double, nullable=True),
    Column("log_loss", Double, nullable=False),
    Column("brier", Double, nullable=False),
    Column("climatology", Double, nullable=False),
    Column("high", Integer, nullable=False),
    Column("high_said", Double, nullable=True),
    Column("high_rate", Double, nullable=True),
)

SCOREBOARD_CRITERION: Final = Table(
    "scoreboard_criterion",
    METADATA,
    Column("run", BigInteger, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("criterion", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("said", Text, nullable=False),
)

Row = dict[str, Any]


def write_run(
    engine: Engine,
    run: Row,
    results: Sequence[Row],
    probabilities: Sequence[Row],
    criteria: Sequence[Row],
) -> int:
    """Write one run of the scoreboard in one transaction; return its number.

    Parameters
    ----------
    engine : Engine
        A database of this build's schema.
    run, results, probabilities, criteria
        Rows by column, without the number of the run.
    """
    with engine.begin() as conn:
        last = conn.execute(select(func.max(SCOREBOARD_RUN.c.run))).scalar_one()
        number = (last or 0) + 1
        for table, rows in (
            (SCOREBOARD_RUN, [run]),
            (SCOREBOARD_RESULT, results),
            (SCOREBOARD_PROBABILITY, probabilities),
            (SCOREBOARD_CRITERION, criteria),
        ):
            if rows:
                conn.execute(table.insert(), [{**row, "run": number} for row in rows])
    return number
