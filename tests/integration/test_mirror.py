"""The mirror on a real Redis: it never lies, never goes back, and comes back by itself."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis
import structlog

from riskwatch.contracts import mirror as layout
from riskwatch.core.reasons import State
from riskwatch.errors import FencedError
from riskwatch.store import migrate
from riskwatch.store.current import current
from riskwatch.store.engine import open_engine
from riskwatch.store.transaction import commit, take_lease
from tests.support.batches import at, batches, exposure, others
from tests.support.mirror import WORKER, Desk, desk, heartbeat, record, switch, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import Engine

    from riskwatch.core.outputs import Output
    from tests.support.redis import Server

COIN = "asset:USDC"
HALT, WATCH, NORMAL = State.HALT, State.WATCH, State.NORMAL


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One migrated database."""
    path = tmp_path_factory.mktemp("mirror") / "template.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path.read_bytes()


@pytest.fixture
def engine(template: bytes, tmp_path: Path) -> Iterator[Engine]:
    """Database of its own."""
    path = tmp_path / "risk.db"
    path.write_bytes(template)
    opened = open_engine(f"sqlite:///{path}")
    yield opened
    opened.dispose()


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    """Log lines of the test."""
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def plain(redis_url: str) -> Iterator[Any]:
    """Redis as anybody sees it."""
    client = redis.Redis.from_url(redis_url)
    yield client
    client.close()


def place(seen: Any) -> tuple[Any, ...]:
    """Row's state and where it stands."""
    return seen.kind, seen.effective, seen.epoch, seen.seq


def ask(d: Desk, output: Output) -> Any:
    """What the mirror says of an output's row."""
    ask = d.reader.score if output.topic == "riskwatch.scores" else d.reader.exposure
    return ask(output.key())


def events(logged: list[Any]) -> list[str]:
    """Names of the lines about the condition of Redis."""
    return [x["event"] for x in logged if x["event"] in {"mirror.up", "mirror.down"}]


def steady(d: Desk) -> None:
    """Bring a desk to the point where everything is known."""
    d.decide(switch(COIN, HALT))
    d.beat()
    until(lambda: d.reader.killswitch(COIN).kind == "row")


def test_absent_normal_and_a_row_are_told_apart(engine: Engine, redis_url: str) -> None:
    """Without a heartbeat nothing is known; with one, a scope without a row is normal."""
    with desk(engine, redis_url, "uat.") as d:
        d.decide(switch(COIN, HALT))
        until(lambda: d.value("riskwatch_up") == 1)
        seen = d.reader.killswitch(COIN)
        assert (seen.kind, seen.effective, seen.why) == ("absent", HALT, "there is no heartbeat")
        assert not d.reader.killswitch_all().known
        d.beat()
        assert place(until(lambda: (s := d.reader.killswitch(COIN)).kind == "row" and s)) == (
            "row", HALT, 1, 1,
        )  # fmt: skip
        assert place(d.reader.killswitch("asset:BTC")) == ("normal", NORMAL, 0, 0)
        table = d.reader.killswitch_all()
        assert table.known
        assert [(s, x.effective) for s, x in table.scopes.items()] == [(COIN, HALT)]
        assert table.seen("firm").effective is NORMAL


def test_every_key_goes_away_by_itself(engine: Engine, redis_url: str, plain: Any) -> None:
    """A mirror whose writer is gone must not be believed for ever."""
    with desk(engine, redis_url) as d:
        steady(d)
        d.decide(exposure(1, "900", "873.00"), *others(1))
        until(lambda: len(plain.keys()) == 9)
        assert {int(plain.ttl(key)) > 0 for key in plain.keys()} == {True}  # noqa: SIM118
        assert int(plain.pttl("riskwatch:heartbeat")) <= 60_000


def test_what_was_written_is_what_is_read(engine: Engine, redis_url: str) -> None:
    """Rows of all mirrored topics, as they are on their topics."""
    with desk(engine, redis_url) as d:
        steady(d)
        row = exposure(1, "900", "873.00")
        wanted = [o for o in others(1) if o.topic in layout.KINDS]
        d.decide(row, *wanted)
        for output in (row, *wanted):
            until(lambda o=output: ask(d, o).kind == "row")  # type: ignore[misc]
            assert ask(d, output).value == output
        assert d.reader.score("asset:ETH").kind == "absent"
        assert d.reader.exposure(COIN).kind == "absent"


