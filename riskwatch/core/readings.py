"""What one stage tells the next: readings, and who reads them.

* ``LEDGER -> RISK``: :class:`CounterpartyReading` (all holdings and flow features of one
  counterparty that changed since the last tick).
* ``LEDGER -> RISK``: :class:`PartitionFault` (whose holdings are not kept up for now).
* ``MARKET -> RISK``: :class:`MarketReading` (values, deviations and feeds at a tick).

Readings travel in-process when embedded, and on a topic between workers; they are msgspec
structs so that both are the same bytes.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from riskwatch.core.enums import Cause


class Holding(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One exact amount of one asset.

    Attributes
    ----------
    book, account, asset : str
        Whose, where, what.
    component : str
        ``custody``, ``margin``, ``collateral_posted``, ``loan``, ``unsettled``,
        ``overdue``, ``in_transit``, ``borrowed``, ``unrealized_pnl``, ``open_order``.
        ``borrowed`` is what we owe and is stored positive.
    amount : Decimal
        Exact, signed, in units of `asset`.
    """

    book: str
    account: str
    asset: str
    component: str
    amount: Decimal


class OpenPosition(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One open derivative position; `qty` signed, in units of `base`."""

    book: str
    account: str
    instrument: str
    base: str
    quote: str
    qty: Decimal
    entry_price: Decimal | None
    mark_price: Decimal | None
    liquidation_price: Decimal | None


class FlowFeatures(msgspec.Struct, frozen=True, gc=False):
    """How money moves at one counterparty, as of the reading.

    Attributes
    ----------
    oldest_withdrawal_s : float
        Age of the oldest withdrawal that is requested or pending, seconds; 0 if none.
    withdrawal_baseline_s : float
        Median time from request to sent of past withdrawals there, seconds; 0 if unknown.
    withdrawals_done : int
        How many completed withdrawals the baseline rests on.
    pending_count : int
        Withdrawals requested or pending now.
    failed_24h : int
        Withdrawals that failed in the last 24 h (our own cancellations excluded).
    outflow_24h, inflow_24h : dict of str to Decimal
        Amounts per asset that left or arrived in the last 24 h.
    slippage_bp : float
        Exponentially weighted mean of signed slippage against `reference_price`, bp.
    overdue_count : int
        Trades past their settlement time.
    """

    oldest_withdrawal_s: float
    withdrawal_baseline_s: float
    withdrawals_done: int
    pending_count: int
    failed_24h: int
    outflow_24h: dict[str, Decimal]
    inflow_24h: dict[str, Decimal]
    slippage_bp: float
    overdue_count: int


class FillSlippage(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What one fill cost against the price at which it was meant to be done.

    Attributes
    ----------
    us : int
        When, microseconds.
    asset, quote : str
        What was bought or sold, against what.
    notional : float
        Quantity times price, in units of `quote`.
    bp : float
        Signed, positive is worse for us, bp.
    """

    us: int
    asset: str
    quote: str
    notional: float
    bp: float


class CounterpartyReading(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="reading"):
    """Everything the risk stage needs to know of one counterparty; replaces the last one.

    `slips` are the fills since the last reading that say what they were meant to cost: the first
    so many of them, so that a reading stays small.
    """

    us: int
    counterparty: str
    holdings: list[Holding]
    positions: list[OpenPosition]
    flow: FlowFeatures
    slips: list[FillSlippage] = []

    def key(self) -> str:
        """The counterparty."""
        return self.counterparty


class PartitionFault(
    msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="partition_fault"
):
    """A worker stays down: what it said of these counterparties is not kept up any more.

    It replaces the last one of that worker: with no counterparties, the worker has gone on. A
    later reading of one of them ends it for that one.

    Attributes
    ----------
    us : int
        Event time, microseconds.
    worker : str
        Which worker.
    fault : str
        Id of the :class:`riskwatch.core.outputs.StageFaulted` that it is about.
    counterparties : list of str
        Whom it answers for, sorted.
    """

    us: int
    worker: str
    fault: str
    counterparties: list[str]

    def key(self) -> str:
        """The worker."""
        return self.worker


LedgerMessage = CounterpartyReading | PartitionFault
"""What travels from worker to worker."""


class AssetReading(msgspec.Struct, frozen=True, gc=False):
    """Where one asset stands at a tick.

    Attributes
    ----------
    asset : str
        The asset.
    price_usd : float
        Value against the fiat peg, USD.
    value_bp : float
        For a pegged asset, deviation from its peg in bp by the graph (negative: discount).
    direct_bp : float or None
        Deviation by the worst *confirmed* direct fiat feed, None if there is none.
    deviation_bp : float
        The one to decide on: the worse of the two.
    sd_bp : float
        One standard deviation of `value_bp`, bp; wide when feeds are few or old.
    live, expected : int
        Feeds touching the asset that are live, and that are known.
    venues : int
        Independent venues among the live feeds.
    fiat_path : bool
        Whether live feeds connect it to fiat.
    observations : int
        Count of fresh observations of this asset since the beginning (dwell in bars).
    cause : Cause
        ``issuer``, ``venue``, ``market``, ``feed``, ``unknown`` or ``none``.
    support, refute : list of str
        Feeds (``venue:base/quote``) that agree with and contradict the deviation.
    vol_bp : float
        Volatility of the price per square-root minute, bp.
    volume_usd : float
        Traded value per minute, USD, exponentially weighted; 0 if unknown.
    half_spread_bp : float
        Half of the quoted spread, bp; 0 if no book was seen.
    """

    asset: str
    price_usd: float
    value_bp: float
    direct_bp: float | None
    deviation_bp: float
    sd_bp: float
    live: int
    expected: int
    venues: int
    fiat_path: bool
    observations: int
    cause: Cause
    support: list[str]
    refute: list[str]
    vol_bp: float
    volume_usd: float
    half_spread_bp: float


class VenueReading(msgspec.Struct, frozen=True, gc=False):
    """How one venue's prices stand against the rest at a tick.

    Attributes
    ----------
    venue : str
        The venue.
    dislocation_bp : float
        Robust size of its residuals over distinct base assets, bp.
    bases : int
        Distinct base assets that deviate beyond their band in one direction.
    live, expected : int
        Its live and known feeds.
    local : list of tuple of (str, float, int)
        Assets whose price at this venue alone has left the consensus, with bp and the count
        of observations of its feeds here, which tells a frozen book from a market.
    """

    venue: str
    dislocation_bp: float
    bases: int
    live: int
    expected: int
    local: list[tuple[str, float, int]]


class MarketReading(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="market"):
    """The market stage's answer at a tick: changed assets and venues only."""

    us: int
    assets: list[AssetReading]
    venues: list[VenueReading]
