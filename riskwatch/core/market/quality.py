"""Feeds that are stale or wrong: data-quality issues, raised once and resolved once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.core.clock import SECOND, moment
from riskwatch.core.enums import QualityIssue
from riskwatch.core.ids import output_id
from riskwatch.core.market.state import BP, FeedState, OpenIssue
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.market.config import MarketConfig
    from riskwatch.core.market.report import PriceGraphFit
    from riskwatch.core.market.state import MarketState


def feed_issues(
    state: MarketState, fit: PriceGraphFit, us: int, config: MarketConfig
) -> Iterator[DataQualityRaised | DataQualityResolved]:
    """Raise what is newly wrong with feeds at this tick, and resolve what has been right."""
    cause = f"tick/{us}"
    found = dict(_find(state, fit, us, config))
    for key in sorted(found):
        open_issue = state.issues.get(key)
        state.issues[key] = OpenIssue(open_issue.since if open_issue else us, us)
        state.mark(f"issue/{key}")
        if open_issue is None:
            kind, _, subject = key.partition("|")
            yield DataQualityRaised(
                id=output_id(cause, "DataQualityRaised", key),
                cause_id=cause,
                ts=moment(us),
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
            id=output_id(cause, "DataQualityResolved", key),
            cause_id=cause,
            ts=moment(us),
            issue=QualityIssue(kind),
            subject=subject,
        )


def _find(
    state: MarketState, fit: PriceGraphFit, us: int, config: MarketConfig
) -> Iterator[tuple[str, str]]:
    """(issue|feed, detail) of everything that is wrong now."""
    position = {key: i for i, key in enumerate(fit.live)}
    for key, edge in sorted(state.edges.items()):
        silence = (us - edge.heard) / SECOND
        if silence > config.forget_s:
            continue
        i = position.get(key)
        if i is None:
            yield (
                f"{QualityIssue.FEED_STALE}|{edge.name}",
                f"no message for {silence:.0f} s; it used to come every {edge.gap_s:.0f} s",
            )
            continue
        off = abs(fit.residual[i])
        detail = f"{fit.residual[i] / BP:+.0f} bp from the value that the other feeds agree on"
        if _frozen(edge, us, off, config):
            age = (us - edge.fresh) / SECOND
            yield (
                f"{QualityIssue.FEED_STALE}|{edge.name}",
                f"price not confirmed for {age:.0f} s, {detail}",
            )
        elif off > max(config.outlier_sd * fit.edge_sd[i], config.outlier_bp * BP):
            yield f"{QualityIssue.FEED_OUTLIER}|{edge.name}", detail


def _frozen(edge: FeedState, us: int, off: float, config: MarketConfig) -> bool:
    """Whether a feed still talks but its price has stood still while it should not have.

    Either it has not been confirmed for much longer than its own rhythm, or it has left the
    others behind by more than its noise allows.
    """
    age = (us - edge.fresh) / SECOND
    if age <= max(config.stale_gaps * edge.gap_s, config.stale_min_s):
        return False
    quiet = age > max(20.0 * edge.fresh_gap_s, 6.0 * config.stale_min_s)
    return quiet or off > max(config.outlier_sd * edge.band, 20.0 * BP)
