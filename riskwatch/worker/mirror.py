"""The Redis mirror: it holds the current rows for readers that use neither SQL nor Kafka.

The mirror is written after the commit and is never a source. A thread of its own writes it from a
bounded queue, so that a slow, full or absent Redis delays no commit and changes no decision. After
a failed write, the mirror writes all current rows from SQL. Until then it writes no heartbeat, and
readers know that the mirror is not valid.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any, Final

import structlog
from msgspec.json import encode
from redis import RedisError

from riskwatch.contracts import mirror as layout
from riskwatch.contracts.mirror import EPOCH, SEQ, TABLE, VALUE, WORKER, connect_redis
from riskwatch.core.clock import SECOND, micros
from riskwatch.engine.clock import wall_us
from riskwatch.errors import RiskwatchError
from riskwatch.store.current_state import read_current_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy.engine import Engine

    from riskwatch.store.batch import OutboxRecord
    from riskwatch.worker.metrics import Metrics

    Source = tuple[Engine, str, int]


# One Lua script writes each row. It never replaces a row by an older one.

SETTING: Final = ("environment", "RISKWATCH_REDIS")
"""Source and name of the setting with the address of Redis."""
_CHUNK: Final = 256
_PUT: Final = f"""
local function ours(key)
  -- What has no time to live, or no sane place, was not written here.
  if redis.call('TYPE', key).ok ~= 'hash' or redis.call('PTTL', key) < 0 then return nil end
  local had = redis.call('HMGET', key, '{WORKER}', '{EPOCH}', '{SEQ}')
  for n = 2, 3 do
    if not had[n] or not string.match(had[n], '^%d+$') or #had[n] > 15 then return nil end
  end
  return had[1], tonumber(had[2]), tonumber(had[3])
end
local worker, epoch, seq = ours(KEYS[1])
if worker == ARGV[2] and (epoch > tonumber(ARGV[3]) or seq > tonumber(ARGV[4])) then return 0 end
-- A needless DEL would count as the first write, and only that one is refused by a full server.
if not worker and redis.call('EXISTS', KEYS[1]) == 1 then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], '{VALUE}', ARGV[1], '{WORKER}', ARGV[2], '{EPOCH}', ARGV[3],
           '{SEQ}', ARGV[4])
