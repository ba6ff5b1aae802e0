"""Every kind of state row survives a restore, and matters: without it the stages say other things.

One history fills rows of every kind. A second part of it is given to stages that were loaded from
these rows. They must say what the stages say that were never stopped. Then each kind of row is left
out in turn: the stages must refuse to load, or say something else.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from msgspec.structs import replace

from riskwatch.contracts.outputs import encode_output
from riskwatch.core.clock import micros
from riskwatch.core.events import Credit, Quote, Tick
from riskwatch.core.ledger.state import _LOADERS as LEDGER_KINDS
from riskwatch.core.outputs import Output
from riskwatch.core.readings import PartitionFault
from riskwatch.core.risk.config import DrillPlan
from riskwatch.core.risk.state import _TYPES as RISK_KINDS
from riskwatch.core.risk.state import SCORER_PREFIX
from riskwatch.engine import bootstrap
from riskwatch.engine.pipeline import Effects, Pipeline
from riskwatch.models.state import _TYPES as MODEL_KINDS
from tests.support import facts
from tests.support.people import OPERATORS, command
from tests.support.risk import START

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from riskwatch.core.events import Fill, Transfer
    from riskwatch.core.risk.scorer import DetectorConfig

ASSET: Final = "asset:USDC"
HISTORY_MINUTES: Final = 483
"""Length of the history: labels of the shortest horizons have matured."""
PROBE_MINUTES: Final = 100
MARKET_KINDS: Final = ("edge", "asset", "issue", "meta")
KINDS: Final = {
    *(f"ledger {kind}" for kind in LEDGER_KINDS),
    *(f"market {kind}" for kind in MARKET_KINDS),
    *(f"risk {kind}" for kind in (*RISK_KINDS, "meta", "budget")),
    *(f"risk {SCORER_PREFIX}{kind}" for kind in (*MODEL_KINDS, "model", "pool", "detector")),
}
"""Every kind of row of every stage."""
LIMIT, LIMIT_SCOPE = "kraken", "counterparty:kraken"
Rows = dict[str, dict[str, bytes]]


def kind_of(stage: str, key: str) -> str:
    """Return the kind of a row."""
    name = key.removeprefix(SCORER_PREFIX)
    prefix = SCORER_PREFIX if name != key else ""
    return f"{stage} {prefix}{name.partition('/')[0]}"


def quick(detector: DetectorConfig) -> DetectorConfig:
    """Return a detector with a window of twenty samples."""
    steps = tuple({**step, "window_size": 20} for step in detector.pipeline)
    return replace(detector, pipeline=steps)


def pipeline() -> Pipeline:
    """Return all stages, with operators, a planned drill, an advisory rule and a small budget.

    The ledger has room for one loan, and forgets a silent counterparty within the history. The
    market forgets a silent feed after an hour, so that only the risk stage still knows it. A target
    that waits for a label is stale after an hour, too. Detectors have learned enough after twenty
    samples.
    """
    config = bootstrap.configuration()
    risk = config.policy.risk
    risk = replace(
        risk,
        drills=(DrillPlan(id="hourly", scope="firm", every_s=3_600.0, at="00:03"),),
        advisory=("asset.discount.halt",),
        people=replace(risk.people, watch_alerts_month=1),
    )
    market = replace(config.policy.market, forget_s=3_600.0)
    models = config.policy.models
    models = replace(models, evidence=replace(models.evidence, stale_s=3_600.0))
    models = replace(models, detectors=tuple(map(quick, models.detectors)))
    ledger_config = replace(
        config.policy.ledger, max_loans=1, transfer_retention_s=28_000, forget_s=28_000
    )
    policy = replace(config.policy, ledger=ledger_config, risk=risk, market=market, models=models)
    config = replace(config, operators=OPERATORS, policy=policy)
    # A live ledger, because only there a fact can be old.
    ledger = bootstrap.ledger_slot(config, live=True)
    return Pipeline([ledger, bootstrap.market_slot(config), bootstrap.risk_slot(config)])


def at(minutes: float) -> float:
    """Return a minute of the history in the seconds of :mod:`tests.support.facts`."""
    return 60.0 * minutes - (facts.START - START).total_seconds()


def public(cls: Any, minutes: float, event_id: str, **fields: Any) -> Any:
    """Return a public event at a minute of the history."""
    common = {"v": 1, "event_id": event_id, "ts": START + timedelta(minutes=minutes)}
    return cls(**{**common, "source": "feed", **fields})


def quotes(minute: int) -> Iterator[Quote]:
    """Return the quotes of one minute: five venues, of which two fall silent."""
    fall = 0.0
    if 60 <= minute < 75 or 300 <= minute < 330:
        fall = 60.0
    if 460 <= minute < HISTORY_MINUTES + 10:
        fall = 400.0
    silent = [venue for venue, end in (("gone", 380), ("quiet", 440)) if minute < end]
    for venue in ("kraken", "coinbase", "binance", *silent):
        off = fall + (minute % 7 if venue == "kraken" else minute % 5) / 10.0
        prices = {
            "USDC": 1.0 - off * 1e-4,
            "USDT": 0.99 if HISTORY_MINUTES + 12 <= minute < HISTORY_MINUTES + 40 else 1.0,
            "BTC": 20_000.0 + minute % 11,
        }
        for base, price in prices.items():
            yield public(
                Quote, minute, f"{venue}-{base}-{minute}", venue=venue, base=base, quote="USD",
                last=Decimal(f"{price:.6f}"), volume=Decimal(1000),
            )  # fmt: skip


def unsettled() -> Fill:
    """Return a trade that settles after the history."""
    return facts.fill("s1", at(475), settles_at=at(520), reference_price="19990")


def withdrawal(minute: int) -> list[Transfer]:
    """Return a withdrawal that took a minute."""
    name = f"t-{minute}"
    return [
        facts.transfer(f"{name}-{status}", at(minute + n), status, transfer_id=name)
        for n, status in enumerate(("requested", "confirmed"))
    ]


def history() -> Iterator[Any]:
    """Return the events of the history, in order, with a tick each minute."""
    bad = command("rita", "halt", 460, key="forged", by="tom")
    placed: dict[int, list[Any]] = {
        1: [
            facts.balance("b1", at(1), "20"),
            facts.balance("b2", at(1), "9000000", asset="USDC"),
            facts.balance("b3", at(1), "5", counterparty="binance"),
            facts.balance("b4", at(1), "500000", asset="USDT"),
            facts.balance("b5", at(1), "7", asset="ETH"),
            facts.balance("b7", at(1), "7", asset="NOBODYS"),
            facts.balance("b0", at(1), "0", counterparty="ghost"),
        ],
        2: [facts.position("p1", at(2), "3", mark_price="20000")],
        20: [each for n in range(6) for each in withdrawal(20 + n)],
        100: [command("ann", "set_limit", 100, LIMIT_SCOPE, limit=LIMIT, hard_usd="5000000")],
        200: [public(Credit, 200, "c1", subject="kraken", kind="withdrawals_suspended")],
        450: [command("rita", "halt", 450, "book:mm")],
        460: [bad],
        470: [facts.order("o1", at(470), "2")],
        471: [facts.loan("l1", at(471), "1000", due=facts.at(at(500)))],
        475: [unsettled(), command("ann", "release", 475, "book:mm")],
        440: [facts.transfer("w2", at(440), "requested")],
        442: [facts.adjustment("j1", at(442), "-7", kind="other")],
        441: [
            facts.transfer("x1", at(441), "sent", transfer_id="x"),
            facts.transfer(
                "x2", at(441), "sent", transfer_id="x", direction="deposit", account="sub"
            ),
        ],
        477: [facts.fill("f1", at(477)), command("rita", "acknowledge", 477, ASSET)],
        476: [
            facts.transfer(
                "w9", at(200), "requested", transfer_id="late", arrived=facts.at(at(476))
            )
        ],
        478: [
            facts.fill("f2", at(478), base="USDC", qty="100", price="1"),
            facts.fill("f3", at(478), qty="0.25", trade_id="7", source="backfill"),
        ],
        479: [PartitionFault(micros(facts.at(at(479))), "ledger/2", "f" * 32, ["binance"])],
        480: [facts.loan("l0", at(480), "5", loan_id="no room")],
    }
    for minute in range(460, 479):  # before the fault of its worker, which a reading ends
        polled = facts.balance(
            f"s{minute}", at(minute), "1", counterparty="binance", account="polled"
        )
        placed.setdefault(minute, []).append(polled)
    for minute in range(HISTORY_MINUTES):
        yield from quotes(minute)
        yield from placed.get(minute, ())
        yield Tick(micros(facts.at(at(minute))))


def probe(request: str) -> Iterator[Any]:
    """Return what comes after the history: it refers to everything that the history left open.

    The first tick has no quote.
    """
    first = HISTORY_MINUTES
    yield facts.balance("b6", at(first), "0", asset="ETH")
    yield Tick(micros(facts.at(at(first + 0.1))))
    first += 1
    placed: dict[int, list[Any]] = {
        first: [
            # A snapshot that is older than the last fills: they count on top of it.
            facts.balance("b9", at(476.5), "25", counterparty="kraken"),
            # An unlisted counterparty that may be one that was forgotten.
            facts.balance("b8", at(0.5), "1", counterparty="another"),
        ],
        first + 1: [
            command("rita", "halt", first + 1, "book:mm", key="rita-halt-book:mm-450"),
            command("bob", "approve", first + 1, "book:mm", request=request),
            command("rita", "halt", first + 1, key="forged", by="tom"),
        ],
        first + 2: [facts.settlement("d1", at(first + 2), unsettled(), "delivered")],
        first + 3: [facts.transfer("w3", at(first + 3), "confirmed")],
        first + 4: [
            facts.order("o2", at(first + 4), "0"),
            facts.position("p2", at(first + 4), "4"),
        ],
        first + 5: [
            facts.loan("l2", at(first + 5), "0"),
            facts.adjustment("j2", at(442), "-7", kind="other", adjustment_id="j1"),
            facts.adjustment("j3", at(first + 5), "-7", kind="other"),
            # A repeat of a trade, and the bust of a fill that bears no trade id.
            facts.fill("f4", at(478), qty="0.25", trade_id="7", source="websocket"),
            facts.bust("f5", at(first + 5), facts.fill("f2", 0, base="USDC", qty="100", price="1")),
        ],
        first + 6: [public(Credit, first + 6, "c2", subject="kraken", kind="withdrawals_resumed")],
    }
    for minute in range(first, first + PROBE_MINUTES):
        yield from quotes(minute)
        yield from placed.get(minute, ())
        yield Tick(micros(facts.at(at(minute))))


def tell(stages: Pipeline, events: Iterable[Any]) -> list[bytes]:
    """Apply events; return the readings and the outputs as bytes."""
    effects = Effects()
    for event in events:
        stages.apply(event, effects)
    said = [msgspec.json.encode(each) for each in effects.inputs]
    return said + [encode_output(each) for each in effects.outputs if isinstance(each, Output)]


@cache
def original() -> tuple[Rows, list[bytes], str]:
    """Return the rows after the history, what is said after it, and the open request."""
    stages = pipeline()
    said = tell(stages, history())
    rows: Rows = {
        stage: {key: bytes(body) for key, body in changes.items() if body is not None}
        for stage, changes in stages.drain().items()
    }
    (request,) = (
        made["request_id"]
        for made in map(msgspec.json.decode, said)
        if made.get("type") == "CommandApplied" and made["outcome"] == "requested"
    )
    return rows, tell(stages, probe(request)), request


def test_the_history_has_rows_of_every_kind() -> None:
    """A kind that is new must be in the history, so that the tests below are about it."""
    rows, _, _ = original()
    assert {kind_of(stage, key) for stage in rows for key in rows[stage]} == KINDS


def test_restored_stages_say_what_stages_say_that_never_stopped() -> None:
    """Not one byte differs after a restore from rows."""
    rows, said, request = original()
    stages = pipeline()
    stages.load(rows)
    assert tell(stages, probe(request)) == said


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_kind_of_row_that_is_lost_is_noticed(kind: str) -> None:
    """Without the rows of one kind the stages do not load, or they say something else."""
    rows, said, request = original()
    left = {
        stage: {key: body for key, body in rows[stage].items() if kind_of(stage, key) != kind}
        for stage in rows
    }
    stages = pipeline()
    try:
        stages.load(left)
    except (KeyError, ValueError):
        return
    assert tell(stages, probe(request)) != said
