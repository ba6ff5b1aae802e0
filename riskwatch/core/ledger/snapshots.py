"""Handlers of snapshots of balances, positions, resting orders and loans; the latest counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.core.clock import SECOND, micros
from riskwatch.core.enums import QualityIssue
from riskwatch.core.events import UNALLOCATED, Balance, Loan, OpenOrder, Position, identity
from riskwatch.core.ledger.activity import OrderRow
from riskwatch.core.ledger.holding import NEVER, LedgerHolding, PositionTerms, SnapshotKey
from riskwatch.core.ledger.outputs import (
    FactRefusedError,
    LedgerOutput,
    event_rejected,
    fact_conflict,
    fact_too_late,
    issue_resolved,
    limit_reached,
)
from riskwatch.core.ledger.party import LedgerParty, LoanRow, add_balance_components
from riskwatch.core.ledger.sizes import contract_terms, position_size
from riskwatch.core.ledger.statements import check_exact, is_superseded, state, states_whole
from riskwatch.core.money import ZERO, add, sub

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from riskwatch.core.events import AccountSnapshot
    from riskwatch.core.ledger.outputs import LedgerParameters


_LOAN_TERMS: Final = ("book", "account", "wallet", "asset", "direction")
"""Terms of a loan that must not change."""


def _snapshot_key(event: Balance | Position | OpenOrder | Loan, us: int) -> SnapshotKey:
    return us, event.source_seq or 0, event.event_id


def _supersedes(holding: LedgerHolding | None, snap: SnapshotKey) -> bool:
    """Whether `snap` is newer than the holding's; refuse it if later deltas are folded already."""
    if holding is None:
        return True
    if holding.snap is not None and snap <= holding.snap:
        return False
    if snap[0] < holding.fold_us:
        raise fact_too_late(f"us={snap[0]} folded={holding.fold_us}")
    return True


def _note_missing(parameters: LedgerParameters, holding: LedgerHolding, source: str) -> None:
    """Note what the latest snapshot took away without facts, or that it confirms what one did.

    A snapshot confirms if it is of another source, or long enough after the first.
    """
    us, gap = holding.snap_us, holding.gap
    expected = sub(holding.stated, gap)
    agrees = parameters.tolerates(expected, holding.stated)
    if holding.missing_us != NEVER:
        later = us >= holding.missing_us + parameters.config.confirm_s * SECOND
        if not agrees and gap > ZERO:
            holding.missing = max(ZERO, sub(holding.missing, gap))
        elif later or source != holding.missing_by:
            holding.missing = ZERO
        if not holding.missing:
            holding.missing_us, holding.missing_by = NEVER, ""
    if not agrees and gap < ZERO < expected:
        if holding.missing_us == NEVER:
            holding.missing_us, holding.missing_by = us, source
        holding.missing = add(holding.missing, min(expected, gap.copy_negate()))


def _coverage(parameters: LedgerParameters, event: Balance | Position) -> str:
    """Return what a snapshot covers: as it says, or its account's setting; else empty."""
    if event.covers is not None:
        return event.covers
    if event.book == UNALLOCATED:
        return "account"
    return parameters.config.covers.get(f"{event.counterparty}/{event.account}", "")


def apply_balance(
    parameters: LedgerParameters, party: LedgerParty, event: Balance, us: int
) -> list[LedgerOutput]:
    """Replace a holding's snapshot if this one is later; ticks compare it with the facts."""
    wallet = event.wallet or event.wallet_type or ""
    key = (event.book, event.account, wallet, event.asset, event.kind)
    snap = _snapshot_key(event, us)
    covers = _coverage(parameters, event)
    party.admit([key], us, parameters, event.source)
    known, peers = party.cells.get(key), party.peers(key)
    slot = (wallet, event.kind)
    is_newer = not is_superseded(slot, peers, snap, covers) and _supersedes(known, snap)
    if is_newer and states_whole(known, peers, slot, covers):
        check_exact(known, peers, snap, slot)
    party.touch(us)
    if not is_newer:
        return []
    holding = party.holding(key, parameters, event.source)
    stated = event.free if event.locked is None else add(event.free, event.locked)
    holding.wallet_type = event.wallet_type or ""
    for replaced in state(holding, party.peers(key), snap, stated, covers):
        other = (replaced.book, *key[1:])
        gone = replaced.borrowed.copy_negate(), replaced.pnl.copy_negate()
        add_balance_components(party, other, *gone)
        replaced.borrowed = replaced.pnl = ZERO
    _note_missing(parameters, holding, event.source)
    borrowed, pnl = event.borrowed or ZERO, event.unrealized_pnl or ZERO
    add_balance_components(party, key, sub(borrowed, holding.borrowed), sub(pnl, holding.pnl))
    holding.borrowed, holding.pnl = borrowed, pnl
    return []


