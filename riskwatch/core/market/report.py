"""Market readings, computed from a fit: values, deviations, causes and venues."""

from __future__ import annotations

from math import exp, sqrt
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import SECOND
from riskwatch.core.enums import Cause
from riskwatch.core.market.blame import is_prompt
from riskwatch.core.market.peg import peg_value
from riskwatch.core.market.state import BP, FeedState, LonePrice, bounded_value
from riskwatch.core.money import quantise
from riskwatch.core.readings import AssetReading, MarketReading, VenueReading

if TYPE_CHECKING:
    from riskwatch.core.market.config import MarketConfig
    from riskwatch.core.market.fit import PriceGraphFit
    from riskwatch.core.market.state import AssetState, MarketState
    from riskwatch.core.reference import Reference


# Attribution of a cause, with supporting and refuting feeds.

EXPLAINS: Final = 0.5
"""Share of a deviation, on its side, from which a feed does not refute it."""
SIGNIFICANT_SD: Final = 2.0
"""Standard deviations of a feed's noise beyond which it shows that an asset has moved."""


class ImpliedValue(msgspec.Struct, frozen=True, gc=False):
    """The value of an asset that one live feed implies, given the rest of the fit.

    Attributes
    ----------
    name, venue : str
        The feed and its venue.
    value : float
        Log value of the asset with which the feed would fit exactly.
    sd : float
        Standard deviation of that value, log units.
    prompt : bool
        Whether its price is recent enough to refute others.
    traded : float or None
        Value traded there per minute, USD; ``None`` if the feed does not state it.
    proven : bool
        Whether the feed is known for a whole day.
    """

    name: str
    venue: str
    value: float
    sd: float
    prompt: bool
    traded: float | None = None
    proven: bool = True


class CauseAttribution(msgspec.Struct, frozen=True, gc=False):
    """A cause, with the feeds that support and that refute the deviation."""

    cause: Cause
    support: list[str]
    refute: list[str]


def refutes(implied: ImpliedValue, deviation: float, config: MarketConfig) -> bool:
    """Whether a feed refutes a deviation.

    It does if it is recent, its implied value is less than half of the deviation (or on the other
    side), and the difference exceeds both `refute_bp` and `refute_sd` of its standard deviations.
    """
    if not implied.prompt:
        return False
    same = implied.value * deviation > 0.0
    if same and abs(implied.value) >= EXPLAINS * abs(deviation):
        return False
    difference = abs(implied.value - deviation)
    return difference > config.refute_bp * BP and difference > config.refute_sd * implied.sd


def outweighs(
    against: list[ImpliedValue], behind: list[ImpliedValue], config: MarketConfig
) -> bool:
    """Whether the refuting feeds trade enough to count.

    They do if the value traded there is at least `refute_share` of the value traded at the
    supporting feeds. A thin book near par is weak evidence against a deep book off par. If any of
    these feeds does not state its traded value, the refuting feeds count. So they do if they are
    proven and no supporting feed is.
    """
    if not against:
        return False
    if any(i.proven for i in against) and not any(i.proven for i in behind):
        return True
    refuting, supporting = [i.traded for i in against], [i.traded for i in behind]
    if None in refuting or None in supporting:
        return True
    return sum(t or 0.0 for t in refuting) >= config.refute_share * sum(
        t or 0.0 for t in supporting
    )


def is_off_peg(implied: ImpliedValue, config: MarketConfig) -> bool:
    """Whether a feed alone shows, beyond its noise, that the asset has left its peg."""
    return abs(implied.value) > max(config.cause_bp * BP, SIGNIFICANT_SD * implied.sd)


def supports(implied: ImpliedValue, deviation: float, config: MarketConfig) -> bool:
    """Whether a feed shows that the asset left its peg to the same side.

    The size does not matter. In a crisis thin books lag, and a venue that shows a third of the
    discount still confirms that the asset moved.
    """
    return implied.value * deviation > 0.0 and is_off_peg(implied, config)


