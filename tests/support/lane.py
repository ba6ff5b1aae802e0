"""A live risk unit without servers: its partitions, its backlog, and signed commands."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.audit.rederivation import INTERNAL, MARKET
from riskwatch.contracts.codec import decode, encode
from riskwatch.contracts.outputs import decode_internal, encode_internal
from riskwatch.core.clock import SECOND, micros
from riskwatch.core.events import Command, Credit, Quote
from riskwatch.core.outputs import CommandApplied, CommandRefused, EventRejected, KillSwitchChanged
from riskwatch.core.readings import LedgerMessage, PartitionFault
from riskwatch.engine import bootstrap
from riskwatch.engine.clock import TickGrid
from riskwatch.engine.pipeline import Effects
from riskwatch.engine.runner import Runner
from riskwatch.worker.merge import InboundMessage, PartitionMetadata
from riskwatch.worker.unit import Unit, UnitTiming
from tests.support.people import OPERATORS, command
from tests.support.risk import START
from tests.support.units import Bench

if TYPE_CHECKING:
    from riskwatch.core.events import WireEvent
    from riskwatch.core.outputs import Output

CONFIG: Final = msgspec.structs.replace(bootstrap.configuration(), operators=OPERATORS)
COMMANDS: Final = "riskwatch.commands/0"
CREDIT: Final = "riskwatch.credit/0"
QUOTES: Final = "riskwatch.quotes/0"
READINGS: Final = "riskwatch.readings/0"
STREAMS: Final = (COMMANDS, CREDIT, QUOTES, READINGS)
BEGIN_US: Final = micros(START)


def order(operator: str, action: str, seconds: float, scope: str = "firm", **args: Any) -> Command:
    """Make a signed command, so many seconds after the start."""
    return command(operator, action, seconds / 60, scope, **args)


def price(n: int, seconds: float, last: str = "1.0001", source: str = "feed") -> Quote:
    """Make quote `n` of one feed, so many seconds after the start."""
    return Quote(
        v=1, event_id=f"q{n}", source=source, ts=START + timedelta(seconds=seconds),
        venue="kraken", base="USDC", quote="USD", last=Decimal(last),
    )  # fmt: skip


def news(n: int, seconds: float, kind: str = "insolvency", subject: str = "kraken") -> Credit:
    """Make news of a court."""
    return Credit(
        v=1, event_id=f"n{n}", source="court", ts=START + timedelta(seconds=seconds),
        subject=subject, kind=kind,  # type: ignore[arg-type]
    )  # fmt: skip


def fault(n: int, seconds: float) -> PartitionFault:
    """Make a fault of a ledger worker."""
    return PartitionFault(BEGIN_US + round(seconds * SECOND), "ledger/0", f"f{n}", ["kraken"])


@dataclass
class RiskBench(Bench):
    """A live risk unit on fakes. Messages arrive when they happened, unless a test says when."""

    pace: UnitTiming = field(default_factory=lambda: UnitTiming(batch=100))
    worker: str = "risk"
    now_us: int = BEGIN_US
    sent: dict[str, int] = field(default_factory=dict)

    def made(self) -> Unit:
        """Make a new unit of the risk worker's pipeline on the same store."""
        self.grid = TickGrid(self.tick_s * SECOND)
        self.runner = Runner(
            self.store, bootstrap.risk_pipeline(CONFIG), self.publisher,
            worker=self.worker, holder="test", grid=self.grid,
        )  # fmt: skip
        self.unit = Unit(self.runner, self.book, self.metrics, self.pace, self._mirrored)
        return self.unit

    def begin(self, **ends: int) -> None:
        """Open on all partitions, which end where a test says."""
        found = {
            stream: PartitionMetadata(
                "cluster", 1, 0,
                ends.get(stream.split("/")[0].split(".")[1], self.sent.get(stream, 0)),
            )
            for stream in STREAMS
        }  # fmt: skip
        self.sent |= self.unit.open(found, self.now_us)

    def bring(
        self, stream: str, *facts: WireEvent | LedgerMessage, arrived_s: float | None = None
    ) -> None:
        """Fetch the next messages of a partition."""
        first, made = self.sent.get(stream, 0), []
        for n, fact in enumerate(facts):
            if isinstance(fact, LedgerMessage):
                us, raw = fact.us, encode_internal(fact)
            else:
                us, raw = micros(fact.ts), encode(fact)
            if arrived_s is not None:
                us = BEGIN_US + round(arrived_s * SECOND)
            made.append(InboundMessage(first + n, us, None, raw, ()))
        self.sent[stream] = end = first + len(made)
        self.unit.put(stream, made, end, self.now_us)

    def at(self, seconds: float) -> int:
        """Set the clock, and run one batch."""
        self.now_us = BEGIN_US + round(seconds * SECOND)
        return self.work()

    def catch_up(self) -> None:
        """Run batches until nothing waits."""
        while not self.idle or self.unit._hold.on:
            self.work()

    @property
    def outputs(self) -> list[Output]:
        """Everything that was decided, in order."""
        return [output for _, output in sorted(self.store.outputs.items())]

    @property
    def answers(self) -> list[str]:
        """What came of each command, in order."""
        return [
            o.outcome if isinstance(o, CommandApplied) else o.refusal.value
            for o in self.outputs
            if isinstance(o, CommandApplied | CommandRefused)
        ]

    def switch(self, scope: str) -> list[str]:
        """States of a scope, in order."""
        return [
            o.state.value
            for o in self.outputs
            if isinstance(o, KillSwitchChanged) and o.scope == scope
        ]

    def published(self, topic: str) -> list[str]:
        """Keys of the records of a topic that were published, in order."""
        return [key for _, name, key, _ in self.publisher.lines if name == topic]


def rederived(bench: RiskBench) -> list[Output]:
    """Derive the outputs from the journal alone, in its order."""
    pipeline, effects, out = bootstrap.risk_pipeline(CONFIG), Effects(), list[Any]()
    for _, kind, payload in bench.store.journal.values():
        if kind == MARKET:
            continue
        pipeline.apply(decode_internal(payload) if kind in INTERNAL else decode(payload), effects)
        out += [o for o in effects.outputs if not isinstance(o, EventRejected)]
        effects.outputs.clear()
        effects.inputs.clear()
    return out
