"""Limits before the trade: headroom, order value, price collar and message rate."""

from __future__ import annotations

import os
from math import inf, nan
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from riskwatch.client import KillSwitch, OrderLimits
from riskwatch.client.guard.limits import MAX_ROUTES, MAX_USES, MessageRate, OrderGate
from riskwatch.client.guard.order_check import Order
from riskwatch.client.guard.restriction import Intent
from riskwatch.client.guard.view import ALLOWED
from riskwatch.contracts.pretrade import Mid, ScopeLimits
from riskwatch.core.enums import Restriction, State
from riskwatch.errors import ConfigError
from tests.support.pretrade import BUY, LEFT, LimitedSwitch, client_limits

if TYPE_CHECKING:
    from riskwatch.client import Answer


CLAIM = Restriction.CLAIM


def code(answer: Answer) -> tuple[str, str]:
    """Kind of a refusal, and its scope."""
    return answer.reason.partition(":")[0], answer.scope


def filled(switch: KillSwitch, usd: float, **order: Any) -> int:
    """Ask for orders of this size until one is refused; return how many passed."""
    passed = 0
    while switch.allows(**(BUY | order), usd=usd):
        passed += 1
        assert passed < 1_000
    return passed


def test_a_client_uses_its_share_of_the_tightest_limit_and_no_more() -> None:
    """Half of 400,000 USD of BTC are left for it: twenty orders of 10,000 USD, and none more."""
    switch = LimitedSwitch().know()
    assert filled(switch, 10_000.0) == 20
    answer = switch.allows(**BUY, usd=10_000.0)
    assert code(answer) == ("HEADROOM_EXCEEDED", "asset:BTC")
    assert answer.state is State.NORMAL
    assert answer.reason == (
        "HEADROOM_EXCEEDED: 0 USD of asset:BTC are left for desk-1, the order has 10,000"
    )
    assert code(switch.allows(**BUY, usd=0.01)) == ("HEADROOM_EXCEEDED", "asset:BTC")


def test_all_routes_of_a_scope_share_its_headroom() -> None:
    """What is reserved for one venue and not used is there for another one."""
    switch = LimitedSwitch().know()
    assert switch.allows(**BUY, usd=1.0)
    assert switch.allows(**(BUY | {"counterparty": "coinbase"}), usd=199_998.0)
    assert switch.allows(**BUY, usd=1.0)
    assert not switch.allows(**BUY, usd=1.0)


def test_issuers_banks_and_groups_bind() -> None:
    """Buying USDC uses the issuer's limit in full, and the bank's by its share."""
    coin = {"asset": ("USDC", "USD"), "price": 1.0}
    limited = LimitedSwitch()
    switch = limited.know()
    assert filled(switch, 1_000.0, **coin) == 10  # a tenth of it counts for 1,000 of the bank
    assert code(switch.allows(**(BUY | coin), usd=1_000.0))[1] == "bank:svb"
    limited = LimitedSwitch()
    switch = limited.know(limited.table(left=LEFT | {"bank:svb": 1e9}))
    assert filled(switch, 1_000.0, **coin) == 20
    limited = LimitedSwitch()
    switch = limited.know(limited.table(left=LEFT | {"group:g": 3_000.0}))
    assert code(switch.allows(**BUY, usd=1_600.0))[1] == "group:g"
    assert switch.allows(**(BUY | {"counterparty": "coinbase"}), usd=1_600.0)


def test_what_reduces_leaves_or_cancels_passes_beyond_every_limit() -> None:
    """No size, price or headroom is asked of it, and a hedge may exceed the headroom."""
    limited = LimitedSwitch()
    switch = limited.know(limited.table(left=dict.fromkeys(LEFT, 0.0), mids={}))
    assert not switch.allows(**BUY, usd=1.0)
    wild = BUY | {"price": 9e9}
    assert switch.allows(**wild, usd=9e12, reduces=True)
    assert switch.allows(counterparty="kraken", reduces=True)
    assert switch.allows(**wild, usd=9e12, cancel=True)
    assert switch.allows(counterparty="kraken", asset="USD", side="withdrawal", usd=9e12)
    assert switch.allows(**BUY, usd=1_000.0, hedge=True)
    assert switch.allows(counterparty="kraken", asset="BTC", book="arb", hedge=True)
    assert code(switch.allows(**BUY, usd=1e6, hedge=True))[0] == "ORDER_TOO_LARGE"


