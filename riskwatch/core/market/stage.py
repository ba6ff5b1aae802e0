"""The market stage: quotes and pegs in, a market reading at every tick after new messages."""

from __future__ import annotations

from math import exp, sqrt
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import MINUTE, SECOND, micros
from riskwatch.core.enums import QualityIssue, RejectReason
from riskwatch.core.events import Peg, Quote, Tick, identity
from riskwatch.core.market.admission import UNLISTED_SHARE, FeedTable
from riskwatch.core.market.blame import (
    Anchor,
    feed_to_blame,
    plausible_shifts,
    worst_case,
)
from riskwatch.core.market.fit import PriceGraphFit
from riskwatch.core.market.peg import observe_rate, peg_value, rate_problem
from riskwatch.core.market.quality import feed_issues
from riskwatch.core.market.report import market_reading
from riskwatch.core.market.solve import GraphPrior, LayeredFit, Observation, components, residuals
from riskwatch.core.market.state import (
    BP,
    LN2,
    AssetState,
    FeedState,
    MarketState,
    OpenIssue,
    bounded_value,
    is_possible_price,
    log_price,
    new_feed,
)
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved, EventRejected, Origin
from riskwatch.core.readings import MarketReading

if TYPE_CHECKING:
    from decimal import Decimal

    from riskwatch.core.market.config import MarketConfig
    from riskwatch.core.reference import Reference

MarketOutput = EventRejected | DataQualityRaised | DataQualityResolved | MarketReading

REPORT_EVERY: Final = 5 * MINUTE
"""Longest time between two readings while no messages arrive, so that staleness is reported."""
PEGGED_VOL_SQ: Final = (1.0 * BP) ** 2
"""Initial variance of a pegged asset's log price per minute: 1 bp squared."""
VOL_STEP_CLIP: Final = 100.0
"""One step counts for at most this multiple of the variance: a jump is no new volatility."""
VOL_FLOOR_SQ: Final = PEGGED_VOL_SQ / 100.0
"""Smallest variance per minute: a tenth of a basis point squared, so that a calm asset can move."""
NAMED_WRITERS: Final = 64
"""Number of writers that alerts about a full table name; others are told of together."""
PRICED_VENUES: Final = 2
"""Number of independent venues from which an asset's value needs no prior."""
MINUTES_A_YEAR: Final = 525_600.0


