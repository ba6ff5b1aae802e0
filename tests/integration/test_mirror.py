"""The mirror on a real Redis: it is never wrong, never goes back, and recovers by itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from riskwatch.client.mirror import MirrorReader
from riskwatch.contracts import mirror as layout
from riskwatch.core.enums import State
from riskwatch.errors import FencedError
from riskwatch.store import migrate
from riskwatch.store.current_state import read_current_state
from riskwatch.store.engine import open_engine
from riskwatch.store.transaction import commit, take_lease
from tests.support.batches import at, batches, exposure, others
from tests.support.mirror import COIN, WORKER, Desk, desk, heartbeat, record, steady, switch, until

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from riskwatch.core.outputs import Output

HALT, WATCH, NORMAL = State.HALT, State.WATCH, State.NORMAL


def place(seen: Any) -> tuple[Any, ...]:
    """Row's state and where it stands."""
    return seen.kind, seen.effective, seen.epoch, seen.seq


def refuses(reader: MirrorReader, why: str) -> bool:
    """Whether a reader knows nothing for this reason."""
    return reader.killswitch(COIN).why == why


def ask(d: Desk, output: Output) -> Any:
    """What the mirror says of an output's row."""
    ask = d.reader.score if output.topic == "riskwatch.scores" else d.reader.exposure
    return ask(output.key())


def test_absent_normal_and_a_row_are_told_apart(mirror_db: Engine, redis_url: str) -> None:
    """Without a heartbeat nothing is known; with one, a scope without a row is normal."""
    with desk(mirror_db, redis_url, "uat.") as d:
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
        assert table.reading("firm").effective is NORMAL


def test_a_mirror_of_another_deployment_is_not_read(mirror_db: Engine, redis_url: str) -> None:
    """A reader that names its deployment knows nothing there, and the reason names both."""
    with desk(mirror_db, redis_url, "uat.") as d:
        steady(d)
        for named in ("staging", ""):
            beat = {**msgspec.json.decode(heartbeat(d.epoch, d.seq)), "deployment": named}
            d.mirror.heartbeat(msgspec.json.encode(beat), 60.0)
            reader = MirrorReader(redis_url, "uat.", deployment="prod")
            why = f"the heartbeat is of {f'deployment {named}' if named else 'no deployment'}"
            until(partial(refuses, reader, f"{why}, not of prod"))
            assert reader.killswitch(COIN).effective is HALT
            assert not reader.killswitch_all().known
            reader.close()
        assert d.reader.killswitch(COIN).kind == "row"


def test_every_key_goes_away_by_itself(mirror_db: Engine, redis_url: str, redis_plain: Any) -> None:
    """A mirror whose writer is gone must not be believed for ever."""
    with desk(mirror_db, redis_url) as d:
        steady(d)
        d.decide(exposure(1, "900", "873.00"), *others(1))
        until(lambda: len(redis_plain.keys()) == 9)
        assert {int(redis_plain.ttl(key)) > 0 for key in redis_plain.keys()} == {True}  # noqa: SIM118
        assert int(redis_plain.pttl("riskwatch:heartbeat")) <= 60_000


def test_what_was_written_is_what_is_read(mirror_db: Engine, redis_url: str) -> None:
    """Rows of all mirrored topics, as they are on their topics."""
    with desk(mirror_db, redis_url) as d:
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
    mirror_db: Engine, redis_url: str, redis_plain: Any
) -> None:
    """A switch byte for byte; other rows but for the cause, which their tables do not keep."""
    with desk(mirror_db, redis_url) as d:
        wanted = [o for o in others(1) if o.topic in layout.KINDS]
        d.commit(switch(COIN, HALT), exposure(1, "900", "873.00"), *wanted)
        d.mirror.refresh(mirror_db, WORKER, d.epoch)
        d.beat()
        until(lambda: d.reader.killswitch(COIN).kind == "row")
        told = {record(0, o).value for o in (switch(COIN, HALT),)}
        assert {redis_plain.hget(f"riskwatch:killswitch:{COIN}", "value")} == told
        for output in wanted:
            assert ask(d, output).value == msgspec.structs.replace(output, cause_id="")


def test_a_row_never_goes_back(mirror_db: Engine, redis_url: str) -> None:
    """Neither to an earlier place, nor to an older epoch; the same place may come again."""
    with desk(mirror_db, redis_url) as d:
        steady(d)
        d.lead()
        d.decide(switch(COIN, WATCH, 1), switch("firm", WATCH, 1))
        until(lambda: d.reader.killswitch("firm").kind == "row")
        d.mirror.write(WORKER, d.epoch, [record(1, switch(COIN, HALT))])  # sent again
        of_one_batch = [record(3, switch("book:x", WATCH, 1)), record(2, switch("book:x", HALT))]
        d.mirror.write(WORKER, d.epoch, of_one_batch)
        until(lambda: d.reader.killswitch("book:x").kind == "row")
        assert d.reader.killswitch("book:x").effective is WATCH
        d.mirror.write(WORKER, d.epoch - 1, [record(99, switch(COIN, HALT, 9))])  # woke up
        d.mirror.heartbeat(heartbeat(d.epoch - 1, 99), 60.0)
        d.decide(switch("firm", NORMAL, 2))
        until(lambda: d.reader.killswitch("firm").effective is NORMAL)
        seen = d.reader.killswitch(COIN)
        assert (seen.effective, seen.epoch, seen.seq in {2, 3, 4}) == (WATCH, 2, True)


def test_an_old_leader_writes_nothing_and_vouches_for_nothing(
    mirror_db: Engine, redis_url: str, redis_plain: Any
) -> None:
    """Even where Redis is empty, so that nothing there could refuse it."""
    with desk(mirror_db, redis_url) as d:
        steady(d)
        take_lease(mirror_db, WORKER, "another")
        redis_plain.flushdb()
        d.mirror.refresh(mirror_db, WORKER, d.epoch)
        d.beat()
        until(lambda: (d.value("riskwatch_retries_total") or 0) >= 2)
        assert redis_plain.keys() == []


