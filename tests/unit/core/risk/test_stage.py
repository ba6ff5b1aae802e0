"""The risk stage as a whole: order within a tick, rows, and idle ticks."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskwatch.contracts.outputs import output_line
from riskwatch.core.events import Credit, Tick
from riskwatch.core.outputs import ExposureChanged
from riskwatch.core.readings import CounterpartyReading, FillSlippage
from riskwatch.core.risk.state import RiskState
from riskwatch.engine import bootstrap
from riskwatch.models.ensemble import Ensemble
from tests.support.risk import (
    LIMITS,
    REFERENCE,
    RULES,
    Desk,
    NoState,
    asset,
    at,
    bitcoin,
    desk,
    held,
    market,
    news,
    of,
    venue,
)

if TYPE_CHECKING:
    from riskwatch.core.outputs import Output
    from riskwatch.core.risk.stage import RiskEvent, RiskStage
    from riskwatch.core.stage import Row

POLICY = bootstrap.configuration().policy


def full_stage() -> RiskStage:
    """Return the stage with its models."""
    from riskwatch.core.risk.stage import RiskStage

    return RiskStage(POLICY.risk, REFERENCE, LIMITS, RULES, Ensemble(POLICY.models))


def story(seed: int, minutes: int) -> list[RiskEvent]:
    """Generate random events: prices move and break, feeds stop, holdings and news change."""
    rng = random.Random(seed)
    told: list[RiskEvent] = []
    bp, seen = 0.0, 0
    for minute in range(minutes):
        bp = min(100.0, bp + rng.choice((-60.0, -20.0, -5.0, 0.0, 5.0, 20.0, 60.0)))
        if rng.random() < 0.8:
            seen += 1
            local = [("USDC", rng.choice((-400.0, 200.0)), seen)] if rng.random() < 0.5 else []
            live = 0 if rng.random() < 0.2 else 4
            told.append(
                market(
                    minute,
                    asset(bp=bp, seen=seen, live=live),
                    asset("USDT", bp=-bp / 3.0, seen=seen),
                    bitcoin(20_000.0 + minute, seen=seen),
                    venues=[venue(local=local, dislocation_bp=rng.choice((0.0, 90.0)))],
                )
            )
        if rng.random() < 0.6:
            amounts = [(a, str(rng.randrange(-50, 900_000))) for a in ("USDC", "BTC", "USD")]
            party = rng.choice(("kraken", "coinbase"))
            reading = held(minute, *amounts[: rng.randrange(4)], party=party)
            slips = [
                FillSlippage(
                    at(minute - rng.randrange(3)), "BTC", "USD", 2_000.0, rng.gauss(5.0, 9.0)
                )
                for _ in range(rng.randrange(3))
            ]
            told.append(msgspec.structs.replace(reading, slips=slips))
        if rng.random() < 0.1:
            kind = rng.choice(("insolvency", "hack", "withdrawals_suspended", "retraction"))
            subject = rng.choice(("kraken", "circle", "svb", "nobody"))
            told.append(
                news(Credit, minute, f"n{minute}", subject=subject, kind=kind, retracts="n1")
            )
        told.append(Tick(at(minute)))
    return told


def lines(outputs: list[Output]) -> list[bytes]:
    """Return outputs as bytes."""
    return [output_line(output) for output in outputs]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 200), max_size=4))
def test_stored_rows_are_the_whole_state(seed: int, cuts: list[int]) -> None:
    """Resuming from the rows at any point gives the same outputs and the same rows."""
    events = story(seed, 60)
    whole = Desk(full_stage())
    whole.tell(*events)
    rows: dict[str, Row] = {}
    made: list[Output] = []
    edges = [0, *sorted(c % (len(events) + 1) for c in cuts), len(events)]
    for start, end in itertools.pairwise(edges):
        part = Desk(full_stage())
        part.state.load(rows)
        made += part.tell(*events[start:end])
        for key, row in part.state.drain().items():
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = row
    assert lines(made) == lines(whole.out)
    assert rows == {k: v for k, v in whole.state.drain().items() if v is not None}


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_the_order_of_readings_within_a_tick_does_not_matter(seed: int) -> None:
    """Decisions are made at ticks only."""
    events = story(seed, 40)
    shuffled: list[RiskEvent] = []
    waiting: list[RiskEvent] = []
    rng = random.Random(seed)
    for event in events:
        if isinstance(event, Tick):
            # Two readings of one counterparty replace each other: their order is their meaning.
            parties = [e.counterparty for e in waiting if isinstance(e, CounterpartyReading)]
            if len(parties) == len(set(parties)):
                rng.shuffle(waiting)
            shuffled += [*waiting, event]
            waiting = []
        else:
            waiting.append(event)
    one, other = Desk(full_stage()), Desk(full_stage())
    one.tell(*events)
    other.tell(*shuffled)
    rejected = [o for o in one.out if type(o).__name__ == "EventRejected"]
    assert sorted(lines(one.out)) == sorted(lines(other.out))
    assert [o for o in lines(one.out) if o not in lines(rejected)] == [
        o for o in lines(other.out) if o not in lines(rejected)
    ]


def test_the_last_exposures_are_the_last_readings() -> None:
    """The last published amount of each key equals the ledger's last reading."""
    d = desk()
    events = story(3, 120)
    d.tell(*events)
    last = {o.key(): o.amount for o in of(d.out, ExposureChanged)}
    readings = {e.counterparty: e for e in events if isinstance(e, CounterpartyReading)}
    expected = {
        f"{h.book}/{name}/{h.account}/{h.asset}/{h.component}": h.amount
        for name, reading in readings.items()
        for h in reading.holdings
    }
    assert {k: v for k, v in last.items() if v} == {k: v for k, v in expected.items() if v}


def test_idle_ticks_say_nothing_and_write_nothing() -> None:
    """Between reports, a tick without events has no output and writes no row."""
    d = desk()
    d.tick(0, market(0, asset()))
    d.state.drain()
    for minute in range(1, 5):
        assert d.tick(minute) == []
        assert d.state.drain() == {}


def test_rows_stay_bounded() -> None:
    """Ten times as many ticks do not add rows."""
    d = desk()
    sizes = []
    for first in (0, 300):
        for minute in range(first, first + 300):
            reading = asset(bp=-30.0 * (minute % 7), seen=minute + 1)
            d.tick(minute, market(minute, reading), held(minute, ("USDC", str(minute))))
        d.state.load({})
        sizes.append(sum(len(t) for t in (d.state.sent, d.state.limits, d.state.scopes)))
        assert len(d.state.assets["USDC"].trail) <= 13
    assert sizes[0] == sizes[1]


def test_a_row_of_no_known_kind_is_refused() -> None:
    """A row of another engine raises an error."""
    with pytest.raises(ValueError, match="of no kind"):
        RiskState(NoState()).load({"poem/1": b"{}"})
