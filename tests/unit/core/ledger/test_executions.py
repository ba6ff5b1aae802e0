"""Trade ids, corrections, causes: what counts once, what is refused, and what people are told."""

from __future__ import annotations

from decimal import Decimal
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.core.enums import QualityIssue, RejectReason
from riskwatch.core.events import FillCorrection
from riskwatch.core.ledger.config import LedgerConfig
from riskwatch.core.ledger.memory import CHUNK_TRADES, FILLS
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved, EventRejected
from tests.support.facts import balance, bust, fact, fill, held, run, settlement, tick

if TYPE_CHECKING:
    from collections.abc import Iterable

    from riskwatch.core.events import Fill
    from riskwatch.core.ledger.outputs import LedgerOutput

DAY = 86_400
WEB: dict[str, Any] = {"source": "websocket", "trade_id": "7"}
REST: dict[str, Any] = {"source": "backfill", "trade_id": "7"}


def amend(event_id: str, seconds: float, of: Fill, **changes: str) -> FillCorrection:
    """Change the quantity or price of the fill `of`."""
    names = ("base", "quote", "side", "qty", "price", "kind", "instrument", "trade_id")
    where = {name: getattr(of, name) for name in ("counterparty", "account", "book")}
    amended = {f"amended_{name}": Decimal(value) for name, value in changes.items()}
    said = {name: getattr(of, name) for name in names}
    return fact(
        FillCorrection, event_id, seconds, fill_id=of.event_id, status="amend",
        **said, **where, **amended,
    )  # fmt: skip


def by_trade(correction: FillCorrection, **changes: object) -> FillCorrection:
    """Return a correction that names its trade by the trade id alone."""
    said = {name: getattr(correction, name) for name in correction.__struct_fields__}
    return FillCorrection(**{**said, "fill_id": None, "trade_id": "7", **changes})


def told(outputs: Iterable[LedgerOutput]) -> list[tuple[str, str]]:
    """Return issues that began."""
    return [(o.issue.value, o.subject) for o in outputs if isinstance(o, DataQualityRaised)]


def refused(outputs: Iterable[LedgerOutput]) -> list[RejectReason]:
    """Return the reasons of refusals."""
    return [o.reason for o in outputs if isinstance(o, EventRejected)]


def test_reports_of_one_trade_count_once_and_the_fee_fills_in() -> None:
    """In any order two sources give the trade once, and its fee once."""
    reports = [
        fill("a", 0, **WEB),
        fill("b", 0, **REST, qty="1.00", fee="0.5", fee_asset="BNB"),
        fill("c", 0, **REST, fee="0", fee_asset="USD"),
        fill("d", 0, source="drop-copy", trade_id="7", fee="0.50", fee_asset="BNB"),
    ]
    expected = {"BTC custody": "1", "USD custody": "-20000", "BNB custody": "-0.5"}
    for order in permutations(reports):
        assert run(order) == []
        assert held(*order) == expected


def test_a_trade_id_counts_within_account_and_market() -> None:
    """The same id on another account, pair, instrument or counterparty is another trade."""
    others: list[dict[str, Any]] = [
        {},
        {"account": "sub"},
        {"quote": "USDC"},
        {"kind": "perp", "instrument": "BTC-PERP"},
        {"kind": "perp", "instrument": "BTC/USD"},
        {"counterparty": "binance"},
    ]
    state = LedgerState()
    events = [fill(f"f{n}", 0, trade_id="7", **where) for n, where in enumerate(others)]
    assert run(events, state) == []
    assert run([fill(f"g{n}", 0, trade_id="7", **w) for n, w in enumerate(others)], state) == []
    kraken = state.parties["kraken"]
    assert kraken.cells["mm", "main", "", "BTC", "custody"].amount() == 2
    assert kraken.cells["mm", "sub", "", "BTC", "custody"].amount() == 1
    assert [each.amount() for each in kraken.positions.values()] == [1, 1]


