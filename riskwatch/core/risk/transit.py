"""Transfers between our own accounts: legs are linked, and what is on the way counts once.

One counterparty states one leg of a transfer. The legs may lie with different ledger workers, so
they are linked here, where the readings of all counterparties meet. The links follow from the set
of all legs and not from the order in which they were heard.

1. Legs with one transfer id, and amounts and times that fit.
2. Legs of one transaction on chain.
3. What remains, by asset, amount less fee, and time. Such a link is *assumed*.

A leg that is confirmed on the receiving side closes the sending one. What was sent and is not
confirmed stays in transit, and is overdue after a time that depends on its network.
"""

from __future__ import annotations

from bisect import bisect_left
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import MINUTE, SECOND, moment
from riskwatch.core.enums import Cause, QualityIssue
from riskwatch.core.money import EXACT, ZERO, add, canonical, mul, sub
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved, Origin, TransferTracked
from riskwatch.core.readings import Holding
from riskwatch.core.risk.legs import LegIndex, LegRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from riskwatch.core.readings import CounterpartyReading, TransferLeg
    from riskwatch.core.risk.legs import TransitConfig
    from riskwatch.core.risk.state import PartyRow, RiskState

IN_TRANSIT_COMPONENT: Final = "in_transit"
SKEW: Final = 10 * MINUTE
"""A deposit may be seen this long before its withdrawal is sent: clocks differ, microseconds."""
FOLDED: Final = "folded"
"""Direction of a row that stands for many old legs of one holding."""
TRANSFER_ID, TX_ID, ASSUMED = "transfer_id", "tx_id", "assumed"
CLOSED: Final = ("arrived", "left", "returned")
_SHOWN: Final = 3


def index_of(state: RiskState) -> LegIndex:
    """Return the index of the legs, made if it is not there."""
    if state.leg_index is None:
        state.leg_index = LegIndex(state.legs)
    return state.leg_index


def apply_legs(
    state: RiskState, row: PartyRow, reading: CounterpartyReading, config: TransitConfig
) -> None:
    """Store the legs of a reading, link them, and correct what is in transit by the links."""
    index = index_of(state)
    row.in_transit = [h for h in row.holdings if h.component == IN_TRANSIT_COMPONENT]
    assets: dict[str, None] = {}
    for leg in reading.legs:
        key = f"{reading.counterparty}/{leg.direction}/{leg.transfer_id}"
        known = state.legs.get(key)
        if known is None:
            if leg.last_us < reading.us - config.memory_s * SECOND:
                continue  # it ended long ago and was forgotten
            known = state.legs[key] = LegRow(reading.counterparty, leg)
            index.add(key, known)
        known.leg = leg
        state.mark(f"leg/{key}")
        assets[leg.asset] = None
    if reading.legs:
        _fold(state, reading, config)
    parties = {reading.counterparty: None} if reading.counterparty in index.parties else {}
    for asset in assets:
        parties |= _relink(state, asset, config)
    for name in parties:
        _merge(state, name, is_read=name == reading.counterparty)


def _fold(state: RiskState, reading: CounterpartyReading, config: TransitConfig) -> None:
    """Keep the number of legs of each account of a counterparty within its bound.

    A leg that the ledger counts stays; the ledger has a bound of its own on them.
    """
    index = index_of(state)
    keys = index.parties.get(reading.counterparty, {})
    if len(keys) <= config.max_legs:
        return
    counts: dict[str, int] = {}
    spare: dict[str, list[tuple[bool, int, str]]] = {}
    for key in keys:
        row = state.legs[key]
        if row.leg.direction == FOLDED:
            continue
        counts[row.leg.account] = counts.get(row.leg.account, 0) + 1
        if not row.leg.in_transit:
            ended = row.status in CLOSED
            spare.setdefault(row.leg.account, []).append((not ended, row.leg.last_us, key))
    for account in sorted(spare):
        excess = max(0, counts[account] - config.max_legs)
        for _, _, key in sorted(spare[account])[:excess]:
            _fold_one(state, key)