def attribute_cause(
    deviation: float,
    implied: list[ImpliedValue],
    dislocated: frozenset[str],
    config: MarketConfig,
    *,
    established: bool = False,
) -> CauseAttribution:
    """Attribute a cause to the deviation of one pegged asset.

    Parameters
    ----------
    deviation : float
        Log deviation from the peg.
    implied : list of ImpliedValue
        Implied value of each live feed of the asset.
    dislocated : frozenset of str
        Venues that deviate in two or more distinct base assets.
    established : bool
        Whether two independent venues have agreed on this deviation since it began.

    Returns
    -------
    CauseAttribution
        ``issuer`` if two or more independent venues that are not dislocated support it, or one
        such venue once it is established; ``venue`` if all support comes from one dislocated
        venue; ``feed`` if the only feed that shows it is refuted; ``unknown`` if too few feeds
        give evidence. Refuting feeds that do not trade enough to count (:func:`outweighs`), and
        feeds that are not known for a day beside ones that are, are listed, but do not affect the
        cause.
    """
    if abs(deviation) < config.cause_bp * BP:
        return CauseAttribution(cause=Cause.NONE, support=[], refute=[])
    support = [i for i in implied if supports(i, deviation, config)]
    backing = {i.name for i in support}
    refute = [i for i in implied if i.name not in backing and refutes(i, deviation, config)]
    proven = any(i.proven for i in implied)
    behind = [i for i in support if i.proven or not proven]
    opposed = [i for i in refute if i.proven or not proven]
    sound = sorted({i.venue for i in behind if i.venue not in dislocated})
    venues = sorted({i.venue for i in behind})
    outweighed = outweighs(opposed, behind, config)
    against = sorted({i.venue for i in opposed} - set(venues)) if outweighed else []
    if (len(sound) >= 2 and len(sound) > len(against)) or (established and sound and not against):
        cause = Cause.ISSUER
    elif len(venues) == 1 and venues[0] in dislocated and against:
        cause = Cause.VENUE
    elif len(behind) <= 1 and outweighed:
        cause = Cause.FEED
    else:
        cause = Cause.UNKNOWN
    return CauseAttribution(
        cause=cause,
        support=sorted(i.name for i in support),
        refute=sorted(i.name for i in refute),
    )


UNKNOWN_SD_BP: Final = 10_000.0
"""Standard deviation of an unknown value: all of it, bp."""


class FeedsByAsset:
    """Feeds by asset: the live ones with their standard deviation, and the number expected.

    `issuers` are the feeds that state a supply; one that reports once a day need not be live.
    Of an asset that listed venues quote, these are the feeds of listed venues alone.
    """

    def __init__(
        self,
        state: MarketState,
        fit: PriceGraphFit,
        expected: list[FeedState],
        reference: Reference,
    ) -> None:
        self.live: dict[str, list[tuple[str, FeedState, float]]] = {}
        self.expected: dict[str, int] = {}
        self.venues: dict[str, dict[str, None]] = {}
        listed, reserved = reference.is_listed_venue, fit.reserved
        for key, sd in zip(fit.live, fit.edge_sd, strict=True):
            edge = state.edges[key]
            for name in (edge.base, edge.quote):
                if name not in reserved or listed(edge.venue):
                    self.live.setdefault(name, []).append((key, edge, sd))
        self.issuers: dict[str, list[FeedState]] = {}
        for edge in expected:
            if edge.issuance:
                self.issuers.setdefault(edge.base, []).append(edge)
            for name in (edge.base, edge.quote):
                if name not in reserved or listed(edge.venue):
                    self.expected[name] = self.expected.get(name, 0) + 1
                    self.venues.setdefault(name, {})[edge.venue] = None


