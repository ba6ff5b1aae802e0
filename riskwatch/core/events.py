"""Input events, version 1 of the wire contract: one frozen type for each value of `type`.

Times are aware datetimes in UTC; amounts are exact decimals. The types define the *shape* of an
event. :mod:`riskwatch.contracts.codec` checks everything else (finite, in range, not negative) once
at the boundary, so a stage never receives an event that breaks these rules.

To add an event: add a type here, its route in :data:`LEDGER_EVENTS`, :data:`MARKET_EVENTS` or
:data:`RISK_EVENTS`, its topic in :mod:`riskwatch.contracts.topics`, a golden file under
``tests/contract/golden``, and a branch in its stage.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

# A name is any printable text without white space and without the separators of scopes ("/", ":").
Name = Annotated[str, msgspec.Meta(pattern=r"\A[^\s/:\x00-\x1f\x7f]+\Z", max_length=64)]
Id = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00-\x1f\x7f]+\Z", max_length=128)]
Text = Annotated[str, msgspec.Meta(max_length=2000)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]

Side = Literal["buy", "sell"]
FillKind = Literal["spot", "perp", "future", "option"]
FillCause = Literal["trade", "liquidation", "adl", "delivery", "expiry", "bust"]
HoldingKind = Literal["custody", "margin", "collateral_posted", "loan"]
WalletType = Literal["spot", "funding", "margin", "derivatives", "earn", "unified"]
PositionSide = Literal["long", "short"]
PositionKind = Literal["perp", "future", "option"]
ContractType = Literal["linear", "inverse", "quanto"]
DeltaConvention = Literal["black_scholes", "premium_adjusted"]
Coverage = Literal["account", "book"]
TransferStatus = Literal["requested", "pending", "sent", "confirmed", "failed", "cancelled"]
AdjustmentKind = Literal[
    "funding",
    "fee",
    "interest",
    "rebate",
    "airdrop",
    "dust",
    "redenomination",
    "rename",
    "auto_borrow",
    "auto_repay",
    "auto_conversion",
    "socialised_loss",
    "insurance",
    "liquidation_fee",
    "delisting",
    "realised_pnl",
    "conversion",
    "other",
]
RENAMING = ("redenomination", "rename")
"""Kinds of adjustments that replace one asset by another."""
CreditKind = Literal[
    "rating",
    "outlook",
    "withdrawals_suspended",
    "withdrawals_resumed",
    "deposits_suspended",
    "deposits_resumed",
    "insolvency",
    "default",
    "hack",
    "regulatory_action",
    "attestation",
    "disclosure",
    "retraction",
]
CommandAction = Literal[
    "acknowledge",
    "halt",
    "release",
    "approve",
    "override",
    "drill",
    "silence",
    "set_limit",
    "promote",
    "demote",
    "retire",
    "unwind",
    "rebase",
]


NO_QTY = Decimal(0)
"""The quantity of a fill that states contracts instead."""
UNALLOCATED = "unallocated"
"""The book of what no book claims; a snapshot without a book states it."""


class Event(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    gc=False,
    omit_defaults=True,
    tag_field="type",
    tag=str.lower,
):
    """The fields of every event.

    Attributes
    ----------
    v : int
        Contract version, 1.
    event_id : str
        Id, unique per `source`.
    ts : datetime
        Event time; for a bar, its close.
    source : str
        Source of the event: a venue, a feed, a trading desk's ledger.
    source_seq : int or None
        Order of events of one source with the same `ts`.
    arrived : datetime or None
        Arrival time, set once at the first hop. A replay sets it to `ts` if it is missing.
    """

    v: Literal[1]
    event_id: Id
    ts: Moment
    source: Name
    source_seq: Annotated[int, msgspec.Meta(ge=0, le=2**62)] | None = None
    arrived: Moment | None = None


class Fill(Event, frozen=True, kw_only=True, gc=False, tag="fill"):
    """An execution. A spot fill changes balances; any other kind changes a position.

    `qty` is positive, `price` is not negative; zero is the price of an option that expires without
    value, of a deleveraging or of a gift. `fee` may be negative (a rebate). With `settles_at` in
    the future the legs are unsettled until a :class:`Settlement` arrives.

    `trade_id` is the venue's id of the trade, unique within counterparty, account and instrument
    (or pair). Reports with one trade id are one trade, whatever source and `event_id` they have.
    `cause` says why the trade happened; without it nothing is known about that.

    `wallet` is the venue's own name of the wallet that it changes.

    A derivative may state `contracts` in place of `qty`; an inverse contract and a quanto must.
    `contract_size`, `contract_type` and `settle` are as in a :class:`Position`, and are known from
    there if a position stated them. `position_side` is the leg that it changes in hedge mode.
    """

    counterparty: Name
    account: Name
    book: Name
    base: Name
    quote: Name
    side: Side
    qty: Decimal = NO_QTY
    price: Decimal
    kind: FillKind = "spot"
    instrument: Id | None = None
    fee: Decimal | None = None
    fee_asset: Name | None = None
    reference_price: Decimal | None = None
    settles_at: Moment | None = None
    order_id: Id | None = None
    liquidity: Literal["maker", "taker"] | None = None
    wallet: Name | None = None
    trade_id: Id | None = None
    cause: FillCause | None = None
    contracts: Decimal | None = None
    contract_size: Decimal | None = None
    contract_type: ContractType | None = None
    settle: Name | None = None
    position_side: PositionSide | None = None


class FillCorrection(Event, frozen=True, kw_only=True, gc=False, tag="fill_correction"):
    """A correction: the venue cancels a trade (`bust`) or changes it (`amend`).

    It names the trade by `trade_id`, or by `fill_id`, the `event_id` of its fill. It restates the
    fill as it is in force; `amended_qty` (or `amended_contracts`) and `amended_price` are what an
    amendment makes of it. A correction of a trade that is not known, or that restates another one,
    moves nothing.
    """

    counterparty: Name
    account: Name
    book: Name
    fill_id: Id | None = None
    base: Name
    quote: Name
    side: Side
    qty: Decimal = NO_QTY
    price: Decimal
    kind: FillKind = "spot"
    instrument: Id | None = None
    fee: Decimal | None = None
    fee_asset: Name | None = None
    settles_at: Moment | None = None
    wallet: Name | None = None
    trade_id: Id | None = None
    status: Literal["bust", "amend"] = "bust"
    amended_qty: Decimal | None = None
    amended_price: Decimal | None = None
    contracts: Decimal | None = None
    contract_size: Decimal | None = None
    contract_type: ContractType | None = None
    settle: Name | None = None
    position_side: PositionSide | None = None
    amended_contracts: Decimal | None = None


class Settlement(Event, frozen=True, kw_only=True, gc=False, tag="settlement"):
    """The delivery of an unsettled fill, or its failure. `fill_id` is the fill's `event_id`."""

    counterparty: Name
    account: Name
    book: Name
    fill_id: Id
    status: Literal["delivered", "failed"]


