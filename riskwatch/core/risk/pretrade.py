"""Settings of limits before the trade (``[risk.pretrade]`` in ``rules/policy.toml``)."""

from __future__ import annotations

import msgspec

from riskwatch.core.bounds import AtLeastOne, NotNegative, Positive, Share


class ClientTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Terms of one client (``[risk.pretrade.clients.<name>]``).

    Attributes
    ----------
    share : float
        Its share of the headroom of every limit, 0..1. The shares of all clients add up to at
        most 1.
    max_order_usd : float or None
        Largest value of one order, USD; ``None`` for that of the policy.
    rate, burst : float or None, int or None
        Orders per second over time, and orders at once; ``None`` for those of the policy.
    counterparties : tuple of str
        The counterparties at which it may add risk, at least one. What it used is known when facts
        of all of them are.
    """

    share: Share
    counterparties: tuple[str, ...]
    max_order_usd: Positive | None = None
    rate: Positive | None = None
    burst: AtLeastOne | None = None


class ScopeTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Terms of the orders of one scope (``[risk.pretrade.scopes."book:arb"]``).

    Of all scopes of an order, the strictest value applies.

    Attributes
    ----------
    max_order_usd : float or None
        Largest value of one order, USD.
    collar_bp : float or None
        Largest distance of a price from the mid, bp.
    """

    max_order_usd: Positive | None = None
    collar_bp: Positive | None = None


class PretradeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits before the trade. They apply from the moment that `clients` names a client.

    Attributes
    ----------
    max_order_usd : float
        Largest value of one order, USD.
    collar_bp : float
        Largest distance of an order's price from the mid, bp.
    stale_collar_bp : float
        The same while the mid is stale, bp; at most `collar_bp`.
    mid_age_s : float
        A mid is stale when it is older than this, seconds.
    rate : float
        Orders of one client per second, over time.
    burst : int
        Orders of one client at once.
    settle_s : float
        Longest time from an order until the ledger has its fill or its open order, seconds. What a
        client used counts until facts of the counterparty are known that are later by this.
    grant_s : float
        How long a client may use one grant of headroom, seconds.
    clients : dict of str to ClientTerms
        Terms by client. A client that is not named may not add risk.
    scopes : dict of str to ScopeTerms
        Terms by scope.
    """

    max_order_usd: Positive = 250_000.0
    collar_bp: Positive = 300.0
    stale_collar_bp: NotNegative = 100.0
    mid_age_s: Positive = 60.0
    rate: Positive = 50.0
    burst: AtLeastOne = 100
    settle_s: Positive = 5.0
    grant_s: Positive = 30.0
    clients: dict[str, ClientTerms] = {}
    scopes: dict[str, ScopeTerms] = {}
