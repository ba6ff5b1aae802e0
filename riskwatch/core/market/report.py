"""From a fit to a market reading: values, deviations, causes, venues."""

from __future__ import annotations

from math import exp, sqrt
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import SECOND
from riskwatch.core.enums import Cause
from riskwatch.core.market.state import BP, GraphEdge, bounded_value
from riskwatch.core.money import quantise
from riskwatch.core.readings import AssetReading, MarketReading, VenueReading

if TYPE_CHECKING:
    from riskwatch.core.market.config import MarketConfig
    from riskwatch.core.market.state import MarketState
    from riskwatch.core.reference import Reference


# What moved, and who says so: from implied values to a cause with support and refutation.

EXPLAINS: Final = 0.5
"""Share of a deviation, on its side, from which a feed does not contradict it."""
SIGNIFICANT_SD: Final = 2.0
"""Standard deviations of a feed's own noise beyond which it says that an asset has moved."""


class ImpliedValue(msgspec.Struct, frozen=True, gc=False):
    """What one live edge says an asset is worth, given everything else.

    Attributes
    ----------
    name, venue : str
        The feed.
    value : float
        Log value of the asset that would make the edge fit exactly.
    sd : float
        Standard deviation of that statement, log units.
    prompt : bool
        Whether it is recent enough to contradict others.
    traded : float or None
        Value traded there per minute, USD; ``None`` if the feed does not say.
    """

    name: str
    venue: str
    value: float
    sd: float
    prompt: bool
    traded: float | None = None


class CauseAttribution(msgspec.Struct, frozen=True, gc=False):
    """A cause with the feeds that agree and that contradict."""

    cause: Cause
    support: list[str]
    refute: list[str]


def refutes(implied: ImpliedValue, deviation: float, config: MarketConfig) -> bool:
    """Whether a feed contradicts a deviation, by numbers.

    It does when what it implies is less than half of the deviation (or on the other side), the
    difference exceeds both `refute_bp` and `refute_sd` of its standard deviations, and it is
    recent.
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
    """Whether those who contradict trade enough to be heard.

    They do when the value traded there is at least `refute_share` of the value traded where the
    deviation is seen. A thin book near par says little while the deep one next to it is leaving;
    where somebody does not state what is traded, each counts in full.
    """
    if not against:
        return False
    theirs, ours = [i.traded for i in against], [i.traded for i in behind]
    if None in theirs or None in ours:
        return True
    return sum(t or 0.0 for t in theirs) >= config.refute_share * sum(t or 0.0 for t in ours)


def is_off_peg(implied: ImpliedValue, config: MarketConfig) -> bool:
    """Whether a feed by itself says that the asset has left its peg, beyond its noise."""
    return abs(implied.value) > max(config.cause_bp * BP, SIGNIFICANT_SD * implied.sd)


def supports(implied: ImpliedValue, deviation: float, config: MarketConfig) -> bool:
    """Whether a feed says that the asset left its peg to the same side.

    How far is not the question here: in a crisis thin books lag, and a venue that shows a
    third of the discount still confirms that the coin moved.
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
    """Cause of one pegged asset's deviation.

    Parameters
    ----------
    deviation : float
        Log deviation from the peg to be explained.
    implied : list of Implied
        What each live feed of the asset says.
    dislocated : frozenset of str
        Venues that deviate over two or more distinct base assets.
    established : bool
        Whether two independent venues have agreed on this deviation since it began.

    Returns
    -------
    Verdict
        ``issuer`` with support from two or more independent venues that are not dislocated
        themselves, or from one once it was established; ``venue`` when all support comes from
        one dislocated venue; ``feed`` when the only feed that shows it is refuted; ``unknown``
        where too few feeds can say. Who refutes without trading enough to be heard
        (:func:`outweighs`) is listed, and decides nothing.
    """
    if abs(deviation) < config.cause_bp * BP:
        return CauseAttribution(cause=Cause.NONE, support=[], refute=[])
    support = [i for i in implied if supports(i, deviation, config)]
    backing = {i.name for i in support}
    refute = [i for i in implied if i.name not in backing and refutes(i, deviation, config)]
    sound = sorted({i.venue for i in support if i.venue not in dislocated})
    venues = sorted({i.venue for i in support})
    heard = outweighs(refute, support, config)
    against = sorted({i.venue for i in refute} - set(venues)) if heard else []
    if (len(sound) >= 2 and len(sound) > len(against)) or (established and sound and not against):
        cause = Cause.ISSUER
    elif len(venues) == 1 and venues[0] in dislocated and against:
        cause = Cause.VENUE
    elif len(support) <= 1 and heard:
        cause = Cause.FEED
    else:
        cause = Cause.UNKNOWN
    return CauseAttribution(
        cause=cause,
        support=sorted(i.name for i in support),
        refute=sorted(i.name for i in refute),
    )