def _fold_one(state: RiskState, key: str) -> None:
    """Drop one leg; what counts for it goes into the sum of its holding."""
    row = state.legs[key]
    leg = row.leg
    if row.share:
        name = f"{leg.book}/{leg.account}/{leg.wallet}/{leg.asset}"
        total = state.legs.get(f"{row.party}/{FOLDED}/{name}")
        if total is None:
            total = LegRow(
                row.party,
                msgspec.structs.replace(
                    leg, transfer_id=name, direction=FOLDED, amount=ZERO, phase="open"
                ),
            )
            state.legs[f"{row.party}/{FOLDED}/{name}"] = total
            index_of(state).add(f"{row.party}/{FOLDED}/{name}", total)
        amount = add(total.leg.amount, row.share)
        total.leg = msgspec.structs.replace(total.leg, amount=amount)
        total.share = amount
        state.mark(f"leg/{row.party}/{FOLDED}/{name}")
    drop_leg(state, key)


def drop_leg(state: RiskState, key: str) -> None:
    """Forget one leg."""
    index_of(state).remove(key, state.legs.pop(key))
    state.mark(f"leg/{key}")


def _merge(state: RiskState, name: str, *, is_read: bool) -> None:
    """Set what is in transit at a counterparty: the ledger's sums, corrected by the links."""
    row = state.parties.get(name)
    if row is None:
        return
    sums = {(h.book, h.account, h.wallet, h.asset): h.amount for h in row.in_transit}
    for key in index_of(state).parties.get(name, {}):
        leg = state.legs[key]
        change = sub(leg.share, leg.leg.in_transit)
        if change:
            at = (leg.leg.book, leg.leg.account, leg.leg.wallet, leg.leg.asset)
            sums[at] = add(sums.get(at, ZERO), change)
    merged = [h for h in row.holdings if h.component != IN_TRANSIT_COMPONENT]
    merged += [
        Holding(book, account, asset, IN_TRANSIT_COMPONENT, canonical(amount), wallet)
        for (book, account, wallet, asset), amount in sums.items()
        if amount
    ]
    merged.sort(key=lambda h: (h.book, h.account, h.wallet, h.asset, h.component))
    if merged != row.holdings or not is_read:
        row.holdings = merged
        row.unshown = True
        state.meta.holdings = state.meta.news = True
        state.mark("meta")
        state.mark(f"party/{name}")


# Linking: a function of the set of the legs of one asset.

Pair = tuple[str, str, str]
"""Key of the withdrawal, key of the deposit, and by what they are linked."""


def _relink(state: RiskState, asset: str, config: TransitConfig) -> dict[str, None]:
    """Link the legs of an asset anew; return the counterparties of those that changed."""
    index = index_of(state)
    rows = {key: state.legs[key] for key in sorted(index.assets.get(asset, {}))}
    links: dict[str, tuple[str, str]] = {}
    for out, into, by in link_legs(rows, config):
        links[out], links[into] = (into, by), (out, by)
    parties: dict[str, None] = {}
    for key, row in rows.items():
        if row.leg.direction == FOLDED:
            continue
        link, by = links.get(key, ("", ""))
        other = rows.get(link)
        before = (row.share, row.link, row.linked_by, row.short, row.status)
        row.link, row.linked_by = link, by
        row.share, row.status = _standing(row, other)
        row.short = None
        if other is not None:
            ends = (row, other) if row.leg.direction == "withdrawal" else (other, row)
            row.short = canonical(sub(ends[0].leg.amount, ends[1].leg.amount))
        if row.status == "in_transit" and row.sent == "overdue":
            row.status = "overdue"
        if before != (row.share, row.link, row.linked_by, row.short, row.status):
            state.mark(f"leg/{key}")
            index.changed[key] = None
        parties[row.party] = None
    return parties


