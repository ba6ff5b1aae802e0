"""Data-quality issues of stale and wrong feeds: when each is raised and when it is resolved."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import SECOND
from riskwatch.core.enums import QualityIssue
from riskwatch.core.market.peg import peg_value
from riskwatch.core.market.report import UNKNOWN_SD_BP
from riskwatch.core.market.solve import MAX_FRONT
from riskwatch.core.market.state import BP, RATE_SETTLES, RHYTHM_FROM, FeedState, OpenIssue
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved, Origin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.market.config import MarketConfig
    from riskwatch.core.market.fit import PriceGraphFit
    from riskwatch.core.market.state import MarketState
    from riskwatch.core.reference import Reference

LN10: Final = 2.302585092994046
_PRICES: Final = "a price lies between 1e-12 and 1e12"
_VALUES: Final = "a value lies between 1e-10 and 1e12 USD"
FROZEN_GAPS: Final = 20.0
"""A price is frozen after this many mean gaps between fresh prices without a change."""
FROZEN_STALE: Final = 6.0
"""A price is not frozen before this many times `stale_min_s`."""
LEFT_BEHIND_BP: Final = 20.0
"""Smallest distance from the other feeds at which an unchanged price is left behind, bp."""


def feed_issues(
    state: MarketState,
    fit: PriceGraphFit,
    us: int,
    config: MarketConfig,
    reference: Reference,
) -> Iterator[DataQualityRaised | DataQualityResolved]:
    """Raise the new issues of feeds at this tick, and resolve issues that have been clear."""
    found = dict(_find(state, fit, us, config))
    found |= dict(_unknown_pegs(state, fit, us, reference))
    for key in _forgotten(state, config, reference):
        found[key] = "no message for longer than feeds are remembered"
    for key in sorted(found):
        open_issue = state.issues.get(key)
        state.issues[key] = OpenIssue(open_issue.since if open_issue else us, us)
        state.mark(f"issue/{key}")
        if open_issue is None:
            kind, _, subject = key.partition("|")
            yield DataQualityRaised(
                **Origin.tick(us).stamp(DataQualityRaised, key),
                issue=QualityIssue(kind),
                subject=subject,
                detail=found[key],
            )
    for key in sorted(state.issues):
        if key in found or (us - state.issues[key].last) / SECOND < config.issue_clear_s:
            continue
        del state.issues[key]
        state.mark(f"issue/{key}")
        kind, _, subject = key.partition("|")
        yield DataQualityResolved(
            **Origin.tick(us).stamp(DataQualityResolved, key),
            issue=QualityIssue(kind),
            subject=subject,
        )


def _find(
    state: MarketState, fit: PriceGraphFit, us: int, config: MarketConfig
) -> Iterator[tuple[str, str]]:
    """Yield (issue|feed, detail) of every present fault."""
    position = {key: i for i, key in enumerate(fit.live)}
    refused = dict.fromkeys(fit.refused)
    unused = dict.fromkeys(fit.unused)
    for key, edge in sorted(state.edges.items()):
        silent_s = (us - edge.heard) / SECOND
        if key in refused:
            told = f"{exp(edge.lp):.3g} {edge.quote} for one {edge.base} is not used: {_PRICES}"
            yield f"{QualityIssue.OUT_OF_RANGE}|{edge.name}", told
            continue
        if key in unused:
            continue  # told by writer
        i = position.get(key)
        if i is None:
            if not config.is_retired(edge.name):
                yield f"{QualityIssue.FEED_STALE}|{edge.name}", _silence(edge, silent_s, config)
            continue
        deviation = abs(fit.residual[i])
        detail = f"{fit.residual[i] / BP:+.0f} bp from the value that the other feeds agree on"
        if _frozen(edge, us, deviation, config):
            age = (us - edge.fresh) / SECOND
            yield (
                f"{QualityIssue.FEED_STALE}|{edge.name}",
                f"price not confirmed for {age:.0f} s, {detail}",
            )
        elif deviation > max(config.outlier_sd * fit.edge_sd[i], config.outlier_bp * BP):
            yield f"{QualityIssue.FEED_OUTLIER}|{edge.name}", detail
    for name, i in fit.index.items():
        # Where nothing holds an asset, its value is no number that could be too large.
        if not fit.is_valued(name) and fit.sd[i] < UNKNOWN_SD_BP * BP:
            told = f"its feeds give 1e{fit.x[i] / LN10:+.0f} USD, which is not used: {_VALUES}"
            yield f"{QualityIssue.OUT_OF_RANGE}|asset:{name}", told
    yield from _lone_jumps(state, fit)
    yield from _dense(state, fit)


def _lone_jumps(state: MarketState, fit: PriceGraphFit) -> Iterator[tuple[str, str]]:
    """Yield the feeds that alone state a price which jumped and does not count yet."""
    for key in fit.live:
        edge = state.edges[key]
        for name in (edge.base, edge.quote):
            asset = state.assets.get(name)
            if asset is not None and asset.price is not None and asset.price.jump:
                jump = exp(asset.price.jump) - 1.0
                told = f"{name} jumped by {jump:+.1%} and no other feed states it"
                yield f"{QualityIssue.FEED_OUTLIER}|{edge.name}", f"{told}: the former price counts"


def _silence(edge: FeedState, silent_s: float, config: MarketConfig) -> str:
    """Return what is known of the silence of a feed."""
    heartbeat_s = config.heartbeat_s(edge.venue, edge.name)
    if heartbeat_s is not None:
        return f"no message for {silent_s:.0f} s; its heartbeat is {heartbeat_s:.0f} s"
    usual = f"no message for {silent_s:.0f} s; it used to come every {edge.gap_s:.0f} s"
    if edge.heard_n < RHYTHM_FROM:
        usual += f". After {edge.heard_n} messages that is a guess: [[market.heartbeats]] states it"
    return usual


def _forgotten(state: MarketState, config: MarketConfig, reference: Reference) -> Iterator[str]:
    """Yield the issues of feeds of listed venues that were forgotten while they were silent.

    A dead feed is not mended by being forgotten. The issue ends when the feed speaks again, or when
    ``retired`` names it. The newest `max_feeds` are kept.
    """
    names = {edge.name for edge in state.edges.values()}
    prefix = f"{QualityIssue.FEED_STALE}|"
    found = [
        key
        for key in sorted(state.issues)
        if key.startswith(prefix)
        and (feed := key.removeprefix(prefix)) not in names
        and reference.is_listed_venue(feed.partition(":")[0])
        and not config.is_retired(feed)
    ]
    found.sort(key=lambda key: (-state.issues[key].since, key))
    yield from found[: config.max_feeds]


def _unknown_pegs(
    state: MarketState, fit: PriceGraphFit, us: int, reference: Reference
) -> Iterator[tuple[str, str]]:
    """Yield each pegged asset with a value whose deviation is unknown or in doubt, and why."""
    for name in fit.index:
        asset, known = reference.asset(name), state.assets.get(name)
        if asset.peg is None or known is None or not fit.is_valued(name):
            continue
        key, rate = f"{QualityIssue.PEG_UNKNOWN}|asset:{name}", known.rate
        if asset.accrues and rate is None:
            who = asset.issuer or "a listed venue"
            yield key, f"no peg event of {who} states the `rate` at which it accrues {asset.peg}"
        elif peg_value(name, state.assets, fit, reference) is None:
            yield key, f"no live feeds of listed venues give its value in {asset.peg}, its peg"
        elif asset.accrues and rate is not None and rate.doubt_us:
            now = exp(rate.doubt)
            yield key, f"its rate is said to be {now:.6g}; {exp(rate.lr):.6g} counts for a week"
        elif asset.accrues and rate is not None and us - rate.us > RATE_SETTLES:
            yield key, f"nothing has stated its rate for a week; {exp(rate.lr):.6g} counts"


def _dense(state: MarketState, fit: PriceGraphFit) -> Iterator[tuple[str, str]]:
    """Yield the writers whose feeds are not used, because they link assets too densely."""
    count: dict[str, int] = {}
    for key in fit.dense:
        source = state.edges[key].source
        count[source] = count.get(source, 0) + 1
    why = f"they link more than {MAX_FRONT} assets with each other, directly or through others"
    for source, feeds in count.items():
        detail = f"{feeds} feeds are not used, so {len(fit.unsolved)} assets have no value: {why}"
        yield f"{QualityIssue.GRAPH_DENSE}|source:{source}", detail


def _frozen(edge: FeedState, us: int, deviation: float, config: MarketConfig) -> bool:
    """Whether a feed still sends messages but its price is frozen.

    A price is frozen if it has not been confirmed for much longer than the feed's usual gap, or if
    it is unconfirmed and further from the other feeds than its noise allows.
    """
    age = (us - edge.fresh) / SECOND
    heartbeat_s = config.heartbeat_s(edge.venue, edge.name)
    if heartbeat_s is not None and age <= heartbeat_s + config.stale_min_s:
        return False
    if age <= max(config.stale_gaps * edge.gap_s, config.stale_min_s):
        return False
    quiet = age > max(FROZEN_GAPS * edge.fresh_gap_s, FROZEN_STALE * config.stale_min_s)
    return quiet or deviation > max(config.outlier_sd * edge.band, LEFT_BEHIND_BP * BP)
