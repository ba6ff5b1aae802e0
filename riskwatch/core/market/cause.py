"""What moved, and who says so: from implied values to a cause with support and refutation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.market.edges import BP
from riskwatch.core.reasons import Cause

if TYPE_CHECKING:
    from riskwatch.core.market.config import MarketConfig

EXPLAINS: Final = 0.5
"""Share of a deviation, on its side, from which a feed does not contradict it."""
SIGNIFICANT_SD: Final = 2.0
"""Standard deviations of a feed's own noise beyond which it says that an asset has moved."""


class Implied(msgspec.Struct, frozen=True, gc=False):
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


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """A cause with the feeds that agree and that contradict."""

    cause: Cause
    support: list[str]
    refute: list[str]


def refutes(implied: Implied, deviation: float, config: MarketConfig) -> bool:
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


def outweighs(against: list[Implied], behind: list[Implied], config: MarketConfig) -> bool:
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


def off_peg(implied: Implied, config: MarketConfig) -> bool:
    """Whether a feed by itself says that the asset has left its peg, beyond its noise."""
    return abs(implied.value) > max(config.cause_bp * BP, SIGNIFICANT_SD * implied.sd)


def supports(implied: Implied, deviation: float, config: MarketConfig) -> bool:
    """Whether a feed says that the asset left its peg to the same side.

    How far is not the question here: in a crisis thin books lag, and a venue that shows a
    third of the discount still confirms that the coin moved.
    """
    return implied.value * deviation > 0.0 and off_peg(implied, config)


def judge(
    deviation: float,
    implied: list[Implied],
    dislocated: frozenset[str],
    config: MarketConfig,
    *,
    established: bool = False,
) -> Verdict:
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
        return Verdict(cause=Cause.NONE, support=[], refute=[])
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
    return Verdict(
        cause=cause,
        support=sorted(i.name for i in support),
        refute=sorted(i.name for i in refute),
    )
