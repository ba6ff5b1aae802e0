"""The worker's table of limits before the trade: in the heartbeat, and in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from sqlalchemy import select

from riskwatch.config.config import Config
from riskwatch.contracts.heartbeat import decode_heartbeat
from riskwatch.core.clock import SECOND, moment
from riskwatch.core.events import Tick
from riskwatch.core.policy import Policy
from riskwatch.core.risk.config import RiskConfig
from riskwatch.core.risk.pretrade import ClientTerms, PretradeConfig, ScopeTerms
from riskwatch.engine import bootstrap
from riskwatch.engine.pipeline import StageSlot
from riskwatch.errors import FencedError
from riskwatch.store.headroom import HEADROOM, write_headroom
from riskwatch.store.scope_table import ScopeTable
from riskwatch.store.transaction import take_lease
from riskwatch.worker import pretrade
from riskwatch.worker.pretrade import MARGIN_S, PretradeMaker
from riskwatch.worker.worker import RISK, make_heartbeat
from tests.support.desks import ZERO
from tests.support.risk import LIMITS, REFERENCE, asset, at, bitcoin, desk, held, market
from tests.support.units import START_US
from tests.unit.worker.test_worker_heartbeat import Leader

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from riskwatch.contracts.pretrade import PretradeTable
    from riskwatch.core.risk.state import RiskState

TERMS = PretradeConfig(
    clients={
        "desk-1": ClientTerms(share=0.6, counterparties=("kraken",)),
        "desk-2": ClientTerms(
            share=0.4, counterparties=("kraken", "coinbase"), max_order_usd=10.0, rate=1.0, burst=2
        ),
    },
    scopes={"book:mm": ScopeTerms(max_order_usd=5.0), "firm": ScopeTerms(collar_bp=9.0)},
)
NOW_US = at(2)
LATE_US = at(3)
"""Facts of this time show everything that was used of grants before :data:`NOW_US`."""


def maker(terms: PretradeConfig | msgspec.UnsetType = TERMS) -> tuple[PretradeMaker, list[float]]:
    """Return a maker, and its steady clock."""
    shipped = bootstrap.configuration()
    policy = Policy(risk=RiskConfig(pretrade=terms))
    config = Config(
        reference=REFERENCE, limits=LIMITS, rules=shipped.rules, policy=policy, digest=""
    )
    clock = [0.0]
    return PretradeMaker(config, lambda: clock[0]), clock


def held_state(*, ticked: bool = True) -> RiskState:
    """Return the state of a desk that holds USDC and BTC at kraken."""
    d = desk()
    d.tell(market(1, asset(), bitcoin()), held(1, ("USDC", "300000"), ("BTC", "5")))
    if ticked:
        d.tick(1)
    d.tell(market(1.5, asset(), bitcoin(live=0)))  # its feeds are silent, and its price stays
    d.state.parties["kraken"].us = LATE_US
    return d.state


def granted(made: PretradeMaker, clock: list[float], state: RiskState) -> PretradeTable:
    """Return a table after the wait of a new leader."""
    made.table(state, 1, NOW_US)
    clock[0] += TERMS.grant_s + MARGIN_S
    return made.table(state, 1, NOW_US)


def test_the_table_has_what_an_order_is_checked_against() -> None:
    """Headroom, the scopes that bind, prices, how far facts are known, and all terms."""
    made, clock = maker()
    table = granted(made, clock, held_state())
    assert table.fault == ""
    assert table.left["asset:USDC"] == 1_700_000.0
    assert table.left["counterparty:*"] == 1_000_000.0
    assert table.binds["asset:USDC"] == {"issuer:circle": 1.0, "bank:svb": 0.1, "bank:bny": 0.2}
    assert table.known == {"kraken": LATE_US / SECOND}
    assert (table.measured, table.until) == (moment(at(1)), moment(NOW_US + 30 * SECOND))
    assert {name: mid.fresh for name, mid in table.mids.items()} == {
        "BTC": False, "USD": True, "USDC": True,
    }  # fmt: skip
    one, two = table.clients["desk-1"], table.clients["desk-2"]
    assert (one.share, one.max_order_usd, one.rate, one.burst) == (0.6, 250_000.0, 50.0, 100)
    assert (two.share, two.max_order_usd, two.rate, two.burst) == (0.4, 10.0, 1.0, 2)
    assert (table.scopes["firm"].max_order_usd, table.scopes["firm"].collar_bp) == (250_000.0, 9.0)
    assert table.scopes["book:mm"].max_order_usd == 5.0


def test_the_second_table_leaves_room_for_the_first() -> None:
    """The headroom falls; each client may still hold its first grant."""
    made, clock = maker()
    state = held_state()
    assert granted(made, clock, state).clients["desk-1"].lower == {}
    clock[0] += 15.0
    state.limit_overrides.clear()
    d = desk()
    d.tick(1, market(1, asset(), bitcoin()), held(1, ("USDC", "1000000"), ("BTC", "5")))
    table = made.table(d.state, 1, NOW_US)
    lower = table.clients["desk-1"].lower["asset:USDC"]
    assert lower == pytest.approx(0.6 * 1_700_000.0 - 700_000.0)


def test_a_new_leader_grants_nothing_until_older_grants_end() -> None:
    """It does not know what the leader before granted; so with each new epoch."""
    made, clock = maker()
    state = held_state()
    for epoch in (1, 2):
        clock[0] += 100.0
        table = made.table(state, epoch, NOW_US)
        assert "a new leader grants nothing" in table.fault
        assert (table.left, table.known) == ({}, {})
        assert table.clients["desk-1"].share == 0.6
        clock[0] += TERMS.grant_s + MARGIN_S - 0.1
        assert made.table(state, epoch, NOW_US).fault
        clock[0] += 0.1
        state.parties["kraken"].us = NOW_US + 39 * SECOND
        fault = made.table(state, epoch, NOW_US).fault
        assert fault == "a new leader grants nothing until facts of kraken are newer"
        state.parties["kraken"].us = NOW_US + 40 * SECOND
        assert made.table(state, epoch, NOW_US).fault == ""
        state.parties["kraken"].us = NOW_US  # from then on, its own grants count as long as needed
        assert made.table(state, epoch, NOW_US).fault == ""


def test_before_the_first_evaluation_and_beyond_a_size_nothing_is_granted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The table says why, and stays small enough for the broker."""
    made, clock = maker()
    state = held_state(ticked=False)
    assert state.meta.looked == 0
    assert granted(made, clock, state).fault == "nothing was evaluated yet"
    monkeypatch.setattr(pretrade, "MAX_BYTES", 100)
    assert made.table(held_state(), 1, NOW_US).fault == "the table has more than 100 bytes"


