"""Snapshots: balances, positions, resting orders and loans. The latest of each counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from riskwatch.core.ledger.holding import LedgerHolding, PositionTerms, SnapshotKey
from riskwatch.core.ledger.outputs import fact_conflict, fact_too_late, limit_reached
from riskwatch.core.ledger.party import LedgerParty, LoanRow, OrderRow, add_balance_components
from riskwatch.core.money import ZERO, add, sub

if TYPE_CHECKING:
    from decimal import Decimal

    from riskwatch.core.events import Balance, Loan, OpenOrder, Position
    from riskwatch.core.ledger.outputs import LedgerOutput, LedgerParameters


def _snapshot_key(event: Balance | Position | OpenOrder | Loan, us: int) -> SnapshotKey:
    return us, event.source_seq or 0, event.event_id


def _supersedes(cell: LedgerHolding | None, snap: SnapshotKey) -> bool:
    """Whether `snap` is news to `cell`; refused where later deltas were folded already."""
    if cell is None:
        return True
    if cell.snap is not None and snap <= cell.snap:
        return False
    if snap[0] < cell.fold_us:
        raise fact_too_late(f"us={snap[0]} folded={cell.fold_us}")
    return True


def apply_balance(
    rules: LedgerParameters, party: LedgerParty, event: Balance, us: int
) -> list[LedgerOutput]:
    """Replace a holding's snapshot where this one is later; ticks compare it with the facts."""
    key = (event.book, event.account, event.asset, event.kind)
    snap = _snapshot_key(event, us)
    party.admit([key], us, rules.config)
    news = _supersedes(party.cells.get(key), snap)
    party.touch(us)
    if not news:
        return []
    cell = party.holding(key)
    stated = event.free if event.locked is None else add(event.free, event.locked)
    cell.snapshot(snap, stated)
    borrowed, pnl = event.borrowed or ZERO, event.unrealized_pnl or ZERO
    add_balance_components(party, key, sub(borrowed, cell.borrowed), sub(pnl, cell.pnl))
    cell.borrowed, cell.pnl = borrowed, pnl
    return []


def apply_position(
    rules: LedgerParameters, party: LedgerParty, event: Position, us: int
) -> list[LedgerOutput]:
    """Replace a position's snapshot where this one is later."""
    pair = (event.base, event.quote)
    key = (event.book, event.account, event.instrument or f"{event.base}/{event.quote}")
    snap = _snapshot_key(event, us)
    party.admit_position(key, pair, us, rules.config)
    news = _supersedes(party.positions.get(key), snap)
    party.touch(us)
    if not news:
        return []
    cell = party.position(key, pair)
    cell.snapshot(snap, event.qty)
    cell.extra = PositionTerms(*pair, event.entry_price, event.mark_price, event.liquidation_price)
    return []


def apply_order(
    rules: LedgerParameters, party: LedgerParty, event: OpenOrder, us: int
) -> list[LedgerOutput]:
    """Replace what rests of an order where this snapshot is later."""
    key = (event.book, event.account, event.order_id)
    new = OrderRow(_snapshot_key(event, us), event.base, event.side, event.qty)
    old = party.orders.get(key)
    if old is None:
        if us <= party.order_horizon:
            raise fact_too_late(f"us={us} horizon={party.order_horizon} collection=orders")
        if len(party.orders) >= rules.config.max_orders:
            raise limit_reached("max_orders", rules.config.max_orders)
    elif (old.base, old.side) != (new.base, new.side):
        raise fact_conflict(
            f"order_id={event.order_id} base={new.base} side={new.side} was={old.base} {old.side}"
        )
    party.touch(us)
    if old is not None and new.snap <= old.snap:
        return []
    change = new.fills if old is None else sub(new.fills, old.fills)
    party.add(event.book, event.account, event.base, "open_order", change)
    party.orders[key] = new
    party.dirty[f"order/{party.name}/{'/'.join(key)}"] = new
    return []


def apply_loan(
    rules: LedgerParameters, party: LedgerParty, event: Loan, us: int
) -> list[LedgerOutput]:
    """Replace what is outstanding of a loan where this snapshot is later."""
    new = LoanRow(
        _snapshot_key(event, us),
        event.book,
        event.account,
        event.asset,
        event.direction,
        event.amount,
    )
    old = party.loans.get(event.loan_id)
    if old is None:
        if us <= party.loan_horizon:
            raise fact_too_late(f"us={us} horizon={party.loan_horizon} collection=loans")
        if len(party.loans) >= rules.config.max_loans:
            raise limit_reached("max_loans", rules.config.max_loans)
    elif _terms(old) != _terms(new):
        raise fact_conflict(f"loan_id={event.loan_id} {_terms(new)} was={_terms(old)}")
    party.touch(us)
    if old is not None and new.snap <= old.snap:
        return []
    outstanding: Decimal = ZERO if old is None else old.amount
    change = sub(new.amount, outstanding)
    party.add(new.book, new.account, new.asset, new.component, change)
    party.loans[event.loan_id] = new
    party.dirty[f"loan/{party.name}/{event.loan_id}"] = new
    return []


def _terms(loan: LoanRow) -> str:
    """Spell out what may not change over a loan's life."""
    terms = msgspec.structs.asdict(loan)
    return " ".join(f"{name}={terms[name]}" for name in ("book", "account", "asset", "direction"))
