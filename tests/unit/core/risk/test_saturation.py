"""Dollars at their maximum: they breach limits, are netted by nothing, and are flagged."""

from __future__ import annotations

from decimal import Decimal

import pytest

from riskwatch.core.enums import QualityIssue
from riskwatch.core.events import NettingSet
from riskwatch.core.money import MAX_USD
from riskwatch.core.outputs import (
    CounterpartyAssessed,
    DataQualityRaised,
    DataQualityResolved,
    ExposureChanged,
    LimitMeasured,
)
from riskwatch.core.risk.exposure import ExposureSums
from tests.support.risk import Desk, asset, bitcoin, desk, held, market, news, of

HUGE = "9" * 24


def saturated_desk(*holdings: tuple[str, str]) -> Desk:
    """Return a desk that has seen one tick with these holdings at kraken."""
    d = desk()
    d.tick(1, market(1, asset(), asset("USDT"), bitcoin()), held(1, *holdings))
    return d


def test_a_value_at_the_maximum_breaches_and_is_flagged() -> None:
    """1e24 bitcoins are 1e15 USD, for the counterparty, the firm, and every limit."""
    d = saturated_desk(("BTC", HUGE))
    (shown,) = of(d.out, ExposureChanged)
    assert (shown.amount, shown.value_usd) == (Decimal(HUGE), Decimal("1000000000000000.00"))
    statuses = {o.scope: (o.status, o.used_usd) for o in of(d.out, LimitMeasured)}
    assert statuses["firm"] == ("breach", Decimal("1000000000000000.00"))
    assert statuses["counterparty:kraken"][0] == "breach"
    raised = [o for o in of(d.out, DataQualityRaised) if o.issue is QualityIssue.OUT_OF_RANGE]
    assert [o.subject for o in raised] == ["counterparty:kraken", "firm"]
    d.tick(10, market(10, asset(), bitcoin()), held(10, ("BTC", "1")))
    ended = [o for o in of(d.out, DataQualityResolved) if o.issue is QualityIssue.OUT_OF_RANGE]
    assert [o.subject for o in ended] == ["counterparty:kraken", "firm"]


def test_ordinary_values_are_not_flagged() -> None:
    """A trillion dollars are still a value."""
    d = saturated_desk(("USD", "1000000000000"))
    issues = {o.issue for o in of(d.out, DataQualityRaised)}
    assert QualityIssue.OUT_OF_RANGE not in issues


def test_a_claim_at_the_maximum_is_netted_by_nothing() -> None:
    """A debt of the same size in an enforceable netting set leaves the whole claim."""
    d = desk()
    agreement = news(
        NettingSet, 0, "n", netting_set="s", counterparty="kraken", accounts=["main"],
        enforceable=True,
    )  # fmt: skip
    d.tick(1, agreement, market(1, asset(), bitcoin()), held(1, ("BTC", HUGE), ("USD", f"-{HUGE}")))
    made = of(d.out, CounterpartyAssessed, "counterparty:kraken")[-1]
    assert made.ead_usd == Decimal("1000000000000000.00")


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_a_share_of_the_maximum_is_the_maximum(share: float) -> None:
    """What is not known has no known part."""
    total = ExposureSums(long=1.0)
    total.merge(ExposureSums(long=MAX_USD), share)
    assert (total.long, total.gross, total.is_saturated) == (MAX_USD, MAX_USD, True)
