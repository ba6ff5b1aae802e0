"""Handlers of fills, busts and settlements; the plain spot fill is the hot path of the stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from riskwatch.core.clock import micros
from riskwatch.core.enums import QualityIssue
from riskwatch.core.events import Fill, FillCorrection, Settlement, identity
from riskwatch.core.ledger.outputs import (
    LedgerOutput,
    LedgerParameters,
    fact_conflict,
    fact_too_late,
    issue_resolved,
    limit_reached,
)
from riskwatch.core.ledger.party import (
    MAX_ROUTES,
    MAX_SLIPS,
    EntityKey,
    LedgerParty,
    heard_key,
)
from riskwatch.core.ledger.trades import (
    TradeEffect,
    TradeFill,
    TradeRow,
    instrument_of,
    trade_effect,
    trade_fill,
)
from riskwatch.core.money import EXACT
from riskwatch.core.readings import FillSlippage

if TYPE_CHECKING:
    from decimal import Decimal

    from riskwatch.core.ledger.holding import LedgerHolding

_multiply = EXACT.multiply
_subtract = EXACT.subtract
_BP = 1e4


def apply_fill(
    parameters: LedgerParameters, party: LedgerParty, event: Fill, us: int
) -> list[LedgerOutput]:
    """Apply a fill: it changes balances if spot, else a position; its fee changes a balance."""
    reference = event.reference_price
    side = event.side
    if event.kind != "spot" or event.settles_at is not None:
        if event.kind != "spot":
            _derivative(parameters, party, event)
        else:
            _tracked(parameters, party, event, us)
        spot = event.kind == "spot"
        market = (event.book, event.account, event.base, event.quote, side, spot)
        party.recent.add(us, market, event.qty, _multiply(event.qty, event.price))
        if reference:
            _record_slippage(parameters, party, event, float(reference))
        return []
    # The plain spot fill is applied here, without another call, because it is the hot path.
    fee = event.fee
    quote = event.quote
    fee_asset = (event.fee_asset or quote) if fee else quote
    key = (event.book, event.account, event.base, quote, fee_asset, event.wallet or "")
    route = party.routes.get(key)
    if route is None:
        route = _route(parameters, party, key, us, event.source)
    base_holding, quote_holding, fee_holding = route
    party.touch(us)
    reach = party.wm - parameters.late_us
    most = parameters.most
    qty = event.qty
    cost = _multiply(qty, event.price)
    party.recent.add(us, (key[0], key[1], key[2], quote, side, True), qty, cost)
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
    if reference:
        _record_slippage(parameters, party, event, float(reference))
    return []


def _route(
    parameters: LedgerParameters,
    party: LedgerParty,
    key: tuple[str, str, str, str, str, str],
    us: int,
    source: str,
) -> tuple[LedgerHolding, LedgerHolding, LedgerHolding]:
    """Return the three holdings that fills of one kind change, and cache them."""
    book, account, *assets, wallet = key
    base, quote, fee = ((book, account, wallet, asset, "custody") for asset in assets)
    party.admit([base, quote, fee], us, parameters, source)
    if len(party.routes) >= MAX_ROUTES:
        party.routes.clear()
    route = (
        party.holding(base, parameters, source),
        party.holding(quote, parameters, source),
        party.holding(fee, parameters, source),
    )
    party.routes[key] = route
    return route


def _record_slippage(
    parameters: LedgerParameters, party: LedgerParty, event: Fill, reference: float
) -> None:
    """Update the mean slippage by a fill; positive is worse for us than the reference price.

    A fill that is heard late says nothing about the slippage of now.
    """
    if parameters.heard_late(event):
        return
    slip = (float(event.price) / reference - 1.0) * _BP
    if event.side == "sell":
        slip = -slip
    if len(party.slips) < MAX_SLIPS:
        notional = float(event.qty) * float(event.price)
        party.slips.append(FillSlippage(micros(event.ts), event.base, event.quote, notional, slip))
    mean = party.slippage_bp
    if mean is not None:
        slip = mean + parameters.config.slippage_weight * (slip - mean)
    party.slippage_bp = slip


def _derivative(parameters: LedgerParameters, party: LedgerParty, event: Fill) -> None:
    fill = trade_fill(event)
    _change(parameters, party, event, TradeEffect(), _derivative_effect(fill), fill.wallet)


def _derivative_effect(fill: TradeFill) -> TradeEffect:
    fee = [(fill.fee_asset, fill.us, fill.fee.copy_negate())] if fill.fee else []
    return TradeEffect(coins=fee, lots=[(fill.instrument, fill.us, fill.lots)])


def _tracked(parameters: LedgerParameters, party: LedgerParty, event: Fill, us: int) -> None:
    """Apply a spot fill that has a settlement time, and track it as a trade."""
    key = (event.book, event.account, event.event_id)
    old = _find_trade(parameters, party, key, us)
    if old is not None and old.fill is not None:
        raise fact_conflict(f"fill_id={event.event_id} was filled before")
    new = replace(old or TradeRow(), fill=trade_fill(event))
    _update(parameters, party, event, key, (old, new))
    heard = parameters.heard_late(event)
    if heard and trade_effect(new).open_legs:
        party.note_heard(heard_key("trade", *key), heard)


def apply_bust(
    parameters: LedgerParameters, party: LedgerParty, event: FillCorrection, us: int
) -> list[LedgerOutput]:
    """Reverse the fill that a bust restates, at the time of the bust."""
    key = (event.book, event.account, event.fill_id)
    old = _find_trade(parameters, party, key, us)
    if old is not None and old.bust is not None:
        raise fact_conflict(f"fill_id={event.fill_id} was busted before")
    bust = trade_fill(event)
    unknown = old is None or old.fill is None
    if unknown and bust.settles_us is not None and bust.settles_us <= party.trade_horizon:
        raise fact_too_late(
            f"fill_id={event.fill_id} horizon={party.trade_horizon} collection=trades"
        )
    return _update(parameters, party, event, key, (old, replace(old or TradeRow(), bust=bust)))


def apply_settlement(
    parameters: LedgerParameters, party: LedgerParty, event: Settlement, us: int
) -> list[LedgerOutput]:
    """Record the delivery or failure of a trade; it may arrive before the trade's fill."""
    key = (event.book, event.account, event.fill_id)
    old = _find_trade(parameters, party, key, us)
    new = replace(old) if old is not None else TradeRow()
    at = (us, event.source_seq or 0)
    if event.status == "delivered":
        new.delivered = at if new.delivered is None else min(new.delivered, at)
    else:
        new.failed = at if new.failed is None else min(new.failed, at)
    return _update(parameters, party, event, key, (old, new))


