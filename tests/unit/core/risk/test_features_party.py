"""Features of counterparties, their baselines, and slippage learned from our own fills."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import pytest

from riskwatch.core.enums import State
from riskwatch.core.events import Credit
from riskwatch.core.outputs import CounterpartyAssessed, DecisionMade, ScoreUpdated
from riskwatch.core.readings import FillSlippage, FlowFeatures, OpenPosition
from riskwatch.core.reference import Asset, Party
from riskwatch.core.risk.baseline import BaselineConfig
from riskwatch.core.risk.config import RiskConfig
from riskwatch.core.risk.features import counterparty_features, has_business, update_party_baseline
from riskwatch.core.risk.stage import RiskStage
from riskwatch.core.risk.state import PartyRow
from riskwatch.engine import bootstrap
from riskwatch.models.ensemble import Ensemble
from tests.support.risk import (
    CALM,
    LIMITS,
    REFERENCE,
    RULES,
    START,
    Desk,
    asset,
    at,
    bitcoin,
    desk,
    held,
    market,
    news,
    of,
    venue,
)

if TYPE_CHECKING:
    from riskwatch.core.risk.features import Features

CONFIG = RiskConfig()
POLICY = bootstrap.configuration().policy


def flow(**fields: object) -> FlowFeatures:
    """Return flow features of a counterparty."""
    return msgspec.structs.replace(CALM, **fields)


def known(d: Desk, minutes: float = 1, name: str = "kraken") -> Features:
    """Return the features of a counterparty."""
    reference = d.stage.reference
    return counterparty_features(d.state, name, at(minutes), CONFIG, reference)


def test_what_was_never_said_is_absent_not_zero() -> None:
    """Without a price, reserves or a token there is no such feature."""
    d = desk()
    d.tick(0, held(0, ("XYZ", "5"), party="newvenue"))
    x = known(d, name="newvenue")
    for absent in (
        "dislocation_bp", "outflow_share", "native_drawdown_share", "reserves_age_days",
        "reserves_missing_share", "rating_pd", "withdrawal_slow_ratio",
    ):  # fmt: skip
        assert absent not in x
    assert x["withdrawal_age_ratio"] == 0.0


def test_outflow_is_a_share_of_what_was_there() -> None:
    """A quarter of the holdings left within a day."""
    d = desk()
    left = flow(outflow_24h={"USD": Decimal(250)})
    d.tick(0, held(0, ("USD", "750"), flow=left))
    assert known(d)["outflow_share"] == 0.25


def test_reserves_have_a_ratio_and_an_age() -> None:
    """The attestation with the latest date counts, and an old one stays."""
    d = desk()
    for name, ratio, days in (("1", "1.01", 3), ("2", "0.97", 1)):
        as_of = START - timedelta(days=days)
        d.tell(
            news(
                Credit, int(name), name, subject="kraken", kind="attestation", source=name,
                ratio=Decimal(ratio), as_of=as_of,
            )
        )  # fmt: skip
    assert known(d, 0)["reserves_missing_share"] == pytest.approx(0.03)
    assert known(d, 0)["reserves_age_days"] == pytest.approx(1.0)
    d.tell(news(Credit, 200 * 1440, "9", subject="kraken", kind="hack"))
    assert known(d, 200 * 1440)["reserves_age_days"] == pytest.approx(201.0)


def test_a_newer_report_of_one_source_replaces_its_last() -> None:
    """Attestations therefore do not fill the row."""
    d = desk(max_credit=3)
    for n in range(10):
        d.tell(news(Credit, n, str(n), subject="kraken", kind="attestation", ratio=Decimal(1)))
    assert len(d.state.credit["kraken"].items) == 1


def test_a_native_token_has_a_drawdown_from_its_peak() -> None:
    """It needs a live price; the peak halves in a week."""
    d = desk()
    ftx = Party(id="ftx", kind="exchange", native_token="FTT")
    reference = msgspec.structs.replace(
        REFERENCE,
        assets={**REFERENCE.assets, "FTT": Asset(id="FTT")},
        parties={**REFERENCE.parties, "ftx": ftx},
    )
    d.stage = RiskStage(CONFIG, reference, LIMITS, RULES, d.stage.scorer)
    d.tell(market(0, asset("FTT", price_usd=22.0)), market(1, asset("FTT", price_usd=16.5)))
    assert known(d, 1, "ftx")["native_drawdown_share"] == pytest.approx(0.25, abs=1e-4)
    week = 7 * 1440
    d.tell(market(week, asset("FTT", price_usd=8.8)))
    assert known(d, week, "ftx")["native_drawdown_share"] == pytest.approx(0.2, abs=1e-3)
    assert "native_drawdown_share" not in known(d, week + 60, "ftx")


def slowing(state: State, days: int = 20) -> PartyRow:
    """Simulate a venue whose withdrawal time doubles every five days, with its scope at `state`."""
    row = PartyRow(0, [], [], CALM)
    for hour in range(days * 24):
        row.us = at(60 * hour)
        took = 3_600.0 * 2.0 ** (hour / 120.0)
        row.flow = flow(withdrawals_done=20, withdrawal_baseline_s=took)
        update_party_baseline(row, State.NORMAL if hour < 24 else state, CONFIG)
    return row


def test_a_venue_that_slows_down_does_not_become_usual() -> None:
    """At WATCH the baseline is frozen; otherwise it adapts in about a week."""
    frozen, free = slowing(State.WATCH, 7), slowing(State.NORMAL, 7)
    assert frozen.base is not None
    assert free.base is not None
    assert 2.0**frozen.base.location == pytest.approx(3_600.0, rel=0.05)
    assert free.base.location > frozen.base.location
    thawed = slowing(State.WATCH, 20)
    assert thawed.base is not None
    assert thawed.base.location > frozen.base.location + 0.5  # after the longest freeze
    assert BaselineConfig().freeze_max_s == 7 * 86_400.0


def test_too_few_withdrawals_make_no_baseline() -> None:
    """A repeated reading does not update the baseline either."""
    row = PartyRow(at(0), [], [], flow(withdrawals_done=2, withdrawal_baseline_s=60.0))
    assert not update_party_baseline(row, State.NORMAL, CONFIG)
    row.flow = flow(withdrawals_done=5, withdrawal_baseline_s=60.0)
    assert update_party_baseline(row, State.NORMAL, CONFIG)
    assert not update_party_baseline(row, State.NORMAL, CONFIG)


def test_we_are_there_while_anything_is() -> None:
    """Holdings, positions and pending withdrawals count; dust does not."""
    d = desk()
    d.tell(market(0, bitcoin()))
    here = [
        held(0, ("USD", "5")),
        held(0, ("XYZ", "0.1")),
        held(0, flow=flow(pending_count=1)),
        held(0, positions=[
            OpenPosition("mm", "main", "P", "BTC", "USD", Decimal(1), None, None, None)
        ]),
    ]  # fmt: skip
    gone = [held(0), held(0, ("USD", "0.4")), held(0, ("BTC", "0.00001"))]
    for expected, readings in ((True, here), (False, gone)):
        for reading in readings:
            d.tell(reading)
            assert has_business(d.state.parties["kraken"], d.state, CONFIG) is expected, reading
    assert not has_business(None, d.state, CONFIG)


def shipped() -> Desk:
    """Return the risk stage under the shipped policy."""
    return Desk(RiskStage(POLICY.risk, REFERENCE, LIMITS, RULES, Ensemble(POLICY.models)))


def test_counterparties_are_scored_and_our_exit_censors() -> None:
    """Both targets and the PD are scored; a sample is censored, not false, once we have left."""
    d = shipped()
    for minute in range(0, 120, 5):
        there = (("USD", "1000"),) if minute < 60 else ()
        d.tick(minute, market(minute, asset(), venues=[venue()]), held(minute, *there))
    scores = of(d.out, ScoreUpdated, "counterparty:kraken")
    targets = {"dislocation(75bp, 1h)", "withdrawal_stress(1, 6h)", "pd"}
    assert {s.target for s in scores} == targets
    names = {"rules", "anchored", "adaptive", "batch", "pooled", "served"}
    assert {s.generation for s in scores} == names
    pending = d.state.scorer.pending  # type: ignore[attr-defined] # the ladder's own state
    stress = pending["counterparty:kraken|withdrawal_stress(1, 6h)"]
    assert (stress.censored, stress.samples) == (2, [])
    gap = pending["counterparty:kraken|dislocation(75bp, 1h)"]
    assert (gap.censored, len(gap.samples)) == (0, 12)


def slips(minutes: float, *bp: float) -> list[FillSlippage]:
    """Return fills of half a million dollars of BTC."""
    return [FillSlippage(at(minutes), "BTC", "USD", 500_000.0, each) for each in bp]


def traded(d: Desk, first: int, last: int, bp: float) -> None:
    """Trade BTC every minute at a given slippage while holding some."""
    for minute in range(first, last):
        reading = held(minute, ("BTC", "25"))
        reading = msgspec.structs.replace(reading, slips=slips(minute, bp))
        quoted = bitcoin(volume_usd=1e5, half_spread_bp=1.0, seen=minute + 2)
        d.tick(minute + 0.5, market(minute + 0.4, quoted), reading)


def test_our_own_fills_make_leaving_dearer() -> None:
    """The exit cost is the learned quantile, or the square-root law before any fill."""
    d = shipped()
    traded(d, 0, 1, 0.0)
    law = d.stage._evaluator.stakes_calculator.assessor
    exposure = 25 * 20_000.0
    by_law = exposure * law.impact_law(d.state, "BTC").bp(exposure) * 1e-4
    plain = Desk(RiskStage(POLICY.risk, REFERENCE, LIMITS, RULES, Ensemble(POLICY.models)))
    plain.tick(
        0.5, market(0.4, bitcoin(volume_usd=1e5, half_spread_bp=1.0)), held(0, ("BTC", "25"))
    )
    before = plain.stage._evaluator.stakes_calculator.assessor.close(plain.state, "BTC", exposure)
    assert before == pytest.approx(by_law)
    traded(d, 1, 121, 600.0)
    after = law.close(d.state, "BTC", exposure)
    assert after == pytest.approx(exposure * 0.06, rel=0.2)
    assert after > 2.0 * before


def test_old_or_blind_fills_teach_nothing() -> None:
    """Fills of a catch-up or without a live price are counted, not learned from."""
    d = shipped()
    traded(d, 0, 3, 5.0)
    rows = d.state.scorer.slippage  # type: ignore[attr-defined] # the ladder's own state
    count = sum(b.count for b in rows["BTC"].buckets.values())
    late = msgspec.structs.replace(held(40, ("BTC", "25")), slips=slips(3, 400.0, 500.0))
    d.tick(40, market(40, bitcoin(seen=50)), late)
    dark = msgspec.structs.replace(held(80, ("BTC", "25")), slips=slips(79, 400.0))
    d.tick(80, dark)
    assert sum(b.count for b in rows["BTC"].buckets.values()) == count
    assert rows["BTC"].missed == 3
    assert d.state.parties["kraken"].slips == []


def test_the_decision_weighs_staying_against_leaving() -> None:
    """The decision states both in USD, as assessed, with the issuer as cause."""
    d = shipped()
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    d.minutes(
        1, 10, bp=-300.0, half_spread_bp=4.0, support=["kraken:USDC/USD"], refute=["x:USDC/USDT"]
    )
    made = of(d.out, DecisionMade, "asset:USDC")[-1]
    price = 0.97 * 500_000.0
    law = d.stage._evaluator.stakes_calculator.assessor.impact_law(d.state, "USDC")
    assert float(made.exit_cost_usd) == pytest.approx(price * law.bp(price) * 1e-4, abs=0.02)
    # 300 bp at an LGD of 0.2: the market charges a default probability of 15 %.
    assert float(made.el_usd) == pytest.approx(0.15 * 0.2 * price, abs=0.02)
    assert made.cause.value == "issuer"
    assert (made.support, made.refute) == (["kraken:USDC/USD"], ["x:USDC/USDT"])
    words = " ".join(made.reasons)
    assert f"expected loss of staying {made.el_usd:,.0f} USD" in words
    assert f"cost of leaving {made.exit_cost_usd:,.0f} USD" in words
    assert "seen on kraken:USDC/USD" in words
    assert "contradicted by x:USDC/USDT" in words


def test_a_coin_at_one_venue_has_a_way_out_that_costs() -> None:
    """The decision on an asset at a venue states the cost of selling it."""
    d = desk()
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset(half_spread_bp=4.0), venues=[venue()]))
    for minute in range(1, 16):
        gap = [("USDC", -400.0, minute * 2)]
        d.tick(minute, market(minute, asset(half_spread_bp=4.0), venues=[venue(local=gap)]))
    made = of(d.out, DecisionMade, "venue-asset:kraken/USDC")[-1]
    assert made.exit_cost_usd >= Decimal("200.00")


def test_assessments_use_the_learned_quantile() -> None:
    """The assessment of the firm includes the cost of closing positions."""
    costs = []
    for bp in (0.0, 3_000.0):
        d = shipped()
        traded(d, 0, 60, bp)
        perp = OpenPosition("mm", "main", "P", "BTC", "USD", Decimal(-20), None, None, None)
        for minute in range(60, 80):
            d.tick(minute, market(minute, bitcoin(seen=minute + 2)), held(minute, positions=[perp]))
        costs.append(of(d.out, CounterpartyAssessed, "counterparty:kraken")[-1].exit_cost_usd)
    assert costs[1] > 2 * costs[0] > 0
