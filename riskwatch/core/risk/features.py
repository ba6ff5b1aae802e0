"""Features of each scope: named numbers that rules and models take as inputs.

An absent feature is unknown, which is not zero. Numbers are quantised, so that two processors
compare the same ones. Units are in the names (``_bp``, ``_s``, ``_usd``). ``_share`` and
``_ratio`` are plain numbers. ``_weight`` is the total weight of the sources of credit news; from 1
on the news counts as confirmed.
"""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import DAY, MINUTE, SECOND
from riskwatch.core.enums import Cause, Quality, State
from riskwatch.core.money import quantise
from riskwatch.core.risk.baseline import Baseline
from riskwatch.core.risk.credit import (
    FAILURE_KINDS,
    credit_rating,
    latest_attestation,
    named_parts,
    news_weight,
)
from riskwatch.core.risk.exposure import (
    BORROWED_COMPONENT,
    OPEN_ORDER_COMPONENT,
    READING_MAX_AGE,
    price_of,
    value_of,
)
from riskwatch.core.risk.history import PriceHistory, level_of, surge
from riskwatch.core.risk.limits import LIMIT_FEATURES
from riskwatch.core.risk.network_waits import (
    is_common,
    usual_withdrawal_s,
    waiting_withdrawals,
)
from riskwatch.core.rules import COVERAGE_FEATURE, DRAWDOWN_FEATURE, LOSS_FEATURES
from riskwatch.core.scopes import ASSET, BOOK, COUNTERPARTY, FIRM, VENUE_ASSET

if TYPE_CHECKING:
    from decimal import Decimal

    from riskwatch.core.reference import Asset, Reference
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.state import (
        AssetRow,
        CreditItem,
        CreditRow,
        PartyRow,
        RiskState,
        VenueRow,
    )


TRAIL_STEP: Final = 5 * MINUTE
"""Time between two marks of an asset's trail, microseconds."""
TRAIL_LENGTH: Final = 13
"""Number of marks that are kept: one hour."""

MARKET_ASSET: Final = "BTC"
"""Asset whose volatility stands for that of the market."""

Features = dict[str, float]

FEATURES: Final[dict[str, tuple[str, ...]]] = {
    ASSET: (
        "deviation_bp", "discount_bp", "premium_bp", "sd_bp", "vol_bp", "velocity_bp", "drift_bp",
        "missing_share", "breadth", "refuted", "peer_bp", "below_usual_bp", "usual_sd_bp",
        "bleed_ratio", "drift_6h_bp", "drift_24h_bp", "vol_24h_bp", "vol_7d_bp", "deepest_24h_bp",
        "deepest_7d_bp", "excess_7d_bp", "far_share", "peer_gap_bp", "btc_vol_24h_bp",
        "dispersion_bp", "volume_surge", "depth_imbalance", "pool_imbalance", "supply_drop_share",
        "redeemed_share", "issuer_failed_weight", "issuer_hacked_weight", "backing_failed_share",
        "issuer_reserves_missing_share", "issuer_reserves_confirmed_share", "unpriced",
        "unrecognised", "broad_discount_bp", "coin_discount_bp", "coin_premium_bp",
        "anchor_discount_bp", *LIMIT_FEATURES,
    ),
    VENUE_ASSET: ("local_bp", "local_discount_bp", "local_premium_bp"),
    COUNTERPARTY: (
        "dislocation_bp", "withdrawal_slow_ratio", "withdrawal_age_s", "withdrawal_age_ratio",
        "network_wait_ratio", "withdrawals_pending", "withdrawals_failed", "overdue_count",
        "slippage_bp",
        "outflow_share", "failed_weight", "hacked_weight", "suspended_weight",
        "deposits_suspended_weight", "regulatory_weight", "suspended_parts",
        "native_drawdown_share", "reserves_missing_share", "reserves_confirmed_share",
        "reserves_age_days", "rating_pd",
        *LIMIT_FEATURES,
    ),
    BOOK: (DRAWDOWN_FEATURE, *LOSS_FEATURES, COVERAGE_FEATURE, *LIMIT_FEATURES),
    FIRM: (DRAWDOWN_FEATURE, *LOSS_FEATURES, COVERAGE_FEATURE, "unsure_share", *LIMIT_FEATURES),
}  # fmt: skip
"""Every feature by kind of scope, in the order of this module: no other can ever have a value.

A start refuses a rule, an ask or a model that names another.
"""


