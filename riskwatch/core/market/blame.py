"""Who moved: of two feeds that disagree, and of coins that are quoted in each other alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from riskwatch.core.clock import SECOND
from riskwatch.core.market.state import BP, FeedState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from riskwatch.core.market.config import MarketConfig

MARGIN: Final = 2.0
"""Largest difference of cost, in standard deviations, at which the blame is not settled."""
APART: Final = 2.0
"""A feed left its past if it moved this many times as far as the one that it disagrees with."""
PROMPT_GAPS: Final = 2.0
"""A price within this many mean gaps is recent enough to refute others."""
PROMPT_S: Final = 120.0
"""A price within this many seconds is always recent enough."""


def is_prompt(feed: FeedState, us: int) -> bool:
    """Whether the price of a feed is recent enough to refute others."""
    return (us - feed.fresh) / SECOND <= max(PROMPT_GAPS * feed.gap_s, PROMPT_S)


class Anchor(NamedTuple):
    """An asset by which a connected part of the graph is placed, log units.

    `x` is its value in the fit, `usual` where it is expected: the promise of a pegged asset, or the
    last value of a floating one. `sd` is how far it usually strays from there.
    """

    x: float
    usual: float
    sd: float


def plausible_shifts(pegged: Iterable[Anchor], floating: Iterable[Anchor]) -> list[float]:
    """Return by how much the values of a part may be too high, the likeliest shift first.

    Feeds between coins say nothing about all of them together. One of the pegged coins is taken to
    be where it promises to be, and the others have moved. The cost of this is the sum of all
    distances, each in its own standard deviations (the likelihood of Laplace distributions), so a
    coin against which everything moved is the one that moved. Shifts that cost at most
    :data:`MARGIN` more than the likeliest one cannot be told from it.

    Examples
    --------
    Two equal coins, seven per cent apart: either may have moved.

    >>> pair = [Anchor(-0.035, 0.0, 5e-4), Anchor(0.035, 0.0, 5e-4)]
    >>> plausible_shifts(pair, [])
    [-0.035, 0.035]

    A floating coin stood still against the second one, so the first one moved:

    >>> plausible_shifts(pair, [Anchor(10.035, 10.0, 1e-3)])
    [0.035]
    """
    coins = list(pegged)
    everything = [*coins, *floating]
    costs = []
    for coin in coins:
        shift = coin.x - coin.usual
        cost = 0.0
        for each in everything:
            cost += abs(each.x - each.usual - shift) / each.sd
        costs.append((cost, shift))
    costs.sort()
    return [shift for cost, shift in costs if cost <= costs[0][0] + MARGIN]


def worst_case(x: float, promise: float, shifts: Iterable[float], least: float) -> float:
    """Return the deviation of a coin in its worst case: its largest discount, else its premium.

    Examples
    --------
    >>> round(worst_case(-0.035, 0.0, (-0.035, 0.035), 1e-3), 3)
    -0.07
    >>> round(worst_case(0.035, 0.0, (-0.035, 0.035), 1e-3), 3)
    0.07
    """
    values = [x - promise - shift for shift in shifts]
    return min(values) if min(values) <= -least else max(values)


def feed_to_blame(
    one: FeedState, other: FeedState, us: int, apart: float, config: MarketConfig
) -> FeedState | None:
    """Return which of two feeds of an asset is to blame for their difference, if either is.

    It is the one that left its own past, while the other stayed where it was, is recent, and trades
    enough to count.

    Parameters
    ----------
    one, other : FeedState
        The feeds.
    us : int
        Event time, microseconds.
    apart : float
        Difference of the values that they imply, log units.
    config : MarketConfig
        Settings of the stage.
    """
    least = config.venue_bp * BP
    if abs(apart) <= least:
        return None
    moved, stayed = sorted((one, other), key=lambda feed: -abs(feed.departure))
    if abs(moved.departure) < least or abs(moved.departure) < APART * abs(stayed.departure):
        return None
    if abs(stayed.departure) >= least or not is_prompt(stayed, us):
        return None
    there, here = stayed.traded(us), moved.traded(us)
    if there is not None and here is not None and there < config.refute_share * here:
        return None
    return moved
