"""Limits as people have changed them: lowered at once, raised by two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from riskwatch.core.reasons import CommandRefusal as No
from riskwatch.core.risk.control import HardRow
from riskwatch.core.risk.order import Arguments, RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.reference import Limit
    from riskwatch.core.risk.order import Order
    from riskwatch.core.risk.state import RiskState


def in_force(limit: Limit, hards: Mapping[str, HardRow]) -> Limit:
    """Give a limit as it is now."""
    row = hards.get(limit.id)
    if row is None:
        return limit
    return msgspec.structs.replace(limit, hard_usd=row.hard_usd, warning_share=row.warning_share)


def scope_of(limit: Limit) -> str:
    """Scope that a command about a limit names.

    Examples
    --------
    >>> from riskwatch.core.reference import Limit
    >>> scope_of(Limit(id="x", scope_kind="issuer", subject="circle", hard_usd=1.0))
    'issuer:circle'
    """
    return "firm" if limit.scope_kind == "firm" else f"{limit.scope_kind}:{limit.subject}"


def proposed(state: RiskState, order: Order, limits: Mapping[str, Limit]) -> tuple[Limit, Limit]:
    """Give the limit that a command names as it is, and as it should become."""
    args = Arguments(order)
    name = args.text("limit")
    limit = limits.get(name)
    if limit is None or scope_of(limit) != order.scope:
        raise RefusedError(No.LIMIT_UNKNOWN, f"no limit {name[:64]!r} on {order.scope}")
    now = in_force(limit, state.hards)
    hard = args.number("hard_usd")
    share = args.number("warning_share", now.warning_share)
    args.end()
    if share > 1.0:
        raise RefusedError(No.ARGUMENT_INVALID, "warning_share must be at most 1")
    return now, msgspec.structs.replace(now, hard_usd=hard, warning_share=share)


def loosens(now: Limit, then: Limit) -> bool:
    """Whether more is allowed, or the warning comes later."""
    return then.hard_usd > now.hard_usd or (
        then.hard_usd * then.warning_share > now.hard_usd * now.warning_share
    )


def as_args(then: Limit) -> dict[str, Any]:
    """Write down what a request keeps of a limit."""
    return {"limit": then.id, "hard_usd": then.hard_usd, "warning_share": then.warning_share}


def apply_limit(state: RiskState, args: Mapping[str, Any], by: str, us: int) -> str:
    """Put a limit in force; what we hold is measured against it at the next tick."""
    name, hard, share = args["limit"], float(args["hard_usd"]), float(args["warning_share"])
    state.hards[name] = HardRow(hard, share, by, us)
    state.mark(f"hard/{name}")
    state.bound = None
    state.meta.holdings = True
    state.mark("meta")
    return f"{name}: hard {hard:,.2f} USD, warning from {share:.0%}"