def test_a_hedge_uses_headroom() -> None:
    """What a hedge used is not there for other orders."""
    switch = LimitedSwitch().know()
    assert switch.allows(**BUY, usd=199_999.0, hedge=True)
    assert not switch.allows(**BUY, usd=2.0)
    assert switch.allows(**BUY, usd=1.0)


def test_a_deposit_needs_headroom_and_no_price() -> None:
    """It makes a venue owe more."""
    switch = LimitedSwitch().know()
    deposit: dict[str, Any] = {
        "counterparty": "kraken",
        "asset": "USD",
        "book": "arb",
        "side": "deposit",
    }
    assert switch.allows(**deposit, usd=200_000.0)
    assert code(switch.allows(**deposit, usd=200_000.0)) == ("HEADROOM_EXCEEDED", "group:g")


def test_what_was_used_counts_until_later_facts_of_the_venue() -> None:
    """A newer table without them gives nothing again; with them it does."""
    limited = LimitedSwitch()
    switch = limited.know()
    before = limited.time.wall
    assert filled(switch, 10_000.0) == 20
    limited.later(15.0)
    switch = limited.know(limited.table(known={"kraken": before, "coinbase": limited.time.wall}))
    assert not switch.allows(**BUY, usd=1.0)
    used_until = limited.time.wall
    limited.later(15.0)
    early = used_until + 5.0 + 1.9  # settle_s, and the skew of clocks is 2 s
    switch = limited.know(limited.table(known={"kraken": early}))
    assert not switch.allows(**BUY, usd=1.0)
    limited.later(15.0)
    switch = limited.know(limited.table(known={"kraken": used_until + 7.0}))
    assert filled(switch, 10_000.0) == 20


def test_what_was_used_at_one_venue_waits_for_that_venue_alone() -> None:
    """Facts of coinbase say nothing of an order at kraken."""
    limited = LimitedSwitch()
    switch = limited.know()
    assert filled(switch, 10_000.0) == 20
    at = limited.time.wall
    limited.later(15.0)
    switch = limited.know(limited.table(known={"kraken": at, "coinbase": at + 15.0}))
    assert not switch.allows(**(BUY | {"counterparty": "coinbase"}), usd=1.0)


def test_uses_of_a_silent_venue_stay_bounded_and_counted() -> None:
    """A venue without facts for many tables: its uses are merged, never dropped."""
    limited = LimitedSwitch()
    at = limited.time.wall
    for _ in range(2 * MAX_USES):
        switch = limited.know(limited.table(known={"kraken": at}))
        assert switch.allows(**BUY, usd=1_000.0)
        limited.later(15.0)
    switch = limited.know(limited.table(known={"kraken": at}))
    assert filled(switch, 1_000.0) == 200 - 2 * MAX_USES
    assert len(switch._gate._uses) == MAX_USES


def test_a_restart_spends_no_grant_twice() -> None:
    """A new process waits until the facts of every venue are later than its start."""
    limited = LimitedSwitch()
    start = limited.time.wall - 10.0
    switch = limited.know(limited.table(known={"kraken": start + 6.9, "coinbase": start + 10.0}))
    answer = switch.allows(**BUY, usd=1.0)
    assert code(answer) == ("HEADROOM_UNKNOWN", "firm")
    assert "no facts of kraken are known that are later than the start" in answer.reason
    limited.later(1.0)
    limited.know(limited.table(known={"kraken": start + 7.0, "coinbase": start + 10.0}))
    assert switch.allows(**BUY, usd=1.0)
    limited.later(1.0)  # once is enough
    limited.know(limited.table(known={"kraken": start, "coinbase": start}))
    assert switch.allows(**BUY, usd=1.0)


