"""The guard looks orders up under canonical names, and answers for names that nothing lists."""

from __future__ import annotations

from typing import Any

import pytest

from riskwatch.client import read_names
from riskwatch.client.guard.view import EXPIRED
from riskwatch.contracts.heartbeat import GuardPolicy
from riskwatch.contracts.names_file import encode_names, shipped_names
from riskwatch.core.enums import State
from riskwatch.core.names import Alias, NamesConfig, NameTable
from riskwatch.engine import bootstrap
from riskwatch.errors import ConfigError
from tests.unit.client.guard.test_switch import Guarded

NAMES = shipped_names()


def guarded(**options: Any) -> Guarded:
    """Return a guard of a worker with the shipped names, which restricts what nothing lists."""
    made = Guarded(**options)
    made.truth.names_digest = NAMES.digest
    made.truth.policy = GuardPolicy(unlisted=State.REDUCE)
    return made


def test_the_shipped_table_of_a_guard_is_that_of_the_workers() -> None:
    """With another digest every guard would fail closed."""
    assert NAMES.digest == bootstrap.configuration().name_table.digest


@pytest.mark.parametrize(
    "asset", ["BTC", "XBT", "XXBT", "btc", "BTC-PERP", "XBT/USD", ("XBT", "USD")]
)
def test_a_halt_binds_every_spelling(asset: str | tuple[str, ...]) -> None:
    """Asked once and again: what was looked up before is looked up the same."""
    desk = guarded()
    desk.know(desk.truth.decide("asset:BTC", State.HALT))
    for _ in range(3):
        assert desk.switch.allows(asset=asset).scope == "asset:BTC"
        assert not desk.switch.allows(counterparty="kraken-pro", asset=asset, book="arb")
    assert desk.switch.allows(asset="ETH", counterparty="kraken")


def test_a_halt_of_a_counterparty_binds_its_other_names() -> None:
    """As counterparty, and with an asset of it."""
    desk = guarded()
    desk.know(
        desk.truth.decide("counterparty:kraken", State.HALT),
        desk.truth.decide("venue-asset:bitmex/BTC", State.HALT),
    )
    for name in ("kraken", "kraken-pro", "Kraken", "krakenfutures"):
        assert not desk.switch.allows(counterparty=name, asset="ETH")
    assert not desk.switch.allows(counterparty="bitmex", asset="XBt")
    assert desk.switch.allows(counterparty="okex", asset="XBT")


@pytest.mark.parametrize("order", [
    {"asset": "NOSUCH"}, {"asset": ("BTC", "NOSUCH")}, {"counterparty": "nowhere"},
    {"asset": "USDt", "counterparty": "kraken"}, {"asset": "NOSUCH-PERP"},
])  # fmt: skip
def test_a_name_that_nothing_lists_does_not_pass(order: dict[str, Any]) -> None:
    """It is at the state of the policy, with the reason; what reduces passes, and a cancel."""
    desk = guarded().know()
    for _ in range(2):
        answer = desk.switch.allows(**order)
        assert not answer
        assert answer.state is State.REDUCE
        assert "nothing lists" in answer.reason
        assert desk.switch.allows(**order, reduces=True)
        assert desk.switch.allows(**order, cancel=True)


def test_a_policy_without_unlisted_lets_every_name_pass() -> None:
    """That is what policies of before mean."""
    desk = guarded()
    desk.truth.policy = GuardPolicy()
    desk.know()
    assert desk.switch.allows(asset="NOSUCH", counterparty="nowhere")


def test_books_pass_unless_they_are_listed() -> None:
    """A list of books restricts every other book."""
    listed = NameTable(NamesConfig(books=("arb",)), NAMES.assets, NAMES.parties)
    for table, passes in ((NAMES, True), (listed, False)):
        desk = guarded(names=table)
        desk.truth.names_digest = table.digest
        desk.know()
        assert desk.switch.allows(book="arb", asset="BTC")
        assert bool(desk.switch.allows(book="mm", asset="BTC")) is passes


def test_a_guard_with_another_table_fails_closed_and_says_so() -> None:
    """At REDUCE: orders that reduce pass, and a HALT that is known stays."""
    other = NameTable(NamesConfig(assets=(Alias(spelling="B", name="BTC"),)), NAMES.assets)
    desk = guarded(names=other)
    desk.know(desk.truth.decide("asset:USDC", State.HALT))
    answer = desk.switch.allows(asset="BTC")
    assert (bool(answer), answer.state, answer.scope) == (False, State.REDUCE, EXPIRED)
    assert "the names of this guard are another table" in answer.reason
    assert desk.switch.allows(asset="BTC", counterparty="kraken", reduces=True)
    assert not desk.switch.allows(asset="USDC", reduces=True)
    desk.truth.names_digest = other.digest
    desk.time.pass_(1)
    desk.know()
    assert desk.switch.allows(asset="BTC")


def test_a_table_that_changes_while_orders_go_fails_closed() -> None:
    """What was verified under the old names is not believed under the new ones."""
    desk = guarded().know()
    assert desk.switch.allows(asset="BTC")
    desk.truth.names_digest = "0" * 32
    desk.time.pass_(1)
    desk.know()
    assert desk.switch.allows(asset="BTC").state is State.REDUCE


def test_a_worker_without_names_is_obeyed_under_its_own_spellings() -> None:
    """It looks nothing up, so neither does the guard."""
    desk = Guarded()
    desk.know(desk.truth.decide("asset:XBT", State.HALT))
    assert not desk.switch.allows(asset="XBT")
    assert desk.switch.allows(asset="BTC")
    assert desk.switch.allows(asset="NOSUCH")


def test_where_a_venue_spells_a_coin_by_the_name_of_another_both_bind() -> None:
    """Kraken's LUNA is LUNC, and a desk may mean LUNA."""
    for scope in ("asset:LUNC", "asset:LUNA"):
        desk = guarded()
        desk.know(desk.truth.decide(scope, State.HALT))
        assert not desk.switch.allows(asset="LUNA", counterparty="kraken")
    desk = guarded()
    desk.know(desk.truth.decide("asset:LUNC", State.HALT))
    assert desk.switch.allows(asset="LUNA", counterparty="binance")
    assert not desk.switch.allows(asset="LUNA", counterparty="kraken")


def test_what_reduces_a_scope_may_be_said_in_any_spelling() -> None:
    """Of two spellings of one scope, both must say so."""
    desk = guarded()
    desk.know(desk.truth.decide("asset:BTC", State.REDUCE))
    assert desk.switch.allows(asset="XBT", reduces={"asset:XBT": True})
    assert not desk.switch.allows(asset="XBT", reduces={"asset:XBT": True, "asset:BTC": False})


def test_the_file_of_names_is_read_as_it_was_written(tmp_path: Any) -> None:
    """A file that is none is an error that says what writes it."""
    path = tmp_path / "names.json"
    path.write_bytes(encode_names(NAMES))
    assert read_names(path).digest == NAMES.digest
    path.write_text("{}")
    with pytest.raises(ConfigError, match="riskwatch rules names"):
        read_names(path)