class Balance(Event, frozen=True, kw_only=True, gc=False, tag="balance"):
    """A snapshot of one asset in one wallet; `free` + `locked` is the amount that is held.

    `wallet` is the venue's own name, `wallet_type` what kind of wallet it is; without a name, the
    type is the name. `covers` says whether the snapshot states the whole account, or what one book
    has of it. One without a book states the account.
    """

    counterparty: Name
    account: Name
    book: Name = UNALLOCATED
    asset: Name
    free: Decimal
    locked: Decimal | None = None
    borrowed: Decimal | None = None
    unrealized_pnl: Decimal | None = None
    kind: HoldingKind = "custody"
    wallet: Name | None = None
    wallet_type: WalletType | None = None
    covers: Coverage | None = None


class Position(Event, frozen=True, kw_only=True, gc=False, tag="position"):
    """A snapshot of one open derivative position; zero closes it.

    Its size is `qty`, signed, in units of `base`, or `contracts` of `contract_size` (1 if it is not
    stated): of a linear contract and of an option in units of `base`, of an inverse one in units of
    `quote`, of a quanto in units of `settle` per point of price. If both are stated they must
    agree. With `side`, `contracts` has no sign; without it, below zero is short. `contract_type`
    without a value is linear.

    In hedge mode, `side` tells the long position of an instrument from the short one; with
    `hedged` false it is no more than the sign of the one position. `unrealized_pnl` and
    `option_value` are in units of `settle`, the coin that profits are paid in: if it is not stated,
    the base of an inverse contract, else the quote. `delta` is in units of `base`, and all greeks
    are of the whole position. A `delta` of the convention `premium_adjusted` leaves out the coins
    that the option itself is worth. `wallet`, `wallet_type`, `covers` and a missing book are as in
    a :class:`Balance`.
    """

    counterparty: Name
    account: Name
    book: Name = UNALLOCATED
    base: Name
    quote: Name
    qty: Decimal | None = None
    instrument: Id | None = None
    entry_price: Decimal | None = None
    mark_price: Decimal | None = None
    liquidation_price: Decimal | None = None
    side: PositionSide | None = None
    wallet: Name | None = None
    wallet_type: WalletType | None = None
    covers: Coverage | None = None
    contracts: Decimal | None = None
    contract_size: Decimal | None = None
    contract_type: ContractType | None = None
    kind: PositionKind | None = None
    settle: Name | None = None
    hedged: bool | None = None
    unrealized_pnl: Decimal | None = None
    delta: Decimal | None = None
    gamma: Decimal | None = None
    vega: Decimal | None = None
    theta: Decimal | None = None
    iv: Decimal | None = None
    option_value: Decimal | None = None
    delta_convention: DeltaConvention | None = None


