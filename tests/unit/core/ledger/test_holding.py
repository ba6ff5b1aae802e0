"""One holding: snapshots, deltas, the late window and its bounds."""

from __future__ import annotations

from decimal import Decimal

from riskwatch.core.enums import RejectReason
from riskwatch.core.ledger.config import LedgerConfig
from riskwatch.core.ledger.holding import MAX_CHUNK_DELTAS
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.outputs import EventRejected
from tests.support.facts import amounts, balance, fill, held, read, run, tick


def test_a_snapshot_includes_deltas_of_its_own_time() -> None:
    """A fill at the snapshot's time is part of it; a microsecond later it is not."""
    assert held(balance("s", 10, "7"), fill("f", 10))["BTC custody"] == "7"
    assert held(balance("s", 10, "7"), fill("f", 10.000001))["BTC custody"] == "8"


def test_a_late_snapshot_keeps_the_deltas_after_it() -> None:
    """A snapshot that arrives after later fills still gives the right sum."""
    fills = [fill(str(t), t) for t in (5, 10, 15)]
    assert held(*fills, balance("s", 10, "100"))["BTC custody"] == "101"


def test_an_older_snapshot_is_superseded_without_effect() -> None:
    """The latest snapshot by (ts, source_seq, event_id) counts, whatever came last."""
    new = balance("s2", 20, "9")
    assert held(new, balance("s1", 10, "100"))["BTC custody"] == "9"
    tied = [balance("a", 5, "1", source_seq=1), balance("b", 5, "2"), balance("c", 5, "3")]
    assert held(*tied)["BTC custody"] == "1"
    assert held(*tied[:0:-1])["BTC custody"] == "3"


def test_a_snapshot_from_before_the_fold_is_refused_only_if_it_matters() -> None:
    """After a fold an older snapshot is refused as late; an outdated one has no effect."""
    state = LedgerState()
    run([balance("s0", 0, "50"), fill("f1", 60), fill("f2", 4000), fill("f3", 4001)], state)
    [late] = run([balance("s1", 30, "1")], state)
    assert isinstance(late, EventRejected)
    assert late.reason is RejectReason.FACT_TOO_LATE
    assert run([balance("s2", -5, "1")], state) == []
    assert amounts(read(run([tick(4002)], state)))["BTC custody"] == "53"


def test_the_fold_reaches_to_its_newest_delta_whatever_came_last() -> None:
    """Deltas that came out of order are folded together: a snapshot among them is late."""
    state = LedgerState()
    run([fill("f2", 70), fill("f1", 61), fill("f3", 4000)], state)
    [late] = run([balance("s", 65, "1")], state)
    assert isinstance(late, EventRejected)
    assert run([balance("t", 70, "1")], state) == []
    assert amounts(read(run([tick(4001)], state)))["BTC custody"] == "2"


def test_a_late_delta_is_exact_even_behind_the_fold() -> None:
    """A delta older than the late window is added to the base."""
    events = [fill("f1", 60), fill("f2", 4000), fill("f3", 70)]
    assert held(*events)["BTC custody"] == "3"


def test_the_buffer_is_bounded_and_folds_its_oldest_early() -> None:
    """Past `max_deltas` the oldest chunk folds: sums stay exact, early snapshots are late."""
    config = LedgerConfig(max_deltas=2 * MAX_CHUNK_DELTAS)
    stage, state = LedgerStage(config), LedgerState()
    total = 5 * MAX_CHUNK_DELTAS
    fills = [fill(str(n), n / 1000, qty="0.1") for n in range(total)]
    assert run(fills, state, stage) == []
    cell = state.parties["kraken"].cells["mm", "main", "", "BTC", "custody"]
    assert cell.buffered() <= 3 * MAX_CHUNK_DELTAS
    assert cell.amount() == cell.line.amount == Decimal(total) / 10
    [late] = run([balance("early", 0.5, "0")], state, stage)
    assert isinstance(late, EventRejected)
    last = (total - 11) / 1000
    assert run([balance("recent", last, "0")], state, stage) == []
    assert cell.amount() == cell.line.amount == Decimal(1)


def test_a_fill_rewrites_a_chunk_and_not_the_whole_buffer() -> None:
    """The rows that one more fill dirties stay small however much is buffered."""
    state = LedgerState()
    run([fill(str(n), n / 1000, qty="0.12345678") for n in range(12 * MAX_CHUNK_DELTAS + 1)], state)
    everything = sum(len(row or b"") for row in state.drain().values())
    run([fill("one", 4)], state)
    one = state.drain()
    assert sum(len(row or b"") for row in one.values()) < everything / 10
    kinds = sorted(key.split("/")[0] for key in one)
    assert kinds == ["delta", "delta", "fills", "party"]


def test_hot_holdings_reload_to_the_same_rows() -> None:
    """Chunks that fill up, fold and are cut by snapshots are the same after a reload."""
    stage = LedgerStage(LedgerConfig(max_deltas=2 * MAX_CHUNK_DELTAS))
    plain, restarted = LedgerState(), LedgerState()
    rows: dict[str, bytes] = {}
    whole: dict[str, bytes] = {}
    for n in range(8 * MAX_CHUNK_DELTAS):
        late = 40.0 if n % 11 == 0 else 0.0
        event = fill(str(n), 100 + n / 150 - late, qty="0.3")
        events = [event, balance(f"s{n}", 98 + n / 150, "5")] if n % 500 == 499 else [event]
        assert run(events, plain, stage) == run(events, restarted, stage)
        for store, state in ((rows, restarted), (whole, plain)):
            for key, row in state.drain().items() if n % 97 == 0 else ():
                store[key] = row or b""
        if n % 97 == 0:
            restarted = LedgerState()
            restarted.load({key: row for key, row in rows.items() if row})
    assert rows == whole
    assert any(key.split("/")[1].endswith(".1") for key in rows if key.startswith("delta"))
