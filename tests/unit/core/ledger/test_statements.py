"""Statements of whole wallets: books are attribution, and the sum is the venue's word."""

from __future__ import annotations

from decimal import Decimal
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.core.enums import RejectReason
from riskwatch.core.ledger.config import LedgerConfig
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.outputs import DataQualityRaised, EventRejected
from tests.support.facts import balance, fill, position, read, run, tick, transfer

if TYPE_CHECKING:
    import msgspec

    from riskwatch.core.readings import CounterpartyReading


def books(reading: CounterpartyReading, asset: str = "BTC") -> dict[str, str]:
    """Return what each book, and each of its wallets, has of an asset."""
    return {
        "/".join(filter(None, (h.book, h.wallet, h.component))): str(h.amount)
        for h in reading.holdings
        if h.asset == asset and h.amount
    }


def total(*events: msgspec.Struct, stage: LedgerStage | None = None, asset: str = "BTC") -> Decimal:
    """Return the sum over the books after some facts."""
    reading = read(run([*events, tick(5000)], LedgerState(), stage))
    return sum((h.amount for h in reading.holdings if h.asset == asset), Decimal(0))


def lots(reading: CounterpartyReading) -> dict[str, str]:
    """Return the positions by book, wallet and side."""
    return {
        "/".join(filter(None, (p.book, p.wallet, p.side))): str(p.qty)
        for p in reading.positions
        if p.qty
    }


SHARED: tuple[Any, ...] = (
    balance("s1", 0, "10", book="treasury"),
    fill("f1", 10, book="arb"),
    fill("f2", 20, book="mm", qty="2"),
    balance("s2", 30, "13", book="treasury"),
    fill("f3", 40, book="arb", qty="5"),
)


def test_books_share_what_one_of_them_states() -> None:
    """In any order the sum is the venue's word plus what came after, and no break is told."""
    for order in permutations(SHARED):
        out = run([*order, tick(200)], LedgerState())
        assert books(read(out)) == {"treasury/custody": "10", "arb/custody": "6", "mm/custody": "2"}
        assert not [o for o in out if isinstance(o, DataQualityRaised)]


@pytest.mark.parametrize("every", [1, 2])
def test_claims_survive_a_restore_anywhere(every: int) -> None:
    """A state that is loaded after any fact goes on the same."""
    for order in permutations(SHARED):
        state = LedgerState()
        rows: dict[str, bytes | None] = {}
        for n, event in enumerate(order):
            run([event], state)
            rows |= state.drain()
            if n % every == 0:
                state = LedgerState()
                state.load({key: row for key, row in rows.items() if row is not None})
        reading = read(run([tick(200)], state))
        assert books(reading)["treasury/custody"] == "10"


def test_a_snapshot_without_a_book_states_the_account() -> None:
    """What no book claims is unallocated; without fills of books it is everything."""
    whole = {"book": "unallocated"}
    facts = [fill("f1", 10), balance("s1", 20, "13", **whole), fill("f2", 30, book="arb")]
    for order in permutations(facts):
        assert books(read(run([*order, tick(60)]))) == {
            "arb/custody": "1",
            "mm/custody": "1",
            "unallocated/custody": "12",
        }


def test_two_books_that_state_one_account_are_added() -> None:
    """Neither says which part it states, so both count, as do the fills of a third."""
    facts = [
        balance("a", 0, "10", book="arb"),
        fill("f", 5, book="x"),
        balance("b", 10, "5", book="mm"),
    ]
    for order in permutations(facts):
        reading = read(run([*order, tick(60)]))
        assert books(reading) == {"arb/custody": "10", "mm/custody": "5", "x/custody": "1"}
        assert {h.basis for h in reading.holdings if h.asset == "BTC"} == {"unclear", ""}


def test_a_book_says_that_it_states_its_part() -> None:
    """The account's statement counts in sum; the book's statement moves between the books."""
    facts = [
        balance("a", 0, "10", book="treasury", covers="account"),
        balance("b", 10, "4", book="mm", covers="book"),
        fill("f", 20, book="mm"),
    ]
    for order in permutations(facts):
        if order.index(facts[1]) < order.index(facts[0]):
            continue
        assert books(read(run([*order, tick(60)]))) == {"treasury/custody": "6", "mm/custody": "5"}


def test_the_configuration_says_what_an_account_covers() -> None:
    """A snapshot that does not say it covers what the setting of its account says."""
    stage = LedgerStage(LedgerConfig(covers={"kraken/main": "book"}))
    one = [balance("a", 0, "10", book="arb"), fill("f", -5, book="mm")]
    assert total(*one) == 10
    assert total(*one, stage=stage) == 11


def test_another_book_takes_over_the_statement_of_the_account() -> None:
    """What the former book stated is not added to what the new one states."""
    facts = [
        balance("a", 0, "10", book="treasury", covers="account"),
        balance("b", 60, "12", book="unallocated"),
        fill("f", 70, book="treasury"),
    ]
    for order in permutations(facts):
        assert total(*order) == 13


def test_an_account_snapshot_that_is_older_than_a_book_snapshot_is_refused() -> None:
    """What the book had then is not known any more; the reason says since when it is."""
    state = LedgerState()
    (refused,) = run(
        [balance("b", 10, "4", covers="book"), balance("a", 5, "9", book="unallocated")], state
    )
    assert isinstance(refused, EventRejected)
    assert refused.reason is RejectReason.FACT_TOO_LATE
    assert "book=mm" in refused.detail


def test_facts_without_a_wallet_belong_to_the_first_wallet() -> None:
    """Whichever wallet is stated first: spot comes before funding, and each fact counts once."""
    facts = [
        fill("f1", 5),
        balance("s", 10, "7", wallet="spot"),
        balance("t", 20, "3", wallet="fund", wallet_type="funding"),
        fill("f2", 15),
    ]
    for order in permutations(facts):
        reading = read(run([*order, tick(60)]))
        assert books(reading) == {
            "mm/custody": "1",
            "mm/spot/custody": "7",
            "mm/fund/custody": "3",
        }


def test_a_transfer_into_a_margin_wallet_does_not_double() -> None:
    """A deposit is a part of the margin that the next snapshot states."""
    facts = [
        balance("m1", 0, "0", kind="margin"),
        transfer("t", 10, "confirmed", direction="deposit"),
        balance("m2", 20, "5", kind="margin"),
    ]
    for order in permutations(facts):
        assert total(*order) == 5
    assert total(*facts[:2]) == 5


def test_long_and_short_of_one_instrument_are_two_positions() -> None:
    """Fills that name no side count once, on top of what the venue states."""
    facts = [
        fill("f1", 0, kind="perp", instrument="BTC-PERP", qty="2"),
        position("l", 10, "10", side="long"),
        position("s", 10, "-8", side="short"),
        fill("f2", 20, kind="perp", instrument="BTC-PERP"),
    ]
    for order in permutations(facts):
        reading = read(run([*order, tick(60)]))
        assert lots(reading) == {"mm/long": "10", "mm/short": "-8", "mm": "1"}


def test_a_late_fact_of_another_book_corrects_its_claim() -> None:
    """A fill that is older than the account's snapshot moves between books, and adds nothing."""
    first = [balance("s", 100, "10", book="treasury"), fill("f", 150, book="arb")]
    assert total(*first, fill("late", 50, book="arb", qty="3")) == 11
    assert total(*first, fill("late", 50, book="new", qty="3")) == 11
