"""Headroom: what is left of each limit, what is unknown, and which scopes an order uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from riskwatch.core.readings import PartitionFault
from riskwatch.core.reference import Limit
from riskwatch.core.risk.config import RiskConfig
from riskwatch.core.risk.exposure import bound_scopes
from riskwatch.core.risk.headroom import measure_headroom
from riskwatch.core.risk.limits import LimitBook
from riskwatch.core.risk.state import LimitOverrideRow
from tests.support.risk import LIMITS, REFERENCE, Desk, asset, at, bitcoin, desk, held, market

if TYPE_CHECKING:
    from riskwatch.core.readings import CounterpartyReading
    from riskwatch.core.risk.headroom import LimitHeadroom

HUGE = "9" * 24


def ticked_desk(*readings: CounterpartyReading) -> Desk:
    """Return a desk after one tick with these holdings, where USDC and BTC have prices."""
    d = desk()
    d.tick(1, market(1, asset(), bitcoin()), *readings)
    return d


def headroom(d: Desk, config: RiskConfig | None = None) -> dict[str, LimitHeadroom]:
    """Measure."""
    return measure_headroom(d.state, REFERENCE, LimitBook(LIMITS, REFERENCE, config))


def test_each_limit_leaves_its_value_less_its_use() -> None:
    """Subjects by name, the issuer of a coin, a share of the bank behind it, and the firm."""
    found = headroom(ticked_desk(held(1, ("USDC", "300000"), ("BTC", "5"))))
    left = {scope: round(row.left_usd) for scope, row in found.items()}
    assert left == {
        "firm": 9_600_000,
        "counterparty:kraken": 600_000,
        "counterparty:*": 1_000_000,
        "asset:USDC": 1_700_000,
        "issuer:circle": 1_700_000,
        "group:g": 1_100_000,
        "bank:svb": 70_000,
        "book:mm": 4_600_000,
        "book:*": 5_000_000,
    }


def test_open_orders_count() -> None:
    """An open order that could still fill leaves less, everywhere it could add."""
    orders = held(1, ("USDC", "250000"), component="open_order")
    found = headroom(ticked_desk(orders))
    assert {s: r.orders_usd for s, r in found.items() if r.orders_usd} == pytest.approx({
        "firm": 250_000.0, "counterparty:kraken": 250_000.0, "asset:USDC": 250_000.0,
        "issuer:circle": 250_000.0, "group:g": 250_000.0, "bank:svb": 25_000.0,
        "book:mm": 250_000.0,
    })  # fmt: skip
    assert found["asset:USDC"].left_usd == 1_750_000.0


def test_a_breached_limit_leaves_nothing() -> None:
    """Never less than nothing."""
    found = headroom(ticked_desk(held(1, ("BTC", "100"))))
    assert found["counterparty:kraken"].used_usd == 2_000_000.0
    assert found["counterparty:kraken"].left_usd == 0.0


def test_a_listed_coin_without_a_price_makes_its_limits_unknown() -> None:
    """USDT has no price: what it uses of its own limits and of the firm's is not known."""
    found = headroom(ticked_desk(held(1, ("USDT", "1"), ("USDC", "1"), party="coinbase")))
    unknown = {scope for scope, row in found.items() if row.why}
    assert unknown == {"firm", "counterparty:coinbase", "group:g", "book:mm"}
    assert found["firm"].left_usd == 0.0
    assert found["firm"].why == "USDT at coinbase has no price"
    assert found["counterparty:*"].left_usd == 1_000_000.0


def test_a_coin_that_nobody_listed_restricts_only_itself() -> None:
    """Anybody can send us a coin; it stops no trade in other coins."""
    found = headroom(ticked_desk(held(1, ("AIRDROP", "1e9"), ("USDC", "1"))))
    assert [scope for scope, row in found.items() if row.why] == []
    any_asset = Limit(id="a", scope_kind="asset", subject="*", hard_usd=10.0)
    limits = msgspec.structs.replace(LIMITS, limits=(*LIMITS.limits, any_asset))
    d = ticked_desk(held(1, ("AIRDROP", "1e9"), ("USDC", "1")))
    found = measure_headroom(d.state, REFERENCE, LimitBook(limits, REFERENCE))
    assert [scope for scope, row in found.items() if row.why] == ["asset:AIRDROP"]


def test_a_venue_whose_ledger_stands_still_is_unknown() -> None:
    """A fault of a ledger worker names the venues that it does not keep up to date."""
    d = ticked_desk(held(1, ("USDC", "1")))
    d.tick(2, PartitionFault(at(2), "ledger/0", "f", ["kraken"]))
    unknown = {scope: row.why for scope, row in headroom(d).items() if row.why}
    why = "ledger/0 does not keep kraken up to date"
    assert unknown == {"counterparty:kraken": why, "group:g": why}


def test_a_saturated_sum_is_unknown() -> None:
    """A sum at its maximum is at least that large."""
    found = headroom(ticked_desk(held(1, ("BTC", HUGE))))
    assert "reaches" in found["firm"].why
    assert found["counterparty:*"].why == ""


def test_people_and_modes_apply() -> None:
    """An operator's override counts; a limit that only advises does not."""
    d = ticked_desk(held(1, ("USDC", "1000")))
    d.state.limit_overrides["firm"] = LimitOverrideRow(5_000.0, 0.8, "ann", 0)
    assert headroom(d)["firm"].left_usd == 4_000.0
    config = RiskConfig(advisory=("firm", "usdc"))
    found = headroom(d, config)
    assert "firm" not in found
    assert "asset:USDC" not in found


def test_the_scopes_that_count_an_asset_and_a_venue() -> None:
    """Issuer, banks by their share, and group."""
    assert bound_scopes("asset:USDC", REFERENCE) == {
        "issuer:circle": 1.0, "bank:svb": 0.1, "bank:bny": 0.2,
    }  # fmt: skip
    assert bound_scopes("counterparty:kraken", REFERENCE) == {"group:g": 1.0}
    assert bound_scopes("asset:BTC", REFERENCE) == bound_scopes("book:mm", REFERENCE) == {}