def apply_position(
    parameters: LedgerParameters, party: LedgerParty, event: Position, us: int
) -> list[LedgerOutput]:
    """Replace a position's snapshot if this one is later."""
    pair = (event.base, event.quote)
    wallet = event.wallet or event.wallet_type or ""
    name = event.instrument or f"{event.base}/{event.quote}"
    terms = contract_terms(parameters, party, event, name)
    size = position_size(event, terms)
    side = "" if event.hedged is False else event.side or ""
    key = (event.book, event.account, wallet, side, name)
    snap = _snapshot_key(event, us)
    party.admit_position(key, pair, us, parameters.config)
    covers = _coverage(parameters, event)
    known, peers = party.positions.get(key), party.position_peers(key)
    slot = (wallet, side)
    is_newer = not is_superseded(slot, peers, snap, covers) and _supersedes(known, snap)
    if known is not None and not event.side:
        _check_legs(known, name, size, snap)
    if is_newer and states_whole(known, peers, slot, covers):
        check_exact(known, peers, snap, slot)
    party.touch(us)
    if not is_newer:
        return []
    holding = party.position(key, pair)
    holding.wallet_type = event.wallet_type or ""
    state(holding, party.position_peers(key), snap, size, covers)
    holding.extra = PositionTerms(
        *pair,
        event.entry_price or None,  # a price of zero is none
        event.mark_price or None,
        event.liquidation_price or None,
        kind=terms.kind,
        form=terms.form,
        contract_size=terms.contract_size,
        settle=terms.settle,
        unrealized_pnl=event.unrealized_pnl,
        delta=event.delta,
        gamma=event.gamma,
        vega=event.vega,
        theta=event.theta,
        iv=event.iv,
        option_value=event.option_value,
        delta_convention=event.delta_convention or "",
    )
    return []


def _check_legs(known: LedgerHolding, name: str, size: Decimal, snap: SnapshotKey) -> None:
    """Refuse the second of two opposite positions at one time that do not say their sides."""
    last = known.snap
    if last is None or last[:2] != snap[:2] or last[2] == snap[2]:
        return
    if known.stated and size and (known.stated < ZERO) != (size < ZERO):
        raise fact_conflict(
            f"instrument={name} qty={size} was={known.stated} at the same time: "
            "two positions of one instrument need a side"
        )


def apply_order(
    parameters: LedgerParameters, party: LedgerParty, event: OpenOrder, us: int
) -> list[LedgerOutput]:
    """Replace the open quantity of an order if this snapshot is later."""
    key = (event.book, event.account, event.order_id)
    new = OrderRow(
        _snapshot_key(event, us),
        event.base,
        event.side,
        event.qty,
        event.quote,
        event.price,
        event.instrument is None,
        event.reduce_only,
        event.wallet or "",
    )
    old = party.orders.get(key)
    if old is None:
        if us <= party.order_horizon:
            raise fact_too_late(f"us={us} horizon={party.order_horizon} collection=orders")
        if len(party.orders) >= parameters.config.max_orders:
            raise limit_reached("max_orders", parameters.config.max_orders)
    elif (old.base, old.side) != (new.base, new.side):
        raise fact_conflict(
            f"order_id={event.order_id} base={new.base} side={new.side} was={old.base} {old.side}"
        )
    party.touch(us)
    if old is not None and new.snap <= old.snap:
        return []
    for order, sign in ((old, -1), (new, 1)):
        if order is not None:
            amount = order.fills if sign > 0 else order.fills.copy_negate()
            line = (event.book, event.account, order.wallet, event.base, "open_order")
            party.add(line, amount)
    if old is not None:
        party.resting.add(event.book, event.account, old, -1)
    party.resting.add(event.book, event.account, new, 1)
    party.orders[key] = new
    party.dirty[f"order/{party.name}/{'/'.join(key)}"] = new
    return []


def apply_loan(
    parameters: LedgerParameters, party: LedgerParty, event: Loan, us: int
) -> list[LedgerOutput]:
    """Replace the outstanding amount of a loan if this snapshot is later."""
    new = LoanRow(
        _snapshot_key(event, us),
        event.book,
        event.account,
        event.asset,
        event.direction,
        event.amount,
        event.wallet or "",
        None if event.due is None else micros(event.due),
    )
    old = party.loans.get(event.loan_id)
    if old is None:
        if us <= party.loan_horizon:
            raise fact_too_late(f"us={us} horizon={party.loan_horizon} collection=loans")
        if len(party.loans) >= parameters.config.max_loans:
            raise limit_reached("max_loans", parameters.config.max_loans)
    elif _terms(old) != _terms(new):
        raise fact_conflict(f"loan_id={event.loan_id} {_terms(new)} was={_terms(old)}")
    party.touch(us)
    if old is not None and new.snap <= old.snap:
        return []
    outstanding: Decimal = ZERO if old is None else old.amount
    change = sub(new.amount, outstanding)
    party.add((new.book, new.account, new.wallet, new.asset, new.component), change)
    party.loans[event.loan_id] = new
    party.dirty[f"loan/{party.name}/{event.loan_id}"] = new
    if new.due_us is not None:
        party.next_repayment = min(party.next_repayment, new.due_us)
    if old is None or not old.overdue:
        return []
    new.overdue = bool(new.amount) and new.due_us is not None and us > new.due_us
    if new.overdue:
        return []
    subject = f"{party.name}/{event.loan_id}"
    return [issue_resolved(identity(event), us, QualityIssue.LOAN_OVERDUE, subject)]