class Transfer(Event, frozen=True, kw_only=True, gc=False, tag="transfer"):
    """One status of one leg of a transfer; `transfer_id` is unique per counterparty and direction.

    `amount` is what moves; `fee` is charged to the account beside it, in `fee_asset` (if that is
    absent, in `asset`). `tx_id` is the transaction on chain, which both legs share. A withdrawal
    with `to_account` or `to_wallet` at the same counterparty is a whole internal transfer, and no
    other leg is sent. With another `to_counterparty` the destination is ours as well, and that
    counterparty sends the other leg. `instruction_id` is the instruction of ours that it follows.
    """

    transfer_id: Id
    counterparty: Name
    account: Name
    book: Name
    asset: Name
    amount: Decimal
    direction: Literal["deposit", "withdrawal"]
    status: TransferStatus
    network: Name | None = None
    wallet: Name | None = None
    tx_id: Id | None = None
    address: Id | None = None
    fee: Decimal | None = None
    fee_asset: Name | None = None
    to_counterparty: Name | None = None
    to_account: Name | None = None
    to_wallet: Name | None = None
    instruction_id: Id | None = None


class OpenOrder(Event, frozen=True, kw_only=True, gc=False, tag="open_order"):
    """A snapshot of one resting order; `qty` is the open quantity, and zero closes it.

    `reduce_only` says that the venue lets the order do nothing but reduce a position.
    """

    order_id: Id
    counterparty: Name
    account: Name
    book: Name = UNALLOCATED
    base: Name
    quote: Name
    side: Side
    qty: Decimal
    price: Decimal
    instrument: Id | None = None
    reduce_only: bool = False
    wallet: Name | None = None


class Loan(Event, frozen=True, kw_only=True, gc=False, tag="loan"):
    """A snapshot of one loan; `amount` is outstanding, and zero means repaid."""

    loan_id: Id
    counterparty: Name
    account: Name
    book: Name = UNALLOCATED
    asset: Name
    amount: Decimal
    direction: Literal["lent", "borrowed"]
    due: Moment | None = None
    wallet: Name | None = None


class Adjustment(Event, frozen=True, kw_only=True, gc=False, tag="adjustment"):
    """An entry of a venue's ledger that is neither a trade nor a transfer, e.g. a funding payment.

    `amount` is signed: positive for what the account gets. `adjustment_id` is the venue's id of the
    entry, unique per counterparty and account. An entry that replaces one asset by another states
    the other one as `to_asset` and `to_amount`. `auto_borrow` and `auto_repay` change what is owed
    by the same amount. `instrument` is the contract that a funding payment belongs to;
    `reference_id` is what else the venue refers to.
    """

    adjustment_id: Id
    counterparty: Name
    account: Name
    book: Name = UNALLOCATED
    asset: Name
    amount: Decimal
    kind: AdjustmentKind
    wallet: Name | None = None
    instrument: Id | None = None
    reference_id: Id | None = None
    to_asset: Name | None = None
    to_amount: Decimal | None = None


class AccountSnapshot(Event, frozen=True, kw_only=True, gc=False, tag="account_snapshot"):
    """What a complete snapshot of one wallet lists; what it does not list there is zero.

    The amounts come as events of their own, with the same time. A section (`assets`,
    `instruments`, `orders`, `loans`) that is left out is not covered, and an empty one says that
    there is nothing. Without `wallet` and `wallet_type` it is about the facts that name no wallet.
    Without any section it only says that its source still sees the account, and nothing changed.
    """

    counterparty: Name
    account: Name
    wallet: Name | None = None
    wallet_type: WalletType | None = None
    assets: Annotated[list[Name], msgspec.Meta(max_length=4096)] | None = None
    instruments: Annotated[list[Id], msgspec.Meta(max_length=4096)] | None = None
    orders: Annotated[list[Id], msgspec.Meta(max_length=4096)] | None = None
    loans: Annotated[list[Id], msgspec.Meta(max_length=4096)] | None = None


class Peg(Event, frozen=True, kw_only=True, gc=False, tag="peg"):
    """A price stated directly against the peg, e.g. by an oracle or a redemption.

    `supply` is the amount outstanding; `redeemed` is the amount redeemed since the last peg of this
    feed. `rate` is the amount of its peg that one unit of an accruing asset promises, as its issuer
    states it; it is no price. At least one of `price` and `rate` is stated.
    """

    asset: Name
    venue: Name
    price: Decimal | None = None
    peg: Name = "USD"
    rate: Decimal | None = None
    volume: Decimal | None = None
    supply: Decimal | None = None
    redeemed: Decimal | None = None