class MarketStage:
    """Computes values, residuals, causes and feed quality from prices.

    Parameters
    ----------
    config : MarketConfig
        Settings of the stage.
    reference : Reference
        Pegs of assets, among others.
    """

    name = "market"

    def __init__(self, config: MarketConfig, reference: Reference) -> None:
        self.config = config
        self.reference = reference
        self._table = FeedTable(reference, config.max_feeds)

    def step(self, state: MarketState, event: Quote | Peg | Tick) -> list[MarketOutput]:
        """Apply one event; a tick solves the graph if a message arrived since the last tick."""
        if isinstance(event, Tick):
            return self._tick(state, event.us)
        if isinstance(event, Peg) and event.rate is not None:
            refused = self._observe_rate(state, event)
            if event.price is None:
                return refused
        return self._observe_price(state, event)

    def _observe_price(self, state: MarketState, event: Quote | Peg) -> list[MarketOutput]:
        """Update the feed of a price, and raise what the message shows by itself."""
        base, quote, lp, half = _stated_price(event)
        if base == quote:
            detail = f"base and quote are both {base}"
            return [self._reject(event, RejectReason.FIELD_RANGE, detail)]
        key = f"{event.venue}:{base}/{quote}"
        edge = state.edges.get(key)
        us = micros(event.ts)
        listed = self.reference.is_listed_venue(event.venue)
        out: list[MarketOutput] = []
        if edge is None:
            has_room, loser = self._table.make_room(state, event, base, quote)
            if loser is not None:
                out += self._full(state, loser, event)
            if not has_room:
                detail = f"max_feeds={self.config.max_feeds}"
                return [*out, self._reject(event, RejectReason.LIMIT_REACHED, detail)]
            edge = new_feed(event, base, quote, us, lp, self.config)
            edge.bar = half is None
            self._table.add(state, key, edge)
            fresh = True
        else:
            volume = None if event.volume is None else float(event.volume)
            fresh = edge.observe(us, lp, volume, half)
        _observe_amounts(edge, event, us, listed=listed)
        if fresh:
            touched = state.touched if listed else state.unlisted
            touched[base] = None
            touched[quote] = None
        out += self._message_issues(state, edge, event, fresh=fresh)
        if listed:
            state.meta.heard = True
        else:
            state.meta.unlisted_heard = True
        state.mark("meta")
        state.mark(f"edge/{key}")
        return out

    def _observe_rate(self, state: MarketState, event: Peg) -> list[MarketOutput]:
        """Take the rate of an accruing asset; an event that states nothing else is refused."""
        problem = rate_problem(event, self.reference)
        if problem and event.price is None:
            return [self._reject(event, RejectReason.FIELD_RANGE, problem)]
        if not problem:
            name = event.asset
            if name not in state.assets:
                state.assets[name] = AssetState(vol_sq=self._vol_sq(name))
            observe_rate(state.assets[name], event, micros(event.ts))
            state.meta.heard = True
            state.mark("meta")
            state.mark(f"asset/{name}")
        return []

    @staticmethod
    def _reject(event: Quote | Peg, reason: RejectReason, detail: str) -> EventRejected:
        cause = identity(event)
        return EventRejected(
            **Origin(cause, event.ts).stamp(EventRejected, cause), reason=reason, detail=detail
        )

    def _full(self, state: MarketState, source: str, event: Quote | Peg) -> list[MarketOutput]:
        """Tell that the feeds of a writer have no room; beyond some writers, of all others."""
        prefix = f"{QualityIssue.TABLE_FULL}|source:"
        key, us = f"{prefix}{source}", micros(event.ts)
        if key not in state.issues:
            named = sum(1 for each in state.issues if each.startswith(prefix))
            if named >= NAMED_WRITERS:
                key = f"{prefix}*"
        known = key in state.issues
        state.issues[key] = OpenIssue(state.issues[key].since if known else us, us)
        state.mark(f"issue/{key}")
        if known:
            return []
        return [
            DataQualityRaised(
                **Origin(identity(event), event.ts).stamp(DataQualityRaised, key),
                issue=QualityIssue.TABLE_FULL,
                subject=key.partition("|")[2],
                detail="its new feeds have no room, or its oldest ones gave way to feeds of listed "
                f"names: at most {self.config.max_feeds} feeds, and "
                f"{self.config.max_feeds // UNLISTED_SHARE} of one writer at unlisted venues",
            )
        ]

    def _age_out(self, state: MarketState, us: int) -> None:
        """Drop feeds that were silent for too long, and assets without a feed."""
        gone = [
            key
            for key in sorted(state.edges)
            if (us - state.edges[key].heard) / SECOND > self.config.forget_s
        ]
        if not gone:
            return
        for key in gone:
            self._table.remove(state, key)
        quoted = {n for edge in state.edges.values() for n in (edge.base, edge.quote)}
        for name in sorted(state.assets):
            if name not in quoted:
                del state.assets[name]
                state.mark(f"asset/{name}")

    def _message_issues(
        self, state: MarketState, edge: FeedState, event: Quote | Peg, *, fresh: bool
    ) -> list[MarketOutput]:
        """Raise what a message by itself shows of its feed: a spike, a crossed book."""
        out: list[MarketOutput] = []
        if fresh and edge.has_spiked(self.config.spike_sd, self.config.spike_bp * BP):
            jump = (exp(edge.before - edge.before2) - 1.0) / BP
            detail = f"one print jumped {jump:+.0f} bp and the next took it back"
            out += self._note(state, QualityIssue.FEED_SPIKE, edge, event, detail)
        if isinstance(event, Quote) and event.bid and event.ask and event.bid > event.ask:
            detail = f"bid {event.bid} is above ask {event.ask}: its last trade is the price"
            out += self._note(state, QualityIssue.BOOK_CROSSED, edge, event, detail)
        return out

    @staticmethod
    def _note(
        state: MarketState, issue: QualityIssue, edge: FeedState, event: Quote | Peg, detail: str
    ) -> list[MarketOutput]:
        """Raise an issue that a message shows, once until it ends."""
        key = f"{issue}|{edge.name}"
        us = micros(event.ts)
        known = key in state.issues
        state.issues[key] = OpenIssue(state.issues[key].since if known else us, us)
        state.mark(f"issue/{key}")
        if known:
            return []
        return [
            DataQualityRaised(
                **Origin(identity(event), event.ts).stamp(DataQualityRaised, key),
                issue=issue,
                subject=edge.name,
                detail=detail,
            )
        ]

    def _tick(self, state: MarketState, us: int) -> list[MarketOutput]:
        if not (state.edges or state.issues):
            return []
        overdue = us - state.meta.reported >= REPORT_EVERY
        if not overdue and not self._is_heard(state):
            return []
        config = self.config
        self._age_out(state, us)
        live = [key for key in sorted(state.edges) if not state.edges[key].is_silent(us, config)]
        refused = [key for key in live if not is_possible_price(state.edges[key].lp)]
        if refused:
            live = [key for key in live if is_possible_price(state.edges[key].lp)]
        fit = self._fit(state, live, refused, us)
        self._learn(state, fit, us)
        reading = market_reading(state, fit, us, config, self.reference)
        out: list[MarketOutput] = list(feed_issues(state, fit, us, config, self.reference))
        out.append(reading)
        state.meta.heard = state.meta.unlisted_heard = False
        state.meta.solved = us
        state.meta.reported = us
        state.touched.clear()
        state.unlisted.clear()
        state.mark("meta")
        return out

    def _is_heard(self, state: MarketState) -> bool:
        """Whether a message arrived that this tick must consider.

        A venue that is not listed does not change when the prices of listed ones are looked at.
        """
        if state.meta.heard:
            return True
        listed = self.reference.is_listed_venue
        return state.meta.unlisted_heard and not any(
            listed(edge.venue) for edge in state.edges.values()
        )

    def _fit(
        self, state: MarketState, live: list[str], refused: list[str], us: int
    ) -> PriceGraphFit:
        """Solve the graph of live feeds, with priors where the feeds alone do not suffice."""
        edges = [state.edges[key] for key in live]
        names = sorted({n for e in edges for n in (e.base, e.quote)})
        unknown = [n for n in names if not (self.reference.asset(n).fiat and n == "USD")]
        index = {n: i for i, n in enumerate(unknown)}
        for n in unknown:
            if n not in state.assets:
                state.assets[n] = AssetState(vol_sq=self._vol_sq(n))
        rows = self._observations(state, edges, index, us)
        listed = frozenset(
            i for i, e in enumerate(edges) if self.reference.is_listed_venue(e.venue)
        )
        reserved = self._reserved(state, us)
        fiat = _fiat_reach(index, rows, listed, reserved)
        blamed = self._blamed(state, edges, listed, reserved, us)
        weighed = [(b, q, lp, max(sd, blamed.get(i, 0.0))) for i, (b, q, lp, sd) in enumerate(rows)]
        found = LayeredFit(len(index), weighed, self._priors(edges, index, fiat, listed, reserved))
        self._add(found, edges, [i for i in sorted(listed) if edges[i].is_proven(us)])
        self._add(found, edges, sorted(listed))
        doubt = self._settle(state, found, rows, index, fiat, sorted(listed), us)
        before = list(found.solved)
        silent = {n for n, i in index.items() if n in reserved and not found.solved[i]}
        hearsay = [
            i
            for i, e in enumerate(edges)
            if i not in listed and e.base not in silent and e.quote not in silent
        ]
        self._add(found, edges, hearsay)
        doubt |= self._settle(state, found, rows, index, fiat, hearsay, us, before)
        fit = _priced(found, live, refused, index, rows, fiat, reserved, listed)
        return msgspec.structs.replace(fit, doubt=doubt)

    def _blamed(
        self,
        state: MarketState,
        edges: list[FeedState],
        listed: frozenset[int],
        reserved: frozenset[str],
        us: int,
    ) -> dict[int, float]:
        """Return the feeds that are to blame for a difference, with its size in log units.

        Of the two feeds of a pegged asset, the one that left its own past and the other is to
        blame. Where there are more feeds, the fit finds the one that the others contradict.
        """
        feeds: dict[str, list[int]] = {}
        for i, edge in enumerate(edges):
            for name in (edge.base, edge.quote):
                counts = i in listed or name not in reserved
                if counts and self.reference.asset(name).peg is not None:
                    feeds.setdefault(name, []).append(i)
        out: dict[int, float] = {}
        for name, pair in feeds.items():
            if len(pair) != 2 or not all(self._pegged(edges[i]) for i in pair):
                continue
            one, other = (edges[i] for i in pair)
            if one.venue == other.venue:
                continue
            apart = _stated(state, one, name) - _stated(state, other, name)
            blamed = feed_to_blame(one, other, us, apart, self.config)
            if blamed is not None:
                out[pair[0] if blamed is one else pair[1]] = abs(apart)
        return out

    def _settle(
        self,
        state: MarketState,
        found: LayeredFit,
        rows: list[Observation],
        index: dict[str, int],
        fiat: frozenset[str],
        layer: list[int],
        us: int,
        before: list[bool] | None = None,
    ) -> dict[str, float]:
        """Place the parts of the graph that no feed connects to fiat; return what is in doubt.

        There the fit says only how far assets are from each other. Which of them moved follows from
        what stood still with the others. `before` says which assets have their place already.
        """
        names = list(index)
        placed = [name in fiat for name in names]
        if before is not None:
            placed = [one or other for one, other in zip(placed, before, strict=True)]
        used = [rows[i] for i in layer if _is_solved(*rows[i][:2], found.solved)]
        root = components(len(names), used)
        fixed = {root[i] for i, is_placed in enumerate(placed) if is_placed}
        fixed |= {root[max(b, q)] for b, q, _, _ in used if min(b, q) < 0 <= max(b, q)}
        parts: dict[int, list[int]] = {}
        for i, first in enumerate(root):
            if found.solved[i] and first not in fixed:
                parts.setdefault(first, []).append(i)
        doubt: dict[str, float] = {}
        for part in parts.values():
            doubt |= self._settle_part(state, found, {names[i]: i for i in part}, us)
        return doubt

    def _settle_part(
        self, state: MarketState, found: LayeredFit, part: dict[str, int], us: int
    ) -> dict[str, float]:
        """Place one part by the likeliest coin that kept its promise; return worst cases."""
        least = self.config.cause_bp * BP
        pegged: dict[str, Anchor] = {}
        floating: list[Anchor] = []
        for name, i in part.items():
            asset, known = self.reference.asset(name), state.assets[name]
            if asset.peg == "USD" and (known.rate is not None or not asset.accrues):
                pegged[name] = Anchor(found.x[i], known.log_rate, asset.prior_bp * BP)
            elif asset.peg is None and not asset.fiat and known.solved:
                minutes = max(1.0, (us - known.solved) / MINUTE)
                floating.append(Anchor(found.x[i], known.x, sqrt(known.vol_sq * minutes)))
        if len(pegged) < 2 or all(abs(c.x - c.usual) < least for c in pegged.values()):
            return {}
        shifts = plausible_shifts(pegged.values(), floating)
        if len(shifts) > 1:
            return {n: worst_case(c.x, c.usual, shifts, least) for n, c in pegged.items()}
        if abs(shifts[0]) >= least:
            for i in part.values():
                found.x[i] -= shifts[0]
        return {}

    def _reserved(self, state: MarketState, us: int) -> frozenset[str]:
        """Return the assets that listed venues quote: other venues say nothing about their price.

        That holds also while the listed ones are silent, so that nobody can speak in their place.
        """
        out: dict[str, None] = {}
        for edge in state.edges.values():
            recent = (us - edge.heard) / SECOND <= self.config.forget_s
            if recent and self.reference.is_listed_venue(edge.venue):
                out[edge.base] = None
                out[edge.quote] = None
        return frozenset(out)

    def _add(self, found: LayeredFit, edges: list[FeedState], layer: list[int]) -> None:
        """Solve a layer of feeds; where it is too dense, first those between known assets.

        Assets of the reference data are few. What may be invented hangs on them.
        """
        found.add(layer)
        if any(found.dense):
            known = self.reference.assets
            found.add([i for i in layer if edges[i].base in known and edges[i].quote in known])
            found.add(layer)

    def _observations(
        self, state: MarketState, edges: list[FeedState], index: dict[str, int], us: int
    ) -> list[Observation]:
        """Return the observations of live feeds, in their order."""
        floor = self.config.band_floor_bp * BP
        out: list[Observation] = []
        for e in edges:
            b, q = index.get(e.base, -1), index.get(e.quote, -1)
            vol = state.assets[e.base].vol_sq if b >= 0 else 0.0
            vol += state.assets[e.quote].vol_sq if q >= 0 else 0.0
            out.append((b, q, e.lp, e.sd(us, vol, floor)))
        return out

    def _pegged(self, edge: FeedState) -> bool:
        """Whether both assets of a feed are pegged or fiat, or one promises the other."""
        money = self.reference.is_money
        if money(edge.base) and money(edge.quote):
            return True
        promised = self.reference.asset(edge.base).peg, self.reference.asset(edge.quote).peg
        return promised[0] == edge.quote or promised[1] == edge.base

    def _vol_sq(self, asset: str) -> float:
        """Return the initial variance of an asset's log price per minute."""
        ref = self.reference.asset(asset)
        if self.reference.promises_fiat(ref):
            return PEGGED_VOL_SQ
        return ref.volatility**2 / MINUTES_A_YEAR

    def _priors(
        self,
        edges: list[FeedState],
        index: dict[str, int],
        fiat: frozenset[str],
        listed: frozenset[int],
        reserved: frozenset[str],
    ) -> list[GraphPrior]:
        """Return weak priors at the peg for assets with too few independent feeds.

        A pegged asset with live feeds on two or more listed venues and a path to fiat has no prior:
        the market gives its value. Otherwise the prior's standard deviation is the asset's
        `prior_bp`, divided by the square root of the number of its feeds: if an asset with many
        feeds moved, all of them would have moved.
        """
        priors = []
        by_asset: dict[str, list[FeedState]] = {
            name: [] for name in index if self.reference.asset(name).peg == "USD"
        }
        for i, e in enumerate(edges):
            for name in (e.base, e.quote):
                if name in by_asset and (i in listed or name not in reserved):
                    by_asset[name].append(e)
        for name, feeds in by_asset.items():
            ref = self.reference.asset(name)
            venues = {e.venue for e in feeds}
            if len(venues) >= PRICED_VENUES and name in fiat and name in reserved:
                continue
            sd = ref.prior_bp * BP / sqrt(max(1, len(feeds)))
            priors.append((index[name], 0.0, sd))
        return priors

    def _is_off_peg(self, state: MarketState, fit: PriceGraphFit, name: str) -> bool:
        """Whether the bands of an asset's feeds must not widen: it is away from its peg.

        One that promises another coin may usually stray further than coins of fiat.
        """
        asset = self.reference.asset(name)
        promise = peg_value(name, state.assets, fit, self.reference)
        if promise is None:
            return False
        bound = self.config.freeze_bp
        if not self.reference.promises_fiat(asset):
            bound = max(bound, asset.prior_bp)
        return abs(fit.x[fit.index[name]] - promise) >= bound * BP

    def _learn(self, state: MarketState, fit: PriceGraphFit, us: int) -> None:
        """Update noise bands and volatilities by this solution."""
        config = self.config
        off_peg = {n for n in fit.index if self._is_off_peg(state, fit, n)}
        for key, residual, share in zip(fit.live, fit.residual, fit.share, strict=True):
            edge = state.edges[key]
            edge.residual, edge.share = residual, share
            if edge.fresh > state.meta.solved:
                # A feed between pegged assets that leaves all others, even slowly, is not noise.
                local = abs(residual) >= config.venue_bp * BP and self._pegged(edge)
                widen = not local and edge.base not in off_peg and edge.quote not in off_peg
                edge.learn(
                    residual,
                    us,
                    widen=widen,
                    half_life_s=config.band_half_life_s,
                    least_bp=config.venue_bp,
                )
            state.mark(f"edge/{key}")
        for name, i in fit.index.items():
            asset = state.assets[name]
            state.mark(f"asset/{name}")
            if not fit.is_valued(name):
                # What was learned while it had a value stays as it is.
                if not asset.solved:
                    asset.x = bounded_value(fit.x[i])
                continue
            fresh = name in state.touched
            fresh = fresh or (name in state.unlisted and name not in fit.reserved)
            if asset.solved and fresh and us > asset.solved:
                minutes = (us - asset.solved) / MINUTE
                step = (fit.x[i] - asset.x) ** 2 / minutes
                half = config.vol_half_life_s
                a = 1.0 - exp(-LN2 * min((us - asset.solved) / SECOND, half) / half)
                asset.vol_sq += (min(step, VOL_STEP_CLIP * asset.vol_sq) - asset.vol_sq) * a
                asset.vol_sq = max(asset.vol_sq, VOL_FLOOR_SQ)
            if fresh or not asset.solved:
                asset.observations += 1
                asset.solved = us
            asset.x = fit.x[i]


