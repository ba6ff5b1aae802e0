"""What passes under a restriction, by scope; and the no-harm table."""

from __future__ import annotations

import re
from math import inf, nan
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from riskwatch.client import Terms
from riskwatch.client.guard.switch import order_in, run_drill
from riskwatch.contracts.heartbeat import GuardPolicy
from riskwatch.core.enums import Restriction, State
from riskwatch.core.scopes import KINDS, kind_of_scope
from tests.support.drills import signal
from tests.support.guarding import LIFE_S, Scene
from tests.unit.client.guard.test_switch import Guarded

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.core.restriction import Restrictions

CLAIM, MARKET, FULL = Restriction.CLAIM, Restriction.MARKET, Restriction.FULL
REDUCE, HALT = State.REDUCE, State.HALT
COIN, VENUE, FIRM, BOOK = "asset:USDC", "counterparty:kraken", "firm", "book:arb"
SPOT: Final[dict[str, Any]] = {"counterparty": "kraken", "asset": ("BTC", "USDC"), "book": "arb"}


def switched(
    scope: str,
    state: State,
    restriction: Restrictions | None = None,
    members: tuple[str, ...] = (),
    **options: Any,
) -> Guarded:
    """Return a guard that knows one switch."""
    guarded = Guarded(**options).old()
    return guarded.know(guarded.truth.decide(scope, state, None, restriction, members))


# Reducing is judged by scope, and only where something is restricted.


@pytest.mark.parametrize("state", [REDUCE, HALT])
def test_leaving_a_coin_passes_and_buying_it_does_not(state: State) -> None:
    """Buying BTC with a USDC that is being left passes, although it adds BTC; the reverse does not.

    The direction follows from side and pair, or is stated by `buys` and `sells`.
    """
    ask = switched(COIN, state, {CLAIM: state}).switch.allows
    assert ask(**SPOT, side="buy", usd=1_000.0)
    assert not ask(**SPOT, side="sell", usd=1_000.0)
    assert ask(counterparty="kraken", buys="BTC", sells="USDC", usd=1_000.0)
    assert not ask(counterparty="kraken", buys=("USDC", "BTC"), sells="EUR", usd=1_000.0)
    assert ask(asset="USDC", side="sell", usd=1_000.0)
    assert not ask(asset="USDC", side="buy", usd=1_000.0)
    unknowns: tuple[dict[str, Any], ...] = ({}, {"side": "BUY"}, {"side": "convert"})
    for unknown in unknowns:
        assert not ask(**SPOT, **unknown, usd=1_000.0), unknown
    assert not ask(counterparty="kraken", asset=("BTC", "USDC", "EUR"), side="buy", usd=1_000.0)


def test_reduces_by_scope_is_asked_only_where_something_is_restricted() -> None:
    """A mapping is read at restricted scopes alone, and what it lacks is not reduced."""
    guarded = switched(COIN, REDUCE, {FULL: REDUCE})
    ask = guarded.switch.allows
    adds_bitcoin = {COIN: True, "asset:BTC": False}
    assert ask(**SPOT, reduces=adds_bitcoin)
    assert not ask(**SPOT, reduces={COIN: False, "asset:BTC": True})
    assert not ask(**SPOT, reduces={"asset:BTC": True})
    assert not ask(**SPOT, reduces={})
    guarded.know(guarded.truth.decide("asset:BTC", REDUCE, None, {MARKET: REDUCE}))
    assert not ask(**SPOT, reduces=adds_bitcoin)
    assert ask(**SPOT, reduces={COIN: True, "asset:BTC": True})


