"""Outputs as bytes, and the exact round trip of the journal's facts."""

from __future__ import annotations

import math
from decimal import Decimal

import msgspec
import pytest

from riskwatch.contracts.outputs import (
    Internal,
    decode_internal,
    decode_output,
    encode_internal,
    encode_output,
    output_line,
)
from riskwatch.core.enums import Cause
from riskwatch.core.events import Tick
from riskwatch.core.readings import (
    AssetReading,
    CounterpartyReading,
    FlowFeatures,
    Holding,
    MarketReading,
    OpenPosition,
    PartitionFault,
    VenueReading,
)
from tests.support.golden import goldens

FLOW = FlowFeatures(1 / 3, 0.1, 2, 3, 4, {"USDC": Decimal("1E-7")}, {}, -0.0, 0)
INTERNAL: list[Internal] = [
    Tick(1_678_504_380_000_000),
    CounterpartyReading(
        1,
        "kraken",
        [Holding("arb", "main", "USDC", "custody", Decimal("0E-8"))],
        [OpenPosition("arb", "main", "i", "BTC", "USD", Decimal("-1.50"), None, None, None)],
        FLOW,
    ),
    MarketReading(
        2,
        [
            AssetReading(
                "USDC", 0.1, -5e-324, None, 1e300, math.inf, 1, 2, 1, True, 3, Cause.ISSUER,
                ["kraken:USDC/USD"], [], 0.0, 0.0, 0.0,
            )
        ],
        [VenueReading("kraken", 1.5, 0, 1, 2, [("USDC", -30.25, 7)])],
    ),
    PartitionFault(3, "ledger/3", "00ff", ["bitfinex", "kraken"]),
]  # fmt: skip


@pytest.mark.parametrize("fact", INTERNAL)
def test_internal_round_trip_is_exact(fact: Internal) -> None:
    """Floats, infinities included, and the exponents of decimals are the same."""
    back = decode_internal(encode_internal(fact))
    assert repr(back) == repr(fact)
    assert encode_internal(back) == encode_internal(fact)


def test_internal_bytes_do_not_depend_on_insertion() -> None:
    """Equal readings have equal bytes, in any order of insertion."""
    one, two = {"A": Decimal(1), "B": Decimal(2)}, {"B": Decimal(2), "A": Decimal(1)}
    facts = [
        CounterpartyReading(1, "k", [], [], msgspec.structs.replace(FLOW, outflow_24h=flows))
        for flows in (one, two)
    ]
    assert encode_internal(facts[0]) == encode_internal(facts[1])


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xc1", encode_internal(INTERNAL[1])[:-1]])
def test_internal_that_cannot_be_read_is_an_error(payload: bytes) -> None:
    """A broken journal is a fault, not bad data, so it raises."""
    with pytest.raises(ValueError, match=r"."):
        decode_internal(payload)


@pytest.mark.parametrize(("name", "value"), goldens(outputs=True).items())
def test_output_line_wraps_the_very_bytes(name: str, value: bytes) -> None:
    """A line has the topic, the key and the bytes of the record, and ends in a newline."""
    output = decode_output(value)
    line = output_line(output)
    assert line.endswith(b',"value":' + value + b"}\n")
    assert line.count(b"\n") == 1
    parts = msgspec.json.decode(line)
    assert (parts["topic"], parts["key"]) == (output.topic, output.key()), name


def test_small_numbers_are_written_out_in_declared_order() -> None:
    """The slow path for exponents gives the same order, times and enums as the fast path."""
    output = decode_output(goldens(outputs=True)["CounterpartyAssessed"])
    plain = encode_output(msgspec.structs.replace(output, el_usd=Decimal("0.0000001")))
    small = encode_output(msgspec.structs.replace(output, el_usd=Decimal("1E-7")))
    assert small == plain
    assert b'"el_usd":"0.0000001"' in small


def test_output_of_another_kind_is_an_error() -> None:
    """Bytes that are no output raise an error."""
    with pytest.raises(ValueError, match=r"."):
        decode_output(b'{"type":"Nothing"}')
