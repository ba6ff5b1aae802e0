"""A trial of imported events: the ledger applies them, and says what is held afterwards."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import micros
from riskwatch.core.events import LEDGER_EVENTS, Balance, Tick
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.money import ZERO, add, canonical
from riskwatch.core.names import ASSET_NAME, PARTY_NAME, NameTable, canonical_name
from riskwatch.core.outputs import EventRejected
from riskwatch.feeds.shape import CLOSING

if TYPE_CHECKING:
    from decimal import Decimal

    from riskwatch.core.events import Event

TICK_EVENTS: Final = 4_096
"""Events between two ticks, after which the ledger forgets what it has reported."""


class LedgerTrial:
    """What the ledger makes of the events of a file.

    The balances that a file states at its end are left out. So what remains is the sum of its
    entries, which can be compared with them.

    Attributes
    ----------
    refusals : Counter of str
        Events that the ledger refused, by reason.
    """

    def __init__(self) -> None:
        self.refusals: Counter[str] = Counter()
        self._stage, self._state = LedgerStage(), LedgerState()
        self._names: dict[tuple[str, str], int] = {}
        self._count = 0

    def add(self, event: Event) -> None:
        """Apply an event; events of the market are only looked at for names."""
        us = micros(event.ts)
        for field in ("asset", "base", "quote", "fee_asset", "to_asset"):
            if getattr(event, field, None):
                self._names[(ASSET_NAME, getattr(event, field))] = us
        for field in ("counterparty", "venue"):
            if getattr(event, field, None):
                self._names[(PARTY_NAME, getattr(event, field))] = us
        if not isinstance(event, LEDGER_EVENTS) or self._is_closing(event):
            return
        outputs = self._stage.step(self._state, event)
        self.refusals.update(str(o.reason) for o in outputs if isinstance(o, EventRejected))
        self._count += 1
        if self._count % TICK_EVENTS == 0:
            self._stage.step(self._state, Tick(us))

    @staticmethod
    def _is_closing(event: Event) -> bool:
        """Whether it is a balance that a file states after its entries."""
        return isinstance(event, Balance) and event.event_id.endswith(CLOSING)

    def balances(self) -> dict[tuple[str, str, str], Decimal]:
        """Return what is held, by account, wallet and asset; assets that were touched alone."""
        found: dict[tuple[str, str, str], Decimal] = {}
        for party in self._state.parties.values():
            for (_, account, wallet, asset, _), holding in party.cells.items():
                key = (account, wallet, asset)
                found[key] = canonical(add(found.get(key, ZERO), holding.amount()))
        return found

    def positions(self) -> dict[tuple[str, str], Decimal]:
        """Return the open positions, by account and instrument."""
        found: dict[tuple[str, str], Decimal] = {}
        for party in self._state.parties.values():
            for (_, account, _, _, instrument), holding in party.positions.items():
                key = (account, instrument)
                found[key] = add(found.get(key, ZERO), holding.amount())
        return found

    def unlisted(self, names: NameTable, venue: str) -> list[tuple[str, str]]:
        """Return kind and spelling of the names that reference data does not list."""
        return sorted(
            key
            for key, us in self._names.items()
            if not canonical_name(names, key[0], venue or None, key[1], us).listed
        )