@pytest.mark.parametrize(
    ("reduces", "why"),
    [
        ({"asset:USDC": "yes"}, r"reduces\[asset:USDC\] must be True or False, was str"),
        ({"asset:USDC": 1}, r"reduces\[asset:USDC\] must be True or False, was int"),
        ({"USDC": True}, "reduces must name scopes, was 'USDC'"),
        ({b"asset:USDC": True}, "reduces must be text, was bytes"),
        ([("asset:USDC", True)], "reduces must be True or False, was list"),
    ],
)
def test_a_mapping_that_is_none_is_refused_with_a_reason(reduces: Any, why: str) -> None:
    """Flags are booleans and keys are scopes, at NORMAL too."""
    answer = Guarded().know().switch.allows(asset="USDC", reduces=reduces)
    assert (bool(answer), answer.scope) == (False, "(order)")
    assert re.search(why, answer.reason)


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        ({"side": "buy", "buys": "USDC"}, "USDC cannot be bought and sold"),
        ({"buys": "USDC", "sells": "USDC"}, "USDC cannot be bought and sold"),
        ({"side": "withdrawal", "top_up": True}, "top_up is a deposit"),
        ({"top_up": 1}, "top_up must be True or False"),
        ({"buys": b"BTC"}, "buys must be text"),
        ({"account": "a/b"}, "account"),
        ({"trader": 7}, "trader must be text"),
        ({"network": "a b"}, "network"),
        ({"address": 5}, "address must be text"),
        ({"position_usd": "much"}, "position_usd must be a number"),
    ],
)
def test_terms_that_contradict_each_other_are_refused(terms: dict[str, Any], why: str) -> None:
    """An order that cannot be understood is refused in every state; the reason names the term."""
    answer = Guarded().know().switch.allows(**SPOT, **terms)
    assert (bool(answer), answer.scope) == (False, "(order)")
    assert why in answer.reason


def test_a_misspelt_term_is_an_error() -> None:
    """As for every function, an unknown parameter raises, also at NORMAL."""
    with pytest.raises(TypeError, match="topup"):
        Guarded().know().switch.allows(asset="USDC", topup=True)  # type: ignore[call-arg]


# Market risk.


@pytest.mark.parametrize("scope", [FIRM, BOOK, "asset:BTC", "account:kraken/main", "trader:ann"])
@pytest.mark.parametrize("state", [REDUCE, HALT])
def test_market_risk_passes_all_that_lowers_it(scope: str, state: State) -> None:
    """Reducing orders of any size, hedges and top-ups pass at HALT too; what adds does not."""
    ask = switched(scope, state, {MARKET: state}).switch.allows
    order: dict[str, Any] = {**SPOT, "account": "main", "trader": "ann"}
    assert not ask(**order, side="buy", usd=1.0)
    assert not ask(**order)
    assert ask(**order, side="sell", reduces=True, usd=5e7)
    assert ask(**order, side="sell", reduces={scope: True}, usd=5e7)
    assert not ask(**order, side="sell", reduces={scope: False}, usd=1.0)
    assert ask(**order, hedge=True)
    assert not ask(**order, hedge=True, reduces={scope: False})
    assert ask(**order, side="deposit", top_up=True)
    assert not ask(**order, side="deposit", reduces=True)


def test_a_margin_halt_keeps_the_margin() -> None:
    """A HALT of market risk on an account refuses withdrawals from it; REDUCE does not."""
    order: dict[str, Any] = {"counterparty": "kraken", "account": "main", "side": "withdrawal"}
    assert switched("account:kraken/main", REDUCE, {MARKET: REDUCE}).switch.allows(**order)
    halted = switched("account:kraken/main", HALT, {MARKET: HALT}).switch.allows
    assert not halted(**order)
    assert halted(**order | {"account": "other"})


# Claims.


@pytest.mark.parametrize("state", [REDUCE, HALT])
@pytest.mark.parametrize("scope", [VENUE, COIN, "account:kraken/main", "network:eth"])
def test_claims_stop_deposits_and_not_withdrawals(scope: str, state: State) -> None:
    """No deposit passes, not as a reducing one either; withdrawals do."""
    ask = switched(scope, state, {CLAIM: state}).switch.allows
    for side in ("deposit", "Deposit", "DEPOSIT"):
        assert not ask(**SPOT, account="main", network="eth", side=side)
        assert not ask(**SPOT, account="main", network="eth", side=side, reduces=True)
    assert ask(**SPOT, account="main", network="eth", side="withdrawal")