def _standing(row: LegRow, other: LegRow | None) -> tuple[Decimal, str]:
    """Return the amount in transit that counts for a leg, and what became of it."""
    leg = row.leg
    if leg.phase == "returned":
        return ZERO, "returned"
    if leg.direction == "deposit":
        return _standing_in(leg, other)
    if leg.internal and leg.phase == "done":
        return ZERO, "arrived"
    return _standing_out(leg, other)


def _standing_in(leg: TransferLeg, other: LegRow | None) -> tuple[Decimal, str]:
    """Return the same of a deposit; while its withdrawal is open, the withdrawal counts."""
    if leg.phase == "done":
        return ZERO, "arrived"
    counts = other is None or other.leg.phase == "done"
    return leg.amount if counts else ZERO, "in_transit"


def _standing_out(leg: TransferLeg, other: LegRow | None) -> tuple[Decimal, str]:
    """Return the same of a withdrawal."""
    if other is not None and other.leg.phase == "done":
        # If it is still pending, the money has arrived and the sender has not said that it left.
        early = leg.amount.copy_negate() if leg.phase == "pending" else ZERO
        return early, "arrived"
    if leg.phase == "pending":
        return ZERO, "pending"
    if leg.phase == "open" or (other is None and leg.to_counterparty):
        # A destination of ours that has not confirmed keeps it in transit.
        return leg.amount, "in_transit"
    return ZERO, "left" if other is None else "in_transit"


def link_legs(rows: dict[str, LegRow], config: TransitConfig) -> list[Pair]:
    """Return the links between legs of one asset; it depends on the set of legs only.

    Parameters
    ----------
    rows : dict of str to LegRow
        Legs by key.
    config : TransitConfig
        Windows and tolerances.
    """
    outs = [
        (key, row)
        for key, row in sorted(rows.items())
        if row.leg.direction == "withdrawal"
        and not row.leg.internal
        and row.leg.phase != "returned"
    ]
    ins = [
        (key, row)
        for key, row in sorted(rows.items())
        if row.leg.direction == "deposit" and row.leg.phase in ("open", "done")
    ]
    if not outs or not ins:
        return []
    matcher = _Matcher(outs, ins, config)
    matcher.by_name(TRANSFER_ID, lambda row: row.leg.transfer_id)
    matcher.by_name(TX_ID, lambda row: row.leg.tx_id)
    matcher.by_amount()
    return matcher.pairs


