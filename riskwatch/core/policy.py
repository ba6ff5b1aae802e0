"""``policy.toml`` and ``models.toml`` as one frozen value: how the stages trust and decide."""

from __future__ import annotations

import msgspec

from riskwatch.core.ledger.config import LedgerConfig
from riskwatch.core.market.config import MarketConfig
from riskwatch.core.risk.config import RiskConfig
from riskwatch.core.risk.scorer import ModelsConfig


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings that are neither reference data, limits nor rules.

    Attributes
    ----------
    market : MarketConfig
        How feeds are trusted.
    ledger : LedgerConfig
        How long facts are remembered, and how far a snapshot may differ.
    risk : RiskConfig
        How readings become dollars, features and states.
    models : ModelsConfig
        What is predicted, and by which generations: ``models.toml``.
    """

    market: MarketConfig = MarketConfig()
    ledger: LedgerConfig = LedgerConfig()
    risk: RiskConfig = RiskConfig()
    models: ModelsConfig = ModelsConfig()
