"""Failures of Redis: readers never trust wrong rows, and the mirror recovers from each."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest
import redis
import structlog

from riskwatch.core.enums import State
from tests.support.mirror import COIN, WORKER, desk, heartbeat, record, steady, switch, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

    from tests.support.redis import Server

HALT, WATCH, NORMAL = State.HALT, State.WATCH, State.NORMAL


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    """Log lines of the test."""
    with structlog.testing.capture_logs() as lines:
        yield lines


def place(seen: Any) -> tuple[Any, ...]:
    """Row's state and where it stands."""
    return seen.kind, seen.effective, seen.epoch, seen.seq


def events(logged: list[Any]) -> list[str]:
    """Names of the lines about the condition of Redis."""
    return [x["event"] for x in logged if x["event"] in {"mirror.up", "mirror.down"}]


def test_redis_that_is_killed_is_filled_again(
    mirror_db: Engine, redis_own: Server, logged: list[Any]
) -> None:
    """Empty when it is back, with what was decided meanwhile; a log line per change, no more."""
    with desk(mirror_db, redis_own.url) as d:
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


def test_rows_that_were_lost_are_not_normal(
    mirror_db: Engine, redis_url: str, redis_plain: Any
) -> None:
    """A flushed or evicted HALT reads as HALT, and the next heartbeat brings it back."""
    with desk(mirror_db, redis_url) as d:
        d.decide(switch("firm", WATCH))
        steady(d)
        redis_plain.delete(f"riskwatch:killswitch:{COIN}")
        seen = d.reader.killswitch(COIN)
        assert (seen.kind, seen.effective) == ("absent", HALT)
        assert d.reader.killswitch_all().reading(COIN).effective is HALT
        redis_plain.delete("riskwatch:scopes")
        assert d.reader.killswitch_all().why == "the list of scopes was lost"
        d.beat()
        until(lambda: d.reader.killswitch(COIN).kind == "row")
        until(lambda: d.reader.killswitch_all().known)
        redis_plain.flushdb()
        assert d.reader.killswitch("firm").effective is HALT
        d.beat()
        until(lambda: len(d.reader.killswitch_all().scopes) == 2)


def test_a_full_queue_is_made_good_from_sql(mirror_db: Engine, redis_own: Server) -> None:
    """The oldest are dropped, nothing waits, and nothing is missing in the end."""
    with desk(mirror_db, redis_own.url, queue=10) as d:
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


def test_what_a_slow_redis_made_wait_too_long_is_made_good(
    mirror_db: Engine, redis_url: str, redis_plain: Any
) -> None:
    """Although no write failed: records were dropped, and that is remembered."""
    with desk(mirror_db, redis_url, queue=3) as d:
        steady(d)
        redis_plain.execute_command("CLIENT", "PAUSE", "400", "ALL")
        for n in range(1, 20):
            d.decide(switch(f"asset:{n}", WATCH, n))
        until(lambda: len(d.reader.killswitch_all().scopes) == 20)


def test_a_full_redis_is_not_half_believed(
    mirror_db: Engine, redis_own: Server, logged: list[Any]
) -> None:
    """What does not fit in is unknown; when there is room again, everything is there."""
    client = redis.Redis.from_url(redis_own.url)
    with desk(mirror_db, redis_own.url) as d:
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
    mirror_db: Engine, redis_url: str, redis_plain: Any, garbage: Any
) -> None:
    """It is never an exception, never normal, and what is right replaces it."""
    key = f"riskwatch:killswitch:{COIN}"

    def plant() -> None:
        redis_plain.delete(key)
        if isinstance(garbage, bytes):
            redis_plain.set(key, garbage)
        else:
            redis_plain.hset(key, mapping=garbage)

    with desk(mirror_db, redis_url) as d:
        d.beat()
        until(lambda: d.reader.killswitch("firm").kind == "normal")
        plant()
        assert d.reader.killswitch(COIN).effective is HALT
        d.decide(switch(COIN, WATCH))
        until(lambda: d.reader.killswitch(COIN).effective is WATCH)
        plant()
        redis_plain.delete("riskwatch:scopes")
        redis_plain.set("riskwatch:scopes", "text")
        assert d.reader.killswitch_all().reading(COIN).effective is HALT
        d.mirror.refresh(mirror_db, WORKER, d.epoch)
        until(lambda: d.reader.killswitch_all().reading(COIN).effective is WATCH)


@pytest.mark.parametrize(
    "garbage",
    [{"value": b"{", "table": b"{}"}, {"value": heartbeat(1, 1)}, {"worker": "risk"}, b"text"],
)
def test_garbage_for_a_heartbeat_is_no_heartbeat(
    mirror_db: Engine, redis_url: str, redis_plain: Any, garbage: Any
) -> None:
    """Nothing is known until a real one replaces it."""
    if isinstance(garbage, bytes):
        redis_plain.set("riskwatch:heartbeat", garbage)
    else:
        redis_plain.hset("riskwatch:heartbeat", mapping=garbage)
    with desk(mirror_db, redis_url) as d:
        assert d.reader.killswitch("firm").why == "the heartbeat cannot be read"
        d.beat()
        until(lambda: d.reader.killswitch("firm").kind == "normal")
