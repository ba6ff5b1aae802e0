"""What is shown is what holds: grounds after a release, limits by name, first assessments."""

from __future__ import annotations

from riskwatch.core.enums import State
from riskwatch.core.events import Credit
from riskwatch.core.outputs import (
    CommandApplied,
    CounterpartyAssessed,
    DecisionMade,
    KillSwitchChanged,
    Output,
)
from riskwatch.core.risk.commands import halt_reach
from riskwatch.core.scopes import KINDS, is_scope
from tests.support.people import answer, command, people, request_of
from tests.support.risk import REFERENCE, Desk, asset, held, market, news, of

ASSET = "asset:USDC"
PARTY = "counterparty:kraken"
BOTH = "2 holdings and positions worth 500,000.00 USD, 1 of them without a price"
OTHER_KINDS = {
    "account:kraken/main": BOTH,
    "account:kraken/mian": "nothing known: nobody holds, quotes or lists it",
    "account:krakn/main": "nothing known: nobody holds, quotes or lists it",
    "group:g": BOTH,
    "group:h": "every order, because the reference data names no member of it",
    "issuer:circle": "1 holdings and positions worth 500,000.00 USD",
    "bank:svb": "1 holdings and positions worth 500,000.00 USD",
    "trader:ann": "orders that name it or no trader; what these hold is not recorded",
    "network:eth": "orders that name it or no network; what these hold is not recorded",
}


def over_limit(amount: str = "13800000") -> Desk:
    """Return a desk that holds USDC for 690% of the limits of the coin and of its issuer."""
    d = people()
    d.tick(0, held(0, ("USDC", amount)), market(0, asset()))
    return d


def shown(out: list[Output], scope: str) -> KillSwitchChanged:
    """Return the last switch of a scope."""
    return of(out, KillSwitchChanged, scope)[-1]


def test_a_release_shows_the_ground_that_still_holds() -> None:
    """Where a limit restricts a scope after its release, the limit is the reason, not a name."""
    d = over_limit()
    d.tell(command("rita", "halt", 1, ASSET))
    d.tick(2)
    request = request_of(d.tell(command("ann", "release", 3, ASSET)))
    out = d.tell(command("bob", "approve", 4, ASSET, request=request))
    assert answer(out) == "approved"
    released = shown(out, ASSET)
    assert released.effective is State.REDUCE
    assert released.reasons[0] == "asset.limit.reduce still asks for REDUCE"
    assert any("release asked for by ann" in reason for reason in released.reasons)
    out = d.tick(5)
    assert of(out, DecisionMade, ASSET) == []
    now = shown(out, ASSET)
    assert (now.effective, now.decision_id) == (State.REDUCE, released.decision_id)
    assert now.reasons[0] == "asset:USDC uses 690% of limit usdc"
    assert not any("ann" in reason for reason in now.reasons)
    assert of(d.tick(6), KillSwitchChanged, ASSET) == []


def test_an_override_shows_what_it_overrides_and_until_when() -> None:
    """The rule that asks for HALT comes first, and the end of the override is not lost."""
    d = people()
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    d.minutes(1, 10, bp=-300.0)
    until = "2023-03-11T01:00:00Z"
    request = request_of(d.tell(command("ann", "override", 11, ASSET, until=until)))
    d.tell(command("bob", "approve", 12, ASSET, request=request))
    now = shown(d.tick(13, market(13, asset(bp=-300.0, seen=40))), ASSET)
    assert now.effective is State.REDUCE
    assert "300" in now.reasons[0]
    assert now.reasons[-1] == f"overridden by ann and bob until {until}; then the HALT is back"


def test_another_rule_takes_the_place_of_the_one_that_let_go() -> None:
    """If the rule that led lets go and another holds the state, the other one is shown."""
    d = people()
    reading = held(0, ("USDC", "1100000"))
    d.tick(0, reading, market(0, asset()))
    assert "limit any" in shown(d.out, PARTY).reasons[0]
    told = news(Credit, 1, "1", source="desk", subject="kraken", kind="withdrawals_suspended")
    both = shown(d.tick(1, told), PARTY)
    d.tick(2, held(2, ("USDC", "1000")))
    out = d.tick(40, market(40, asset(seen=50)))
    assert of(out, DecisionMade, PARTY) == []
    left = shown(d.out, PARTY)
    assert any("limit any" in reason for reason in both.reasons)
    assert not any("limit any" in reason for reason in left.reasons)
    assert "has shut withdrawals" in left.reasons[0]


def test_a_limit_reason_names_the_limit_that_binds() -> None:
    """A group's limit binds its members: their reason names group and limit in per cent."""
    d = people()
    holdings = (("USDC", "1500000"), ("BTC", "0"))
    d.tick(0, held(0, *holdings), held(0, ("USDC", "600000"), party="coinbase"),
           market(0, asset()))  # fmt: skip
    reasons = shown(d.out, ASSET).reasons
    assert reasons[0] == "asset:USDC uses 105% of limit usdc"
    assert shown(d.out, "firm").reasons[0] == (
        "bank:svb uses 210% of limit svb, which warns from 80% on"
    )
    members = shown(d.out, "counterparty:coinbase").reasons
    assert members[0] == "group:g uses 140% of limit group"


def test_the_first_assessment_is_made_with_the_book() -> None:
    """It does not wait for the next report, and a new counterparty is assessed at once, too."""
    d = people()
    d.tick(0, market(0, asset()))
    assert of(d.out, CounterpartyAssessed) == []
    first = d.tick(1, held(1, ("USDC", "500000")))
    assert {a.scope for a in of(first, CounterpartyAssessed)} >= {PARTY, "issuer:circle", "firm"}
    later = d.tick(2, held(2, ("USDC", "5000"), party="coinbase"))
    assert "counterparty:coinbase" in {a.scope for a in of(later, CounterpartyAssessed)}
    again = d.tick(3, held(3, ("USDC", "6000"), party="coinbase"))
    assert of(again, CounterpartyAssessed) == []


def test_a_halt_says_what_it_binds() -> None:
    """Holdings with dollars, orders alone, or nothing that anybody knows."""
    d = people()
    d.tick(0, held(0, ("USDC", "500000"), ("ODD", "7")), market(0, asset()))
    said = {
        scope: of(d.tell(command("rita", "halt", 1, scope)), CommandApplied)[0].detail
        for scope in (PARTY, "asset:BTC", "asset:USCD", "book:mm", *OTHER_KINDS)
    }
    assert said == {
        PARTY: "halted; it binds 2 holdings and positions worth 500,000.00 USD, 1 of them without "
        "a price",
        "asset:BTC": "halted; it binds its orders; nothing is held on it",
        "asset:USCD": "halted; it binds nothing known: nobody holds, quotes or lists it",
        "book:mm": "halted; it binds 2 holdings and positions worth 500,000.00 USD, 1 of them "
        "without a price",
        **{scope: f"halted; it binds {reach}" for scope, reach in OTHER_KINDS.items()},
    }


def test_the_reach_of_no_scope_raises() -> None:
    """Whatever the kind and the names, a HALT is taken, and its answer says what it binds."""
    d = people()
    d.tick(0, held(0, ("USDC", "500000"), ("ODD", "7")), market(0, asset()))
    for kind in KINDS:
        for name in ("kraken", "nobody", "é", "-", "a/b", "kraken/nobody", "nobody/main"):
            scope = kind if kind == "firm" else f"{kind}:{name}"
            if is_scope(scope):
                assert halt_reach(d.state, REFERENCE, scope), scope