class _Matcher:
    """Links legs; a leg that is linked once is not looked at again."""

    def __init__(
        self, outs: list[tuple[str, LegRow]], ins: list[tuple[str, LegRow]], config: TransitConfig
    ) -> None:
        self.outs, self.ins = dict(outs), dict(ins)
        self.config = config
        self.keep = EXACT.subtract(Decimal(1), Decimal(repr(config.shortfall_share)))
        self.pairs: list[Pair] = []

    def _take(self, out: str, into: str, by: str) -> None:
        del self.outs[out], self.ins[into]
        self.pairs.append((out, into, by))

    def by_name(self, by: str, name_of: Callable[[LegRow], str]) -> None:
        """Link legs that share a name, those with fitting amounts first."""
        named: dict[str, list[str]] = {}
        for key, row in self.outs.items():
            if name_of(row):
                named.setdefault(name_of(row), []).append(key)
        waiting = [
            (row.leg.amount, row.leg.first_us, key)
            for key, row in self.ins.items()
            if name_of(row) in named
        ]
        for fitting in (True, False) if by == TX_ID else (True,):
            for _, _, into in sorted(waiting):
                if into not in self.ins:
                    continue
                row = self.ins[into]
                found = [
                    (self.outs[out].leg.amount, self.outs[out].leg.first_us, out)
                    for out in named[name_of(row)]
                    if out in self.outs and self._may(self.outs[out], row, by, fitting=fitting)
                ]
                if found:
                    self._take(min(found)[2], into, by)

    def _may(self, out: LegRow, into: LegRow, by: str, *, fitting: bool) -> bool:
        """Whether two legs that share a name may be one transfer."""
        if out.place == into.place:
            return False
        if by == TRANSFER_ID and not self._near(out, into):
            return False
        if fitting:
            return self._fits(out.leg, into.leg)
        return into.leg.amount < out.leg.amount

    def _fits(self, out: TransferLeg, into: TransferLeg) -> bool:
        least = mul(out.amount, self.keep)
        return least <= into.amount <= out.amount or into.amount == sub(out.amount, out.fee)

    def _near(self, out: LegRow, into: LegRow) -> bool:
        after = into.leg.first_us - out.leg.first_us
        return -SKEW <= after <= self.config.window_s * SECOND

    def by_amount(self) -> None:
        """Link what remains by amount and time, the best amount first and the oldest leg first."""
        ordered = sorted(self.ins, key=lambda key: (self.ins[key].leg.first_us, key))
        exact: dict[Decimal, list[str]] = {}
        less: dict[Decimal, list[str]] = {}
        oldest = sorted(
            (key for key in self.outs if self.outs[key].leg.phase != "pending"),
            key=lambda key: (self.outs[key].leg.first_us, key),
        )
        for key in oldest:
            leg = self.outs[key].leg
            exact.setdefault(leg.amount, []).append(key)
            if leg.fee:
                less.setdefault(sub(leg.amount, leg.fee), []).append(key)
        for table in (exact, less):
            for into in ordered:
                if into in self.ins:
                    self._assume(table.get(self.ins[into].leg.amount, ()), into)
        amounts = sorted((self.outs[key].leg.amount, key) for key in oldest if key in self.outs)
        for into in ordered:
            if into not in self.ins:
                continue
            amount = self.ins[into].leg.amount
            found = []
            for n in range(bisect_left(amounts, (amount, "")), len(amounts)):
                if mul(amounts[n][0], self.keep) > amount:
                    break
                found.append(amounts[n][1])
            self._assume(found, into)

    def _assume(self, candidates: list[str] | tuple[str, ...], into: str) -> None:
        row = self.ins[into]
        for out in candidates:
            if out in self.outs and self._agrees(self.outs[out], row):
                self._take(out, into, ASSUMED)
                return

    def _agrees(self, out: LegRow, into: LegRow) -> bool:
        """Whether nothing that two legs state contradicts that they are one transfer."""
        a, b = out.leg, into.leg
        return (
            out.place != into.place
            and self._near(out, into)
            and not (a.tx_id and b.tx_id and a.tx_id != b.tx_id)
            and not (a.address and b.address and a.address != b.address)
            and a.to_counterparty in ("", into.party)
            and a.to_account in ("", b.account)
        )


# Ticks: what is overdue, what is published, and what is forgotten.


def track_transfers(
    state: RiskState, us: int, config: TransitConfig, *, due: bool
) -> Iterator[TransferTracked | DataQualityRaised | DataQualityResolved]:
    """Publish the transfers that changed, tell which are overdue, and forget those that ended.

    Parameters
    ----------
    state : RiskState
        Changed in place.
    us : int
        Event time, microseconds.
    config : TransitConfig
        Settings.
    due : bool
        Whether all values are due: then ended transfers are forgotten.
    """
    if not state.legs:
        return
    if not (due or index_of(state).changed):
        return
    before = _overdue_places(state)
    _mark_overdue(state, us, config)
    accounts: dict[tuple[str, str], None] = {}
    for key in sorted(index_of(state).changed):
        row = state.legs[key]
        if row.status == "overdue" and row.sent != "overdue":
            accounts[row.owner] = None
        row.sent = row.status
        state.mark(f"leg/{key}")
        yield _tracked(row, us, row.status)
    index_of(state).changed.clear()
    after = _overdue_places(state)
    for owner in sorted(accounts):
        yield _overdue(owner, after[owner], us)
    for owner in sorted(before):
        if owner not in after:
            yield _on_time(owner, us)
    for key in sorted(state.legs) if due else ():
        if _is_over(state, state.legs[key], us, config):
            yield _tracked(state.legs[key], us, "forgotten")
            drop_leg(state, key)


