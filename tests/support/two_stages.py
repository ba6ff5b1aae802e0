"""A ledger and a risk stage in one process, driven by facts and commands at given seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from riskwatch.core.clock import micros
from riskwatch.core.events import Command, Tick
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.readings import CounterpartyReading, MarketReading
from tests.support.facts import at, run
from tests.support.people import command, people
from tests.support.risk import ZERO_US, asset, bitcoin

if TYPE_CHECKING:
    from riskwatch.core.events import LedgerEvent
    from riskwatch.core.outputs import Output
    from riskwatch.core.readings import AssetReading
    from riskwatch.core.rules import RulePack
    from riskwatch.core.stage import StageState
    from tests.support.risk import Desk


def minutes(seconds: float) -> float:
    """Minutes after the start of the risk stage, of seconds after the start of facts."""
    return (micros(at(seconds)) - ZERO_US) / 60_000_000


class TwoStages:
    """Both stages. With `reload`, each turn begins with states that are loaded from their rows."""

    def __init__(self, rules: RulePack | None = None, *, reload: bool = False) -> None:
        self.desk: Desk = people() if rules is None else people(rules)
        self.ledger = LedgerState()
        self.out: list[Output] = []
        self._stage = LedgerStage()
        self._reload = reload
        self._rows: tuple[dict[str, bytes], dict[str, bytes]] = ({}, {})

    def turn(self, seconds: float, *events: LedgerEvent | Command | AssetReading) -> list[Output]:
        """Apply facts, commands and prices, then a tick; return the outputs of the risk stage."""
        if self._reload:
            self._restart()
        prices = [e for e in events if not isinstance(e, Command) and hasattr(e, "price_usd")]
        made: list[Output] = []
        us = micros(at(seconds))
        if prices:
            made += self.desk.tell(MarketReading(us, prices, []))  # type: ignore[arg-type]
        made += [o for e in events if isinstance(e, Command) for o in self.desk.tell(e)]
        facts: list[Any] = [e for e in events if hasattr(e, "counterparty")]
        readings = run([*facts, Tick(us)], self.ledger, self._stage)
        made += [
            o
            for reading in readings
            if isinstance(reading, CounterpartyReading)
            for o in self.desk.tell(reading)
        ]
        made += self.desk.tell(Tick(us))
        self.out += made
        return made

    def _restart(self) -> None:
        """Drain both states into rows, and load new states from them."""
        states: tuple[StageState, StageState] = (self.ledger, self.desk.state)
        for rows, state in zip(self._rows, states, strict=True):
            for key, row in state.drain().items():
                if row is None:
                    rows.pop(key, None)
                else:
                    rows[key] = row
        self.ledger, self.desk.state = LedgerState(), self.desk.stage.fresh()
        self.ledger.load(dict(self._rows[0]))
        self.desk.state.load(dict(self._rows[1]))


def prices(btc: float = 20_000.0, seen: int = 1, **fields: Any) -> tuple[AssetReading, ...]:
    """Prices of BTC and of two coins at par."""
    return (
        bitcoin(btc, seen=seen, **fields),
        asset("USDC", seen=seen),
        asset("USDT", seen=seen),
    )


def order_of(operator: str, action: str, seconds: float, scope: str, **args: Any) -> Command:
    """Return a signed command at seconds after the start of facts."""
    return command(operator, action, minutes(seconds), scope, **args)