@pytest.mark.parametrize(
    "other",
    [{"qty": "2"}, {"price": "20001"}, {"side": "sell"}, {"fee": "2", "fee_asset": "USD"}],
)
def test_reports_that_disagree_are_a_conflict(other: dict[str, Any]) -> None:
    """The second is refused and told once; the first stays."""
    first = fill("a", 0, **WEB, fee="1", fee_asset="USD")
    state = LedgerState()
    outputs = run([first, fill("b", 0, **REST, **other)], state)
    assert refused(outputs) == [RejectReason.FACT_CONFLICT]
    assert told(outputs) == [("TRADE_CONFLICT", "account:kraken/main")]
    assert refused(run([fill("c", 1, **REST, **other)], state)) == [RejectReason.FACT_CONFLICT]
    assert told(run([fill("d", 1, **REST, **other)], state)) == []
    assert held(first) == {"BTC custody": "1", "USD custody": "-20001"}
    ends = [o for o in run([tick(3601.1)], state) if isinstance(o, DataQualityResolved)]
    assert [(o.issue, o.subject) for o in ends] == [
        (QualityIssue.TRADE_CONFLICT, "account:kraken/main")
    ]


def test_equal_fills_of_two_sources_without_a_trade_id_are_told_and_count() -> None:
    """Within a second; not beyond it, not of one source, and not with two trade ids."""
    twins = [fill("a", 10, source="websocket"), fill("a", 11, source="backfill", qty="1.0")]
    for order in permutations(twins):
        outputs = run(order)
        assert told(outputs) == [("TRADE_TWICE", "account:kraken/main")]
        assert held(*order)["BTC custody"] == "2"
    apart = fill("a", 11.000001, source="backfill")
    assert run([twins[0], apart]) == []
    assert run([twins[0], fill("b", 10, source="websocket")]) == []
    assert run([twins[0], fill("b", 10, source="backfill", qty="2")]) == []
    numbered = fill("b", 10, source="backfill", trade_id="8")
    assert told(run([twins[0], numbered])) == [("TRADE_TWICE", "account:kraken/main")]
    assert run([fill("a", 10, **WEB), numbered]) == []


def test_a_correction_of_a_trade_that_is_not_known_moves_nothing_until_it_is() -> None:
    """It is told; when the fill arrives it takes effect, and the issue ends."""
    trade = fill("a", 0, **WEB, fee="2", fee_asset="BNB")
    cancel = bust("x", 5, trade)
    for correction in (cancel, by_trade(cancel)):
        state = LedgerState()
        outputs = run([correction, tick(6)], state)
        [(issue, subject)] = told(outputs)
        assert issue == "TRADE_UNKNOWN"
        assert state.parties["kraken"].cells == {}
        ended = run([trade], state)
        assert [getattr(o, "subject", "") for o in ended] == [subject]
        assert not any(each.amount() for each in state.parties["kraken"].cells.values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"qty": Decimal(10)},
        {"price": Decimal(1)},
        {"side": "sell"},
        {"book": "arb"},
        {"fee": Decimal(3), "fee_asset": "BNB"},
    ],
)
@pytest.mark.parametrize("ids", ["fill", "trade"])
def test_a_correction_that_restates_another_trade_moves_nothing(
    wrong: dict[str, Any], ids: str
) -> None:
    """It is refused or kept without effect, and told, whatever came first."""
    common: dict[str, Any] = WEB if ids == "trade" else {"source": "websocket"}
    trade = fill("a", 0, **common, fee="2", fee_asset="BNB")
    said = bust("x", 5, trade)
    cancel = FillCorrection(**{**{n: getattr(said, n) for n in said.__struct_fields__}, **wrong})
    if ids == "trade":
        cancel = by_trade(cancel)
    for order in ([trade, cancel], [cancel, trade]):
        outputs = run(order)
        assert told(outputs)
        assert held(*order) == held(trade)