def test_filling_from_sql_is_the_same_as_having_been_told(
    engine: Engine, redis_url: str, plain: Any
) -> None:
    """A switch byte for byte; other rows but for the cause, which their tables do not keep."""
    with desk(engine, redis_url) as d:
        wanted = [o for o in others(1) if o.topic in layout.KINDS]
        d.commit(switch(COIN, HALT), exposure(1, "900", "873.00"), *wanted)
        d.mirror.refresh(engine, WORKER, d.epoch)
        d.beat()
        until(lambda: d.reader.killswitch(COIN).kind == "row")
        told = {record(0, o).value for o in (switch(COIN, HALT),)}
        assert {plain.hget(f"riskwatch:killswitch:{COIN}", "value")} == told
        for output in wanted:
            assert ask(d, output).value == msgspec.structs.replace(output, cause_id="")


def test_a_row_never_goes_back(engine: Engine, redis_url: str) -> None:
    """Neither to an earlier place, nor to an older epoch; the same place may come again."""
    with desk(engine, redis_url) as d:
        steady(d)
        d.lead()
        d.decide(switch(COIN, WATCH, 1), switch("firm", WATCH, 1))
        until(lambda: d.reader.killswitch("firm").kind == "row")
        d.mirror.write(WORKER, d.epoch, [record(1, switch(COIN, HALT))])  # sent again
        d.mirror.write(WORKER, d.epoch - 1, [record(99, switch(COIN, HALT, 9))])  # woke up
        d.mirror.heartbeat(heartbeat(d.epoch - 1, 99), 60.0)
        d.decide(switch("firm", NORMAL, 2))
        until(lambda: d.reader.killswitch("firm").effective is NORMAL)
        seen = d.reader.killswitch(COIN)
        assert (seen.effective, seen.epoch, seen.seq in {2, 3, 4}) == (WATCH, 2, True)


def test_an_old_leader_writes_nothing_and_vouches_for_nothing(
    engine: Engine, redis_url: str, plain: Any
) -> None:
    """Even where Redis is empty, so that nothing there could refuse it."""
    with desk(engine, redis_url) as d:
        steady(d)
        take_lease(engine, WORKER, "another")
        plain.flushdb()
        d.mirror.refresh(engine, WORKER, d.epoch)
        d.beat()
        until(lambda: (d.value("riskwatch_retries_total") or 0) >= 2)
        assert plain.keys() == []


def test_a_heartbeat_expires_into_absent(engine: Engine, redis_url: str) -> None:
    """After what it says itself, however long the key would have stayed."""
    with desk(engine, redis_url) as d:
        steady(d)
        assert d.reader.killswitch("firm").kind == "normal"
        d.beat(valid_s=0.3)
        until(lambda: d.reader.killswitch(COIN).kind == "absent")
        assert d.reader.killswitch("firm").effective is HALT


def test_an_old_heartbeat_is_not_made_to_look_fresh(engine: Engine, redis_url: str) -> None:
    """A worker that was paused and woke up sends what is not valid any more."""
    with desk(engine, redis_url) as d:
        d.decide(switch(COIN, HALT))
        d.beat(valid_s=-1)
        d.decide(switch(COIN, WATCH, 1))
        until(lambda: d.value("riskwatch_up") == 1)
        assert d.reader.killswitch(COIN).why == "there is no heartbeat"


def test_a_reader_does_not_trust_the_time_to_live_alone(
    engine: Engine, redis_url: str, plain: Any
) -> None:
    """Somebody may have made the key stay."""
    with desk(engine, redis_url) as d:
        steady(d)
        plain.hset("riskwatch:heartbeat", "value", heartbeat(1, 1, valid_s=-5))
        plain.persist("riskwatch:heartbeat")
        assert "was valid until" in d.reader.killswitch("firm").why


