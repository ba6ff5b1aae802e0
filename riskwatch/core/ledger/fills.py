"""Handlers of fills and settlements; the plain spot fill is the hot path of the stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from riskwatch.core.clock import micros
from riskwatch.core.enums import QualityIssue
from riskwatch.core.events import Fill, FillCorrection, Settlement, identity
from riskwatch.core.ledger.memory import (
    BUSTED,
    AccountExecutions,
    TradeEntry,
    facts_mark,
    fee_mark,
    new_entry,
    place_mark,
    trade_mark,
)
from riskwatch.core.ledger.outputs import (
    LedgerOutput,
    LedgerParameters,
    execution_issue,
    fact_conflict,
    fact_too_late,
    issue_resolved,
    limit_reached,
    trade_conflict,
    trade_old,
)
from riskwatch.core.ledger.party import (
    MAX_ROUTES,
    MAX_SLIPS,
    EntityKey,
    LedgerParty,
    Route,
    heard_key,
)
from riskwatch.core.ledger.sizes import contract_terms, group_amounts, note_terms, sized
from riskwatch.core.ledger.trades import (
    TradeEffect,
    TradeFill,
    TradeRow,
    facts_of,
    instrument_of,
    join_trades,
    resolve_corrections,
    trade_effect,
    trade_fill,
)
from riskwatch.core.money import EXACT
from riskwatch.core.readings import FillSlippage

if TYPE_CHECKING:
    from decimal import Decimal

_multiply = EXACT.multiply
_subtract = EXACT.subtract
_BP = 1e4


def apply_fill(
    parameters: LedgerParameters, party: LedgerParty, event: Fill, us: int, *, is_new: bool = False
) -> list[LedgerOutput]:
    """Apply a fill: it changes balances if spot, else a position; its fee changes a balance.

    `is_new` says that no report or correction of the trade is known.
    """
    if event.kind != "spot" and not is_new:
        event = sized(parameters, party, event)
    if not is_new and (event.trade_id is not None or party.awaiting):
        return _apply_report(parameters, party, event, us)
    reference = event.reference_price
    side = event.side
    price = event.price
    if event.kind != "spot" or event.settles_at is not None:
        return _apply_tracked(parameters, party, event, us)
    # The plain spot fill is applied here, without another call, because it is the hot path.
    fee = event.fee
    quote = event.quote
    fee_asset = (event.fee_asset or quote) if fee else quote
    key = (event.book, event.account, event.base, quote, fee_asset, event.wallet or "")
    route = party.routes.get(key)
    if route is None:
        route = _route(parameters, party, key, us, event.source)
    base_holding, quote_holding, fee_holding, executions = route
    party.touch(us)
    reach = party.wm - parameters.late_us
    most = parameters.most
    qty = event.qty
    cost = _multiply(qty, price)
    market = (key[0], key[1], key[2], quote, side, True)
    party.recent.add(us, market, qty, cost, fee, fee_asset)
    if side == "buy":
        cost = cost.copy_negate()
    else:
        qty = qty.copy_negate()
    if fee:
        if fee_holding is quote_holding:
            cost = _subtract(cost, fee)
        else:
            fee_holding.apply(us, fee.copy_negate(), reach, most)
    base_holding.apply(us, qty, reach, most)
    quote_holding.apply(us, cost, reach, most)
    if reference and price:
        _record_slippage(parameters, party, event, float(reference), (quote, _notional(event)))
    log = executions.log
    out = []
    if event.source != log.source or event.cause is not None or not price:
        out = _remarks(parameters, party, executions, event, us)
    log.add(event)
    return out


def _apply_tracked(
    parameters: LedgerParameters, party: LedgerParty, event: Fill, us: int
) -> list[LedgerOutput]:
    """Apply a fill that changes a position, or that settles later."""
    spot = event.kind == "spot"
    if spot:
        _track(parameters, party, event, us)
    else:
        fill = trade_fill(event)
        terms = contract_terms(parameters, party, event, fill.instrument)
        place = (event.book, fill.wallet)
        _change(parameters, party, event, TradeEffect(), _derivative_effect(fill), place)
        note_terms(party, event, terms, fill.instrument)
    quote, amount, turnover = event.quote, event.qty, _multiply(event.qty, event.price)
    if not spot:
        quote, amount, turnover = group_amounts(event, terms)
    market = (event.book, event.account, event.base, quote, event.side, spot)
    fee_asset = event.fee_asset or event.quote
    party.recent.add(us, market, amount, turnover, event.fee, fee_asset)
    if event.reference_price and event.price:
        reference = float(event.reference_price)
        notional = _notional(event) if spot else float(turnover)
        _record_slippage(parameters, party, event, reference, (quote, notional))
    executions = party.account(event.account)
    out = _remarks(parameters, party, executions, event, us)
    executions.log.add(event)
    return out


def _remarks(
    parameters: LedgerParameters,
    party: LedgerParty,
    executions: AccountExecutions,
    event: Fill,
    us: int,
) -> list[LedgerOutput]:
    """Return what people must know of a fill that counts."""
    found: list[tuple[QualityIssue, str]] = []
    if executions.note_source(event.source):
        twin = executions.log.equal_fill(event, us)
        if twin is not None:
            detail = (
                f"both count: {event.source}/{event.event_id} equals {twin.source}/{twin.fill_id} "
                f"{twin.facts.text()}; reports with one trade_id count once"
            )
            found.append((QualityIssue.TRADE_TWICE, detail))
    if not event.price and event.kind == "spot" and event.cause in (None, "trade"):
        detail = f"fill={event.source}/{event.event_id} {facts_of(event).text()}"
        found.append((QualityIssue.PRICE_ZERO, detail))
    if event.cause in ("liquidation", "adl"):
        detail = f"cause={event.cause} book={event.book} {facts_of(event).text()}"
        found.append((QualityIssue.FILL_FORCED, detail))
    return [
        issue
        for kind, detail in found
        for issue in tell_executions(parameters, party, event, kind, detail)
    ]


def tell_executions(
    parameters: LedgerParameters,
    party: LedgerParty,
    event: Fill | FillCorrection,
    issue: QualityIssue,
    detail: str,
) -> list[LedgerOutput]:
    """Return an issue about the executions of an account, unless it is open already."""
    executions = party.account(event.account)
    is_open = executions.note_issue(issue, parameters.heard_late(event) or micros(event.ts))
    if is_open:
        return []
    return [execution_issue(event, issue, executions.subject(issue), detail)]


def _apply_report(
    parameters: LedgerParameters, party: LedgerParty, event: Fill, us: int
) -> list[LedgerOutput]:
    """Apply a fill of which another report or a correction may be known."""
    executions = party.account(event.account)
    facts = facts_of(event)
    key: EntityKey | None = party.awaiting.get((event.book, event.account, event.event_id))
    mark = b""
    if event.trade_id is not None:
        mark = trade_mark(facts, event.trade_id)
        entry = executions.memory.find(mark)
        if entry is not None:
            return _apply_repeat(parameters, party, event, us, entry)
        if us <= executions.memory.horizon:
            raise trade_old(
                f"trade_id={event.trade_id} us={us} horizon={executions.memory.horizon}: "
                "trade ids of that time are forgotten, so it may have been counted"
            )
        key = party.awaiting.get((event.account, mark.hex())) or key
    out = apply_fill(parameters, party, event, us, is_new=True)
    if mark:
        executions.memory.add(us, new_entry(event, facts, mark))
        most = parameters.config.max_trade_ids
        if len(executions.memory) > most:
            executions.memory.forget_oldest()
            executions.change()
            detail = f"limit=max_trade_ids value={most}: the oldest trade ids are forgotten"
            out += tell_executions(parameters, party, event, QualityIssue.TABLE_FULL, detail)
    return out if key is None else out + _meet_corrections(parameters, party, event, mark, key)


def _apply_repeat(
    parameters: LedgerParameters,
    party: LedgerParty,
    event: Fill,
    us: int,
    entry: TradeEntry,
) -> list[LedgerOutput]:
    """Apply a further report of a trade: it may add the fee, and must not contradict."""
    executions, facts = party.account(event.account), facts_of(event)
    key = party.links.get((event.account, entry.mark.hex()))
    row = None if key is None else party.trades[key]
    if entry.facts != facts_mark(facts) and (row is None or facts not in row.others):
        first = executions.log.find_trade(event.trade_id or "", entry.mark)
        known = (
            "" if first is None else f" known: {first.source}/{first.fill_id} {first.facts.text()}"
        )
        raise trade_conflict(f"trade_id={event.trade_id} {facts.text()}{known}")
    asset = event.fee_asset or event.quote
    fee = fee_mark(event.fee, asset)
    out: list[LedgerOutput] = []
    if event.fee and not entry.has_fee:
        new = None if row is None else replace(row)
        if new is not None and new.fill is not None:
            new.fill = replace(new.fill, fee_asset=asset, fee=event.fee)
        else:
            effect = TradeEffect(coins=[(asset, us, event.fee.copy_negate())])
            place = _place_of(event, entry, executions)
            _change(parameters, party, event, TradeEffect(), effect, place)
        if new is not None and new.fee_waits and new.bust is not None:
            new.fee_waits = fee != fee_mark(new.bust.fee, new.bust.fee_asset)
            if new.fee_waits:
                detail = f"trade_id={event.trade_id} fee={event.fee} {asset}: its bust has another"
                out = tell_executions(parameters, party, event, QualityIssue.TRADE_CONFLICT, detail)
        if new is not None and key is not None:
            out += update_trade(parameters, party, event, key, (row, new))
        executions.memory.update(entry._replace(fee=fee))
    elif event.fee and fee != entry.fee:
        raise trade_conflict(
            f"trade_id={event.trade_id} fee={event.fee} {asset}: another fee was reported before"
        )
    if row is not None and key is not None and row.fill is not None:
        _note_fill_id(parameters, party, event, key)
    return out


def _place_of(event: Fill, entry: TradeEntry, executions: AccountExecutions) -> tuple[str, str]:
    """Return the book and the wallet of the first report of a trade, as far as they are known."""
    own = (event.book, event.wallet or "")
    if entry.place == place_mark(*own) or event.trade_id is None:
        return own
    first = executions.log.find_trade(event.trade_id, entry.mark)
    return own if first is None else (first.book, first.wallet)


def _note_fill_id(
    parameters: LedgerParameters, party: LedgerParty, event: Fill, key: EntityKey
) -> None:
    """Let a settlement name a tracked trade by the id of a further report of it."""
    other = (event.book, event.account, event.event_id)
    if other == key or party.aliases.get(other) == key or other[0] != key[0]:
        return
    row = party.trades[key]
    new = replace(row, fill_ids=[*row.fill_ids, event.event_id])
    before = party.trades.get(other)
    if before is not None and before.fill is None and before.facts is None:
        party.drop_trade(other)
        new = join_trades(new, before)
    update_trade(parameters, party, event, key, (row, new))


def _meet_corrections(
    parameters: LedgerParameters, party: LedgerParty, event: Fill, mark: bytes, key: EntityKey
) -> list[LedgerOutput]:
    """Put corrections in force that were heard before their fill, if they fit it."""
    row = party.trades[key]
    new = replace(row, facts=row.facts or facts_of(event), mark=mark.hex() or row.mark)
    out: list[LedgerOutput] = []
    elsewhere = (key[0], row.wallet) != (event.book, event.wallet or "")
    if elsewhere or (new.amending is not None and event.settles_at is not None):
        dropped = f"book={key[0]} wallet={row.wallet}, of a fill that settles at once"
        new.checked_us = row.last_us()
        new.bust = new.bust_facts = new.amending = None
        new.pending = False
    else:
        dropped = resolve_corrections(new)
    if not dropped and new.bust is not None and new.bust.fee:
        stated = fee_mark(event.fee, event.fee_asset or event.quote)
        new.fee_waits = stated != fee_mark(new.bust.fee, new.bust.fee_asset)
        if new.fee_waits and (event.fee or not mark):
            dropped = f"fee={new.bust.fee} {new.bust.fee_asset}"
            new.checked_us = row.last_us()
            new.bust, new.bust_facts, new.fee_waits = None, None, False
    subject = f"{party.name}/{'/'.join(key)}"
    issue = QualityIssue.TRADE_UNKNOWN
    out.append(issue_resolved(identity(event), micros(event.ts), issue, subject))
    out += update_trade(parameters, party, event, key, (row, new))
    remember_correction(party, key, new)
    if dropped:
        detail = (
            f"fill={event.source}/{event.event_id} {facts_of(event).text()} corrected: {dropped}"
        )
        out += tell_executions(parameters, party, event, QualityIssue.TRADE_CONFLICT, detail)
    return out


def remember_correction(party: LedgerParty, key: EntityKey, trade: TradeRow) -> None:
    """Note a correction in force with the fill and the trade id that it changes."""
    executions = party.account(key[1])
    gone = trade.bust is not None and not trade.pending
    if trade.facts is None:
        return
    executions.log.replace(key[0], key[2], None if gone else trade.facts)
    entry = executions.memory.find(bytes.fromhex(trade.mark)) if trade.mark else None
    if entry is not None:
        flag = entry.flag | BUSTED if gone else entry.flag
        executions.memory.update(entry._replace(facts=facts_mark(trade.facts), flag=flag))


def _route(
    parameters: LedgerParameters,
    party: LedgerParty,
    key: tuple[str, str, str, str, str, str],
    us: int,
    source: str,
) -> Route:
    """Return the three holdings that fills of one kind change, with the account; cache them."""
    book, account, *assets, wallet = key
    base, quote, fee = ((book, account, wallet, asset, "custody") for asset in assets)
    party.admit([base, quote, fee], us, parameters, source)
    if len(party.routes) >= MAX_ROUTES:
        party.routes.clear()
    route = (
        party.holding(base, parameters, source),
        party.holding(quote, parameters, source),
        party.holding(fee, parameters, source),
        party.account(account),
    )
    party.routes[key] = route
    return route


def _record_slippage(
    parameters: LedgerParameters,
    party: LedgerParty,
    event: Fill,
    reference: float,
    turnover: tuple[str, float],
) -> None:
    """Update the mean slippage by a fill; positive is worse for us than the reference price.

    `turnover` is an asset and an amount of it. A fill that is heard late says nothing about the
    slippage of now.
    """
    if parameters.heard_late(event):
        return
    slip = (float(event.price) / reference - 1.0) * _BP
    if event.side == "sell":
        slip = -slip
    if len(party.slips) < MAX_SLIPS:
        quote, notional = turnover
        party.slips.append(FillSlippage(micros(event.ts), event.base, quote, notional, slip))
    mean = party.slippage_bp
    if mean is not None:
        slip = mean + parameters.config.slippage_weight * (slip - mean)
    party.slippage_bp = slip


def _notional(event: Fill) -> float:
    return float(event.qty) * float(event.price)


def _derivative_effect(fill: TradeFill) -> TradeEffect:
    fee = [(fill.fee_asset, fill.us, fill.fee.copy_negate())] if fill.fee else []
    return TradeEffect(coins=fee, lots=[(fill.instrument, fill.us, fill.lots)])


def _track(parameters: LedgerParameters, party: LedgerParty, event: Fill, us: int) -> None:
    """Apply a spot fill that has a settlement time, and track it as a trade."""
    own = (event.book, event.account, event.event_id)
    key = party.aliases.get(own, own)
    facts, mark = facts_of(event), ""
    if event.trade_id is not None:
        mark = trade_mark(facts, event.trade_id).hex()
        linked = party.links.get((event.account, mark), key)
        key = linked if linked[0] == event.book else key
    old = find_trade(parameters, party, key, us)
    if old is not None and (old.fill is not None or old.facts is not None):
        raise fact_conflict(f"fill_id={event.event_id} was filled before")
    new = replace(old or TradeRow(), fill=trade_fill(event), facts=facts)
    if mark:
        new.mark = mark
    if own != key:
        new.fill_ids = [*new.fill_ids, event.event_id]
        settled = party.trades.get(own)
        if settled is not None and settled.facts is None:
            party.drop_trade(own)
            new = join_trades(new, settled)
    update_trade(parameters, party, event, key, (old, new))
    heard = parameters.heard_late(event)
    if heard and trade_effect(new).open_legs:
        party.note_heard(heard_key("trade", *key), heard)


def apply_settlement(
    parameters: LedgerParameters, party: LedgerParty, event: Settlement, us: int
) -> list[LedgerOutput]:
    """Record the delivery or failure of a trade; it may arrive before the trade's fill."""
    own = (event.book, event.account, event.fill_id)
    key = party.aliases.get(own, own)
    old = find_trade(parameters, party, key, us)
    new = replace(old) if old is not None else TradeRow()
    at = (us, event.source_seq or 0)
    if event.status == "delivered":
        new.delivered = at if new.delivered is None else min(new.delivered, at)
    else:
        new.failed = at if new.failed is None else min(new.failed, at)
    return update_trade(parameters, party, event, key, (old, new))


