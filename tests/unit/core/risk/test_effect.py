"""Whether a HALT took effect: fills after it that added risk, and orders that still rest."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from riskwatch.core.enums import HaltEffect, Restriction, State
from riskwatch.core.ledger.activity import MAX_FILL_GROUPS
from riskwatch.core.outputs import AlertRaised, AlertResolved, HaltEffectMeasured
from tests.support.facts import balance, fill, order, position
from tests.support.people import answer, request_of, until
from tests.support.risk import REFERENCE, of
from tests.support.two_stages import TwoStages, minutes, order_of, prices

if TYPE_CHECKING:
    from riskwatch.core.events import Command
    from riskwatch.core.outputs import Output

FINDING = "HALT_NOT_EFFECTIVE"
VENUE = "counterparty:kraken"


def halted(scope: str = VENUE, **holding: str) -> TwoStages:
    """Return both stages after `scope` was halted at 60 s; kraken holds `holding` and some USD."""
    stages = TwoStages()
    held = [balance(f"b-{a}", 1, n, asset=a) for a, n in {"USD": "900000", **holding}.items()]
    stages.turn(2, *prices(), *held, order("none", 1, "0"))
    stages.turn(60, order_of("rita", "halt", 60, scope))
    return stages


def effect(stages: TwoStages, scope: str = VENUE) -> HaltEffectMeasured:
    """Return the last effect that was published of a scope."""
    return of(stages.out, HaltEffectMeasured, scope)[-1]


def pages(outputs: list[Output], scope: str = VENUE) -> list[AlertRaised]:
    """Return the alerts that a HALT is not effective."""
    return [a for a in of(outputs, AlertRaised, scope) if a.alert == f"{scope}|effect"]


@pytest.mark.parametrize(
    ("seconds", "counts"), [(50.0, 0), (62.0, 0), (64.999, 0), (65.0, 1), (600.0, 1)]
)
def test_a_fill_counts_from_five_seconds_on(seconds: float, counts: int) -> None:
    """Its own time counts, not the time at which it is heard."""
    stages = halted()
    stages.turn(700, fill("f", seconds, qty="5"))
    found = effect(stages)
    assert (found.fills, found.filled_after_usd) == (counts, Decimal(100_000 * counts))
    assert found.finding == (FINDING if counts else None)
    assert len(pages(stages.out)) == counts


def test_the_page_says_both_in_dollars() -> None:
    """Fills and orders are named; the severity is that of a page; it grows with the fills."""
    stages = halted()
    first = pages(stages.turn(100, fill("f", 100, qty="5"), order("o", 100, "20")))
    (page,) = first
    assert page.severity is State.HALT
    assert page.exposure_usd == Decimal(500_000)
    assert page.title == (
        f"{FINDING}: {VENUE}: 100,000.00 USD filled after it, 400,000.00 USD rest"
    )
    assert [r.split(" of ")[0] for r in page.reasons] == ["1 fill(s)", "1 order(s)"]
    assert not pages(stages.turn(110))
    assert not pages(stages.turn(120, fill("g", 120, qty="1")))  # a fifth more
    assert pages(stages.turn(130, fill("h", 130, qty="5")))
    assert effect(stages).filled_after_usd == Decimal(220_000)
    assert stages.desk.state.effects[VENUE].alert_id == page.id


@pytest.mark.parametrize(
    ("scope", "holding", "trade", "usd"),
    [
        # Less of what is held there.
        (VENUE, {"BTC": "9"}, {"side": "sell", "qty": "5"}, None),
        # Beyond what is held: only the part that opens a short position.
        (VENUE, {"BTC": "4"}, {"side": "sell", "qty": "12"}, 160_000),
        # A close that ends nearer to zero.
        (VENUE, {"BTC": "-6"}, {"side": "buy", "qty": "5"}, None),
        (VENUE, {"BTC": "4"}, {"side": "sell", "qty": "5"}, None),
        # Coins that are left for others are no new risk of the coin.
        ("asset:USDC", {"USDC": "300000"}, {"quote": "USDC", "qty": "5"}, None),
        # Coins that are bought by a sale are.
        ("asset:USDC", {"BTC": "9"}, {"quote": "USDC", "side": "sell", "qty": "5"}, 100_000),
        ("asset:BTC", {"BTC": "9"}, {"side": "sell", "qty": "5"}, None),
        ("venue-asset:kraken/BTC", {"BTC": "9"}, {"side": "buy", "qty": "1"}, 20_000),
        # A coin of another market is not bound.
        ("asset:USDC", {"BTC": "9"}, {"side": "buy", "qty": "1"}, None),
        ("book:mm", {}, {"side": "buy", "qty": "1"}, 20_000),
        ("book:arb", {}, {"side": "buy", "qty": "1"}, None),
        ("firm", {"BTC": "9"}, {"side": "sell", "qty": "9"}, None),
        # An account is judged by what it holds itself.
        ("account:kraken/main", {"BTC": "9"}, {"side": "sell", "qty": "9"}, None),
        ("account:kraken/main", {"BTC": "9"}, {"side": "sell", "qty": "10"}, None),
        ("account:kraken/main", {"BTC": "9"}, {"side": "buy", "qty": "1"}, 20_000),
        ("account:kraken/main", {"BTC": "9"}, {"qty": "1", "account": "sub"}, None),
        ("account:kraken/sub", {"BTC": "9"}, {"side": "sell", "account": "sub"}, 20_000),
        ("account:okx/main", {}, {"side": "buy", "qty": "1"}, None),
        # A group is judged by what all its members hold.
        ("group:g", {"BTC": "9"}, {"side": "sell", "qty": "5"}, None),
        ("group:g", {"BTC": "9"}, {"counterparty": "coinbase", "side": "sell", "qty": "5"}, None),
        ("group:g", {}, {"counterparty": "coinbase", "qty": "1"}, 20_000),
        ("group:g", {"BTC": "9"}, {"counterparty": "okx", "qty": "1"}, None),
        # Without members it binds every order.
        ("group:nobody", {"BTC": "9"}, {"counterparty": "okx", "qty": "1"}, 20_000),
        # An issuer and a bank are judged by the coins behind which they stand, anywhere.
        ("issuer:circle", {}, {"side": "buy", "qty": "1"}, None),
        ("issuer:circle", {}, {"base": "USDC", "qty": "9000", "price": "1"}, 9_000),
        ("issuer:circle", {"USDC": "300000"}, {"quote": "USDC", "counterparty": "okx"}, None),
        ("issuer:circle", {"BTC": "9"}, {"quote": "USDC", "side": "sell"}, 20_000),
        ("bank:svb", {}, {"base": "USDC", "qty": "9000", "price": "1"}, 9_000),
        ("bank:svb", {}, {"base": "USDT", "qty": "9000", "price": "1"}, None),
        ("bank:svb", {}, {"counterparty": "svb", "qty": "1"}, 20_000),
        ("firm", {}, {"side": "buy", "qty": "1", "kind": "perp", "instrument": "P"}, 20_000),
    ],
)  # fmt: skip
def test_only_what_adds_risk_counts(
    scope: str, holding: dict[str, str], trade: dict[str, Any], usd: int | None
) -> None:
    """It is judged by what the scope holds, before the fill."""
    stages = halted(scope, **holding)
    stages.turn(100, fill("f", 100, **trade))
    assert effect(stages, scope).filled_after_usd == Decimal(usd or 0)
    assert effect(stages, scope).finding == (None if usd is None else FINDING)


def test_fills_of_one_tick_are_judged_in_their_order() -> None:
    """Five are sold of five, then one more: only the last opens a position."""
    stages = halted(BTC="5")
    sells = [fill(f"f{n}", 100 + n, side="sell", qty="1") for n in range(6)]
    stages.turn(110, *reversed(sells))
    assert (effect(stages).fills, effect(stages).filled_after_usd) == (1, Decimal(20_000))


def test_a_hedge_elsewhere_lowers_the_risk_of_the_firm() -> None:
    """A short on another venue against coins that are stuck adds nothing to the firm."""
    stages = halted("firm", BTC="10")
    hedge = fill("h", 100, side="sell", qty="10", kind="perp", instrument="P", counterparty="okx")
    stages.turn(101, hedge)
    assert effect(stages, "firm").finding is None
    stages.turn(120, fill("i", 119, side="sell", qty="1", kind="perp", instrument="P",
                         counterparty="okx"))  # fmt: skip
    assert effect(stages, "firm").filled_after_usd == Decimal(20_000)


def test_a_granted_unwind_covers_fills_up_to_its_value_and_time() -> None:
    """Beyond the value that was granted, and after its end, a fill counts."""
    stages = halted()
    grant = order_of("rita", "unwind", 70, VENUE, until=until(minutes(370)), max_usd="100000")
    assert answer(stages.turn(71, grant)) == "applied"
    stages.turn(101, fill("f", 100, qty="3"))
    assert effect(stages).finding is None
    stages.turn(121, fill("g", 120, qty="3"))  # 60,000 more, 40,000 and the band are left
    assert effect(stages).filled_after_usd == Decimal("19500.00")
    assert effect(stages).finding == FINDING
    late = halted()
    assert answer(late.turn(71, grant)) == "applied"
    late.turn(380, fill("h", 376, qty="1"))
    assert effect(late).filled_after_usd == Decimal(20_000)


def test_an_order_may_rest_for_ten_seconds() -> None:
    """It is found without a new fact, by a tick; its cancel ends the alert and says when."""
    stages = TwoStages()
    stages.turn(2, *prices(), balance("u", 1, "900000", asset="USD"), order("o", 1, "20"))
    stages.turn(60, order_of("rita", "halt", 60, VENUE))
    assert (effect(stages).finding, effect(stages).resting_usd) == (None, Decimal(400_000))
    assert not pages(stages.turn(69))
    assert len(pages(stages.turn(70))) == 1
    assert (effect(stages).finding, effect(stages).flat_at) == (FINDING, None)
    out = stages.turn(80, order("p", 79, "0"))
    assert [r.alert for r in of(out, AlertResolved)] == [f"{VENUE}|effect"]
    found = effect(stages)
    assert (found.finding, found.resting_usd, found.resting) == (None, Decimal(0), 0)
    assert found.flat_at is not None
    assert (found.flat_at - found.halted_at).total_seconds() == 20


@pytest.mark.parametrize(
    ("holding", "resting", "usd"),
    [
        ({}, {"side": "buy"}, 400_000),
        ({}, {"side": "buy", "reduce_only": True}, 0),
        ({"BTC": "20"}, {"side": "sell"}, 0),
        ({"BTC": "15"}, {"side": "sell"}, 100_000),
        ({"BTC": "-20"}, {"side": "buy"}, 0),
        ({}, {"side": "buy", "base": "XYZ", "quote": "QRS"}, 10**15),
    ],
)
def test_orders_that_only_reduce_may_rest(
    holding: dict[str, str], resting: dict[str, Any], usd: int
) -> None:
    """Reduce-only ones, and those within what is held; an order without a price is the maximum."""
    stages = halted(**holding)
    stages.turn(100, order("o", 100, "20", order_id="o2", **resting))
    assert effect(stages).resting_usd == Decimal(usd)
    assert bool(pages(stages.out)) is bool(usd)


def test_nothing_reported_is_not_nothing_resting() -> None:
    """Without any fact about orders, what rests is unknown, and the scope is never called flat."""
    stages = TwoStages()
    stages.turn(2, *prices(), balance("u", 1, "900000", asset="USD"))
    stages.turn(60, order_of("rita", "halt", 60, VENUE))
    stages.turn(80)
    assert (effect(stages).resting_usd, effect(stages).flat_at) == (None, None)
    firm = TwoStages()
    firm.turn(2, *prices(), order("o", 1, "0"), fill("f", 1, counterparty="okx"))
    firm.turn(60, order_of("rita", "halt", 60, "firm"))
    firm.turn(80)
    assert (effect(firm, "firm").resting_usd, effect(firm, "firm").flat_at) == (Decimal(0), None)


def test_too_many_fills_are_said() -> None:
    """What no reading has room for counts as fills of unknown content."""
    stages = halted()
    markets = [
        # Four sources: one alone has a quarter of the room for unlisted names.
        fill(f"f{n}", 100 + n * 1e-3, base=f"C{n}", qty="1", price="1", source=f"desk{n % 4}")
        for n in range(2 * MAX_FILL_GROUPS + 3)
    ]
    (page,) = pages(stages.turn(200, *markets))
    assert effect(stages).fills_unknown >= 3
    assert "3 fill(s) after it were too many to be looked at one by one" in page.reasons


def test_fills_without_a_price_count_as_unknown() -> None:
    """Neither asset of the fill has a price."""
    stages = halted()
    stages.turn(100, fill("f", 100, base="XYZ", quote="QRS"))
    assert (effect(stages).finding, effect(stages).fills_unknown) == (FINDING, 1)


def test_the_end_of_the_halt_ends_the_finding() -> None:
    """After the release the alert is resolved and the row closed; a new HALT begins at zero."""
    stages = halted()
    stages.turn(100, fill("f", 100, qty="5"))
    request = request_of(stages.turn(110, order_of("ann", "release", 110, VENUE)))
    out = stages.turn(
        120,
        order_of("bob", "approve", 120, VENUE, request=request),
        order_of("rita", "halt", 120.5, VENUE, key="again"),
    )
    assert [r.alert for r in of(out, AlertResolved)][-1] == f"{VENUE}|effect"
    assert effect(stages).filled_after_usd == 0
    stages.turn(140, fill("g", 125.0, qty="5"))  # 4.5 s after the second HALT
    assert effect(stages).finding is None
    request = request_of(stages.turn(150, order_of("ann", "release", 150, VENUE, key="r2")))
    stages.turn(160, order_of("bob", "approve", 160, VENUE, request=request, key="a2"))
    assert effect(stages).ended
    assert not stages.desk.state.effects


def test_a_retired_scope_pages_for_fills_alone() -> None:
    """Orders that are stuck at a venue that is gone page nobody; a fill there does."""
    stages = halted()
    stages.turn(100, order("o", 100, "20", order_id="o2"))
    out = stages.turn(110, order_of("ann", "retire", 110, VENUE))
    assert f"{VENUE}|effect" in [r.alert for r in of(out, AlertResolved)]
    assert effect(stages).resting_usd == Decimal(400_000)
    assert pages(stages.turn(120, fill("f", 120)))


ALIKE = [
    ("issuer:circle", "asset:USDC"),
    ("group:alone", "counterparty:kraken"),
    ("account:kraken/main", "counterparty:kraken"),
]
"""Scopes that bind the same orders, and must judge them alike."""


KRAKEN_ALONE = structs.replace(
    REFERENCE,
    parties=REFERENCE.parties
    | {"kraken": structs.replace(REFERENCE.parties["kraken"], group="alone")},
)


@pytest.mark.parametrize(("one", "other"), ALIKE)
@pytest.mark.parametrize("spot", [True, False])
def test_scopes_that_bind_the_same_orders_judge_them_alike(
    one: str, other: str, monkeypatch: pytest.MonkeyPatch, *, spot: bool
) -> None:
    """An issuer with one coin, a group of one venue, and the only account of a venue."""
    monkeypatch.setattr("tests.support.people.REFERENCE", KRAKEN_ALONE)
    sizes = []
    for side in ("buy", "sell"):
        for quote in ("USD", "USDC"):
            for held in ("0", "9", "-4"):
                said: dict[str, Any] = {"quote": quote, "side": side}
                trade = said | ({} if spot else {"kind": "perp", "instrument": "P"})
                found = []
                for scope in (one, other):
                    stages = halted(scope, BTC=held, USDC="70000")
                    resting = order("o", 100, "4", order_id="o2", **said)
                    stages.turn(100, fill("f", 100, qty="5", **trade), resting)
                    told = effect(stages, scope)
                    found.append((told.filled_after_usd, told.fills, told.resting_usd, told.effect))
                assert found[0] == found[1], (side, quote, held)
                sizes.append(found[0])
    assert len(dict.fromkeys(sizes)) > 2


def test_orders_of_a_group_rest_at_all_its_members() -> None:
    """What would reduce at one member is no breach; what would add at another is."""
    stages = halted("group:g", BTC="20")
    out = stages.turn(
        100, order("o", 100, "20", side="sell", counterparty="coinbase", order_id="o2")
    )
    assert (effect(stages, "group:g").resting_usd, pages(out, "group:g")) == (Decimal(0), [])
    out = stages.turn(120, order("p", 120, "3", counterparty="coinbase", order_id="o3"),
                      order("q", 120, "9", counterparty="okx", order_id="o4"))  # fmt: skip
    assert effect(stages, "group:g").resting_usd == Decimal(60_000)
    assert len(pages(out, "group:g")) == 1


def test_an_order_for_coins_of_a_group_adds_to_them() -> None:
    """A sale of BTC for the coin of an issuer rests: it lowers BTC, and adds to the coin."""
    stages = halted("issuer:circle", BTC="20")
    stages.turn(100, order("o", 100, "2", side="sell", quote="USDC", order_id="o2"))
    assert effect(stages, "issuer:circle").resting_usd == Decimal(40_000)


def test_an_order_at_a_member_is_judged_by_both_its_legs() -> None:
    """It sells the coin of the issuer, and has the issuer owe us BTC for it."""
    stages = halted("issuer:circle", USDC="300000")
    said = {"base": "USDC", "quote": "BTC", "side": "sell", "price": "0.00005", "order_id": "o2"}
    stages.turn(100, order("o", 100, "20000", counterparty="circle", **said))
    assert effect(stages, "issuer:circle").resting_usd == Decimal(20_000)


@pytest.mark.parametrize("scope", ["trader:tom", "network:eth"])
def test_a_halt_of_which_facts_tell_nothing_is_never_effective(scope: str) -> None:
    """Fills and orders name no trader and no network: the effect is unknown, and it is said."""
    stages = halted(scope)
    assert effect(stages, scope).effect is HaltEffect.UNKNOWN
    stages.turn(100, fill("f", 100, qty="5"), order("o", 100, "20"))
    stages.turn(900)
    found = effect(stages, scope)
    assert (found.effect, found.finding, found.fills) == (HaltEffect.UNKNOWN, None, 0)
    assert (found.resting_usd, found.flat_at) == (None, None)
    assert not pages(stages.out, scope)


@pytest.mark.parametrize(
    "scope", ["firm", "book:mm", VENUE, "asset:BTC", "venue-asset:kraken/BTC",
              "account:kraken/main", "group:g", "group:nobody"],
)  # fmt: skip
def test_effective_needs_a_proof(scope: str) -> None:
    """Unknown until orders are known; resting; not effective; effective once they are gone."""
    where = {"book": "mm", "account": "main"}
    stages = TwoStages()
    stages.turn(2, *prices(), balance("u", 1, "900000", asset="USD", **where))
    stages.turn(60, order_of("rita", "halt", 60, scope))
    seen = [effect(stages, scope).effect]
    stages.turn(62, order("o", 61, "20", **where))
    seen.append(effect(stages, scope).effect)
    stages.turn(75)
    seen.append(effect(stages, scope).effect)
    stages.turn(80, order("p", 79, "0", **where))
    seen.append(effect(stages, scope).effect)
    stages.turn(100, fill("f", 90, **where))
    seen.append(effect(stages, scope).effect)
    word = HaltEffect
    assert seen == [
        word.UNKNOWN, word.RESTING, word.NOT_EFFECTIVE, word.EFFECTIVE, word.NOT_EFFECTIVE,
    ]  # fmt: skip


def test_trade_without_orders_leaves_the_effect_unknown() -> None:
    """Where we traded and no order was ever reported, orders may rest that nobody sees."""
    stages = TwoStages()
    stages.turn(2, *prices(), order("o", 1, "0"), fill("f", 1, counterparty="coinbase"))
    for scope in ("firm", "group:g", VENUE):
        stages.turn(60, order_of("rita", "halt", 60, scope, key=scope))
    stages.turn(90)
    assert effect(stages, VENUE).effect is HaltEffect.EFFECTIVE
    assert effect(stages, "firm").effect is HaltEffect.UNKNOWN
    assert effect(stages, "group:g").effect is HaltEffect.UNKNOWN


def test_the_effect_says_what_the_halt_restricts() -> None:
    """A second HALT of the scope that restricts more is published."""
    stages = TwoStages()
    stages.turn(2, *prices(), balance("u", 1, "900000", asset="USD"), order("none", 1, "0"))
    stages.turn(60, order_of("rita", "halt", 60, VENUE, restriction="market"))
    assert effect(stages).restriction == {Restriction.MARKET: State.HALT}
    stages.turn(70, order_of("rita", "halt", 70, VENUE, key="k", restriction="claim"))
    assert effect(stages).restriction == dict.fromkeys(
        (Restriction.CLAIM, Restriction.MARKET), State.HALT
    )


def story() -> list[tuple[float, list[Any]]]:
    """Return a HALT with fills, orders, a grant and a release, by time."""
    grant = order_of("rita", "unwind", 70, VENUE, until=until(minutes(370)), max_usd="100000")
    halt: Command = order_of("rita", "halt", 60, VENUE)
    return [
        (2, [*prices(), balance("u", 1, "900000", asset="USD"), order("o", 1, "20")]),
        (61, [halt]),
        (70.5, [grant]),
        (72, []),
        (80, [fill("f", 75, qty="3"), fill("g", 76, qty="4"), position("p", 77, "3")]),
        (90, [order("c", 85, "0"), fill("h", 62, qty="9")]),
        (700, [fill("i", 690, qty="2"), *prices(21_000.0, 2)]),
        (1000, []),
    ]


def test_a_restart_at_each_turn_changes_no_byte() -> None:
    """States that are loaded from their rows give the same outputs."""
    told = []
    for reload in (False, True):
        stages = TwoStages(reload=reload)
        for seconds, events in story():
            stages.turn(seconds, *events)
        told.append(stages.out)
    assert told[0] == told[1]
    assert of(told[0], HaltEffectMeasured)[-1].finding == FINDING


def test_a_halt_that_is_older_than_the_record_counts_from_now() -> None:
    """Rows of an older release have no record of when the HALT began; its grant still covers."""
    stages = halted()
    grant = order_of("rita", "unwind", 70, VENUE, until=until(minutes(370)), max_usd="100000")
    stages.turn(71, grant)
    stages.desk.state.effects.clear()
    stages.turn(80, fill("f", 79, qty="5"))  # before the first tick of this release
    assert effect(stages).finding is None
    stages.turn(100, fill("g", 90, qty="3"))
    assert effect(stages).finding is None
    stages.turn(110, fill("h", 105, qty="3"))
    assert effect(stages).finding == FINDING