def test_a_restart_waits_only_for_venues_of_the_client() -> None:
    """The policy says where a client may add risk; a vault that says little does not matter."""
    limited = LimitedSwitch()
    now = limited.time.wall
    terms = client_limits(counterparties=["kraken"])
    known = {"kraken": now, "coinbase": now, "vault": 0.0}
    switch = limited.know(limited.table(known=known, clients={"desk-1": terms}))
    assert switch.allows(**BUY, usd=1.0)
    other = switch.allows(**(BUY | {"counterparty": "coinbase"}), usd=1.0)
    assert code(other) == ("HEADROOM_UNKNOWN", "counterparty:coinbase")


@pytest.mark.parametrize(
    ("fields", "scope"),
    [
        ({"unknown": {"asset:BTC": "BTC at vault has no price"}}, "asset:BTC"),
        ({"unknown": {"group:g": "ledger/0 stands still"}}, "group:g"),
        ({"known": {"coinbase": 2e9}}, "counterparty:kraken"),
        ({"known": {}}, "firm"),
        ({"fault": "a new leader grants nothing"}, "firm"),
        ({"clients": {}}, "firm"),
    ],
)
def test_unknown_headroom_refuses_new_risk_and_says_why(fields: dict[str, Any], scope: str) -> None:
    """A limit whose use is unknown, a venue without facts, a table without grants."""
    limited = LimitedSwitch()
    switch = limited.know(limited.table(**fields))
    answer = switch.allows(**BUY, usd=1.0)
    assert code(answer) == ("HEADROOM_UNKNOWN", scope)
    assert all(str(why) in answer.reason for why in fields.get("unknown", {}).values())
    assert switch.allows(**BUY, usd=1.0, reduces=True)
    assert answer.state is State.NORMAL


def test_a_grant_ends_before_the_heartbeat() -> None:
    """From its end on, nothing is used of it; the switches stay known."""
    limited = LimitedSwitch()
    switch = limited.know()
    limited.later(29.0)
    assert switch.allows(**BUY, usd=1.0)
    limited.later(1.0)
    answer = switch.allows(**BUY, usd=1.0)
    assert code(answer) == ("HEADROOM_UNKNOWN", "firm")
    assert switch.allows(counterparty="kraken", reduces=True)


def test_a_lower_grant_and_a_lower_share_apply() -> None:
    """The worker lowers a grant while older ones may be in use; a client may take less."""
    limited = LimitedSwitch()
    terms = client_limits(lower={"asset:BTC": 30_000.0})
    switch = limited.know(limited.table(clients={"desk-1": terms}))
    assert filled(switch, 10_000.0) == 3
    assert filled(LimitedSwitch(limits=OrderLimits(share=0.1)).know(), 10_000.0) == 4


def test_a_lower_grant_of_subjects_that_are_not_named_applies() -> None:
    """The limit on ``*`` was lowered while older grants may be in use."""
    limited = LimitedSwitch()
    terms = client_limits(lower={"counterparty:*": 30_000.0})
    switch = limited.know(limited.table(clients={"desk-1": terms}))
    assert filled(switch, 10_000.0) == 3
    assert code(switch.allows(**BUY, usd=1.0))[1] == "counterparty:kraken"


@pytest.mark.parametrize("missing", ["counterparty", "asset", "book", "usd", "price"])
def test_what_a_limit_needs_must_be_said(missing: str) -> None:
    """An order without it could not be held against every limit."""
    switch = LimitedSwitch().know()
    order: dict[str, Any] = BUY | {"usd": 1.0}
    assert switch.allows(**order)
    answer = switch.allows(**{name: value for name, value in order.items() if name != missing})
    assert code(answer)[0] == "ORDER_INCOMPLETE"
    assert missing in answer.reason


