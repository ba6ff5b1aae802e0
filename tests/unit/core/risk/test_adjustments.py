"""Bounds of adjustments: what is within explains itself, what is beyond pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from riskwatch.core.enums import QualityIssue
from riskwatch.core.outputs import AlertRaised, AlertResolved, DataQualityRaised
from tests.support.facts import adjustment, balance, fill, position
from tests.support.two_stages import TwoStages, prices

if TYPE_CHECKING:
    from riskwatch.core.events import LedgerEvent

OPENING = (balance("b", 0, "1000000", asset="USDT"), position("p", 0, "-20", quote="USDT"))


SALE = {"kind": "conversion", "asset": "BTC", "to_asset": "USDT"}


def breaks(*facts: LedgerEvent, after: float = 100.0) -> list[DataQualityRaised]:
    """Return the breaks that some facts open; each has an alert beside it."""
    stages = TwoStages(reload=True)
    stages.turn(1, *prices(), *OPENING)
    stages.turn(after, *prices(seen=2), *facts)
    found = [
        o
        for o in stages.out
        if isinstance(o, DataQualityRaised) and o.issue is QualityIssue.ADJUSTMENT_UNEXPLAINED
    ]
    paged = [o for o in stages.out if isinstance(o, AlertRaised) and "adjustment" in o.alert]
    assert len(paged) == len(found)
    return found


@pytest.mark.parametrize(
    ("amount", "fields", "is_break"),
    [
        ("120", {"instrument": "BTC-PERP"}, False),
        ("-12000", {"instrument": "BTC-PERP"}, False),  # notional 400,000, bound 3 %
        ("-12001", {"instrument": "BTC-PERP"}, True),
        ("-101", {"instrument": "ETH-PERP"}, True),
        ("-20000000", {"kind": "fee"}, True),
        ("-999", {"kind": "fee"}, False),
        ("-1", {"kind": "other"}, True),
        ("9", {"kind": "airdrop", "asset": "SCAM"}, False),
        ("-9", {"kind": "airdrop", "asset": "SCAM"}, True),
        ("9", {"kind": "interest", "asset": "SCAM"}, True),
        ("-5", {"kind": "rename", "asset": "OLD", "to_asset": "NEW", "to_amount": "5"}, False),
        ("-5", {"kind": "rename", "asset": "OLD", "to_asset": "NEW", "to_amount": "6"}, True),
        (
            "-1",
            {"kind": "conversion", "asset": "BTC", "to_asset": "USDT", "to_amount": "19900"},
            False,
        ),
        (
            "-1",
            {"kind": "conversion", "asset": "BTC", "to_asset": "USDT", "to_amount": "9900"},
            True,
        ),
    ],
)
def test_bounds(amount: str, fields: dict[str, str], *, is_break: bool) -> None:
    """Each kind explains what it can explain; an entry without a needed price explains nothing."""
    found = breaks(adjustment("a", 10, amount, **fields))
    assert bool(found) is is_break


def test_many_small_entries_are_not_smaller_than_one() -> None:
    """The entries of a day count together."""
    facts = [adjustment(f"a{n}", 10 + n, "-400", kind="fee") for n in range(3)]
    assert breaks(*facts[:2]) == []
    [found] = breaks(*facts)
    assert "1,200.00 USD of `fee`" in found.detail
    assert found.subject == "kraken/main/fee"


def test_fees_may_grow_with_what_is_traded() -> None:
    """A turnover of two million explains fees of 3,000, and not of 3,001."""
    trade = fill("f", 5, quote="USDT", qty="100", price="20000")
    assert breaks(trade, adjustment("a", 10, "-3000", kind="fee")) == []
    assert len(breaks(trade, adjustment("a", 10, "-3001", kind="fee"))) == 1


def test_two_entries_of_one_conversion_net() -> None:
    """The two sides of a conversion may be two entries."""
    sides = [
        adjustment("a", 10, "-1", kind="conversion", asset="BTC"),
        adjustment("b", 10, "20010", kind="conversion"),
    ]
    assert breaks(*sides) == []
    assert len(breaks(sides[0])) == 1


def test_a_break_ends_a_week_after_its_last_entry() -> None:
    """The alert and the issue are open for seven days, over restarts."""
    stages = TwoStages(reload=True)
    stages.turn(1, *prices(), *OPENING)
    stages.turn(100, *prices(seen=2), adjustment("a", 10, "-1", kind="other"))
    for day in range(1, 9):
        stages.turn(day * 86_400 + 50, balance(f"d{day}", day * 86_400, "1", asset="ETH"))
        ended = [o for o in stages.out if isinstance(o, AlertResolved) and "adjust" in o.alert]
        assert bool(ended) is (day > 7)
    assert stages.desk.state.adjustment_days == {}