def market_reading(
    state: MarketState, fit: PriceGraphFit, us: int, config: MarketConfig, reference: Reference
) -> MarketReading:
    """Return the market reading of a fit."""
    expected = [
        e for _, e in sorted(state.edges.items()) if (us - e.heard) / SECOND <= config.forget_s
    ]
    known = FeedsByAsset(state, fit, expected, reference)
    deviating = _deviating(state, fit, config)
    dislocated = frozenset(v for v in sorted(deviating) if _is_venue_wide(deviating[v]))
    assets = [
        _asset_reading(name, state, fit, us, known, dislocated, config, reference)
        for name in sorted(state.assets)
        if name in known.expected
    ]
    dollars = [a for a in assets if reference.asset(a.asset).peg == "USD"]
    pegged = [a for a in dollars if a.asset in fit.reserved]
    moved = [a for a in pegged if a.cause is not Cause.NONE and a.venues >= 2]
    same = {a.value_bp > 0 for a in moved}
    if len(moved) >= 3 and len(moved) == len(pegged) and len(same) == 1:
        assets = [
            msgspec.structs.replace(a, cause=Cause.MARKET) if a in moved else a for a in assets
        ]
    own: dict[str, list[tuple[FeedState, float]]] = {}
    for key, residual in zip(fit.live, fit.residual, strict=True):
        own.setdefault(state.edges[key].venue, []).append((state.edges[key], residual))
    count: dict[str, int] = {}
    for e in expected:
        count[e.venue] = count.get(e.venue, 0) + 1
    venues = [
        _venue_reading(v, count[v], own.get(v, []), deviating.get(v, []), reference, config)
        for v in sorted(count)
    ]
    return MarketReading(us=us, assets=assets, venues=venues)


def _deviating(
    state: MarketState, fit: PriceGraphFit, config: MarketConfig
) -> dict[str, list[tuple[FeedState, float]]]:
    """Return the feeds whose residual is beyond the tolerance of a venue, by venue."""
    out: dict[str, list[tuple[FeedState, float]]] = {}
    for key, residual, sd in zip(fit.live, fit.residual, fit.edge_sd, strict=True):
        if abs(residual) > max(config.venue_sd * sd, config.venue_bp * BP):
            edge = state.edges[key]
            out.setdefault(edge.venue, []).append((edge, residual))
    return out


def _is_venue_wide(edges: list[tuple[FeedState, float]]) -> bool:
    """Whether two or more distinct bases deviate and no single asset explains them all.

    Fiat does not count as such an asset: if all assets traded against it deviate to one side, the
    venue's fiat is not worth what fiat is elsewhere.
    """
    if len({e.base for e, _ in edges}) < 2:
        return False
    common = {edges[0][0].base, edges[0][0].quote}
    for edge, _ in edges:
        common &= {edge.base, edge.quote}
    if "USD" in common:
        return len({residual > 0.0 for _, residual in edges}) == 1
    return not common


def _implied(
    name: str,
    promise: float,
    fit: PriceGraphFit,
    us: int,
    live: list[tuple[str, FeedState, float]],
) -> list[ImpliedValue]:
    """Return the log value of `name` above what it promises that each of its live feeds implies."""
    out = []
    for key, e, sd in live:
        base = fit.value(e.base)
        value = (e.lp + fit.value(e.quote) if name == e.base else base - e.lp) - promise
        prompt = is_prompt(e, us)
        quantity = e.traded(us)
        traded = None if quantity is None else quantity * exp(bounded_value(base))
        proven = e.is_proven(us)
        out.append(ImpliedValue(key, e.venue, value, sd, prompt, traded, proven))
    return out


def _direct(
    name: str,
    peg: str,
    rate: float,
    live: list[tuple[str, FeedState, float]],
    implied: list[ImpliedValue],
    config: MarketConfig,
) -> float | None:
    """Return the largest confirmed deviation of a feed against the peg; else ``None``."""
    worst: float | None = None
    for key, e, _ in live:
        if e.base != name or e.quote != peg:
            continue
        confirmed = e.confirmed_price(config.confirm, rate)
        own = [i for i in implied if i.name == key]
        others = [i for i in implied if i.venue != e.venue and refutes(i, confirmed, config)]
        against = [i for i in others if i.proven or not all(mine.proven for mine in own)]
        if outweighs(against, own, config):
            continue
        if worst is None or abs(confirmed) > abs(worst):
            worst = confirmed
    return worst