PROMPT_GAPS: Final = 2.0
"""Usual gaps within which a price is recent enough to contradict others."""
PROMPT_S: Final = 120.0
"""But within at least this long, seconds."""
UNKNOWN_SD_BP: Final = 10_000.0
"""Standard deviation of a value that nothing is known of: all of it, bp."""


class PriceGraphFit(msgspec.Struct, frozen=True, gc=False):
    """One solution of the graph, aligned with `live` (feeds) and `index` (assets).

    `refused` are feeds that are alive and whose price is not possible, so they are not in the fit.
    """

    live: list[str]
    index: dict[str, int]
    x: list[float]
    sd: list[float]
    share: list[float]
    residual: list[float]
    edge_sd: list[float]
    fiat: frozenset[str]
    refused: list[str] = []

    def value(self, asset: str) -> float:
        """Log value of an asset; fiat is 0."""
        i = self.index.get(asset, -1)
        return self.x[i] if i >= 0 else 0.0

    def is_valued(self, asset: str) -> bool:
        """Whether the graph gives an asset a value within the range of values."""
        i = self.index.get(asset, -1)
        return i >= 0 and bounded_value(self.x[i]) == self.x[i]


class FeedsByAsset:
    """Feeds by asset: live ones with their standard deviation, and how many are expected."""

    def __init__(self, state: MarketState, fit: PriceGraphFit, expected: list[GraphEdge]) -> None:
        self.live: dict[str, list[tuple[str, GraphEdge, float]]] = {}
        self.expected: dict[str, int] = {}
        for key, sd in zip(fit.live, fit.edge_sd, strict=True):
            edge = state.edges[key]
            for name in (edge.base, edge.quote):
                self.live.setdefault(name, []).append((key, edge, sd))
        for edge in expected:
            for name in (edge.base, edge.quote):
                self.expected[name] = self.expected.get(name, 0) + 1


class LocalPrice(msgspec.Struct, frozen=True, gc=False):
    """What one venue's own feeds imply of one asset, against the consensus, log units."""

    venue: str
    asset: str
    difference: float


def market_reading(
    state: MarketState, fit: PriceGraphFit, us: int, config: MarketConfig, reference: Reference
) -> MarketReading:
    """Market reading of a fit."""
    expected = [
        e for _, e in sorted(state.edges.items()) if (us - e.heard) / SECOND <= config.forget_s
    ]
    known = FeedsByAsset(state, fit, expected)
    deviating = _deviating(state, fit, config)
    dislocated = frozenset(v for v in sorted(deviating) if _is_venue_wide(deviating[v]))
    assets = [
        _asset(name, state, fit, us, known, dislocated, config, reference)
        for name in sorted(state.assets)
        if name in known.expected
    ]
    pegged = [a for a in assets if reference.asset(a.asset).peg]
    moved = [a for a in pegged if a.cause is not Cause.NONE and a.venues >= 2]
    same = {a.value_bp > 0 for a in moved}
    if len(moved) >= 3 and len(moved) == len(pegged) and len(same) == 1:
        assets = [
            msgspec.structs.replace(a, cause=Cause.MARKET) if a in moved else a for a in assets
        ]
    venues = [
        _venue(v, state, fit, expected, deviating.get(v, []), reference, config)
        for v in sorted({e.venue for e in expected})
    ]
    return MarketReading(us=us, assets=assets, venues=venues)


def _deviating(
    state: MarketState, fit: PriceGraphFit, config: MarketConfig
) -> dict[str, list[tuple[GraphEdge, float]]]:
    """Feeds whose residual is beyond their venue's tolerance, by venue."""
    out: dict[str, list[tuple[GraphEdge, float]]] = {}
    for key, residual, sd in zip(fit.live, fit.residual, fit.edge_sd, strict=True):
        if abs(residual) > max(config.venue_sd * sd, config.venue_bp * BP):
            edge = state.edges[key]
            out.setdefault(edge.venue, []).append((edge, residual))
    return out


