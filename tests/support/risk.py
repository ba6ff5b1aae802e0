"""Short ways to drive the risk stage: readings, news and ticks at minutes after a start."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from riskwatch.core.clock import MINUTE, micros
from riskwatch.core.enums import Cause
from riskwatch.core.events import Credit, LegalEntity, NettingSet, Tick
from riskwatch.core.readings import (
    AssetReading,
    CounterpartyReading,
    FlowFeatures,
    Holding,
    MarketReading,
    OpenPosition,
    VenueReading,
)
from riskwatch.core.reference import Asset, Backing, Limit, LimitsConfig, Party, Reference
from riskwatch.core.risk.config import RiskConfig
from riskwatch.core.risk.scorer import SquareRootSlippage
from riskwatch.core.risk.stage import RiskStage
from riskwatch.engine import bootstrap
from riskwatch.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from riskwatch.core.outputs import AuthorityChanged, Output
    from riskwatch.core.risk.scorer import ModelScore, SlippageModel
    from riskwatch.core.risk.stage import RiskEvent
    from riskwatch.core.risk.state import RiskState
    from riskwatch.core.rules import RulePack
    from riskwatch.core.stage import Row, RowChanges

START = datetime(2023, 3, 11, tzinfo=UTC)
ZERO_US = micros(START)
RULES = bootstrap.configuration().rules
CALM = FlowFeatures(0.0, 0.0, 0, 0, 0, {}, {}, 0.0, 0)
REFERENCE = Reference(
    assets={
        "USD": Asset(id="USD", fiat=True, volatility=0.0),
        "USDC": Asset(id="USDC", peg="USD", issuer="circle", volatility=0.02),
        "USDT": Asset(id="USDT", peg="USD", issuer="tether", volatility=0.02),
        "BTC": Asset(id="BTC", volatility=0.6),
    },
    parties={
        "kraken": Party(id="kraken", kind="exchange", lgd=0.6, rating="BB", group="g"),
        "coinbase": Party(id="coinbase", kind="exchange", lgd=0.5, rating="BB", group="g"),
        "bitstamp": Party(id="bitstamp", kind="exchange", rating="BB"),
        "binance": Party(id="binance", kind="exchange", rating="B"),
        "circle": Party(
            id="circle", kind="issuer", lgd=0.2, rating="BBB",
            backing=(Backing("svb", 0.1), Backing("bny", 0.2)),
        ),
        "tether": Party(id="tether", kind="issuer", lgd=0.4, rating="BB"),
        "svb": Party(id="svb", kind="bank", lgd=0.4, rating="BBB"),
        "bny": Party(id="bny", kind="bank", lgd=0.4, rating="A"),
    },
    pd_by_rating={"A": 0.002, "BBB": 0.01, "BB": 0.02, "unrated": 0.077, "D": 1.0},
)  # fmt: skip
LIMITS = LimitsConfig(
    equity_usd=1_000_000.0,
    limits=(
        Limit(id="firm", scope_kind="firm", subject="*", hard_usd=10_000_000.0),
        Limit(id="any", scope_kind="counterparty", subject="*", hard_usd=1_000_000.0),
        Limit(id="usdc", scope_kind="asset", subject="USDC", hard_usd=2_000_000.0),
        Limit(id="circle", scope_kind="issuer", subject="circle", hard_usd=2_000_000.0),
        Limit(id="group", scope_kind="group", subject="g", hard_usd=1_500_000.0),
        Limit(id="svb", scope_kind="bank", subject="svb", hard_usd=100_000.0),
        Limit(id="books", scope_kind="book", subject="*", hard_usd=5_000_000.0),
    ),
)


class NoState:
    """State of models that there are none of."""

    def drain(self) -> RowChanges:
        """Nothing changed."""
        return {}

    def load(self, rows: dict[str, Row]) -> None:
        """Nothing to load."""
        assert not rows


class NoScorer:
    """No models."""

    slippage: SlippageModel = SquareRootSlippage()

    def fresh(self) -> NoState:
        """Make the state of none."""
        return NoState()

    def observe(self, *args: object, **kwargs: object) -> list[ModelScore]:
        """Say nothing."""
        del args, kwargs
        return []

    def report(self, *args: object) -> list[Output]:
        """Say nothing."""
        del args
        return []

    def move(self, *args: object, **kwargs: object) -> AuthorityChanged:
        """Refuse: there is nobody."""
        del args, kwargs
        raise ModelError("there are no generations")


def at(minutes: float) -> int:
    """Event time, microseconds."""
    return ZERO_US + round(minutes * MINUTE)


def asset(name: str = "USDC", bp: float = 0.0, seen: int = 1, **fields: Any) -> AssetReading:
    """Reading of an asset at `bp` from its peg, after `seen` observations."""
    settings: dict[str, Any] = {
        "asset": name, "price_usd": 1.0 + bp * 1e-4, "value_bp": bp, "direct_bp": None,
        "deviation_bp": bp, "sd_bp": 5.0, "live": 4, "expected": 4, "venues": 2,
        "fiat_path": True, "observations": seen,
        "cause": Cause.ISSUER if abs(bp) >= 15.0 else Cause.NONE,
        "support": [], "refute": [], "vol_bp": 1.0, "volume_usd": 0.0, "half_spread_bp": 0.0,
    }  # fmt: skip
    return AssetReading(**(settings | fields))


def bitcoin(price: float = 20_000.0, **fields: Any) -> AssetReading:
    """Reading of BTC."""
    return asset("BTC", price_usd=price, **fields)


def venue(name: str = "kraken", **fields: Any) -> VenueReading:
    """Reading of a venue."""
    settings: dict[str, Any] = {
        "venue": name, "dislocation_bp": 0.0, "bases": 0, "live": 3, "expected": 3, "local": []
    }  # fmt: skip
    return VenueReading(**(settings | fields))


def market(
    minutes: float, *assets: AssetReading, venues: Iterable[VenueReading] = ()
) -> MarketReading:
    """Reading of the market."""
    return MarketReading(at(minutes), list(assets), list(venues))


def held(
    minutes: float,
    *holdings: tuple[str, str],
    party: str = "kraken",
    component: str = "custody",
    positions: Iterable[OpenPosition] = (),
    flow: FlowFeatures = CALM,
) -> CounterpartyReading:
    """Reading of a counterparty: (asset, amount) in book ``mm``, account ``main``."""
    rows = [Holding("mm", "main", a, component, Decimal(n)) for a, n in holdings]
    return CounterpartyReading(at(minutes), party, rows, list(positions), flow)


EventT = TypeVar("EventT", Credit, LegalEntity, NettingSet)


def news(cls: type[EventT], minutes: float, event_id: str, **fields: Any) -> EventT:
    """Make a credit event, or one of its siblings."""
    common: dict[str, Any] = {
        "v": 1, "event_id": event_id, "ts": START + timedelta(minutes=minutes), "source": "press"
    }  # fmt: skip
    return cls(**(common | fields))


@dataclass
class Desk:
    """The risk stage with its state, and everything that it put out."""

    stage: RiskStage
    state: RiskState = field(init=False)
    out: list[Output] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = self.stage.fresh()

    def tell(self, *events: RiskEvent) -> list[Output]:
        """Hand events over; gives what they brought about."""
        made = [output for event in events for output in self.stage.step(self.state, event)]
        self.out += made
        return made

    def tick(self, minutes: float, *events: RiskEvent) -> list[Output]:
        """Hand events over, then a tick."""
        return self.tell(*events, Tick(at(minutes)))

    def minutes(self, first: int, last: int, **reading: Any) -> list[Output]:
        """Tick each minute with one fresh reading of USDC."""
        made: list[Output] = []
        for minute in range(first, last + 1):
            made += self.tick(minute, market(minute, asset(seen=minute + 2, **reading)))
        return made


def desk(rules: RulePack = RULES, limits: LimitsConfig = LIMITS, **config: Any) -> Desk:
    """Make a risk stage of the shipped rules, without models."""
    settings = RiskConfig(**config)
    return Desk(RiskStage(settings, REFERENCE, limits, rules, NoScorer()))


OutputT = TypeVar("OutputT", bound="Output")


def of(outputs: Iterable[Output], kind: type[OutputT], scope: str | None = None) -> list[OutputT]:
    """Outputs of a kind, and of a scope."""
    return [
        o
        for o in outputs
        if isinstance(o, kind) and (scope is None or getattr(o, "scope", None) == scope)
    ]


def without(limits: LimitsConfig, *names: str) -> LimitsConfig:
    """Limits but some."""
    kept = tuple(limit for limit in limits.limits if limit.id not in names)
    return msgspec.structs.replace(limits, limits=kept)