def _terms(loan: LoanRow) -> str:
    """Return the terms of a loan that must not change, as text."""
    terms = msgspec.structs.asdict(loan)
    return " ".join(f"{name}={terms[name]}" for name in _LOAN_TERMS)


def apply_account_snapshot(
    parameters: LedgerParameters, party: LedgerParty, event: AccountSnapshot, us: int
) -> list[LedgerOutput]:
    """State as zero what a complete snapshot of a wallet does not list."""
    party.touch(us)
    out: list[LedgerOutput] = []
    for zero in _omitted(party, event):
        handler = _ZERO_HANDLERS[type(zero)]
        try:
            out += handler(parameters, party, zero, us)
        except FactRefusedError as refusal:
            detail = f"what it does not list cannot be zero: {refusal.detail}"
            out.append(event_rejected(event, FactRefusedError(refusal.reason, detail)))
    return out


_ZERO_HANDLERS: Final[dict[type, Callable[..., list[LedgerOutput]]]] = {
    Balance: apply_balance,
    Position: apply_position,
    OpenOrder: apply_order,
    Loan: apply_loan,
}


def _omitted(
    party: LedgerParty, event: AccountSnapshot
) -> list[Balance | Position | OpenOrder | Loan]:
    """Return snapshots of zero of what is known in a wallet and not listed, in a fixed order."""
    wallet, account = event.wallet or event.wallet_type or "", event.account
    common: dict[str, Any] = {
        name: getattr(event, name)
        for name in ("v", "event_id", "ts", "source", "source_seq", "arrived", "counterparty")
    }
    common |= {"account": account, "wallet": wallet or None}
    out: list[Balance | Position | OpenOrder | Loan] = []
    for kind, listed in (("cell", event.assets), ("position", event.instruments)):
        if listed is None:
            continue
        names = frozenset(listed)
        for place in sorted(party.places):
            if place[:2] == (kind, account) and place[2] not in names:
                where = {**common, "wallet_type": event.wallet_type}
                out += _zeros(party.places[place], wallet, place[2], where)
    orders = () if event.orders is None else sorted(party.orders)
    for book, of, order_id in orders:
        order = party.orders[book, of, order_id]
        ours = (of, order.wallet) == (account, wallet)
        if ours and order.qty and order_id not in (event.orders or ()):
            out.append(
                OpenOrder(
                    **common, book=book, order_id=order_id, base=order.base, quote=order.quote,
                    side="buy" if order.side == "buy" else "sell", qty=ZERO, price=order.price,
                    instrument=None if order.spot else order_id, reduce_only=order.reduce_only,
                )
            )  # fmt: skip
    for loan_id in () if event.loans is None else sorted(party.loans):
        loan = party.loans[loan_id]
        ours = (loan.account, loan.wallet) == (account, wallet)
        if ours and loan.amount and loan_id not in (event.loans or ()):
            out.append(
                Loan(
                    **common, book=loan.book, loan_id=loan_id, asset=loan.asset, amount=ZERO,
                    direction="lent" if loan.direction == "lent" else "borrowed",
                )
            )  # fmt: skip
    return out


def _zeros(
    peers: list[LedgerHolding], wallet: str, name: str, common: dict[str, Any]
) -> list[Balance | Position]:
    """Return a snapshot of zero for each kind (or side) of a wallet of which something is held."""
    slots = {peer.slot: None for peer in peers if peer.slot[0] == wallet}
    unnamed = [peer.slot for peer in peers if peer.slot[0] == "" and peer.slot[1] in _UNNAMED]
    if not slots and unnamed and not any(peer.snap is not None for peer in peers):
        slots = {(wallet, unnamed[0][1]): None}
    out: list[Balance | Position] = []
    for slot in sorted(slots):
        owner = next((peer for peer in peers if peer.owns and peer.slot == slot), None)
        held = [peer.line.amount or peer.borrowed or peer.pnl for peer in peers]
        if not any(held):
            continue
        said: dict[str, Any] = {**common, "book": UNALLOCATED}
        if owner is not None:
            said |= {"book": owner.book, "covers": owner.covers or None}
        extra = next((peer.extra for peer in peers if peer.extra is not None), None)
        if extra is None:
            out.append(Balance(**said, asset=name, free=ZERO, kind=slot[1]))  # type: ignore[arg-type]
        else:
            out.append(
                Position(
                    **said, base=extra.base, quote=extra.quote, instrument=name, qty=ZERO,
                    side=slot[1] or None,  # type: ignore[arg-type]
                )
            )  # fmt: skip
    return out


_UNNAMED: Final = ("custody", "")
"""Kinds of holdings and sides of positions that facts without a wallet change."""
