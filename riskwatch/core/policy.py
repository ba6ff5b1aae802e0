"""The policy: the settings of all stages, from ``policy.toml`` and ``models.toml``."""

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
        Settings of the market stage.
    ledger : LedgerConfig
        Settings of the ledger stage.
    risk : RiskConfig
        Settings of the risk stage.
    models : ModelsConfig
        Targets and generations of the models (``models.toml``).
    """

    market: MarketConfig = MarketConfig()
    ledger: LedgerConfig = LedgerConfig()
    risk: RiskConfig = RiskConfig()
    models: ModelsConfig = ModelsConfig()
