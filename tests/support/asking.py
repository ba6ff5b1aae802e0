"""A model that asks for the HALT of a counterparty, and a stage in which it gets it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.enums import State
from riskwatch.core.risk.config import Ask, RiskConfig
from riskwatch.core.risk.scorer import ModelScore
from riskwatch.core.risk.stage import RiskStage
from tests.support.rederiving import CONFIG
from tests.support.risk import LIMITS, REFERENCE, RULES, Desk, NoScorer, asset, held, market, venue

if TYPE_CHECKING:
    from riskwatch.config.config import Config
    from riskwatch.core.policy import Policy

SCOPE: Final = "counterparty:kraken"
TARGET: Final = "shut(1d)"
ASK: Final = Ask(
    target=TARGET,
    generation="g",
    state=State.HALT,
    at=0.5,
    dwell_s=60.0,
    observations=2,
    scope_kind="counterparty",
)


class Certain(NoScorer):
    """A model of full authority that is sure of every counterparty, and abstains elsewhere."""

    def observe(self, *args: object, **kwargs: object) -> list[ModelScore]:
        """Give the same probability each time."""
        del kwargs
        scope, kind = str(args[2]), args[3]
        if kind != "counterparty":
            return []
        return [
            ModelScore(
                scope, TARGET, "g", "full", State.HALT, 0.9, 1.8, lambda: ({}, {"bias": 2.2})
            )
        ]


def asking() -> Config:
    """The shipped configuration with this ask."""
    risk = msgspec.structs.replace(CONFIG.policy.risk, asks=(ASK,))
    policy: Policy = msgspec.structs.replace(CONFIG.policy, risk=risk)
    return msgspec.structs.replace(CONFIG, policy=policy)


def asked() -> Desk:
    """A stage in which the model has asked for long enough."""
    config: RiskConfig = asking().policy.risk
    desk = Desk(RiskStage(config, REFERENCE, LIMITS, RULES, Certain()))
    for minute in range(0, 30, 5):
        desk.tick(minute, held(minute, ("USDC", "1000")), market(minute, asset(), venues=[venue()]))
    return desk
