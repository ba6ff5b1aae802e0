"""Settings of the ledger stage (``[ledger]`` in ``rules/policy.toml``)."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from riskwatch.core.bounds import NotNegative
from riskwatch.core.ledger.freshness import AccountCalendar
from riskwatch.core.ledger.holding import CHUNK_SPAN_S, MAX_CHUNK_DELTAS

MIN_DELTAS: Final = 2 * MAX_CHUNK_DELTAS
MIN_TRADE_MEMORY_S: Final = 30 * 86_400
MIN_TRADE_IDS: Final = 512
SOURCE_SHARE: Final = 4
"""One source has at most one in this many of the unlisted names of a collection."""
FILL_HOLDINGS: Final = 3
"""Most holdings that one fact creates: base, quote and fee."""


class LedgerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the ledger stage: windows, limits and tolerances.

    Limits other than `max_counterparties` apply per counterparty, so that counterparties that share
    a partition do not affect each other.

    Attributes
    ----------
    late_window_s : int
        How far a balance snapshot may be behind the newest fact of its counterparty and still be
        applied exactly, seconds of event time; at least 15.
    transfer_retention_s : int
        How long finished transfers, trades and loans are kept, seconds of event time.
    max_deltas : int
        Maximum number of deltas that one holding buffers for late snapshots (a chunk of 256 more or
        less). Beyond it the oldest are folded early, which only narrows the late window.
    reconcile_abs, reconcile_rel : float
        A snapshot may differ from the expected amount by the larger of `reconcile_abs` (units of
        the asset) and `reconcile_rel` times the larger of the two amounts.
    reconcile_grace_s : int
        How long after a snapshot the ledger waits for facts that it includes before it reports a
        difference as a break, seconds of event time.
    slippage_weight : float
        Weight of the newest fill in the mean slippage, in (0, 1].
    forget_s : int
        A counterparty that the reference data does not list is forgotten after this long without a
        fact, if nothing is held there and nothing is open; seconds of event time. Facts of unlisted
        and unknown counterparties from before that are refused afterwards.
    max_counterparties : int
        Maximum number of counterparties that the reference data does not list, a quarter of it of
        one source.
    max_holdings : int
        Maximum number of holdings of assets that the reference data does not list, plus accounts
        of a book that came with a listed asset; a quarter of it of one source. A listed asset in a
        known account has room.
    max_positions : int
        Maximum number of positions that are tracked.
    max_transfers : int
        Maximum number of transfers of one account that are kept. Finished ones give way to new
        ones.
    max_trades, max_orders, max_loans : int
        Maximum number of each that is kept.
    max_adjustments : int
        Maximum number of adjustments of one account that are known by their ids; the oldest give
        way to new ones.
    max_trade_ids : int
        Maximum number of trade ids that are remembered of one account. Beyond it the oldest are
        forgotten, which is told; at least 512.
    trade_memory_s : int
        How long a trade id is remembered, seconds of event time; at least 30 days.
    old_s : int
        Live, a fact that arrives this long after its own time is old: it changes holdings, but a
        wait or a delay counts from its arrival, and its slippage is not learned; seconds.
    covers : dict of str to str
        What snapshots of an account cover that do not say it, by ``counterparty/account``:
        ``account``, the whole of it, or ``book``, what their book has of it.
    confirm_s : int
        How much later a second snapshot of the same source confirms one that took something away
        without fills or transfers, seconds of event time.
    account_stale_s : int
        An account is not stale before its sources are silent for this long, seconds; at least 60.
    account_stale_gaps : float
        An account is stale if its sources are silent for this many times their longest usual gap.
    calendars : tuple of AccountCalendar
        When sources state accounts; without one, a source has the rhythm that it shows.

    Raises
    ------
    ValueError
        If a setting is outside its range.
    """

    late_window_s: int = 900
    transfer_retention_s: int = 604_800
    max_deltas: int = 4_096
    reconcile_abs: NotNegative = 1e-8
    reconcile_rel: NotNegative = 1e-9
    reconcile_grace_s: int = 60
    slippage_weight: float = 0.05
    forget_s: int = 3_456_000
    max_counterparties: int = 4_096
    max_holdings: int = 8_192
    max_positions: int = 8_192
    max_transfers: int = 50_000
    max_trades: int = 50_000
    max_orders: int = 50_000
    max_loans: int = 8_192
    max_adjustments: int = 50_000
    max_trade_ids: int = 1_000_000
    trade_memory_s: int = 2_678_400
    old_s: int = 3_600
    covers: dict[str, Literal["account", "book"]] = {}
    confirm_s: int = 30
    account_stale_s: Annotated[int, msgspec.Meta(ge=60)] = 1_800
    account_stale_gaps: Annotated[float, msgspec.Meta(ge=1.0)] = 5.0
    calendars: tuple[AccountCalendar, ...] = ()

    def __post_init__(self) -> None:
        if self.late_window_s < CHUNK_SPAN_S:
            raise ValueError(
                f"late_window_s must be at least {CHUNK_SPAN_S}, was {self.late_window_s}"
            )
        if self.transfer_retention_s < self.late_window_s:
            raise ValueError("transfer_retention_s must not be shorter than late_window_s")
        if self.forget_s < self.transfer_retention_s:
            raise ValueError("forget_s must not be shorter than transfer_retention_s")
        least = {
            "trade_memory_s": MIN_TRADE_MEMORY_S,
            "max_trade_ids": MIN_TRADE_IDS,
            "old_s": 1,
            "max_deltas": MIN_DELTAS,
        }
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} must be at least {bound}, was {getattr(self, name)}")
        if not 0.0 < self.slippage_weight <= 1.0:
            raise ValueError(f"slippage_weight must be in (0, 1], was {self.slippage_weight}")
        # With room for one of each, the first fact of a counterparty is never refused. A refusal
        # therefore never leaves a counterparty without a row.
        for name in self.__struct_fields__:
            if name.startswith("max_") and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, was {getattr(self, name)}")
        if self.max_holdings < FILL_HOLDINGS:
            raise ValueError("max_holdings must allow one fill: base, quote and fee")