def test_redis_that_is_killed_is_filled_again(
    engine: Engine, redis_own: Server, logged: list[Any]
) -> None:
    """Empty when it is back, with what was decided meanwhile; a log line per change, no more."""
    with desk(engine, redis_own.url) as d:
        steady(d)
        redis_own.stop(signal.SIGKILL)
        for n in range(1, 30):
            d.decide(switch(f"asset:{n}", WATCH, n))
        d.beat()
        until(lambda: d.value("riskwatch_up") == 0)
        assert d.reader.killswitch(COIN).effective is HALT
        assert "does not answer" in d.reader.killswitch_all().why
        until(lambda: (d.value("riskwatch_retries_total") or 0) >= 2)
        redis_own.start()
        until(lambda: d.reader.killswitch("asset:29").kind == "row")
        assert place(d.reader.killswitch(COIN)) == ("row", HALT, 1, 30)
        assert len(d.reader.killswitch_all().scopes) == 30
        assert d.value("riskwatch_up") == 1
    assert events(logged) == ["mirror.up", "mirror.down", "mirror.up"]


def test_rows_that_were_lost_are_not_normal(engine: Engine, redis_url: str, plain: Any) -> None:
    """A flushed or evicted HALT reads as HALT, and the next heartbeat brings it back."""
    with desk(engine, redis_url) as d:
        d.decide(switch("firm", WATCH))
        steady(d)
        plain.delete(f"riskwatch:killswitch:{COIN}")
        seen = d.reader.killswitch(COIN)
        assert (seen.kind, seen.effective) == ("absent", HALT)
        assert d.reader.killswitch_all().seen(COIN).effective is HALT
        plain.delete("riskwatch:scopes")
        assert d.reader.killswitch_all().why == "the list of scopes was lost"
        d.beat()
        until(lambda: d.reader.killswitch(COIN).kind == "row")
        until(lambda: d.reader.killswitch_all().known)
        plain.flushdb()
        assert d.reader.killswitch("firm").effective is HALT
        d.beat()
        until(lambda: len(d.reader.killswitch_all().scopes) == 2)


def test_a_full_queue_is_made_good_from_sql(engine: Engine, redis_own: Server) -> None:
    """The oldest are dropped, nothing waits, and nothing is missing in the end."""
    with desk(engine, redis_own.url, queue=10) as d:
        steady(d)
        redis_own.stop(signal.SIGKILL)
        for n in range(1, 40):
            d.decide(switch(f"asset:{n}", WATCH, n))
        assert d.mirror._queued <= 10
        redis_own.start()
        d.mirror.write(WORKER, d.epoch, d.commit(*(switch(f"asset:x{n}", HALT) for n in range(11))))
        d.beat()
        until(lambda: d.reader.killswitch("asset:x10").kind == "row")
        assert len(d.reader.killswitch_all().scopes) == 51


def test_a_full_redis_is_not_half_believed(
    engine: Engine, redis_own: Server, logged: list[Any]
) -> None:
    """What does not fit in is unknown; when there is room again, everything is there."""
    client = redis.Redis.from_url(redis_own.url)
    with desk(engine, redis_own.url) as d:
        steady(d)
        client.config_set("maxmemory", "1")
        d.decide(switch(COIN, WATCH, 1))
        until(lambda: d.value("riskwatch_up") == 0)
        assert "OutOfMemory" in next(x["why"] for x in logged if x["event"] == "mirror.down")
        client.delete("riskwatch:heartbeat")  # as its time to live would
        d.beat()
        until(lambda: (d.value("riskwatch_retries_total") or 0) >= 3)
        assert d.reader.killswitch(COIN).effective is HALT
        client.config_set("maxmemory", "0")
        until(lambda: d.reader.killswitch(COIN).effective is WATCH)
    client.close()
    assert events(logged) == ["mirror.up", "mirror.down", "mirror.up"]