def test_a_trade_is_busted_once_by_however_many_sources() -> None:
    """A second source's bust by trade id is a repeat; so is a report after the bust."""
    trade = fill("a", 0, **WEB)
    cancel = by_trade(bust("x", 5, trade))
    events = [trade, cancel, by_trade(bust("y", 6, trade)), fill("b", 0, **REST)]
    for order in permutations(events):
        assert refused(run(order)) == []
        assert held(*order) == {}


def test_a_bust_by_the_id_of_a_fill_finds_a_trade_that_has_an_id() -> None:
    """Also when the fill is not among the latest any more; a second bust is a conflict."""
    trade = fill("a", 0, **WEB)
    later = [fill(f"n{n}", 1, base="ETH", source="websocket") for n in range(FILLS + 64)]
    for others in ([], later):
        state = LedgerState()
        assert run([trade, *others, bust("x", 5, trade)], state) == []
        btc = state.parties["kraken"].cells["mm", "main", "", "BTC", "custody"]
        assert btc.amount() == 0
        assert refused(run([bust("y", 6, trade)], state)) == [RejectReason.FACT_CONFLICT]
        assert btc.amount() == 0


def test_the_bust_of_a_fill_that_is_kept_no_longer_moves_nothing() -> None:
    """Without a trade id only the latest fills are known; the rest is told."""
    trade = fill("a", 0)
    later = [fill(f"n{n}", 1, base="ETH") for n in range(FILLS + 64)]
    state = LedgerState()
    outputs = run([trade, *later, bust("x", 5, trade)], state)
    assert told(outputs) == [("TRADE_UNKNOWN", "kraken/mm/main/a")]
    assert state.parties["kraken"].cells["mm", "main", "", "BTC", "custody"].amount() == 1


@pytest.mark.parametrize("kind", ["spot", "perp"])
def test_an_amendment_counts_at_its_own_time_in_any_order(kind: str) -> None:
    """Quantity and price change once, whichever report and correction came first."""
    trade = fill("a", 0, **WEB, kind=kind, instrument="BTC-PERP" if kind == "perp" else None)
    change = amend("x", 5, trade, qty="0.5", price="20002")
    again = by_trade(amend("y", 5, trade, qty="0.5", price="20002"))
    events = [trade, change, again, fill("b", 0, **REST, kind=kind, instrument=trade.instrument)]
    for order in permutations(events):
        state = LedgerState()
        assert refused(run(order, state)) == []
        party = state.parties["kraken"]
        found = {key[3]: each.amount() for key, each in party.cells.items()}
        lots = [each.amount() for each in party.positions.values()]
        if kind == "spot":
            assert found == {"BTC": Decimal("0.5"), "USD": Decimal(-10_001)}
            final = held(*order, balance("s", 3, "1"))
            assert final["BTC custody"] == "0.5"
        else:
            assert lots == [Decimal("0.5")]


def test_reports_with_the_amended_facts_are_the_same_trade() -> None:
    """A source that states the amended trade first or last adds nothing."""
    trade, late = fill("a", 0, **WEB), fill("b", 0, **REST, qty="0.5")
    change = amend("x", 5, trade, qty="0.5")
    for order in ([trade, change, late], [late, change, trade], [change, late, trade]):
        assert refused(run(order)) == []
        assert held(*order) == {"BTC custody": "0.5", "USD custody": "-10000"}


def test_a_bust_after_an_amendment_restates_what_the_trade_became() -> None:
    """The bust of the amended trade leaves nothing; that of the former one is refused."""
    trade = fill("a", 0, **WEB)
    change = amend("x", 5, trade, qty="0.5")
    assert held(trade, change, by_trade(bust("y", 6, trade), qty=Decimal("0.5"))) == {}
    outputs = run([trade, change, by_trade(bust("y", 6, trade))])
    assert refused(outputs) == [RejectReason.FACT_CONFLICT]
    assert told(outputs) == [("TRADE_CONFLICT", "account:kraken/main")]


