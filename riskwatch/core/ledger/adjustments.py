"""Handler of adjustments: entries of a venue's ledger that are neither trades nor transfers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.ledger.entries import AdjustmentRow, adjustment_row_key
from riskwatch.core.ledger.outputs import fact_conflict, fact_too_late, limit_reached
from riskwatch.core.money import ZERO, add
from riskwatch.core.readings import AccountAdjustment

if TYPE_CHECKING:
    from riskwatch.core.events import Adjustment
    from riskwatch.core.ledger.outputs import LedgerOutput, LedgerParameters
    from riskwatch.core.ledger.party import LedgerParty

MAX_ADJUSTMENTS: Final = 512
"""Maximum number of adjustments in one reading; the next one has the others."""
ROOM: Final = 8
"""A full account makes room by forgetting one in this many of its adjustments, the oldest."""
_DEBTS: Final = ("auto_borrow", "auto_repay")


def apply_adjustment(
    parameters: LedgerParameters, party: LedgerParty, event: Adjustment, us: int
) -> list[LedgerOutput]:
    """Change the balances by an entry of the venue's ledger, once for each entry."""
    key = (event.account, event.adjustment_id)
    new = AdjustmentRow(
        us,
        event.book,
        event.wallet or "",
        event.asset,
        event.amount,
        event.kind,
        event.instrument or "",
        event.to_asset or "",
        event.to_amount or ZERO,
    )
    old = party.adjustments.get(key)
    if old is not None:
        if msgspec.structs.replace(old, told=False) != new:
            raise fact_conflict(f"adjustment_id={event.adjustment_id} says other than before")
        party.touch(us)
        return []
    _admit(parameters, party, event, us)
    place = (event.book, event.account, event.wallet or "")
    moves = [(event.asset, event.amount)]
    if event.to_asset is not None and event.to_amount is not None:
        moves.append((event.to_asset, event.to_amount))
    cells = [(*place, asset, "custody") for asset, _ in moves]
    party.admit(cells, us, parameters, event.source)
    party.touch(us)
    reach = party.wm - parameters.late_us
    for cell, (_, amount) in zip(cells, moves, strict=True):
        holding = party.holding(cell, parameters, event.source)
        if event.kind in _DEBTS and us > holding.snap_us:
            party.add((*cell[:4], "borrowed"), amount)
            holding.borrowed = add(holding.borrowed, amount)
            party.dirty[holding.key] = holding
        holding.apply(us, amount, reach, parameters.most)
    party.store_adjustment(key, new)
    return []


def _admit(parameters: LedgerParameters, party: LedgerParty, event: Adjustment, us: int) -> None:
    """Refuse an unknown entry that may have been forgotten; make room for a new one."""
    if us < party.wm - parameters.retention_us:
        raise fact_too_late(
            f"adjustment_id={event.adjustment_id} us={us} "
            f"retention_s={parameters.config.transfer_retention_s}"
        )
    horizon = party.adjustment_horizons.get(event.account)
    if horizon is not None and us <= horizon:
        raise fact_too_late(f"us={us} horizon={horizon} collection=adjustments")
    most = parameters.config.max_adjustments
    if party.adjustment_counts.get(event.account, 0) < most:
        return
    oldest = sorted(
        (row.us, key)
        for key, row in party.adjustments.items()
        if key[0] == event.account and row.told
    )
    if not oldest:
        raise limit_reached("max_adjustments", most)
    for row_us, key in oldest[: max(1, most // ROOM)]:
        party.drop_adjustment(key)
        party.adjustment_horizons[event.account] = row_us
    party.dirty[party.key] = party


def take_adjustments(party: LedgerParty) -> list[AccountAdjustment]:
    """Return the adjustments that the next reading has, and mark them as told."""
    out = []
    for key in sorted(party.unread)[:MAX_ADJUSTMENTS]:
        del party.unread[key]
        row = party.adjustments[key]
        row.told = True
        party.dirty[adjustment_row_key(party.name, key)] = row
        out.append(
            AccountAdjustment(
                row.us, key[0], key[1], row.asset, row.amount, row.kind, row.instrument,
                row.to_asset, row.to_amount, row.book,
            )
        )  # fmt: skip
    return out


def sweep_adjustments(party: LedgerParty, since: int) -> None:
    """Forget the adjustments before `since`."""
    for key in sorted(party.adjustments):
        row = party.adjustments[key]
        if row.told and row.us < since:
            party.drop_adjustment(key)
