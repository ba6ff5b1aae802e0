"""Profit and delta of every derivative of a venue's list, against the venue's own formula."""

from __future__ import annotations

import csv
import gzip
import os
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from msgspec.structs import replace

from riskwatch.core.events import NO_QTY
from riskwatch.core.instruments import value_position
from tests.support.facts import fill, read, run, tick

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.readings import OpenPosition

MINOR: Final = {"XBt": ("BTC", 10**8), "USDt": ("USDT", 10**6), "Gwei": ("ETH", 10**9)}
"""Settlement coin of the venue's smallest units, and their number."""
FILLS: Final = ((700, Fraction(1)), (200, Fraction(9, 10)), (100, Fraction(6, 5)))
"""Contracts, and the price as a share of the first one."""
FIRST: Final = Fraction(2_000)
MARK: Final = Fraction(1_500)
USD: Final = {"BTC": 30_000.0, "ETH": 2_000.0, "USDT": 0.99, "USD": 1.0}


class Listed(NamedTuple):
    """One derivative as the venue lists it."""

    symbol: str
    multiplier: int
    inverse: bool
    quanto: bool
    settle: str
    units: int

    def value(self, price: Fraction) -> Fraction:
        """Return the value of one contract in units of the settlement coin, as the venue does."""
        value = self.multiplier / price if self.inverse else self.multiplier * price
        return value / self.units


def listed() -> Iterator[Listed]:
    """Read the derivatives of the list; skip where it is not here."""
    given = os.environ.get("RISKWATCH_RECORDINGS")
    folder = Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "data"
    path = folder / "accounts" / "bitmex_instruments.csv.gz"
    if not path.is_file():
        pytest.skip(f"no list of instruments: {path} is no file")
    with gzip.open(path, "rt", newline="") as lines:
        for row in csv.DictReader(lines):
            if row["settlCurrency"] not in MINOR or row["typ"][0] != "F":
                continue
            settle, units = MINOR[row["settlCurrency"]]
            multiplier = int(float(row["multiplier"]))
            inverse, quanto = row["isInverse"] == "True", row["isQuanto"] == "True"
            yield Listed(row["symbol"], multiplier, inverse, quanto, settle, units)


def form_of(each: Listed) -> str:
    """Return the form of a contract."""
    return "inverse" if each.inverse else "quanto" if each.quanto else "linear"


def bought(each: Listed) -> OpenPosition:
    """Return the position that the ledger has after three fills in contracts."""
    terms: dict[str, Any] = {
        "contract_type": form_of(each), "settle": each.settle, "instrument": each.symbol,
        "contract_size": _decimal(Fraction(abs(each.multiplier), each.units)),
    }  # fmt: skip
    base = each.settle if each.inverse else "XYZ"
    quote = each.settle if form_of(each) == "linear" else "USD"
    fills = []
    for n, (contracts, share) in enumerate(FILLS):
        event = fill(str(n), n, kind="perp", base=base, quote=quote, **terms)
        price, number = _decimal(FIRST * share), _decimal(Fraction(contracts))
        fills.append(replace(event, qty=NO_QTY, price=price, contracts=number))
    (found,) = read(run([*fills, tick(60)])).positions
    total = sum(contracts for contracts, _ in FILLS)
    worth = sum(contracts * each.value(FIRST * share) for contracts, share in FILLS)
    # The entry is the price at which all contracts have the value that was paid.
    unit = Fraction(worth, total) * each.units / each.multiplier
    return replace(found, entry_price=_decimal(1 / unit if each.inverse else unit))


def _decimal(x: Fraction) -> Decimal:
    """Return a fraction to forty digits."""
    with localcontext() as context:
        context.prec = 40
        return Decimal(x.numerator) / Decimal(x.denominator)


def test_profit_and_delta_of_each_listed_derivative() -> None:
    """The profit is the change of the contracts' value, and the delta its slope, for each form."""
    counts: dict[str, int] = {}
    for each in listed():
        position = bought(each)
        quote_usd = USD[position.quote]
        prices = {**USD, position.base: float(MARK) * quote_usd}
        found = value_position(position, prices.get)
        paid = sum(n * each.value(FIRST * share) for n, share in FILLS)
        total = sum(n for n, _ in FILLS)
        profit = float(total * each.value(MARK) - paid)
        assert found.pnl == pytest.approx(profit, rel=1e-9), each.symbol
        assert found.settle == each.settle, each.symbol
        step = Fraction(1, 10**6)
        slope = float(total * (each.value(MARK + step) - each.value(MARK - step)) / (2 * step))
        settle_usd = prices[each.settle]
        delta = slope * settle_usd / quote_usd
        assert found.delta == pytest.approx(delta, rel=1e-6), each.symbol
        counts[form_of(each)] = counts.get(form_of(each), 0) + 1
    assert min(counts.get(form, 0) for form in ("linear", "inverse", "quanto")) > 50