def test_a_trade_that_settles_later_counts_once_under_all_its_ids() -> None:
    """A delivery may name any report; a late fee and a bust by trade id count."""
    trade = fill("a", 0, **WEB, settles_at=3600)
    second = fill("b", 0, **REST, settles_at=3600, fee="5", fee_asset="USD")
    done = settlement("d", 100, second, "delivered")
    for order in permutations([trade, second, done]):
        assert held(*order) == {"BTC custody": "1", "USD custody": "-20005"}
    cancel = by_trade(bust("x", 200, trade))
    for order in permutations([trade, second, cancel]):
        assert held(*order) == {"USD custody": "-5"}


def test_a_fee_that_a_bust_returns_waits_for_the_report_that_states_it() -> None:
    """Without such a report nothing is returned."""
    trade = fill("a", 0, **WEB)
    late = fill("b", 0, **REST, fee="2", fee_asset="BNB")
    cancel = by_trade(bust("x", 5, late))
    assert held(trade, cancel) == {}
    for order in permutations([trade, late, cancel]):
        assert held(*order) == {}


def test_ids_are_remembered_for_a_month_and_older_repeats_are_told() -> None:
    """A repeat after 30 days counts as one; once its id is forgotten it is refused and told."""
    state = LedgerState()
    run([fill("a", 0, **WEB), fill("n", 30 * DAY, base="ETH"), tick(30 * DAY)], state)
    assert run([fill("b", 0, **REST)], state) == []
    run([fill("m", 32 * DAY, base="ETH"), tick(32 * DAY)], state)
    outputs = run([fill("c", 0, **REST)], state)
    assert refused(outputs) == [RejectReason.FACT_TOO_LATE]
    assert told(outputs) == [("TRADE_OLD", "account:kraken/main")]
    assert state.parties["kraken"].cells["mm", "main", "", "BTC", "custody"].amount() == 1
    # What is newer than all that was forgotten cannot be a repeat.
    assert run([fill("d", 1, source="backfill", trade_id="8")], state) == []


def test_a_full_memory_is_told_and_no_fill_is_lost() -> None:
    """Beyond `max_trade_ids` all fills count, the oldest ids are forgotten, and repeats refused."""
    stage, state = LedgerStage(LedgerConfig(max_trade_ids=512)), LedgerState()
    events = [fill(f"f{n}", n, trade_id=str(n), qty="1") for n in range(600)]
    outputs = run(events, state, stage)
    assert told(outputs) == [("TABLE_FULL", "trades:kraken/main")]
    party = state.parties["kraken"]
    assert party.cells["mm", "main", "", "BTC", "custody"].amount() == 600
    assert len(party.executions["main"].memory) == 600 - CHUNK_TRADES
    again = [fill(f"g{n}", n, trade_id=str(n), qty="1") for n in (0, 599)]
    assert refused(run(again, state, stage)) == [RejectReason.FACT_TOO_LATE]
    assert party.cells["mm", "main", "", "BTC", "custody"].amount() == 600


def test_rows_of_executions_are_small() -> None:
    """No row exceeds 32 KB, with the longest names that the contract allows."""
    state = LedgerState()
    long, name = "i" * 125, "n" * 60
    run(
        [
            fill(
                f"{long}{n % 1000:03}", n, trade_id=f"{long}{n % 1000:03}", base=name, quote=name,
                kind="perp", instrument=long, book=name, source=name, fee="1", fee_asset=name,
                qty="9" * 24 + "." + "9" * 18, price="9" * 24 + "." + "9" * 18,
            )
            for n in range(600)
        ],
        state,
    )  # fmt: skip
    rows = state.drain()
    kinds = {key.partition("/")[0] for key in rows}
    assert {"executions", "fills", "traded"} <= kinds
    assert max(len(row or b"") for key, row in rows.items() if not key.startswith("party")) < 32_768