def find_trade(
    parameters: LedgerParameters, party: LedgerParty, key: EntityKey, us: int
) -> TradeRow | None:
    """Return a trade if it is known; refuse an unknown one that is too old or has no room."""
    trade = party.trades.get(key)
    if trade is None:
        if us <= party.trade_horizon:
            raise fact_too_late(f"us={us} horizon={party.trade_horizon} collection=trades")
        if len(party.trades) >= parameters.config.max_trades:
            raise limit_reached("max_trades", parameters.config.max_trades)
    return trade


def update_trade(
    parameters: LedgerParameters,
    party: LedgerParty,
    event: Fill | FillCorrection | Settlement,
    key: EntityKey,
    change: tuple[TradeRow | None, TradeRow],
) -> list[LedgerOutput]:
    """Store the new row of a trade, and apply the difference between the two effects.

    Returns the end of the issue if the trade was overdue and is no longer open.
    """
    old, new = change
    before = TradeEffect() if old is None else trade_effect(old)
    after = trade_effect(new)
    _change(parameters, party, event, before, after, (key[0], new.wallet))
    if old is not None:
        party.add_open_legs(key, old, -1)
    if not after.open_legs:
        new.overdue = False
        party.note_heard(heard_key("trade", *key), 0)
    party.add_open_legs(key, new, 1)
    party.trades[key] = new
    party.link_trade(key, new)
    name = f"{party.name}/{key[0]}/{key[1]}/{key[2]}"
    party.dirty[f"trade/{name}"] = new
    if old is None or not old.overdue or new.overdue:
        return []
    issue = QualityIssue.SETTLEMENT_OVERDUE
    return [issue_resolved(identity(event), micros(event.ts), issue, name)]


