"""Outputs of a short crisis, as the stages publish them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from riskwatch.core.enums import Cause, Quality, QualityIssue, State
from riskwatch.core.outputs import (
    AlertRaised,
    AssetValued,
    CounterpartyAssessed,
    DataQualityRaised,
    DecisionMade,
    ExposureChanged,
    KillSwitchChanged,
    Output,
    ScoreUpdated,
)
from riskwatch.dashboard.board import Board

START = datetime(2023, 3, 10, 12, tzinfo=UTC)
END = datetime(2023, 3, 13, 16, tzinfo=UTC)
ISSUERS = {"USDC": "circle", "USDT": "tether"}
_ids = count(1)


def board() -> Board:
    """Return an empty board over the weekend."""
    return Board("USDC's weekend off its peg", START, END, issuers=ISSUERS)


def at(hours: float) -> datetime:
    """Return the moment `hours` after the start."""
    return START + timedelta(hours=hours)


def head(hours: float) -> dict[str, Any]:
    """Return the fields that every output has."""
    n = next(_ids)
    return {"id": f"{n:032x}", "cause_id": f"tick/{n}", "ts": at(hours)}


def valued(asset: str, hours: float, deviation: float, usd: float = 1.0) -> AssetValued:
    """Return one valuation."""
    return AssetValued(
        **head(hours), asset=asset, price_usd=usd * (1 + deviation / 1e4), deviation_bp=deviation,
        value_bp=deviation, direct_bp=None, sd_bp=2.0, live=5, expected=6,
        cause=Cause.ISSUER if abs(deviation) > 20 else Cause.NONE, quality=Quality.GOOD,
    )  # fmt: skip


def exposed(
    venue: str, asset: str, usd: str | None, component: str = "custody", amount: str = "1"
) -> ExposureChanged:
    """Return one exposure; `usd` is its value, ``None`` without a price."""
    return ExposureChanged(
        **head(0), book="treasury", counterparty=venue, account="treasury", asset=asset,
        component=component, amount=Decimal(amount), price_usd=None if usd is None else Decimal(1),
        value_usd=None if usd is None else Decimal(usd),
    )  # fmt: skip


def decided(scope: str, hours: float, before: State, after: State, why: str) -> DecisionMade:
    """Return one decision."""
    return DecisionMade(
        **head(hours), scope=scope, previous=before, state=after, quality=Quality.GOOD,
        cause=Cause.ISSUER, generation="rules", rule="asset.discount", reasons=[why],
        features={"discount_bp": 180.0}, contributions={}, limits={"discount_bp": 100.0},
        support=["kraken:USDC/USD"], refute=[], flip={}, exposure_usd=Decimal(3200000),
        el_usd=Decimal(50000), exit_cost_usd=Decimal(9000),
    )  # fmt: skip


def switched(
    scope: str, hours: float, state: State, effective: State | None = None
) -> KillSwitchChanged:
    """Return one change of a switch."""
    return KillSwitchChanged(
        **head(hours), scope=scope, state=state, effective=effective or state,
        quality=Quality.GOOD if effective is None else Quality.UNKNOWN,
        reasons=["discount 180.0 bp, limit 100.0 bp"], cause=Cause.ISSUER, decision_id="d",
        generation="rules", valid_until=at(hours + 1),
    )  # fmt: skip


def scored(
    generation: str, authority: str, probability: float, target: str = "depeg"
) -> ScoreUpdated:
    """Return one score of asset:USDC."""
    return ScoreUpdated(
        **head(0), scope="asset:USDC", target=target, generation=generation, authority=authority,
        probability=probability, severity=0.0, features={}, contributions={},
    )  # fmt: skip


def crisis() -> list[Output]:
    """Return the outputs of a day and a half: calm, discount, HALT, one bad feed."""
    outputs: list[Output] = []
    for hour in range(40):
        depth = 0.0 if hour < 10 else -35.0 * (hour - 9)
        outputs += [
            valued("USDC", hour, depth),
            valued("USDT", hour, min(170.0, 5.0 * hour)),
            valued("BTC", hour, 0.0, 20_123.0),
        ]
    outputs += [
        exposed("kraken", "USDC", "1600000"),
        exposed("kraken", "USD", "2350000"),
        exposed("coinbase", "USDC", "960000"),
        exposed("binanceus", "BTC", "480000"),
        exposed("binanceus", "USDT", "420000"),
        decided("asset:USDC", 10, State.NORMAL, State.WATCH, "35 bp below its peg for 5 min"),
        switched("asset:USDC", 10, State.WATCH),
        decided(
            "asset:USDC",
            15,
            State.WATCH,
            State.HALT,
            "USDC is 180.0 bp below its peg [limit 100 bp] on 3 venues, none refutes",
        ),
        switched("asset:USDC", 15, State.HALT),
        AlertRaised(
            **head(15),
            alert="asset:USDC",
            scope="asset:USDC",
            severity=State.HALT,
            cause=Cause.ISSUER,
            title="USDC: stop new risk",
            reasons=[],
            exposure_usd=Decimal(3200000),
        ),
        DataQualityRaised(
            **head(16),
            issue=QualityIssue.FEED_SPIKE,
            subject="binanceus:USDC/USDT",
            detail="one print of 0.822, the next came back",
        ),
        scored("rules", "full", 0.93),
        scored("anchored", "bounded", 0.97),
        CounterpartyAssessed(
            **head(15),
            scope="issuer:circle",
            gross_usd=Decimal(3200000),
            net_usd=Decimal(3200000),
            ead_usd=Decimal(3300000),
            pd=0.01,
            lgd=0.5,
            el_usd=Decimal(16500),
            exit_cost_usd=Decimal(9000),
            stuck_usd=Decimal(0),
            jump_to_default_share=0.1,
            horizon_s=86400.0,
        ),
    ]
    return outputs
