"""The policy: the settings of all stages, from ``policy.toml`` and ``models.toml``."""

from __future__ import annotations

import msgspec

from riskwatch.core.bounds import Positive
from riskwatch.core.ledger.config import LedgerConfig
from riskwatch.core.market.config import MarketConfig
from riskwatch.core.risk.config import RiskConfig
from riskwatch.core.risk.scorer import ModelsConfig


class IntakeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How old a fact may be for a live worker (``[intake]`` in ``rules/policy.toml``).

    The age of a fact is the time of its arrival at the broker less its own time. Fills, transfers
    and news always count. A worker on the clock of events refuses no fact for its age.

    Attributes
    ----------
    market_age_s : float
        Largest age of a quote or a peg, seconds.
    snapshot_age_s : float
        Largest age of a snapshot of a balance, a position or an open order, seconds. The default is
        four days, because a bank may state on Tuesday the balance of Friday.
    backfill : list of str
        Sources whose facts are accepted at any age.
    """

    market_age_s: Positive = 3_600.0
    snapshot_age_s: Positive = 345_600.0
    backfill: list[str] = []


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
    intake : IntakeConfig
        How old a fact may be for a live worker.
    """

    market: MarketConfig = MarketConfig()
    ledger: LedgerConfig = LedgerConfig()
    risk: RiskConfig = RiskConfig()
    models: ModelsConfig = ModelsConfig()
    intake: IntakeConfig = IntakeConfig()
