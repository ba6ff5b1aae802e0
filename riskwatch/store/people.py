"""Tables of what people did: every command with what came of it, and what is in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import Boolean, Column, Double, Index, Table, Text

from riskwatch.core.outputs import CommandApplied, CommandRefused
from riskwatch.store.metadata import METADATA
from riskwatch.store.types import ExactDecimal, FreeText, Json, UtcTime

if TYPE_CHECKING:
    from riskwatch.store.write import Row

REFUSED: Final = "refused"
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
    """Row of :data:`OPERATOR_COMMAND`."""
    came: Row
    if isinstance(output, CommandApplied):
        came = (output.outcome, None, output.detail, output.request_id, True)
    else:
        came = (REFUSED, output.refusal.value, output.detail, None, output.authentic)
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
        *came,
        output.signature,
        output.cause_id,
        output.engine,
    )