def _stated(state: MarketState, edge: FeedState, name: str) -> float:
    """Return the log value of an asset that a feed states, by the last value of the other one."""
    other = state.assets.get(edge.quote if name == edge.base else edge.base)
    against = 0.0 if other is None else other.x
    return edge.lp + against if name == edge.base else against - edge.lp


def _stated_price(event: Quote | Peg) -> tuple[str, str, float, float | None]:
    """Return base and quote of an event, its log price, and half of the spread of its book."""
    if isinstance(event, Peg):
        return event.asset, event.peg, *log_price(0.0, 0.0, float(event.price or 0))
    bid, ask, last = (float(each or 0) for each in (event.bid, event.ask, event.last))
    return event.base, event.quote, *log_price(bid, ask, last)


def _observe_amounts(edge: FeedState, event: Quote | Peg, us: int, *, listed: bool) -> None:
    """Update the sizes of a market, or the supply of a coin.

    What an unlisted venue says of a supply is no evidence about the issuer.
    """
    if isinstance(event, Quote):
        edge.observe_sizes(*_sizes(event))
    elif listed and (event.supply is not None or event.redeemed is not None):
        edge.observe_issuance(us, _number(event.supply), _number(event.redeemed))


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _sizes(quote: Quote) -> tuple[float, float]:
    """Return the sizes of both sides within the widest band that a quote states; 0 if unknown."""
    if quote.depth:
        _, bid, ask = max(quote.depth, key=lambda row: row[0])
        return float(bid), float(ask)
    if quote.bid_size is None or quote.ask_size is None:
        return 0.0, 0.0
    return float(quote.bid_size), float(quote.ask_size)


