"""Credit assessment of parties: exposure at default, PD, LGD, expected loss and cost of leaving.

``EL = PD * LGD * EAD`` (Basel Committee, "An Explanatory Note on the Basel II IRB Risk Weight
Functions", 2005). The cost of leaving is a quantile of slippage, learned from our own fills. Its
prior is half the spread plus the square-root law of market impact, ``Y * sigma * sqrt(Q / V)``
(Tóth et al., "Anomalous price impact and the critical nature of liquidity in financial markets",
Phys. Rev. X 1, 2011), with sigma the daily volatility, Q the value to close and V the value traded
in a day.
"""

from __future__ import annotations

from functools import partial
from math import sqrt
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.enums import Cause, State
from riskwatch.core.money import MAX_USD, quantise
from riskwatch.core.risk.credit import FAILURE_KINDS, credit_rating, news_weight
from riskwatch.core.risk.default_probability import (
    PD_TARGET,
    PdParts,
    explain_pd,
    implied_pd,
)
from riskwatch.core.risk.exposure import Exposures, ExposureSums
from riskwatch.core.risk.scorer import ENSEMBLE, ImpactLaw, ModelScore, SquareRootSlippage
from riskwatch.core.scopes import ASSET, COUNTERPARTY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from riskwatch.core.reference import Reference
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.scorer import SlippageModel
    from riskwatch.core.risk.state import RiskState

YEAR_S: Final = 31_536_000.0
MINUTES_A_DAY: Final = 1_440.0
_NOTHING: Final = ExposureSums()


class CreditAssessment(msgspec.Struct, frozen=True, gc=False):
    """The figures of one party; amounts in USD, `pd` over `horizon_s` seconds."""

    gross: float
    net: float
    ead: float
    pd: float
    lgd: float
    exit_cost: float
    stuck: float
    horizon_s: float

    @property
    def el(self) -> float:
        """Expected loss of staying, USD."""
        return self.pd * self.lgd * self.ead


def horizon_pd(yearly: float, seconds: float) -> float:
    """Return the probability of default over a horizon, at a constant hazard rate.

    Examples
    --------
    >>> round(horizon_pd(0.077, 31_536_000.0), 6), horizon_pd(1.0, 60.0)
    (0.077, 1.0)
    """
    return 1.0 if yearly >= 1.0 else 1.0 - float((1.0 - yearly) ** (seconds / YEAR_S))


def combined_loss_rate(venue_loss: float, issuer_loss: float) -> float:
    """Return the expected loss rate if a venue or an issuer can fail, without double counting.

    Examples
    --------
    >>> round(combined_loss_rate(0.1, 0.05), 4)
    0.145
    """
    return 1.0 - (1.0 - venue_loss) * (1.0 - issuer_loss)


