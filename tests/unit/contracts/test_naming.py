"""Events get canonical names and units at the boundary."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, get_args

import msgspec
import pytest
from msgspec import inspect

from riskwatch.contracts.codec import content_bytes, decode
from riskwatch.contracts.naming import (
    NAMED_FIELDS,
    OWN_NAMES,
    UNSCALED,
    EventNamer,
    canonical_event,
    refuse_alias,
    stable_event,
)
from riskwatch.contracts.refusal import Refusal
from riskwatch.core import events
from riskwatch.core.enums import RejectReason
from riskwatch.core.names import IDENTITY
from riskwatch.engine import bootstrap

TABLE = bootstrap.configuration().name_table
HEAD = {"v": 1, "event_id": "1", "ts": "2024-05-06T10:00:00Z", "source": "desk"}
AT = {"counterparty": "bitmex", "account": "main", "book": "arb"}
FILL = AT | {"type": "fill", "base": "XBT", "quote": "USD", "side": "buy"}


def event(**fields: Any) -> Any:
    """Return a decoded event."""
    found = decode(msgspec.json.encode(HEAD | fields))
    assert not isinstance(found, Refusal), found
    return found


def canonical(**fields: Any) -> Any:
    """Return an event with canonical names."""
    return canonical_event(event(**fields), TABLE)


@pytest.mark.parametrize("kind", get_args(events.WireEvent), ids=lambda kind: kind.__name__)
def test_every_name_and_number_of_every_event_is_classified(kind: type[msgspec.Struct]) -> None:
    """A new field that names an asset, or an amount of one, cannot be forgotten."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    fields = NAMED_FIELDS[kind]  # type: ignore[index]
    named = {*fields.parties, *fields.assets, *OWN_NAMES}
    scaled = {name for amounts in fields.assets.values() for name in amounts}
    scaled |= {name for prices in fields.prices.values() for name in prices} | {*fields.rows}
    for field in info.fields:
        text = repr(field.type)
        if "pattern='\\\\A[^\\\\s/:" in text:
            assert field.name in named, field.name
        if "DecimalType" in text and field.name not in {"ratio", *UNSCALED}:
            assert field.name in scaled, field.name


def test_amounts_are_multiplied_by_the_unit_and_prices_divided() -> None:
    """The value in the quote stays: so much at such a price."""
    found = canonical(**FILL | {"base": "1000PEPE", "qty": "5", "price": "0.012", "fee": "3",
                                "fee_asset": "USDt"})  # fmt: skip
    assert (found.base, found.qty, found.price) == ("PEPE", Decimal(5000), Decimal("0.000012"))
    assert (found.fee_asset, found.fee) == ("USDT", Decimal("0.000003"))
    sent = event(**FILL | {"base": "1000PEPE", "qty": "5", "price": "0.012"})
    assert found.qty * found.price == sent.qty * sent.price


def test_a_quote_in_a_unit_divides_and_multiplies_each_number() -> None:
    """Both sides, both sizes and the rows of the depth, for the base and for the quote."""
    found = canonical(
        type="quote", venue="bitmex", base="1000PEPE", quote="USDt", bid="12000", ask="12100",
        bid_size="2", ask_size="3", volume="4", depth=[["5", "1", "2"]],
    )  # fmt: skip
    assert (found.base, found.quote) == ("PEPE", "USDT")
    assert (found.bid, found.ask) == (Decimal("0.000012"), Decimal("0.0000121"))
    assert (found.bid_size, found.ask_size, found.volume) == (2000, 3000, 4000)
    assert found.depth == [(5, 1000, 2000)]


def test_a_balance_in_satoshis_is_bitcoin() -> None:
    """To the last digit."""
    found = canonical(type="balance", **AT, asset="XBt", free="123456789", unrealized_pnl="-1")
    assert (found.asset, found.free) == ("BTC", Decimal("1.23456789"))
    assert found.unrealized_pnl == Decimal("-0.00000001")