@pytest.mark.parametrize("state", [REDUCE, HALT])
def test_a_top_up_of_margin_needs_a_signed_command(state: State) -> None:
    """Where claims are restricted, the unwind that people authorised is what allows a top-up."""
    guarded = switched(VENUE, state, {CLAIM: state})
    top_up: dict[str, Any] = {"counterparty": "kraken", "side": "deposit", "top_up": True}
    assert not guarded.switch.allows(**top_up, usd=60.0)
    row = guarded.truth.decide(VENUE, state, guarded.unwind("100"), {CLAIM: state})
    guarded.know(row)
    assert not guarded.switch.allows(**top_up)
    assert guarded.switch.allows(**top_up, usd=60.0)
    assert not guarded.switch.allows(**top_up, usd=60.0)
    assert not guarded.switch.allows(counterparty="kraken", side="deposit", usd=1.0)


def test_closing_at_a_halt_of_claims_has_a_share_of_the_hour() -> None:
    """The larger of 250,000 USD and a quarter of the position passes in an hour, and then again."""
    guarded = switched(VENUE, HALT, {CLAIM: HALT})
    close: dict[str, Any] = {"counterparty": "kraken", "reduces": True, "side": "sell"}
    ask = guarded.switch.allows
    assert not ask(**close)
    assert "usd=" in ask(**close).reason
    assert not ask(**close, usd=250_001.0)
    assert ask(**close, usd=200_000.0)
    refused = ask(**close, usd=50_001.0)
    assert not refused
    assert "closing orders of this hour are at their share, 250,000 USD" in refused.reason
    assert ask(**close, usd=50_000.0)
    assert not ask(**close, usd=1.0)
    assert ask(**close, usd=750_000.0, position_usd=4_000_000.0)
    for absurd in (nan, inf, -1.0):
        assert not ask(**close, usd=1.0, position_usd=absurd)
        assert not ask(**close, usd=absurd, position_usd=1e9)
    guarded.time.pass_(3_500.0)
    guarded.know()
    assert not ask(**close, usd=1.0)
    guarded.time.pass_(161.0)
    guarded.know()
    assert ask(**close, usd=250_000.0)


def test_beyond_the_share_an_unwind_counts() -> None:
    """What people authorised passes in addition to the share of the hour."""
    guarded = Guarded().old()
    row = guarded.truth.decide(VENUE, HALT, guarded.unwind("100", "25"), {CLAIM: HALT})
    guarded.know(row)
    close: dict[str, Any] = {"counterparty": "kraken", "reduces": True, "slip_bp": 10.0}
    assert guarded.switch.allows(**close, usd=250_000.0)
    assert not guarded.switch.allows(**close, usd=101.0)
    assert guarded.switch.allows(**close, usd=100.0)
    assert not guarded.switch.allows(**close, usd=1.0)


def test_the_policy_of_the_heartbeat_sets_the_share() -> None:
    """A client follows the policy of the worker that vouches, and its own share of it."""
    guarded = Guarded(unwind_share=0.5)
    guarded.truth.policy = GuardPolicy(closing_usd=100.0, closing_share=0.1)
    guarded.old().know(guarded.truth.decide(VENUE, HALT, None, {CLAIM: HALT}))
    close: dict[str, Any] = {"counterparty": "kraken", "reduces": True}
    assert not guarded.switch.allows(**close, usd=51.0)
    assert not guarded.switch.allows(**close, usd=51.0, position_usd=1_000.0)
    assert guarded.switch.allows(**close, usd=50.0, position_usd=1_000.0)


