"""Exposure at stake on each scope at a tick, and the credit assessment of every party."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.core.clock import SECOND
from riskwatch.core.risk import reports
from riskwatch.core.risk.credit_loss import CreditAssessor
from riskwatch.core.risk.explanation import ExposureAtStake
from riskwatch.core.risk.exposure import Exposures, ExposureSums, sum_exposures
from riskwatch.core.scopes import (
    ACCOUNT,
    ASSET,
    BANK,
    BOOK,
    COUNTERPARTY,
    FIRM,
    GROUP,
    ISSUER,
    NETWORK,
    TRADER,
    VENUE_ASSET,
    parse,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.outputs import Output
    from riskwatch.core.reference import LimitsConfig, Reference
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.scorer import SlippageModel
    from riskwatch.core.risk.state import RiskState
    from riskwatch.core.scopes import Scope

_NOTHING = ExposureSums()


class TickContext:
    """One tick: its time, whether reports are due, and sums that are computed at most once.

    Parameters
    ----------
    us : int
        Event time, microseconds.
    due : bool
        Whether values, limits and assessments are due as a whole.
    """

    def __init__(self, us: int, *, due: bool) -> None:
        self.us = us
        self.due = due
        self.elapsed = 0
        self.moving = False
        self.stakes: dict[str, ExposureAtStake] = {}
        self.dependents: dict[str, list[str]] = {}
        """Scopes that are restricted because a venue is silent, by venue."""
        self._exposures: Exposures | None = None

    def exposures(self, state: RiskState, reference: Reference) -> Exposures:
        """Return the exposure sums over all holdings at the prices of this tick."""
        if self._exposures is None:
            self._exposures = sum_exposures(state, reference)
        return self._exposures


class StakesCalculator:
    """Computes the exposure at stake of scopes, on demand.

    Parameters
    ----------
    config : RiskConfig
        Horizons and stress.
    reference : Reference
        Ratings, LGDs, issuers.
    limits : LimitsConfig
        The firm's equity.
    slippage : SlippageModel
        Predicts the slippage of fills.
    """

    def __init__(
        self,
        config: RiskConfig,
        reference: Reference,
        limits: LimitsConfig,
        slippage: SlippageModel,
    ) -> None:
        self.config = config
        self.reference = reference
        self.equity = limits.equity_usd
        self.assessor = CreditAssessor(config, reference, slippage)

    def assessments(self, state: RiskState, tick: TickContext) -> Iterator[Output]:
        """Return the credit assessment of every party and of the firm, if it is due.

        It is due with all reports, and as soon as we hold something with a new counterparty.
        """
        first = self._unassessed(state)
        waited = tick.us - state.sent.get("assessed", 0) >= self.config.revalue_s * SECOND
        if not (first or (tick.due and waited)):
            return
        if not any(row.holdings or row.positions for row in state.parties.values()):
            return  # there is no book yet
        for name in first:
            state.parties[name].assessed_us = tick.us
            state.mark(f"party/{name}")
        state.sent["assessed"] = tick.us
        state.mark("sent/assessed")
        exposures = tick.exposures(state, self.reference)
        tables = (
            ("counterparty", exposures.party, self.assessor.party),
            ("issuer", exposures.issuer, self.assessor.issuer),
            ("bank", exposures.bank, self.assessor.bank),
        )
        worst = 0.0
        for kind, table, assess in tables:
            for name in sorted(table):
                made = assess(state, name, exposures)
                jump = reports.jump_to_default(made, self.equity)
                worst = max(worst, jump)
                yield reports.counterparty_assessed(f"{kind}:{name}", made, tick.us, jump)
        if exposures.party:
            # Parties do not all fail at once: the firm's jump to default is the worst single one.
            made = self.assessor.firm(state, exposures)
            yield reports.counterparty_assessed("firm", made, tick.us, worst)

    @staticmethod
    def _unassessed(state: RiskState) -> list[str]:
        """Return the counterparties with which we hold something and that were never assessed."""
        return [
            name
            for name in sorted(state.parties)
            if not (row := state.parties[name]).assessed_us and (row.holdings or row.positions)
        ]

    def ask(self, state: RiskState, tick: TickContext) -> None:
        """Report to the slippage model that time passed, and which assets we hold.

        A period without fills is censored if we hold no more of the asset.
        """
        exposures = tick.exposures(state, self.reference)
        slippage, least = self.assessor.slippage, self.assessor.config.alert_from_usd
        for asset in sorted(state.assets):
            held = exposures.asset.get(asset, _NOTHING).ours >= least
            slippage.ask(state.scorer, tick.us, asset, held=held)

    def on(self, state: RiskState, tick: TickContext, scope: str) -> ExposureAtStake:
        """Return the exposure at stake on a scope at this tick's prices, computed once per tick."""
        known = tick.stakes.get(scope)
        if known is None:
            known = tick.stakes[scope] = self._on(state, tick, parse(scope))
        return known

    def _on(self, state: RiskState, tick: TickContext, at: Scope) -> ExposureAtStake:
        if at.kind == ASSET:
            return self.asset(state, tick, at.name)
        if at.kind == COUNTERPARTY:
            return self.party(state, tick, at.name)
        if at.kind == VENUE_ASSET:
            return self.venue_asset(state, tick, at.name, at.asset)
        if at.kind in (FIRM, BOOK):
            return self.book(state, tick, at.kind, at.name)
        return self.other(state, tick, at)

    def other(self, state: RiskState, tick: TickContext, at: Scope) -> ExposureAtStake:
        """Return the exposure at stake on an account, trader, network, group, issuer or bank.

        Of an account alone nothing is summed, and it is at most that of the whole venue; of a
        trader or a network it is at most everything.
        """
        if at.kind == ACCOUNT:
            return self.party(state, tick, at.name)
        if at.kind in (TRADER, NETWORK):
            return self.book(state, tick, FIRM, "")
        exposures = tick.exposures(state, self.reference)
        linked = {GROUP: exposures.group, ISSUER: exposures.issuer, BANK: exposures.bank}
        return ExposureAtStake(linked[at.kind].get(at.name, _NOTHING).ours, 0.0, 0.0)

    def asset(self, state: RiskState, tick: TickContext, asset: str) -> ExposureAtStake:
        """Return the exposure at stake on an asset at all counterparties."""
        exposures = tick.exposures(state, self.reference)
        return ExposureAtStake(
            exposures.asset.get(asset, _NOTHING).ours,
            self.assessor.asset_loss(state, asset, exposures),
            self.assessor.exit_cost(state, asset, exposures),
        )

    def is_within_bound(self, state: RiskState, tick: TickContext, scope: str) -> bool:
        """Whether models of bounded authority may reduce an asset or a counterparty.

        They may if it and the scopes of its kind that they already reduce together make up no more
        than `bounded_share` of our exposure. A scope on which we hold nothing adds nothing. Models
        of bounded authority reduce no other kinds of scope.
        """
        exposures = tick.exposures(state, self.reference)
        at = parse(scope)
        held = {ASSET: exposures.asset, COUNTERPARTY: exposures.party}.get(at.kind)
        if held is None:
            return False
        names = {
            other.name: None
            for other in (parse(s) for s in sorted(state.scopes) if state.scopes[s].capped)
            if other.kind == at.kind
        }
        names[at.name] = None
        used = sum(held.get(name, _NOTHING).ours for name in names)
        return used <= self.config.bounded_share * exposures.firm.ours

    def party(self, state: RiskState, tick: TickContext, name: str) -> ExposureAtStake:
        """Return the exposure at stake with a counterparty."""
        exposures = tick.exposures(state, self.reference)
        made = self.assessor.party(state, name, exposures)
        return ExposureAtStake(exposures.party.get(name, _NOTHING).ours, made.el, made.exit_cost)

    def venue_asset(
        self, state: RiskState, tick: TickContext, venue: str, asset: str
    ) -> ExposureAtStake:
        """Return the exposure at stake in one asset at one venue."""
        exposures = tick.exposures(state, self.reference)
        pd, lgd, _ = self.assessor.loss_rate(state, venue)
        sums = exposures.cells.get((venue, asset), _NOTHING)
        return ExposureAtStake(
            sums.ours, sums.long * pd * lgd, self.assessor.close(state, asset, sums.holdings)
        )

    def book(self, state: RiskState, tick: TickContext, kind: str, name: str) -> ExposureAtStake:
        """Return the exposure at stake in a book, or in all of them (`kind` ``firm``)."""
        exposures = tick.exposures(state, self.reference)
        if kind == FIRM:
            made = self.assessor.firm(state, exposures)
            return ExposureAtStake(exposures.firm.ours, made.el, made.exit_cost)
        return ExposureAtStake(exposures.book.get(name, _NOTHING).ours, 0.0, 0.0)