def test_without_clients_there_is_no_table() -> None:
    """Then a heartbeat has the bytes that it always had."""
    assert not maker(msgspec.UNSET)[0].on
    assert not maker(PretradeConfig())[0].on
    assert maker()[0].on
    beat = make_heartbeat("risk", 1, ScopeTable({}, {}, 1), NOW_US, "d")
    assert b"pretrade" not in msgspec.json.encode(beat)


class OldHeartbeat(msgspec.Struct, frozen=True, kw_only=True, tag="heartbeat"):
    """The heartbeat as clients of earlier versions decode it."""

    worker: str
    epoch: int
    seq: int
    digest: str
    scopes: int
    ts: Any
    valid_until: Any
    engine: str = ""


def test_old_clients_read_a_heartbeat_with_a_table() -> None:
    """They ignore it; new ones get all of it back, and refuse a time without a zone."""
    made, clock = maker()
    table = granted(made, clock, held_state())
    beat = make_heartbeat("risk", 1, ScopeTable({}, {}, 1), NOW_US, "d", None, table)
    raw = msgspec.json.encode(beat)
    assert msgspec.json.decode(raw, type=OldHeartbeat).worker == "risk"
    assert decode_heartbeat(raw) == beat
    naive = msgspec.structs.replace(table, until=table.until.replace(tzinfo=None))
    with pytest.raises(ValueError, match="no time zone"):
        decode_heartbeat(msgspec.json.encode(msgspec.structs.replace(beat, pretrade=naive)))


def test_sql_shows_what_the_heartbeat_grants(engine: Engine) -> None:
    """By scope: the limit, its use, what is left, and each client's part; nothing else remains."""
    epoch = take_lease(engine, RISK, "test").epoch
    made, clock = maker()
    first = made.table(held_state(), epoch, NOW_US)
    write_headroom(engine, (RISK, epoch), [*made.rows(first), ("gone", *made.rows(first)[0][1:])])
    clock[0] += TERMS.grant_s + MARGIN_S
    table = made.table(held_state(), epoch, NOW_US)
    write_headroom(engine, (RISK, epoch), made.rows(table))
    with engine.connect() as conn:
        rows = {row.scope: row for row in conn.execute(select(HEADROOM))}
    assert sorted(rows) == sorted(table.left)
    row = rows["asset:USDC"]
    assert (row.limit_id, row.hard_usd, row.used_usd, row.left_usd, row.why) == (
        "usdc", 2_000_000, 300_000, 1_700_000, "",
    )  # fmt: skip
    assert row.grants == {"desk-1": 1_020_000.0, "desk-2": 680_000.0}
    found = {scope.partition(":")[0]: rows[scope].restriction for scope in rows}
    assert found == {
        "firm": "market", "book": "market", "asset": "market", "issuer": "market", "bank": "market",
        "counterparty": "claim", "group": "claim",
    }  # fmt: skip
    take_lease(engine, RISK, "standby")
    with pytest.raises(FencedError):
        write_headroom(engine, (RISK, epoch), [])


def test_a_leader_publishes_the_table_with_its_heartbeat(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the committed state of the risk stage, and SQL shows the same."""
    take_lease(engine, RISK, "test")
    leader = Leader(engine, monkeypatch)
    leader.clock.note_confirmed(START_US)
    d = desk()
    d.tick(1, market(1, asset(), bitcoin()), held(1, ("USDC", "300000")))
    leader.local.slot = lambda: StageSlot(d.stage, d.state, (Tick,))
    leader.partitions.assign([ZERO])
    made, clock = maker()
    leader._pretrade = made
    for expected in ("a new leader", ""):
        count = leader.later()
        _, _, value, _ = leader.sent("heartbeat")[count - 1]
        table = decode_heartbeat(value).pretrade
        assert table is not msgspec.UNSET
        assert expected in table.fault
        assert bool(expected) is bool(table.fault)
        left = table.left
        clock[0] += 40.0
        d.state.parties["kraken"].us = leader.now_us + 60 * SECOND
    with engine.connect() as conn:
        shown = {row.scope: float(row.left_usd) for row in conn.execute(select(HEADROOM))}
    assert shown == pytest.approx(left)
    assert left["asset:USDC"] == pytest.approx(1_700_000.0)
