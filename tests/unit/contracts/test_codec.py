"""Refusals of bytes by every reason, and accepted variants of messages."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import perf_counter
from typing import Any, Final

import msgspec
import pytest

from riskwatch.contracts.codec import SIZE_LIMIT, decode, encode, stamp_arrival
from riskwatch.contracts.refusal import DEPTH_LIMIT, Refusal
from riskwatch.contracts.validation import check_not_future
from riskwatch.core.enums import RejectReason as R
from riskwatch.core.events import Balance, Command, Credit, Fill, Peg, Position, Quote
from tests.support.golden import goldens

GONE: Final = object()
GOLDENS: Final = goldens()


def changed(name: str, **fields: Any) -> bytes:
    """Return a golden message with some fields replaced, or removed if they are `GONE`."""
    message = msgspec.json.decode(GOLDENS[name]) | fields
    return json.dumps({k: v for k, v in message.items() if v is not GONE}).encode()


def refused(raw: bytes) -> Refusal:
    """Return the refusal of `raw`."""
    answer = decode(raw)
    assert isinstance(answer, Refusal), answer
    return answer


def nested(depth: int) -> bytes:
    """Return a peg with an unknown field that is `depth` - 1 levels deep in the object."""
    body = "[" * (depth - 1) + "]" * (depth - 1)
    return GOLDENS["peg"][:-1] + b',"later":' + body.encode() + b"}"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", R.MESSAGE_EMPTY),
        (b" \r\n\t", R.MESSAGE_EMPTY),
        (b"{" + b" " * SIZE_LIMIT + b"}", R.MESSAGE_TOO_LARGE),
        (b'{"type":"\xff"}', R.UTF8_INVALID),
        (b"\xff\xfe{\x00}\x00", R.UTF8_INVALID),
        (b'{"type":"\xed\xa0\x80"}', R.UTF8_INVALID),
        (b"[]", R.JSON_MALFORMED),
        (b'"fill"', R.JSON_MALFORMED),
        (b"{} {}", R.JSON_MALFORMED),
        (b'{"type":"fill"', R.JSON_MALFORMED),
        (b'{"type":"\\ud800"}', R.JSON_MALFORMED),
        (b'{"type":"\x00"}', R.JSON_MALFORMED),
        (b'{"qty":NaN}', R.JSON_MALFORMED),
        (b'{"a":1e999}', R.JSON_MALFORMED),
        (b'{"a":' + b"9" * 5000 + b"}", R.JSON_MALFORMED),
        (b"[" * 500_000, R.JSON_MALFORMED),
        (b'{"a":' * 150_000, R.JSON_MALFORMED),
        (nested(DEPTH_LIMIT + 1), R.JSON_MALFORMED),
        (b'{"type":"peg","type":"peg"}', R.KEY_DUPLICATED),
        (b'{"type":"peg","ty\\u0070e":"peg"}', R.KEY_DUPLICATED),
        (b'{"type" :"peg","type"\t:"peg"}', R.KEY_DUPLICATED),
        (b'{"later":[{"a":1,"a":1}]}', R.KEY_DUPLICATED),
        (b"{}", R.TYPE_UNKNOWN),
        (b'{"type":"FILL"}', R.TYPE_UNKNOWN),
        (b'{"type":["fill"]}', R.TYPE_UNKNOWN),
        (b'{"type":"fill"}', R.VERSION_UNSUPPORTED),
        (b'{"type":"fill","v":2}', R.VERSION_UNSUPPORTED),
        (b'{"type":"fill","v":true}', R.VERSION_UNSUPPORTED),
        (b'{"type":"fill","v":1.0}', R.VERSION_UNSUPPORTED),
    ],
)
def test_bytes_that_are_no_message(raw: bytes, reason: R) -> None:
    """Bytes that are not one object of a known type and version are refused."""
    assert refused(raw).reason is reason


# name of the golden message, fields to change, reason, a word of the detail
BROKEN: Final[list[tuple[str, dict[str, Any], R, str]]] = [
    # What msgspec finds: one row per message that it has for our types.
    ("fill", {"qty": GONE, "contracts": GONE}, R.FIELD_MISSING, "`qty`"),
    ("fill", {"qty": None}, R.FIELD_TYPE, "qty"),
    ("fill", {"base": 1}, R.FIELD_TYPE, "base"),
    ("fill", {"side": "up"}, R.FIELD_TYPE, "side"),
    ("fill", {"ts": "noon"}, R.FIELD_TYPE, "ts"),
    ("fill", {"ts": "2023-03-11T03:13:00"}, R.FIELD_TYPE, "ts"),
    ("fill", {"ts": 1678504380}, R.FIELD_TYPE, "ts"),
    ("fill", {"ts": "2023-03-11T03:13:60Z"}, R.FIELD_TYPE, "ts"),
    ("fill", {"source_seq": "1"}, R.FIELD_TYPE, "source_seq"),
    ("fill", {"source_seq": 1.0}, R.FIELD_TYPE, "source_seq"),
    ("fill", {"source_seq": -1}, R.FIELD_RANGE, "source_seq"),
    ("fill", {"source_seq": 2**62 + 1}, R.FIELD_RANGE, "source_seq"),
    ("fill", {"source_seq": 10**30}, R.FIELD_RANGE, "source_seq"),
    ("fill", {"base": ""}, R.FIELD_RANGE, "base"),
    ("fill", {"base": "a b"}, R.FIELD_RANGE, "base"),
    ("fill", {"base": "a/b"}, R.FIELD_RANGE, "base"),
    ("fill", {"base": "BTC\n"}, R.FIELD_RANGE, "base"),
    ("fill", {"base": "x" * 65}, R.FIELD_RANGE, "base"),
    ("fill", {"fee_asset": "x" * 65}, R.FIELD_RANGE, "fee_asset"),
    ("fill", {"fee_asset": "a b"}, R.FIELD_RANGE, "fee_asset"),
    ("fill", {"event_id": "x" * 129}, R.FIELD_RANGE, "event_id"),
    ("quote", {"depth": [["1", "1", "1"]] * 33}, R.FIELD_RANGE, "depth"),
    ("quote", {"depth": [["1", "1"]]}, R.FIELD_RANGE, "depth"),
    ("quote", {"depth": {"1": "1"}}, R.FIELD_TYPE, "depth"),
    ("credit", {"assets": ["ok", ""]}, R.FIELD_RANGE, "assets"),
    ("credit", {"note": "x" * 2001}, R.FIELD_RANGE, "note"),
    ("netting_set", {"enforceable": 1}, R.FIELD_TYPE, "enforceable"),
    ("command", {"reasn": "typo"}, R.FIELD_UNKNOWN, "`reasn`"),
    ("command", {"args": []}, R.FIELD_TYPE, "args"),
    # Numbers.
    ("fill", {"qty": 1}, R.FIELD_TYPE, "qty"),
    ("fill", {"qty": 1.5}, R.FIELD_TYPE, "qty"),
    ("fill", {"qty": True}, R.FIELD_TYPE, "qty"),
    ("fill", {"qty": ""}, R.FIELD_TYPE, "qty"),
    ("fill", {"qty": "1_000"}, R.FIELD_TYPE, "qty"),
    ("fill", {"qty": " 1"}, R.FIELD_TYPE, "qty"),
    ("fill", {"qty": "1\n"}, R.FIELD_TYPE, "qty"),
    ("fill", {"qty": "+1"}, R.FIELD_TYPE, "qty"),
    ("fill", {"qty": ".5"}, R.FIELD_TYPE, "qty"),
    ("fill", {"qty": "\uff11"}, R.FIELD_TYPE, "qty"),
    ("fill", {"fee": "0x1"}, R.FIELD_TYPE, "fee"),
    ("fill", {"qty": "NaN"}, R.NUMBER_NOT_FINITE, "qty"),
    ("fill", {"qty": "sNaN7"}, R.NUMBER_NOT_FINITE, "qty"),
    ("fill", {"fee": "-Infinity"}, R.NUMBER_NOT_FINITE, "fee"),
    ("fill", {"fee": "inf"}, R.NUMBER_NOT_FINITE, "fee"),
    ("fill", {"qty": "1" + "0" * 24}, R.NUMBER_TOO_LARGE, "qty"),
    ("fill", {"qty": "1E24"}, R.NUMBER_TOO_LARGE, "qty"),
    ("fill", {"fee": "-10E23"}, R.NUMBER_TOO_LARGE, "fee"),
    ("fill", {"qty": "0." + "0" * 18 + "1"}, R.NUMBER_TOO_FINE, "qty"),
    ("fill", {"qty": "1E-19"}, R.NUMBER_TOO_FINE, "qty"),
    ("fill", {"qty": "1E+999999"}, R.NUMBER_TOO_LARGE, "qty"),
    ("fill", {"qty": "1E-999999"}, R.NUMBER_TOO_FINE, "qty"),
    ("fill", {"qty": "1E+" + "9" * 30}, R.NUMBER_TOO_LARGE, "qty"),
    ("fill", {"fee": "0E+999999"}, R.NUMBER_TOO_LARGE, "fee"),
    ("fill", {"qty": "0" * 64 + "1"}, R.NUMBER_TOO_LARGE, "qty"),
    ("fill", {"qty": "1." + "0" * 80 + "1"}, R.NUMBER_TOO_FINE, "qty"),
    ("fill", {"qty": "1" + "0" * 26 + "." + "1" * 20}, R.NUMBER_TOO_LARGE, "qty"),
    ("fill", {"qty": "9" * 500_000}, R.NUMBER_TOO_LARGE, "qty"),
    ("quote", {"depth": [["1", 1, "1"]]}, R.FIELD_TYPE, "depth"),
    ("quote", {"depth": [["1", "NaN", "1"]]}, R.NUMBER_NOT_FINITE, "depth"),
    ("quote", {"depth": [["1", "1", "1E30"]]}, R.NUMBER_TOO_LARGE, "depth"),
    ("command", {"args": {"a": 2**63}}, R.NUMBER_TOO_LARGE, "args"),
    # Signs.
    *[
        (name, {field: value}, R.FIELD_RANGE, field)
        for name, fields, value in [
            ("fill", ("qty", "reference_price"), "0"),
            ("fill", ("price",), "-0.01"),
            ("fill_correction", ("qty", "price", "amended_qty", "amended_price"), "-1"),
            ("fill_correction", ("amended_qty",), "0"),
            ("balance", ("locked", "borrowed"), "-0.1"),
            ("position", ("entry_price", "mark_price", "liquidation_price"), "-1"),
            ("transfer", ("amount",), "0"),
            ("open_order", ("qty",), "-1"),
            ("open_order", ("price",), "0"),
            ("loan", ("amount",), "-1"),
            ("peg", ("price",), "0"),
            ("peg", ("volume", "supply", "redeemed"), "-1"),
            ("quote", ("bid", "ask", "last"), "-1"),
            ("quote", ("bid_size", "ask_size", "volume"), "-1"),
            ("credit", ("ratio",), "-0.01"),
        ]
        for field in fields
    ],
    ("balance", {"free": "-1", "kind": "custody", "wallet_type": "spot"}, R.FIELD_RANGE, "free"),
    ("balance", {"book": GONE}, R.FIELD_MISSING, "book"),
    ("position", {"book": "unallocated", "covers": "book"}, R.FIELD_MISSING, "book"),
    ("position", {"side": "long"}, R.FIELD_RANGE, "qty"),
    ("position", {"side": "both"}, R.FIELD_TYPE, "side"),
    ("position", {"qty": ""}, R.FIELD_TYPE, "qty"),
    ("quote", {"bid": "0"}, R.FIELD_RANGE, "bid"),
    ("quote", {"depth": [["1", "-1", "1"]]}, R.FIELD_RANGE, "depth"),
    # Fields that need one another.
    ("quote", {"bid": "1.01", "ask": "1.00"}, R.FIELD_RANGE, "bid"),
    ("quote", {"bid": GONE, "ask": None, "last": GONE}, R.FIELD_MISSING, "bid, ask and last"),
    ("fill", {"fee_asset": GONE}, R.FIELD_MISSING, "fee_asset"),
    ("fill", {"instrument": GONE}, R.FIELD_MISSING, "instrument"),
    ("fill_correction", {"instrument": None}, R.FIELD_MISSING, "instrument"),
    ("fill_correction", {"fee_asset": GONE}, R.FIELD_MISSING, "fee_asset"),
    ("fill_correction", {"fill_id": GONE, "trade_id": None}, R.FIELD_MISSING, "trade_id"),
    ("fill_correction", {"status": GONE}, R.FIELD_RANGE, "amended_qty"),
    (
        "fill_correction",
        {"amended_qty": GONE, "amended_price": GONE, "amended_contracts": GONE},
        R.FIELD_MISSING,
        "amended_qty",
    ),
    ("fill", {"cause": "gift"}, R.FIELD_TYPE, "cause"),
    ("credit", {"kind": "retraction", "retracts": GONE}, R.FIELD_MISSING, "retracts"),
    ("command", {"args": {"a": [[[[[[[[1]]]]]]]]}}, R.FIELD_RANGE, "args"),
    ("command", {"args": {"a": [1] * 256}}, R.FIELD_RANGE, "args"),
    # Times.
    ("fill", {"ts": "2008-12-31T23:59:59.999999Z"}, R.TS_OUT_OF_RANGE, "ts"),
    ("fill", {"settles_at": "2100-01-01T00:00:00Z"}, R.TS_OUT_OF_RANGE, "settles_at"),
    ("fill", {"arrived": "0001-01-01T00:00:00+23:59"}, R.TS_OUT_OF_RANGE, "arrived"),
    ("credit", {"as_of": "9999-12-31T23:59:59-23:59"}, R.TS_OUT_OF_RANGE, "as_of"),
    ("loan", {"due": "2008-01-01T00:00:00Z"}, R.TS_OUT_OF_RANGE, "due"),
    ("fill", {"ts": "2023-03-11T03:13:05.223457Z"}, R.TS_FROM_FUTURE, "ts"),
    # Texts.
    ("credit", {"note": "a\x00b"}, R.FIELD_RANGE, "note"),
    ("credit", {"rating": "A\x1b"}, R.FIELD_RANGE, "rating"),
    ("credit", {"assets": ["US\u200bDC"]}, R.FIELD_RANGE, "assets"),
    ("credit", {"subject": "circle\u202e"}, R.FIELD_RANGE, "subject"),
    ("fill", {"book": "a\x9fb"}, R.FIELD_RANGE, "book"),
    ("fill", {"book": "a\ue000"}, R.FIELD_RANGE, "book"),
    ("fill", {"book": "arb\ufe0f"}, R.FIELD_RANGE, "book"),
    ("fill", {"event_id": "a\u3164"}, R.FIELD_RANGE, "event_id"),
    ("command", {"signature": "\x00"}, R.FIELD_RANGE, "signature"),
    ("command", {"args": {"a": ["\x00"]}}, R.FIELD_RANGE, "args"),
    ("command", {"args": {"\x00": 1}}, R.FIELD_RANGE, "args"),
]


@pytest.mark.parametrize(("name", "fields", "reason", "word"), BROKEN)
def test_broken_field(name: str, fields: dict[str, Any], reason: R, word: str) -> None:
    """One broken rule is refused with its reason, and the detail names the field."""
    refusal = refused(changed(name, **fields))
    assert refusal.reason is reason, refusal
    assert word in refusal.detail
    assert refusal.detail.isprintable()
    assert len(refusal.detail) <= 300


def test_controls_that_need_no_escape_are_refused() -> None:
    """DEL and control characters beyond ASCII are valid JSON, but refused."""
    raw = changed("fill", book="arb").replace(b'"arb"', '"a\u0085b"'.encode())
    assert refused(raw).reason is R.FIELD_RANGE
    raw = changed("command").replace(b'"half of it"', b'"half \x7f of it"')
    assert refused(raw).detail == "reason must not hold the character U+007F"
    raw = changed("credit").replace(b'"Baa1"', '"B\u0081"'.encode())
    assert refused(raw).detail == "rating must not hold the character U+0081"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5E-8", "0.00000005"),
        ("1e3", "1000"),
        ("1E+0023", "100000000000000000000000"),
        ("9" * 24 + "." + "9" * 18, "9" * 24 + "." + "9" * 18),
        ("007.50", "7.50"),
    ],
)
def test_numbers_in_other_clothes(text: str, value: str) -> None:
    """Exponents and leading zeros are read, and written back as plain decimals."""
    event = decode(changed("fill", qty=text))
    assert isinstance(event, Fill)
    assert event.qty == Decimal(value)
    assert b'"qty":"' + value.encode() + b'"' in encode(event)


@pytest.mark.parametrize(
    "raw",
    [
        b"{" + b",".join(b'"k%d":1' % i for i in range(80_000)) + b',"k79999":1}',
        b'{"a":"' + b'\\":' * 340_000 + b'"}',
        b'{"a":[' + b'" " ,' * 200_000 + b"1]}",
        b'{"a":[' + b"[]," * 340_000 + b"1]}",
        changed("fill", price="9" * 1_000_000 + "x"),
        changed("fill", price="1E" + "0" * 1_000_000 + "1"),
        changed("command", args={"a": [[[]]] * 100_000}),
    ],
)
def test_a_megabyte_of_spite_costs_no_more_than_its_length(raw: bytes) -> None:
    """Decoding is linear: a message at the size limit takes well under a second."""
    began = perf_counter()
    refused(raw)
    assert perf_counter() - began < 5.0


def test_depth_at_the_limit_is_read() -> None:
    """The maximum number of levels is accepted at any depth of the call stack."""
    assert isinstance(decode(nested(DEPTH_LIMIT)), Peg)


def test_arguments_at_their_limits_are_read() -> None:
    """Eight levels of arguments, 256 values and 64-bit numbers are accepted."""
    args = {"a": [[[[[[[2**63 - 1]]]]]]], "b": -(2**63), "c": [1] * 246}
    event = decode(changed("command", args=args))
    assert isinstance(event, Command)
    assert event.args == args


def test_unknown_fields_of_facts_are_ignored() -> None:
    """Old workers accept messages of new producers, even if a field looks like a separator."""
    plain = decode(GOLDENS["fill"])
    for extra in ({"later": {"a": [1]}}, {"later": '":":'}, {'lat":er': 1}):
        assert decode(changed("fill", **extra)) == plain


def test_what_venues_write_for_none_is_none() -> None:
    """An optional number that is an empty text is left out; zero prices of a position are taken."""
    raw = changed("position", entry_price="", mark_price="0.0", liquidation_price="0")
    position = decode(raw)
    assert isinstance(position, Position)
    prices = (position.entry_price, position.mark_price, position.liquidation_price)
    assert prices == (None, Decimal("0.0"), Decimal(0))


def test_a_debt_is_a_negative_balance_of_a_wallet_that_can_have_one() -> None:
    """A margin, derivatives or unified wallet owes what it states below zero."""
    cases: tuple[dict[str, Any], ...] = (
        {"kind": "margin"},
        {"kind": GONE, "wallet_type": "unified"},
    )
    for fields in cases:
        balance = decode(changed("balance", **{**fields, "free": "-2"}))
        assert isinstance(balance, Balance)
        assert balance.free == Decimal(-2)


def test_line_breaks_are_fine_in_free_text_only() -> None:
    """A note may have several lines; a name may not."""
    event = decode(changed("credit", note="two\r\n\tlines"))
    assert isinstance(event, Credit)
    assert event.note == "two\r\n\tlines"
    assert refused(changed("transfer", transfer_id="a\tb")).reason is R.FIELD_RANGE


def test_crossless_and_onesided_books_are_read() -> None:
    """A locked book and a one-sided book are accepted; a crossed book is not."""
    assert isinstance(decode(changed("quote", bid="1", ask="1")), Quote)
    assert isinstance(decode(changed("quote", bid=GONE, last=GONE)), Quote)


def test_offsets_become_utc() -> None:
    """Any offset is accepted and converted to UTC."""
    event = decode(
        changed("fill", ts="2023-03-11T08:43:00+05:30", settles_at="2023-03-12T19:00:00-05:00")
    )
    assert isinstance(event, Fill)
    assert event.ts == datetime(2023, 3, 11, 3, 13, tzinfo=UTC)
    assert event.ts.tzinfo is UTC
    assert b'"ts":"2023-03-11T03:13:00Z"' in encode(event)
    assert b'"settles_at":"2023-03-13T00:00:00Z"' in encode(event)


def test_five_seconds_ahead_are_allowed() -> None:
    """An event may be up to five seconds after its arrival, because clocks differ."""
    assert isinstance(decode(changed("fill", ts="2023-03-11T03:13:05.223456Z")), Fill)


def test_stamp_sets_arrival_once() -> None:
    """The first hop stamps in UTC, a later hop changes nothing; a naive time is an error."""
    event = decode(GOLDENS["fill.minimal"])
    assert isinstance(event, Fill)
    late = event.ts - timedelta(seconds=6)
    stamped = stamp_arrival(event, late)
    assert stamped.arrived == late
    assert stamp_arrival(stamped, event.ts) is stamped
    refusal = check_not_future(stamped)
    assert refusal is not None
    assert refusal.reason is R.TS_FROM_FUTURE
    assert check_not_future(event) is None
    with pytest.raises(ValueError, match="time zone"):
        stamp_arrival(event, datetime(2023, 3, 11))  # noqa: DTZ001 - a naive time is what is tested
