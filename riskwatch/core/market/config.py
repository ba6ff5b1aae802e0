"""Settings of the market stage (``[market]`` in ``rules/policy.toml``)."""

from __future__ import annotations

import msgspec

from riskwatch.core.bounds import Positive, PositiveInt


class FeedHeartbeat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A promise of a feed (``[[market.heartbeats]]``).

    Attributes
    ----------
    feed : str
        A feed, ``venue:base/quote``, or a venue for all its feeds.
    every_s : float
        Longest time between two of its messages, seconds.
    """

    feed: str
    every_s: Positive


class MarketConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the market stage: trust in feeds, causes and data-quality issues.

    Attributes
    ----------
    band_floor_bp : float
        Smallest noise band of any feed, bp.
    band_start_bp : float
        Noise band of a new feed, bp.
    band_half_life_s : float
        Half-life of the noise band, seconds of event time.
    freeze_bp : float
        Deviation of a pegged asset from which its feeds' bands no longer widen, bp.
    vol_half_life_s : float
        Half-life of the volatility estimate, seconds.
    stale_gaps : float
        A feed is stale after this many of its own mean gaps without a message.
    stale_min_s : float
        A feed is not stale before this many seconds without a message.
    forget_s : float
        A feed without a message for longer than this is no longer expected, seconds.
    confirm : int
        Number of observations for which a direct fiat feed must show a deviation to count alone.
    refute_bp, refute_sd : float
        An independent feed refutes a deviation if its implied value is less than half of it and
        differs from it by more than `refute_bp` and `refute_sd` of its standard deviations.
    refute_share : float
        Value traded at refuting feeds ÷ value traded at supporting feeds, from which the refuting
        feeds count.
    cause_bp : float
        Deviation from which a cause is attributed, bp.
    outlier_sd, outlier_bp : float
        A residual beyond both is a data-quality issue of the feed.
    spike_sd, spike_bp : float
        A jump beyond both that the next observation reverses is a spike.
    venue_sd, venue_bp : float
        A residual beyond both counts as a deviation of its venue.
    issue_clear_s : float
        How long a feed must be without fault before its issue is resolved, seconds.
    max_feeds : int
        Maximum number of tracked feeds.
    heartbeats : tuple of FeedHeartbeat
        Feeds that speak at least so often, and may be silent in between.
    retired : tuple of str
        Feeds, or whole venues, that nobody expects any more: their silence is no issue.
    """

    band_floor_bp: Positive = 2.0
    band_start_bp: Positive = 10.0
    band_half_life_s: Positive = 21_600.0
    freeze_bp: Positive = 15.0
    vol_half_life_s: Positive = 3_600.0
    stale_gaps: Positive = 5.0
    stale_min_s: Positive = 600.0
    forget_s: Positive = 604_800.0
    confirm: PositiveInt = 3
    refute_bp: Positive = 30.0
    refute_sd: Positive = 3.0
    refute_share: Positive = 0.05
    cause_bp: Positive = 15.0
    outlier_sd: Positive = 8.0
    outlier_bp: Positive = 60.0
    spike_sd: Positive = 12.0
    spike_bp: Positive = 60.0
    venue_sd: Positive = 6.0
    venue_bp: Positive = 50.0
    issue_clear_s: Positive = 900.0
    max_feeds: PositiveInt = 2_000
    heartbeats: tuple[FeedHeartbeat, ...] = ()
    retired: tuple[str, ...] = ()

    def heartbeat_s(self, venue: str, feed: str) -> float | None:
        """Return the longest time between two messages of a feed; ``None`` if none is stated.

        Examples
        --------
        >>> config = MarketConfig(heartbeats=(FeedHeartbeat(feed="chainlink", every_s=86_400.0),))
        >>> config.heartbeat_s("chainlink", "chainlink:USDC/USD"), config.heartbeat_s("a", "a:B/C")
        (86400.0, None)
        """
        if not self.heartbeats:
            return None
        found = {each.feed: each.every_s for each in self.heartbeats}
        return found.get(feed, found.get(venue))

    def is_retired(self, feed: str) -> bool:
        """Whether nobody expects a feed (``venue:base/quote``) any more."""
        return feed in self.retired or feed.partition(":")[0] in self.retired