def test_the_share_of_the_hour_survives_a_restart(tmp_path: Path) -> None:
    """With a file nothing is used twice; without one the hour after a restart passes nothing."""
    close: dict[str, Any] = {"counterparty": "kraken", "reduces": True}
    file = tmp_path / "used.json"
    first = switched(VENUE, HALT, {CLAIM: HALT}, used_file=file)
    assert first.switch.allows(**close, usd=200_000.0)
    first.switch.close()
    again = Guarded(used_file=file)
    again.truth = first.truth
    again.truth.time = again.time
    row = first.trust.table.get(VENUE)
    assert row is not None
    again.know(row)
    assert not again.switch.allows(**close, usd=50_001.0)
    assert again.switch.allows(**close, usd=50_000.0)
    again.switch.close()
    bare = Guarded()
    bare.know(bare.truth.decide(VENUE, HALT, None, {CLAIM: HALT}))
    assert not bare.switch.allows(**close, usd=1.0)
    bare.later(Terms().skew_s).know()
    assert not bare.switch.allows(**close, usd=1.0)
    bare.time.pass_(3_601.0)
    assert bare.know().switch.allows(**close, usd=1.0)


# Several grounds, rows without a restriction, and rows that nobody vouches for.


def test_an_order_must_pass_on_every_ground() -> None:
    """A claim at HALT and market risk at REDUCE: neither weakens the other."""
    ask = switched(COIN, HALT, {CLAIM: HALT, MARKET: REDUCE}).switch.allows
    assert not ask(asset="USDC", side="sell", usd=1.0)
    assert ask(asset="USDC", side="sell", usd=1.0, reduces={COIN: True})
    assert not ask(asset="USDC", side="sell", usd=250_001.0, reduces={COIN: True})
    ask = switched(COIN, HALT, {CLAIM: REDUCE, MARKET: HALT}).switch.allows
    assert ask(asset="USDC", side="sell", usd=9e9, reduces={COIN: True})
    assert not ask(asset="USDC", side="buy", usd=1.0, hedge=True)


@pytest.mark.parametrize("restriction", [None, {}, {CLAIM: REDUCE}, {FULL: HALT}])
def test_a_halt_without_a_ground_of_its_own_restricts_everything(
    restriction: Restrictions | None,
) -> None:
    """Rows from before there were restrictions keep their meaning: only withdrawals pass."""
    ask = switched(COIN, HALT, restriction).switch.allows
    orders: tuple[dict[str, Any], ...] = (
        {"reduces": True}, {"hedge": True}, {"side": "sell"}, {"side": "deposit", "top_up": True},
    )  # fmt: skip
    for order in orders:
        assert not ask(asset="USDC", usd=1.0, **order)
    assert ask(asset="USDC", side="withdrawal")


def test_what_no_heartbeat_vouches_for_restricts_everything() -> None:
    """An older worker's heartbeat says nothing of restrictions, so that none is believed."""
    guarded = Guarded()
    guarded.truth.says_restrictions = False
    row = guarded.truth.decide(FIRM, HALT, None, {MARKET: HALT})
    guarded.old().know(row)
    assert not guarded.switch.allows(**SPOT, reduces=True, usd=1.0)
    guarded.truth.says_restrictions = True
    guarded.time.pass_(1.0)
    assert guarded.know().switch.allows(**SPOT, reduces=True, usd=1.0)


def test_a_restriction_that_was_missed_closes() -> None:
    """A ground that is added changes no state and no decision, and the digest shows its loss."""
    scene = Scene()
    old = scene.truth.decide(COIN, HALT, None, {MARKET: HALT})
    assert scene.known(old) is State.NORMAL
    scene.truth.restricted[COIN] = "claim=HALT market=HALT"
    scene.time.pass_(1.0)
    scene.trust.beat(scene.truth.beat())
    assert scene.pass_(scene.terms.grace_s + 0.25) is REDUCE


def test_an_added_ground_counts_at_once() -> None:
    """The same decision with another restriction is a new version, not a repeat."""
    guarded = switched(FIRM, HALT, {MARKET: HALT})
    assert guarded.switch.allows(**SPOT, reduces=True)
    first = guarded.trust.table.get(FIRM)
    assert first is not None

    added = msgspec.structs.replace(first, seq=first.seq + 1, restriction={FULL: HALT})
    guarded.trust.row(added)
    guarded.trust.settle()
    assert not guarded.switch.allows(**SPOT, reduces=True)


