"""The composition root: it builds stages, models and configuration into pipelines.

A worker runs a :class:`~riskwatch.engine.pipeline.Pipeline` of the stages that it hosts. To add a
stage, add a slot here. To add a model, name it in ``models.toml``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from riskwatch.config import paths
from riskwatch.config.config import Config, load
from riskwatch.config.recorder import decode_record, unknown_names
from riskwatch.config.sources import source_lines, with_unproven
from riskwatch.config.spellings import unlisted_lines
from riskwatch.config.unconfirmed import advisory_lines, with_unconfirmed
from riskwatch.contracts.signing import Ed25519Verifier
from riskwatch.core.deployment import EMBEDDED
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


def configuration(directory: Path | None = None, *, build_models: bool = True) -> Config:
    """Read a rules folder; the shipped one by default.

    `build_models` is as in :func:`riskwatch.config.config.load`.

    Raises
    ------
    ConfigError
        If a value is wrong. It names the file, the dotted key, the expected and the found value.
    """
    return load(directory or paths.rules_folder(), build_models=build_models)


def confirmed(config: Config, recorded: bytes | None) -> Config:
    """Give the configuration that a worker runs, and log what of it only advises.

    Parameters
    ----------
    config : Config
        As it was read.
    recorded : bytes or None
        What the worker recorded last, as the store gives it.
    """
    last = decode_record(recorded)
    for line in unknown_names(last):
        log.warning("recorded configuration", what=line)
    for line in unlisted_lines(config.limits, config.policy.risk, config.name_table):
        log.warning("unlisted", what=line)
    found = with_unconfirmed(config, last)
    for line in advisory_lines(found):
        log.warning("advisory", what=line)
    return found


def proven(config: Config, recorded: bytes | None) -> Config:
    """Return the configuration of a live worker, and log which sources of news lack a proof.

    Parameters and result are those of :func:`confirmed`.
    """
    found = with_unproven(config, decode_record(recorded))
    for line in source_lines(found):
        log.warning("source of news", what=line)
    return found


def ledger_slot(config: Config, *, live: bool = False) -> StageSlot:
    """Return the slot of the ledger stage; `live` if its time is that of the clock."""
    stage = LedgerStage(config.policy.ledger, config.reference, live=live)
    return StageSlot(stage, LedgerState(), (*LEDGER_EVENTS, Tick))


def market_slot(config: Config) -> StageSlot:
    """Return the slot of the market stage."""
    stage = MarketStage(config.policy.market, config.reference)
    return StageSlot(stage, MarketState(), (*MARKET_EVENTS, Tick), journal=True)


def risk_slot(
    config: Config, scorer: Scorer | None = None, deployment: str = EMBEDDED
) -> StageSlot:
    """Return the slot of the risk stage, with its models (or `scorer`) and its operators.

    Commands of `deployment` count.
    """
    stage = RiskStage(
        config.policy.risk,
        config.reference,
        config.limits,
        config.rules,
        scorer or Ensemble(config.policy.models),
        Ed25519Verifier(config.operators),
        deployment,
        config.name_table,
    )
    readings = (CounterpartyReading, PartitionFault, MarketReading)
    takes = (*readings, Credit, LegalEntity, NettingSet, Command, Tick)
    return StageSlot(stage, stage.fresh(), takes, journal=True)


def ledger_pipeline(config: Config, *, live: bool = False) -> Pipeline:
    """Return the pipeline of a ledger worker; `live` if its time is that of the clock."""
    return Pipeline([ledger_slot(config, live=live)], names=config.name_table)


def risk_pipeline(config: Config, deployment: str = EMBEDDED) -> Pipeline:
    """Return the pipeline of the risk worker: market and risk, in one transaction."""
    slots = [market_slot(config), risk_slot(config, deployment=deployment)]
    return Pipeline(slots, names=config.name_table)


def pipeline(
    config: Config,
    *,
    keep_events: bool = False,
    scorer: Scorer | None = None,
    deployment: str = EMBEDDED,
) -> Pipeline:
    """Return a pipeline of all stages, as ``riskwatch replay`` and ``riskwatch demo`` run it."""
    slots = (ledger_slot(config), market_slot(config), risk_slot(config, scorer, deployment))
    return Pipeline(slots, keep_events=keep_events, names=config.name_table)
