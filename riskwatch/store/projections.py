"""Projection tables: the outputs as rows to query, one table per subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, Table, Text

from riskwatch.core.outputs import CommandApplied, CommandRefused
from riskwatch.store.types import METADATA, ExactDecimal, FreeText, Json, UtcTime

if TYPE_CHECKING:
    from riskwatch.store.write import Row


# Tables of commands and their outcomes, and of the controls in force.

REFUSED_OUTCOME: Final = "refused"
"""Outcome of a command that had no effect."""

OPERATOR_COMMAND: Final = Table(
    "operator_command",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("ts", UtcTime, nullable=False, index=True),
    Column("commanded_at", UtcTime, nullable=False),
    Column("operator", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("reason", FreeText, nullable=False),
    Column("args", Json, nullable=False),
    Column("idempotency_key", Text, nullable=False, index=True),
    Column("outcome", Text, nullable=False),
    Column("refusal", Text, nullable=True),
    Column("detail", FreeText, nullable=False),
    Column("request_id", Text, nullable=True),
    Column("authentic", Boolean, nullable=False),
    Column("signature", FreeText, nullable=False),
    Column("cause_id", Text, nullable=False),
    Column("engine", Text, nullable=False),
    Column("deployment", Text, nullable=True),
    Index(None, "scope", "ts"),
)

SCOPE_CONTROL: Final = Table(
    "scope_control",
    METADATA,
    Column("scope", Text, primary_key=True),
    Column("request_id", Text, nullable=True),
    Column("request_action", Text, nullable=True),
    Column("request_by", Text, nullable=True),
    Column("request_until", UtcTime, nullable=True),
    Column("override_state", Text, nullable=True),
    Column("override_by", Text, nullable=True),
    Column("override_approved_by", Text, nullable=True),
    Column("override_until", UtcTime, nullable=True),
    Column("silence_by", Text, nullable=True),
    Column("silence_until", UtcTime, nullable=True),
    Column("retired_by", Text, nullable=True),
    Column("retired_ts", UtcTime, nullable=True),
    Column("acknowledged_by", Text, nullable=True),
    Column("acknowledged_ts", UtcTime, nullable=True),
    Column("unwind_by", Text, nullable=True),
    Column("unwind_max_usd", ExactDecimal, nullable=True),
    Column("unwind_max_slip_bp", Double, nullable=True),
    Column("unwind_until", UtcTime, nullable=True),
    Column("ts", UtcTime, nullable=False),
    Column("output_id", Text, nullable=False),
)


def command_row(output: CommandApplied | CommandRefused) -> Row:
    """Return the row of :data:`OPERATOR_COMMAND` for an output."""
    outcome: Row
    if isinstance(output, CommandApplied):
        outcome = (output.outcome, None, output.detail, output.request_id, True)
    else:
        outcome = (REFUSED_OUTCOME, output.refusal.value, output.detail, None, output.authentic)
    return (
        output.id,
        output.ts,
        output.commanded_at,
        output.operator,
        output.role,
        output.action,
        output.scope,
        output.reason,
        output.args,
        output.idempotency_key,
        *outcome,
        output.signature,
        output.cause_id,
        output.engine,
        None if output.deployment is msgspec.UNSET else output.deployment,
    )


EXPOSURE: Final = Table(
    "exposure",
    METADATA,
    Column("book", Text, primary_key=True),
    Column("counterparty", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("wallet", Text, primary_key=True, server_default=""),
    Column("asset", Text, primary_key=True),
    Column("component", Text, primary_key=True),
    Column("amount", ExactDecimal, nullable=False),
    Column("price_usd", ExactDecimal, nullable=True),
    Column("value_usd", ExactDecimal, nullable=True),
    Column("ts", UtcTime, nullable=False),
    Column("output_id", Text, nullable=False),
    Column("valued_by", Text, nullable=True),
    Column("priced_at", UtcTime, nullable=True),
    Column("confirmed_at", UtcTime, nullable=True),
)

POSITION: Final = Table(
    "position",
    METADATA,
    Column("book", Text, primary_key=True),
    Column("counterparty", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("wallet", Text, primary_key=True, server_default=""),
    Column("side", Text, primary_key=True, server_default=""),
    Column("instrument", Text, primary_key=True),
    Column("base", Text, nullable=False),
    Column("quote", Text, nullable=False),
    Column("qty", ExactDecimal, nullable=False),
    Column("entry_price", ExactDecimal, nullable=True),
    Column("mark_price", ExactDecimal, nullable=True),
    Column("liquidation_price", ExactDecimal, nullable=True),
    Column("notional_usd", ExactDecimal, nullable=True),
    Column("ts", UtcTime, nullable=False),
    Column("output_id", Text, nullable=False),
    Column("valued_by", Text, nullable=True),
    Column("priced_at", UtcTime, nullable=True),
    Column("confirmed_at", UtcTime, nullable=True),
    Column("kind", Text, nullable=False, server_default=""),
    Column("contract_type", Text, nullable=False, server_default=""),
    Column("contract_size", ExactDecimal, nullable=True),
    Column("settle", Text, nullable=False, server_default=""),
    Column("delta", ExactDecimal, nullable=True),
    Column("delta_usd", ExactDecimal, nullable=True),
    Column("pnl", ExactDecimal, nullable=True),
    Column("pnl_usd", ExactDecimal, nullable=True),
    Column("option_value_usd", ExactDecimal, nullable=True),
)

ASSET_VALUE: Final = Table(
    "asset_value",
    METADATA,
    Column("asset", Text, primary_key=True),
    Column("price_usd", Double, nullable=False),
    Column("deviation_bp", Double, nullable=False),
    Column("value_bp", Double, nullable=False),
    Column("direct_bp", Double, nullable=True),
    Column("sd_bp", Double, nullable=False),
    Column("live", Integer, nullable=False),
    Column("expected", Integer, nullable=False),
    Column("cause", Text, nullable=False),
    Column("quality", Text, nullable=False),
    Column("ts", UtcTime, nullable=False),
    Column("output_id", Text, nullable=False),
)

SCORE: Final = Table(
    "score",
    METADATA,
    Column("scope", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("generation", Text, primary_key=True),
    Column("authority", Text, nullable=False),
    Column("probability", Double, nullable=False),
    Column("severity", Double, nullable=False),
    Column("features", Json, nullable=False),
    Column("contributions", Json, nullable=False),
    Column("ts", UtcTime, nullable=False),
    Column("output_id", Text, nullable=False),
)

COUNTERPARTY_ASSESSMENT: Final = Table(
    "counterparty_assessment",
    METADATA,
    Column("scope", Text, primary_key=True),
    Column("gross_usd", ExactDecimal, nullable=False),
    Column("net_usd", ExactDecimal, nullable=False),
    Column("ead_usd", ExactDecimal, nullable=False),
    Column("pd", Double, nullable=False),
    Column("lgd", Double, nullable=False),
    Column("el_usd", ExactDecimal, nullable=False),
    Column("exit_cost_usd", ExactDecimal, nullable=False),
    Column("stuck_usd", ExactDecimal, nullable=False),
    Column("jump_to_default_share", Double, nullable=False),
    Column("horizon_s", Double, nullable=False),
    Column("ts", UtcTime, nullable=False),
    Column("output_id", Text, nullable=False),
)

LIMIT_STATE: Final = Table(
    "limit_state",
    METADATA,
    Column("limit_id", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("used_usd", ExactDecimal, nullable=False),
    Column("hard_usd", ExactDecimal, nullable=False),
    Column("warning_usd", ExactDecimal, nullable=False),
    Column("utilisation", Double, nullable=False),
    Column("status", Text, nullable=False),
    Column("ts", UtcTime, nullable=False),
    Column("output_id", Text, nullable=False),
    Column("why", FreeText, nullable=False, server_default=""),
)

DECISION_LOG: Final = Table(
    "decision_log",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("ts", UtcTime, nullable=False, index=True),
    Column("scope", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("quality", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("generation", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("reasons", Json, nullable=False),
    Column("features", Json, nullable=False),
    Column("contributions", Json, nullable=False),
    Column("limits", Json, nullable=False),
    Column("support", Json, nullable=False),
    Column("refute", Json, nullable=False),
    Column("flip", Json, nullable=False),
    Column("exposure_usd", ExactDecimal, nullable=False),
    Column("el_usd", ExactDecimal, nullable=False),
    Column("exit_cost_usd", ExactDecimal, nullable=False),
    Column("restriction", Json, nullable=False, server_default="{}"),
    Column("cause_id", Text, nullable=False),
    Column("engine", Text, nullable=False),
    Index(None, "scope", "ts"),
)

ADVISORY_LOG: Final = Table(
    "advisory_log",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("ts", UtcTime, nullable=False, index=True),
    Column("scope", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("in_force", Text, nullable=False),
    Column("opened_id", Text, nullable=False, index=True),
    Column("quality", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("generation", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("reasons", Json, nullable=False),
    Column("features", Json, nullable=False),
    Column("contributions", Json, nullable=False),
    Column("limits", Json, nullable=False),
    Column("support", Json, nullable=False),
    Column("refute", Json, nullable=False),
    Column("flip", Json, nullable=False),
    Column("exposure_usd", ExactDecimal, nullable=False),
    Column("el_usd", ExactDecimal, nullable=False),
    Column("exit_cost_usd", ExactDecimal, nullable=False),
    Column("cause_id", Text, nullable=False),
    Column("engine", Text, nullable=False),
)
"""What advisory rules would have decided; see the view ``advisory_decisions``."""

KILLSWITCH: Final = Table(
    "killswitch",
    METADATA,
    Column("scope", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("effective", Text, nullable=False),
    Column("quality", Text, nullable=False),
    Column("reasons", Json, nullable=False),
    Column("cause", Text, nullable=False),
    Column("decision_id", Text, nullable=False),
    Column("generation", Text, nullable=False),
    Column("valid_until", UtcTime, nullable=False),
    Column("ts", UtcTime, nullable=False),
    Column("output_id", Text, nullable=False),
    Column("unwind_max_usd", ExactDecimal, nullable=True),
    Column("unwind_max_slip_bp", Double, nullable=True),
    Column("unwind_until", UtcTime, nullable=True),
    Column("restriction", Json, nullable=False, server_default="{}"),
    Column("members", Json, nullable=False, server_default="[]"),
)

KILLSWITCH_HISTORY: Final = Table(
    "killswitch_history",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("ts", UtcTime, nullable=False, index=True),
    Column("scope", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("effective", Text, nullable=False),
    Column("quality", Text, nullable=False),
    Column("reasons", Json, nullable=False),
    Column("cause", Text, nullable=False),
    Column("decision_id", Text, nullable=False),
    Column("generation", Text, nullable=False),
    Column("valid_until", UtcTime, nullable=False),
    Column("cause_id", Text, nullable=False),
    Column("engine", Text, nullable=False),
    Column("unwind_max_usd", ExactDecimal, nullable=True),
    Column("unwind_max_slip_bp", Double, nullable=True),
    Column("unwind_until", UtcTime, nullable=True),
    Column("restriction", Json, nullable=False, server_default="{}"),
    Column("members", Json, nullable=False, server_default="[]"),
    Index(None, "scope", "ts"),
)

TRANSFER: Final = Table(
    "transfer",
    METADATA,
    Column("counterparty", Text, primary_key=True),
    Column("direction", Text, primary_key=True),
    Column("transfer_id", Text, primary_key=True),
    Column("book", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("wallet", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("amount", ExactDecimal, nullable=False),
    Column("status", Text, nullable=False),
    Column("moved_at", UtcTime, nullable=False),
    Column("in_transit", ExactDecimal, nullable=False),
    Column("linked_by", Text, nullable=False),
    Column("linked_counterparty", Text, nullable=False),
    Column("linked_transfer_id", Text, nullable=False),
    Column("short", ExactDecimal, nullable=True),
    Column("tx_id", Text, nullable=False),
    Column("network", Text, nullable=False),
    Column("instruction_id", Text, nullable=False),
    Column("ts", UtcTime, nullable=False),
    Column("output_id", Text, nullable=False),
)

HALT_EFFECT: Final = Table(
    "halt_effect",
    METADATA,
    Column("scope", Text, primary_key=True),
    Column("halted_at", UtcTime, nullable=False),
    Column("finding", Text, nullable=True),
    Column("filled_after_usd", ExactDecimal, nullable=False),
    Column("fills", BigInteger, nullable=False),
    Column("fills_unknown", BigInteger, nullable=False),
    Column("resting_usd", ExactDecimal, nullable=True),
    Column("resting", BigInteger, nullable=False),
    Column("flat_at", UtcTime, nullable=True),
    Column("ts", UtcTime, nullable=False),
    Column("output_id", Text, nullable=False),
    Column("effect", Text, nullable=False, server_default="unknown"),
    Column("restriction", Json, nullable=False, server_default="{}"),
)

DRAWDOWN: Final = Table(
    "drawdown",
    METADATA,
    Column("scope", Text, primary_key=True),
    Column("unit_value", Double, nullable=False),
    Column("high_water_mark", Double, nullable=False),
    Column("drawdown_bp", Double, nullable=False),
    Column("equity_usd", ExactDecimal, nullable=False),
    Column("coverage", Double, nullable=False),
    Column("unpriced", BigInteger, nullable=False),
    Column("linked", Boolean, nullable=False),
    Column("ts", UtcTime, nullable=False),
    Column("output_id", Text, nullable=False),
    Column("loss_day_bp", Double, nullable=False),
    Column("loss_24h_bp", Double, nullable=False),
)

PNL_PARTS: Final = ("trading", "fees", "funding", "interest", "revaluation", "unexplained")
"""The parts of a result."""
PNL: Final = Table(
    "pnl",
    METADATA,
    Column("scope", Text, primary_key=True),
    Column("day", UtcTime, primary_key=True),
    Column("equity_usd", ExactDecimal, nullable=False),
    Column("equity_start_usd", ExactDecimal, nullable=False),
    Column("pnl_usd", ExactDecimal, nullable=False),
    *(Column(f"{part}_usd", ExactDecimal, nullable=False) for part in PNL_PARTS),
    Column("flow_usd", ExactDecimal, nullable=False),
    Column("pnl_24h_usd", ExactDecimal, nullable=False),
    Column("coverage", Double, nullable=False),
    Column("ts", UtcTime, nullable=False),
    Column("output_id", Text, nullable=False),
)

HIGH_WATER_MARK: Final = Table(
    "high_water_mark",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("ts", UtcTime, nullable=False, index=True),
    Column("scope", Text, nullable=False),
    Column("former", Double, nullable=False),
    Column("high_water_mark", Double, nullable=False),
    Column("unit_value", Double, nullable=False),
    Column("former_bp", Double, nullable=False),
    Column("drawdown_bp", Double, nullable=False),
    Column("equity_usd", ExactDecimal, nullable=False),
    Column("coverage", Double, nullable=False),
    Column("requested_by", FreeText, nullable=False),
    Column("approved_by", FreeText, nullable=False),
    Column("reason", FreeText, nullable=False),
    Column("cause_id", Text, nullable=False),
    Column("engine", Text, nullable=False),
)

ALERT: Final = Table(
    "alert",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("alert", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("title", FreeText, nullable=False),
    Column("reasons", Json, nullable=False),
    Column("exposure_usd", ExactDecimal, nullable=False),
    Column("decision_id", Text, nullable=True),
    Column("opened_ts", UtcTime, nullable=False),
    Column("last_ts", UtcTime, nullable=False),
    Column("last_id", Text, nullable=False),
    Column("raised", BigInteger, nullable=False),
    Column("resolved_ts", UtcTime, nullable=True),
    Column("resolved_id", Text, nullable=True),
)

# The database refuses a second open alert with the same key.
Index(
    "uq_alert_open",
    ALERT.c.alert,
    unique=True,
    sqlite_where=ALERT.c.resolved_ts.is_(None),
    postgresql_where=ALERT.c.resolved_ts.is_(None),
)

# Several workers may find the same issue, so each worker has rows of its own. They never wait for
# one another, and a count is the count of one worker.
DATA_QUALITY: Final = Table(
    "data_quality",
    METADATA,
    Column("worker", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("issue", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", FreeText, nullable=False),
    Column("cause", Text, nullable=False),
    Column("opened_ts", UtcTime, nullable=False),
    Column("last_ts", UtcTime, nullable=False),
    Column("last_id", Text, nullable=False),
    Column("raised", BigInteger, nullable=False),
    Column("resolved_ts", UtcTime, nullable=True),
    Column("resolved_id", Text, nullable=True),
)

Index(
    "uq_data_quality_open",
    DATA_QUALITY.c.worker,
    DATA_QUALITY.c.issue,
    DATA_QUALITY.c.subject,
    unique=True,
    sqlite_where=DATA_QUALITY.c.resolved_ts.is_(None),
    postgresql_where=DATA_QUALITY.c.resolved_ts.is_(None),
)

AUTHORITY_CHANGE: Final = Table(
    "authority_change",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("ts", UtcTime, nullable=False, index=True),
    Column("target", Text, nullable=False),
    Column("generation", Text, nullable=False),
    Column("former", Text, nullable=False),
    Column("authority", Text, nullable=False),
    Column("ceiling", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", FreeText, nullable=False),
    Column("by", FreeText, nullable=False),
    Column("evidence", Json, nullable=False),
    Column("cause_id", Text, nullable=False),
    Column("engine", Text, nullable=False),
)

MODEL_STANDING: Final = Table(
    "model_standing",
    METADATA,
    Column("target", Text, primary_key=True),
    Column("generation", Text, primary_key=True),
    Column("authority", Text, nullable=False),
    Column("ceiling", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("changed", UtcTime, nullable=True),
    Column("quarantined", Boolean, nullable=False),
    Column("e_up", Double, nullable=False),
    Column("e_down", Double, nullable=False),
    Column("needed", Double, nullable=False),
    Column("labels", BigInteger, nullable=False),
    Column("positives", BigInteger, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("entities", BigInteger, nullable=False),
    Column("log_loss", Double, nullable=False),
    Column("brier", Double, nullable=False),
    Column("reliability", Double, nullable=False),
    Column("resolution", Double, nullable=False),
    Column("uncertainty", Double, nullable=False),
    Column("bins", Json, nullable=False),
    Column("ts", UtcTime, nullable=False),
    Column("output_id", Text, nullable=False),
)