class Quote(Event, frozen=True, kw_only=True, gc=False, tag="quote"):
    """A price of `base` in `quote` at a venue: a book, a last trade, or a bar's close.

    `volume` is the base quantity traded since the last quote of this feed; zero means that the
    price is carried forward. `depth` rows are [bps from mid, bid size, ask size]. A pool without a
    book states its balance of `base` as `ask_size`, and that of `quote`, in units of `base`, as
    `bid_size`. Of a crossed book (`bid` above `ask`) with a `last` near it, `last` alone is the
    price; without one it is refused.
    """

    venue: Name
    base: Name
    quote: Name
    bid: Decimal | None = None
    ask: Decimal | None = None
    last: Decimal | None = None
    bid_size: Decimal | None = None
    ask_size: Decimal | None = None
    volume: Decimal | None = None
    depth: Annotated[list[tuple[Decimal, Decimal, Decimal]], msgspec.Meta(max_length=32)] | None = (
        None
    )


class Credit(Event, frozen=True, kw_only=True, gc=False, tag="credit"):
    """News about the credit of a counterparty, an issuer or a bank; `source` is its source."""

    subject: Name
    kind: CreditKind
    agency: Name | None = None
    rating: Annotated[str, msgspec.Meta(max_length=16)] | None = None
    previous: Annotated[str, msgspec.Meta(max_length=16)] | None = None
    jurisdiction: Name | None = None
    assets: Annotated[list[Name], msgspec.Meta(max_length=64)] | None = None
    networks: Annotated[list[Name], msgspec.Meta(max_length=64)] | None = None
    ratio: Decimal | None = None
    as_of: Moment | None = None
    retracts: Id | None = None
    note: Text | None = None
    url: Text | None = None


class LegalEntity(Event, frozen=True, kw_only=True, gc=False, tag="legal_entity"):
    """The legal entity of a counterparty, and its jurisdiction."""

    counterparty: Name
    entity: Name
    jurisdiction: Name | None = None


class NettingSet(Event, frozen=True, kw_only=True, gc=False, tag="netting_set"):
    """A netting agreement over accounts of one counterparty; gross unless `enforceable`."""

    counterparty: Name
    netting_set: Name
    accounts: Annotated[list[Name], msgspec.Meta(max_length=256)]
    enforceable: bool = False


class Command(
    Event, frozen=True, kw_only=True, gc=False, tag="command", forbid_unknown_fields=True
):
    """An operator's command. Unknown fields are refused, so that no misspelt field is ignored.

    `deployment` is the deployment that the command is for, and part of the signed bytes. A command
    without it is of a build that knew no deployments; live workers refuse it.

    `signature` is 128 hexadecimal digits, over the bytes that
    :mod:`riskwatch.core.command_signing` defines. It may be left out, so that the risk stage
    refuses an unsigned command and records the refusal. `reached` is the event time that a worker
    had reached when it took the command, if it had not read everything before it. The worker sets
    it, as it sets `arrived`; no other value counts.
    """

    operator: Name
    action: CommandAction
    scope: Annotated[str, msgspec.Meta(pattern=r"\A[^\s\x00-\x1f\x7f]+\Z", max_length=140)]
    reason: Text
    idempotency_key: Id
    signature: Annotated[str, msgspec.Meta(max_length=512)] = ""
    args: dict[str, Any] | None = None
    deployment: Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9-]*\Z", max_length=40)] = ""
    reached: Moment | None = None


LedgerEvent = (
    Fill
    | FillCorrection
    | Settlement
    | Balance
    | Position
    | Transfer
    | OpenOrder
    | Loan
    | Adjustment
    | AccountSnapshot
)
MarketEvent = Peg | Quote
RiskEvent = Credit | LegalEntity | NettingSet | Command
WireEvent = LedgerEvent | MarketEvent | RiskEvent

LEDGER_EVENTS = (
    Fill,
    FillCorrection,
    Settlement,
    Balance,
    Position,
    Transfer,
    OpenOrder,
    Loan,
    Adjustment,
    AccountSnapshot,
)
MARKET_EVENTS = (Peg, Quote)
RISK_EVENTS = (Credit, LegalEntity, NettingSet, Command)


class Tick(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="tick"):
    """A tick of event time, which the runner injects and journals like any event.

    Attributes
    ----------
    us : int
        Event time, microseconds since 1970.
    """

    us: int


def identity(event: Event) -> str:
    """Return the identity of an event across sources: the `cause_id` of its outputs.

    Examples
    --------
    >>> from datetime import UTC
    >>> peg = Peg(v=1, event_id="7", ts=datetime(2023, 3, 11, tzinfo=UTC), source="oracle",
    ...           asset="USDC", venue="oracle", price=Decimal("0.97"))
    >>> identity(peg)
    'oracle/7'
    """
    return f"{event.source}/{event.event_id}"
