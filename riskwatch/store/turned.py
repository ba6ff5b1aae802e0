"""What tools ask of people's doings: what came of a command, and what is in force now."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import column, select, table

from riskwatch.core.money import usd
from riskwatch.core.risk.rows import scope_key, scope_row
from riskwatch.core.scopes import FIRM, VENUE_ASSET, parse
from riskwatch.store.people import OPERATOR_COMMAND, SCOPE_CONTROL
from riskwatch.store.state_rows import current_row

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from riskwatch.core.risk.rows import ScopeRow

Found = dict[str, Any]


def outcome(conn: Connection, cause_id: str) -> Found | None:
    """What came of the command of this identity at first; ``None`` while nothing has.

    What only claims to be it does not count, nor that it was sent again.
    """
    c = OPERATOR_COMMAND.c
    query = select(OPERATOR_COMMAND).where(c.cause_id == cause_id)
    found = conn.execute(query.order_by(c.authentic.desc(), c.ts, c.id)).mappings().first()
    return None if found is None else dict(found)


def history(conn: Connection, scope: str | None, limit: int) -> list[Found]:
    """Commands, the newest first."""
    c = OPERATOR_COMMAND.c
    query = select(OPERATOR_COMMAND).order_by(c.ts.desc(), c.commanded_at.desc(), c.id).limit(limit)
    if scope is not None:
        query = query.where(c.scope == scope)
    return [dict(row) for row in conn.execute(query).mappings()]


def controls(conn: Connection) -> dict[str, Found]:
    """What people have in force or in hand, by scope."""
    query = select(SCOPE_CONTROL).order_by(SCOPE_CONTROL.c.scope)
    return {row["scope"]: dict(row) for row in conn.execute(query).mappings()}


def scope_state(conn: Connection, scope: str) -> ScopeRow:
    """Read what the risk stage stores of a scope, in the format of this build."""
    return scope_row(current_row(conn, "risk", scope_key(scope)))


def exposure_of(conn: Connection, scope: str) -> tuple[Decimal, Decimal, int]:
    """Gross and net dollars of what we have on a scope, and how many rows have no price."""
    names = ("book", "counterparty", "asset", "component", "net_usd")
    view = table("exposure_now", *(column(name) for name in names))
    at = parse(scope)
    query = select(view.c.component, view.c.net_usd)
    if at.kind == VENUE_ASSET:
        query = query.where(view.c.counterparty == at.name, view.c.asset == at.asset)
    elif at.kind != FIRM:
        query = query.where(view.c[at.kind] == at.name)
    gross = net = Decimal(0)
    unpriced = 0
    for component, value in conn.execute(query):
        if component == "open_order":
            continue
        if value is None:
            unpriced += 1
            continue
        dollars = value if isinstance(value, Decimal) else usd(float(value))
        gross, net = gross + abs(dollars), net + dollars
    return gross, net, unpriced
