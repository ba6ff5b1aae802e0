"""Exposures, limits and credit assessments in USD."""

from __future__ import annotations

from decimal import Decimal
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskwatch.core.enums import QualityIssue
from riskwatch.core.events import Credit, NettingSet
from riskwatch.core.outputs import (
    CounterpartyAssessed,
    DataQualityRaised,
    DataQualityResolved,
    DecisionMade,
    ExposureChanged,
    LimitMeasured,
    PositionChanged,
)
from riskwatch.core.readings import CounterpartyReading, Holding, OpenPosition
from riskwatch.core.risk.config import RiskConfig
from riskwatch.core.risk.credit_loss import CreditAssessor, combined_loss_rate, horizon_pd
from riskwatch.core.risk.exposure import sum_exposures
from riskwatch.core.risk.scorer import ImpactLaw
from tests.support.risk import (
    CALM,
    LIMITS,
    REFERENCE,
    Desk,
    asset,
    at,
    bitcoin,
    desk,
    held,
    market,
    news,
    of,
    without,
)

PRICES = {"USD": 1.0, "USDC": 0.99, "USDT": 1.01, "BTC": 20_000.0}
HOLDING = st.builds(
    Holding,
    st.sampled_from(("mm", "treasury")),
    st.sampled_from(("main", "sub")),
    st.sampled_from((*PRICES, "XYZ")),
    st.sampled_from(
        ("custody", "margin", "borrowed", "in_transit", "unrealized_pnl", "open_order")
    ),
    st.integers(-1000, 1000).map(Decimal),
)


def book(*readings: CounterpartyReading) -> Desk:
    """Return a desk with prices and holdings."""
    d = desk()
    d.tell(market(0, asset(bp=-100.0), asset("USDT", bp=100.0), bitcoin()), *readings)
    return d


def netted(rows: list[tuple[str, Holding]]) -> list[tuple[str, Holding]]:
    """Return holdings with the books of each account added up where the venue holds them."""
    sums: dict[tuple[str, str, str, str], Decimal] = {}
    for party, h in rows:
        if h.component in ("custody", "margin"):
            key = (party, h.account, h.asset, h.component)
            sums[key] = sums.get(key, Decimal(0)) + h.amount
    owed = [row for row in rows if row[1].component not in ("custody", "margin")]
    return owed + [(key[0], Holding("", *key[1:], n)) for key, n in sums.items()]


def place(row: tuple[str, Holding]) -> tuple[str, ...]:
    """Return what a reading names once: the counterparty, and what identifies a holding there."""
    party, h = row
    return (party, h.book, h.account, h.wallet, h.asset, h.component)


@given(
    st.lists(
        st.tuples(st.sampled_from(("kraken", "coinbase")), HOLDING), max_size=30, unique_by=place
    )
)
def test_sums_equal_the_obvious_way(rows: list[tuple[str, Holding]]) -> None:
    """Sums by asset, counterparty, book, issuer, bank, group and firm are correct."""
    d = book(
        *(
            CounterpartyReading(at(0), party, [h for p, h in rows if p == party], [], CALM)
            for party in ("kraken", "coinbase")
        )
    )
    found = sum_exposures(d.state, REFERENCE)

    owed = netted(rows)

    def total(keep: object, of: list[tuple[str, Holding]]) -> tuple[float, float, float]:
        """Return long, short and orders of the rows that `keep` selects."""
        assert callable(keep)
        long = short = orders = 0.0
        for party, h in of:
            if h.asset not in PRICES or not keep(party, h):
                continue
            value = float(h.amount) * PRICES[h.asset]
            if h.component == "open_order":
                orders += value
                continue
            value = -value if h.component == "borrowed" else value
            long, short = long + max(0.0, value), short + max(0.0, -value)
        return long, short, orders

    def same(
        name: str, table: object, keep: object, share: float = 1.0, *, by_book: bool = False
    ) -> None:
        """Assert that two sums are equal to the accuracy of floats; only books are not netted."""
        assert isinstance(table, dict)
        sums = table.get(name)
        made = (0.0, 0.0, 0.0) if sums is None else (sums.long, sums.short, sums.orders)
        assert made == pytest.approx(
            [x * share for x in total(keep, rows if by_book else owed)], abs=1e-6
        )

    for name in PRICES:
        same(name, found.asset, lambda _, h, name=name: h.asset == name)
    for name in ("kraken", "coinbase"):
        same(name, found.party, lambda p, _, name=name: p == name)
    for name in ("mm", "treasury"):
        same(name, found.book, lambda _, h, name=name: h.book == name, by_book=True)
    same("circle", found.issuer, lambda _, h: h.asset == "USDC")
    same("svb", found.bank, lambda _, h: h.asset == "USDC", 0.1)
    same("g", found.group, lambda _p, _h: True)
    same("all", {"all": found.firm}, lambda _p, _h: True)