# Scopes.

GROUP: Final = ("counterparty:kraken", "asset:KUSD")


@pytest.mark.parametrize(
    ("scope", "members", "bound", "free"),
    [
        ("account:kraken/main", (),
         [{"account": "main"}, {}, {"counterparty": None, "account": "main"}],
         [{"account": "other"}, {"counterparty": "okx", "account": "main"},
          {"counterparty": None}]),
        ("trader:ann", (), [{"trader": "ann"}, {}], [{"trader": "bob"}]),
        ("network:eth", (),
         [{"side": "deposit", "network": "eth"}, {"side": "withdrawal"}, {"top_up": True}],
         [{"side": "deposit", "network": "sol"}, {}, {"side": "buy"}]),
        ("group:g", GROUP, [{}, {"counterparty": "okx", "asset": "KUSD"}],
         [{"counterparty": "okx"}]),
        ("issuer:i", ("asset:BTC",), [{}], [{"asset": ("ETH", "USDC")}]),
        ("bank:b", ("counterparty:b", "asset:USDC"), [{}, {"counterparty": "b", "asset": "EUR"}],
         [{"asset": "ETH"}]),
        ("group:unknown", (), [{}, {"counterparty": "okx"}, {"counterparty": None}], []),
    ],
)  # fmt: skip
def test_what_binds_an_order(
    scope: str, members: tuple[str, ...], bound: list[dict[str, Any]], free: list[dict[str, Any]]
) -> None:
    """Accounts, traders, groups, issuers, banks and networks bind; what is not stated is bound."""
    market = {FULL: HALT}
    guarded = switched(scope, HALT, market, members)
    order: dict[str, Any] = {"counterparty": "kraken", "asset": ("BTC", "USDC"), "book": "arb"}
    for change in bound:
        answer = guarded.switch.allows(**(order | change))
        withdrawn = change.get("side") == "withdrawal"
        assert (bool(answer), answer.scope) == (withdrawn, scope), change
    for change in free:
        assert guarded.switch.allows(**(order | change)), change


def test_the_firms_state_is_the_firms() -> None:
    """An account or a trader at HALT does not make `state` HALT."""
    assert switched("trader:ann", HALT).switch.state() is State.NORMAL
    assert switched(FIRM, HALT).switch.state() is HALT


def test_an_issuer_is_left_by_selling_its_coins() -> None:
    """By the members that an order touches the direction is judged, as for the coin itself."""
    ask = switched("issuer:circle", REDUCE, {CLAIM: REDUCE}, ("asset:USDC", "asset:EURC")).switch
    assert ask.allows(**SPOT, side="buy")
    assert not ask.allows(**SPOT, side="sell")
    assert not ask.allows(asset=("EURC", "USDC"), side="buy")
    assert ask.allows(asset="USDC", reduces={COIN: True})
    assert not ask.allows(asset=("EURC", "USDC"), reduces={COIN: True})


@pytest.mark.parametrize("kind", KINDS)
def test_a_drill_on_every_kind_of_scope_is_refused(kind: str) -> None:
    """The order of a drill is one that the scope binds."""
    name = {"firm": "", "venue-asset": ":kraken/USDC", "account": ":kraken/main"}.get(kind, ":x")
    guarded = Guarded().know()
    ack = run_drill(
        guarded.trust, guarded.switch._order_check, "desk-1", signal(scope=f"{kind}{name}")
    )
    assert ack.refused
    assert order_in(f"{kind}{name}") is not None