def test_a_spot_trade_at_zero_is_told_and_other_fills_at_zero_are_not() -> None:
    """What has a cause, or is no spot trade, may cost nothing; slippage does not learn from it."""
    assert told(run([fill("a", 0, price="0")])) == [("PRICE_ZERO", "account:kraken/main")]
    assert told(run([fill("a", 0, price="0", cause="trade")])) != []
    assert run([fill("a", 0, price="0", cause="delivery", reference_price="5")]) == []
    option = {"kind": "option", "instrument": "BTC-70000-C", "cause": "expiry"}
    state = LedgerState()
    assert run([fill("a", 0, price="0", side="sell", reference_price="5", **option)], state) == []
    assert state.parties["kraken"].slippage_bp is None
    assert held(fill("a", 0, price="0")) == {"BTC custody": "1"}


@pytest.mark.parametrize("cause", ["liquidation", "adl"])
def test_a_forced_fill_is_told(cause: str) -> None:
    """People see at once that the venue closed a position."""
    forced = fill("a", 0, kind="perp", instrument="BTC-PERP", side="sell", cause=cause)
    [issue] = run([forced])
    assert isinstance(issue, DataQualityRaised)
    assert (issue.issue, issue.subject) == (QualityIssue.FILL_FORCED, "account:kraken/main")
    assert f"cause={cause}" in issue.detail
    assert "market=BTC-PERP side=sell qty=1 price=20000" in issue.detail
    assert run([fill("b", 0, cause="delivery")]) == []


def test_an_amendment_of_a_trade_that_settles_later_is_refused() -> None:
    """The refusal says what to report in its place."""
    trade = fill("a", 0, settles_at=60)
    [out] = run([trade, amend("x", 5, trade, qty="2")])
    assert isinstance(out, EventRejected)
    assert "report a bust and another fill" in out.detail


def test_a_correction_that_waited_in_vain_is_forgotten() -> None:
    """After the retention its row is gone, and its issue ends."""
    state = LedgerState()
    ghost = bust("x", 0, fill("ghost", 0))
    [(issue, subject)] = told(run([ghost], state))
    outputs = run([fill("n", 9 * DAY), tick(9 * DAY)], state)
    ends = [(o.issue.value, o.subject) for o in outputs if isinstance(o, DataQualityResolved)]
    assert ends == [(issue, subject)]
    assert not state.parties["kraken"].awaiting


def test_a_correction_and_a_late_fee_reach_the_wallet_of_the_fill() -> None:
    """Neither need name the wallet, which the first report did; naming another is a conflict."""
    state = LedgerState()
    trade = fill("a", 0, **WEB, wallet="um")
    late = fill("b", 0, **REST, fee="2", fee_asset="BNB")
    assert run([trade, late], state) == []
    cells = state.parties["kraken"].cells
    assert {key[2:4]: each.amount() for key, each in cells.items()} == {
        ("um", "BTC"): 1,
        ("um", "USD"): -20_000,
        ("um", "BNB"): -2,
    }
    elsewhere = by_trade(bust("x", 5, late), wallet="spot")
    assert refused(run([elsewhere], state)) == [RejectReason.FACT_CONFLICT]
    assert run([by_trade(bust("y", 5, late))], state) == []
    assert not any(each.amount() for each in cells.values())


def test_a_counterparty_that_is_forgotten_leaves_no_row_of_executions() -> None:
    """With an unlisted counterparty its trade ids and latest fills go."""
    state = LedgerState()
    trade = fill("a", 0, **WEB)
    run([trade, bust("x", 1, trade), tick(60), tick(120)], state)
    state.drain()
    run([tick(50 * DAY), tick(100 * DAY)], state)
    gone = {key.partition("/")[0] for key, row in state.drain().items() if row is None}
    assert {"executions", "fills", "traded", "party"} <= gone
    assert state.parties == {}