def test_exposures_go_out_exact_and_close() -> None:
    """Amounts are exact, values in cents; a holding that left the reading is closed with 0."""
    d = desk()
    exact = "0.123456789012345678"
    (made,) = of(d.tick(0, market(0, bitcoin()), held(0, ("BTC", exact))), ExposureChanged)
    assert (made.amount, made.price_usd, made.value_usd) == (
        Decimal(exact), Decimal(20000), Decimal("2469.14")
    )  # fmt: skip
    assert of(d.tick(1, held(1, ("BTC", exact))), ExposureChanged) == []
    (closed,) = of(d.tick(2, held(2)), ExposureChanged)
    assert closed.key() == made.key()
    assert closed.amount == 0
    assert of(d.tick(3, held(3)), ExposureChanged) == []


def test_holdings_are_valued_again_in_time() -> None:
    """A price change is published after a quarter of an hour, not at every tick."""
    d = desk()
    d.tick(0, market(0, bitcoin()), held(0, ("BTC", "1")))
    for minute in range(1, 40):
        d.tick(minute, market(minute, bitcoin(20_000.0 + 10.0 * minute, seen=minute + 1)))
    again = of(d.out, ExposureChanged)[1:]
    assert [a.ts.minute for a in again] == [15, 30]


def test_a_price_that_hardly_moved_values_nothing_again() -> None:
    """Below a thousandth of what was published, however long it takes; then at once."""
    d = desk()
    d.tick(0, market(0, bitcoin()), held(0, ("BTC", "1")))
    for minute in range(1, 40):
        d.tick(minute, market(minute, bitcoin(20_000.0 + 0.5 * minute, seen=minute + 1)))
    assert of(d.out, ExposureChanged)[1:] == []
    d.tick(40, market(40, bitcoin(20_020.0, seen=41)))
    (again,) = of(d.out, ExposureChanged)[1:]
    assert again.value_usd == Decimal(20_020)


def test_what_has_no_price_is_said_and_left_out() -> None:
    """PRICE_MISSING is open while it lasts; unknown names are reported, too."""
    d = desk()
    out = d.tick(0, held(0, ("BTC", "1"), ("XYZ", "5"), party="newvenue"))
    assert [o.value_usd for o in of(out, ExposureChanged)] == [None, None]
    assert {(o.issue, o.subject) for o in of(out, DataQualityRaised)} == {
        (QualityIssue.PRICE_MISSING, "asset:BTC"),
        (QualityIssue.PRICE_MISSING, "asset:XYZ"),
        (QualityIssue.REFERENCE_MISSING, "asset:XYZ"),
        (QualityIssue.REFERENCE_MISSING, "counterparty:newvenue"),
    }
    later = d.tick(10, market(10, bitcoin()))
    assert [(o.issue, o.subject) for o in of(later, DataQualityResolved)] == [
        (QualityIssue.PRICE_MISSING, "asset:BTC")
    ]


def test_positions_go_out_and_close() -> None:
    """Positions are published with their signed notional."""
    d = desk()
    p = OpenPosition("mm", "main", "PERP", "BTC", "USD", Decimal(-2), None, None, None)
    (made,) = of(d.tick(0, market(0, bitcoin()), held(0, positions=[p])), PositionChanged)
    assert made.notional_usd == Decimal("-40000.00")
    flat = OpenPosition("mm", "main", "PERP", "BTC", "USD", Decimal(0), None, None, None)
    (closed,) = of(d.tick(1, held(1, positions=[flat])), PositionChanged)
    assert closed.qty == 0


def test_limits_bind_those_they_are_about() -> None:
    """Issuers bind assets, groups bind parties, `*` those without a limit; a bank's only warns."""
    d = desk()
    d.tick(0, market(0, asset()), held(0, ("USDC", "1900000")), held(0, ("USD", "10"), party="x"))
    used = {(o.limit, o.scope): (o.used_usd, o.status) for o in of(d.out, LimitMeasured)}
    assert used["usdc", "asset:USDC"] == (Decimal("1900000.00"), "warning")
    assert used["circle", "issuer:circle"] == (Decimal("1900000.00"), "warning")
    assert used["any", "counterparty:kraken"][1] == "breach"
    assert used["any", "counterparty:x"] == (Decimal("10.00"), "ok")
    assert used["group", "group:g"][1] == "breach"
    assert used["svb", "bank:svb"] == (Decimal("190000.00"), "breach")
    states = {o.scope: o.state.value for o in of(d.out, DecisionMade)}
    assert states == {
        "asset:USDC": "WATCH", "counterparty:kraken": "REDUCE", "counterparty:coinbase": "REDUCE",
        "firm": "WATCH",
    }  # fmt: skip