_NO_CAUSE: Final = CauseAttribution(cause=Cause.NONE, support=[], refute=[])


class PegDeviation(msgspec.Struct, frozen=True, gc=False):
    """How far an asset is from what it promises, log units.

    Attributes
    ----------
    value : float
        Deviation of the fit.
    direct : float or None
        Largest confirmed deviation of a feed against the peg.
    implied : list of ImpliedValue
        Deviation that each live feed implies.
    attribution : CauseAttribution
        Why.
    is_known : bool
        Whether what it promises has a value; true of an asset that promises nothing.
    """

    value: float = 0.0
    direct: float | None = None
    implied: list[ImpliedValue] = []
    attribution: CauseAttribution = _NO_CAUSE
    is_known: bool = True

    @property
    def worst(self) -> float:
        """The deviation for decisions: the larger of the two."""
        if self.direct is not None and abs(self.direct) > abs(self.value):
            return self.direct
        return self.value


def _deviation(
    name: str,
    state: MarketState,
    fit: PriceGraphFit,
    us: int,
    live: list[tuple[str, FeedState, float]],
    dislocated: frozenset[str],
    config: MarketConfig,
    reference: Reference,
) -> PegDeviation:
    """Return how far an asset is from its peg, and why."""
    asset, asset_state = reference.asset(name), state.assets[name]
    if asset.peg is None:
        return PegDeviation()
    promise = peg_value(name, state.assets, fit, reference)
    if promise is None:
        return PegDeviation(is_known=False)
    rate = asset_state.log_rate if asset.accrues else 0.0
    implied = _implied(name, promise, fit, us, live)
    doubt = fit.doubt.get(name)
    if doubt is not None and abs(doubt) >= config.cause_bp * BP:
        feeds = sorted(i.name for i in implied)
        unknown = CauseAttribution(cause=Cause.UNKNOWN, support=feeds, refute=[])
        return PegDeviation(doubt, None, implied, unknown)
    value = bounded_value(asset_state.x) - promise
    found = PegDeviation(value, _direct(name, asset.peg, rate, live, implied, config), implied)
    if not fit.is_valued(name):
        return found
    attribution = attribute_cause(
        found.worst,
        implied if name in fit.reserved else [],
        dislocated,
        config,
        established=asset_state.established,
    )
    asset_state.established = attribution.cause is Cause.ISSUER or (
        asset_state.established and attribution.cause is not Cause.NONE
    )
    if attribution.cause is Cause.ISSUER and not reference.promises_fiat(asset):
        attribution = msgspec.structs.replace(attribution, cause=Cause.COIN)
    return msgspec.structs.replace(found, attribution=attribution)


def _asset_reading(
    name: str,
    state: MarketState,
    fit: PriceGraphFit,
    us: int,
    feeds: FeedsByAsset,
    dislocated: frozenset[str],
    config: MarketConfig,
    reference: Reference,
) -> AssetReading:
    asset_state = state.assets[name]
    known = fit.is_valued(name)
    # An asset whose value is beyond the bounds has none, and its feeds state nothing about it.
    live = feeds.live.get(name, []) if known or name not in fit.index else []
    reserved = name in fit.reserved
    last = bounded_value(asset_state.x)
    seen = _deviation(name, state, fit, us, live, dislocated, config, reference)
    spreads = [e.half_spread for _, e, _ in live if e.half_spread > 0.0]
    price = exp(_price_that_counts(asset_state, live, last, us) if known else last)
    traded = sum(e.volume * exp(bounded_value(fit.value(e.base))) for _, e, _ in live)
    return AssetReading(
        asset=name,
        price_usd=quantise(price, 10),
        value_bp=quantise((exp(seen.value) - 1.0) / BP, 4),
        direct_bp=None if seen.direct is None else quantise((exp(seen.direct) - 1.0) / BP, 4),
        deviation_bp=quantise((exp(seen.worst) - 1.0) / BP, 4),
        sd_bp=quantise(fit.sd[fit.index[name]] / BP, 4) if known else UNKNOWN_SD_BP,
        live=len(live),
        expected=feeds.expected[name],
        venues=len({e.venue for _, e, _ in live}) if reserved else 0,
        fiat_path=name in fit.fiat,
        observations=asset_state.observations,
        cause=seen.attribution.cause,
        support=seen.attribution.support,
        refute=seen.attribution.refute,
        vol_bp=quantise(sqrt(asset_state.vol_sq) / BP, 4),
        volume_usd=quantise(traded, 2),
        half_spread_bp=quantise(min(spreads) / BP, 4) if spreads else 0.0,
        dispersion_bp=_dispersion(seen.implied),
        depth_imbalance=_imbalance(name, live, fit, pools=False),
        pool_imbalance=_imbalance(name, live, fit, pools=True),
        **_issuance(feeds.issuers.get(name, []), us),
        at=[] if live else sorted(feeds.venues[name]),
        peg_known=seen.is_known,
    )


