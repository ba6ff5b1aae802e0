"""Handler of transfers: each new status may change the effect of the whole transfer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from riskwatch.core.ledger.outputs import fact_conflict, fact_too_late, limit_reached
from riskwatch.core.ledger.party import heard_key
from riskwatch.core.ledger.transfers import TransferEffect, TransferRow, transfer_effect
from riskwatch.core.money import sub

if TYPE_CHECKING:
    from riskwatch.core.events import Transfer
    from riskwatch.core.ledger.outputs import LedgerOutput, LedgerParameters
    from riskwatch.core.ledger.party import LedgerParty


def apply_transfer(
    parameters: LedgerParameters, party: LedgerParty, event: Transfer, us: int
) -> list[LedgerOutput]:
    """Store one status of a transfer, and apply the change of its effect."""
    old = party.transfers.get(event.transfer_id)
    if old is None:
        _admit(parameters, party, event, us)
        new = TransferRow(
            event.book,
            event.account,
            event.asset,
            event.amount,
            event.direction,
            {},
            event.wallet or "",
        )
        before = TransferEffect()
    else:
        wrong = old.contradiction(event)
        if wrong:
            raise fact_conflict(f"transfer_id={event.transfer_id} {wrong}")
        new = replace(old, seen=dict(old.seen))
        before = transfer_effect(old)
    at = (us, event.source_seq or 0)
    new.seen[event.status] = min(at, new.seen.get(event.status, at))
    after = transfer_effect(new)
    if after.deltas or before.deltas:
        cell = (new.book, new.account, new.wallet, new.asset, "custody")
        party.admit([cell], us, parameters, event.source)
    party.touch(us)
    _note_wait(party, event.transfer_id, parameters.heard_late(event), after)
    _move(parameters, party, new, before, after, event.source)
    _flow(party, event.transfer_id, new, before, after)
    party.transfers[event.transfer_id] = new
    party.dirty[f"transfer/{party.name}/{event.transfer_id}"] = new
    return []


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
    if len(party.transfers) >= parameters.config.max_transfers:
        raise limit_reached("max_transfers", parameters.config.max_transfers)


def _move(
    parameters: LedgerParameters,
    party: LedgerParty,
    t: TransferRow,
    before: TransferEffect,
    after: TransferEffect,
    source: str,
) -> None:
    """Apply the difference of the effects to custody and to the amount in transit."""
    removed = [delta for delta in before.deltas if delta not in after.deltas]
    added = [delta for delta in after.deltas if delta not in before.deltas]
    reach = party.wm - parameters.late_us
    key = (t.book, t.account, t.wallet, t.asset, "custody")
    changes = [(us, amount.copy_negate()) for us, amount in removed] + added
    for us, amount in changes:
        party.holding(key, parameters, source).apply(us, amount, reach, parameters.most)
    party.add((*key[:4], "in_transit"), sub(after.in_transit, before.in_transit))


def _flow(
    party: LedgerParty,
    transfer_id: str,
    t: TransferRow,
    before: TransferEffect,
    after: TransferEffect,
) -> None:
    """Apply the difference of the effects to the flow features."""
    flow = party.flow
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
