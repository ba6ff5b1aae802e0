"""Deriving decisions again from SQL alone: the journal, under the configurations it ran with.

The journal is applied from its first entry, as it was; the rows of the stages are handed over
where a worker began with another configuration. What comes out must be what is stored, byte
for byte.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, get_args

from sqlalchemy import func, select

from riskwatch.contracts.codec import decode, stamp
from riskwatch.contracts.outputs import (
    Internal,
    decode_internal,
    decode_output,
    encode_output,
)
from riskwatch.contracts.refusal import Refusal
from riskwatch.contracts.shapes import tag_of
from riskwatch.core.events import LEDGER_EVENTS, Tick
from riskwatch.core.outputs import ConfigurationChanged, EventRejected, Output
from riskwatch.errors import StoreError
from riskwatch.shell import bootstrap
from riskwatch.shell.configured import restored
from riskwatch.shell.pipeline import Effects
from riskwatch.store.audit import AUDIT_CHAIN
from riskwatch.store.truth import RISK_JOURNAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

    from riskwatch.shell.config import Config
    from riskwatch.shell.pipeline import Pipeline

INTERNAL: Final = {tag_of(kind): kind for kind in get_args(Internal)}
TICK: Final = tag_of(Tick)
MARKET: Final = "market"
"""What the market stage said: a replay says it by itself."""
_LEDGER: Final = frozenset(tag_of(kind) for kind in LEDGER_EVENTS)
_FETCH: Final = 2_000
FIRST: Final = 1
"""Place of the first entry of a journal."""
_J: Final = RISK_JOURNAL.c


class JournalGoneError(StoreError):
    """The beginning of the journal is not kept any more: nothing can be derived from it."""


@dataclass(slots=True)
class Rederivation:
    """Replays the journal of one worker.

    Parameters
    ----------
    conn : Connection
        See :func:`riskwatch.store.queries.reading`.
    worker : str
        Whose journal.

    Attributes
    ----------
    read : int
        Entries that were applied so far.
    """

    conn: Connection
    worker: str
    read: int = 0
    _effects: Effects = field(default_factory=Effects)
    _rows: dict[str, dict[str, bytes]] = field(default_factory=dict)
    _heard: dict[str, int] = field(default_factory=dict)

    def outputs(self) -> Iterator[Output]:
        """Everything that the journal brings about, in order.

        Raises
        ------
        JournalGoneError
            If the journal does not begin at its beginning, or has a hole.
        StoreError
            If the configuration that it ran with is not recorded.
        """
        configs = self._configurations()
        whole = self._keeps_events()
        pipeline = _pipeline(configs.pop(0)[1], whole=whole)
        query = select(_J.seq, _J.us, _J.kind, _J.payload).where(_J.worker == self.worker)
        query = query.order_by(_J.seq).execution_options(yield_per=_FETCH)
        found = self.conn.execute(query)
        for at, (seq, us, kind, payload) in enumerate(found, start=FIRST):
            if seq != at:
                raise JournalGoneError(f"{self.worker}: the journal has no entry {at} any more")
            while configs and configs[0][0] <= seq:
                pipeline = self._handed_over(pipeline, configs.pop(0)[1], whole=whole)
            self.read += 1
            if kind == MARKET or (whole and kind in INTERNAL and kind != TICK):
                continue
            fact = _fact(kind, bytes(payload))
            if kind != TICK:
                self._heard |= dict.fromkeys(_subjects(fact), us)
            pipeline.apply(fact, self._effects)
            for output in self._effects.outputs:
                if isinstance(output, Output) and not isinstance(output, EventRejected):
                    yield output
            self._effects.outputs.clear()
            self._effects.inputs.clear()

    def heard(self, scope: str) -> int | None:
        """Event time of the last input about a scope so far, microseconds."""
        if scope == "firm":
            return max(self._heard.values(), default=None)
        return self._heard.get(scope.partition(":")[2])

    def _configurations(self) -> list[tuple[int, Config]]:
        """Configurations by the place in the journal from which on they counted."""
        first, entries = self.conn.execute(
            select(func.min(_J.seq), func.count()).where(_J.worker == self.worker)
        ).one()
        if not entries:
            raise JournalGoneError(f"{self.worker}: there is no journal")
        if first != FIRST:
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
            found.append((output.journal, restored(output)))
        if not found or found[0][0] > FIRST:
            raise StoreError(
                f"{self.worker}: the journal began before configurations were recorded, so it is "
                "not known under which one"
            )
        return found

    def _handed_over(self, old: Pipeline, config: Config, *, whole: bool) -> Pipeline:
        """Give the rows of the stages to stages of another configuration, as a restart does."""
        for stage, changes in old.drain().items():
            kept = self._rows.setdefault(stage, {})
            for key, body in changes.items():
                if body is None:
                    kept.pop(key, None)
                else:
                    kept[key] = body
        new = _pipeline(config, whole=whole)
        new.load({stage: dict(sorted(rows.items())) for stage, rows in self._rows.items()})
        return new

    def _keeps_events(self) -> bool:
        """Whether the journal holds the ledger's events too: then the ledger runs as well."""
        query = select(_J.kind).where(_J.worker == self.worker, _J.kind.in_(_LEDGER)).limit(1)
        return self.conn.execute(query).first() is not None


def rederived(conn: Connection, worker: str, output_id: str) -> tuple[bytes | None, int]:
    """Derive one output again.

    Returns
    -------
    tuple
        Its bytes, ``None`` if the journal does not bring it about, and how many entries of the
        journal it took.

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


def _pipeline(config: Config, *, whole: bool) -> Pipeline:
    return bootstrap.pipeline(config) if whole else bootstrap.risk_pipeline(config)


def _fact(kind: str, payload: bytes) -> Any:
    if kind in INTERNAL:
        return decode_internal(payload)
    event = decode(payload)
    if isinstance(event, Refusal):
        raise StoreError(f"an entry of the journal cannot be read: {event.detail}")
    return stamp(event, event.ts)


def _subjects(fact: Any) -> list[str]:
    """Names that an input is about, as scopes spell them."""
    found = [
        getattr(fact, name)
        for name in ("asset", "base", "quote", "venue", "subject", "counterparty", "book")
        if getattr(fact, name, None)
    ]
    venue, asset = getattr(fact, "venue", None), getattr(fact, "base", None)
    return [*found, f"{venue}/{asset}"] if venue and asset else found
