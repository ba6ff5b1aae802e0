"""From a fit to a market reading: values, deviations, causes, venues."""

from __future__ import annotations

from math import exp, sqrt
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import SECOND
from riskwatch.core.market.cause import Implied, Verdict, judge, outweighs, refutes
from riskwatch.core.market.edges import BP, Edge
from riskwatch.core.money import quantise
from riskwatch.core.readings import AssetReading, MarketReading, VenueReading
from riskwatch.core.reasons import Cause

if TYPE_CHECKING:
    from riskwatch.core.market.config import MarketConfig
    from riskwatch.core.market.state import MarketState
    from riskwatch.core.reference import Reference

PROMPT_GAPS: Final = 2.0
"""Usual gaps within which a price is recent enough to contradict others."""
PROMPT_S: Final = 120.0
"""But within at least this long, seconds."""
UNKNOWN_SD_BP: Final = 10_000.0
"""Standard deviation of a value that nothing is known of: all of it, bp."""


class Fit(msgspec.Struct, frozen=True, gc=False):
    """One solution of the graph, aligned with `live` (feeds) and `index` (assets)."""

    live: list[str]
    index: dict[str, int]
    x: list[float]
    sd: list[float]
    share: list[float]
    residual: list[float]
    edge_sd: list[float]
    fiat: frozenset[str]

    def value(self, asset: str) -> float:
        """Log value of an asset; fiat is 0."""
        i = self.index.get(asset, -1)
        return self.x[i] if i >= 0 else 0.0


class Touching:
    """Feeds by asset: live ones with their standard deviation, and how many are expected."""

    def __init__(self, state: MarketState, fit: Fit, expected: list[Edge]) -> None:
        self.live: dict[str, list[tuple[str, Edge, float]]] = {}
        self.expected: dict[str, int] = {}
        for key, sd in zip(fit.live, fit.edge_sd, strict=True):
            edge = state.edges[key]
            for name in (edge.base, edge.quote):
                self.live.setdefault(name, []).append((key, edge, sd))
        for edge in expected:
            for name in (edge.base, edge.quote):
                self.expected[name] = self.expected.get(name, 0) + 1


class Local(msgspec.Struct, frozen=True, gc=False):
    """What one venue's own feeds imply of one asset, against the consensus, log units."""

    venue: str
    asset: str
    difference: float


def report(
    state: MarketState, fit: Fit, us: int, config: MarketConfig, reference: Reference
) -> MarketReading:
    """Market reading of a fit."""
    expected = [
        e for _, e in sorted(state.edges.items()) if (us - e.heard) / SECOND <= config.forget_s
    ]
    known = Touching(state, fit, expected)
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
    state: MarketState, fit: Fit, config: MarketConfig
) -> dict[str, list[tuple[Edge, float]]]:
    """Feeds whose residual is beyond their venue's tolerance, by venue."""
    out: dict[str, list[tuple[Edge, float]]] = {}
    for key, residual, sd in zip(fit.live, fit.residual, fit.edge_sd, strict=True):
        if abs(residual) > max(config.venue_sd * sd, config.venue_bp * BP):
            edge = state.edges[key]
            out.setdefault(edge.venue, []).append((edge, residual))
    return out


def _is_venue_wide(edges: list[tuple[Edge, float]]) -> bool:
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


def _implied(name: str, fit: Fit, us: int, live: list[tuple[str, Edge, float]]) -> list[Implied]:
    """What every live feed of `name` implies of its log value."""
    out = []
    for key, e, sd in live:
        base = fit.value(e.base)
        value = e.lp + fit.value(e.quote) if name == e.base else base - e.lp
        prompt = (us - e.fresh) / SECOND <= max(PROMPT_GAPS * e.gap_s, PROMPT_S)
        traded = e.volume * exp(base) if e.volume > 0.0 else None
        out.append(Implied(key, e.venue, value, sd, prompt, traded))
    return out


def _direct(
    name: str, live: list[tuple[str, Edge, float]], implied: list[Implied], config: MarketConfig
) -> float | None:
    """Worst confirmed deviation by a direct fiat feed, log units; None if there is none."""
    worst: float | None = None
    for key, e, _ in live:
        if e.base != name or e.quote != "USD":
            continue
        held = e.confirmed(config.confirm)
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
    fit: Fit,
    us: int,
    touching: Touching,
    dislocated: frozenset[str],
    config: MarketConfig,
    reference: Reference,
) -> AssetReading:
    memory = state.assets[name]
    pegged = reference.asset(name).peg == "USD"
    known = name in fit.index
    live = touching.live.get(name, [])
    implied = _implied(name, fit, us, live) if pegged else []
    value = memory.x if pegged else 0.0
    direct = _direct(name, live, implied, config) if pegged else None
    decide = value
    if direct is not None and abs(direct) > abs(value):
        decide = direct
    verdict = Verdict(cause=Cause.NONE, support=[], refute=[])
    if pegged and known:
        verdict = judge(decide, implied, dislocated, config, established=memory.established)
        memory.established = verdict.cause is Cause.ISSUER or (
            memory.established and verdict.cause is not Cause.NONE
        )
    spreads = [e.half_spread for _, e, _ in live if e.half_spread > 0.0]
    price = exp(memory.x)
    traded = sum(e.volume * exp(fit.value(e.base)) for _, e, _ in live)
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
    fit: Fit,
    expected: list[Edge],
    deviating: list[tuple[Edge, float]],
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
