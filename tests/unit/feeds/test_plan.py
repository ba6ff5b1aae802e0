"""The survey before an import: format, step, venue and pair, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from riskwatch.core.clock import HOUR, MINUTE, SECOND
from riskwatch.errors import FeedError
from riskwatch.feeds import BarReader, Tally, plan, read_quotes
from riskwatch.feeds.symbol import feed_of, split_pair
from riskwatch.feeds.values import StepEstimator, parse_step
from tests.unit.feeds import samples

PAIR: dict[str, Any] = {"venue": "here", "base": "USDC", "quote": "USD"}


@pytest.mark.parametrize(
    ("name", "feed"),
    [
        ("kraken_usdcusd.parquet", "kraken USDC/USD"),
        ("kraken_usdtusd.parquet", "kraken USDT/USD"),
        ("coinbase_btcusdt.parquet", "coinbase BTC/USDT"),
        ("binance.us_BTC-USDC_1m.csv", "binanceus BTC/USDC"),
        ("Binance-BUSDUSDT-1m-2023-03.csv.gz", "binance BUSD/USDT"),
        ("kraken_XBTUSDT_1.csv", "kraken BTC/USDT"),
        ("busd_2023_kraken_FOOUSDT.csv", "kraken FOO/USDT"),
    ],
)
def test_feed_from_the_file_name(name: str, feed: str) -> None:
    """An unambiguous file name needs no options."""
    assert str(feed_of(Path(name))) == feed


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("BTCUSDT_1h.csv", "--venue"),
        ("kraken_binance_BTCUSDT.csv", "--venue"),
        ("kraken_orders_2015.csv", "--base and --quote"),
        ("kraken_XYZBUSD.csv", "--base and --quote"),
        ("kraken_BTCUSD_ETHUSD.csv", "--base and --quote"),
        ("kraken_entry.csv", "--base and --quote"),
    ],
)
def test_a_doubtful_name_names_the_option(name: str, option: str) -> None:
    """The error for an ambiguous name states the option to give."""
    with pytest.raises(FeedError, match=f"give {option}"):
        feed_of(Path(name))


def test_options_win_over_the_name() -> None:
    """Options take precedence, and the file name gives the rest."""
    feed = feed_of(Path("kraken_usdcusd.csv"), venue="mine", quote="EUR")
    assert str(feed) == "mine USDC/EUR"


@pytest.mark.parametrize(
    ("symbol", "pair"),
    [
        ("USDTUSD", ("USDT", "USD")),
        ("BTCBUSD", ("BTC", "BUSD")),
        ("TUSDUSDT", ("TUSD", "USDT")),
        ("ETHBTC", ("ETH", "BTC")),
        ("SUSDUSDT", ("SUSD", "USDT")),
        ("BUSD", None),
        ("USD", None),
        ("CELSIUS", None),
        ("COUNTRY", None),
    ],
)
def test_split_pair(symbol: str, pair: tuple[str, str] | None) -> None:
    """A known base decides; words that only end like a pair are not split."""
    assert split_pair(symbol) == pair


@pytest.mark.parametrize("name", ["a b", "a/b", "a:b", "x" * 65])
def test_a_venue_that_no_event_may_carry(name: str) -> None:
    """An invalid venue is refused before anything is written, with the option."""
    with pytest.raises(FeedError, match="--venue must be a name"):
        feed_of(Path("kraken_usdcusd.csv"), venue=name)


def steps(seconds: list[int]) -> StepEstimator:
    """Return a new `StepEstimator` with these times."""
    seen = StepEstimator()
    for second in seconds:
        seen.add(second * SECOND)
    return seen


def test_step_is_the_mode_of_the_distances() -> None:
    """Gaps do not change the step, nor does the direction of the file."""
    times = [0, 60, 120, 300, 360, 3600, 3660]
    assert steps(times).step(name="x") == MINUTE
    assert steps(times[::-1]).step(name="x") == MINUTE
    assert (steps(times).ordered, steps(times[::-1]).ordered) == (True, False)


@pytest.mark.parametrize(
    ("times", "given", "message"),
    [
        ([0], None, "fewer than two usable times: give the bar length by --step"),
        ([0, 120, 240, 360, 420], None, "no clear step.*--step"),
        ([0, 60, 120], HOUR, "--step 1h is longer than the commonest distance between rows, 1m"),
    ],
)
def test_a_doubtful_step(times: list[int], given: int | None, message: str) -> None:
    """An ambiguous step is an error."""
    with pytest.raises(FeedError, match=message):
        steps(times).step(name="x", given=given)


def test_a_given_step_is_taken() -> None:
    """Rows further apart than the given step are gaps; one row is enough."""
    assert steps([0, 300, 600]).step(name="x", given=MINUTE) == MINUTE
    assert steps([0]).step(name="x", given=HOUR) == HOUR


@pytest.mark.parametrize("text", ["", "1", "m", "0m", "-1m", "1.5h", "1w", "1m ", "9999999s"])
def test_a_step_not_written_like_one(text: str) -> None:
    """The error for an invalid step states the syntax."""
    with pytest.raises(FeedError, match="--step must be a whole number with s, m, h or d"):
        parse_step(text)


def test_unknown_columns_list_the_readers(tmp_path: Path) -> None:
    """The error for unknown columns lists the readers."""
    path = samples.write(tmp_path / "x.csv", ["hour,inflow", "1,2"])
    with pytest.raises(FeedError, match=r"no reader knows hour, inflow.*klines.*orders"):
        plan(path, **PAIR)


@pytest.mark.parametrize("fmt", ["klines", "orders"])
def test_the_wrong_format_says_what_was_expected(tmp_path: Path, fmt: str) -> None:
    """A ``--format`` that does not match is an error with both lists of columns."""
    path = samples.candles_parquet(tmp_path / "c.parquet", 3)
    with pytest.raises(FeedError, match=f"expected the {fmt} columns .* found start, low"):
        plan(path, fmt=fmt, **PAIR)


def test_a_format_that_does_not_exist(tmp_path: Path) -> None:
    """The error for an unknown format lists the known ones."""
    path = samples.candles_parquet(tmp_path / "c.parquet", 3)
    with pytest.raises(FeedError, match="--format must be auto or one of klines, candles"):
        plan(path, fmt="tea-leaves", **PAIR)


def test_a_header_and_nothing_else(tmp_path: Path) -> None:
    """A file without rows is refused."""
    path = samples.write(tmp_path / "x.csv", ["date,open,high,low,close,volume"])
    with pytest.raises(FeedError, match="has a header but no rows"):
        plan(path, **PAIR)


def test_a_reader_that_loses_rows_is_stopped(tmp_path: Path) -> None:
    """A reader that does not count every row is detected at the end."""

    class Forgetful(BarReader):
        """Drops every tenth bar without a word."""

        name = "forgetful"
        about = "candles, nearly all of them"
        times = ("start",)

        def bars(self, table, tally):  # type: ignore[no-untyped-def]
            """Yield most bars."""
            return (bar for bar in super().bars(table, tally) if bar.row % 10)

    path = samples.candles_parquet(tmp_path / "c.parquet", 30)
    with pytest.raises(FeedError, match="forgetful lost rows: the file has 30, read 30, used 27"):
        list(read_quotes(plan(path, reader=Forgetful(), **PAIR), Tally()))