def test_a_question_about_a_switch_is_answered_with_its_state() -> None:
    """A dead-man timer asks without an order: it is refused, but no switch is engaged."""
    switch = LimitedSwitch().know()
    assert switch.allows(counterparty="kraken").state is State.NORMAL
    assert switch.state() is State.NORMAL


@pytest.mark.parametrize("usd", [0.0, -1.0, nan, inf])
def test_a_size_that_is_no_size_is_refused(usd: float) -> None:
    """It would use nothing, or give back what was used."""
    switch = LimitedSwitch().know()
    assert switch.allows(**BUY, usd=1.0)
    assert code(switch.allows(**BUY, usd=usd))[0] == "ORDER_INCOMPLETE"
    assert code(switch.allows(**(BUY | {"price": usd}), usd=1.0))[0] in {
        "ORDER_INCOMPLETE", "PRICE_OUTSIDE_COLLAR",
    }  # fmt: skip


def test_the_strictest_order_value_applies() -> None:
    """Of the firm, the book, the venue, the coin, the client in the policy, and its own."""
    limited = LimitedSwitch()
    assert code(limited.know().allows(**BUY, usd=250_001.0)) == ("ORDER_TOO_LARGE", "firm")
    scopes = {
        "firm": ScopeLimits(max_order_usd=250_000.0),
        "book:arb": ScopeLimits(max_order_usd=5_000.0),
        "book:other": ScopeLimits(max_order_usd=1.0),
    }
    limited.later(1.0)
    switch = limited.know(limited.table(scopes=scopes))
    assert switch.allows(**BUY, usd=5_000.0)
    assert code(switch.allows(**BUY, usd=5_000.01)) == ("ORDER_TOO_LARGE", "book:arb")
    own = LimitedSwitch(limits=OrderLimits(max_order_usd=100.0)).know()
    assert code(own.allows(**BUY, usd=101.0)) == ("ORDER_TOO_LARGE", "client:desk-1")
    loose = LimitedSwitch(limits=OrderLimits(max_order_usd=1e9)).know()
    assert code(loose.allows(**BUY, usd=250_001.0)) == ("ORDER_TOO_LARGE", "firm")


@pytest.mark.parametrize(
    ("side", "price", "passes"),
    [
        ("buy", 20_600.0, True), ("buy", 20_601.0, False), ("buy", 1.0, True),
        ("sell", 19_400.0, True), ("sell", 19_399.0, False), ("sell", 99_999.0, True),
        (None, 20_601.0, False), (None, 19_399.0, False), (None, 19_401.0, True),
    ],
)  # fmt: skip
def test_the_collar_is_measured_against_the_mid(
    side: str | None, price: float, *, passes: bool
) -> None:
    """300 bp on the side on which the order loses; without a side on both."""
    switch = LimitedSwitch().know()
    for _ in range(2):  # the second by the prepared route
        answer = switch.allows(**(BUY | {"side": side, "price": price}), usd=1.0)
        assert bool(answer) is passes
        assert passes or code(answer) == ("PRICE_OUTSIDE_COLLAR", "firm")


def test_a_stale_or_absent_mid_is_more_careful() -> None:
    """Stale: the narrow collar. Absent: no price is good enough."""
    limited = LimitedSwitch()
    switch = limited.know()
    near, far = BUY | {"price": 20_190.0}, BUY | {"price": 20_210.0}
    assert switch.allows(**far, usd=1.0)
    mids = {"BTC": Mid(20_000.0, fresh=False), "USD": Mid(1.0, fresh=True)}
    limited.later(1.0)
    switch = limited.know(limited.table(mids=mids))
    assert switch.allows(**near, usd=1.0)
    assert code(switch.allows(**far, usd=1.0))[0] == "PRICE_OUTSIDE_COLLAR"
    limited.later(1.0)
    switch = limited.know(limited.table(mids={"USD": Mid(1.0, fresh=True)}))
    assert code(switch.allows(**near, usd=1.0))[0] == "PRICE_UNKNOWN"
    limited.later(1.0)
    switch = limited.know(limited.table(mid_age_s=20.0))
    limited.later(19.0)
    assert switch.allows(**far, usd=1.0)
    limited.later(1.0)  # the mid is 20 s old, and the grant still holds
    assert switch.allows(**near, usd=1.0)
    assert code(switch.allows(**far, usd=1.0))[0] == "PRICE_OUTSIDE_COLLAR"


