"""Ticks of the ledger: overdue trades, reconciliation, clean-up, and counterparty readings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import HOUR, MINUTE, SECOND
from riskwatch.core.enums import QualityIssue
from riskwatch.core.ledger.adjustments import sweep_adjustments, take_adjustments
from riskwatch.core.ledger.freshness import stale_detail
from riskwatch.core.ledger.holding import NEVER
from riskwatch.core.ledger.movements import sweep_transfers, take_legs
from riskwatch.core.ledger.outputs import (
    LedgerOutput,
    LedgerParameters,
    account_stale,
    issue_resolved,
    loan_overdue,
    reconciliation_break,
    settlement_overdue,
)
from riskwatch.core.ledger.party import LATER, LedgerParty, heard_key
from riskwatch.core.ledger.statements import NO_BASIS, basis_of
from riskwatch.core.ledger.trades import trade_effect
from riskwatch.core.money import EXACT, canonical, quantise
from riskwatch.core.readings import CounterpartyReading, Holding, OpenPosition

if TYPE_CHECKING:
    from riskwatch.core.ledger.holding import LedgerHolding, PositionTerms, ReportedAmount
    from riskwatch.core.ledger.party import PositionKey
    from riskwatch.core.ledger.state import LedgerState

REFUSED_CLEAR: Final = 15 * MINUTE
"""The issue of a source ends when none of its facts lacked room for this long, microseconds."""
SWEEP_EVERY: Final = 5 * MINUTE
"""How often old entities of a counterparty are dropped, in its own event time, microseconds."""


def report_tick(parameters: LedgerParameters, state: LedgerState, us: int) -> list[LedgerOutput]:
    """Process a tick at event time `us` for each counterparty, and return the outputs."""
    out = _end_refusals(state, us)
    for name in sorted(state.parties):
        party = state.parties[name]
        if us > min(party.next_due, party.next_repayment):
            out += [*_mark_overdue(parameters, party, us), *_mark_loans(party, us)]
        if party.breaks:
            out += _reconcile(parameters, party, us)
        if party.wm // SWEEP_EVERY > party.swept // SWEEP_EVERY:
            reach, since = party.wm - parameters.late_us, party.wm - parameters.retention_us
            out += _sweep(parameters, party, us, reach, since)
        out += _end_execution_issues(party, us)
        out += _look_at_sources(parameters, party, us)
        if _due(party, us):
            out.append(_reading(party, us))
        elif _is_forgettable(parameters, party, us):
            out += _sweep(parameters, party, us, LATER, LATER)
            if not party.has_entities:
                state.forget(party)
    return out


def _end_refusals(state: LedgerState, us: int) -> list[LedgerOutput]:
    """End the issues of sources none of whose facts lacked room for a while."""
    out: list[LedgerOutput] = []
    for source in sorted(state.refused):
        if us - state.refused[source].us >= REFUSED_CLEAR:
            state.note_refused(source, None)
            out.append(
                issue_resolved(f"tick/{us}", us, QualityIssue.TABLE_FULL, f"ledger:{source}")
            )
    return out


def _is_forgettable(parameters: LedgerParameters, party: LedgerParty, us: int) -> bool:
    """Whether an unlisted counterparty has said nothing for long, and nothing is held there."""
    forget_us = parameters.config.forget_s * SECOND
    return (
        us - max(party.wm, party.emitted) > forget_us
        and party.name not in parameters.reference.parties
        and not any(line.amount or line.shown for line in party.lines.values())
        and not any(p.line.amount or p.line.shown for p in party.positions.values())
    )


def _due(party: LedgerParty, us: int) -> bool:
    """Whether a reading is due: new facts, a pending withdrawal, or an hour left the window."""
    if party.changed or party.untold or party.unread:
        return True
    waits = party.flow.pending and us // MINUTE > party.emitted // MINUTE
    moved = party.flow.hours and us // HOUR > party.emitted // HOUR
    return bool(waits or moved)


def _mark_overdue(parameters: LedgerParameters, party: LedgerParty, us: int) -> list[LedgerOutput]:
    """Mark trades past their settlement time as overdue, and report each of them once.

    A trade that was heard late is not reported at once, because its settlement may be heard next.
    """
    out: list[LedgerOutput] = []
    party.next_due = LATER
    for key in sorted(party.trades):
        trade = party.trades[key]
        legs = trade_effect(trade).open_legs
        if not legs or trade.overdue or trade.fill is None or trade.fill.settles_us is None:
            continue
        due = trade.fill.settles_us
        heard = party.heard.get(heard_key("trade", *key))
        if heard is not None:
            due = max(due, heard + parameters.old_us)
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


def _mark_loans(party: LedgerParty, us: int) -> list[LedgerOutput]:
    """Report each loan that is past its due time and not repaid, once."""
    out: list[LedgerOutput] = []
    party.next_repayment = LATER
    for loan_id in sorted(party.loans):
        loan = party.loans[loan_id]
        if loan.overdue or loan.due_us is None or not loan.amount:
            continue
        if us <= loan.due_us:
            party.next_repayment = min(party.next_repayment, loan.due_us)
            continue
        loan.overdue = True
        party.dirty[f"loan/{party.name}/{loan_id}"] = loan
        what = f"direction={loan.direction} {loan.asset}:{canonical(loan.amount)}"
        out.append(loan_overdue(us, f"{party.name}/{loan_id}", loan.due_us, what))
    return out


def _reconcile(parameters: LedgerParameters, party: LedgerParty, us: int) -> list[LedgerOutput]:
    """Report snapshots that facts do not explain in time, and resolve those explained by now."""
    out: list[LedgerOutput] = []
    issue = QualityIssue.RECONCILIATION_BREAK
    for key in sorted(party.breaks):
        holding = party.breaks[key]
        subject = _subject(key)
        expected = EXACT.subtract(holding.stated, holding.gap)
        if parameters.tolerates(expected, holding.stated):
            if holding.told != NEVER:
                out.append(issue_resolved(f"tick/{us}", us, issue, subject))
            holding.told = NEVER
            del party.breaks[key]
        elif holding.told != holding.snap_us and us >= holding.snap_us + parameters.grace_us:
            out.append(reconciliation_break(us, subject, expected, holding.stated))
            holding.told = holding.snap_us
        else:
            continue
        party.dirty[holding.key] = holding
    return out


def _subject(key: str) -> str:
    """Return the name of a holding or position in issues: its row key, without what is not stated.

    Examples
    --------
    >>> _subject("cell/kraken/mm/main//BTC/custody"), _subject("position/kraken/mm/main//long/P")
    ('kraken/mm/main/BTC/custody', 'kraken/mm/main/long/P/position')
    """
    kind, *place, wallet, side, name = key.split("/", 6)
    parts = [*place, *filter(None, (wallet, side)), name]
    return "/".join([*parts, "position"] if kind == "position" else parts)


def _reading(party: LedgerParty, us: int) -> CounterpartyReading:
    """Return the full reading of a counterparty; an amount that became zero is reported once."""
    legs, adjustments = take_legs(party), take_adjustments(party)
    holdings = []
    for key in sorted(party.lines):
        line = party.lines[key]
        if line.amount or line.shown:
            book, account, wallet, asset, component = key
            cell, confirmed = party.cells.get(key), party.confirmed_us(key)
            more = NO_BASIS if cell is None else basis_of(cell, party.peers(key))
            amount = canonical(line.amount)
            holdings.append(
                Holding(book, account, asset, component, amount, wallet, confirmed, *more)
            )
            _show(party, line)
        if not (line.amount or line.pins):
            del party.lines[key]
    positions = []
    for where in sorted(party.positions):
        holding = party.positions[where]
        if holding.extra is not None and (holding.line.amount or holding.line.shown):
            positions.append(_open_position(where, holding, holding.extra))
            _show(party, holding.line)
    if party.flow.expire(us):
        party.dirty[party.flow.key] = party.flow
    party.changed = bool(party.untold or party.unread)
    party.emitted = us
    party.dirty[party.key] = party
    slippage = quantise(party.slippage_bp or 0.0)
    flow = party.flow.features(us, slippage, party.overdue)
    slips, party.slips = party.slips, []
    fills, missed = party.recent.take()
    # A dropped order was reported once: it is known that nothing rests.
    known = bool(party.orders) or party.order_horizon != NEVER
    orders = party.resting.groups() if known else None
    return CounterpartyReading(
        us,
        party.name,
        holdings,
        positions,
        flow,
        slips,
        fills,
        missed,
        orders,
        legs,
        adjustments,
        [party.freshness.describe(each) for each in sorted(party.freshness.stale)] or msgspec.UNSET,
    )


def _open_position(
    where: PositionKey, holding: LedgerHolding, extra: PositionTerms
) -> OpenPosition:
    """Return a position as it is reported.

    Greeks are of the size that the venue stated. After a fill they are unknown until the next
    statement.
    """
    book, account, wallet, side, instrument = where
    is_stated = holding.snap is not None and holding.line.amount == holding.stated
    return OpenPosition(
        book,
        account,
        instrument,
        extra.base,
        extra.quote,
        canonical(holding.line.amount),
        extra.entry_price,
        extra.mark_price,
        extra.liquidation_price,
        wallet,
        side,
        max(0, holding.snap_us),
        extra.kind,
        extra.form,
        extra.contract_size,
        extra.settle,
        extra.unrealized_pnl,
        extra.delta if is_stated else None,
        extra.gamma if is_stated else None,
        extra.vega if is_stated else None,
        extra.theta if is_stated else None,
        extra.iv,
        extra.option_value,
        extra.delta_convention,
    )


def _show(party: LedgerParty, line: ReportedAmount) -> None:
    """Record whether the amount is not zero in the reading."""
    shown = bool(line.amount)
    if shown != line.shown:
        line.shown = shown
        party.dirty[line.key] = line if shown else None


def _end_execution_issues(party: LedgerParty, us: int) -> list[LedgerOutput]:
    """End issues about executions that did not occur again for a while."""
    out: list[LedgerOutput] = []
    for account in sorted(party.executions):
        executions = party.executions[account]
        for issue in executions.end_issues(us) if executions.issues else ():
            subject = executions.subject(issue)
            out.append(issue_resolved(f"tick/{us}", us, QualityIssue(issue), subject))
    return out


def _look_at_sources(
    parameters: LedgerParameters, party: LedgerParty, us: int
) -> list[LedgerOutput]:
    """Report each account with holdings that became stale, or that a source confirms again."""
    freshness = party.freshness
    if freshness.next_us is not None and us < freshness.next_us and not freshness.stale:
        return []
    out: list[LedgerOutput] = []
    held = {key[1]: None for key, line in party.lines.items() if line.amount}
    held |= {key[1]: None for key, of in party.positions.items() if of.line.amount}
    for account, stale in freshness.look(us, held, parameters.freshness).items():
        subject, party.changed = f"{party.name}/{account}", True
        party.dirty[party.key] = party
        if stale is None:
            out.append(issue_resolved(f"tick/{us}", us, QualityIssue.ACCOUNT_STALE, subject))
        else:
            out.append(account_stale(us, subject, stale_detail(stale)))
    return out


def _sweep_trades(
    parameters: LedgerParameters, party: LedgerParty, since: int, us: int
) -> list[LedgerOutput]:
    """Drop finished trades and old trade ids; a correction that waited in vain is no issue more."""
    out: list[LedgerOutput] = []
    for key in sorted(party.trades):
        trade = party.trades[key]
        if trade.last_us() < since and not trade_effect(trade).open_legs:
            party.trade_horizon = max(party.trade_horizon, trade.last_us())
            if party.drop_trade(key).waits:
                subject = f"{party.name}/{'/'.join(key)}"
                issue = QualityIssue.TRADE_UNKNOWN
                out.append(issue_resolved(f"tick/{us}", us, issue, subject))
    for account in sorted(party.executions):
        executions = party.executions[account]
        executions.log.forget_before(since)
        if executions.memory.forget_before(party.wm - parameters.memory_us):
            executions.change()
    return out


def _sweep(
    parameters: LedgerParameters, party: LedgerParty, us: int, reach: int, since: int
) -> list[LedgerOutput]:
    """Fold deltas from before `reach`, and drop what is finished and older than `since`."""
    party.swept = party.wm
    party.dirty[party.key] = party
    _sweep_holdings(party, reach, since)
    sweep_transfers(party, since)
    sweep_adjustments(party, since)
    out = _sweep_trades(parameters, party, since, us)
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
    return out


def _is_spare(holding: LedgerHolding, peers: list[LedgerHolding], since: int) -> bool:
    """Whether no other holding depends on the statement of an idle one."""
    return holding.snap is None or all(peer.is_idle(since) for peer in peers)


def _sweep_holdings(party: LedgerParty, reach: int, since: int) -> None:
    """Fold old deltas, and drop holdings and positions that have been zero for long."""
    idle = []
    for key in sorted(party.cells):
        holding = party.cells[key]
        holding.fold(reach)
        if holding.is_idle(since) and _is_spare(holding, party.peers(key), since):
            idle.append(key)
    if idle:
        party.drop_holdings(idle)
    for where in sorted(party.positions):
        holding = party.positions[where]
        holding.fold(reach)
        spare = _is_spare(holding, party.position_peers(where), since)
        if holding.is_idle(since) and spare and not holding.line.shown:
            party.leave_peers(where, holding)
            party.cell_horizon = max(party.cell_horizon, holding.snap_us, holding.fold_us)
            del party.positions[where]
            party.dirty[holding.key] = None