def _price_that_counts(
    asset: AssetState, live: list[tuple[str, FeedState, float]], x: float, us: int
) -> float:
    """Return the log price for what we hold: a jump that one feed alone states waits."""
    if asset.price is None:
        asset.price = LonePrice(x)
    elif live:
        asset.price.observe(x, us, live[0][1].n, alone=len(live) == 1)
    return asset.price.x


def _dispersion(implied: list[ImpliedValue]) -> float | None:
    """Return the distance between the values that the venues of an asset imply, bp."""
    values = [i.value for i in implied]
    if len({i.venue for i in implied}) < 2:
        return None
    return quantise((max(values) - min(values)) / BP, 4)


def _imbalance(
    name: str, live: list[tuple[str, FeedState, float]], fit: PriceGraphFit, *, pools: bool
) -> float | None:
    """Return the imbalance of the books of an asset, or of its pools, weighted by their size.

    Each market of another fiat or pegged asset counts for one side of it, so its sign turns.
    """
    total = weighted = 0.0
    for _, e, _ in live:
        share = e.imbalance()
        if share is None or e.bar is not pools:
            continue
        size = (e.bid_size + e.ask_size) * exp(bounded_value(fit.value(e.base)))
        total += size
        weighted += size * (share if e.base == name else -share)
    return quantise(weighted / total, 4) if total > 0.0 else None


def _issuance(issuers: list[FeedState], us: int) -> dict[str, float | None]:
    """Return what the feeds of an asset say about its supply; the worst of them counts."""
    found = [e.redemption(us) for e in issuers]
    gone = [share for share, _ in found if share is not None]
    redeemed = [share for _, share in found if share is not None]
    return {
        "supply_drop_share": quantise(max(gone), 4) if gone else None,
        "redeemed_share": quantise(max(redeemed), 4) if redeemed else None,
    }


def _venue_reading(
    venue: str,
    expected: int,
    live: list[tuple[FeedState, float]],
    deviating: list[tuple[FeedState, float]],
    reference: Reference,
    config: MarketConfig,
) -> VenueReading:
    sizes = sorted(abs(r) for _, r in deviating)
    wide = bool(deviating) and _is_venue_wide(deviating)
    local: list[tuple[str, float, int]] = []
    for asset in sorted({n for e, _ in deviating for n in (e.base, e.quote)}):
        if not reference.asset(asset).peg:
            continue
        own = [(e, r) for e, r in live if asset in (e.base, e.quote)]
        signed = [r if e.base == asset else -r for e, r in own]
        if min(signed) > 0.0 or max(signed) < 0.0:
            gap = min(signed, key=abs)
            if abs(gap) > config.venue_bp * BP:
                local.append((asset, quantise(gap / BP, 4), sum(e.n for e, _ in own)))
    return VenueReading(
        venue=venue,
        dislocation_bp=quantise(sizes[len(sizes) // 2] / BP, 4) if wide else 0.0,
        bases=len({e.base for e, _ in deviating}),
        live=len(live),
        expected=expected,
        local=local,
    )