@pytest.mark.parametrize("state", [State.NORMAL, State.WATCH, REDUCE, HALT])
def test_a_client_closes_on_a_kind_of_scope_that_it_does_not_know(state: State) -> None:
    """A row of an unknown kind is not in the table, so that the digest never agrees.

    That is what clients of builds before accounts, groups, issuers, banks, networks and traders do
    with these scopes.
    """
    guarded = Guarded().know()
    assert guarded.switch.allows(**SPOT)
    guarded.trust.row(guarded.truth.decide("desk:1", state))
    guarded.time.pass_(1.0)
    guarded.trust.beat(guarded.truth.beat())
    guarded.later(0)
    assert not guarded.switch.allows(**SPOT)
    assert not guarded.switch.allows(**SPOT, reduces=True)
    guarded.later(Terms().grace_s + 1)
    guarded.trust.beat(guarded.truth.beat())
    guarded.later(0)
    assert not guarded.switch.allows(**SPOT)


# The no-harm table: what must not stop a reducing order or a hedge.

SELL: Final = {**SPOT, "asset": ("BTC", "USD"), "side": "sell", "reduces": True, "usd": 2_000_000.0}
HEDGED: Final = {**SPOT, "asset": ("BTC", "USD"), "hedge": True, "usd": 50_000.0}
ACCOUNT: Final = "account:kraken/main"
NO_HARM: Final[dict[str, tuple[str, State, Restriction, dict[str, Any], dict[str, Any]]]] = {
    "drawdown HALT and a sell": (FIRM, HALT, MARKET, SELL, HEDGED),
    "book drawdown HALT and a sell": (BOOK, HALT, MARKET, SELL, HEDGED),
    "margin HALT and a sell": (ACCOUNT, HALT, MARKET, SELL, HEDGED),
    "one account's lag": (ACCOUNT, REDUCE, MARKET, SELL, HEDGED),
    "congestion": ("network:eth", State.WATCH, CLAIM, SELL, HEDGED),
    "airdrop": ("asset:AIR", REDUCE, CLAIM, SELL, HEDGED),
    "peg HALT and a sale of the coin": (
        COIN, HALT, CLAIM, {**SPOT, "side": "buy", "usd": 250_000.0}, HEDGED,
    ),
    "a limit of a book in breach and its hedge": (BOOK, REDUCE, MARKET, SELL, HEDGED),
    "a limit of a coin in breach and its hedge": ("asset:BTC", REDUCE, MARKET, SELL, HEDGED),
    "a limit of a venue in breach and its hedge": (VENUE, REDUCE, CLAIM, SELL, HEDGED),
    "a limit of the firm in breach and its hedge": (FIRM, REDUCE, MARKET, SELL, HEDGED),
    "account feed lost with 40 % of equity": (ACCOUNT, REDUCE, MARKET, SELL, HEDGED),
    "a bank from Friday to Monday": ("bank:b", REDUCE, MARKET, SELL, HEDGED),
}  # fmt: skip
"""By row: scope, state and restriction of the switch; a reducing order, and a hedge."""


@pytest.mark.parametrize("row", list(NO_HARM))
def test_no_harm(row: str) -> None:
    """The reducing order and the hedge pass at every second; what adds does not, where bound."""
    scope, state, restriction, reducing_order, hedge = NO_HARM[row]
    guarded = switched(scope, state, {restriction: state}, ("counterparty:b", "asset:USDC"))
    for _ in range(3):
        assert guarded.switch.allows(**reducing_order | {"usd": reducing_order["usd"] / 3})
        assert guarded.switch.allows(**hedge)
        guarded.later(1.0)
    if kind_of_scope(scope) in ("firm", "book", "account"):
        assert not guarded.switch.allows(**SPOT, side="buy")


def test_no_harm_by_an_outage_of_ten_minutes() -> None:
    """Reducing orders and hedges within their cap pass at every second of it."""
    guarded = Guarded(hedges={"arb": 60_000_000.0}).know()
    for _ in range(600):
        guarded.later(1.0)
        assert guarded.switch.allows(**SELL)
        assert guarded.switch.allows(**HEDGED)
        if guarded.trust.floor() is not State.NORMAL:
            assert not guarded.switch.allows(**SPOT, side="buy")
    assert guarded.trust.floor() is REDUCE
    assert LIFE_S < 600