def _is_solved(base: int, quote: int, solved: list[bool]) -> bool:
    """Whether both assets of an observation have a value."""
    return (base < 0 or solved[base]) and (quote < 0 or solved[quote])


def _priced(
    found: LayeredFit,
    live: list[str],
    refused: list[str],
    index: dict[str, int],
    rows: list[Observation],
    fiat: frozenset[str],
    reserved: frozenset[str],
    listed: frozenset[int],
) -> PriceGraphFit:
    """Return the fit of what was solved; feeds and assets that were not are apart."""
    solved, dense = found.solved, found.dense
    names = list(index)
    used = [i for i, (b, q, _, _) in enumerate(rows) if _is_solved(b, q, solved)]
    joins = [
        rows[i]
        for i in used
        if i in listed or not any(at >= 0 and names[at] in reserved for at in rows[i][:2])
    ]
    kept = [rows[i] for i in used]
    chosen = frozenset(used)
    return PriceGraphFit(
        live=[live[i] for i in used],
        index=index,
        x=found.x,
        sd=found.sd,
        share=[found.share[i] for i in used],
        residual=residuals(found.x, kept),
        edge_sd=[sd for _, _, _, sd in kept],
        fiat=fiat,
        refused=refused,
        reserved=reserved,
        part=components(len(index), joins),
        unsolved=frozenset(n for n, i in index.items() if not solved[i]),
        unused=[live[i] for i in range(len(rows)) if i not in chosen],
        dense=[
            live[i]
            for i, (b, q, _, _) in enumerate(rows)
            if (b >= 0 and dense[b]) or (q >= 0 and dense[q])
        ],
    )


def _fiat_reach(
    index: dict[str, int],
    rows: list[Observation],
    listed: frozenset[int],
    reserved: frozenset[str],
) -> frozenset[str]:
    """Return the assets that live feeds connect to USD; of `reserved`, by listed venues alone."""
    by_listed = _grounded(index, [row for i, row in enumerate(rows) if i in listed])
    by_any = by_listed if len(listed) == len(rows) else _grounded(index, rows)
    return by_listed | frozenset(name for name in by_any if name not in reserved)


def _grounded(index: dict[str, int], rows: list[Observation]) -> frozenset[str]:
    root = components(len(index), rows)
    grounded = {root[max(b, q)] for b, q, _, _ in rows if min(b, q) < 0 <= max(b, q)}
    if "USD" in index:  # the reference data does not list it as fiat
        grounded.add(root[index["USD"]])
    return frozenset(("USD", *(name for name, i in index.items() if root[i] in grounded)))