def _mark_overdue(state: RiskState, us: int, config: TransitConfig) -> None:
    """Mark what counts as in transit for too long."""
    for key, row in state.legs.items():
        late = row.share and row.status == "in_transit"
        if late and us >= _overdue_from(row.leg, config):
            row.status = "overdue"
            index_of(state).changed[key] = None


def _overdue_from(leg: TransferLeg, config: TransitConfig) -> int:
    seconds = config.network_overdue_s.get(leg.network, config.overdue_s)
    return leg.first_us + int(seconds * SECOND)


def _overdue_places(state: RiskState) -> dict[tuple[str, str], list[LegRow]]:
    """Return the overdue legs that count, by counterparty and account."""
    found: dict[tuple[str, str], list[LegRow]] = {}
    for key in sorted(state.legs):
        row = state.legs[key]
        if row.sent == "overdue":
            found.setdefault(row.owner, []).append(row)
    return found


def _is_over(state: RiskState, row: LegRow, us: int, config: TransitConfig) -> bool:
    """Whether a leg may be forgotten: it and the other one ended long ago and count for nothing."""
    since = us - int(config.memory_s * SECOND)
    other = state.legs.get(row.link)
    return all(
        each.status in CLOSED
        and each.leg.last_us < since
        and not each.share
        and not each.leg.in_transit
        for each in ((row,) if other is None else (row, other))
    )


def _tracked(row: LegRow, us: int, status: str) -> TransferTracked:
    leg = row.leg
    key = f"{row.party}/{leg.direction}/{leg.transfer_id}"
    party, _, rest = row.link.partition("/")
    return TransferTracked(
        **Origin.tick(us).stamp(TransferTracked, key),
        counterparty=row.party,
        direction=leg.direction,
        transfer_id=leg.transfer_id,
        book=leg.book,
        account=leg.account,
        wallet=leg.wallet,
        asset=leg.asset,
        amount=leg.amount,
        status=status,
        moved_at=moment(leg.first_us),
        in_transit=row.share,
        linked_by=row.linked_by,
        linked_counterparty=party,
        linked_transfer_id=rest.partition("/")[2],
        short=row.short,
        tx_id=leg.tx_id,
        network=leg.network,
        instruction_id=leg.instruction_id,
    )


def _overdue(place: tuple[str, str], rows: list[LegRow], us: int) -> DataQualityRaised:
    issue, subject = QualityIssue.TRANSFER_OVERDUE, "/".join(place)
    oldest = sorted(rows, key=lambda row: (row.leg.first_us, row.leg.transfer_id))
    shown = [
        f"{row.leg.transfer_id} {canonical(row.leg.amount)} {row.leg.asset} since "
        f"{moment(row.leg.first_us).isoformat()}"
        for row in oldest[:_SHOWN]
    ]
    return DataQualityRaised(
        **Origin.tick(us).stamp(DataQualityRaised, f"{issue}|{subject}"),
        issue=issue,
        subject=subject,
        detail=f"{len(rows)} transfer(s) were sent and not confirmed, and still count as in "
        f"transit: {', '.join(shown)}",
        cause=Cause.COUNTERPARTY,
    )


def _on_time(place: tuple[str, str], us: int) -> DataQualityResolved:
    issue, subject = QualityIssue.TRANSFER_OVERDUE, "/".join(place)
    return DataQualityResolved(
        **Origin.tick(us).stamp(DataQualityResolved, f"{issue}|{subject}"),
        issue=issue,
        subject=subject,
    )
