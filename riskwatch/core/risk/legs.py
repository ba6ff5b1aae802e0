"""Legs of transfers and sums of adjustments as the risk stage keeps them, and their settings."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from riskwatch.core.bounds import AtLeastOne, NotNegative, Positive, Share
from riskwatch.core.money import ZERO
from riskwatch.core.readings import TransferLeg


class TransitConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of transfers between our own accounts (``[risk.transit]``).

    Attributes
    ----------
    overdue_s : float
        A transfer that was sent and not confirmed is overdue after this long, seconds.
    network_overdue_s : dict of str to float
        The same by network, as the events name it.
    window_s : float
        Two legs are linked without a transaction only if they are at most this far apart, seconds.
    shortfall_share : float
        A deposit is assumed to belong to a withdrawal that is larger by at most this share: venues
        may take a fee from the amount and not state it.
    memory_s : float
        How long legs are kept after their transfer ended, seconds.
    max_legs : int
        Maximum number of legs of one account, without those that the ledger still counts (those of
        the last days). Beyond it ended ones leave first; then the oldest of those on the way become
        one sum by holding, which no deposit closes any more.
    """

    overdue_s: Positive = 7_200.0
    network_overdue_s: dict[str, float] = {}
    window_s: Positive = 259_200.0
    shortfall_share: Share = 0.005
    memory_s: NotNegative = 604_800.0
    max_legs: AtLeastOne = 10_000


class LegRow(msgspec.Struct, array_like=True):
    """One leg of a transfer.

    Attributes
    ----------
    party : str
        Counterparty that states it.
    leg : TransferLeg
        What it states.
    share : Decimal
        Amount in transit that counts for this leg.
    link, linked_by : str
        Key of the other leg, and by what it is linked; empty if there is none.
    short : Decimal or None
        Amount that was sent less the amount that arrived.
    status, sent : str
        What became of it, and the status as last published.
    """

    party: str
    leg: TransferLeg
    share: Decimal = ZERO
    link: str = ""
    linked_by: str = ""
    short: Decimal | None = None
    status: str = ""
    sent: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        """Counterparty, account and wallet."""
        return self.party, self.leg.account, self.leg.wallet

    @property
    def owner(self) -> tuple[str, str]:
        """Counterparty and account."""
        return self.party, self.leg.account


class LegIndex:
    """Keys of legs by counterparty and by asset, and what is due; it follows from the rows.

    Attributes
    ----------
    parties, assets : dict of str to dict
        Keys of legs by counterparty, and by asset.
    changed : dict
        Keys of legs whose status differs from the published one.
    """

    def __init__(self, legs: dict[str, LegRow]) -> None:
        self.parties: dict[str, dict[str, None]] = {}
        self.assets: dict[str, dict[str, None]] = {}
        self.changed: dict[str, None] = {}
        for key, row in legs.items():
            self.add(key, row)
            if row.status != row.sent:
                self.changed[key] = None

    def add(self, key: str, row: LegRow) -> None:
        """Add a leg."""
        self.parties.setdefault(row.party, {})[key] = None
        self.assets.setdefault(row.leg.asset, {})[key] = None

    def remove(self, key: str, row: LegRow) -> None:
        """Remove a leg."""
        self.changed.pop(key, None)
        for table, name in ((self.parties, row.party), (self.assets, row.leg.asset)):
            table[name].pop(key)
            if not table[name]:
                del table[name]


class AdjustmentBound(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one kind of adjustment explains in an account on a day: the largest of these.

    Attributes
    ----------
    usd : float
        USD.
    notional_share : float
        Share of the notional of the positions of the account, or of the instrument that is named.
    turnover_bp : float
        Share of the value of the fills of that day and the day before, bp.
    value_share : float
        Share of the value of what the account holds.
    net_share : float
        Share of what is converted.
    """

    usd: NotNegative = 0.0
    notional_share: NotNegative = 0.0
    turnover_bp: NotNegative = 0.0
    value_share: NotNegative = 0.0
    net_share: NotNegative = 0.0


_CONVERSION = AdjustmentBound(usd=1_000.0, net_share=0.02)


class AdjustmentsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of adjustments (``[risk.adjustments]``).

    The kind ``other`` has no bound: it explains nothing.

    Attributes
    ----------
    funding, fee, interest, rebate, airdrop, dust, redenomination, rename : AdjustmentBound
        Bound of the kind.
    auto_borrow, auto_repay, auto_conversion, socialised_loss, insurance : AdjustmentBound
        The same.
    liquidation_fee, delisting, realised_pnl, conversion : AdjustmentBound
        The same.
    open_s : float
        How long a break stays open after the last entry that was beyond the bound, seconds.
    """

    funding: AdjustmentBound = AdjustmentBound(usd=100.0, notional_share=0.03)
    fee: AdjustmentBound = AdjustmentBound(usd=1_000.0, turnover_bp=15.0)
    interest: AdjustmentBound = AdjustmentBound(usd=1_000.0, value_share=0.002)
    rebate: AdjustmentBound = AdjustmentBound(usd=1_000.0, turnover_bp=5.0)
    airdrop: AdjustmentBound = AdjustmentBound(usd=10_000.0)
    dust: AdjustmentBound = AdjustmentBound(usd=100.0)
    redenomination: AdjustmentBound = _CONVERSION
    rename: AdjustmentBound = _CONVERSION
    auto_borrow: AdjustmentBound = AdjustmentBound(usd=10_000.0, value_share=1.0)
    auto_repay: AdjustmentBound = AdjustmentBound(usd=10_000.0, value_share=1.0)
    auto_conversion: AdjustmentBound = _CONVERSION
    socialised_loss: AdjustmentBound = AdjustmentBound(usd=1_000.0)
    insurance: AdjustmentBound = AdjustmentBound(usd=10_000.0)
    liquidation_fee: AdjustmentBound = AdjustmentBound(usd=1_000.0, turnover_bp=100.0)
    delisting: AdjustmentBound = AdjustmentBound(usd=1_000.0)
    realised_pnl: AdjustmentBound = AdjustmentBound(
        usd=10_000.0, notional_share=0.2, value_share=0.1
    )
    conversion: AdjustmentBound = _CONVERSION
    open_s: Positive = 604_800.0


class AdjustmentDay(msgspec.Struct, array_like=True):
    """Adjustments of one kind in one account on one day.

    Attributes
    ----------
    day : int
        Days since 1970.
    total : float
        Their sum, USD; see :mod:`.adjustments`.
    broken_us : int
        Time of the last entry beyond the bound, microseconds; 0 if there is none.
    alert_id : str
        Id of the open alert, or empty.
    """

    day: int
    total: float = 0.0
    broken_us: int = 0
    alert_id: str = ""
