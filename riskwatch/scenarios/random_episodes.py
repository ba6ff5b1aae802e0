"""Random episodes, identified by number: models are fitted on them and tested on others.

No random episode copies a real one. The draws follow general properties of markets:

* Most days are calm. The price strays by a few basis points around a level near the peg and
  returns. At times the whole market is in turmoil and every feed is noisy, and the coin holds its
  peg.
* *Excursions have no scale*: one twice as deep is half as frequent. The draw is uniform on a
  logarithmic scale, which makes deep excursions far more frequent than that, since otherwise there
  would be too few to learn from. An episode therefore has a **weight** (:func:`episode_weight`), so
  that its samples count as often as such days occur.
* The length of an excursion has no scale either: minutes or days, uniform on a logarithmic scale.
  Most hours that a coin is off its peg therefore belong to long excursions, in which little
  happens.
* A fall is irregular: fast or slow, with recoveries that fail and moves in proportion to the depth.
  At times a smaller excursion comes before or after it.
* Venues differ. One venue may break alone or have a stale book. Sometimes the issuer announces that
  it cannot redeem.

Episode `n` never changes, and is later than all episodes with smaller numbers.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from math import exp, log
from typing import TYPE_CHECKING, Final, NamedTuple

from riskwatch.scenarios.episode import Episode, EpisodeFeed, News
from riskwatch.scenarios.market import generator

if TYPE_CHECKING:
    from random import Random

START: Final = datetime(2010, 1, 1, tzinfo=UTC)
EPISODE_SPACING: Final = timedelta(days=3)
WHOLE_MIN: Final = 48 * 60
"""Minutes of a coin that are drawn."""
WINDOW: Final = timedelta(hours=16)
"""Length of the part that an episode shows."""
STEP_MIN: Final = 3
CALM: Final = 0.25
"""Share of episodes without an excursion."""
CALM_DAYS: Final = 0.9
"""Share of days without one: a coin exceeds the least depth on one day in ten."""
DEPTHS: Final = (8.0, 3_000.0)
"""Least and largest depth of an excursion, bp."""
_LOCAL: Final = 0.2
_NEWS: Final = 0.3
_TURMOIL: Final = 0.2
_VENUES: Final = ("kraken", "coinbase", "bitstamp")

Points = tuple[tuple[datetime, float], ...]


class Dip(NamedTuple):
    """One excursion: its begin and length (minutes), and its target depth (bp)."""

    begins: float
    lasts: float
    depth: float
    fall_min: float
    back_min: float


def random_episode(number: int) -> Episode:
    """Return one random episode.

    Parameters
    ----------
    number : int
        Number of the episode, 0 or more; episodes are three days apart.

    Examples
    --------
    >>> one = random_episode(3)
    >>> one.name, one == random_episode(3), one.end - one.start == WINDOW
    ('drawn_3', True, True)
    """
    rng = generator("drawn-3", number)
    start = START + number * EPISODE_SPACING
    depth = _depth(rng)
    dips = _dips(rng, depth) if depth else []
    shown, skipped = int(WINDOW.total_seconds() / 60 / STEP_MIN), 0
    if depth:
        main = max(dips, key=lambda dip: dip.depth)
        middle = rng.uniform(main.begins - 480.0, main.begins + main.lasts - 60.0)
        skipped = int(min(max(middle / STEP_MIN, 0.0), WHOLE_MIN / STEP_MIN - shown))
    discount = _discount(rng, dips)[skipped : skipped + shown + 1]
    steps = range(len(discount))
    times = [start + timedelta(minutes=n * STEP_MIN) for n in steps]
    premium = rng.uniform(0.0, 0.1)
    other = [-premium * max(0.0, bp) + rng.gauss(0.0, 0.5) for bp in discount]
    walk = [20_000.0]
    for _ in steps[1:]:
        walk.append(round(walk[-1] * (1.0 + rng.gauss(0.0, 0.001)), 1))
    news: tuple[News, ...] = ()
    if depth > 200.0 and rng.random() < _NEWS:
        at = start + timedelta(minutes=rng.uniform(5.0, 900.0))
        note = "the issuer says that it cannot redeem"
        news = (News(at=at, source="regulator", subject="circle", kind="insolvency", note=note),)
    return Episode(
        name=f"drawn_{number}",
        title=f"Drawn episode {number}: {depth:.0f} bp"
        if depth
        else f"Drawn episode {number}: calm",
        start=start,
        end=start + WINDOW,
        assets={
            "USDC": _price_path(times, discount),
            "USDT": _price_path(times, other),
            "BTC": tuple(zip(times, walk, strict=True)),
        },
        feeds=tuple(_feeds(rng, times, discount)),
        stress=_stress(rng, times, discount),
        credit=news,
    )


def discount_paths(number: int) -> list[float]:
    """Return the discount of the coin in episode `number`, minute by minute, bp.

    It has the noise of several feeds. The whole pipeline gives models a similar path at a thousand
    times the cost.

    Examples
    --------
    >>> len(discount_paths(3)), discount_paths(3) == discount_paths(3)
    (2880, True)
    """
    rng = generator("drawn-3", number)
    depth = _depth(rng)
    path = _discount(rng, _dips(rng, depth) if depth else [])
    out = []
    for one, two in itertools.pairwise(path):
        for part in range(STEP_MIN):
            level = one + (two - one) * part / STEP_MIN
            out.append(level + rng.gauss(0.0, 1.0 + min(abs(level), 600.0) / 300.0))
    return out


def episode_weight(number: int) -> float:
    """Return the frequency of such days relative to the frequency of the draw, 1 in the mean.

    Examples
    --------
    >>> round(sum(map(episode_weight, range(4_000))) / 4_000, 1)
    1.0
    """
    depth = _depth(generator("drawn-3", number))
    if not depth:
        return CALM_DAYS / CALM
    least, most = DEPTHS
    # Density 1/x² over density 1/x, each over all depths.
    ratio = log(most / least) / (1.0 / least - 1.0 / most) / depth
    return (1.0 - CALM_DAYS) / (1.0 - CALM) * ratio


def _depth(rng: Random) -> float:
    """Draw the depth of the excursion, bp; 0 for none."""
    calm, where = rng.random() < CALM, rng.random()
    least, most = DEPTHS
    return 0.0 if calm else round(least * exp(where * log(most / least)), 2)


def _between(rng: Random, low: float, high: float) -> float:
    """Draw uniformly on a logarithmic scale."""
    return low * exp(rng.random() * log(high / low))


def _dips(rng: Random, depth: float) -> list[Dip]:
    """Draw the excursion, and at times a smaller one before or after it; in order of time."""

    def one(begins: float, deep: float) -> Dip:
        lasts = _between(rng, 10.0, 2_880.0)
        return Dip(begins, lasts, deep, _between(rng, 2.0, 180.0), _between(rng, 5.0, 240.0))

    main = one(rng.uniform(0.05, 0.75) * WHOLE_MIN, depth)
    out = [main]
    if rng.random() < 0.4:
        out.insert(0, one(rng.uniform(0.02, 0.9) * main.begins, depth * rng.uniform(0.1, 0.6)))
    if rng.random() < 0.4:
        out.append(
            one(main.begins + main.lasts * rng.uniform(1.0, 3.0), depth * rng.uniform(0.2, 0.9))
        )
    return out


def _discount(rng: Random, dips: list[Dip]) -> list[float]:
    """Draw the discount at every step, bp.

    The level moves towards the target of the deepest active excursion. Its moves have a minimum
    size, and a part in proportion to the level. The target changes during an excursion, so
    recoveries fail.
    """
    baseline, sd = rng.gauss(0.0, 1.5), _between(rng, 0.5, 3.0)
    home_min, rough = _between(rng, 5.0, 60.0), _between(rng, 0.003, 0.03)
    level, held, until, out = baseline, 1.0, -1.0, []
    for n in range(WHOLE_MIN // STEP_MIN + 1):
        minute = float(n * STEP_MIN)
        active = [d for d in dips if d.begins <= minute < d.begins + d.lasts]
        aim, pace = baseline, home_min
        if active:
            dip = max(active, key=lambda d: d.depth)
            if minute >= until:
                held = 1.0 if held < 1.0 or rng.random() < 0.4 else rng.uniform(0.2, 0.8)
                until = minute + _between(rng, 20.0, 600.0)
            aim, pace = held * dip.depth, dip.fall_min
        elif level > 6.0 * sd + 5.0:
            pace = next((d.back_min for d in reversed(dips) if d.begins <= minute), home_min)
        share = 1.0 - exp(-STEP_MIN / pace)
        calm = sd * (1.0 - exp(-2.0 * STEP_MIN / home_min)) ** 0.5
        level += share * (aim - level) + rng.gauss(0.0, calm + rough * abs(level) * STEP_MIN**0.5)
        level = min(max(level, -60.0), 6_000.0)
        out.append(round(level, 3))
    return out


def _price_path(times: list[datetime], discount: list[float]) -> Points:
    return tuple((at, round(1.0 - bp / 1e4, 7)) for at, bp in zip(times, discount, strict=True))


def _stress(rng: Random, times: list[datetime], discount: list[float]) -> Points:
    """Return noise that grows with the discount, and that turmoil adds to."""
    turmoil, begins = 0.0, 0
    if rng.random() < _TURMOIL:
        turmoil, begins = rng.uniform(1.0, 3.0), rng.randrange(len(times))
    lasts = rng.randrange(20, 160)
    return tuple(
        (at, round(1.0 + min(abs(bp), 600.0) / 300.0 + turmoil * (begins <= n < begins + lasts), 3))
        for n, (at, bp) in enumerate(zip(times, discount, strict=True))
    )


def _feeds(rng: Random, times: list[datetime], discount: list[float]) -> list[EpisodeFeed]:
    """Return the feeds of three venues, one of which may break alone or have a stale book."""
    out = []
    local = rng.choice(_VENUES) if rng.random() < _LOCAL else None
    gap = _between(rng, 20.0, 400.0)
    begins = rng.randrange(10, len(discount) - 30)
    for venue in _VENUES:
        own: Points = ()
        if venue == local:
            extra = [gap if begins <= n < begins + 20 else 0.0 for n in range(len(discount))]
            own = _price_path(times, [bp + more for bp, more in zip(discount, extra, strict=True)])
        stale: tuple[tuple[datetime, datetime], ...] = ()
        if rng.random() < 0.15:
            at = times[0] + timedelta(minutes=rng.uniform(30.0, 600.0))
            stale = ((at, at + timedelta(minutes=rng.uniform(10.0, 90.0))),)
        noise = rng.uniform(1.0, 4.0)
        for base, quote, digits, wide, volume, every_s in (
            ("USDC", "USD", 5, 1.0, 30_000.0, 60),
            ("USDT", "USD", 5, 1.0, 30_000.0, 120),
            ("BTC", "USD", 2, 0.5, 5.0, 300),
            ("BTC", "USDC", 2, 3.0, 0.3, 300),
        ):
            if rng.random() < 0.25 and (venue, base) != ("kraken", "USDC"):
                continue
            out.append(
                EpisodeFeed(
                    venue=venue,
                    base=base,
                    quote=quote,
                    digits=digits,
                    noise_bp=round(noise, 3),
                    half_spread_bp=wide,
                    volume=volume,
                    every_s=every_s,
                    quiet=0.1,
                    points=own if (base, quote) == ("USDC", "USD") else (),
                    stale=stale,
                )
            )
    return out
