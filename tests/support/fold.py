"""What holdings should be, worked out the slow and obvious way from the complete set of facts.

Nothing here is shared with the ledger stage but the types of the events: no order of arrival, no
windows, no incremental state. Tests compare the stage (and whole pipelines) with it.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

from riskwatch.core.events import (
    Balance,
    Fill,
    FillCorrection,
    Loan,
    OpenOrder,
    Position,
    Settlement,
    Transfer,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from riskwatch.core.events import Event

Key = tuple[str, str, str, str, str]
"""(book, counterparty, account, asset, component)."""
Where = tuple[str, str, str]
Deltas = dict[tuple[Where, str], list[tuple["datetime", Decimal]]]


def fold(events: Iterable[Event], now: datetime | None = None) -> dict[Key, Decimal]:
    """Exact amounts that are not zero, by (book, counterparty, account, asset, component).

    Parameters
    ----------
    events : iterable of Event
        All accepted facts, each once, in any order. Others than the ledger's are ignored.
    now : datetime, optional
        Time of the last tick, which tells overdue trades from unsettled ones.
    """
    facts = list(events)
    total: defaultdict[Key, Decimal] = defaultdict(Decimal)
    deltas: Deltas = defaultdict(list)
    with localcontext() as context:
        context.prec = 400
        _trades(facts, deltas, total, now)
        _transfers(facts, deltas, total)
        _latest_wins(facts, total)
        latest = _latest_balances(facts)
        for (where, asset, kind), balance in latest.items():
            total[*where, asset, kind] += balance.free + (balance.locked or 0)
            total[*where, asset, "borrowed"] += balance.borrowed or 0
            total[*where, asset, "unrealized_pnl"] += balance.unrealized_pnl or 0
        for (where, asset), moves in deltas.items():
            anchor = latest.get((where, asset, "custody"))
            for ts, amount in moves:
                if anchor is None or ts > anchor.ts:
                    total[*where, asset, "custody"] += amount
        _claims(latest, deltas, total)
    return {key: amount for key, amount in sorted(total.items()) if amount}


def _claims(
    latest: dict[tuple[Where, str, str], Balance], deltas: Deltas, total: defaultdict[Key, Decimal]
) -> None:
    """Take from the only book that states an account what others had at the time of its word.

    Where only margin is stated, what fills and transfers changed is a part of it.
    """
    for (where, asset), moves in deltas.items():
        for kind in ("custody", "margin"):
            anchors = {
                at: fact for (at, name, of), fact in latest.items()
                if (at[1:], name, of) == (where[1:], asset, kind)
            }  # fmt: skip
            if anchors:
                break
        if len(anchors) != 1:
            continue
        ((owner, anchor),) = anchors.items()
        if owner == where and kind == "custody":
            continue
        claim = sum((amount for ts, amount in moves if ts <= anchor.ts), Decimal(0))
        payer = (*where, asset, "custody") if owner == where else (*owner, asset, kind)
        total[payer] -= claim


def fold_accounts(events: Iterable[Event]) -> dict[tuple[str, str, str], Decimal]:
    """Amounts by (counterparty, account, asset): the venue's last word and what came after.

    Every balance states a wallet for all books. Facts without a wallet belong to the spot wallet,
    else to the funding wallet, unless balances without one are stated.
    """
    facts = list(events)
    words: dict[tuple[str, str, str], dict[str, Balance]] = defaultdict(dict)
    for fact in facts:
        if isinstance(fact, Balance):
            stated = words[fact.counterparty, fact.account, fact.asset]
            name = fact.wallet or ""
            if name not in stated or _age(fact) > _age(stated[name]):
                stated[name] = fact
    total: defaultdict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    with localcontext() as context:
        context.prec = 400
        for key, stated in words.items():
            total[key] += sum((word.free for word in stated.values()), Decimal(0))
        for fact in facts:
            if not isinstance(fact, Fill):
                continue
            for asset, amount in _legs(fact):
                key = (fact.counterparty, fact.account, asset)
                wallet = fact.wallet or ""
                if not wallet:
                    wallet = next((w for w in ("", "spot", "fund") if w in words.get(key, {})), "")
                word = words.get(key, {}).get(wallet)
                if word is None or fact.ts > word.ts:
                    total[key] += amount
    return {key: amount for key, amount in total.items() if amount}


def fold_positions(events: Iterable[Event]) -> dict[tuple[str, str, str, str], Decimal]:
    """Signed lots that are not zero, by (book, counterparty, account, instrument)."""
    anchors: dict[tuple[str, str, str, str], Position] = {}
    facts = list(events)
    total: defaultdict[tuple[str, str, str, str], Decimal] = defaultdict(Decimal)
    for fact in facts:
        if isinstance(fact, Position):
            key = (*_where(fact), fact.instrument or f"{fact.base}/{fact.quote}")
            if key not in anchors or _age(fact) > _age(anchors[key]):
                anchors[key] = fact
    with localcontext() as context:
        context.prec = 400
        for key, anchor in anchors.items():
            total[key] += anchor.qty or Decimal(0)
        filled = _filled(facts)
        owners = {
            key[1:]: key for key in anchors
            if [other[1:] for other in anchors].count(key[1:]) == 1
        }  # fmt: skip
        for fact in facts:
            if isinstance(fact, FillCorrection) and (_where(fact), fact.fill_id) not in filled:
                continue
            if isinstance(fact, Fill | FillCorrection) and fact.kind != "spot":
                key = (*_where(fact), fact.instrument or f"{fact.base}/{fact.quote}")
                if key in anchors and fact.ts <= anchors[key].ts:
                    continue
                bought = (fact.side == "buy") == isinstance(fact, Fill)
                lots = fact.qty if bought else -fact.qty
                total[key] += lots
                owner = owners.get(key[1:], key)
                if owner != key and fact.ts <= anchors[owner].ts:
                    total[owner] -= lots
    return {key: lots for key, lots in sorted(total.items()) if lots}


def _where(fact: Fill | FillCorrection | Settlement | Balance | Position | Loan) -> Where:
    return fact.book, fact.counterparty, fact.account


def _filled(facts: list[Event]) -> set[tuple[Where, str | None]]:
    """Return the places and ids of all fills: a correction of another one moves nothing."""
    return {(_where(fact), fact.event_id) for fact in facts if isinstance(fact, Fill)}


def _age(fact: Event) -> tuple[datetime, int, str]:
    return fact.ts, fact.source_seq or 0, fact.event_id


def _latest_balances(facts: list[Event]) -> dict[tuple[Where, str, str], Balance]:
    latest: dict[tuple[Where, str, str], Balance] = {}
    for fact in facts:
        if isinstance(fact, Balance):
            key = (_where(fact), fact.asset, fact.kind)
            if key not in latest or _age(fact) > _age(latest[key]):
                latest[key] = fact
    return latest


def _legs(fact: Fill | FillCorrection) -> list[tuple[str, Decimal]]:
    if fact.kind != "spot":
        return []
    cost = fact.qty * fact.price
    if fact.side == "buy":
        return [(fact.base, fact.qty), (fact.quote, -cost)]
    return [(fact.base, -fact.qty), (fact.quote, cost)]


def _trades(
    facts: list[Event], deltas: Deltas, total: defaultdict[Key, Decimal], now: datetime | None
) -> None:
    filled = _filled(facts)
    busts = {
        (_where(f), f.fill_id or ""): f
        for f in facts
        if isinstance(f, FillCorrection) and (_where(f), f.fill_id) in filled
    }
    settlements: defaultdict[tuple[Where, str], list[Settlement]] = defaultdict(list)
    for fact in facts:
        if isinstance(fact, Settlement):
            settlements[_where(fact), fact.fill_id].append(fact)
    fills = [fact for fact in facts if isinstance(fact, Fill)]
    settling = {(_where(f), f.event_id) for f in fills if f.kind == "spot" and f.settles_at}
    for fill in fills:
        where = _where(fill)
        _fee(deltas, fill, 1)
        bust = busts.get((where, fill.event_id))
        moves = _moves(fill, bust, settlements[where, fill.event_id])
        if moves is None:
            late = now is not None and fill.settles_at is not None and now > fill.settles_at
            for asset, amount in _legs(fill):
                total[*where, asset, "overdue" if late else "unsettled"] += amount
        for ts, sign in moves or []:
            _book(deltas, where, _legs(fill), ts, sign)
    for (where, fill_id), bust in busts.items():
        _fee(deltas, bust, -1)
        if (where, fill_id) not in settling and bust.settles_at is None:
            _book(deltas, where, _legs(bust), bust.ts, -1)


def _moves(
    fill: Fill, bust: FillCorrection | None, settlements: list[Settlement]
) -> list[tuple[datetime, int]] | None:
    """Return when the legs of a fill come (1) and go (-1), or None while they wait."""
    if fill.settles_at is None:
        return [(fill.ts, 1)]  # its bust, if any, is booked from what the bust restates
    if fill.settles_at <= fill.ts:
        return [(fill.ts, 1)] + ([(bust.ts, -1)] if bust is not None else [])
    return _settle(bust, settlements)


def _settle(
    bust: FillCorrection | None, settlements: list[Settlement]
) -> list[tuple[datetime, int]] | None:
    """Return when the legs come (1) and go (-1), or None while they wait."""
    history = sorted(settlements, key=_age)
    delivered = [s for s in history if s.status == "delivered"]
    failed = [s for s in history if s.status == "failed"]
    if not delivered:
        return [] if failed or bust is not None else None
    first = delivered[0]
    undone = []
    if failed and _age(failed[0])[:2] >= _age(first)[:2]:
        undone.append(failed[0].ts)
    if bust is not None:
        undone.append(max(bust.ts, first.ts))
    return [(first.ts, 1)] + ([(min(undone), -1)] if undone else [])


def _book(
    deltas: Deltas, where: Where, legs: list[tuple[str, Decimal]], ts: datetime, sign: int
) -> None:
    for asset, amount in legs:
        deltas[where, asset].append((ts, sign * amount))


def _fee(deltas: Deltas, fact: Fill | FillCorrection, sign: int) -> None:
    if fact.fee:
        deltas[_where(fact), fact.fee_asset or fact.quote].append((fact.ts, -sign * fact.fee))


def _transfers(facts: list[Event], deltas: Deltas, total: defaultdict[Key, Decimal]) -> None:
    stories: defaultdict[tuple[str, str], list[Transfer]] = defaultdict(list)
    for fact in facts:
        if isinstance(fact, Transfer):
            stories[fact.counterparty, fact.transfer_id].append(fact)
    for story in stories.values():
        first: dict[str, Transfer] = {}
        for fact in sorted(story, key=_age):
            first.setdefault(fact.status, fact)
        _transfer(first, deltas, total)


def _transfer(first: dict[str, Transfer], deltas: Deltas, total: defaultdict[Key, Decimal]) -> None:
    any_fact = next(iter(first.values()))
    where = (any_fact.book, any_fact.counterparty, any_fact.account)
    asset, amount = any_fact.asset, any_fact.amount
    order = ("confirmed", "failed", "cancelled")
    ends = sorted(
        (first[s].ts, first[s].source_seq or 0, order.index(s)) for s in order if s in first
    )
    sent, confirmed = first.get("sent"), first.get("confirmed")
    end = ends[-1] if ends else None
    if end and sent and not confirmed and (sent.ts, sent.source_seq or 0) > end[:2]:
        end = None
    moves = deltas[where, asset]
    way = [fact.ts for fact in (sent, confirmed) if fact is not None]
    if way and end is None:
        total[*where, asset, "in_transit"] += amount
    if any_fact.direction == "withdrawal":
        if way:
            moves.append((min(way), -amount))
            if end and end[2] > 0:
                moves.append((end[0], amount))
    elif confirmed:
        moves.append((confirmed.ts, amount))
        if end and end[2] > 0:
            moves.append((end[0], -amount))


def _latest_wins(facts: list[Event], total: defaultdict[Key, Decimal]) -> None:
    orders: dict[tuple[str, ...], OpenOrder] = {}
    loans: dict[tuple[str, str], Loan] = {}
    for fact in sorted(facts, key=_age):
        if isinstance(fact, OpenOrder):
            orders[fact.book, fact.counterparty, fact.account, fact.order_id] = fact
        elif isinstance(fact, Loan):
            loans[fact.counterparty, fact.loan_id] = fact
    for order in orders.values():
        if order.side == "buy":
            key = (order.book, order.counterparty, order.account, order.base, "open_order")
            total[key] += order.qty
    for loan in loans.values():
        component = "loan" if loan.direction == "lent" else "borrowed"
        total[*_where(loan), loan.asset, component] += loan.amount