def _is_venue_wide(edges: list[tuple[GraphEdge, float]]) -> bool:
    """Two or more distinct bases deviate, and no one asset explains them all.

    Fiat is no such asset: where everything that trades against it stands off to one side, it is
    the venue's fiat that is not worth what fiat is elsewhere.
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
    name: str, fit: PriceGraphFit, us: int, live: list[tuple[str, GraphEdge, float]]
) -> list[ImpliedValue]:
    """What every live feed of `name` implies of its log value."""
    out = []
    for key, e, sd in live:
        base = fit.value(e.base)
        value = e.lp + fit.value(e.quote) if name == e.base else base - e.lp
        prompt = (us - e.fresh) / SECOND <= max(PROMPT_GAPS * e.gap_s, PROMPT_S)
        traded = e.volume * exp(bounded_value(base)) if e.volume > 0.0 else None
        out.append(ImpliedValue(key, e.venue, value, sd, prompt, traded))
    return out


def _direct(
    name: str,
    live: list[tuple[str, GraphEdge, float]],
    implied: list[ImpliedValue],
    config: MarketConfig,
) -> float | None:
    """Worst confirmed deviation by a direct fiat feed, log units; None if there is none."""
    worst: float | None = None
    for key, e, _ in live:
        if e.base != name or e.quote != "USD":
            continue
        held = e.confirmed_price(config.confirm)
        own = [i for i in implied if i.name == key]
        against = [i for i in implied if i.venue != e.venue and refutes(i, held, config)]
        if outweighs(against, own, config):
            continue
        if worst is None or abs(held) > abs(worst):
            worst = held
    return worst


def _asset(
    name: str,
    state: MarketState,
    fit: PriceGraphFit,
    us: int,
    touching: FeedsByAsset,
    dislocated: frozenset[str],
    config: MarketConfig,
    reference: Reference,
) -> AssetReading:
    memory = state.assets[name]
    pegged = reference.asset(name).peg == "USD"
    known = fit.is_valued(name)
    # A value beyond its range is none: for this asset, its feeds say nothing.
    live = touching.live.get(name, []) if known or name not in fit.index else []
    implied = _implied(name, fit, us, live) if pegged else []
    last = bounded_value(memory.x)
    value = last if pegged else 0.0
    direct = _direct(name, live, implied, config) if pegged else None
    decide = value
    if direct is not None and abs(direct) > abs(value):
        decide = direct
    verdict = CauseAttribution(cause=Cause.NONE, support=[], refute=[])
    if pegged and known:
        verdict = attribute_cause(
            decide, implied, dislocated, config, established=memory.established
        )
        memory.established = verdict.cause is Cause.ISSUER or (
            memory.established and verdict.cause is not Cause.NONE
        )
    spreads = [e.half_spread for _, e, _ in live if e.half_spread > 0.0]
    price = exp(last)
    traded = sum(e.volume * exp(bounded_value(fit.value(e.base))) for _, e, _ in live)
    return AssetReading(
        asset=name,
        price_usd=quantise(price, 10),
        value_bp=quantise((exp(value) - 1.0) / BP, 4),
        direct_bp=None if direct is None else quantise((exp(direct) - 1.0) / BP, 4),
        deviation_bp=quantise((exp(decide) - 1.0) / BP, 4),
        sd_bp=quantise(fit.sd[fit.index[name]] / BP, 4) if known else UNKNOWN_SD_BP,
        live=len(live),
        expected=touching.expected[name],
        venues=len({e.venue for _, e, _ in live}),
        fiat_path=name in fit.fiat,
        observations=memory.observations,
        cause=verdict.cause,
        support=verdict.support,
        refute=verdict.refute,
        vol_bp=quantise(sqrt(memory.vol_sq) / BP, 4),
        volume_usd=quantise(traded, 2),
        half_spread_bp=quantise(min(spreads) / BP, 4) if spreads else 0.0,
    )


def _venue(
    venue: str,
    state: MarketState,
    fit: PriceGraphFit,
    expected: list[GraphEdge],
    deviating: list[tuple[GraphEdge, float]],
    reference: Reference,
    config: MarketConfig,
) -> VenueReading:
    sizes = sorted(abs(r) for _, r in deviating)
    wide = bool(deviating) and _is_venue_wide(deviating)
    local: list[tuple[str, float, int]] = []
    for asset in sorted({n for e, _ in deviating for n in (e.base, e.quote)}):
        if not reference.asset(asset).peg:
            continue
        own = [
            (state.edges[k], r)
            for k, r in zip(fit.live, fit.residual, strict=True)
            if state.edges[k].venue == venue
            and asset in (state.edges[k].base, state.edges[k].quote)
        ]
        signed = [r if e.base == asset else -r for e, r in own]
        if min(signed) > 0.0 or max(signed) < 0.0:
            gap = min(signed, key=abs)
            if abs(gap) > config.venue_bp * BP:
                local.append((asset, quantise(gap / BP, 4), sum(e.n for e, _ in own)))
    return VenueReading(
        venue=venue,
        dislocation_bp=quantise(sizes[len(sizes) // 2] / BP, 4) if wide else 0.0,
        bases=len({e.base for e, _ in deviating}),
        live=sum(1 for k in fit.live if state.edges[k].venue == venue),
        expected=sum(1 for e in expected if e.venue == venue),
        local=local,
    )
