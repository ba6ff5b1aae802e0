"""Holdings that were never priced: what stands for their price, and which limits are unknown.

An unknown value is never fine, and never a reason to stop trading. What was never priced is valued
by the venue's mark of our own position, by what we traded at, or by an assumption of the reference
data. Where none of them is there, the limits that hold it are unknown. What was sent to us, is not
listed and was never traded is worth nothing, and restricts only itself.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import MINUTE, micros
from riskwatch.core.instruments import OPTION
from riskwatch.core.money import saturated
from riskwatch.core.risk.exposure import base_delta, bound_scopes, price_of, value_of
from riskwatch.core.risk.state import MarkRow, Valuation
from riskwatch.core.scopes import ASSET, BOOK, COUNTERPARTY, FIRM

if TYPE_CHECKING:
    from riskwatch.core.readings import CounterpartyReading, FillGroup, OpenPosition
    from riskwatch.core.reference import Reference
    from riskwatch.core.risk.state import PartyRow, RiskState

OPENING: Final = MINUTE
"""What an account holds within this time of its first reading was ours before, microseconds."""
UNSURE: Final = ("entry", "assumed")
"""Valuations that no market and no venue states."""


def learn_marks(state: RiskState, row: PartyRow | None, reading: CounterpartyReading) -> None:
    """Learn from a reading what stands for prices that are missing, before it is stored.

    Parameters
    ----------
    state : RiskState
        Its marks are changed.
    row : PartyRow or None
        The counterparty before the reading.
    reading : CounterpartyReading
        Its positions state marks and entries, its fills what we traded at.
    """
    for group in reading.fills:
        _learn_fill(state, group)
    for position in reading.positions:
        is_option = position.kind == OPTION  # its prices are those of the option
        if position.qty and not is_option and _is_unpriced(state, position.base):
            _learn_position(state, position, reading.us)
    opened = {} if row is None else row.opened
    for h in reading.holdings:
        first = opened.get(h.account, reading.us)
        if h.amount and reading.us - first <= OPENING and _is_unpriced(state, h.asset):
            _put(state, h.asset, state.marks.get(h.asset) or MarkRow())


def accounts_opened(row: PartyRow, reading: CounterpartyReading) -> dict[str, int]:
    """Return the time of the first reading of each account, microseconds.

    An account of a row that did not record it is as old as can be.
    """
    names = dict.fromkeys([*(h.account for h in reading.holdings)])
    names |= dict.fromkeys(p.account for p in reading.positions)
    known = row.opened
    if not known:
        known = dict.fromkeys([*(h.account for h in row.holdings)], 0)
    return {name: known.get(name, reading.us) for name in [*known, *names]}


def _learn_fill(state: RiskState, group: FillGroup) -> None:
    """Learn what we traded at; of two unpriced assets nothing is learned but that they are ours."""
    qty, notional = float(group.qty), float(group.notional)
    for asset, other, sold, got in (
        (group.base, group.quote, qty, notional),
        (group.quote, group.base, notional, qty),
    ):
        if not _is_unpriced(state, asset):
            continue
        row = state.marks.get(asset) or MarkRow()
        unit = price_of(other, state)
        if unit is not None and sold > 0.0:
            row.entry = Valuation(saturated(got / sold * unit), "entry", group.last_us)
        _put(state, asset, row)


def _learn_position(state: RiskState, position: OpenPosition, us: int) -> None:
    row = state.marks.get(position.base) or MarkRow()
    unit = price_of(position.quote, state)
    if unit is not None and position.mark_price is not None:
        row.mark = Valuation(value_of(position.mark_price, unit), "mark", us)
    if unit is not None and position.entry_price is not None and row.entry is None:
        row.entry = Valuation(value_of(position.entry_price, unit), "entry", us)
    _put(state, position.base, row)


def refresh_marks(state: RiskState, reference: Reference) -> None:
    """Take the assumptions of the reference data over, and drop what nobody needs any more.

    A row lasts while its asset is held and was never priced.
    """
    held = held_unpriced(state)
    for asset in sorted(state.marks):
        if asset not in held:
            del state.marks[asset]
            state.mark(f"mark/{asset}")
    for asset in sorted(held):
        known = reference.asset(asset)
        assumed = None
        if known.assumed_usd is not None:
            assumed = Valuation(known.assumed_usd, "assumed", _day(known.assumed_on))
        row = state.marks.get(asset)
        if assumed != (None if row is None else row.assumed):
            row = row or MarkRow()
            row.assumed = assumed
            _put(state, asset, row)


def held_unpriced(state: RiskState) -> dict[str, None]:
    """Return what we hold, owe or have a position in, and no market ever priced."""
    found: dict[str, None] = {}
    for party in state.parties.values():
        found |= {h.asset: None for h in party.holdings if h.amount}
        found |= {p.base: None for p in party.positions if p.qty}
    return {asset: None for asset in found if _is_unpriced(state, asset)}


def is_unrecognised(asset: str, state: RiskState, reference: Reference) -> bool:
    """Whether an asset that we hold was sent to us: not listed, never priced, never ours before."""
    return asset not in reference.assets and asset not in state.marks and _is_unpriced(state, asset)


def unknown_scopes(state: RiskState, reference: Reference, *, opening: bool) -> dict[str, str]:
    """Return the scopes that hold what nothing values, with the reason.

    Parameters
    ----------
    state : RiskState
        Holdings, prices and marks.
    reference : Reference
        Listed assets; issuers, banks and groups.
    opening : bool
        Whether an asset that is not listed, and that was there when its account began, counts
        everywhere. Otherwise it counts for itself alone, as what was sent to us does.
    """
    unknown: dict[str, str] = {}
    for name in sorted(state.parties):
        for holding in state.parties[name].holdings:
            asset = holding.asset
            if not holding.amount or price_of(asset, state) is not None:
                continue
            why = f"{asset} at {name} has no price"
            ours = asset in reference.assets or (opening and asset in state.marks)
            if not ours:
                unknown.setdefault(f"{ASSET}:{asset}", why)
                continue
            scopes = [FIRM, f"{COUNTERPARTY}:{name}", f"{ASSET}:{asset}", f"{BOOK}:{holding.book}"]
            for scope in scopes[1:3]:
                scopes += bound_scopes(scope, reference)
            for scope in scopes:
                unknown.setdefault(scope, why)
    return unknown


def unsure_usd(state: RiskState) -> float:
    """Return the dollars of holdings and positions that no market and no venue values, USD."""
    marks = {
        asset: found.price
        for asset, row in state.marks.items()
        if (found := row.valuation) is not None and found.by in UNSURE
    }
    total = 0.0
    for name in sorted(state.parties) if marks else ():
        row = state.parties[name]
        for asset, amount in (
            *((h.asset, h.amount) for h in row.holdings),
            *((p.base, base_delta(state, row, p)) for p in row.positions),
        ):
            if asset in marks and _is_unpriced(state, asset):
                total += abs(value_of(amount, marks[asset]))
    return total


def _is_unpriced(state: RiskState, asset: str) -> bool:
    """Whether no market ever priced an asset."""
    row = state.assets.get(asset)
    return asset != "USD" and (row is None or row.price is None)


def _put(state: RiskState, asset: str, row: MarkRow) -> None:
    state.marks[asset] = row
    state.mark(f"mark/{asset}")


def _day(text: str) -> int:
    """Return the start of a day ``YYYY-MM-DD``, microseconds; 0 if none is stated."""
    return micros(datetime.fromisoformat(text).replace(tzinfo=UTC)) if text else 0