def record_trail(row: AssetRow, us: int) -> None:
    """Record the deviation at each five-minute mark; marks of the last hour are kept."""
    if row.trail and us // TRAIL_STEP == row.trail[-1][0] // TRAIL_STEP:
        return
    row.trail = [*row.trail[-(TRAIL_LENGTH - 1) :], (us, row.reading.deviation_bp)]


def record_history(state: RiskState, row: AssetRow, name: str, us: int, *, pegged: bool) -> bool:
    """Mark the history of a pegged asset or of BTC every five minutes; return whether it did."""
    if not (pegged or name == MARKET_ASSET) or row.reading.cause is Cause.FEED:
        return False  # the fault of one feed is no history of the coin
    level = level_of(row.reading, pegged=pegged)
    if level is None:
        return False
    history = state.histories.get(name)
    if history is None:
        history = state.histories[name] = PriceHistory(us, level)
    elif us // TRAIL_STEP <= history.us // TRAIL_STEP:
        return False
    history.mark(us, level, row.reading.volume_usd)
    return True


def is_live(row: AssetRow | None, us: int) -> bool:
    """Whether a feed of an asset is live, by a reading that is not old itself."""
    return row is not None and row.reading.live > 0 and us - row.us <= READING_MAX_AGE


def held_assets(state: RiskState) -> dict[str, None]:
    """Return the assets that we hold, owe or have a position in."""
    out: dict[str, None] = {}
    for party in state.parties.values():
        out |= {h.asset: None for h in party.holdings}
        out |= {p.base: None for p in party.positions}
    return out


def is_foreign_venue(state: RiskState, name: str, reference: Reference) -> bool:
    """Whether a venue is neither listed, ours, in the news nor restricted, but only sends quotes.

    It has no scopes, so that who invents names makes none.
    """
    return not (
        name in reference.parties
        or name in state.parties
        or name in state.credit
        or f"{COUNTERPARTY}:{name}" in state.scopes
        or any(name in failed for failed in state.faults.values())
    )


def asset_quality(row: AssetRow, us: int, config: RiskConfig) -> Quality:
    """Return the data quality of an asset's value."""
    if not is_live(row, us):
        return Quality.UNKNOWN
    seen = row.reading
    thin = seen.live < config.coverage_good * seen.expected
    unlisted = seen.venues == 0  # no venue of the reference data quotes it
    unknown = not seen.fiat_path or not seen.peg_known
    if thin or unlisted or unknown or seen.sd_bp >= config.sd_stale_bp:
        return Quality.STALE
    return Quality.GOOD


def venue_quality(row: VenueRow | None, us: int, config: RiskConfig) -> Quality:
    """Return the data quality of a venue's prices; a venue without quotes is ``good``."""
    if row is None or row.expected == 0:
        return Quality.GOOD
    if row.live == 0 or us - row.us > READING_MAX_AGE:
        return Quality.UNKNOWN
    return Quality.STALE if row.live < config.coverage_good * row.expected else Quality.GOOD


