"""Fills per second of the ledger stage on one core, as a ratio to only decoding them."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec

from riskwatch.core.events import Fill
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.ledger.state import LedgerState
from tests.support.facts import START

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

FILLS = 20_000


def stream() -> list[Fill]:
    """Return fills at 200 a second over three venues, two books and eight pairs."""
    pick = random.Random(7)
    return [
        Fill(
            v=1,
            event_id=f"fill-{n}",
            ts=START + timedelta(milliseconds=5 * n),
            source="desk",
            counterparty=pick.choice(("kraken", "binance", "coinbase")),
            account="main",
            book=pick.choice(("mm", "arb")),
            base=pick.choice(("BTC", "ETH", "SOL", "XRP")),
            quote=pick.choice(("USD", "USDC")),
            side="buy" if pick.random() < 0.5 else "sell",
            qty=Decimal(pick.randrange(1, 10**8)).scaleb(-6),
            price=Decimal(pick.randrange(10**6, 10**7)).scaleb(-2),
            fee=Decimal(pick.randrange(1, 1000)).scaleb(-3),
            fee_asset="USD",
            reference_price=Decimal(pick.randrange(10**6, 10**7)).scaleb(-2),
        )
        for n in range(FILLS)
    ]


def test_fills_per_second(benchmark: BenchmarkFixture) -> None:
    """A step costs little more than decoding the fill: at most four times in one run."""
    fills = stream()
    encode = msgspec.json.Encoder(decimal_format="string").encode
    wire = [encode(fill) for fill in fills]
    decode = msgspec.json.Decoder(Fill).decode
    stage = LedgerStage()

    def step_all() -> LedgerState:
        state = LedgerState()
        step = stage.step
        for fill in fills:
            step(state, fill)
        return state

    def decode_all() -> None:
        for line in wire:
            decode(line)

    def seconds(work: Callable[[], object]) -> float:
        began = perf_counter()
        work()
        return perf_counter() - began

    baseline = min(seconds(decode_all) for _ in range(3))
    stepping = min(seconds(step_all) for _ in range(3))
    benchmark.extra_info["fills_per_s"] = round(FILLS / stepping)
    benchmark.extra_info["ratio_to_decoding"] = round(stepping / baseline, 2)
    state = benchmark(step_all)
    assert len(state.parties) == 3
    assert stepping < 4.0 * baseline