class CreditAssessor:
    """Assesses parties, given prices and credit news.

    Parameters
    ----------
    config : RiskConfig
        Horizons and stress.
    reference : Reference
        Ratings, LGDs, volatilities.
    slippage : SlippageModel, optional
        Predicts the slippage of fills; by default the square-root law alone.
    """

    def __init__(
        self, config: RiskConfig, reference: Reference, slippage: SlippageModel | None = None
    ) -> None:
        self.slippage = slippage or SquareRootSlippage()
        self.config = config
        self.reference = reference
        self._issued: dict[str, list[str]] = {}
        for name in sorted(reference.assets):
            asset = reference.assets[name]
            if asset.issuer is not None and reference.promises_fiat(asset):
                self._issued.setdefault(asset.issuer, []).append(name)

    def loss_rate(self, state: RiskState, subject: str) -> tuple[float, float, float]:
        """Return the PD, the LGD and the horizon of the PD in seconds, of any party.

        The parts of the PD are those of :mod:`.default_probability`. Telemetry is that of the
        scores as they were published last.
        """
        lgd, horizon = self._lgd(state, subject)
        parts = self._pd_parts(state, subject, lgd, horizon)
        pd = max(parts.total, self._telemetry(state, subject, lgd))
        return quantise(pd, 9), quantise(lgd, 9), horizon

    def _pd_parts(self, state: RiskState, subject: str, lgd: float, horizon: float) -> PdParts:
        """Return the parts of the PD of any party, without what scores imply."""
        news = state.credit.get(subject)
        yearly = self.reference.pd_by_rating[credit_rating(subject, news, self.reference)]
        failed = min(1.0, news_weight(news, FAILURE_KINDS, self.config))
        implied = self._discount(state, subject) / lgd if lgd > 0.0 else 0.0
        return PdParts(horizon_pd(yearly, horizon), failed, min(1.0, implied))

    def default_scores(
        self, state: RiskState, name: str, scored: Iterable[ModelScore]
    ) -> list[ModelScore]:
        """Return the PD of a counterparty as scores, one for each generation that may ask.

        Parameters
        ----------
        state : RiskState
            News and prices of this tick.
        name : str
            The counterparty.
        scored : iterable of ModelScore
            Its scores of this tick.
        """
        lgd, horizon = self._lgd(state, name)
        found: dict[str, tuple[float, ModelScore]] = {}
        for each in scored:
            law = self.config.score_pd.get(each.target)
            if law is None or each.cap is State.NORMAL:
                continue
            telemetry = implied_pd(each.probability, law, lgd)
            if each.generation not in found or telemetry > found[each.generation][0]:
                found[each.generation] = telemetry, each
        if not found:
            return []
        rest, out = self._pd_parts(state, name, lgd, horizon), []
        for telemetry, each in found.values():
            parts = msgspec.structs.replace(rest, telemetry=telemetry)
            pd, grounds = quantise(parts.total, 9), partial(explain_pd, parts)
            out.append(
                msgspec.structs.replace(each, target=PD_TARGET, probability=pd, grounds=grounds)
            )
        return out

    def _lgd(self, state: RiskState, subject: str) -> tuple[float, float]:
        """Return the LGD of a party, and the horizon of its PD in seconds."""
        lgd, horizon = self.reference.party(subject).lgd, self.config.horizon_s
        if self.is_gated(state, subject):
            horizon = self.config.gated_horizon_s
            lgd = min(1.0, lgd * self.config.gated_lgd_factor)
        return lgd, horizon

    def _telemetry(self, state: RiskState, subject: str, lgd: float) -> float:
        """Return the largest PD that published scores of a party and its assets imply."""
        if not self.config.score_pd:
            return 0.0
        scopes = [f"{COUNTERPARTY}:{subject}"]
        scopes += [f"{ASSET}:{asset}" for asset in self._issued.get(subject, ())]
        worst = 0.0
        for scope in scopes:
            row = state.published_scores.get(scope)
            for target, law in self.config.score_pd.items():
                last = None if row is None else row.scores.get(f"{target}|{ENSEMBLE}")
                if last is not None:
                    worst = max(worst, implied_pd(last.probability, law, lgd))
        return worst

    def party(self, state: RiskState, name: str, exposures: Exposures) -> CreditAssessment:
        """Assess a counterparty that holds our assets."""
        sums = exposures.party.get(name, _NOTHING)
        pd, lgd, horizon = self.loss_rate(state, name)
        claim = self._claim(state, name, exposures)
        accrual = exit_cost = 0.0
        days = self._exit_days(state, name, sums)
        for (party, asset), held in sorted(exposures.cells.items()):
            if party != name:
                continue
            daily, _, _ = self._market(state, asset)
            moving = held.gross
            accrual += moving * daily * 1e-4 * sqrt(days) * self.config.stress_sd
            exit_cost += self.close(state, asset, held.derivatives)
        if self.is_gated(state, name):
            # Holdings that cannot be withdrawn can only be sold as a claim, at its recovery value.
            exit_cost += claim * lgd
        # The accrual is capped at the holdings and positions, so that the EAD stays finite.
        ead = claim + min(accrual, sums.gross)
        return CreditAssessment(sums.gross, sums.net, ead, pd, lgd, exit_cost, claim, horizon)

    def issuer(self, state: RiskState, name: str, exposures: Exposures) -> CreditAssessment:
        """Assess an issuer; the exposure is the value of the assets it issued."""
        sums = exposures.issuer.get(name, _NOTHING)
        pd, lgd, horizon = self.loss_rate(state, name)
        cost = sum(
            self.exit_cost(state, asset, exposures)
            for asset in sorted(exposures.asset)
            if self.reference.asset(asset).issuer == name
        )
        return CreditAssessment(sums.gross, sums.net, sums.long, pd, lgd, cost, 0.0, horizon)

    def bank(self, state: RiskState, name: str, exposures: Exposures) -> CreditAssessment:
        """Assess a bank that holds issuers' reserves, by its share of their backing."""
        sums = exposures.bank.get(name, _NOTHING)
        pd, lgd, horizon = self.loss_rate(state, name)
        return CreditAssessment(sums.gross, sums.net, sums.long, pd, lgd, 0.0, 0.0, horizon)

    def firm(self, state: RiskState, exposures: Exposures) -> CreditAssessment:
        """Assess the firm as a whole: for each holding, its venue or its issuer can fail.

        `pd` is the expected-loss rate over EAD with an LGD of 1, so that EL still is
        ``PD * LGD * EAD``.
        """
        total = lost = cost = stuck = 0.0
        for (party, asset), held in sorted(exposures.cells.items()):
            pd, lgd, _ = self.loss_rate(state, party)
            rate = pd * lgd
            issuer = self.reference.asset(asset).issuer
            if issuer is not None:
                pd, lgd, _ = self.loss_rate(state, issuer)
                rate = combined_loss_rate(rate, pd * lgd)
            total += held.long
            lost += held.long * rate
        for name in sorted(exposures.party):
            assessed = self.party(state, name, exposures)
            cost += assessed.exit_cost
            stuck += assessed.stuck
        rate = quantise(lost / total, 9) if total else 0.0
        firm = exposures.firm
        return CreditAssessment(
            firm.gross, firm.net, total, rate, 1.0, cost, stuck, self.config.horizon_s
        )

    def exit_cost(self, state: RiskState, asset: str, exposures: Exposures) -> float:
        """Return the cost of selling all our holdings of an asset, USD."""
        return self.close(state, asset, exposures.asset.get(asset, _NOTHING).holdings)

    def close(self, state: RiskState, asset: str, value: float) -> float:
        """Return the cost of selling `value` USD of an asset, by the learned quantile, USD."""
        law = self.impact_law(state, asset)
        return value * self.slippage.bp(state.scorer, asset, value, law) * 1e-4

    def impact_law(self, state: RiskState, asset: str) -> ImpactLaw:
        """Return the square-root law of an asset in its present market."""
        daily, spread, volume = self._market(state, asset)
        return ImpactLaw(spread, self.config.impact * daily / sqrt(volume))

    def asset_loss(self, state: RiskState, asset: str, exposures: Exposures) -> float:
        """Return the expected loss of keeping an asset over its issuer's horizon, USD."""
        sums = exposures.asset.get(asset, _NOTHING)
        issuer = self.reference.asset(asset).issuer
        if issuer is None:
            return 0.0
        pd, lgd, _ = self.loss_rate(state, issuer)
        return sums.long * pd * lgd

    def is_gated(self, state: RiskState, name: str) -> bool:
        """Whether any source reports suspended withdrawals, or enough sources a failure."""
        news = state.credit.get(name)
        gate = news_weight(news, ("withdrawals_suspended",), self.config)
        return gate > 0.0 or news_weight(news, FAILURE_KINDS, self.config) >= 1.0

    def _discount(self, state: RiskState, issuer: str) -> float:
        """Return the largest discount of an issuer's pegged assets, as a share of par.

        Discounts with the cause FEED do not count.
        """
        worst = 0.0
        for asset in self._issued.get(issuer, ()):
            row = state.assets.get(asset)
            if row is not None and row.reading.live > 0 and row.reading.cause is not Cause.FEED:
                worst = max(worst, -row.reading.deviation_bp * 1e-4)
        return worst

    def _claim(self, state: RiskState, name: str, exposures: Exposures) -> float:
        """Return the claim: net within enforceable netting sets, gross everywhere else, USD."""
        news = state.credit.get(name)
        sets = news.netting if news is not None else {}
        netted: dict[str, str] = {}
        for netting_set in sorted(sets):
            enforceable, accounts = sets[netting_set]
            if enforceable:
                netted.update(dict.fromkeys(accounts, netting_set))
        nets: dict[str, float] = {}
        claim = 0.0
        for (party, account), sums in sorted(exposures.claims.items()):
            if party != name:
                continue
            if account in netted:
                key = netted[account]
                # A claim that is only known to be very large is netted by nothing.
                net = MAX_USD if sums.long >= MAX_USD else sums.net
                nets[key] = MAX_USD if nets.get(key) == MAX_USD else nets.get(key, 0.0) + net
            else:
                claim += sums.long
        return claim + sum(max(0.0, nets[key]) for key in sorted(nets))

    def _exit_days(self, state: RiskState, name: str, sums: ExposureSums) -> float:
        """Return the days that leaving takes: by the daily cap, or longer if gated."""
        days = self.config.exit_s / 86_400.0
        cap = self.reference.party(name).withdrawal_cap_usd_day
        if cap:
            days = max(days, sums.long / cap)
        if self.is_gated(state, name):
            days = max(days, self.config.horizon_s / 86_400.0)
        return days

    def _market(self, state: RiskState, asset: str) -> tuple[float, float, float]:
        """Return the daily volatility and half spread in bp, and the daily traded value in USD."""
        reference = self.reference.asset(asset)
        if reference.fiat and asset == "USD":
            return 0.0, 0.0, self.config.volume_usd_day
        row = state.assets.get(asset)
        assumed = reference.volatility / sqrt(365.0) * 1e4
        if row is None:
            return assumed, 0.0, self.config.volume_usd_day
        seen = row.reading
        measured = seen.vol_bp * sqrt(MINUTES_A_DAY)
        volume = seen.volume_usd * MINUTES_A_DAY
        return (
            max(measured, 1.0 if self.reference.promises_fiat(reference) else assumed),
            seen.half_spread_bp,
            volume if volume > 0.0 else self.config.volume_usd_day,
        )
