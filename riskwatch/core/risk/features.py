"""What is known of each scope, as named numbers: the inputs of rules and models.

A name that is absent is not known, which is not zero. Numbers are quantised, so that two
processors compare the same ones. Units are in the names (``_bp``, ``_s``, ``_usd``); ``_share``
and ``_ratio`` are plain numbers, ``_weight`` is how much the sources of credit news weigh (1 is
enough to believe it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import MINUTE
from riskwatch.core.money import quantise
from riskwatch.core.reasons import Quality, State
from riskwatch.core.risk.assess import FAILED
from riskwatch.core.risk.baseline import Baseline
from riskwatch.core.risk.credit import weight

if TYPE_CHECKING:
    from riskwatch.core.reference import Reference
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.rows import AssetRow, VenueRow
    from riskwatch.core.risk.state import RiskState

MARK: Final = 5 * MINUTE
"""Distance of the marks of an asset's trail."""
MARKS: Final = 13
"""Marks that are kept: one hour."""

OLD: Final = 15 * MINUTE
"""A reading is the present for this long; the market stage reports every five minutes."""

Features = dict[str, float]


def leave_trail(row: AssetRow, us: int) -> None:
    """Note the deviation at each five-minute mark; the last hour of them is kept."""
    if row.trail and us // MARK == row.trail[-1][0] // MARK:
        return
    row.trail = [*row.trail[-(MARKS - 1) :], (us, row.reading.deviation_bp)]


def heard(row: AssetRow | None, us: int) -> bool:
    """Whether some feed of an asset is alive, by a reading that is not old itself."""
    return row is not None and row.reading.live > 0 and us - row.us <= OLD


def asset_quality(row: AssetRow, us: int, config: RiskConfig) -> Quality:
    """How far an asset's value can be trusted."""
    if not heard(row, us):
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
    if row.live == 0 or us - row.us > OLD:
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
    if row is not None and known.peg is not None and heard(row, us):
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
            "drift_bp": quantise(_back(row, MARKS - 1) - now),
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
            out["issuer_failed_weight"] = quantise(weight(news, FAILED, config))
            out["issuer_hacked_weight"] = quantise(weight(news, ("hack",), config))
        failed = sum(
            b.share * min(1.0, weight(state.credit.get(b.holder), FAILED, config))
            for b in reference.party(known.issuer).backing
        )
        out["backing_failed_share"] = quantise(failed)
    return out


def _bleed(base: Baseline, config: RiskConfig) -> Features:
    """How far a coin's level has sunk below where it usually is, whatever it does by the hour."""
    sunk = max(0.0, base.location - base.level)
    usual = max(config.baseline.bleed_bp, config.baseline.bleed_scales * base.in_force())
    return {
        "below_usual_bp": quantise(sunk),
        "usual_sd_bp": quantise(base.scale),
        "bleed_ratio": quantise(sunk / usual),
    }


def note_asset(
    row: AssetRow, name: str, state: State, config: RiskConfig, reference: Reference
) -> None:
    """Take what was just seen of a pegged coin into its baseline; `state` is that of its scope."""
    bp, base = row.reading.deviation_bp, config.baseline
    if row.base is None:
        # Before anything is known a coin is usually at par, and strays as it is said to.
        row.base = Baseline(row.us, 0.0, 0.0, reference.asset(name).prior_bp)
    row.base.see(
        bp,
        row.us,
        base,
        half_life_s=base.location_half_life_s,
        alarmed=state is not State.NORMAL,
        bound=base.par_bp,
    )


def venue_asset_features(row: VenueRow, asset: str, us: int) -> Features:
    """Features of ``venue-asset:<venue>/<asset>``: how far the price here has left all others."""
    if row.live == 0 or us - row.us > OLD:
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
