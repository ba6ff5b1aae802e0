"""Handler of transfers: each new status may change the effect of the whole transfer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from riskwatch.core.ledger.outputs import fact_conflict, fact_too_late, limit_reached
from riskwatch.core.ledger.party import heard_key, transfer_row_key
from riskwatch.core.ledger.transfers import (
    Movement,
    TransferEffect,
    TransferRow,
    transfer_effect,
    transfer_leg,
    transfer_movements,
)
from riskwatch.core.money import sub

if TYPE_CHECKING:
    from riskwatch.core.events import Transfer
    from riskwatch.core.ledger.outputs import LedgerOutput, LedgerParameters
    from riskwatch.core.ledger.party import HoldingKey, LedgerParty
    from riskwatch.core.readings import TransferLeg

MAX_LEGS: Final = 1_024
"""Maximum number of legs of transfers in one reading."""
ROOM: Final = 8
"""A full account makes room by dropping one in this many of its transfers, the oldest finished."""


def apply_transfer(
    parameters: LedgerParameters, party: LedgerParty, event: Transfer, us: int
) -> list[LedgerOutput]:
    """Store one status of a transfer, and apply the change of its effect."""
    key = (event.direction, event.transfer_id)
    old = party.transfers.get(key)
    if old is None:
        _admit(parameters, party, event, us)
        terms = (event.book, event.account, event.asset, event.amount, event.direction)
        new = TransferRow(*terms, {}, event.wallet or "")
        before, moved = TransferEffect(), list[Movement]()
    else:
        wrong = old.contradiction(event)
        if wrong:
            raise fact_conflict(f"transfer_id={event.transfer_id} {wrong}")
        new = replace(old, seen=dict(old.seen), details=dict(old.details))
        before = transfer_effect(old)
        moved = transfer_movements(old, before, party.name)
    new.note(event, (us, event.source_seq or 0))
    _check_sibling(party, new, event)
    after = transfer_effect(new)
    moves = transfer_movements(new, after, party.name)
    party.admit(_cells(new, [*moved, *moves]), us, parameters, event.source)
    party.touch(us)
    if event.direction == "withdrawal":
        _note_wait(party, event.transfer_id, parameters.heard_late(event), after)
    _move(parameters, party, new, moved, moves, event.source)
    if not new.released:
        change = sub(after.in_transit, before.in_transit)
        party.add(_line(new), change)
    _flow(party, event.transfer_id, new, before, after)
    party.store_transfer(key, new)
    if new != old:
        new.told = False
        party.untold[key] = None
    return []


def _check_sibling(party: LedgerParty, new: TransferRow, event: Transfer) -> None:
    """Refuse both legs of a transfer under one id if they cannot be two legs.

    Two legs of a transfer between accounts of one counterparty may share their id. Both in one
    account contradict each other, and an internal transfer has no other leg.
    """
    opposite = "deposit" if event.direction == "withdrawal" else "withdrawal"
    sibling = party.transfers.get((opposite, event.transfer_id))
    if sibling is None:
        return
    if (sibling.account, sibling.wallet) == (new.account, new.wallet):
        raise fact_conflict(
            f"transfer_id={event.transfer_id} direction={event.direction} was={opposite}"
        )
    if new.is_internal(party.name) or sibling.is_internal(party.name):
        raise fact_conflict(
            f"transfer_id={event.transfer_id} to_account or to_wallet says that one event is the "
            "whole transfer, and another leg is stated"
        )


def _line(t: TransferRow) -> HoldingKey:
    """Return the reported amount in transit to which a transfer belongs."""
    return (t.book, t.account, t.wallet, t.asset, "in_transit")


def _cells(t: TransferRow, moves: list[Movement]) -> list[HoldingKey]:
    """Return the holdings that some movements change, each once."""
    return list(dict.fromkeys((t.book, *move[:3], "custody") for move in moves))


def _note_wait(party: LedgerParty, transfer_id: str, heard: int, after: TransferEffect) -> None:
    """Store from when a withdrawal waits, if an old status would make the wait look long."""
    key = heard_key("transfer", transfer_id)
    if after.pending_us is None:
        party.note_heard(key, 0)
    elif heard:
        party.note_heard(key, party.flow.pending.get(transfer_id, heard))


def _admit(parameters: LedgerParameters, party: LedgerParty, event: Transfer, us: int) -> None:
    """Refuse an unknown transfer that may have been dropped already, or that has no room."""
    if us < party.wm - parameters.retention_us:
        raise fact_too_late(
            f"transfer_id={event.transfer_id} us={us} "
            f"retention_s={parameters.config.transfer_retention_s}"
        )
    horizon = party.transfer_horizons.get(event.account)
    if horizon is not None and us <= horizon:
        raise fact_too_late(f"us={us} horizon={horizon} collection=transfers")
    most = parameters.config.max_transfers
    if party.transfer_counts.get(event.account, 0) >= most:
        _make_room(party, event.account, most)


def _make_room(party: LedgerParty, account: str, most: int) -> None:
    """Drop the oldest transfers of a full account that are finished, or that others count.

    Raises
    ------
    FactRefusedError
        ``LIMIT_REACHED`` if all are open.
    """
    spare = sorted(
        (t.last_us(), key)
        for key, t in party.transfers.items()
        if t.account == account and t.told and (t.released or not transfer_effect(t).open)
    )
    if not spare:
        raise limit_reached("max_transfers", most)
    for last_us, key in spare[: max(1, most // ROOM)]:
        party.drop_transfer(key)
        party.transfer_horizons[account] = max(last_us, party.transfer_horizons.get(account, 0))
    party.dirty[party.key] = party


def _move(
    parameters: LedgerParameters,
    party: LedgerParty,
    t: TransferRow,
    before: list[Movement],
    after: list[Movement],
    source: str,
) -> None:
    """Apply the difference of two lists of movements to custody."""
    removed = list(before)
    added = []
    for move in after:
        if move in removed:
            removed.remove(move)
        else:
            added.append(move)
    reach = party.wm - parameters.late_us
    changes = [(*move[:4], move[4].copy_negate()) for move in removed] + added
    for account, wallet, asset, us, amount in changes:
        key = (t.book, account, wallet, asset, "custody")
        party.holding(key, parameters, source).apply(us, amount, reach, parameters.most)


def _flow(
    party: LedgerParty,
    transfer_id: str,
    t: TransferRow,
    before: TransferEffect,
    after: TransferEffect,
) -> None:
    """Apply the difference of the effects to the flow features."""
    flow = party.flow
    if t.direction == "withdrawal":
        if after.pending_us is None:
            flow.pending.pop(transfer_id, None)
        else:
            heard = party.heard.get(heard_key("transfer", transfer_id), 0)
            flow.pending[transfer_id] = max(after.pending_us, heard)
    for effect, sign in ((before, -1), (after, 1)):
        amount = t.amount if sign > 0 else t.amount.copy_negate()
        if effect.moved_us is not None and before.moved_us != after.moved_us:
            outward = t.direction == "withdrawal"
            flow.move(effect.moved_us, t.asset, amount, outward=outward)
        if effect.failed_us is not None and before.failed_us != after.failed_us:
            flow.fail(effect.failed_us, sign)
    if before.done != after.done:
        if before.done is not None:
            flow.retract(before.done[0], transfer_id, before.done[1])
        if after.done is not None:
            flow.complete(after.done[0], transfer_id, after.done[1])
    if _flow_parts(before) != _flow_parts(after):
        party.dirty[flow.key] = flow


def _flow_parts(effect: TransferEffect) -> tuple[object, ...]:
    """Return the parts of an effect that are stored in the flow row."""
    return effect.moved_us, effect.failed_us, effect.done


def take_legs(party: LedgerParty) -> list[TransferLeg]:
    """Return the legs that the next reading has, and mark them as told.

    What remains is in the reading after it; until then the ledger's own sum is what counts of it.
    """
    legs = []
    for key in sorted(party.untold)[:MAX_LEGS]:
        del party.untold[key]
        transfer = party.transfers[key]
        transfer.told = True
        party.dirty[transfer_row_key(party.name, key)] = transfer
        leg = transfer_leg(transfer, key[1], party.name)
        if leg is not None:
            legs.append(leg)
    return legs


def sweep_transfers(party: LedgerParty, since: int) -> None:
    """Drop transfers that were finished before `since`, and release those still on the way.

    A released one stays as a known id until its account needs the room.
    """
    for key in sorted(party.transfers):
        transfer = party.transfers[key]
        if transfer.last_us() >= since or not transfer.told:
            continue
        effect = transfer_effect(transfer)
        if not effect.open:
            party.drop_transfer(key)
        elif effect.in_transit and not transfer.released:
            amount = effect.in_transit.copy_negate()
            party.add(_line(transfer), amount)
            transfer.released, transfer.told = True, False
            party.store_transfer(key, transfer)
            party.untold[key] = None
            party.changed = True