def test_a_market_order_states_its_slippage() -> None:
    """Without a price, `slip_bp` must be within the collar."""
    switch = LimitedSwitch().know()
    order = {name: value for name, value in BUY.items() if name != "price"}
    assert switch.allows(**order, usd=1.0, slip_bp=300.0)
    assert code(switch.allows(**order, usd=1.0, slip_bp=301.0))[0] == "ORDER_INCOMPLETE"
    assert code(switch.allows(**order, usd=1.0, slip_bp=nan))[0] == "ORDER_INCOMPLETE"


def test_the_rate_binds_orders_and_never_cancels() -> None:
    """A fifth of the burst is left for orders that reduce; tokens come by the steady clock."""
    limited = LimitedSwitch()
    terms = client_limits(rate=2.0, burst=10)
    switch = limited.know(limited.table(clients={"desk-1": terms}))
    assert [bool(switch.allows(**BUY, usd=1.0)) for _ in range(10)] == [True] * 8 + [False] * 2
    answer = switch.allows(**BUY, usd=1.0)
    assert code(answer) == ("RATE_EXCEEDED", "firm")
    assert [bool(switch.allows(**BUY, reduces=True)) for _ in range(3)] == [True, True, False]
    assert all(switch.allows(**BUY, cancel=True) for _ in range(100))
    assert all(switch.allows(counterparty="kraken", side="withdrawal") for _ in range(100))
    limited.time.wall -= 0.5  # the wall clock does not matter
    limited.time.steady += 0.5
    assert switch.allows(**BUY, reduces=True)
    assert not switch.allows(**BUY, reduces=True)


def test_a_refused_order_takes_no_token_and_no_headroom() -> None:
    """Only what passes counts."""
    limited = LimitedSwitch()
    terms = client_limits(rate=0.001, burst=1)
    switch = limited.know(limited.table(clients={"desk-1": terms}))
    assert not switch.allows(**BUY, usd=9e9)
    assert switch.allows(**BUY, usd=199_999.0)
    assert code(switch.allows(**BUY, usd=1.0))[0] == "RATE_EXCEEDED"
    rate = MessageRate()
    rate.set(1.0, 1)
    assert rate.take(0.0, adds=True)
    assert not rate.take(0.999, adds=True)
    assert rate.take(1.0, adds=True)


def test_a_table_without_limits_is_the_old_rule() -> None:
    """A worker that sends none, or an old one: orders need no size, and none is refused."""
    limited = LimitedSwitch()
    switch = limited.know(msgspec.UNSET)
    assert switch.allows(counterparty="kraken", asset="BTC")
    assert switch.allows(**BUY, usd=9e12)
    own = LimitedSwitch(limits=OrderLimits(max_order_usd=100.0, rate=1.0, burst=2))
    switch = own.know(msgspec.UNSET)
    assert code(switch.allows(counterparty="kraken"))[0] == "ORDER_INCOMPLETE"
    assert code(switch.allows(counterparty="kraken", usd=101.0))[0] == "ORDER_TOO_LARGE"
    sent = [bool(switch.allows(counterparty="kraken", usd=1.0)) for _ in range(3)]
    assert sent == [True, True, False]
    collared = LimitedSwitch(limits=OrderLimits(collar_bp=10.0)).know(msgspec.UNSET)
    assert code(collared.allows(**BUY, usd=1.0))[0] == "PRICE_UNKNOWN"


