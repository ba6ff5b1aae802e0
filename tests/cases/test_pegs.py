"""Coins that promise euros, another coin, or a growing amount of one: how far they are from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from riskwatch.core.clock import SECOND
from tests.support.cases import Replayed, case, rewritten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START = datetime(2024, 5, 6, 10, 0, tzinfo=UTC)
DECISIONS = "SELECT ts, state, cause, rule FROM decision WHERE scope = '{}' ORDER BY ts"
VALUE = "SELECT deviation_bp, cause, quality FROM asset_now WHERE asset = '{}'"
EVERY_5 = range(0, 60, 5)
VENUES = ("kraken", "coinbase")

Prices = dict[tuple[str, str], float]


def line(n: int, at: datetime, **fields: Any) -> str:
    """Return one event as a line."""
    source = fields.get("venue", "desk")
    event = {"v": 1, "event_id": f"e{n}", "ts": at.isoformat(), "source": source} | fields
    return msgspec.json.encode(event).decode()


def quotes(
    prices: Callable[[int], Prices],
    minutes: int,
    every_s: int = 60,
    venues: tuple[str, ...] = VENUES,
) -> Iterator[str]:
    """Yield the books of venues, which all state the prices of a second since the start."""
    n = 0
    for second in range(0, minutes * 60, every_s):
        for venue in venues:
            for (base, quote), price in prices(second).items():
                n += 1
                book = {"bid": f"{price * 0.9999:.10f}", "ask": f"{price * 1.0001:.10f}"}
                at = START + timedelta(seconds=second)
                yield line(
                    n, at, type="quote", venue=venue, base=base, quote=quote, volume="5", **book
                )


def peg(n: int, minute: int, **fields: Any) -> str:
    """Return a peg event that states a rate."""
    at = START + timedelta(minutes=minute)
    return line(n, at, type="peg", asset="wstETH", peg="ETH", **fields)


def in_order(*parts: Iterator[str] | list[str]) -> list[str]:
    """Return lines in the order of time."""
    lines = [each for part in parts for each in part]
    return sorted(lines, key=lambda each: datetime.fromisoformat(msgspec.json.decode(each)["ts"]))


@pytest.mark.parametrize("as_reported", [True, False])
def test_a_euro_coin_below_its_euro_is_halted(tmp_path: Path, as_reported: bool) -> None:
    """EURC loses 15 % of its euro on two venues: HALT; without a dollar market of it as well.

    Nothing else is restricted but the firm, if it lost too much on the coin.
    """
    seen = Replayed(tmp_path, case("eurc_depeg") if as_reported else rewritten("eurc_depeg"))
    deviation, cause, quality = seen.rows(VALUE.format("EURC"))[0]
    assert abs(deviation + 1_500.0) < 1.0
    assert (cause, quality) == ("issuer", "good")
    made = [row for row in seen.rows(DECISIONS.format("asset:EURC")) if row[2] == "issuer"]
    assert made[-1][1] == "HALT"
    assert made[-1][3].startswith("asset.discount.halt")
    scopes = {scope for (scope,) in seen.rows("SELECT scope FROM killswitch_now")}
    assert scopes - {"firm"} == {"asset:EURC"}
    rules = {rule for (rule,) in seen.rows("SELECT rule FROM decision_log WHERE scope = 'firm'")}
    assert all(rule.startswith("firm.loss.") for rule in rules)


def test_a_euro_that_falls_with_its_coin_is_nothing(tmp_path: Path) -> None:
    """The euro loses a fifth against the dollar, and its coin follows: nobody is restricted."""

    def prices(second: int) -> Prices:
        euro = 1.08 if second < 1_800 else 0.86
        return {("EUR", "USD"): euro, ("EURC", "EUR"): 1.0, ("EURC", "USD"): euro}

    seen = Replayed(tmp_path, quotes(prices, 60))
    assert seen.rows(DECISIONS.format("asset:EURC")) == []
    assert abs(seen.rows(VALUE.format("EURC"))[0][0]) < 1.0


def staked(second: int, discount: float = 0.06) -> Prices:
    """Ether falls by 30 % after ten minutes; a staked coin loses a share of it after thirty."""
    ether = 3_000.0 if second < 600 else 2_100.0
    coin = 1.0 if second < 1_800 else 1.0 - discount
    return {("ETH", "USD"): ether, ("stETH", "ETH"): coin, ("stETH", "USD"): ether * coin}


def test_a_staked_coin_that_follows_its_coin_is_nothing(tmp_path: Path) -> None:
    """Ether falls by 30 % and the staked coin follows: no decision on it."""
    seen = Replayed(tmp_path, quotes(lambda s: staked(s, 0.0), 60))
    assert seen.rows(DECISIONS.format("asset:stETH")) == []
    assert seen.rows(VALUE.format("stETH"))[0] == (0.0, "none", "good")


def test_a_staked_coin_below_its_coin_is_reduced(tmp_path: Path) -> None:
    """Six per cent below ether is REDUCE, however long, by the coin; ether itself is fine."""
    seen = Replayed(tmp_path, quotes(staked, 300))
    deviation, cause, quality = seen.rows(VALUE.format("stETH"))[0]
    assert abs(deviation + 600.0) < 1.0
    assert (cause, quality) == ("coin", "good")
    made = seen.rows(DECISIONS.format("asset:stETH"))
    assert [(state, why) for _, state, why, _ in made] == [("REDUCE", "coin")]
    assert made[0][3] == "asset.coin.reduce"
    assert seen.rows(DECISIONS.format("asset:ETH")) == []


def accruing(second: int) -> Prices:
    """A coin that promises 1.17 ether loses 6 % of it after thirty minutes."""
    coin = 1.17 if second < 1_800 else 1.17 * 0.94
    return {("ETH", "USD"): 3_000.0, ("wstETH", "ETH"): coin}


def test_an_accruing_coin_is_measured_against_its_rate(tmp_path: Path) -> None:
    """At 1.17 ether it is at its peg, by the rate of its issuer; 6 % below that is REDUCE."""
    rates = [peg(9_000 + n, n, venue="lido", rate=f"{1.17 + n * 1e-7:.7f}") for n in EVERY_5]
    seen = Replayed(tmp_path, in_order(rates, quotes(accruing, 60)))
    deviation, cause, quality = seen.rows(VALUE.format("wstETH"))[0]
    assert abs(deviation + 600.0) < 2.0
    assert (cause, quality) == ("coin", "good")
    made = seen.rows(DECISIONS.format("asset:wstETH"))
    assert [(state, why) for _, state, why, _ in made] == [("REDUCE", "coin")]
    assert seen.rows("SELECT 1 FROM data_quality WHERE issue = 'PEG_UNKNOWN'") == []


def test_an_accruing_coin_without_a_rate_is_unknown(tmp_path: Path) -> None:
    """Nobody states the rate: the deviation says nothing, and the stale quality is explained."""
    seen = Replayed(tmp_path, quotes(accruing, 60))
    assert seen.rows(VALUE.format("wstETH"))[0] == (0.0, "none", "stale")
    told = seen.rows("SELECT subject, detail FROM data_quality WHERE issue = 'PEG_UNKNOWN'")
    assert told == [
        ("asset:wstETH", "no peg event of lido states the `rate` at which it accrues ETH")
    ]


def test_a_lower_rate_does_not_hide_a_fall(tmp_path: Path) -> None:
    """The issuer cuts its promise by 6 % with the price: the former rate counts, and REDUCE."""
    rates = [peg(9_000 + n, n, venue="lido", rate="1.17" if n < 30 else "1.0998") for n in EVERY_5]
    seen = Replayed(tmp_path, in_order(rates, quotes(accruing, 60)))
    assert abs(seen.rows(VALUE.format("wstETH"))[0][0] + 600.0) < 1.0
    assert seen.rows(DECISIONS.format("asset:wstETH"))[-1][1] == "REDUCE"
    told = seen.rows("SELECT detail FROM data_quality WHERE issue = 'PEG_UNKNOWN'")
    assert told == [("its rate is said to be 1.0998; 1.17 counts for a week",)]


def test_a_rate_of_a_stranger_is_refused(tmp_path: Path) -> None:
    """A venue that is neither the issuer nor listed states a rate: a dead letter says so."""
    rates = [peg(9_000, 1, venue="stranger", rate="1.0998")]
    seen = Replayed(tmp_path, in_order(rates, quotes(accruing, 10)))
    told = seen.rows("SELECT reason, detail FROM dead_letter")
    assert [reason for reason, _ in told] == ["FIELD_RANGE"]
    assert "stranger is neither its issuer nor a listed venue" in told[0][1]
    assert seen.rows(VALUE.format("wstETH"))[0][2] == "stale"


def deep(second: int) -> Prices:
    """A dollar coin loses 7 % against everything after ten minutes."""
    coin = 1.0 if second < 600 else 0.93
    return {("USDC", "USD"): coin, ("BTC", "USD"): 60_000.0, ("BTC", "USDC"): 60_000.0 / coin}


@pytest.mark.parametrize("every_s", [5, 10, 20, 30])
def test_a_deep_fall_on_four_feeds_is_halted_in_time(tmp_path: Path, every_s: int) -> None:
    """USDC at -700 bp on four agreeing feeds of two venues: HALT in less than 40 seconds."""
    seen = Replayed(tmp_path, quotes(deep, 12, every_s), tick_us=5 * SECOND)
    halted = [
        datetime.fromisoformat(ts)
        for ts, state, cause, _ in seen.rows(DECISIONS.format("asset:USDC"))
        if (state, cause) == ("HALT", "issuer")
    ]
    assert halted[0] - (START + timedelta(minutes=10)) < timedelta(seconds=40)


def test_a_deep_fall_on_one_venue_waits(tmp_path: Path) -> None:
    """The same fall on the feeds of one venue alone waits for the five minutes of the slow rule."""
    seen = Replayed(tmp_path, quotes(deep, 18, 10, ("kraken",)), tick_us=5 * SECOND)
    halted = [
        datetime.fromisoformat(ts)
        for ts, state, _, _ in seen.rows(DECISIONS.format("asset:USDC"))
        if state == "HALT"
    ]
    assert halted[0] - (START + timedelta(minutes=10)) >= timedelta(minutes=5)
