"""What switches and decisions restrict: by rule, by command, with several grounds, over time."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest

from riskwatch.contracts.outputs import decode_output, encode_output
from riskwatch.core.enums import HaltEffect, Restriction, State
from riskwatch.core.outputs import DecisionMade, HaltEffectMeasured, KillSwitchChanged
from riskwatch.core.restriction import combine, default_restriction, restrictions_at
from riskwatch.core.risk.config import RestrictionConfig
from riskwatch.core.risk.rule_engine import RuleEngine
from riskwatch.core.risk.state import ScopeRow, scope_row
from riskwatch.core.scopes import KINDS, parse
from tests.support.people import answer, command, people, request_of
from tests.support.risk import REFERENCE, RULES, START, asset, desk, held, market, of
from tests.unit.core.risk.test_two_people import halted_by_data

if TYPE_CHECKING:
    from tests.support.risk import Desk

CLAIM, MARKET, FULL = Restriction.CLAIM, Restriction.MARKET, Restriction.FULL
REDUCE, HALT = State.REDUCE, State.HALT
COIN = "asset:USDC"

LEVELS = ("watch", "reduce")


def last(d: Desk, scope: str = COIN) -> KillSwitchChanged:
    """Return the last switch of a scope."""
    return of(d.out, KillSwitchChanged, scope)[-1]


def test_every_shipped_rule_says_what_it_restricts() -> None:
    """Limits of coins, books and the firm restrict market risk, all but a few others claims.

    No shipped rule restricts everything, so that none traps a position.
    """
    engine = RuleEngine(RULES)
    found = {
        rule.id: rule.restriction
        for kind in KINDS
        for rule, _ in engine.of({"firm": "firm"}.get(kind, f"{kind}:a/b")).rules
    }
    assert set(found) == {rule.id for rule in RULES.rules}
    market_risk = {rule for rule, each in found.items() if each is MARKET}
    assert market_risk == {
        *(f"{kind}.limit.{level}" for kind in ("asset", "book", "firm") for level in LEVELS),
        *("book.limit.unknown", "firm.limit.unknown", "firm.unsure.watch", "firm.unsure.reduce"),
        *(
            f"{kind}.{measure}.{level}"
            for kind in ("book", "firm")
            for measure in ("loss", "drawdown")
            for level in ("watch", "reduce", "halt")
        ),
    }
    assert {each for rule, each in found.items() if rule not in market_risk} == {CLAIM}
    assert {default_restriction(kind) for kind in ("firm", "book", "account", "trader")} == {MARKET}


def test_a_rule_sets_the_restriction_of_switch_and_decision() -> None:
    """A broken peg is a claim, on the wire too; below REDUCE nothing is restricted."""
    d = halted_by_data()
    (made,) = of(d.out, DecisionMade, COIN)[-1:]
    assert made.restriction == last(d).restriction == {CLAIM: HALT}
    wire = json.loads(encode_output(last(d)))
    assert wire["restriction"] == {"claim": "HALT"}
    assert decode_output(encode_output(made)) == made
    watched = desk()
    watched.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    watched.minutes(1, 10, bp=-30.0)
    assert (last(watched).effective, last(watched).restriction) == (State.WATCH, {})


def test_the_policy_says_otherwise_of_a_rule_and_of_a_kind() -> None:
    """An id comes before what the rule says, and that before the kind of scope."""
    config = RestrictionConfig(rules={"asset.discount.halt": FULL}, kinds={"asset": MARKET})
    d = desk(restriction=config)
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    d.minutes(1, 10, bp=-300.0)
    assert last(d).restriction == {FULL: HALT, MARKET: REDUCE}


def test_an_added_ground_is_published_and_latched() -> None:
    """A claim at HALT, joined by a limit in breach: another restriction under one decision."""
    d = halted_by_data()
    decision = last(d).decision_id
    d.tick(11, held(11, ("USDC", "3000000")), market(11, asset(bp=-300.0, seen=13)))
    assert last(d).restriction == {CLAIM: HALT, MARKET: REDUCE}
    assert (last(d).effective, last(d).decision_id) == (HALT, decision)
    d.tick(12, held(12, ("USDC", "500000")), market(12, asset(bp=-300.0, seen=14)))
    for minute in range(13, 60):
        d.tick(minute, market(minute, asset(seen=minute + 3)))
    assert last(d).restriction == {CLAIM: HALT}
    d.minutes(61, 400, bp=0.0)
    assert d.state.scopes[COIN].restriction == {CLAIM: HALT}


@pytest.mark.parametrize("scope", ["firm", "book:arb", COIN])
@pytest.mark.parametrize("restriction", [None, *Restriction])
def test_a_persons_halt_restricts_what_the_command_says(
    scope: str, restriction: Restriction | None
) -> None:
    """Without an argument everything, as ever; data does not change it."""
    d = people()
    args = {} if restriction is None else {"restriction": restriction.value}
    assert answer(d.tell(command("rita", "halt", 1, scope, **args))) == "applied"
    for minute in range(2, 100, 7):
        d.tick(minute, market(minute, asset(seen=minute)), held(minute, ("USDC", "10")))
    assert last(d, scope).restriction == {restriction or FULL: HALT}
    assert of(d.out, DecisionMade, scope)[-1].restriction == {restriction or FULL: HALT}


@pytest.mark.parametrize("value", ["everything", "", 1, None, ["claim"], "CLAIM"])
def test_a_restriction_that_is_none_is_refused(value: object) -> None:
    """With the words that there are."""
    out = people().tell(command("rita", "halt", 1, restriction=value))
    assert answer(out) == "ARGUMENT_INVALID"


def test_a_second_halt_only_adds() -> None:
    """One person cannot loosen what another one, or data, restricts."""
    d = halted_by_data()
    d.tell(command("rita", "halt", 11, restriction="market"))
    assert last(d).restriction == {CLAIM: HALT, MARKET: HALT}
    d.tell(command("ann", "halt", 12))
    assert last(d).restriction == {CLAIM: HALT, FULL: HALT, MARKET: HALT}
    d.tell(command("rita", "halt", 13, restriction="market"))
    assert FULL in last(d).restriction
    d.minutes(14, 60, bp=-300.0)
    assert last(d).restriction == {CLAIM: HALT, FULL: HALT, MARKET: HALT}


def test_a_release_leaves_what_still_holds() -> None:
    """After it the switch restricts what the rules below HALT ask for, and then nothing."""
    d = halted_by_data()
    d.minutes(11, 200, bp=-100.0)
    request = request_of(d.tell(command("ann", "release", 201)))
    assert answer(d.tell(command("bob", "approve", 202, request=request))) == "approved"
    assert (last(d).effective, last(d).restriction) == (REDUCE, {CLAIM: REDUCE})
    d.minutes(203, 600, bp=0.0)
    assert (last(d).effective, last(d).restriction) == (State.NORMAL, {})


def test_an_override_lifts_and_gives_back_what_the_halt_restricted() -> None:
    """While it lasts the restriction is that of the lifted state; afterwards that of the HALT."""
    d = halted_by_data()
    until = (START + timedelta(minutes=40)).isoformat()
    request = request_of(d.tell(command("ann", "override", 11, until=until, state="REDUCE")))
    assert answer(d.tell(command("bob", "approve", 12, request=request))) == "approved"
    assert (last(d).effective, last(d).restriction) == (REDUCE, {CLAIM: REDUCE})
    d.minutes(13, 39, bp=-300.0)
    assert last(d).restriction == {CLAIM: REDUCE}
    d.tick(41, market(41, asset(seen=60, bp=-300.0)))
    assert (last(d).effective, last(d).restriction) == (HALT, {CLAIM: HALT})


def test_a_row_from_before_keeps_its_meaning() -> None:
    """A stored HALT without a restriction restricts everything; no tick loosens it."""
    d = halted_by_data()
    old = {
        name: value
        for name, value in msgspec.to_builtins(d.state.scopes[COIN]).items()
        if name not in ("restriction", "members")
    }
    d.state.scopes[COIN] = scope_row(msgspec.json.encode(old))
    assert d.state.scopes[COIN].restriction == {}
    d.minutes(11, 30, bp=-300.0)
    assert last(d).restriction == {CLAIM: HALT, FULL: HALT}
    halted = people()
    halted.tell(command("rita", "halt", 1))
    before = len(of(halted.out, KillSwitchChanged))
    row = halted.state.scopes[COIN]
    halted.state.scopes[COIN] = msgspec.structs.replace(row, restriction={})
    halted.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    halted.minutes(2, 30)
    assert len(of(halted.out, KillSwitchChanged)) == before


def test_missing_data_never_stops_reducing_and_hedging() -> None:
    """A scope that is dark restricts market risk at REDUCE, beside what it restricts anyway."""
    d = desk()
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    for minute in range(1, 60):
        d.tick(minute)
    assert (last(d).state, last(d).effective) == (State.NORMAL, REDUCE)
    assert last(d).restriction == {MARKET: REDUCE}


@pytest.mark.parametrize(
    ("scope", "members"),
    [
        ("group:g", ["counterparty:coinbase", "counterparty:kraken"]),
        ("issuer:circle", ["counterparty:circle", COIN]),
        ("bank:svb", ["counterparty:svb", COIN]),
        ("group:nobody", []),
        ("issuer:nobody", []),
        ("account:kraken/main", []),
        ("trader:ann", []),
        ("network:eth", []),
        (COIN, []),
    ],
)
def test_every_new_kind_of_scope_is_halted_with_its_members(scope: str, members: list[str]) -> None:
    """The switch of a group, issuer or bank names what it stands for, and stays at HALT."""
    d = people()
    out = d.tell(command("rita", "halt", 1, scope))
    assert answer(out) == "applied"
    for minute in range(2, 60, 7):
        d.tick(minute, market(minute, asset(seen=minute)), held(minute, ("USDC", "10")))
    assert (last(d, scope).effective, last(d, scope).members) == (HALT, members)
    assert of(d.out, HaltEffectMeasured, scope)[-1].effect is HaltEffect.UNKNOWN
    assert len(of(d.out, KillSwitchChanged, scope)) == 1
    request = request_of(d.tell(command("ann", "release", 60, scope)))
    assert answer(d.tell(command("bob", "approve", 61, scope, request=request))) == "approved"
    assert last(d, scope).effective is State.NORMAL


def test_members_follow_the_reference_data() -> None:
    """A worker that begins with other reference data publishes the switch again, once."""
    d = people()
    d.tell(command("rita", "halt", 1, "issuer:circle"))
    d.state.scopes["issuer:circle"].members = [COIN]
    d.tick(2, market(2, asset()))
    d.tick(3, market(3, asset(seen=2)))
    switches = of(d.out, KillSwitchChanged, "issuer:circle")
    assert [s.members for s in switches] == [["counterparty:circle", COIN]] * 2
    assert REFERENCE.assets["USDC"].issuer == "circle"


def test_grounds_combine_without_weakening() -> None:
    """Each restriction at its strictest; a state that no ground explains restricts everything."""
    rows = [(CLAIM, REDUCE), (CLAIM, HALT), (MARKET, REDUCE), (FULL, State.WATCH)]
    assert combine(rows) == combine(reversed(rows)) == {CLAIM: HALT, MARKET: REDUCE}
    assert list(combine([(MARKET, HALT), (CLAIM, HALT)])) == [CLAIM, MARKET]
    assert restrictions_at(HALT, {MARKET: REDUCE}) == {FULL: HALT, MARKET: REDUCE}
    assert restrictions_at(REDUCE, {MARKET: HALT}) == {MARKET: REDUCE}
    assert ScopeRow().is_idle
    assert parse("account:kraken/main").account == "main"