def asset_features(
    state: RiskState,
    name: str,
    us: int,
    discounts: list[tuple[float, str]],
    config: RiskConfig,
    reference: Reference,
) -> Features:
    """Return the features of ``asset:<name>``.

    Parameters
    ----------
    state : RiskState
        Readings and news.
    name : str
        The asset.
    us : int
        Event time, microseconds.
    discounts : list of (float, str)
        Discounts of all pegged assets in bp with their names, the largest first.
    config : RiskConfig
        Weights of sources.
    reference : Reference
        Pegs and issuers.
    """
    out: Features = {}
    row, known = state.assets.get(name), reference.asset(name)
    has_price = row is not None and is_live(row, us) and row.reading.peg_known
    if row is not None and has_price and not reference.promises_fiat(known):
        out = _coin_features(state, known, row, us, reference)
    elif row is not None and has_price:
        seen = row.reading
        now = seen.deviation_bp
        peers = [bp for bp, other in discounts[:2] if other != name]
        out = {
            # Readings are quantised already; clamping keeps them so.
            "deviation_bp": now,
            "discount_bp": max(0.0, -now),
            "premium_bp": max(0.0, now),
            "sd_bp": seen.sd_bp,
            "vol_bp": seen.vol_bp,
            "velocity_bp": quantise(_past_deviation(row, 1) - now),
            "drift_bp": quantise(_past_deviation(row, TRAIL_LENGTH - 1) - now),
            "missing_share": quantise(1.0 - seen.live / max(1, seen.expected)),
            "breadth": float(len({f.partition(":")[0]: None for f in seen.support})),
            "refuted": float(len(seen.refute)),
            "peer_bp": peers[0] if peers else 0.0,
        }
        is_broad = _is_broad(row, us, config)
        out["broad_discount_bp"] = out["discount_bp"] if is_broad else 0.0
        out |= _telemetry_features(state, name, row, discounts)
        if row.base is not None:
            out |= _bleed_features(row.base, config)
    if known.issuer is not None:
        news = state.credit.get(known.issuer)
        if news is not None:
            out["issuer_failed_weight"] = quantise(news_weight(news, FAILURE_KINDS, config))
            out["issuer_hacked_weight"] = quantise(news_weight(news, ("hack",), config))
        failed = sum(
            b.share * min(1.0, news_weight(state.credit.get(b.holder), FAILURE_KINDS, config))
            for b in reference.party(known.issuer).backing
        )
        out["backing_failed_share"] = quantise(failed)
        missing, confirmed = (_missing(latest_attestation(news, by)) for by in (None, config))
        if missing is not None:
            out["issuer_reserves_missing_share"] = missing
        if confirmed is not None:
            out["issuer_reserves_confirmed_share"] = confirmed
    return out


BROAD_FEEDS: Final = 4
"""Number of feeds that must agree on a fall for it to be broad."""


def _is_broad(row: AssetRow, us: int, config: RiskConfig) -> bool:
    """Whether good feeds, of two venues or more, agree on a fall and none refutes it."""
    seen = row.reading
    agreed = seen.cause is Cause.ISSUER and len(seen.support) >= BROAD_FEEDS
    several = len({feed.partition(":")[0]: None for feed in seen.support}) > 1
    return agreed and several and not seen.refute and asset_quality(row, us, config) is Quality.GOOD


def _coin_features(
    state: RiskState, known: Asset, row: AssetRow, us: int, reference: Reference
) -> Features:
    """Return the features of an asset that promises another asset and no fiat money.

    The fall of what it promises is no fault of its own; where that promises fiat money, and broke
    the promise, it is the loss of both.
    """
    if known.peg is None:
        return {}
    now = row.reading.deviation_bp
    out = {"coin_discount_bp": max(0.0, -now), "coin_premium_bp": max(0.0, now)}
    name: str | None = known.peg
    for _ in range(len(reference.assets)):
        if name is None:
            break
        promised, below = reference.asset(name), state.assets.get(name)
        if reference.promises_fiat(promised) and below is not None and is_live(below, us):
            if below.reading.peg_known:
                out["anchor_discount_bp"] = max(0.0, -below.reading.deviation_bp)
            break
        name = promised.peg
    return out


