"""A drill at the client: the scope goes to HALT on a copy of the table, and orders are asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.client.guard.answer import CANCELLED
from riskwatch.client.guard.judge import Order
from riskwatch.client.guard.telling import at
from riskwatch.client.guard.view import Row, View, indexed
from riskwatch.contracts.acks import DrillAck
from riskwatch.core.reasons import State
from riskwatch.core.scopes import BOOK, COUNTERPARTY, VENUE_ASSET, parse

if TYPE_CHECKING:
    from riskwatch.client.guard.belief import Belief
    from riskwatch.client.guard.judge import Judge
    from riskwatch.core.outputs import DrillSignalled

_FOR_EVER = float("inf")


def order_in(scope: str) -> Order:
    """An order that a scope binds.

    Raises
    ------
    ValueError
        If it is no scope.

    Examples
    --------
    >>> order_in("venue-asset:binance/USDe").counterparty
    'binance'
    """
    found = parse(scope)
    if found.kind == BOOK:
        return Order(book=found.name)
    if found.kind == COUNTERPARTY:
        return Order(counterparty=found.name)
    if found.kind == VENUE_ASSET:
        return Order(counterparty=found.name, asset=found.asset)
    return Order(asset=found.name or None)


def rehearse(belief: Belief, judge: Judge, client: str, drill: DrillSignalled) -> DrillAck:
    """Do as a drill says on a copy; the table itself is only looked at."""
    wall = belief.calendar.wall()
    with belief.lock:
        before, rows = belief.table.digest(), belief.table.rows()
        real = belief.view
    try:
        order = order_in(drill.scope)
    except ValueError:
        order, refused = Order(), False
    else:
        halt = Row(
            scope=drill.scope, state=State.HALT, decision_id=drill.id, why="drill", worker="",
            epoch=0, seq=0, applied=wall,
        )  # fmt: skip
        table = {row.scope: row for row in rows} | {drill.scope: halt}
        copy = View(indexed(table.values()), _FOR_EVER, "")
        refused = not judge.known(copy, order, wall)
    applied = belief.calendar.wall()
    with belief.lock:
        after, now = belief.table.digest(), belief.view
    return DrillAck(
        drill=drill.id,
        client=client,
        scope=drill.scope,
        applied_ts=at(applied),
        refused=refused,
        cancelled=bool(CANCELLED),
        digest_before=before,
        digest_after=after,
        real_before=judge.known(real, order, wall).state,
        real_after=judge.known(now, order, wall).state,
        sources=dict(belief.sources),
        sent_ts=at(belief.calendar.wall()),
    )
