"""Statements: which snapshot is the venue's word on a wallet, and what of it books hold already.

The venue knows accounts and wallets, and no books. Of the cells (holdings, or positions) of one
account and asset, the *owner* is the one whose snapshot states the whole wallet: it says so
(`covers`), or it is the only one that states it. Truth is what the owner states, plus every later
delta of any book. The other cells keep what their own fills and snapshots give; that part, the
*claim*, is taken from the owner. So a sum over the cells is the venue's word plus what came after.

A claim is what the cell held at the time of the owner's snapshot. It is computed once, at the
snapshot, and corrected by facts that arrive later and are older. A claim of the same book is taken
from the claimant, so that the owner shows what the venue states. Facts that name no wallet, in an
account whose wallets are stated by name, claim from its first wallet: see :func:`_rank`.

If two books state one wallet and neither says which part, it has no owner, and the sum counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.core.ledger.outputs import fact_too_late
from riskwatch.core.money import EXACT, ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal

    from riskwatch.core.ledger.holding import LedgerHolding, SnapshotKey

ACCOUNT: Final = "account"
"""What a snapshot covers that states the whole wallet."""
_TYPES: Final = ("", "spot", "unified", "funding", "margin", "derivatives", "earn")
"""Types of wallets, the one first to which facts without a wallet belong."""
_KINDS: Final = ("custody", "margin", "", "long", "short")
"""Kinds of holdings and sides of positions whose statement may include facts of another wallet."""


Slot = tuple[str, str]
"""Wallet and kind of a holding, or wallet and side of a position."""


def first_statement(slot: Slot, peers: Iterable[LedgerHolding]) -> LedgerHolding | None:
    """Return the cell whose statement includes the cells of a slot, the owner first; else ``None``.

    Parameters
    ----------
    slot : tuple of str
        Wallet and kind (or side) of the cells.
    peers : iterable of LedgerHolding
        All cells of the same account and asset or instrument.
    """
    best: tuple[tuple[object, ...], LedgerHolding] | None = None
    for peer in peers:
        if peer.snap is None or not _includes(peer.slot, slot):
            continue
        rank = (*_rank(peer, slot), not peer.owns)
        if best is None or rank < best[0]:
            best = (rank, peer)
    return None if best is None else best[1]


def _owner(cell: LedgerHolding, first: LedgerHolding | None) -> LedgerHolding | None:
    """Return the first statement as the owner of a cell, unless it is the cell or owns nothing."""
    return None if first is None or first is cell or not first.owns else first


def _includes(stated: Slot, slot: Slot) -> bool:
    """Whether a statement of one wallet and kind (or side) may include facts of another."""
    if stated == slot:
        return True
    wallet, kind = slot
    same_kind = kind in ("custody", "") or stated[1] == kind
    return same_kind and wallet in ("", stated[0]) and stated[1] in _KINDS


def _rank(peer: LedgerHolding, slot: Slot) -> tuple[object, ...]:
    """Return the order of the statements that may include a slot: its own first, then by type."""
    wallet, kind = peer.slot
    type_ = peer.wallet_type or wallet
    type_rank = _TYPES.index(type_) if type_ in _TYPES else len(_TYPES)
    kind_rank = _KINDS.index(kind) if kind in _KINDS else len(_KINDS)
    return peer.slot != slot, wallet != slot[0], type_rank, wallet, kind_rank


def is_superseded(
    slot: Slot, peers: Iterable[LedgerHolding], snap: SnapshotKey, covers: str
) -> bool:
    """Whether a newer snapshot states the whole wallet already, whatever book it names."""
    return covers == ACCOUNT and any(
        peer.owns
        and peer.slot == slot
        and peer.covers == ACCOUNT
        and peer.snap is not None
        and peer.snap > snap
        for peer in peers
    )


def states_whole(
    cell: LedgerHolding | None, peers: Iterable[LedgerHolding], slot: Slot, covers: str
) -> bool:
    """Whether a snapshot of a cell states the whole wallet: it says so, or no other book does."""
    if covers:
        return covers == ACCOUNT
    return not any(
        peer.slot == slot and peer.snap is not None and peer is not cell for peer in peers
    )


def check_exact(
    cell: LedgerHolding | None, peers: list[LedgerHolding], snap: SnapshotKey, slot: Slot
) -> None:
    """Check that what the other cells held at the time of a snapshot is still known.

    Raises
    ------
    FactRefusedError
        ``FACT_TOO_LATE``.
    """
    us, stated = snap[0], {peer.slot: None for peer in peers if peer.snap is not None}
    for peer in peers:
        replaced = peer.owns and peer.covers == ACCOUNT
        apart = peer.slot != slot and (peer.slot in stated or not _includes(slot, peer.slot))
        if peer is cell or replaced or apart:
            continue
        known = max(peer.fold_us, peer.snap_us)
        if us < known:
            raise fact_too_late(f"us={us} known_from={known} book={peer.book}")


def state(
    cell: LedgerHolding,
    peers: list[LedgerHolding],
    snap: SnapshotKey,
    stated: Decimal,
    covers: str,
) -> list[LedgerHolding]:
    """Apply a snapshot of a cell, and settle who claims what of it.

    Returns
    -------
    list of LedgerHolding
        Cells whose statement of the whole wallet this one replaces; their other components go.
    """
    whole = states_whole(cell, peers, cell.slot, covers)
    former = next((peer for peer in peers if peer.owns and peer.slot == cell.slot), None)
    cell.covers = covers
    if former is None and not whole and not covers:
        cell.snapshot(snap, stated)  # several books state the wallet, and this one goes on
        return []
    if former is not None and former is not cell and not whole:
        cell.claim_more(cell.snapshot(snap, stated))
        if former.covers != ACCOUNT:
            _disown(former)
            relink(peers)
        return []
    _restate(cell, peers, snap, stated)
    cell.owns = whole
    replaced = []
    if former is not None and former is not cell:
        _disown(former)
        if former.covers == ACCOUNT:
            replaced.append(former)
            _void(former, peers, snap[0])
    relink(peers, cell if whole else None)
    return replaced


def _restate(
    cell: LedgerHolding, peers: list[LedgerHolding], snap: SnapshotKey, stated: Decimal
) -> None:
    """Apply a snapshot; what others gained since the one before is no difference between both."""
    gained = ZERO
    for peer in peers:
        if peer.owner is cell:
            gained = EXACT.add(gained, EXACT.subtract(peer.held_at(snap[0]), peer.claim))
    cell.snapshot(snap, stated, gained)


def _void(former: LedgerHolding, peers: list[LedgerHolding], us: int) -> None:
    """Take back the statement of the whole wallet of a book that no longer makes it."""
    for peer in peers:
        if peer.owner is former:
            peer.set_owner(None, ZERO)
    former.void(us)


def _disown(owner: LedgerHolding) -> None:
    owner.owns = False
    owner.dirty[owner.key] = owner


def relink(peers: list[LedgerHolding], stated: LedgerHolding | None = None) -> None:
    """Give each cell its owner; compute the claims on owners that changed, and on `stated`."""
    first = _by_slot(peers)
    for peer in peers:
        owner = _owner(peer, first[peer.slot])
        if owner is not peer.owner or (owner is not None and owner is stated):
            peer.set_owner(owner, ZERO if owner is None else peer.held_at(owner.snap_us))


def _by_slot(peers: list[LedgerHolding]) -> dict[Slot, LedgerHolding | None]:
    return {slot: first_statement(slot, peers) for slot in {peer.slot: None for peer in peers}}


def link_new(cell: LedgerHolding, peers: list[LedgerHolding]) -> None:
    """Link a new cell, which has held nothing yet."""
    if len(peers) > 1:
        owner = _owner(cell, first_statement(cell.slot, peers))
        if owner is not None:
            cell.set_owner(owner, ZERO)


def link_loaded(peers: list[LedgerHolding]) -> None:
    """Link cells that were loaded; their claims are in their rows."""
    first = _by_slot(peers)
    for peer in peers:
        claim, peer.claim = peer.claim, ZERO
        peer.set_owner(_owner(peer, first[peer.slot]), claim, loaded=True)


NO_BASIS: Final = ("", "", ZERO)
"""The basis of an amount that no snapshot determines."""


def basis_of(cell: LedgerHolding, peers: list[LedgerHolding]) -> tuple[str, str, Decimal]:
    """Return what a reading says of the basis of a holding.

    Returns
    -------
    tuple of (str, str, Decimal)
        Wallet and component of the statement that includes it, if these are others than its own;
        the basis; what is missing without a confirmation.
    """
    owner = cell.owner
    if owner is not None:
        within = "" if owner.slot == cell.slot else "/".join(owner.slot)
        return within, "", cell.missing
    if cell.snap is None:
        return "", "unopened" if cell.line.amount < ZERO else "", ZERO
    others = not cell.owns and len(peers) > 1 and not cell.covers
    unclear = others and any(
        peer is not cell and peer.slot == cell.slot and peer.snap is not None for peer in peers
    )
    return "", "unclear" if unclear else "", cell.missing
