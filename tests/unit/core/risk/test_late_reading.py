"""A reading of another worker may arrive after the tick of its time."""

from __future__ import annotations

from decimal import Decimal

from riskwatch.core.outputs import ExposureChanged
from tests.support import risk as r


def amounts(desk: r.Desk) -> list[Decimal]:
    """Return the published amounts."""
    return [o.amount for o in r.of(desk.out, ExposureChanged)]


def test_it_is_shown_at_the_next_tick() -> None:
    """Its holdings are published although a later tick was evaluated before."""
    desk = r.desk()
    desk.tick(1, r.market(1, r.bitcoin()), r.held(1, ("BTC", "1")))
    desk.tick(2, r.market(2, r.bitcoin(seen=2)))
    desk.tick(3, r.held(2, ("BTC", "5")))
    assert amounts(desk) == [Decimal(1), Decimal(5)]


def test_an_older_one_changes_nothing() -> None:
    """A delayed repeat does not restore old holdings."""
    desk = r.desk()
    desk.tick(2, r.market(2, r.bitcoin()), r.held(2, ("BTC", "5")))
    desk.tick(3, r.held(1, ("BTC", "1")))
    assert amounts(desk) == [Decimal(5)]
    assert desk.state.parties["kraken"].holdings[0].amount == 5