def test_what_was_used_is_not_forgotten_when_tables_pause() -> None:
    """A policy without clients for a while, and then with them again."""
    limited = LimitedSwitch()
    switch = limited.know()
    at = limited.time.wall
    assert filled(switch, 10_000.0) == 20
    limited.later(1.0)
    limited.know(msgspec.UNSET)
    assert switch.allows(**BUY, usd=1e9)
    limited.later(1.0)
    limited.know(limited.table(known={"kraken": at, "coinbase": at}))
    assert not switch.allows(**BUY, usd=1.0)


def test_a_switch_comes_before_a_limit() -> None:
    """At REDUCE the switch refuses; at WATCH limits apply and the answer names the scope."""
    limited = LimitedSwitch()
    row = limited.truth.decide("asset:BTC", State.WATCH)
    limited.switch.trust.row(row)
    switch = limited.know()
    for _ in range(2):
        answer = switch.allows(**BUY, usd=1.0)
        assert (bool(answer), answer.state, answer.decision_id) == (True, State.WATCH, "d1")
    refused = switch.allows(**BUY, usd=200_001.0)
    assert (refused.state, refused.decision_id) == (State.WATCH, "d1")
    assert code(refused) == ("HEADROOM_EXCEEDED", "asset:BTC")
    limited.switch.trust.row(limited.truth.decide("asset:BTC", State.REDUCE))
    limited.later(1.0)
    switch = limited.know()
    assert switch.allows(**BUY, usd=1.0).scope == "asset:BTC"
    assert switch.allows(**BUY, usd=1.0, reduces=True)


def test_an_order_that_reduces_some_scopes_uses_headroom_of_the_others() -> None:
    """Selling USDC for BTC passes while the limits on USDC and its issuer are in breach."""
    limited = LimitedSwitch()
    left = LEFT | {"asset:USDC": 0.0, "issuer:circle": 0.0, "bank:svb": 0.0}
    gate = limited.know(limited.table(left=left))._gate
    now = limited.time.steady

    def ask(usd: float, reduces: Any) -> Answer:
        to = Intent(side="buy", reduces=reduces)
        order = Order("arb", "kraken", ("BTC", "USDC"), to, usd=usd, price=20_000.0)
        return gate.check(order, now, ALLOWED)

    assert code(ask(1.0, False))[0] == "HEADROOM_EXCEEDED"
    assert code(ask(1.0, {"asset:BTC": True}))[0] == "HEADROOM_EXCEEDED"
    assert code(ask(1.0, {"asset:USDC": False}))[0] == "HEADROOM_EXCEEDED"
    assert code(ask(1.0, {"asset:USDC": 1}))[0] == "HEADROOM_EXCEEDED"
    assert [bool(ask(150_000.0, {"asset:USDC": True})) for _ in range(2)] == [True, False]
    assert code(ask(150_000.0, {"asset:USDC": True})) == ("HEADROOM_EXCEEDED", "asset:BTC")
    assert ask(50_000.0, {"asset:USDC": True, "asset:BTC": False})
    assert ask(9e9, True)


def test_a_route_of_an_older_table_has_nothing_left() -> None:
    """A thread that looked it up before a newer table came spends nothing of it."""
    limited = LimitedSwitch()
    switch = limited.know()
    assert switch.allows(**BUY, usd=1.0)
    (route,) = switch._gate.routes.values()
    assert route.room > 0.0
    limited.later(1.0)
    limited.know()
    assert route.room == 0.0


