"""Ticks: trades that became overdue, old business forgotten, and readings of what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import HOUR, MINUTE
from riskwatch.core.enums import QualityIssue
from riskwatch.core.ledger.holding import NEVER
from riskwatch.core.ledger.outputs import (
    LedgerOutput,
    LedgerParameters,
    issue_resolved,
    reconciliation_break,
    settlement_overdue,
)
from riskwatch.core.ledger.party import LATER, LedgerParty
from riskwatch.core.ledger.trades import trade_effect
from riskwatch.core.ledger.transfers import transfer_effect
from riskwatch.core.money import EXACT, canonical, quantise
from riskwatch.core.readings import CounterpartyReading, Holding, OpenPosition

if TYPE_CHECKING:
    from riskwatch.core.ledger.holding import ReportedAmount
    from riskwatch.core.ledger.state import LedgerState

SWEEP_EVERY: Final = 5 * MINUTE
"""How often a counterparty's finished business is looked through, of its own event time."""


def report_tick(rules: LedgerParameters, state: LedgerState, us: int) -> list[LedgerOutput]:
    """Everything that a tick at event time `us` brings about, by counterparty."""
    out: list[LedgerOutput] = []
    for name in sorted(state.parties):
        party = state.parties[name]
        if us > party.next_due:
            out += _fall_due(party, us)
        if party.breaks:
            out += _reconcile(rules, party, us)
        if party.wm // SWEEP_EVERY > party.swept // SWEEP_EVERY:
            _sweep(rules, party)
        if _due(party, us):
            out.append(_reading(party, us))
    return out


def _due(party: LedgerParty, us: int) -> bool:
    """Whether to report: facts came, a withdrawal waits, or an hour left the daily window."""
    if party.changed:
        return True
    waits = party.flow.pending and us // MINUTE > party.emitted // MINUTE
    moved = party.flow.hours and us // HOUR > party.emitted // HOUR
    return bool(waits or moved)


def _fall_due(party: LedgerParty, us: int) -> list[LedgerOutput]:
    """Turn trades past their settlement time from unsettled to overdue, and say so once."""
    out: list[LedgerOutput] = []
    party.next_due = LATER
    for key in sorted(party.trades):
        trade = party.trades[key]
        legs = trade_effect(trade).open_legs
        if not legs or trade.overdue or trade.fill is None or trade.fill.settles_us is None:
            continue
        due = trade.fill.settles_us
        if us <= due:
            party.next_due = min(party.next_due, due)
            continue
        party.add_open_legs(key, trade, -1)
        trade.overdue = True
        party.add_open_legs(key, trade, 1)
        party.changed = True
        name = f"{party.name}/{'/'.join(key)}"
        party.dirty[f"trade/{name}"] = trade
        party.dirty[party.key] = party
        text = ",".join(f"{asset}:{canonical(amount)}" for asset, amount in legs)
        out.append(settlement_overdue(us, name, due, text))
    return out


def _reconcile(rules: LedgerParameters, party: LedgerParty, us: int) -> list[LedgerOutput]:
    """Report snapshots that facts do not explain in time, and those that are explained by now."""
    out: list[LedgerOutput] = []
    issue = QualityIssue.RECONCILIATION_BREAK
    for key in sorted(party.breaks):
        cell = party.breaks[key]
        kind, _, subject = key.partition("/")
        subject += "/position" if kind == "position" else ""
        expected = EXACT.subtract(cell.stated, cell.gap)
        if rules.tolerates(expected, cell.stated):
            if cell.told != NEVER:
                out.append(issue_resolved(f"tick/{us}", us, issue, subject))
            cell.told = NEVER
            del party.breaks[key]
        elif cell.told != cell.snap_us and us >= cell.snap_us + rules.grace_us:
            out.append(reconciliation_break(us, subject, expected, cell.stated))
            cell.told = cell.snap_us
        else:
            continue
        party.dirty[cell.key] = cell
    return out