def test_an_emptied_limit_is_measured_as_empty() -> None:
    """A sold holding uses nothing of its limit, and the state goes down."""
    d = desk(limits=without(LIMITS, "group"))
    d.tick(0, held(0, ("USD", "2000000")))
    d.tick(1, held(1))
    assert of(d.out, LimitMeasured, "counterparty:kraken")[-1].used_usd == 0
    for minute in range(2, 30):
        d.tick(minute)
    assert of(d.out, DecisionMade, "counterparty:kraken")[-1].state.value == "NORMAL"


def assessed(d: Desk, scope: str) -> CounterpartyAssessed:
    """Return the last assessment of a scope."""
    return of(d.out, CounterpartyAssessed, scope)[-1]


def test_expected_loss_is_the_product() -> None:
    """``EL = PD * LGD * EAD`` to the cent, for every party."""
    d = book(held(0, ("USDC", "1000"), ("BTC", "2")))
    d.tick(1)
    for scope in ("counterparty:kraken", "issuer:circle", "bank:svb", "firm"):
        a = assessed(d, scope)
        assert float(a.el_usd) == pytest.approx(a.pd * a.lgd * float(a.ead_usd), abs=0.02)
        assert a.ead_usd > 0
    # A coin at -100 bp with an LGD of 0.2 is charged a PD of 5 % by the market.
    assert assessed(d, "issuer:circle").pd == pytest.approx(0.05)
    assert assessed(d, "bank:svb").pd == pytest.approx(horizon_pd(0.01, 2_592_000.0), abs=1e-9)


def test_a_closed_gate_lengthens_the_horizon_and_costs_more() -> None:
    """Gated withdrawals mean a horizon of a year and a higher LGD."""
    d = book(held(0, ("USD", "1000")))
    d.tick(1)
    before = assessed(d, "counterparty:kraken")
    d.tick(20, news(Credit, 2, "1", subject="kraken", kind="withdrawals_suspended"))
    after = assessed(d, "counterparty:kraken")
    assert (before.horizon_s, after.horizon_s) == (2_592_000.0, 31_536_000.0)
    assert after.pd > before.pd
    assert after.lgd == pytest.approx(before.lgd * 1.25)


def test_netting_only_where_it_is_enforceable() -> None:
    """Debts reduce the claim in an enforceable set of accounts, and nowhere else."""
    rows = [
        Holding("mm", "main", "USD", "custody", Decimal(1000)),
        Holding("mm", "main", "USD", "borrowed", Decimal(400)),
    ]
    for enforceable, stuck in ((False, 1000), (True, 600)):
        d = desk()
        netting = news(
            NettingSet, 0, "1", counterparty="kraken", netting_set="n", accounts=["main"],
            enforceable=enforceable,
        )  # fmt: skip
        d.tick(1, netting, CounterpartyReading(at(1), "kraken", rows, [], CALM))
        assert assessed(d, "counterparty:kraken").stuck_usd == stuck


def test_exposure_at_default_is_finite_and_above_the_claim() -> None:
    """It adds a stressed accrual, at most the size of holdings and positions."""
    d = book(held(0, ("BTC", "2"), ("USD", "10")))
    d.tell(news(Credit, 0, "1", subject="kraken", kind="withdrawals_suspended"))
    made = CreditAssessor(RiskConfig(), REFERENCE).party(
        d.state, "kraken", sum_exposures(d.state, REFERENCE)
    )
    assert isfinite(made.ead)
    assert 40_010.0 < made.ead <= 80_020.0
    assert made.stuck == 40_010.0


def test_the_laws_themselves() -> None:
    """PD grows with the horizon, two risks are not counted twice, impact grows as a square root."""
    assert horizon_pd(0.1, 100.0) < horizon_pd(0.1, 200.0) < horizon_pd(0.1, 31_536_000.0)
    assert combined_loss_rate(0.5, 0.5) == 0.75
    assert ImpactLaw(0.0, 0.01).bp(4e6) == pytest.approx(2 * ImpactLaw(0.0, 0.01).bp(1e6))
    assert ImpactLaw(5.0, 0.01).bp(0.0) == 5.0