def test_a_heartbeat_expires_into_absent(mirror_db: Engine, redis_url: str) -> None:
    """After what it says itself, however long the key would have stayed."""
    with desk(mirror_db, redis_url) as d:
        steady(d)
        assert d.reader.killswitch("firm").kind == "normal"
        d.beat(valid_s=0.3)
        until(lambda: d.reader.killswitch(COIN).kind == "absent")
        assert d.reader.killswitch("firm").effective is HALT


def is_seen(reader: MirrorReader, kind: str) -> bool:
    """Whether the firm reads so."""
    return reader.killswitch("firm").kind == kind


def test_a_heartbeat_without_ticks_is_absent(mirror_db: Engine, redis_url: str) -> None:
    """A worker that decides nothing confirms nothing; one whose ticks pass does."""
    with desk(mirror_db, redis_url) as d:
        steady(d)
        for ticked_s, kind in ((7_200.0, "absent"), (1.0, "normal"), (-7_200.0, "absent")):
            d.mirror.heartbeat(heartbeat(d.epoch, d.seq, ticked_s=ticked_s), 60.0)
            until(partial(is_seen, d.reader, kind))
        assert "decides nothing" in d.reader.killswitch("firm").why


def test_an_old_heartbeat_is_not_made_to_look_fresh(
    mirror_db: Engine, redis_url: str, redis_plain: Any
) -> None:
    """A worker that was paused and woke up sends what is not valid any more, or not for long."""
    with desk(mirror_db, redis_url) as d:
        d.beat(valid_s=-1)
        d.decide(switch(COIN, WATCH))
        until(lambda: redis_plain.exists(f"riskwatch:killswitch:{COIN}"))
        d.decide(switch("firm", WATCH))
        until(lambda: redis_plain.exists("riskwatch:killswitch:firm"))
        assert d.reader.killswitch(COIN).why == "there is no heartbeat"
        d.beat(valid_s=20)
        until(lambda: d.reader.killswitch(COIN).kind == "row")
        assert 0 < redis_plain.pttl("riskwatch:heartbeat") <= 20_000


def test_rows_outlive_what_vouches_for_them(
    mirror_db: Engine, redis_url: str, redis_plain: Any
) -> None:
    """A row that expired first would read as normal, or keep everybody from trading."""
    with desk(mirror_db, redis_url, ttl_s=9.0) as d:
        steady(d)
        assert 0 < redis_plain.pttl("riskwatch:heartbeat") <= 9_000


def test_a_heartbeat_names_scopes_that_are_newer(
    mirror_db: Engine, redis_url: str, redis_plain: Any
) -> None:
    """A new HALT that is lost before the next heartbeat must not read as normal."""
    with desk(mirror_db, redis_url) as d:
        steady(d)
        d.decide(switch("firm", HALT))
        until(lambda: b"firm" in redis_plain.hget("riskwatch:heartbeat", "table"))
        redis_plain.delete("riskwatch:killswitch:firm")
        assert d.reader.killswitch("firm").effective is HALT


def test_a_reader_does_not_trust_the_time_to_live_alone(
    mirror_db: Engine, redis_url: str, redis_plain: Any
) -> None:
    """Somebody may have made the key stay."""
    with desk(mirror_db, redis_url) as d:
        steady(d)
        redis_plain.hset("riskwatch:heartbeat", "value", heartbeat(1, 1, valid_s=-5))
        redis_plain.persist("riskwatch:heartbeat")
        assert "was valid until" in d.reader.killswitch("firm").why


def test_rows_are_renewed_before_they_expire(mirror_db: Engine, redis_url: str) -> None:
    """A row that nobody changes stays as long as its writer lives."""
    with desk(mirror_db, redis_url, ttl_s=0.9) as d:
        steady(d)
        first = d.mirror._filled_at
        until(lambda: (d.mirror._filled_at or 0) > (first or 0) + 1.0)
        assert d.reader.killswitch(COIN).kind == "row"


def test_a_row_that_left_sql_is_not_current(mirror_db: Engine, redis_url: str) -> None:
    """A holding that was closed while the mirror was not told does not stay on the screen."""
    with desk(mirror_db, redis_url) as d:
        steady(d)
        row = exposure(1, "900", "873.00")
        d.decide(row)
        until(lambda: d.reader.exposure(row.key()).kind == "row")
        d.commit(exposure(2, "0", "0"))
        d.mirror.refresh(mirror_db, WORKER, d.epoch)
        until(lambda: d.reader.exposure(row.key()).kind == "absent")
        assert d.reader.exposure(row.key()).why == "the row is not current any more"
        assert row.ts == at(1)


def test_a_snapshot_of_postgres_is_the_same(mirror_db: Engine, postgres_url: str) -> None:
    """Rows, places and fences do not depend on the database."""
    migrate.upgrade(postgres_url)
    opened = open_engine(postgres_url)
    found = []
    for where in (mirror_db, opened):
        epoch = take_lease(where, "w", "test").epoch
        for batch in batches(epoch):
            commit(where, batch)
        found.append(read_current_state(where, "w", epoch))
        with pytest.raises(FencedError, match="epoch 7 is over"):
            read_current_state(where, "w", 7)
    opened.dispose()
    assert found[0].seq == found[1].seq > 0
    by_key = [sorted(x.records, key=lambda r: (r.topic, r.key)) for x in found]
    assert by_key[0] == by_key[1]
    assert len({(r.topic, r.key) for r in by_key[0]}) == len(by_key[0]) > 5
