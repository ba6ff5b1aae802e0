"""Reads the current state from the tables, as the outputs that produced it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import select

from riskwatch.contracts.outputs import encode_output
from riskwatch.core.enums import Cause, Quality, State
from riskwatch.core.outputs import (
    AssetValued,
    CounterpartyAssessed,
    ExposureChanged,
    KillSwitchChanged,
    LimitMeasured,
    PositionChanged,
    ScoreUpdated,
    Unwind,
)
from riskwatch.errors import FencedError
from riskwatch.store import projections as t
from riskwatch.store.batch import OutboxRecord
from riskwatch.store.engine import translate_errors
from riskwatch.store.truth import LEASE, WORKER_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Table
    from sqlalchemy.engine import Connection, Engine

    from riskwatch.core.outputs import Output

_TABLES: Final[tuple[tuple[Table, type[Output]], ...]] = (
    (t.EXPOSURE, ExposureChanged),
    (t.POSITION, PositionChanged),
    (t.ASSET_VALUE, AssetValued),
    (t.SCORE, ScoreUpdated),
    (t.COUNTERPARTY_ASSESSMENT, CounterpartyAssessed),
    (t.LIMIT_STATE, LimitMeasured),
)
_RENAMED: Final = {"output_id": "id", "limit_id": "limit"}
_ENUMS: Final[dict[str, Any]] = {
    "state": State, "effective": State, "quality": Quality, "cause": Cause,
}  # fmt: skip

_UNWIND: Final = ("unwind_max_usd", "unwind_max_slip_bp", "unwind_until")


@dataclass(frozen=True, slots=True)
class CurrentState:
    """Content of the tables at one moment, as records.

    Attributes
    ----------
    seq : int
        Sequence number of the worker's last output before that moment; every record has it.
    records : list of OutboxRecord
        One record per row, as on its topic except for two things that tables do not keep:
        trailing zeros of amounts, and `cause_id`, which is empty (for switches the history keeps
        it).
    """

    seq: int
    records: list[OutboxRecord]


def read_current_state(engine: Engine, worker: str, epoch: int) -> CurrentState:
    """Read the current state in one database snapshot.

    Parameters
    ----------
    engine : Engine
        From :func:`riskwatch.store.engine.open_engine`.
    worker : str
        Worker that publishes these outputs.
    epoch : int
        Epoch of its lease.

    Raises
    ------
    FencedError
        If the lease has another epoch: only its holder may publish the current state.
    StoreUnavailableError
        If the database does not answer.
    """
    with (
        translate_errors(f"{worker}: what is current cannot be read"),
        engine.connect() as connection,
    ):
        # All tables must be read at one moment. On SQLite every transaction does so.
        sqlite = engine.dialect.name == "sqlite"
        conn = (
            connection
            if sqlite
            else connection.execution_options(isolation_level="REPEATABLE READ")
        )
        held = conn.execute(select(LEASE.c.epoch).where(LEASE.c.worker == worker)).scalar()
        if held != epoch:
            raise FencedError(f"{worker}: epoch {epoch} is over, the lease has {held}")
        p = WORKER_PROGRESS.c
        next_seq = conn.execute(select(p.next_seq).where(p.worker == worker)).scalar()
        seq = 0 if next_seq is None else next_seq - 1
        outputs = [*_switches(conn), *_others(conn)]
    return CurrentState(
        seq, [OutboxRecord(seq, str(o.topic), o.key(), encode_output(o), o.ts) for o in outputs]
    )


def _switches(conn: Connection) -> Iterator[Output]:
    """Yield the switches, with the fields that only their history keeps."""
    now, history = t.KILLSWITCH, t.KILLSWITCH_HISTORY.c
    query = select(now, history.cause_id, history.engine).join_from(
        now, t.KILLSWITCH_HISTORY, history.id == now.c.output_id
    )
    for row in conn.execute(query).mappings():
        fields = dict(row)
        most, slip, until = (fields.pop(c.name) for c in now.columns if c.name in _UNWIND)
        fields["unwind"] = None if until is None else Unwind(most, slip, until)
        yield _output(KillSwitchChanged, fields)


def _others(conn: Connection) -> Iterator[Output]:
    for table, kind in _TABLES:
        for row in conn.execute(select(table)).mappings():
            yield _output(kind, {**row, "cause_id": ""})


def _output(kind: type[Output], row: Any) -> Output:
    fields = {_RENAMED.get(name, name): value for name, value in row.items()}
    for field in msgspec.structs.fields(kind):
        # What an output leaves out is an empty text or NULL in its table; zero is a number.
        if field.default is msgspec.UNSET and fields.get(field.name) in (None, ""):
            fields[field.name] = msgspec.UNSET
    return kind(**{n: _ENUMS[n](v) if n in _ENUMS else v for n, v in fields.items()})
