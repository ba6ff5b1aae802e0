"""Readings: the messages from one stage to the next.

* ``LEDGER -> RISK``: :class:`CounterpartyReading` (all holdings and flow features of one
  counterparty that changed since the last tick).
* ``LEDGER -> RISK``: :class:`PartitionFault` (counterparties whose holdings are not up to date).
* ``MARKET -> RISK``: :class:`MarketReading` (values, deviations and feeds at a tick).

Readings are passed in-process when embedded, and on a topic between workers. They are msgspec
structs, so that both have the same bytes.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from riskwatch.core.enums import Cause
from riskwatch.core.money import ZERO


class Holding(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One exact amount of one asset.

    Attributes
    ----------
    book, account, asset : str
        Book, account and asset of the holding.
    component : str
        ``custody``, ``margin``, ``collateral_posted``, ``loan``, ``unsettled``,
        ``overdue``, ``in_transit``, ``borrowed``, ``unrealized_pnl``, ``open_order``.
        ``borrowed`` is our debt, stored as a positive number.
    amount : Decimal
        Exact signed amount, in units of `asset`.
    wallet : str
        The venue's name of the wallet; empty if it is not stated.
    confirmed : int
        Event time of the last snapshot of it, microseconds; 0 if there was none.
    within : str
        Wallet and component of the statement that includes it, if these are others; else empty.
    basis : str
        ``unopened`` if nothing states its opening, ``unclear`` if several books state one account
        and none says which part; else empty.
    missing : Decimal
        What a snapshot took away without facts, and no second one has confirmed yet.
    """

    book: str
    account: str
    asset: str
    component: str
    amount: Decimal
    wallet: str = ""
    confirmed: int = 0
    within: str = ""
    basis: str = ""
    missing: Decimal = ZERO


