"""The risk stage: readings, credit news, commands and ticks in; exposures and decisions out.

Readings and news only change what is known. What people command counts at once. Everything else
is decided at ticks, in a fixed order:
exposures, limits, assets, coins at venues, counterparties, books, the firm. So what is decided
does not depend on which of two readings of one tick came first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.core.clock import SECOND
from riskwatch.core.events import Command, Credit, LegalEntity, NettingSet, Tick, identity
from riskwatch.core.operators import DenyAllVerifier, Verifier
from riskwatch.core.outputs import EventRejected, Origin
from riskwatch.core.readings import CounterpartyReading, MarketReading, PartitionFault
from riskwatch.core.risk import state as risk_state
from riskwatch.core.risk.commands import CommandHandler, expire_controls
from riskwatch.core.risk.credit import CreditRefusedError, apply_credit, apply_entity, apply_netting
from riskwatch.core.risk.decision import DecisionWriter
from riskwatch.core.risk.drills import scheduled_drills
from riskwatch.core.risk.evaluator import Evaluator, queue_fills
from riskwatch.core.risk.exposure import PRICED_SD_BP
from riskwatch.core.risk.features import record_trail, update_peak
from riskwatch.core.risk.rule_engine import RuleEngine
from riskwatch.core.risk.stakes import StakesCalculator, TickContext
from riskwatch.core.risk.state import AssetRow, LocalPriceRow, PartyRow, RiskState, VenueRow

if TYPE_CHECKING:
    from riskwatch.core.outputs import Output
    from riskwatch.core.reference import LimitsConfig, Reference
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.scorer import Scorer
    from riskwatch.core.rules import RulePack

RiskEvent = (
    MarketReading
    | CounterpartyReading
    | PartitionFault
    | Credit
    | LegalEntity
    | NettingSet
    | Command
    | Tick
)


class RiskStage:
    """Decides.

    Parameters
    ----------
    config : RiskConfig
        How readings become states.
    reference : Reference
        What is known of assets and parties.
    limits : Limits
        The firm's equity and its limits.
    rules : RulePack
        Static rules: generation 0.
    scorer : Scorer
        The models.
    verifier : Verifier, optional
        Whose commands count; nobody's by default.
    """

    name = "risk"

    def __init__(
        self,
        config: RiskConfig,
        reference: Reference,
        limits: LimitsConfig,
        rules: RulePack,
        scorer: Scorer,
        verifier: Verifier | None = None,
    ) -> None:
        self.config = config
        self.reference = reference
        self.scorer = scorer
        self._tokens = {p.native_token: None for p in reference.parties.values()}
        engine = RuleEngine(rules, config)
        self._writer = DecisionWriter(
            config, StakesCalculator(config, reference, limits, scorer.slippage)
        )
        self._evaluator = Evaluator(config, reference, limits, engine, self._writer, scorer)
        self._governor = CommandHandler(
            config, limits, engine, self._writer, scorer, verifier or DenyAllVerifier()
        )

    def fresh(self) -> RiskState:
        """Make the state of a stage that has seen nothing."""
        return RiskState(self.scorer.fresh())

    def step(self, state: RiskState, event: RiskEvent) -> list[Output]:
        """Apply one reading, piece of news, command or tick."""
        if isinstance(event, Tick):
            return self._tick(state, event.us)
        if isinstance(event, Command):
            return self._governor.handle(state, event)
        if not state.meta.news:
            state.meta.news = True
            state.mark("meta")
        if isinstance(event, Credit | LegalEntity | NettingSet):
            return self._news(state, event)
        if isinstance(event, MarketReading):
            self._market(state, event)
        elif isinstance(event, CounterpartyReading):
            self._party(state, event)
        else:
            risk_state.record_fault(state, event)
        return []

    def _news(self, state: RiskState, event: Credit | LegalEntity | NettingSet) -> list[Output]:
        """Note what is said of somebody's credit."""
        try:
            if isinstance(event, Credit):
                apply_credit(state, event, self.config, self.reference)
            elif isinstance(event, LegalEntity):
                apply_entity(state, event)
            else:
                apply_netting(state, event, self.config)
        except CreditRefusedError as error:
            return [_rejected(event, error)]
        return []

    def _market(self, state: RiskState, reading: MarketReading) -> None:
        """Note where assets and venues stand."""
        for seen in reading.assets:
            row = state.assets.get(seen.asset)
            if row is None:
                row = state.assets[seen.asset] = AssetRow(seen, reading.us)
            before, row.reading, row.us = row.us, seen, reading.us
            if seen.live > 0:
                record_trail(row, reading.us)
                if seen.sd_bp < PRICED_SD_BP:
                    row.price = seen.price_usd
                    if seen.asset in self._tokens:
                        update_peak(row, before)
            state.mark(f"asset/{seen.asset}")
        for venue in reading.venues:
            state.venues[venue.venue] = VenueRow(
                reading.us,
                venue.dislocation_bp,
                venue.bases,
                venue.live,
                venue.expected,
                {asset: LocalPriceRow(bp, seen) for asset, bp, seen in venue.local},
            )
            state.mark(f"venue/{venue.venue}")

    def _party(self, state: RiskState, reading: CounterpartyReading) -> None:
        """Note what is held with a counterparty; the reading replaces the last one."""
        row = state.parties.get(reading.counterparty)
        if row is None:
            row = PartyRow(reading.us, [], [], reading.flow)
            state.parties[reading.counterparty] = row
        elif reading.us < row.us:
            return  # a repeat that was delayed: what is known is newer
        risk_state.clear_fault(state, reading.counterparty)
        row.us, row.flow, row.unshown = reading.us, reading.flow, True
        row.holdings, row.positions = reading.holdings, reading.positions
        queue_fills(row, reading.slips)
        state.meta.holdings = True
        state.mark("meta")
        state.mark(f"party/{reading.counterparty}")

    def _tick(self, state: RiskState, us: int) -> list[Output]:
        """Evaluate everything, unless nothing was heard and time alone changes nothing."""
        meta = state.meta
        ended = expire_controls(state, us, self._writer) if state.controls or state.refusals else []
        if self.config.drills or state.drills:
            ended += scheduled_drills(self.config.drills, state, us)
        due = us - meta.reported >= self.config.report_s * SECOND
        if not (meta.news or meta.moving or due):
            return ended
        return ended + self._evaluator.run(state, TickContext(us, due=due))


def _rejected(event: Credit | LegalEntity | NettingSet, error: CreditRefusedError) -> EventRejected:
    cause = identity(event)
    return EventRejected(
        **Origin(cause, event.ts).stamp(EventRejected, cause),
        reason=error.reason,
        detail=error.detail,
    )