if KEYS[2] then
  local kind = redis.call('TYPE', KEYS[2]).ok
  if kind ~= 'set' and kind ~= 'none' then redis.call('DEL', KEYS[2]) end
  redis.call('SADD', KEYS[2], ARGV[6])
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
elseif ARGV[6] ~= '' then
  redis.call('HSET', KEYS[1], '{TABLE}', ARGV[6])
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
"""


@dataclass(frozen=True, slots=True)
class MirrorEntry:
    """One row to write.

    Attributes
    ----------
    key : str
        Key in Redis.
    value : bytes
        The record.
    worker, epoch, seq : str, int, int
        Its position in the order of commits.
    extra : str
        Name to add to the set `index`; without a set, the value of the field ``table``.
    index : str
        Key of a set; empty for none.
    """

    key: str
    value: bytes
    worker: str
    epoch: int
    seq: int
    extra: str | bytes = ""
    index: str = ""


class MirrorConnection:
    """A connection to Redis with short timeouts.

    Parameters
    ----------
    url : str
        ``redis://host:port/database``, or ``rediss://`` or ``unix://``.

    Raises
    ------
    ConfigError
        If `url` is not valid.
    """

    def __init__(self, url: str) -> None:
        self._redis = connect_redis(url, *SETTING)
        self._put = self._redis.register_script(_PUT)

    def ping(self) -> None:
        """Check that Redis answers.

        Raises
        ------
        redis.RedisError
            If Redis does not answer, or refuses; so does every method.
        """
        self._redis.ping()

    def put(self, entries: Iterable[MirrorEntry], ttl_s: float) -> int:
        """Write rows that are not older than the stored ones, and return how many were written."""
        waiting = list(entries)
        done = 0
        for at in range(0, len(waiting), _CHUNK):
            pipe = self._redis.pipeline(transaction=False)
            for e in waiting[at : at + _CHUNK]:
                keys = [e.key, e.index] if e.index else [e.key]
                args: list[bytes | str | int] = [
                    e.value,
                    e.worker,
                    e.epoch,
                    e.seq,
                    max(1, int(ttl_s * 1000)),
                    e.extra,
                ]
                self._put(keys=keys, args=args, client=pipe)
            done += sum(_answers(pipe))
        return done

    def present(self, keys: Sequence[str]) -> int:
        """Return how many of `keys` exist."""
        pipe = self._redis.pipeline(transaction=False)
        for at in range(0, len(keys), _CHUNK):
            pipe.exists(*keys[at : at + _CHUNK])
        return sum(_answers(pipe))

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()


def _answers(pipe: Any) -> list[int]:
    return [int(answer) for answer in pipe.execute(raise_on_error=True)]


TTL_S: Final = 300.0
"""Time to live of a row that is not written again, seconds."""
MAX_QUEUED: Final = 20_000
"""Most records in the queue."""
_FIRST_S: Final = 0.2
_LONGEST_S: Final = 5.0
_CLOSE_S: Final = 3.0
_SWITCH: Final = "killswitch"

log = structlog.get_logger("riskwatch.mirror")


class MirrorLostError(RiskwatchError):
    """Rows that were written are missing in Redis."""


class Mirror:
    """Writes the current rows to Redis. No method waits for Redis, and none raises.

    Parameters
    ----------
    url : str
        URL of Redis.
    metrics : Metrics
        Metrics of the process; the mirror sets whether Redis is up, and counts retries.
    prefix : str
        Prefix of every key, so that several deployments can share a Redis.
    ttl_s : float
        Time to live of rows, seconds. All rows are written again after a third of it.
    clock : callable
        The time, microseconds since 1970; heartbeats end by this clock.
    queue : int
        Most records in the queue. Of more, the oldest are dropped and written again from SQL.

    Raises
    ------
    ConfigError
        If `url` is not valid.
    """

    def __init__(
        self,
        url: str,
        metrics: Metrics,
        *,
        prefix: str = "",
        ttl_s: float = TTL_S,
        clock: Callable[[], int] = wall_us,
        queue: int = MAX_QUEUED,
    ) -> None:
        self._connection = MirrorConnection(url)
        self._metrics = metrics
        self._prefix = prefix
        self._ttl_s = ttl_s
        self._clock = clock
        self._limit = queue
        # The thread shares these, under the lock of the condition.
        self._changed = Condition()
        self._queue: deque[tuple[str, int, tuple[OutboxRecord, ...]]] = deque()
        self._queued = 0
        self._heartbeat: tuple[bytes, float] | None = None
        self._heartbeat_is_new = False
        self._source: Source | None = None
        self._stale = True
        self._closing = False
        # Only the thread uses these.
        self._up: bool | None = None
        self._delay_s = _FIRST_S
        self._not_before = 0.0
        self._filled_at: float | None = None
        self._filled_seq = 0
        self._scopes: set[str] = set()
        self._thread = Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    def write(self, worker: str, epoch: int, records: Sequence[OutboxRecord]) -> None:
        """Queue committed records. Records of topics that the mirror does not hold are ignored."""
        batch = tuple(records)
        with self._changed:
            while self._queue and self._queued + len(batch) > self._limit:
                self._queued -= len(self._queue.popleft()[2])
                self._stale = True
            if len(batch) > self._limit:
                self._stale = True
            else:
                self._queue.append((worker, epoch, batch))
                self._queued += len(batch)
            self._changed.notify()

    def refresh(self, engine: Engine, worker: str, epoch: int) -> None:
        """Write all current rows of SQL, now and whenever it is necessary.

        Call it after the lease was taken. From then on the mirror fills itself after a failure,
        and before rows expire.
        """
        with self._changed:
            self._source = (engine, worker, epoch)
            self._stale = True
            self._changed.notify()

    def heartbeat(self, value: bytes, ttl_s: float) -> None:
        """Queue a heartbeat. It is written once every row that it covers is in Redis.

        Parameters
        ----------
        value : bytes
            The record of ``riskwatch.heartbeat``.
        ttl_s : float
            Validity from now on, seconds; never longer than its `valid_until`.
        """
        with self._changed:
            self._heartbeat = (value, time.monotonic() + ttl_s)
            self._heartbeat_is_new = True
            self._changed.notify()

    def close(self) -> None:
        """Write the queued records, if Redis answers, and stop."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(_CLOSE_S)
        self._connection.close()

    def _run(self) -> None:
        while self._due():
            try:
                self._work()
            except (RedisError, OSError, RiskwatchError) as error:
                self._failed(error)
            except Exception as error:  # a bug here must not end the mirror for good
                log.exception("mirror.bug")
                self._failed(error)
            else:
                self._condition(up=True)
                self._delay_s = _FIRST_S

    def _due(self) -> bool:
        """Wait until there is work and the pause after a failure is over; false at the end."""
        with self._changed:
            while True:
                now = time.monotonic()
                has_work = bool(self._stale or self._queue or self._heartbeat_is_new)
                at = now if has_work else self._renewal()
                at = max(at, self._not_before)
                if self._closing:
                    return has_work and at <= now
                if at <= now:
                    return True
                self._changed.wait(min(at - now, self._ttl_s))

    def _renewal(self) -> float:
        filled = self._filled_at
        return time.monotonic() + self._ttl_s if filled is None else filled + self._ttl_s / 3

    def _work(self) -> None:
        with self._changed:
            source = self._source
            fill = self._stale or self._renewal() <= time.monotonic()
            # The queued records are committed, so a fill from SQL includes them.
            batches = [] if fill and source else list(self._queue)
            self._queue.clear()
            self._queued = 0
            self._stale = False
            heartbeat, is_new = self._heartbeat, self._heartbeat_is_new
            self._heartbeat_is_new = False
        known = len(self._scopes)
        try:
            if fill and source:
                self._fill(source)
            elif fill:
                self._connection.ping()
            for worker, epoch, records in batches:
                self._connection.put(self._entries(worker, epoch, records), self._ttl_s)
            # Write the old one again, too: it may be lost with the rows, and must name each scope.
            if heartbeat and (is_new or fill or len(self._scopes) > known):
                self._write_heartbeat(*heartbeat)
        except BaseException:
            with self._changed:
                self._stale = True
            raise

    def _fill(self, source: Source) -> None:
        engine, worker, epoch = source
        started = time.monotonic()
        found = read_current_state(engine, worker, epoch)
        self._connection.put(self._entries(worker, epoch, found.records), self._ttl_s)
        switches = (r.key for r in found.records if layout.KINDS[r.topic] == _SWITCH)
        self._scopes = set(switches)
        self._filled_seq = found.seq
        self._filled_at = started
        log.debug("mirror.filled", rows=len(found.records), seq=found.seq)

    def _entries(
        self, worker: str, epoch: int, records: Iterable[OutboxRecord]
    ) -> Iterable[MirrorEntry]:
        """Return the rows to write: the last record of each key, which replaces earlier ones."""
        last: dict[str, MirrorEntry] = {}
        for r in records:
            kind = layout.KINDS.get(r.topic)
            if kind is None:
                continue
            key = layout.row_key(self._prefix, kind, r.key)
            if key in last and last[key].seq > r.seq:
                continue
            index, extra = "", ""
            if kind == _SWITCH:
                index, extra = layout.scopes_key(self._prefix), r.key
                self._scopes.add(r.key)
            last[key] = MirrorEntry(key, r.value, worker, epoch, r.seq, extra, index)
        return last.values()

    def _write_heartbeat(self, value: bytes, until: float) -> None:
        heartbeat = layout.decode_field(value, layout.MirrorHeartbeat)
        if heartbeat is None:
            log.error("mirror.heartbeat_refused", value=value[:200])
            return
        now = time.monotonic()
        # Rows must live longer than the heartbeat that covers them.
        rows_s = 0.0 if self._filled_at is None else self._filled_at + self._ttl_s - now
        valid_s = (micros(heartbeat.valid_until) - self._clock()) / SECOND
        ttl_s = min(until - now, valid_s, rows_s)
        if ttl_s <= 0:
            return
        scopes = sorted(self._scopes)
        keys = [layout.row_key(self._prefix, _SWITCH, scope) for scope in scopes]
        keys += [layout.scopes_key(self._prefix)] if scopes else []
        there = self._connection.present(keys)
        if there < len(keys):
            raise MirrorLostError(f"{len(keys) - there} of {len(keys)} keys are gone from Redis")
        table = encode(layout.MirrorTable(self._filled_seq, scopes))
        key = layout.heartbeat_key(self._prefix)
        place = (heartbeat.worker, heartbeat.epoch, heartbeat.seq)
        self._connection.put([MirrorEntry(key, value, *place, table)], ttl_s)

    def _failed(self, error: Exception) -> None:
        self._metrics.retried("mirror")
        self._condition(up=False, why=_why(error))
        self._not_before = time.monotonic() + self._delay_s
        self._delay_s = min(2 * self._delay_s, _LONGEST_S)

    def _condition(self, *, up: bool, why: str = "") -> None:
        self._metrics.up("mirror", ok=up)
        if up is self._up:
            return
        self._up = up
        if up:
            log.info("mirror.up")
        else:
            log.warning("mirror.down", why=why[:300])


def _why(error: Exception) -> str:
    """Return the error text, without the command that redis-py puts before it."""
    text = " ".join(str(error).split()).rpartition("caused error: ")[2]
    return f"{type(error).__name__}: {text}"