@pytest.mark.parametrize(
    "garbage",
    [
        {"value": b"\xff", "worker": "risk", "epoch": "1", "seq": "1"},
        {"value": b"{}", "worker": "risk", "epoch": "x", "seq": "inf"},
        {"worker": "risk", "epoch": "9", "seq": "999999999999999"},
        {"value": record(1, switch("asset:BTC", NORMAL)).value, "worker": "risk", "epoch": "1",
         "seq": "99"},
        {"value": record(1, switch(COIN, NORMAL)).value, "worker": "other", "epoch": "1",
         "seq": "99"},
        b"text",
    ],
)  # fmt: skip
def test_garbage_in_a_key_is_nothing_known(
    engine: Engine, redis_url: str, plain: Any, garbage: Any
) -> None:
    """It is never an exception, never normal, and what is right replaces it."""
    key = f"riskwatch:killswitch:{COIN}"

    def plant() -> None:
        plain.delete(key)
        if isinstance(garbage, bytes):
            plain.set(key, garbage)
        else:
            plain.hset(key, mapping=garbage)

    with desk(engine, redis_url) as d:
        d.beat()
        until(lambda: d.reader.killswitch("firm").kind == "normal")
        plant()
        assert d.reader.killswitch(COIN).effective is HALT
        d.decide(switch(COIN, WATCH))
        until(lambda: d.reader.killswitch(COIN).effective is WATCH)
        plant()
        plain.delete("riskwatch:scopes")
        plain.set("riskwatch:scopes", "text")
        assert d.reader.killswitch_all().seen(COIN).effective is HALT
        d.mirror.refresh(engine, WORKER, d.epoch)
        until(lambda: d.reader.killswitch_all().seen(COIN).effective is WATCH)


@pytest.mark.parametrize(
    "garbage",
    [{"value": b"{", "table": b"{}"}, {"value": heartbeat(1, 1)}, {"worker": "risk"}, b"text"],
)
def test_garbage_for_a_heartbeat_is_no_heartbeat(
    engine: Engine, redis_url: str, plain: Any, garbage: Any
) -> None:
    """Nothing is known until a real one replaces it."""
    if isinstance(garbage, bytes):
        plain.set("riskwatch:heartbeat", garbage)
    else:
        plain.hset("riskwatch:heartbeat", mapping=garbage)
    with desk(engine, redis_url) as d:
        assert d.reader.killswitch("firm").why == "the heartbeat cannot be read"
        d.beat()
        until(lambda: d.reader.killswitch("firm").kind == "normal")


def test_rows_are_renewed_before_they_expire(engine: Engine, redis_url: str) -> None:
    """A row that nobody changes stays as long as its writer lives."""
    with desk(engine, redis_url, ttl_s=0.9) as d:
        steady(d)
        first = d.mirror._filled_at
        until(lambda: (d.mirror._filled_at or 0) > (first or 0) + 1.0)
        assert d.reader.killswitch(COIN).kind == "row"


def test_a_row_that_left_sql_is_not_current(engine: Engine, redis_url: str) -> None:
    """A holding that was closed while the mirror was not told does not stay on the screen."""
    with desk(engine, redis_url) as d:
        steady(d)
        row = exposure(1, "900", "873.00")
        d.decide(row)
        until(lambda: d.reader.exposure(row.key()).kind == "row")
        d.commit(exposure(2, "0", "0"))
        d.mirror.refresh(engine, WORKER, d.epoch)
        until(lambda: d.reader.exposure(row.key()).kind == "absent")
        assert d.reader.exposure(row.key()).why == "the row is not current any more"
        assert row.ts == at(1)


def test_a_snapshot_of_postgres_is_the_same(engine: Engine, postgres_url: str) -> None:
    """Rows, places and fences do not depend on the database."""
    migrate.upgrade(postgres_url)
    opened = open_engine(postgres_url)
    found = []
    for where in (engine, opened):
        epoch = take_lease(where, "w", "test").epoch
        for batch in batches(epoch):
            commit(where, batch)
        found.append(current(where, "w", epoch))
        with pytest.raises(FencedError, match="epoch 7 is over"):
            current(where, "w", 7)
    opened.dispose()
    assert found[0].seq == found[1].seq > 0
    by_key = [sorted(x.records, key=lambda r: (r.topic, r.key)) for x in found]
    assert by_key[0] == by_key[1]
    assert len({(r.topic, r.key) for r in by_key[0]}) == len(by_key[0]) > 5
