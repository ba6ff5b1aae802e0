"""The ledger stage: applies one fact or tick, and returns the outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from riskwatch.core.clock import micros
from riskwatch.core.enums import RejectReason
from riskwatch.core.events import (
    AccountSnapshot,
    Adjustment,
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
from riskwatch.core.ledger.adjustments import apply_adjustment
from riskwatch.core.ledger.config import SOURCE_SHARE, LedgerConfig
from riskwatch.core.ledger.corrections import apply_correction
from riskwatch.core.ledger.fills import apply_fill, apply_settlement, tell_executions
from riskwatch.core.ledger.movements import apply_transfer
from riskwatch.core.ledger.outputs import (
    NOTHING_LISTED,
    FactRefusedError,
    LedgerOutput,
    LedgerParameters,
    event_rejected,
    fact_too_late,
    limit_reached,
    no_room,
)
from riskwatch.core.ledger.party import LedgerParty
from riskwatch.core.ledger.report import report_tick
from riskwatch.core.ledger.snapshots import (
    apply_account_snapshot,
    apply_balance,
    apply_loan,
    apply_order,
    apply_position,
)

if TYPE_CHECKING:
    from riskwatch.core.ledger.state import LedgerState
    from riskwatch.core.reference import Reference

NAMED_WRITERS: Final = 64
"""Number of sources that issues name; others are told of together."""
Handler = Callable[[LedgerParameters, LedgerParty, Any, int], list[LedgerOutput]]

_HANDLERS: dict[type, Handler] = {
    Fill: apply_fill,
    FillCorrection: apply_correction,
    Settlement: apply_settlement,
    Balance: apply_balance,
    Position: apply_position,
    Transfer: apply_transfer,
    OpenOrder: apply_order,
    Loan: apply_loan,
    Adjustment: apply_adjustment,
    AccountSnapshot: apply_account_snapshot,
}


_STATEMENTS: Final = (Balance, Position, AccountSnapshot)
"""Facts by which a source proves that it still sees an account."""


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
    reference : Reference, optional
        Listed counterparties and assets, which have room of their own; none by default.
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

    def __init__(
        self,
        config: LedgerConfig | None = None,
        reference: Reference = NOTHING_LISTED,
        *,
        live: bool = False,
    ) -> None:
        self.config = config or LedgerConfig()
        self._parameters = LedgerParameters(self.config, reference, live=live)

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
            For a fact, its rejection, the start of an issue or its end. For a tick, trades that
            became overdue, reconciliation breaks, and a reading of each changed counterparty, by
            name.
        """
        if isinstance(event, Tick):
            return report_tick(self._parameters, state, event.us)
        name = event.counterparty
        try:
            party = state.parties.get(name)
            if party is None:
                party = self._open(state, name, event.source, micros(event.ts))
            kind, us = type(event), micros(event.ts)
            out = _HANDLERS[kind](self._parameters, party, event, us)
        except FactRefusedError as refusal:
            rejected: list[LedgerOutput] = [event_rejected(event, refusal)]
            if refusal.issue is not None and isinstance(event, Fill | FillCorrection):
                party, issue = state.parties[name], refusal.issue
                told = tell_executions(self._parameters, party, event, issue, refusal.detail)
                return told + rejected
            if refusal.reason is RejectReason.LIMIT_REACHED:
                return self._note_refused(state, event, refusal.detail) + rejected
            return rejected
        if kind in _STATEMENTS:
            party.freshness.prove(event.account, event.source, us)
        return out

    def _open(self, state: LedgerState, name: str, source: str, us: int) -> LedgerParty:
        """Create a counterparty. One that is not listed needs room, in all and of its source."""
        counts = self._counts(state)
        if name not in self._parameters.reference.parties:
            if us <= state.forgotten_us:
                raise fact_too_late(f"us={us} horizon={state.forgotten_us} collection=parties")
            most = self.config.max_counterparties
            if sum(counts.values()) >= most:
                raise limit_reached("max_counterparties", most)
            share = max(1, most // SOURCE_SHARE)
            if counts.get(source, 0) >= share:
                raise limit_reached("max_counterparties", most, share)
            counts[source] = counts.get(source, 0) + 1
        party = state.party(name)
        party.by = source
        return party

    def _counts(self, state: LedgerState) -> dict[str, int]:
        if state.counts is None:
            state.counts = {}
            for name, party in state.parties.items():
                if name not in self._parameters.reference.parties:
                    state.counts[party.by] = state.counts.get(party.by, 0) + 1
        return state.counts

    def _note_refused(self, state: LedgerState, event: LedgerEvent, why: str) -> list[LedgerOutput]:
        """Report that facts of a source have no room, once until that ends."""
        source = event.source
        if source not in state.refused and len(state.refused) >= NAMED_WRITERS:
            source = "*"
        us = self._parameters.heard_late(event) or micros(event.ts)
        known = state.refused.get(source)
        state.note_refused(source, us if known is None else max(us, known.us))
        return [] if known is not None else [no_room(event, f"ledger:{source}", why)]
