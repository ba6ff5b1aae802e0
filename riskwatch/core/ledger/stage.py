"""The ledger stage: applies one fact or tick, and returns the outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from riskwatch.core.clock import micros
from riskwatch.core.events import (
    Balance,
    Fill,
    FillCorrection,
    LedgerEvent,
    Loan,
    OpenOrder,
    Position,
    Settlement,
    Tick,
    Transfer,
)
from riskwatch.core.ledger.config import LedgerConfig
from riskwatch.core.ledger.fills import apply_bust, apply_fill, apply_settlement
from riskwatch.core.ledger.movements import apply_transfer
from riskwatch.core.ledger.outputs import (
    FactRefusedError,
    LedgerOutput,
    LedgerParameters,
    event_rejected,
    limit_reached,
)
from riskwatch.core.ledger.party import LedgerParty
from riskwatch.core.ledger.report import report_tick
from riskwatch.core.ledger.snapshots import (
    apply_balance,
    apply_loan,
    apply_order,
    apply_position,
)

if TYPE_CHECKING:
    from riskwatch.core.ledger.state import LedgerState

Handler = Callable[[LedgerParameters, LedgerParty, Any, int], list[LedgerOutput]]

_HANDLERS: dict[type, Handler] = {
    Fill: apply_fill,
    FillCorrection: apply_bust,
    Settlement: apply_settlement,
    Balance: apply_balance,
    Position: apply_position,
    Transfer: apply_transfer,
    OpenOrder: apply_order,
    Loan: apply_loan,
}


class LedgerStage:
    """Computes exact holdings and flow features from fills, balances and transfers.

    Events must have been checked at the boundary (:mod:`riskwatch.core.events`) and must not
    repeat; the runner ensures both. Two things are *not* guaranteed. A snapshot that is more than
    `late_window_s` behind its counterparty's newest fact is not applied exactly: it is refused,
    with the reason. Facts about a transfer or trade that was finished more than
    `transfer_retention_s` ago are not recognised.

    Parameters
    ----------
    config : LedgerConfig, optional
        Windows, tolerances and limits.
    live : bool
        Whether the time is that of the clock, so that a fact may be old when it arrives.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from decimal import Decimal
    >>> from riskwatch.core.ledger.state import LedgerState
    >>> stage, state = LedgerStage(), LedgerState()
    >>> fill = Fill(v=1, event_id="1", ts=datetime(2023, 3, 11, tzinfo=UTC), source="kraken",
    ...             counterparty="kraken", account="main", book="mm", base="BTC", quote="USD",
    ...             side="buy", qty=Decimal("0.5"), price=Decimal("20000.10"))
    >>> stage.step(state, fill)
    []
    >>> [reading] = stage.step(state, Tick(us=micros(fill.ts)))
    >>> [(h.asset, h.component, str(h.amount)) for h in reading.holdings]
    [('BTC', 'custody', '0.5'), ('USD', 'custody', '-10000.05')]
    """

    name = "ledger"

    def __init__(self, config: LedgerConfig | None = None, *, live: bool = False) -> None:
        self.config = config or LedgerConfig()
        self._parameters = LedgerParameters(self.config, live=live)

    def step(self, state: LedgerState, event: LedgerEvent | Tick) -> list[LedgerOutput]:
        """Apply one event.

        Parameters
        ----------
        state : LedgerState
            Changed in place.
        event : LedgerEvent or Tick
            A fact, or a tick of event time.

        Returns
        -------
        list
            For a fact, its rejection or the end of an issue. For a tick, trades that became
            overdue, reconciliation breaks, and a reading of each changed counterparty, by name.
        """
        if isinstance(event, Tick):
            return report_tick(self._parameters, state, event.us)
        name = event.counterparty
        try:
            party = state.parties.get(name)
            if party is None:
                party = self._open(state, name)
            return _HANDLERS[type(event)](self._parameters, party, event, micros(event.ts))
        except FactRefusedError as refusal:
            return [event_rejected(event, refusal)]

    def _open(self, state: LedgerState, name: str) -> LedgerParty:
        if len(state.parties) >= self.config.max_counterparties:
            raise limit_reached("max_counterparties", self.config.max_counterparties)
        return state.party(name)
