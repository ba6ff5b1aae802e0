"""Invented episodes, drawn by number: to fit models on, so that they are judged on others.

Nothing here is of any real episode. A coin is calm, wobbles, slips below its peg and comes
back, or breaks; the pace, the depth, the noise, local breaks of one venue, standing books and
news are drawn. Number `n` is the same for ever, and later than all smaller ones.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from riskwatch.scenarios.episode import Episode, Feed, News
from riskwatch.scenarios.market import generator

if TYPE_CHECKING:
    from random import Random

START: Final = datetime(2015, 1, 1, tzinfo=UTC)
APART: Final = timedelta(days=2)
WINDOW: Final = timedelta(hours=14)
STEP: Final = timedelta(minutes=10)
KINDS: Final = ("calm", "wobble", "slip", "break")
_SHARES: Final = (0.3, 0.25, 0.2, 0.25)
_DEPTHS: Final = {"calm": (0.0, 6.0), "wobble": (15.0, 48.0), "slip": (50.0, 160.0)}
_LOCAL: Final = 0.25
_NEWS: Final = 0.3
_VENUES: Final = ("kraken", "coinbase", "bitstamp")

Points = tuple[tuple[datetime, float], ...]


def drawn(number: int) -> Episode:
    """Draw one episode.

    Parameters
    ----------
    number : int
        Which, 0 or more; episodes are two days apart.

    Examples
    --------
    >>> one = drawn(3)
    >>> one.name, one == drawn(3), one.end - one.start == WINDOW
    ('drawn_3', True, True)
    """
    rng = generator("drawn", number)
    start = START + number * APART
    kind = rng.choices(KINDS, _SHARES)[0]
    depth = rng.uniform(200.0, 1_500.0) if kind == "break" else rng.uniform(*_DEPTHS[kind])
    discount = _discount(rng, depth)
    premium = [max(0.0, 0.1 * bp * rng.uniform(0.0, 1.0)) for bp in discount]
    coin, other = _path(start, discount), _path(start, [-bp for bp in premium])
    walk = [20_000.0]
    for _ in discount[1:]:
        walk.append(round(walk[-1] * (1.0 + rng.gauss(0.0, 0.002)), 1))
    times = [start + n * STEP for n in range(len(walk))]
    news: tuple[News, ...] = ()
    if kind == "break" and rng.random() < _NEWS:
        at = start + timedelta(minutes=rng.uniform(60.0, 500.0))
        note = "the issuer says that it cannot redeem"
        news = (News(at=at, source="regulator", subject="circle", kind="insolvency", note=note),)
    return Episode(
        name=f"drawn_{number}",
        title=f"Drawn episode {number}: {kind}",
        start=start,
        end=start + WINDOW,
        assets={"USDC": coin, "USDT": other, "BTC": tuple(zip(times, walk, strict=True))},
        feeds=tuple(_feeds(rng, start, discount)),
        stress=_stress(start, discount),
        credit=news,
    )


def _discount(rng: Random, depth: float) -> list[float]:
    """Discount at every step, bp: calm, on the way down with pauses, there, and perhaps back."""
    steps = int(WINDOW / STEP) + 1
    begins, stays = rng.randrange(6, steps // 2), rng.randrange(3, 40)
    pace, back = rng.uniform(0.04, 0.5), rng.uniform(0.02, 0.3)
    level, out = 0.0, []
    for n in range(steps):
        falling = begins <= n < begins + stays
        aim, speed = (depth, pace) if falling else (0.0, back)
        if falling and rng.random() < 0.25:
            speed = -0.3 * speed  # it seems to recover, and does not
        level += speed * (aim - level) + rng.gauss(0.0, 0.6 + 0.06 * abs(level))
        level = min(max(level, -15.0), 4_000.0)
        out.append(round(level, 3))
    return out


def _path(start: datetime, discount: list[float]) -> Points:
    return tuple((start + n * STEP, round(1.0 - bp / 1e4, 7)) for n, bp in enumerate(discount))


def _stress(start: datetime, discount: list[float]) -> Points:
    return tuple(
        (start + n * STEP, round(1.0 + min(abs(bp), 600.0) / 300.0, 3))
        for n, bp in enumerate(discount)
    )


def _feeds(rng: Random, start: datetime, discount: list[float]) -> list[Feed]:
    """Feeds of three venues, one of which may break alone or stand still."""
    out = []
    local = rng.choice(_VENUES) if rng.random() < _LOCAL else None
    gap = rng.uniform(40.0, 400.0)
    begins = rng.randrange(5, len(discount) - 8)
    for venue in _VENUES:
        own: Points = ()
        if venue == local:
            extra = [gap if begins <= n < begins + 6 else 0.0 for n in range(len(discount))]
            own = _path(start, [bp + more for bp, more in zip(discount, extra, strict=True)])
        stale: tuple[tuple[datetime, datetime], ...] = ()
        if rng.random() < 0.15:
            at = start + timedelta(minutes=rng.uniform(30.0, 600.0))
            stale = ((at, at + timedelta(minutes=rng.uniform(10.0, 90.0))),)
        noise = rng.uniform(1.0, 4.0)
        for base, quote, digits, wide, volume in (
            ("USDC", "USD", 5, 1.0, 30_000.0),
            ("USDT", "USD", 5, 1.0, 30_000.0),
            ("BTC", "USD", 2, 0.5, 5.0),
            ("BTC", "USDC", 2, 3.0, 0.3),
        ):
            if rng.random() < 0.25 and (venue, base) != ("kraken", "USDC"):
                continue
            out.append(
                Feed(
                    venue=venue,
                    base=base,
                    quote=quote,
                    digits=digits,
                    noise_bp=round(noise, 3),
                    half_spread_bp=wide,
                    volume=volume,
                    quiet=0.1,
                    points=own if (base, quote) == ("USDC", "USD") else (),
                    stale=stale,
                )
            )
    return out
