"""What is known of each scope, as named numbers: the inputs of rules and models.

A name that is absent is not known, which is not zero. Numbers are quantised, so that two
processors compare the same ones. Units are in the names (``_bp``, ``_s``, ``_usd``); ``_share``
and ``_ratio`` are plain numbers, ``_weight`` is how much the sources of credit news weigh (1 is
enough to believe it).
"""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import DAY, MINUTE, SECOND
from riskwatch.core.enums import Quality, State
from riskwatch.core.money import quantise
from riskwatch.core.risk.baseline import Baseline
from riskwatch.core.risk.credit import credit_rating, latest_attestation, named_parts, news_weight
from riskwatch.core.risk.credit_loss import FAILURE_KINDS
from riskwatch.core.risk.exposure import (
    BORROWED_COMPONENT,
    OPEN_ORDER_COMPONENT,
    price_of,
    value_of,
)

if TYPE_CHECKING:
    from decimal import Decimal

    from riskwatch.core.reference import Reference
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.state import AssetRow, CreditRow, PartyRow, RiskState, VenueRow


TRAIL_STEP: Final = 5 * MINUTE
"""Distance of the marks of an asset's trail."""
TRAIL_LENGTH: Final = 13
"""Marks that are kept: one hour."""

READING_MAX_AGE: Final = 15 * MINUTE
"""A reading is the present for this long; the market stage reports every five minutes."""

Features = dict[str, float]


def record_trail(row: AssetRow, us: int) -> None:
    """Note the deviation at each five-minute mark; the last hour of them is kept."""
    if row.trail and us // TRAIL_STEP == row.trail[-1][0] // TRAIL_STEP:
        return
    row.trail = [*row.trail[-(TRAIL_LENGTH - 1) :], (us, row.reading.deviation_bp)]


def is_live(row: AssetRow | None, us: int) -> bool:
    """Whether some feed of an asset is alive, by a reading that is not old itself."""
    return row is not None and row.reading.live > 0 and us - row.us <= READING_MAX_AGE


def asset_quality(row: AssetRow, us: int, config: RiskConfig) -> Quality:
    """How far an asset's value can be trusted."""
    if not is_live(row, us):
        return Quality.UNKNOWN
    seen = row.reading
    thin = seen.live < config.coverage_good * seen.expected
    if thin or not seen.fiat_path or seen.sd_bp >= config.sd_stale_bp:
        return Quality.STALE
    return Quality.GOOD


def venue_quality(row: VenueRow | None, us: int, config: RiskConfig) -> Quality:
    """How far a venue's prices can be trusted; one that quotes nothing has nothing to trust."""
    if row is None or row.expected == 0:
        return Quality.GOOD
    if row.live == 0 or us - row.us > READING_MAX_AGE:
        return Quality.UNKNOWN
    return Quality.STALE if row.live < config.coverage_good * row.expected else Quality.GOOD


def asset_features(
    state: RiskState,
    name: str,
    us: int,
    worst: list[tuple[float, str]],
    config: RiskConfig,
    reference: Reference,
) -> Features:
    """Features of ``asset:<name>``.

    Parameters
    ----------
    state : RiskState
        Readings and news.
    name : str
        The asset.
    us : int
        Event time, microseconds.
    worst : list of (float, str)
        Discounts of all pegged assets in bp with their names, the largest first.
    config : RiskConfig
        Weights of sources.
    reference : Reference
        Pegs and issuers.
    """
    out: Features = {}
    row, known = state.assets.get(name), reference.asset(name)
    if row is not None and known.peg is not None and is_live(row, us):
        seen = row.reading
        now = seen.deviation_bp
        peers = [bp for bp, other in worst[:2] if other != name]
        out = {
            # Readings are quantised already, and so is what is merely cut off.
            "deviation_bp": now,
            "discount_bp": max(0.0, -now),
            "premium_bp": max(0.0, now),
            "sd_bp": seen.sd_bp,
            "vol_bp": seen.vol_bp,
            "velocity_bp": quantise(_back(row, 1) - now),
            "drift_bp": quantise(_back(row, TRAIL_LENGTH - 1) - now),
            "missing_share": quantise(1.0 - seen.live / max(1, seen.expected)),
            "breadth": float(len({f.partition(":")[0]: None for f in seen.support})),
            "refuted": float(len(seen.refute)),
            "peer_bp": peers[0] if peers else 0.0,
        }
        if row.base is not None:
            out |= _bleed(row.base, config)
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
    return out


