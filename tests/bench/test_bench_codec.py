"""What the boundary costs per message, beside bare msgspec on the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from riskwatch.contracts.codec import decode, encode
from riskwatch.contracts.refusal import Refusal
from riskwatch.core.events import Fill, WireEvent

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

FILL = (
    b'{"type":"fill","v":1,"event_id":"binance-000000123","ts":"2023-03-11T03:13:00.123456Z",'
    b'"source":"binance","arrived":"2023-03-11T03:13:00.223456Z","counterparty":"binance",'
    b'"account":"main","book":"arb","base":"BTC","quote":"USDT","side":"buy","qty":"0.0123",'
    b'"price":"27123.45","fee":"0.0001","fee_asset":"BNB"}'
)
QUOTE = (
    b'{"type":"quote","v":1,"event_id":"kraken-000000123","ts":"2023-03-11T03:13:00.123456Z",'
    b'"source":"kraken","arrived":"2023-03-11T03:13:00.223456Z","venue":"kraken","base":"USDC",'
    b'"quote":"USD","bid":"0.9874","ask":"0.9876","last":"0.9875","bid_size":"12345.67",'
    b'"ask_size":"2345.5","volume":"1023.33"}'
)
BROKEN = FILL.replace(b'"qty":"0.0123"', b'"qty":"NaN"')
DUPLICATED = FILL[:-1] + b',"base":"ETH"}'


@pytest.mark.parametrize(
    ("name", "raw"),
    [("fill", FILL), ("quote", QUOTE), ("refused", BROKEN), ("duplicated", DUPLICATED)],
)
def test_decode(benchmark: BenchmarkFixture, name: str, raw: bytes) -> None:
    """Microseconds to decode and check one message of about 300 bytes."""
    answer = benchmark(decode, raw)
    assert isinstance(answer, Refusal) == (name in {"refused", "duplicated"})


def test_bare_msgspec(benchmark: BenchmarkFixture) -> None:
    """The floor: msgspec alone, with the patterns of the types and no other check."""
    decoder: msgspec.json.Decoder[WireEvent] = msgspec.json.Decoder(WireEvent)
    assert isinstance(benchmark(decoder.decode, FILL), Fill)


def test_encode(benchmark: BenchmarkFixture) -> None:
    """Microseconds to write one event back."""
    event = decode(FILL)
    assert isinstance(event, Fill)
    assert benchmark(encode, event) == FILL