def _change(
    parameters: LedgerParameters,
    party: LedgerParty,
    event: Fill | FillCorrection | Settlement,
    before: TradeEffect,
    after: TradeEffect,
    where: tuple[str, str],
) -> None:
    """Apply the deltas that turn the effect `before` into the effect `after`.

    `where` is the book and the wallet whose holdings change.
    """
    us, place = micros(event.ts), (where[0], event.account, where[1])
    coins = _difference(before.coins, after.coins)
    lots = _difference(before.lots, after.lots)
    cells = [(*place, asset, "custody") for asset, _, _ in coins]
    party.admit(cells, us, parameters, event.source)
    if not isinstance(event, Settlement):
        pair = (event.base, event.quote)
        name = instrument_of(event)
        if lots:
            leg = event.position_side or ""
            party.admit_position((*place, leg, name), pair, us, parameters.config)
    party.touch(us)
    reach = party.wm - parameters.late_us
    for asset, at, amount in coins:
        holding = party.holding((*place, asset, "custody"), parameters, event.source)
        holding.apply(at, amount, reach, parameters.most)
    if not isinstance(event, Settlement):
        for _, at, amount in lots:
            position = party.position((*place, event.position_side or "", name), pair)
            position.apply(at, amount, reach, parameters.most)


def _difference(
    before: list[tuple[str, int, Decimal]], after: list[tuple[str, int, Decimal]]
) -> list[tuple[str, int, Decimal]]:
    """Return the deltas that turn `before` into `after`."""
    new = list(after)
    removed = []
    for delta in before:
        if delta in new:
            new.remove(delta)
        else:
            removed.append(delta)
    return [(name, us, amount.copy_negate()) for name, us, amount in removed] + new
