"""The composition root: the one place in which stages, models and configuration are put together.

A worker is a :class:`~riskwatch.engine.pipeline.Pipeline` of the stages that it hosts. To add a
stage, give it a slot here; to add a model, name it in ``models.toml``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from riskwatch.config import paths
from riskwatch.config.config import Config, load
from riskwatch.config.recorder import decode_record
from riskwatch.config.unconfirmed import advisory_lines, with_unconfirmed
from riskwatch.contracts.signing import Ed25519Verifier
from riskwatch.core.events import (
    LEDGER_EVENTS,
    MARKET_EVENTS,
    Command,
    Credit,
    LegalEntity,
    NettingSet,
    Tick,
)
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.market.stage import MarketStage
from riskwatch.core.market.state import MarketState
from riskwatch.core.readings import CounterpartyReading, MarketReading, PartitionFault
from riskwatch.core.risk.stage import RiskStage
from riskwatch.engine.pipeline import Pipeline, StageSlot
from riskwatch.models.ensemble import Ensemble

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.core.risk.scorer import Scorer


log = structlog.get_logger(__name__)


def configuration(directory: Path | None = None) -> Config:
    """Read a rules folder; the shipped one by default.

    Raises
    ------
    ConfigError
        With file, dotted key, what was expected and what was found.
    """
    return load(directory or paths.rules_folder())


def confirmed(config: Config, recorded: bytes | None) -> Config:
    """Give the configuration that a worker runs, and log what of it only advises.

    Parameters
    ----------
    config : Config
        As it was read.
    recorded : bytes or None
        What the worker recorded last, as the store gives it.
    """
    found = with_unconfirmed(config, decode_record(recorded))
    for line in advisory_lines(found):
        log.warning("advisory", what=line)
    return found


def ledger_slot(config: Config) -> StageSlot:
    """Make the ledger stage in its place."""
    return StageSlot(LedgerStage(config.policy.ledger), LedgerState(), (*LEDGER_EVENTS, Tick))


def market_slot(config: Config) -> StageSlot:
    """Make the market stage in its place."""
    stage = MarketStage(config.policy.market, config.reference)
    return StageSlot(stage, MarketState(), (*MARKET_EVENTS, Tick), journal=True)


def risk_slot(config: Config, scorer: Scorer | None = None) -> StageSlot:
    """Make the risk stage, with its models (or another `scorer`) and who may command it."""
    stage = RiskStage(
        config.policy.risk,
        config.reference,
        config.limits,
        config.rules,
        scorer or Ensemble(config.policy.models),
        Ed25519Verifier(config.operators),
    )
    heard = (CounterpartyReading, PartitionFault, MarketReading)
    takes = (*heard, Credit, LegalEntity, NettingSet, Command, Tick)
    return StageSlot(stage, stage.fresh(), takes, journal=True)


def ledger_pipeline(config: Config) -> Pipeline:
    """Make what a ledger worker runs."""
    return Pipeline([ledger_slot(config)])


def risk_pipeline(config: Config) -> Pipeline:
    """Make what the risk worker runs: market and risk, in one transaction."""
    return Pipeline([market_slot(config), risk_slot(config)])


def pipeline(
    config: Config, *, keep_events: bool = False, scorer: Scorer | None = None
) -> Pipeline:
    """All stages in one process, as ``riskwatch replay`` and ``riskwatch demo`` run them."""
    slots = (ledger_slot(config), market_slot(config), risk_slot(config, scorer))
    return Pipeline(slots, keep_events=keep_events)