def test_a_fee_without_an_asset_has_the_unit_of_what_moves() -> None:
    """It is charged in that asset; with an asset of its own, in the unit of that."""
    moves = {"type": "transfer", "transfer_id": "t", "asset": "XBt", "amount": "100000000",
             "direction": "withdrawal", "status": "sent", "fee": "50000"}  # fmt: skip
    found = canonical(**AT, **moves, to_counterparty="kraken-pro")
    assert (found.amount, found.fee, found.to_counterparty) == (1, Decimal("0.0005"), "kraken")
    assert canonical(**AT, **moves, fee_asset="XBT").fee == 50_000


def test_a_price_in_a_tiny_unit_has_no_exponent() -> None:
    """The text of a number on the wire is a plain decimal."""
    found = canonical(**FILL | {"base": "XBt", "qty": "100000000", "price": "0.0006"})
    assert (str(found.qty), str(found.price)) == ("1", "60000")


def test_a_number_that_does_not_fit_in_the_canonical_unit_is_refused_with_its_name() -> None:
    """It is not rounded."""
    found = canonical(type="balance", **AT, asset="XBt", free="0.12345678901")
    assert isinstance(found, Refusal)
    assert found.reason is RejectReason.NUMBER_TOO_FINE
    assert "free" in found.detail


def test_an_instrument_as_base_means_its_base_where_an_instrument_is_given() -> None:
    """A spot fill of a token with such a name is of that token."""
    fill = FILL | {"base": "BTC-PERP", "qty": "1", "price": "60000"}
    assert canonical(**fill, kind="perp", instrument="BTC-PERP").base == "BTC"
    assert canonical(**fill).base == "BTC-PERP"


def test_an_event_with_canonical_names_is_not_touched() -> None:
    """It is the same object, and no copy."""
    sent = event(**FILL | {"base": "BTC", "qty": "1", "price": "60000"})
    assert canonical_event(sent, TABLE) is sent
    namer = EventNamer(TABLE)
    assert namer.changed(sent) is None
    assert EventNamer(IDENTITY).changed(event(**FILL, qty="1", price="2")) is None


def test_every_spelling_makes_the_same_event() -> None:
    """The identity of the content does not depend on it, so a repeat is a repeat."""
    namer = EventNamer(TABLE)
    made = {
        content_bytes(found)
        for name in ("XBT", "XXBT", "BTC", "btc")
        for _ in range(2)
        if isinstance(found := namer.changed(sent := event(
            **FILL | {"base": name, "counterparty": "kraken-pro", "qty": "1", "price": "2"}
        )) or sent, events.Fill)
    }  # fmt: skip
    assert len(made) == 1


def test_news_of_an_alias_is_news_of_its_name() -> None:
    """Subject and assets, each once."""
    found = canonical(type="credit", subject="kraken-pro", kind="withdrawals_suspended",
                      assets=["XBT", "XXBT", "ETH"])  # fmt: skip
    assert (found.subject, found.assets) == ("kraken", ["BTC", "ETH"])


def test_a_command_keeps_its_scope() -> None:
    """The signature covers it as it was sent."""
    sent = event(type="command", operator="ann", action="halt", scope="asset:XBT", reason="r",
                 idempotency_key="k")  # fmt: skip
    assert canonical_event(sent, TABLE) is sent


def test_what_is_sent_stays_the_same_when_it_is_read() -> None:
    """A sender's canonical event and the raw one are one event at the receiver."""
    for asset in ("LUNA", "LUNA2", "LUNC", "XBT", "usdc", "XXBT"):
        for party in ("kraken", "kraken-pro", "bitfinex"):
            at = AT | {"counterparty": party}
            raw = event(type="balance", **at, asset=asset, free="7")
            sent = stable_event(raw, TABLE)
            assert not isinstance(sent, Refusal)
            assert canonical_event(sent, TABLE) == canonical_event(raw, TABLE)


def test_a_ledger_record_under_an_alias_of_several_partitions_names_the_right_spelling() -> None:
    """In one partition it is taken, and news is never in the wrong one."""
    raw = event(type="balance", **AT | {"counterparty": "kraken-pro"}, asset="BTC", free="7")
    found = canonical_event(raw, TABLE)
    assert not isinstance(found, Refusal)
    refusal = refuse_alias(raw, found, 8)
    assert refusal is not None
    assert refusal.reason is RejectReason.NAME_ALIAS
    assert "'kraken'" in refusal.detail
    assert refuse_alias(raw, found, 1) is None
    assert refuse_alias(found, found, 8) is None
