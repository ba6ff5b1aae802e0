"""Only venues of the reference data confirm and refute; newer feeds do not outweigh older ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from riskwatch.core.clock import DAY
from riskwatch.core.enums import Cause
from riskwatch.core.market.config import MarketConfig
from riskwatch.core.market.report import attribute_cause
from riskwatch.core.market.state import BP, FeedState, MarketState
from tests.support.market import CALM, Floor, at, quote, usdc
from tests.unit.core.market.test_report_cause import feed

if TYPE_CHECKING:
    from riskwatch.core.readings import VenueReading

INVENTED = tuple(f"invented{n}" for n in range(6))
AT_PAR = {f"{venue}:{pair}": 1.0 for venue in INVENTED for pair in ("USDC/USD", "USDC/USDT")}
REAL = tuple(name for name in CALM if "USDC" in name)


def blame(venue: VenueReading) -> tuple[float, int, list[tuple[str, float, int]]]:
    """Return what a venue is accused of."""
    return venue.dislocation_bp, venue.bases, venue.local


def test_invented_venues_at_par_hide_no_fall() -> None:
    """Six invented venues stay at par while three real ones fall: the coin falls, by its issuer."""
    floor = Floor()
    floor.minutes(0, 59, dict(CALM) | AT_PAR)
    floor.minutes(60, 75, dict(CALM) | AT_PAR, moved=usdc(-900.0, *AT_PAR))
    seen = floor.asset("USDC")
    assert seen.deviation_bp == pytest.approx(-900.0, rel=0.05)
    assert (seen.cause, seen.refute, seen.venues) == (Cause.ISSUER, [], 3)
    for venue in ("kraken", "coinbase", "bitstamp"):
        assert blame(floor.venue(venue)) == (0.0, 0, [])


def test_invented_venues_that_fall_move_no_coin() -> None:
    """They neither move it nor support a deviation; each is shown with its own distance."""
    floor = Floor()
    floor.minutes(0, 59, dict(CALM) | AT_PAR)
    floor.minutes(60, 75, dict(CALM) | AT_PAR, moved=usdc(-900.0, *REAL))
    seen = floor.asset("USDC")
    assert abs(seen.deviation_bp) < 2.0
    assert (seen.cause, seen.support) == (Cause.NONE, [])
    asset, bp, _ = floor.venue("invented3").local[0]
    assert (asset, round(bp, -1)) == ("USDC", -940.0)


def test_nobody_speaks_in_the_place_of_silent_venues() -> None:
    """While the listed feeds of a coin are silent, it has no price, whatever others say."""
    floor = Floor()
    floor.minutes(0, 59, dict(CALM) | AT_PAR)
    before = floor.asset("USDC").price_usd
    quiet = {name: price for name, price in CALM.items() if "USDC" not in name}
    floor.minutes(60, 100, quiet | AT_PAR, moved=usdc(-900.0))
    seen = floor.asset("USDC")
    assert (seen.live, seen.expected, seen.venues) == (0, 4, 0)
    assert seen.price_usd == pytest.approx(before, rel=1e-3)


def test_an_asset_of_unlisted_venues_alone_has_their_price() -> None:
    """Its price is shown as theirs: no listed venue stands behind it, and there is no cause."""
    floor = Floor()
    feeds = dict(CALM) | {"invented0:GEM/USDT": 4.0, "invented1:GEM/USD": 4.0}
    floor.minutes(0, 30, feeds)
    seen = floor.asset("GEM")
    assert seen.price_usd == pytest.approx(4.0, rel=1e-3)
    assert (seen.live, seen.expected, seen.venues, seen.fiat_path) == (2, 2, 0, True)


def test_unlisted_messages_alone_make_no_reading() -> None:
    """They change no time at which the prices of listed venues are looked at."""
    floor = Floor()
    floor.minutes(0, 10)
    floor.reading = None
    floor.minutes(11, 14, AT_PAR)
    assert floor.reading is None
    floor.minutes(15, 15, AT_PAR)  # five minutes after the last one
    assert floor.reading is not None


@pytest.mark.parametrize("bp", [0.0, -900.0])
def test_a_new_feed_counts_from_its_second_day_on(bp: float) -> None:
    """A listed venue that appears today moves nothing of older feeds, and refutes nothing."""
    floor = Floor()
    floor.minutes(0, 9)
    two = 2 * 1_440
    late = {f"binance:{pair}": 1.0 for pair in ("USDC/USD", "USDC/USDT")}
    moved = usdc(bp, *late) if bp else usdc(-900.0, *REAL)
    floor.minutes(two, two + 20)
    floor.minutes(two + 21, two + 40, dict(CALM) | late, moved=moved)
    seen = floor.asset("USDC")
    assert seen.deviation_bp == pytest.approx(bp, abs=25.0)
    assert seen.cause is (Cause.ISSUER if bp else Cause.NONE)


def test_a_new_feed_counts_where_there_is_no_older_one() -> None:
    """Where all older feeds of a coin are silent, the newer one gives its value."""
    floor = Floor()
    floor.minutes(0, 9)
    two = 2 * 1_440
    floor.minutes(two, two + 20, {"kraken:BTC/USD": 20_000.0, "binance:USDC/USD": 1.0})
    seen = floor.asset("USDC")
    assert (seen.live, seen.venues) == (1, 1)
    assert abs(seen.deviation_bp) < 2.0


def test_feeds_younger_than_a_day_decide_no_cause_beside_older_ones() -> None:
    """They are listed, and neither confirm nor refute."""
    new = [feed("x", -90), feed("y", -90), feed("z", 0.0)]
    fresh = [
        type(each)(each.name, each.venue, each.value, each.sd, each.prompt, each.traded, False)
        for each in new
    ]
    config = MarketConfig()
    one_old = attribute_cause(-100 * BP, [feed("a", -90), *fresh], frozenset(), config)
    assert (one_old.cause, len(one_old.support), one_old.refute) == (
        Cause.UNKNOWN, 3, ["z:C/USD"],
    )  # fmt: skip
    assert attribute_cause(-100 * BP, fresh, frozenset(), config).cause is Cause.ISSUER


def test_what_a_feed_weighs_is_bounded_by_its_days() -> None:
    """A burst weighs no more than an hour with all that the quietest of three days traded."""
    floor = Floor()
    for day in range(5):
        floor.tell(quote("kraken:USDC/USD", day * 1_440, 1.0, 100.0))
        floor.tell(quote("kraken:USDC/USD", day * 1_440 + 1, 1.0, 1_000.0 + day))
    edge = floor.state.edges["kraken:USDC/USD"]
    now = at(4 * 1_440 + 2)
    assert edge.days == [1_101.0, 1_102.0, 1_103.0]
    assert edge.traded(now) == pytest.approx(1_101.0 / 60.0)
    floor.tell(quote("kraken:USDC/USD", 4 * 1_440 + 3, 1.0, 1e15))
    assert edge.traded(at(4 * 1_440 + 4)) == pytest.approx(1_101.0 / 60.0)
    assert edge.traded(at(5 * 1_440 + 4)) == pytest.approx(1_102.0 / 60.0)
    assert edge.traded(at(9 * 1_440)) == pytest.approx(1_102.0 / 60.0)


def test_rows_of_older_builds_count_as_proven() -> None:
    """A feed whose first day was not recorded counts at once, by its recent volume."""
    edge = FeedState("kraken", "USDC", "USD", 0, 0, 0, at(0), at(0), 60, 1e-3, 1e-3, 60, volume=7.0)
    assert edge.is_proven(at(0))
    assert edge.traded(at(0)) == 7.0
    edge.observe(at(0) + DAY, 0.0, 70.0, None)
    edge.observe(at(0) + 2 * DAY, 0.0, 70.0, None)
    assert edge.days == [70.0]


def test_unlisted_touches_survive_a_restart() -> None:
    """Fresh observations of unlisted venues that wait for a tick are in the rows."""
    floor = Floor()
    floor.tell(quote("invented0:GEM/USD", 0, 4.0))
    rows = {key: row for key, row in floor.state.drain().items() if row is not None}
    again = MarketState()
    again.load(rows)
    assert list(again.unlisted) == ["GEM", "USD"]
    assert again.meta.unlisted_heard