def history_features(history: PriceHistory) -> dict[str, float]:
    """Return the features of a pegged asset that depend on its history alone.

    Changes and discounts are positive in the dangerous direction.

    Examples
    --------
    >>> from riskwatch.core.clock import HOUR
    >>> made = PriceHistory(0, 0.0)
    >>> for n, level in enumerate((0.0, -5.0, -30.0)):
    ...     made.mark(n * HOUR, level, 0.0)
    >>> found = history_features(made)
    >>> found["drift_6h_bp"], found["deepest_24h_bp"], found["far_share"]
    (30.0, 30.0, 0.333333)
    """
    now = history.level
    median = history.median()
    return {
        "drift_6h_bp": quantise(history.level_before(6) - now),
        "drift_24h_bp": quantise(history.level_before(24) - now),
        "vol_24h_bp": quantise(history.volatility(1)),
        "vol_7d_bp": quantise(history.volatility(7)),
        "deepest_24h_bp": quantise(history.deepest(1)),
        "deepest_7d_bp": quantise(history.deepest(7)),
        "excess_7d_bp": quantise(median - now),
        "far_share": quantise(history.far_share()),
    }


def _telemetry_features(
    state: RiskState, name: str, row: AssetRow, discounts: list[tuple[float, str]]
) -> Features:
    """Return what the history of a pegged asset, its markets and its issuance say."""
    seen, out = row.reading, Features()
    history = state.histories.get(name)
    if history is not None:
        cached = state.history_features.get(name)
        if cached is None or cached[0] != history.us:
            cached = state.history_features[name] = (history.us, history_features(history))
        out |= cached[1]
        doubled = surge(seen.volume_usd, history)
        if doubled is not None:
            out["volume_surge"] = doubled
    others = [bp for bp, other in discounts if other != name]
    if others:
        out["peer_gap_bp"] = quantise(max(0.0, -seen.deviation_bp) - others[len(others) // 2])
    market = state.histories.get(MARKET_ASSET)
    if market is not None:
        out["btc_vol_24h_bp"] = quantise(market.volatility(1))
    measured = {
        "dispersion_bp": seen.dispersion_bp,
        "depth_imbalance": seen.depth_imbalance,
        "pool_imbalance": seen.pool_imbalance,
        "supply_drop_share": seen.supply_drop_share,
        "redeemed_share": seen.redeemed_share,
    }
    return out | {name: value for name, value in measured.items() if value is not None}


def _missing(attestation: CreditItem | None) -> float | None:
    """Return the share of reserves that an attestation says is missing; ``None`` without one."""
    if attestation is None or attestation.ratio is None:
        return None
    return quantise(max(0.0, 1.0 - attestation.ratio))


def _bleed_features(base: Baseline, config: RiskConfig) -> Features:
    """Return how far the level of a pegged asset has sunk below its baseline."""
    sunk = max(0.0, base.location - base.level)
    usual = max(config.baseline.bleed_bp, config.baseline.bleed_scales * base.current_scale())
    return {
        "below_usual_bp": quantise(sunk),
        "usual_sd_bp": quantise(base.scale),
        "bleed_ratio": quantise(sunk / usual),
    }


def update_asset_baseline(
    row: AssetRow, name: str, state: State, config: RiskConfig, reference: Reference
) -> None:
    """Update the baseline of a pegged asset by its reading; `state` is that of its scope."""
    bp, base = row.reading.deviation_bp, config.baseline
    if row.base is None:
        # The first baseline is par, with the scale that the reference data states.
        row.base = Baseline(row.us, 0.0, 0.0, reference.asset(name).prior_bp)
    row.base.update(
        bp,
        row.us,
        base,
        half_life_s=base.location_half_life_s,
        alarmed=state is not State.NORMAL,
        bound=base.par_bp,
    )


def venue_asset_features(row: VenueRow, asset: str, us: int) -> Features:
    """Return the features of ``venue-asset:<venue>/<asset>``: its gap to the consensus price."""
    if row.live == 0 or us - row.us > READING_MAX_AGE:
        return {}
    local = row.local.get(asset)
    gap = 0.0 if local is None else local.bp
    return {
        "local_bp": gap,
        "local_discount_bp": max(0.0, -gap),
        "local_premium_bp": max(0.0, gap),
    }


def _past_deviation(row: AssetRow, marks: int) -> float:
    """Return the deviation `marks` marks ago; the oldest one if the trail is shorter."""
    trail = row.trail
    if not trail:
        return row.reading.deviation_bp
    return trail[max(0, len(trail) - 1 - marks)][1]


# Features of counterparties. An absent feature is unknown: a venue whose token was never priced has
# no drawdown, an unrated one no default probability, and one that never published its reserves no
# age of them.

PEAK_HALF_LIFE_S: Final = 604_800.0
"""Half-life with which the peak of a token sinks; its drawdown is from this peak, seconds."""
BASELINE_MAX_GAP_S: Final = 86_400.0
"""Longest time for which one reported withdrawal time counts in the baseline, seconds."""
BASELINE_START_SD: Final = 0.5
"""Standard deviation of a venue's baseline withdrawal time at the start, doublings."""
_NEWS: Final = (
    ("failed_weight", FAILURE_KINDS),
    ("hacked_weight", ("hack",)),
    ("suspended_weight", ("withdrawals_suspended",)),
    ("deposits_suspended_weight", ("deposits_suspended",)),
    ("regulatory_weight", ("regulatory_action",)),
)


def counterparty_features(
    state: RiskState,
    name: str,
    us: int,
    config: RiskConfig,
    reference: Reference,
    common: frozenset[str] = frozenset(),
) -> Features:
    """Return the features of ``counterparty:<name>``: its prices, withdrawals and credit news.

    `common` is from :func:`riskwatch.core.risk.network_waits.common_waits`.
    """
    out: Features = {}
    venue, party, news = state.venues.get(name), state.parties.get(name), state.credit.get(name)
    if venue is not None and venue.live > 0 and us - venue.us <= READING_MAX_AGE:
        out["dislocation_bp"] = venue.dislocation_bp
    if party is not None:
        out |= _flow_features(party, us, config)
        if common:
            out |= _wait_features(state, name, party, us, config, common)
        out |= _outflow_features(party, state)
    for feature, kinds in _NEWS:
        out[feature] = quantise(news_weight(news, kinds, config))
    out["suspended_parts"] = float(len(named_parts(news, "withdrawals_suspended")))
    return out | _market_view(state, name, news, us, config, reference)


def has_business(party: PartyRow | None, state: RiskState, config: RiskConfig) -> bool:
    """Whether we hold anything there, so that a stop of withdrawals could be observed.

    Holdings without a price count; holdings below `alert_from_usd` do not.
    """
    if party is None:
        return False
    if party.flow.pending_count or any(p.qty for p in party.positions):
        return True
    for h in party.holdings:
        price = price_of(h.asset, state)
        if h.amount and (price is None or abs(value_of(h.amount, price)) >= config.alert_from_usd):
            return True
    return False


def update_party_baseline(party: PartyRow, state: State, config: RiskConfig) -> bool:
    """Update the baseline of the withdrawal time, and return whether there was a new value.

    `state` is that of the counterparty's scope.
    """
    flow, base = party.flow, config.baseline
    known = flow.withdrawals_done >= config.baseline_from and flow.withdrawal_baseline_s > 0.0
    if not known or (party.base is not None and party.us <= party.base.us):
        return False
    doublings = log2(flow.withdrawal_baseline_s)
    if party.base is None:
        party.base = Baseline(party.us, doublings, doublings, BASELINE_START_SD)
    party.base.update(
        doublings,
        party.us,
        base,
        half_life_s=base.party_half_life_s,
        alarmed=state is not State.NORMAL,
        gap_s=BASELINE_MAX_GAP_S,
    )
    return True


def update_peak(row: AssetRow, before_us: int) -> None:
    """Decay the peak of a price since `before_us`, and raise it to the present price."""
    if row.price is None:
        return
    passed = max(0, row.us - before_us) / SECOND
    sunk = (row.peak or 0.0) * float(2.0 ** (-passed / PEAK_HALF_LIFE_S))
    row.peak = max(row.price, sunk)


def _flow_features(party: PartyRow, us: int, config: RiskConfig) -> Features:
    flow, out = party.flow, Features()
    usual = usual_withdrawal_s(party, config)
    if party.base is not None:
        now = max(flow.withdrawal_baseline_s, config.baseline_min_s)
        out["withdrawal_slow_ratio"] = quantise(now / usual)
    # The reading is from the ledger's last tick; add the time since then.
    waits = flow.oldest_withdrawal_s
    if waits > 0.0:
        waits += max(0, us - party.us) / 1e6
    return out | {
        "withdrawal_age_s": quantise(waits),
        "withdrawal_age_ratio": quantise(waits / usual),
        "withdrawals_pending": float(flow.pending_count),
        "withdrawals_failed": float(flow.failed_24h),
        "overdue_count": float(flow.overdue_count),
        "slippage_bp": quantise(max(0.0, flow.slippage_bp)),
    }


def _wait_features(
    state: RiskState,
    name: str,
    party: PartyRow,
    us: int,
    config: RiskConfig,
    common: frozenset[str],
) -> Features:
    """Return the age of the oldest withdrawal of the venue's own, and of one of its network."""
    own = shared = 0.0
    for leg, age in waiting_withdrawals(state, name, us):
        if is_common(leg, common):
            shared = max(shared, age)
        else:
            own = max(own, age)
    if not shared:
        return {}
    usual = usual_withdrawal_s(party, config)
    return {
        "withdrawal_age_s": quantise(own),
        "withdrawal_age_ratio": quantise(own / usual),
        "network_wait_ratio": quantise(shared / usual),
    }


def _outflow_features(party: PartyRow, state: RiskState) -> Features:
    """Return the share of our holdings there that left within a day, at present prices."""
    left = _value_usd(party.flow.outflow_24h, state)
    there = sum(
        max(0.0, value_of(h.amount, price))
        for h in party.holdings
        if h.component not in (BORROWED_COMPONENT, OPEN_ORDER_COMPONENT)
        and (price := price_of(h.asset, state)) is not None
    )
    if left + there <= 0.0:
        return {}
    return {"outflow_share": quantise(left / (left + there))}


def _market_view(
    state: RiskState,
    name: str,
    news: CreditRow | None,
    us: int,
    config: RiskConfig,
    reference: Reference,
) -> Features:
    """Return the features from the venue's token, its reserves and its rating."""
    out = Features()
    token = reference.party(name).native_token
    row = state.assets.get(token) if token is not None else None
    if row is not None and row.price is not None and row.peak and us - row.us <= READING_MAX_AGE:
        out["native_drawdown_share"] = quantise(max(0.0, 1.0 - row.price / row.peak))
    reserves = latest_attestation(news)
    if reserves is not None and reserves.ratio is not None:
        since = reserves.us if reserves.as_of is None else reserves.as_of
        out["reserves_missing_share"] = quantise(max(0.0, 1.0 - reserves.ratio))
        out["reserves_age_days"] = quantise(max(0, us - since) / DAY)
    confirmed = _missing(latest_attestation(news, config))
    if confirmed is not None:
        out["reserves_confirmed_share"] = confirmed
    grade = credit_rating(name, news, reference)
    if grade != "unrated":
        out["rating_pd"] = quantise(reference.pd_by_rating[grade])
    return out


def _value_usd(amounts: dict[str, Decimal], state: RiskState) -> float:
    """Return the USD value of amounts by asset; an asset without a price is left out."""
    return sum(
        value_of(amounts[asset], price)
        for asset in sorted(amounts)
        if (price := price_of(asset, state)) is not None
    )