def _find_trade(
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


def _update(
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
    _change(parameters, party, event, before, after, new.wallet)
    if old is not None:
        party.add_open_legs(key, old, -1)
    if not after.open_legs:
        new.overdue = False
        party.note_heard(heard_key("trade", *key), 0)
    party.add_open_legs(key, new, 1)
    party.trades[key] = new
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
    wallet: str,
) -> None:
    """Apply the deltas that turn the effect `before` into the effect `after`."""
    us, place = micros(event.ts), (event.book, event.account, wallet)
    coins = _difference(before.coins, after.coins)
    lots = _difference(before.lots, after.lots)
    cells = [(*place, asset, "custody") for asset, _, _ in coins]
    party.admit(cells, us, parameters, event.source)
    if not isinstance(event, Settlement):
        pair = (event.base, event.quote)
        name = instrument_of(event)
        if lots:
            party.admit_position((*place, "", name), pair, us, parameters.config)
    party.touch(us)
    reach = party.wm - parameters.late_us
    for asset, at, amount in coins:
        holding = party.holding((*place, asset, "custody"), parameters, event.source)
        holding.apply(at, amount, reach, parameters.most)
    if not isinstance(event, Settlement):
        for _, at, amount in lots:
            position = party.position((*place, "", name), pair)
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
