"""What an order pays for asking: beside one look-up in a dict, on the same machine and run."""

from __future__ import annotations

import timeit
from math import inf
from typing import TYPE_CHECKING, Any, Final

import pytest

from riskwatch.client import KillSwitch, OrderLimits
from riskwatch.client.guard.trust import steady
from riskwatch.client.guard.view import ALLOWED, CANCEL_ALLOWED, View
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.core.enums import State
from riskwatch.core.scopes import ScopeIndex
from tests.support.guarding import Time, Truth
from tests.support.pretrade import LEFT, LimitedSwitch, client_limits

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from riskwatch.client import Answer
    from riskwatch.client.guard.view import SwitchRow

LIMIT_S: Final = 2e-6
TIMES: Final = 200
"""Calls in one round: few, so that some rounds are not interrupted."""
ROUNDS: Final = 3_000
SCOPES: Final = 2_000
CASES: Final[dict[str, dict[str, Any]]] = {
    "normal": {"counterparty": "kraken", "asset": "BTC", "book": "arb"},
    "pair": {"counterparty": "kraken", "asset": ("BTC", "USD"), "book": "arb"},
    "halted": {"counterparty": "kraken", "asset": ("BTC", "coin1"), "book": "arb"},
    "reduced, reduces": {"counterparty": "venue2", "asset": "BTC", "reduces": True},
    "cancel": {"counterparty": "kraken", "asset": "BTC", "book": "arb", "cancel": True},
}


def guard() -> KillSwitch:
    """A guard with many restricted scopes, a third at WATCH, at REDUCE and at HALT, and no end."""
    clock = steady()
    switch = KillSwitch("bench", kafka=KafkaConnection())
    truth = Truth(Time())
    rows: list[SwitchRow] = []
    states = (State.WATCH, State.HALT, State.REDUCE)
    for n in range(SCOPES // 2):
        rows.append(truth.decide(f"asset:coin{n}", states[n % 3]))
        rows.append(truth.decide(f"counterparty:venue{n}", states[n % 3]))
    for row in rows:
        switch.trust.row(row)
    switch.trust.settle()
    switch.trust.view = switch.trust.view.lasting(clock() + 1e6, "")
    return switch


def unchecked(
    switch: KillSwitch,
    *,
    counterparty: str | None = None,
    asset: Any = None,
    book: str | None = None,
    side: str | None = None,
    reduces: bool = False,
    cancel: bool = False,
    hedge: bool = False,
    usd: float | None = None,
    slip_bp: float | None = None,
) -> Answer | None:
    """Answer at NORMAL without a check of types and names: what an answer costs at least."""
    del side, reduces, hedge, usd, slip_bp
    if cancel:
        return CANCEL_ALLOWED
    view = switch.trust.view
    if switch._clock() < view.until:
        row = None if view.quiet else view.index.find(book, counterparty, asset)
        if row is None:
            return ALLOWED
    return None


@pytest.mark.parametrize("quiet", [True, False])
@pytest.mark.parametrize("case", ["normal", "pair"])
def test_checking_types_at_most_doubles_the_cost_at_normal(case: str, *, quiet: bool) -> None:
    """Refusing what is no text costs less than the answer itself, in the same run."""
    switch, order = guard(), CASES[case]
    if quiet:
        switch.trust.view = View(ScopeIndex(), switch.trust.view.until, "")
    assert switch.allows(**order) is unchecked(switch, **order) is ALLOWED
    ways = (lambda: switch.allows(**order), lambda: unchecked(switch, **order))
    checked_s, unchecked_s = (min(timeit.repeat(way, number=TIMES, repeat=ROUNDS)) for way in ways)
    assert checked_s <= 2 * unchecked_s, f"{checked_s / unchecked_s:.2f} times"


def without_limits(
    switch: KillSwitch,
    *,
    counterparty: Any = None,
    asset: Any = None,
    book: Any = None,
    side: Any = None,
    reduces: Any = False,
    cancel: Any = False,
    hedge: Any = False,
    usd: Any = None,
    slip_bp: Any = None,
) -> Answer | None:
    """Answer as the guard did before there were limits before the trade, line by line."""
    if cancel is True:
        return CANCEL_ALLOWED
    names = switch._names
    try:
        known = (
            switch._advisory is None
            and type(cancel) is type(reduces) is type(hedge) is bool
            and (book is None or (type(book) is str and book in names))
            and (counterparty is None or (type(counterparty) is str and counterparty in names))
            and (asset is None or asset in switch._assets)
            and (side is None or type(side) is str)
            and (usd is None or type(usd) is float)
            and (slip_bp is None or type(slip_bp) is float)
        )
    except TypeError:
        known = False
    view = switch.trust.view
    if known and switch._clock() < view.until:
        row = None if view.quiet else view.index.find(book, counterparty, asset)
        if row is None:
            return ALLOWED
    return None


@pytest.mark.parametrize("quiet", [True, False])
@pytest.mark.parametrize("case", ["normal", "pair"])
def test_limits_at_most_double_the_cost_at_normal(
    case: str, benchmark: BenchmarkFixture, *, quiet: bool
) -> None:
    """An order with size and price, checked against all limits, beside the old answer."""
    limited = LimitedSwitch(limits=OrderLimits(rate=1e9))
    terms = client_limits(share=1.0, rate=1e12, burst=1_000_000)
    left = dict.fromkeys(LEFT, 1e12)
    limited.know(limited.table(left=left, clients={"desk-1": terms}))
    switch, order = guard(), CASES[case]
    if quiet:
        switch.trust.view = View(ScopeIndex(), switch.trust.view.until, "")
    switch._gate = limited.switch._gate
    switch._gate._clock = switch._clock
    switch._gate._until = switch._gate._fresh_until = inf
    sized = order | {"usd": 100.0, "price": 20_000.0}
    assert switch.allows(**sized) is without_limits(switch, **order) is ALLOWED
    ways = (lambda: switch.allows(**sized), lambda: without_limits(switch, **order))
    now_s, before_s = (min(timeit.repeat(way, number=TIMES, repeat=ROUNDS)) for way in ways)
    benchmark.extra_info["times the old answer"] = round(now_s / before_s, 2)
    benchmark.extra_info["us"] = round(now_s / TIMES * 1e6, 2)
    benchmark(lambda: switch.allows(**sized))
    assert now_s <= 2 * before_s, f"{now_s / before_s:.2f} times"


@pytest.mark.parametrize("case", list(CASES))
def test_what_it_costs_to_ask(case: str, benchmark: BenchmarkFixture) -> None:
    """At most two microseconds, with two thousand scopes restricted; the best of many rounds."""
    switch, order = guard(), CASES[case]
    want = {"halted": False}.get(case, True)
    assert bool(switch.allows(**order)) is want
    asked = min(timeit.repeat(lambda: switch.allows(**order), number=TIMES, repeat=ROUNDS)) / TIMES
    table = {f"k{n}": n for n in range(SCOPES)}
    looked = min(timeit.repeat(lambda: table.get("k7"), number=TIMES, repeat=ROUNDS)) / TIMES
    benchmark.extra_info["us"] = round(asked * 1e6, 2)
    benchmark.extra_info["times a dict look-up"] = round(asked / looked, 1)
    benchmark(lambda: switch.allows(**order))
    assert asked <= LIMIT_S, f"{asked * 1e6:.2f} us"
