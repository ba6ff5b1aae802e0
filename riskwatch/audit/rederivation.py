"""The re-derivation of decisions from SQL alone: a replay of the journal with its configurations.

The replay applies the journal from its first entry or from a checkpoint of it. Where a worker
began with another configuration, new stages take over the state rows. The outputs must equal the
stored ones, byte for byte, as far as this engine applied the journal. Decisions of another engine
are not derived again, because its rules may differ.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, get_args

from sqlalchemy import func, select

from riskwatch.config.recorder import recorded_deployment, restore_config
from riskwatch.contracts.codec import decode, stamp_arrival, tag_of
from riskwatch.contracts.outputs import (
    Internal,
    decode_internal,
    decode_output,
    encode_output,
)
from riskwatch.contracts.refusal import Refusal
from riskwatch.core.clock import DAY
from riskwatch.core.events import LEDGER_EVENTS, Tick
from riskwatch.core.outputs import ConfigurationChanged, EventRejected, ExposureChanged, Output
from riskwatch.core.risk.reports import value_holdings
from riskwatch.core.risk.state import RiskState
from riskwatch.core.scopes import FIRM, parse
from riskwatch.engine import bootstrap
from riskwatch.engine.pipeline import Effects
from riskwatch.errors import StoreError
from riskwatch.store.audit import AUDIT_CHAIN, BEYOND, Stretch, stretches
from riskwatch.store.checkpoints import checkpoint_rows
from riskwatch.store.truth import RISK_JOURNAL
from riskwatch.version import ENGINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

    from riskwatch.config.config import Config
    from riskwatch.engine.pipeline import Pipeline
    from riskwatch.store.checkpoints import Checkpoint

INTERNAL: Final = {tag_of(kind): kind for kind in get_args(Internal)}
TICK: Final = tag_of(Tick)
MARKET: Final = "market"
"""Tag of readings of the market stage; a replay makes them itself."""
_LEDGER: Final = frozenset(tag_of(kind) for kind in LEDGER_EVENTS)
_FETCH: Final = 2_000
FIRST: Final = 1
"""Sequence number of the first entry of a journal."""
_J: Final = RISK_JOURNAL.c


class JournalGoneError(StoreError):
    """The beginning of the journal is gone, so nothing can be derived from it."""


@dataclass(slots=True)
class Rederivation:
    """Replays the journal of one worker.

    Parameters
    ----------
    conn : Connection
        See :func:`riskwatch.store.queries.open_reader`.
    worker : str
        Name of the worker.
    start : Checkpoint, optional
        Checkpoint to begin from, instead of the first entry.
    new_day : callable, optional
        Called before the first entry of each day of event time, with the sequence number of the
        entry before it and the event time reached, microseconds.
    last : int
        Last entry to apply; by default the last one that exists.
    config : Config, optional
        Configuration to use all the way, instead of the recorded ones: what would have been.

    Attributes
    ----------
    read : int
        Number of entries that were applied.
    reached : tuple of int
        Sequence number of the last applied entry, and the event time reached, microseconds.
    """

    conn: Connection
    worker: str
    start: Checkpoint | None = None
    new_day: Callable[[int, int], None] | None = None
    last: int = BEYOND
    config: Config | None = None
    read: int = 0
    reached: tuple[int, int] = (0, 0)
    _pipeline: Pipeline | None = None
    _effects: Effects = field(default_factory=Effects)
    _rows: dict[str, dict[str, bytes]] = field(default_factory=dict)
    _input_us: dict[str, int] = field(default_factory=dict)

    def outputs(self) -> Iterator[Output]:
        """Yield the outputs of the journal, in order.

        Raises
        ------
        JournalGoneError
            If the first entries of the journal are gone, or it has a gap.
        StoreError
            If the configuration of the journal is not recorded.
        """
        configs = self._configurations()
        whole = self.keeps_events()
        pipeline = self._pipeline = self._fresh(configs.pop(0), whole=whole)
        if self.start is not None:
            self.reached = (self.start.journal, self.start.us)
            self._rows = checkpoint_rows(self.conn, self.start)
            pipeline.load(self.rows())
        for seq, us, kind, payload in self._entries():
            # The checkpoint of the first entry exists already.
            reached = self.reached[1]
            if self.new_day is not None and seq > self._first and reached // DAY < us // DAY:
                self.new_day(seq - 1, reached)
            self.reached = (seq, max(reached, us))
            while configs and configs[0].journal <= seq:
                record = configs.pop(0)
                if self.config is None:
                    pipeline = self._restart(record, whole=whole)
            self.read += 1
            if kind == MARKET or (whole and kind in INTERNAL and kind != TICK):
                continue
            fact = _fact(kind, bytes(payload))
            if kind != TICK:
                self._input_us |= dict.fromkeys(_subjects(fact), us)
            pipeline.apply(fact, self._effects)
            for output in self._effects.outputs:
                if isinstance(output, Output) and not isinstance(output, EventRejected):
                    yield output
            self._effects.outputs.clear()
            self._effects.inputs.clear()

    def rows(self) -> dict[str, dict[str, bytes]]:
        """Return the present rows of the stages, by stage and key."""
        assert self._pipeline is not None, "it has begun"
        for stage, changes in self._pipeline.drain().items():
            rows = self._rows.setdefault(stage, {})
            for key, body in changes.items():
                if body is None:
                    rows.pop(key, None)
                else:
                    rows[key] = body
        return {stage: dict(sorted(rows.items())) for stage, rows in self._rows.items()}

    def holdings(self) -> list[ExposureChanged]:
        """Return every holding, valued at the prices of the last applied entry."""
        assert self._pipeline is not None, "it has begun"
        (state,) = (s.state for s in self._pipeline.slots if isinstance(s.state, RiskState))
        return list(value_holdings(state, self.reached[1]))

    def last_input_us(self, scope: str) -> int | None:
        """Return the event time of the last input about a scope, microseconds."""
        at = parse(scope)
        if at.kind == FIRM:
            return max(self._input_us.values(), default=None)
        return self._input_us.get(f"{at.name}/{at.asset}" if at.asset else at.name)

    def _entries(self) -> Iterator[tuple[int, int, str, bytes]]:
        """Yield sequence number, event time, kind and bytes of each entry; raise at a gap."""
        query = select(_J.seq, _J.us, _J.kind, _J.payload)
        query = query.where(_J.worker == self.worker, _J.seq.between(self._first, self.last))
        query = query.order_by(_J.seq).execution_options(yield_per=_FETCH)
        # The caller may stop before the end; the cursor must not stay open.
        with self.conn.execute(query) as found:
            for at, (seq, us, kind, payload) in enumerate(found, start=self._first):
                if seq != at:
                    raise JournalGoneError(f"{self.worker}: the journal has no entry {at} any more")
                yield seq, us, kind, payload

    @property
    def _first(self) -> int:
        """Sequence number of the first entry to apply."""
        return FIRST if self.start is None else self.start.journal + 1

    def _configurations(self) -> list[ConfigurationChanged]:
        """Return the recorded configurations of the journal, in order."""
        least = select(func.min(_J.seq)).where(_J.worker == self.worker)
        first = self.conn.execute(least).scalar_one()
        if first is None:
            raise JournalGoneError(f"{self.worker}: there is no journal")
        if first > self._first:
            raise JournalGoneError(
                f"{self.worker}: the journal begins at entry {first}; what was before is archived"
            )
        c = AUDIT_CHAIN.c
        rows = self.conn.execute(
            select(c.payload)
            .where(c.worker == self.worker, c.kind == ConfigurationChanged.__name__)
            .order_by(c.seq)
        ).scalars()
        found = []
        for payload in rows:
            output = decode_output(payload.encode())
            assert isinstance(output, ConfigurationChanged), "the kind was asked for"
            found.append(output)
        if not found or found[0].journal > FIRST:
            raise StoreError(
                f"{self.worker}: the journal began before configurations were recorded, so it is "
                "not known under which one"
            )
        while len(found) > 1 and found[1].journal <= self._first:
            del found[0]
        return found

    def _fresh(self, record: ConfigurationChanged, *, whole: bool) -> Pipeline:
        """Return new stages with a recorded configuration and its deployment."""
        config = restore_config(record) if self.config is None else self.config
        deployment = recorded_deployment(record, self.worker)
        make = bootstrap.pipeline if whole else bootstrap.risk_pipeline
        return make(config, deployment=deployment)

    def _restart(self, record: ConfigurationChanged, *, whole: bool) -> Pipeline:
        """Load the rows into new stages with another configuration, as a restart does.

        Stages of this build wrote these rows, so they have its format already. Only a checkpoint
        has rows of an older format, and it migrates them.
        """
        rows = self.rows()
        new = self._pipeline = self._fresh(record, whole=whole)
        new.load(rows)
        return new

    def keeps_events(self) -> bool:
        """Whether the journal holds the events of the ledger, so that the ledger runs, too."""
        if self.start is not None:
            return self.start.events
        query = select(_J.kind).where(_J.worker == self.worker, _J.kind.in_(_LEDGER)).limit(1)
        return self.conn.execute(query).first() is not None


def foreign(conn: Connection, worker: str, stretch: Stretch) -> str:
    """Return why this engine cannot derive a stretch from the first entry; empty if it can."""
    if stretch.engine != ENGINE:
        return f"engine {stretch.engine} applied the journal there, this is {ENGINE}"
    others = [each for each in stretches(conn, worker) if each.first < stretch.first]
    if not others:
        return ""
    return (
        f"engine {others[-1].engine} applied the journal up to entry {others[-1].last:,}, this is "
        f"{ENGINE}, and there is no checkpoint at that entry"
    )


def has_first_entry(conn: Connection, worker: str) -> bool:
    """Whether the journal of a worker still has its first entry."""
    query = select(_J.seq).where(_J.worker == worker, _J.seq == FIRST)
    return conn.execute(query).first() is not None


def rederive_output(conn: Connection, worker: str, output_id: str) -> tuple[bytes | None, int]:
    """Derive one output again.

    Returns
    -------
    tuple
        The bytes of the output, ``None`` if the journal does not give it, and the number of
        entries that were applied.

    Raises
    ------
    JournalGoneError, StoreError
        See :meth:`Rederivation.outputs`.
    """
    replay = Rederivation(conn, worker)
    for output in replay.outputs():
        if output.id == output_id:
            return encode_output(output), replay.read
    return None, replay.read


def _fact(kind: str, payload: bytes) -> Any:
    if kind in INTERNAL:
        return decode_internal(payload)
    event = decode(payload)
    if isinstance(event, Refusal):
        raise StoreError(f"an entry of the journal cannot be read: {event.detail}")
    return stamp_arrival(event, event.ts)


def _subjects(fact: Any) -> list[str]:
    """Return the names that an input is about, as scopes spell them."""
    found = [
        getattr(fact, name)
        for name in ("asset", "base", "quote", "venue", "subject", "counterparty", "book")
        if getattr(fact, name, None)
    ]
    venue, asset = getattr(fact, "venue", None), getattr(fact, "base", None)
    return [*found, f"{venue}/{asset}"] if venue and asset else found
