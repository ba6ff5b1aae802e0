"""Limits before the trade on the wire: the part of a heartbeat that clients check orders with."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Mid(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Mid price of an asset in USD, and whether live feeds support it."""

    usd: float
    fresh: bool


class ClientLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Terms of one client.

    Attributes
    ----------
    share : float
        Its share of every headroom, 0..1.
    max_order_usd : float
        Largest value of one order, USD.
    rate, burst : float, int
        Orders per second over time, and orders at once.
    counterparties : list of str
        The counterparties at which it may add risk.
    lower : dict of str to float
        By scope, grants that are lower than its share of the headroom, USD.
    """

    share: float
    max_order_usd: float
    rate: float
    burst: int
    counterparties: list[str] = []
    lower: dict[str, float] = {}


class ScopeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Terms of orders in one scope; ``None`` for no term."""

    max_order_usd: float | None = None
    collar_bp: float | None = None


class PretradeTable(msgspec.Struct, frozen=True, kw_only=True):
    """Headroom, prices and terms, as measured at one tick.

    Attributes
    ----------
    measured, until : datetime
        Tick of the measurement, and the end of the grants.
    fault : str
        Why nothing is granted; empty if something is.
    left : dict of str to float
        Headroom in USD by scope. ``<kind>:*`` is that of each subject that is not named. A kind
        without any entry has no limit.
    unknown : dict of str to str
        Scopes whose use is unknown, with the reason.
    binds : dict of str to dict of str to float
        By asset and counterparty, further scopes whose headroom an order uses, with the share.
    known : dict of str to float
        By counterparty, the time up to which the ledger's facts are in the measurement, seconds
        since 1970.
    settle_s : float
        What a client used counts until `known` is later by this, seconds.
    mids : dict of str to Mid
        Prices by asset.
    mid_age_s, stale_collar_bp : float
        Age from which a mid is stale, seconds, and the collar from then on, bp.
    clients : dict of str to ClientLimits
        Terms by client. A client that is not named may not add risk.
    scopes : dict of str to ScopeLimits
        Terms by scope. Those of ``firm`` apply to all orders.
    """

    measured: datetime
    until: datetime
    fault: str = ""
    left: dict[str, float] = {}
    unknown: dict[str, str] = {}
    binds: dict[str, dict[str, float]] = {}
    known: dict[str, float] = {}
    settle_s: float = 5.0
    mids: dict[str, Mid] = {}
    mid_age_s: float = 60.0
    stale_collar_bp: float = 0.0
    clients: dict[str, ClientLimits] = {}
    scopes: dict[str, ScopeLimits] = {}