def _reading(party: LedgerParty, us: int) -> CounterpartyReading:
    """Report a counterparty in full; what became zero is reported once more, as zero."""
    holdings = []
    for key in sorted(party.lines):
        line = party.lines[key]
        if line.amount or line.shown:
            holdings.append(Holding(*key, canonical(line.amount)))
            _show(party, line)
        if not (line.amount or line.pins):
            del party.lines[key]
    positions = []
    for where in sorted(party.positions):
        cell = party.positions[where]
        extra = cell.extra
        if extra is not None and (cell.line.amount or cell.line.shown):
            positions.append(
                OpenPosition(
                    *where,
                    extra.base,
                    extra.quote,
                    canonical(cell.line.amount),
                    extra.entry_price,
                    extra.mark_price,
                    extra.liquidation_price,
                )
            )
            _show(party, cell.line)
    if party.flow.expire(us):
        party.dirty[party.flow.key] = party.flow
    party.changed = False
    party.emitted = us
    party.dirty[party.key] = party
    slippage = quantise(party.slippage_bp or 0.0)
    flow = party.flow.features(us, slippage, party.overdue)
    slips, party.slips = party.slips, []
    return CounterpartyReading(us, party.name, holdings, positions, flow, slips)


def _show(party: LedgerParty, line: ReportedAmount) -> None:
    """Remember whether the line stands in the reading with something in it."""
    shown = bool(line.amount)
    if shown != line.shown:
        line.shown = shown
        party.dirty[line.key] = line if shown else None


def _sweep(rules: LedgerParameters, party: LedgerParty) -> None:
    """Forget finished business, and fold deltas that are out of the late window."""
    party.swept = party.wm
    party.dirty[party.key] = party
    reach, since = party.wm - rules.late_us, party.wm - rules.retention_us
    _sweep_cells(party, reach, since)
    for transfer_id in sorted(party.transfers):
        transfer = party.transfers[transfer_id]
        if transfer.last_us() < since and not transfer_effect(transfer).open:
            del party.transfers[transfer_id]
            party.dirty[f"transfer/{party.name}/{transfer_id}"] = None
    for key in sorted(party.trades):
        trade = party.trades[key]
        if trade.last_us() < since and not trade_effect(trade).open_legs:
            party.trade_horizon = max(party.trade_horizon, trade.last_us())
            del party.trades[key]
            party.dirty[f"trade/{party.name}/{'/'.join(key)}"] = None
    for key in sorted(party.orders):
        order = party.orders[key]
        if not order.qty and order.snap[0] < reach:
            party.order_horizon = max(party.order_horizon, order.snap[0])
            del party.orders[key]
            party.dirty[f"order/{party.name}/{'/'.join(key)}"] = None
    for loan_id in sorted(party.loans):
        loan = party.loans[loan_id]
        if not loan.amount and loan.snap[0] < since:
            party.loan_horizon = max(party.loan_horizon, loan.snap[0])
            del party.loans[loan_id]
            party.dirty[f"loan/{party.name}/{loan_id}"] = None


def _sweep_cells(party: LedgerParty, reach: int, since: int) -> None:
    """Fold old deltas; forget holdings and positions that have long been nothing."""
    for key in sorted(party.cells):
        cell = party.cells[key]
        cell.fold(reach)
        if cell.is_idle(since):
            party.cell_horizon = max(party.cell_horizon, cell.snap_us, cell.fold_us)
            cell.line.pins -= 1
            del party.cells[key]
            party.routes.clear()
            party.dirty[cell.key] = None
    for where in sorted(party.positions):
        cell = party.positions[where]
        cell.fold(reach)
        if cell.is_idle(since) and not cell.line.shown:
            party.cell_horizon = max(party.cell_horizon, cell.snap_us, cell.fold_us)
            del party.positions[where]
            party.dirty[cell.key] = None
