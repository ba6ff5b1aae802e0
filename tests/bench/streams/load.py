"""Events by the hundred thousand: seeded, cheap to make, and such as a firm would have."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from tests.support.market import CALM

if TYPE_CHECKING:
    from collections.abc import Iterator

Sent = tuple[str, bytes, bytes]
"""Topic, key, value."""
COUNTERPARTIES: Final = tuple(f"venue-{n:02d}" for n in range(40))
FILLS: Final = "riskwatch.fills"
QUOTES: Final = "riskwatch.quotes"
_FILL: Final = (
    '{"type":"fill","v":1,"event_id":"%s","ts":"%s","source":"desk","counterparty":"%s",'
    '"account":"main","book":"%s","base":"%s","quote":"%s","side":"%s","qty":"%s","price":"%s",'
    '"fee":"0.0%02d","fee_asset":"USD","reference_price":"%s"}'
)
_QUOTE: Final = (
    '{"type":"quote","v":1,"event_id":"%s","ts":"%s","source":"%s","venue":"%s","base":"%s",'
    '"quote":"%s","last":"%s","volume":"%s"}'
)
_BALANCE: Final = (
    '{"type":"balance","v":1,"event_id":"%s","ts":"%s","source":"desk","counterparty":"%s",'
    '"account":"main","book":"mm","asset":"%s","free":"%s"}'
)
_CREDIT: Final = (
    '{"type":"credit","v":1,"event_id":"%s","ts":"%s","source":"%s","subject":"%s","kind":"%s"}'
)


_PAIRS: Final = (
    ("BTC", "USD", 20_000.0),
    ("BTC", "USDC", 20_000.0),
    ("USDC", "USD", 1.0),
    ("USDT", "USD", 1.0),
)


def _feeds() -> list[tuple[str, str, str, float]]:
    out = []
    for feed, price in CALM.items():
        venue, _, pair = feed.partition(":")
        base, _, quoted = pair.partition("/")
        out.append((venue, base, quoted, price))
    return out


_FEEDS: Final = _feeds()


def stamp(us: int) -> str:
    """Time of an event as the wire has it."""
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="microseconds")


def now_us() -> int:
    """The clock, microseconds."""
    return time.time_ns() // 1_000


class Maker:
    """Makes events, all different, always the same for one seed.

    Parameters
    ----------
    seed : int
        Of the random choices.
    run : str
        Begins every id, so that two runs on the same topics do not repeat each other.
    """

    def __init__(self, seed: int = 7, run: str = "a") -> None:
        self._pick = random.Random(seed)
        self._run = run
        self._n = 0

    def _id(self) -> str:
        self._n += 1
        return f"{self._run}{self._n}"

    def fill(self, us: int) -> Sent:
        """One execution of up to a hundred dollars at one of forty counterparties."""
        pick = self._pick
        party, (base, quoted, around) = pick.choice(COUNTERPARTIES), pick.choice(_PAIRS)
        price = around * (1 + 1e-3 * pick.uniform(-1, 1))
        shown = f"{price:.6f}"
        value = _FILL % (
            self._id(), stamp(us), party, pick.choice(("mm", "arb")), base, quoted,
            pick.choice(("buy", "sell")), f"{pick.uniform(1, 100) / price:.8f}", shown,
            pick.randrange(1, 99), shown,
        )  # fmt: skip
        return FILLS, party.encode(), value.encode()

    def quote(self, us: int) -> Sent:
        """One last trade of one of nine feeds, a basis point around par."""
        venue, base, quoted, price = self._pick.choice(_FEEDS)
        shown = f"{price * (1 + 1e-4 * self._pick.uniform(-1, 1)):.8f}"
        value = _QUOTE % (self._id(), stamp(us), venue, venue, base, quoted, shown, "10")
        return QUOTES, base.encode(), value.encode()

    def balance(self, us: int, party: str, asset: str, free: str) -> Sent:
        """One holding."""
        value = _BALANCE % (self._id(), stamp(us), party, asset, free)
        return "riskwatch.balances", party.encode(), value.encode()

    def credit(self, us: int, source: str, party: str, kind: str) -> Sent:
        """One piece of news."""
        value = _CREDIT % (self._id(), stamp(us), source, party, kind)
        return "riskwatch.credit", party.encode(), value.encode()

    def fills(self, count: int, rate: float) -> Iterator[Sent]:
        """`count` fills that happened at `rate` a second, the last one just now."""
        return (self.fill(us) for us in _times(count, rate))

    def quotes(self, count: int, rate: float) -> Iterator[Sent]:
        """`count` quotes that happened at `rate` a second, the last one just now."""
        return (self.quote(us) for us in _times(count, rate))


def _times(count: int, rate: float) -> Iterator[int]:
    first = now_us() - int(1e6 * count / rate)
    return (first + int(1e6 * n / rate) for n in range(count))
