"""The risk stage: readings, credit news, commands and ticks in; exposures and decisions out.

Readings and news only update the state. Operators' commands take effect at once. The stage decides
everything else at ticks, in a fixed order: exposures, limits, assets, assets at venues,
counterparties, books, the firm. A decision therefore does not depend on the order in which the
readings of one tick arrived.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import DAY, SECOND
from riskwatch.core.deployment import EMBEDDED
from riskwatch.core.enums import RejectReason
from riskwatch.core.events import Command, Credit, LegalEntity, NettingSet, Tick, identity
from riskwatch.core.names import IDENTITY
from riskwatch.core.operators import DenyAllVerifier, Verifier
from riskwatch.core.outputs import EventRejected, Origin
from riskwatch.core.readings import CounterpartyReading, Holding, MarketReading, PartitionFault
from riskwatch.core.risk import state as risk_state
from riskwatch.core.risk.adjustments import queue_adjustments
from riskwatch.core.risk.claims import counted_holdings
from riskwatch.core.risk.commands import CommandHandler, expire_controls
from riskwatch.core.risk.credit import (
    CreditRefusedError,
    apply_credit,
    apply_entity,
    apply_netting,
    expire_news,
    forget_subjects,
)
from riskwatch.core.risk.decision import DecisionWriter
from riskwatch.core.risk.drills import scheduled_drills
from riskwatch.core.risk.evaluator import Evaluator, queue_fills
from riskwatch.core.risk.exposure import PRICED_SD_BP, price_of, value_of
from riskwatch.core.risk.features import (
    held_assets,
    is_foreign_venue,
    record_history,
    record_trail,
    update_peak,
)
from riskwatch.core.risk.marks import accounts_opened, learn_marks
from riskwatch.core.risk.renames import adopt_names, canonical_holdings
from riskwatch.core.risk.reports import asset_forgotten, news_refused
from riskwatch.core.risk.rule_engine import RuleEngine
from riskwatch.core.risk.stakes import StakesCalculator, TickContext
from riskwatch.core.risk.state import (
    AssetRow,
    LocalPriceRow,
    PartyRow,
    RiskState,
    VenueRow,
    forget_scores,
    is_over,
)
from riskwatch.core.risk.transit import apply_legs
from riskwatch.core.scopes import ASSET, COUNTERPARTY

if TYPE_CHECKING:
    from riskwatch.core.names import NameTable
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


FORGET: Final = 14 * DAY
"""A name that is unlisted, not ours and not quoted for this long is forgotten, microseconds."""


class RiskStage:
    """Evaluates all scopes and decides their states.

    Parameters
    ----------
    config : RiskConfig
        Settings of the stage.
    reference : Reference
        Reference data of assets and parties.
    limits : LimitsConfig
        The firm's equity and its limits.
    rules : RulePack
        Static rules: generation 0.
    scorer : Scorer
        The models.
    verifier : Verifier, optional
        Verifies operators and their signatures; by default no command is accepted.
    deployment : str
        Deployment whose commands count; see :mod:`riskwatch.core.deployment`.
    names : NameTable
        Canonical names of the scopes of commands; all other events have theirs already.
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
        deployment: str = EMBEDDED,
        names: NameTable = IDENTITY,
    ) -> None:
        self.config = config
        self._names = names
        self.deployment = deployment
        self.reference = reference
        self.scorer = scorer
        self._equity_usd = limits.equity_usd
        self._tokens = {p.native_token: None for p in reference.parties.values()}
        engine = RuleEngine(rules, config)
        self._writer = DecisionWriter(
            config, StakesCalculator(config, reference, limits, scorer.slippage)
        )
        self._evaluator = Evaluator(config, reference, limits, engine, self._writer, scorer)
        self._command_handler = CommandHandler(
            config,
            limits,
            engine,
            self._writer,
            scorer,
            verifier or DenyAllVerifier(),
            deployment,
            names,
        )

    def fresh(self) -> RiskState:
        """Return the state of a stage that has processed no event."""
        return RiskState(self.scorer.fresh())

    def step(self, state: RiskState, event: RiskEvent) -> list[Output]:
        """Apply one reading, credit event, command or tick, and return the outputs."""
        if state.meta.names != self._names.digest:
            adopted = adopt_names(state, self._names, self._writer)
            return [*adopted, *self.step(state, event)]
        if isinstance(event, Tick):
            return self._tick(state, event.us)
        if isinstance(event, Command):
            return self._command_handler.handle(state, event)
        if not state.meta.news:
            state.meta.news = True
            state.mark("meta")
        if isinstance(event, Credit | LegalEntity | NettingSet):
            return self._apply_credit_news(state, event)
        if isinstance(event, MarketReading):
            return self._apply_market(state, event)
        if isinstance(event, CounterpartyReading):
            self._apply_party(state, event)
        else:
            risk_state.record_fault(state, event)
        return []

    def _apply_credit_news(
        self, state: RiskState, event: Credit | LegalEntity | NettingSet
    ) -> list[Output]:
        """Store a credit event, a legal entity or a netting agreement; reject an invalid one."""
        try:
            if isinstance(event, Credit):
                apply_credit(state, event, self.config, self.reference)
            elif isinstance(event, LegalEntity):
                apply_entity(state, event, self.config, self.reference)
            else:
                apply_netting(state, event, self.config, self.reference)
        except CreditRefusedError as error:
            out: list[Output] = [_rejected(event, error)]
            if error.reason is RejectReason.LIMIT_REACHED:
                out += news_refused(state, event, error.detail)
            return out
        return []

    def _apply_market(self, state: RiskState, reading: MarketReading) -> list[Output]:
        """Store the readings of assets and venues; return the last values of forgotten assets."""
        for current in reading.assets:
            row = state.assets.get(current.asset)
            if row is None:
                row = state.assets[current.asset] = AssetRow(current, reading.us)
            before, row.reading, row.us = row.us, current, reading.us
            if current.live > 0:
                pegged = self.reference.promises_fiat(self.reference.asset(current.asset))
                if current.peg_known:
                    record_trail(row, reading.us)
                pegged &= current.peg_known
                if record_history(state, row, current.asset, reading.us, pegged=pegged):
                    state.mark(f"history/{current.asset}")
                if current.sd_bp < PRICED_SD_BP:
                    row.price, row.price_us = current.price_usd, reading.us
                    if current.asset in self._tokens:
                        update_peak(row, before)
            state.mark(f"asset/{current.asset}")
        for venue in reading.venues:
            state.venues[venue.venue] = VenueRow(
                reading.us,
                venue.dislocation_bp,
                venue.bases,
                venue.live,
                venue.expected,
                {asset: LocalPriceRow(bp, count) for asset, bp, count in venue.local},
            )
            state.mark(f"venue/{venue.venue}")
        return self._age_out(state, reading.us)

    def _age_out(self, state: RiskState, us: int) -> list[Output]:
        """Drop unlisted assets and venues that nobody quotes, holds or restricts any more."""
        out: list[Output] = []
        old = [
            name
            for name, row in state.assets.items()
            if us - row.us > FORGET
            and name not in self.reference.assets
            and name not in self._tokens
            and f"{ASSET}:{name}" not in state.scopes
        ]
        ours = held_assets(state) if old else {}
        for name in old:
            if name not in ours:
                out += asset_forgotten(name, state.assets.pop(name), us, self.config)
                state.mark(f"asset/{name}")
        for name in [n for n, row in state.venues.items() if us - row.us > FORGET]:
            if is_foreign_venue(state, name, self.reference):
                del state.venues[name]
                state.mark(f"venue/{name}")
        return out

    def _forget_parties(self, state: RiskState, us: int) -> None:
        """Drop unlisted counterparties where nothing is held, after long silence."""
        if state.effects:
            return  # whether a HALT took effect depends on where we traded
        failed = {name: None for names in state.faults.values() for name in names}
        for name in [n for n, row in state.parties.items() if us - row.us > FORGET]:
            scope = f"{COUNTERPARTY}:{name}"
            if (
                is_over(state.parties[name])
                and name not in self.reference.parties
                and name not in failed
                and scope not in state.scopes
                and scope not in state.controls
            ):
                del state.parties[name]
                state.mark(f"party/{name}")

    def _apply_party(self, state: RiskState, reading: CounterpartyReading) -> None:
        """Store the holdings with a counterparty; the reading replaces the last one."""
        row = state.parties.get(reading.counterparty)
        if row is not None and reading.us < row.us:
            return  # a delayed repeat: the stored reading is newer
        learn_marks(state, row, reading)
        if row is None:
            row = PartyRow(reading.us, [], [], reading.flow)
            state.parties[reading.counterparty] = row
        row.opened = accounts_opened(row, reading)
        risk_state.clear_fault(state, reading.counterparty)
        row.us, row.flow, row.unshown = reading.us, reading.flow, True
        held = reading.holdings
        if self._names.digest:  # the ledger may keep a holding under a former spelling
            held = canonical_holdings(self._names, reading.counterparty, held, reading.us)
        row.holdings = counted_holdings(
            held,
            self.config.pending_share * self._equity_usd,
            lambda holding: _missing_usd(holding, state),
        )
        row.positions = reading.positions
        row.orders = reading.orders
        row.stale = reading.stale or []
        apply_legs(state, row, reading, self.config.transit)
        queue_adjustments(state, row, reading)
        queue_fills(row, reading)
        state.meta.holdings = True
        state.mark("meta")
        state.mark(f"party/{reading.counterparty}")

    def _tick(self, state: RiskState, us: int) -> list[Output]:
        """Evaluate all scopes, unless no event arrived and time alone changes nothing."""
        meta = state.meta
        expires = state.controls or state.refusals or state.limit_overrides
        out = expire_controls(state, us, self._writer) if expires else []
        if self.config.drills or state.drills:
            out += scheduled_drills(self.config.drills, state, us, self.deployment)
        due = us - meta.reported >= self.config.report_s * SECOND
        if state.credit and expire_news(state, us, self.config):
            meta.news = True
            state.mark("meta")
        if due and state.credit:
            forget_subjects(state, us, self.config, self.reference)
        if due:
            self._forget_parties(state, us)
            forget_scores(state)
        if not (meta.news or meta.moving or due):
            return out
        return out + self._evaluator.run(state, TickContext(us, due=due))


def _rejected(event: Credit | LegalEntity | NettingSet, error: CreditRefusedError) -> EventRejected:
    cause = identity(event)
    return EventRejected(
        **Origin(cause, event.ts).stamp(EventRejected, cause),
        reason=error.reason,
        detail=error.detail,
    )


def _missing_usd(holding: Holding, state: RiskState) -> float | None:
    """Return the value of what a snapshot took away from a holding; ``None`` without a price."""
    price = price_of(holding.asset, state)
    return None if price is None else value_of(holding.missing, price)