class OpenPosition(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One open derivative position.

    Attributes
    ----------
    qty : Decimal
        Signed size: of an inverse contract in units of `quote`, of a quanto in units of `settle`
        per point of price, of all others in units of `base` (:mod:`riskwatch.core.instruments`).
    wallet, side : str
        Empty if they are not stated.
    confirmed : int
        As in a holding.
    kind : str
        ``perp``, ``future`` or ``option``; empty if it is not stated.
    form : str
        ``linear``, ``inverse`` or ``quanto``; empty, which counts as linear, if it is not stated.
    contract_size : Decimal or None
        Size of one contract.
    settle : str
        Coin of profits; empty if it is not stated.
    unrealized_pnl : Decimal or None
        As the venue states it, in units of the settlement coin.
    delta, gamma, vega, theta, iv, option_value : Decimal or None
        As stated of the whole position: delta in units of `base`, the value in units of the
        settlement coin.
    delta_convention : str
        ``premium_adjusted`` if `delta` leaves out what the value in coins adds; else
        ``black_scholes`` or empty.
    """

    book: str
    account: str
    instrument: str
    base: str
    quote: str
    qty: Decimal
    entry_price: Decimal | None
    mark_price: Decimal | None
    liquidation_price: Decimal | None
    wallet: str = ""
    side: str = ""
    confirmed: int = 0
    kind: str = ""
    form: str = ""
    contract_size: Decimal | None = None
    settle: str = ""
    unrealized_pnl: Decimal | None = None
    delta: Decimal | None = None
    gamma: Decimal | None = None
    vega: Decimal | None = None
    theta: Decimal | None = None
    iv: Decimal | None = None
    option_value: Decimal | None = None
    delta_convention: str = ""


class FlowFeatures(msgspec.Struct, frozen=True, gc=False):
    """Transfer flow of one counterparty at the time of the reading.

    Attributes
    ----------
    oldest_withdrawal_s : float
        Age of the oldest withdrawal that is requested or pending, seconds; 0 if none.
    withdrawal_baseline_s : float
        Median time from request to sent of past withdrawals there, seconds; 0 if unknown.
    withdrawals_done : int
        Number of completed withdrawals in the baseline.
    pending_count : int
        Number of withdrawals requested or pending now.
    failed_24h : int
        Number of withdrawals that failed in the last 24 h, without our own cancellations.
    outflow_24h, inflow_24h : dict of str to Decimal
        Amounts by asset that left or arrived in the last 24 h.
    slippage_bp : float
        Exponentially weighted mean of signed slippage against `reference_price`, bp.
    overdue_count : int
        Number of trades past their settlement time.
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
    """Slippage of one fill against its reference price.

    Attributes
    ----------
    us : int
        Time of the fill, microseconds.
    asset, quote : str
        Asset that was bought or sold, and the asset that it was traded against.
    notional : float
        Quantity times price, in units of `quote`.
    bp : float
        Signed slippage, positive is worse for us, bp.
    """

    us: int
    asset: str
    quote: str
    notional: float
    bp: float


class FillGroup(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Our fills of one side on one market within one second of event time.

    Attributes
    ----------
    first_us, last_us : int
        Times of the first and the last fill, microseconds. If one reading has fills on too many
        markets, a group may cover more than a second.
    book, account, base, quote, side : str
        As in the fills.
    spot : bool
        Whether both assets move; a derivative moves the position in `base` alone.
    qty : Decimal
        Sum of the quantities, above 0, in units of `base`.
    notional : Decimal
        Sum of quantity times price, in units of `quote`.
    count : int
        Number of fills.
    fees : dict of str to Decimal
        Fees by asset; positive for what we paid, negative for a rebate.
    """

    first_us: int
    last_us: int
    book: str
    account: str
    base: str
    quote: str
    side: str
    spot: bool
    qty: Decimal
    notional: Decimal
    count: int
    fees: dict[str, Decimal] = {}

    @property
    def base_change(self) -> Decimal:
        """Signed change of `base`."""
        return self.qty if self.side == "buy" else self.qty.copy_negate()

    @property
    def quote_change(self) -> Decimal:
        """Signed change of `quote`; zero for a derivative."""
        if not self.spot:
            return ZERO
        return self.notional.copy_negate() if self.side == "buy" else self.notional


class RestingOrders(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Our resting orders of one side on one market, without those that are reduce-only.

    `qty`, `notional` and `spot` are as in :class:`FillGroup`; `count` is the number of orders. The
    `notional` is zero if an order does not state its price.
    """

    book: str
    account: str
    base: str
    quote: str
    side: str
    spot: bool
    qty: Decimal
    notional: Decimal
    count: int


class TransferLeg(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One leg of a transfer: what one counterparty says of it.

    Attributes
    ----------
    transfer_id, direction : str
        Id at the counterparty, and ``deposit`` or ``withdrawal``.
    book, account, asset : str
        Holding that it leaves or reaches.
    amount, fee : Decimal
        Amount that moves, and the fee beside it if it is charged in the same asset.
    phase : str
        ``pending`` (nothing moved), ``open`` (sent, or seen on chain), ``done`` or ``returned``.
    first_us, last_us : int
        Time of the movement (of the request, while it is pending) and of the newest status,
        microseconds.
    in_transit : Decimal
        What the holdings of the same reading contain for it as ``in_transit``.
    tx_id, address, network, instruction_id : str
        As stated; empty if they are not.
    to_counterparty, to_account : str
        Destination of ours, if it is stated.
    wallet, to_wallet : str
        Wallets, as the counterparty names them.
    internal : bool
        Whether it is the whole of a transfer within the counterparty, without another leg.
    """

    transfer_id: str
    direction: str
    book: str
    account: str
    asset: str
    amount: Decimal
    fee: Decimal
    phase: str
    first_us: int
    last_us: int
    in_transit: Decimal
    tx_id: str = ""
    address: str = ""
    network: str = ""
    instruction_id: str = ""
    to_counterparty: str = ""
    to_account: str = ""
    wallet: str = ""
    to_wallet: str = ""
    internal: bool = False


class AccountAdjustment(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An entry of a venue's ledger that is neither a trade nor a transfer.

    `amount` and `to_amount` are signed, in units of `asset` and of `to_asset`; `us` is its time,
    microseconds. `instrument`, `to_asset` and `book` are empty if they are not stated.
    """

    us: int
    account: str
    adjustment_id: str
    asset: str
    amount: Decimal
    kind: str
    instrument: str
    to_asset: str
    to_amount: Decimal
    book: str = ""


class StaleAccount(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An account whose sources are silent: its name, they, and when the last one spoke, us."""

    account: str
    sources: list[str]
    us: int


class CounterpartyReading(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="reading"):
    """Everything that the risk stage needs of one counterparty; it replaces the last reading.

    `slips` are fills since the last reading that have a reference price. Their number is limited,
    so that a reading stays small; the first ones are kept.

    `fills` are all fills since the last reading, in groups. `fills_missed` is the number of fills
    for which there was no room. `orders` is ``None`` if no order of the counterparty was ever
    reported, so that nothing is known about resting orders.

    `legs` are the legs of transfers that changed since the last reading, and `adjustments` are new
    ones; of both a bounded number, and the next reading has the others. `stale` are the accounts
    where something is held and that no source confirms any more; else it is left out.
    """

    us: int
    counterparty: str
    holdings: list[Holding]
    positions: list[OpenPosition]
    flow: FlowFeatures
    slips: list[FillSlippage] = []
    fills: list[FillGroup] = []
    fills_missed: int = 0
    orders: list[RestingOrders] | None = None
    legs: list[TransferLeg] = []
    adjustments: list[AccountAdjustment] = []
    stale: list[StaleAccount] | msgspec.UnsetType = msgspec.UNSET

    def key(self) -> str:
        """Return the counterparty."""
        return self.counterparty


class PartitionFault(
    msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="partition_fault"
):
    """A ledger worker has failed: its readings of these counterparties are not kept up to date.

    It replaces the last fault of that worker. Without counterparties it states that the worker has
    resumed. A later reading of a counterparty ends the fault for that counterparty.

    Attributes
    ----------
    us : int
        Event time, microseconds.
    worker : str
        The worker.
    fault : str
        Id of its :class:`riskwatch.core.outputs.StageFaulted`.
    counterparties : list of str
        Counterparties of the worker, sorted.
    """

    us: int
    worker: str
    fault: str
    counterparties: list[str]

    def key(self) -> str:
        """Return the worker."""
        return self.worker


LedgerMessage = CounterpartyReading | PartitionFault
"""A message from a ledger worker to the risk worker."""


class AssetReading(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The value of one asset at a tick.

    Attributes
    ----------
    asset : str
        The asset.
    price_usd : float
        Value against fiat, USD.
    value_bp : float
        For a pegged asset, deviation from its peg by the price graph, bp (negative: discount).
    direct_bp : float or None
        Largest *confirmed* deviation of a direct fiat feed, bp; ``None`` if there is none.
    deviation_bp : float
        The deviation for decisions: the larger of the two, bp.
    sd_bp : float
        One standard deviation of `value_bp`, bp; wide when feeds are few or old.
    live, expected : int
        Number of live feeds of the asset, and of expected ones. If listed venues quote it, only
        their feeds count.
    venues : int
        Number of independent venues of the live feeds; 0 if no listed venue quotes the asset, so
        that these feeds are those of other venues.
    fiat_path : bool
        Whether live feeds connect it to fiat.
    observations : int
        Number of fresh observations of the asset since the beginning (dwell in bars).
    cause : Cause
        ``issuer``, ``coin``, ``venue``, ``market``, ``feed``, ``unknown`` or ``none``.
    support, refute : list of str
        Feeds (``venue:base/quote``) that support and that refute the deviation.
    vol_bp : float
        Volatility of the price per square-root minute, bp.
    volume_usd : float
        Traded value per minute, USD, exponentially weighted; 0 if unknown.
    half_spread_bp : float
        Half of the quoted spread, bp; 0 before the first book.
    dispersion_bp : float or None
        Distance between the highest and the lowest value that its venues imply, bp; ``None`` below
        two venues.
    depth_imbalance : float or None
        Share by which more is offered than asked for in its books, -1 to 1; ``None`` if no book
        states sizes.
    pool_imbalance : float or None
        The same of its pools: the share by which they hold more of it than of the other asset.
    supply_drop_share : float or None
        Share of its supply that is gone since 24 hours ago; ``None`` if nobody states the supply.
    redeemed_share : float or None
        Share of its supply that was redeemed within 24 hours; ``None`` if nobody states both.
    at : list of str
        Venues that are expected to quote it, sorted, while no feed of it is live; else empty.
    peg_known : bool
        Whether what it promises has a value; if not, its deviations are 0 and say nothing.
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
    dispersion_bp: float | None = None
    depth_imbalance: float | None = None
    pool_imbalance: float | None = None
    supply_drop_share: float | None = None
    redeemed_share: float | None = None
    at: list[str] = []
    peg_known: bool = True


class VenueReading(msgspec.Struct, frozen=True, gc=False):
    """Deviation of one venue's prices from the rest at a tick.

    Attributes
    ----------
    venue : str
        The venue.
    dislocation_bp : float
        Robust size of its residuals over distinct base assets, bp.
    bases : int
        Number of distinct base assets that deviate beyond their band in one direction.
    live, expected : int
        Number of its live and of its expected feeds.
    local : list of tuple of (str, float, int)
        Assets whose price at this venue alone has left the consensus, with the gap in bp and the
        number of observations of their feeds here, which tells a frozen book from a market.
    """

    venue: str
    dislocation_bp: float
    bases: int
    live: int
    expected: int
    local: list[tuple[str, float, int]]


class MarketReading(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="market"):
    """The market stage's reading at a tick; only assets and venues with known feeds are in it."""

    us: int
    assets: list[AssetReading]
    venues: list[VenueReading]