def _bleed(base: Baseline, config: RiskConfig) -> Features:
    """How far a coin's level has sunk below where it usually is, whatever it does by the hour."""
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
    """Take what was just seen of a pegged coin into its baseline; `state` is that of its scope."""
    bp, base = row.reading.deviation_bp, config.baseline
    if row.base is None:
        # Before anything is known a coin is usually at par, and strays as it is said to.
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
    """Features of ``venue-asset:<venue>/<asset>``: how far the price here has left all others."""
    if row.live == 0 or us - row.us > READING_MAX_AGE:
        return {}
    local = row.local.get(asset)
    gap = 0.0 if local is None else local.bp
    return {
        "local_bp": gap,
        "local_discount_bp": max(0.0, -gap),
        "local_premium_bp": max(0.0, gap),
    }


def _back(row: AssetRow, marks: int) -> float:
    """Deviation so many marks ago; the oldest that is known if the trail is shorter."""
    trail = row.trail
    if not trail:
        return row.reading.deviation_bp
    return trail[max(0, len(trail) - 1 - marks)][1]


# What is known of each counterparty, as named numbers; see :mod:`.features`.
#
# A name that is absent is not known. A venue whose token was never priced has no drawdown, one that
# nobody rated no default probability, one that never published its reserves no age of them.

PEAK_HALF_LIFE_S: Final = 604_800.0
"""The peak that a token's drawdown is counted from sinks with this half-life, seconds."""
BASELINE_MAX_GAP_S: Final = 86_400.0
"""A usual withdrawal time stands for as long as no other is reported, at most, seconds."""
BASELINE_START_SD: Final = 0.5
"""Standard deviation of a venue's usual withdrawal time before it is known, doublings."""
_NEWS: Final = (
    ("failed_weight", FAILURE_KINDS),
    ("hacked_weight", ("hack",)),
    ("suspended_weight", ("withdrawals_suspended",)),
    ("deposits_suspended_weight", ("deposits_suspended",)),
    ("regulatory_weight", ("regulatory_action",)),
)


def counterparty_features(
    state: RiskState, name: str, us: int, config: RiskConfig, reference: Reference
) -> Features:
    """Features of ``counterparty:<name>``: its prices, its withdrawals, the news about it."""
    out: Features = {}
    venue, party, news = state.venues.get(name), state.parties.get(name), state.credit.get(name)
    if venue is not None and venue.live > 0 and us - venue.us <= READING_MAX_AGE:
        out["dislocation_bp"] = venue.dislocation_bp
    if party is not None:
        out |= _flow(party, us, config)
        out |= _velocity(party, state)
    for feature, kinds in _NEWS:
        out[feature] = quantise(news_weight(news, kinds, config))
    out["suspended_parts"] = float(len(named_parts(news, "withdrawals_suspended")))
    return out | _standing(state, name, news, us, reference)


def has_business(party: PartyRow | None, state: RiskState, config: RiskConfig) -> bool:
    """Whether we have anything there whose way out could be seen to be shut.

    What has no price counts; dust does not.
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
    """Take the usual withdrawal time into its baseline; `state` is that of the scope.

    Returns whether there was anything to take in.
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
    """Let the peak of a price sink since `before_us`, and rise to what is seen now."""
    if row.price is None:
        return
    passed = max(0, row.us - before_us) / SECOND
    sunk = (row.peak or 0.0) * float(2.0 ** (-passed / PEAK_HALF_LIFE_S))
    row.peak = max(row.price, sunk)


def _flow(party: PartyRow, us: int, config: RiskConfig) -> Features:
    flow, out = party.flow, Features()
    usual = config.baseline_default_s
    if party.base is not None:
        usual = max(float(2.0**party.base.location), config.baseline_min_s)
        now = max(flow.withdrawal_baseline_s, config.baseline_min_s)
        out["withdrawal_slow_ratio"] = quantise(now / usual)
    # The reading is from the ledger's last tick; what waits has gone on waiting since.
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


def _velocity(party: PartyRow, state: RiskState) -> Features:
    """Share of what we had there that left within a day, by today's prices."""
    left = _worth(party.flow.outflow_24h, state)
    there = sum(
        max(0.0, value_of(h.amount, price))
        for h in party.holdings
        if h.component not in (BORROWED_COMPONENT, OPEN_ORDER_COMPONENT)
        and (price := price_of(h.asset, state)) is not None
    )
    if left + there <= 0.0:
        return {}
    return {"outflow_share": quantise(left / (left + there))}


def _standing(
    state: RiskState, name: str, news: CreditRow | None, us: int, reference: Reference
) -> Features:
    """What the market and others think of it: token, reserves, rating."""
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
    grade = credit_rating(name, news, reference)
    if grade != "unrated":
        out["rating_pd"] = quantise(reference.pd_by_rating[grade])
    return out


def _worth(amounts: dict[str, Decimal], state: RiskState) -> float:
    """Dollars of amounts by asset; what has no price is left out."""
    return sum(
        value_of(amounts[asset], price)
        for asset in sorted(amounts)
        if (price := price_of(asset, state)) is not None
    )