def test_many_routes_do_not_grow_without_end() -> None:
    """Of more combinations than the bound, new ones are refused with a reason."""
    gate = OrderGate("desk-1", None, 0.0, lambda: 0.0, 2.0)
    limited = LimitedSwitch()
    beat = msgspec.structs.replace(limited.truth.beat(), pretrade=limited.table())
    gate.adopt(beat, limited.time.steady, limited.time.wall)
    answer = ALLOWED
    for n in range(MAX_ROUTES + 1):
        to = Intent(side="buy")
        order = Order(f"b{n}", "kraken", ("BTC", "USD"), to, usd=1e-6, price=20_000.0)
        answer = gate.check(order, limited.time.steady + n, ALLOWED)
        if n < MAX_ROUTES and n < 29:
            assert answer, answer.reason
    assert "combinations" in answer.reason


@pytest.mark.parametrize(
    "terms",
    [{"share": nan}, {"share": 1.1}, {"max_order_usd": 0.0}, {"collar_bp": nan}, {"rate": -1.0},
     {"burst": 0}],
)  # fmt: skip
def test_own_terms_that_would_limit_nothing_are_refused(terms: dict[str, Any]) -> None:
    """At construction, with the name of the term."""
    with pytest.raises(ConfigError) as caught:
        OrderLimits(**terms)
    assert caught.value.key == f"limits.{next(iter(terms))}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_spends_no_headroom() -> None:
    """It refuses every order, even if the parent's lock was held at the fork."""
    switch = LimitedSwitch().know()
    with switch._gate._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if not switch.allows(**BUY, usd=1.0) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_order_that_leaves_a_coin_uses_no_headroom_of_it() -> None:
    """Bitcoin for a USDC that is being left passes by its direction, while USDC is in breach.

    No mapping is needed. A coin that nothing restricts is not left: a sale may open a short.
    """
    limited = LimitedSwitch()
    left = LEFT | {"asset:USDC": 0.0, "issuer:circle": 0.0, "bank:svb": 0.0}
    order = BUY | {"asset": ("BTC", "USDC")}
    switch = limited.know(limited.table(left=left))
    assert code(switch.allows(**order, usd=1.0)) == ("HEADROOM_EXCEEDED", "asset:USDC")
    for state in (State.REDUCE, State.HALT):
        limited.switch.trust.row(limited.truth.decide("asset:USDC", state, None, {CLAIM: state}))
        limited.later(1.0)
        switch = limited.know(limited.table(left=left))
        assert switch.allows(**order, usd=1.0), state
        assert not switch.allows(**(order | {"side": "sell"}), usd=1.0)
    assert code(switch.allows(**order, usd=200_000.0)) == ("HEADROOM_EXCEEDED", "asset:BTC")
    denied = switch.allows(**order, usd=1.0, reduces={"asset:USDC": False})
    assert code(denied)[0] == "HEADROOM_EXCEEDED"


def test_a_top_up_needs_no_headroom() -> None:
    """Margin for an account passes beyond every limit, as a reducing order does; a deposit not."""
    limited = LimitedSwitch()
    left = dict.fromkeys(LEFT, 0.0)
    switch = limited.know(limited.table(left=left))
    order: dict[str, Any] = {
        "counterparty": "kraken", "asset": "USD", "book": "arb", "side": "deposit",
        "account": "main",
    }  # fmt: skip
    assert not switch.allows(**order, usd=1.0)
    assert switch.allows(**order, usd=9e6, top_up=True)


def test_the_fast_path_knows_account_and_trader() -> None:
    """The answer names the switch of the account or trader that the order states, and no other."""
    limited = LimitedSwitch()
    for scope in ("account:kraken/main", "trader:ann"):
        limited.switch.trust.row(limited.truth.decide(scope, State.WATCH))
    limited.later(1.0)
    switch = limited.know()
    free: dict[str, Any] = {"account": "other", "trader": "bob"}
    for _ in range(2):  # the second one is answered by the prepared route
        assert switch.allows(**BUY, usd=1.0, **free).state is State.NORMAL
        assert switch.allows(**BUY, usd=1.0, **free | {"account": "main"}).scope == (
            "account:kraken/main"
        )
        assert switch.allows(**BUY, usd=1.0, **free | {"trader": "ann"}).scope == "trader:ann"
