"""The Redis mirror: what is current, for readers that want it without asking SQL or Kafka.

It is written after the commit and is never a source. All writing is done by a thread of its
own, behind a bounded queue, so that a Redis that is slow, full or gone delays no commit and
changes no decision. What could not be written is made good by writing everything that is
current, from SQL; until then no heartbeat is written, and readers see that nothing is known.
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


# How the mirror is written: one script, which never lets a row go backwards.

SETTING: Final = ("environment", "RISKWATCH_REDIS")
"""Where a worker has the address of Redis from."""
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
        In Redis.
    value : bytes
        The record.
    worker, epoch, seq : str, int, int
        Its place in the order of truth.
    extra : str
        Name to put into the set `index`, or without one, the field ``table``.
    index : str
        Key of a set, empty for none.
    """

    key: str
    value: bytes
    worker: str
    epoch: int
    seq: int
    extra: str | bytes = ""
    index: str = ""


class MirrorConnection:
    """A connection to Redis that answers soon or fails.

    Parameters
    ----------
    url : str
        ``redis://host:port/database``, or ``rediss://`` or ``unix://``.

    Raises
    ------
    ConfigError
        If `url` is none.
    """

    def __init__(self, url: str) -> None:
        self._redis = connect_redis(url, *SETTING)
        self._put = self._redis.register_script(_PUT)

    def ping(self) -> None:
        """Ask for any answer.

        Raises
        ------
        redis.RedisError
            As every method, if Redis does not answer, or refuses.
        """
        self._redis.ping()

    def put(self, entries: Iterable[MirrorEntry], ttl_s: float) -> int:
        """Write rows whose place is not before what is there; returns how many were."""
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
        """How many of `keys` exist."""
        pipe = self._redis.pipeline(transaction=False)
        for at in range(0, len(keys), _CHUNK):
            pipe.exists(*keys[at : at + _CHUNK])
        return sum(_answers(pipe))

    def close(self) -> None:
        """Let go of the connection."""
        self._redis.close()


def _answers(pipe: Any) -> list[int]:
    return [int(answer) for answer in pipe.execute(raise_on_error=True)]


TTL_S: Final = 300.0
"""Seconds that a row stays without being written again."""
MAX_QUEUED: Final = 20_000
"""Most records that wait to be written."""
_FIRST_S: Final = 0.2
_LONGEST_S: Final = 5.0
_CLOSE_S: Final = 3.0
_SWITCH: Final = "killswitch"

log = structlog.get_logger("riskwatch.mirror")


class MirrorLostError(RiskwatchError):
    """Rows that were written are not there any more."""


class Mirror:
    """Writes what is current to Redis. No method waits for Redis, and none raises.

    Parameters
    ----------
    url : str
        Of Redis.
    metrics : Metrics
        Told whether it is up, and of each try that failed.
    prefix : str
        Put before every key, so that several deployments can share a Redis.
    ttl_s : float
        Seconds that rows stay; everything is written again after a third of it.
    clock : callable
        Microseconds since 1970, in which heartbeats say how long they are valid.
    queue : int
        Most records that wait; when there are more, the oldest are dropped and made good from
        SQL.

    Raises
    ------
    ConfigError
        If `url` is none.
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
        self._wire = MirrorConnection(url)
        self._metrics = metrics
        self._prefix = prefix
        self._ttl_s = ttl_s
        self._clock = clock
        self._limit = queue
        # Shared with the thread, under the lock of the condition.
        self._changed = Condition()
        self._queue: deque[tuple[str, int, tuple[OutboxRecord, ...]]] = deque()
        self._queued = 0
        self._beat: tuple[bytes, float] | None = None
        self._beat_is_new = False
        self._source: Source | None = None
        self._stale = True
        self._closing = False
        # The thread's own.
        self._up: bool | None = None
        self._delay_s = _FIRST_S
        self._not_before = 0.0
        self._filled_at: float | None = None
        self._filled_seq = 0
        self._scopes: set[str] = set()
        self._thread = Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    def write(self, worker: str, epoch: int, records: Sequence[OutboxRecord]) -> None:
        """Have records written that are committed; those of other topics are left out."""
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
        """Have everything written that is current in SQL, now and whenever it is needed.

        To be called when a lease was taken. From then on the mirror fills itself: after a
        failure, and in time before rows would expire.
        """
        with self._changed:
            self._source = (engine, worker, epoch)
            self._stale = True
            self._changed.notify()

    def heartbeat(self, value: bytes, ttl_s: float) -> None:
        """Have a heartbeat written, once everything is there that it vouches for.

        Parameters
        ----------
        value : bytes
            The record of ``riskwatch.heartbeat``.
        ttl_s : float
            Seconds from now that it may be relied on; never longer than its `valid_until`.
        """
        with self._changed:
            self._beat = (value, time.monotonic() + ttl_s)
            self._beat_is_new = True
            self._changed.notify()

    def close(self) -> None:
        """Write what still waits, if Redis is there, and stop."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(_CLOSE_S)
        self._wire.close()

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
        """Wait until there is something to do and it may be tried; false at the end."""
        with self._changed:
            while True:
                now = time.monotonic()
                wanted = bool(self._stale or self._queue or self._beat_is_new)
                at = now if wanted else self._renewal()
                at = max(at, self._not_before)
                if self._closing:
                    return wanted and at <= now
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
            # What waits is committed, so whoever fills from SQL finds it there.
            batches = [] if fill and source else list(self._queue)
            self._queue.clear()
            self._queued = 0
            self._stale = False
            beat, vouch = self._beat, self._beat_is_new
            self._beat_is_new = False
        known = len(self._scopes)
        try:
            if fill and source:
                self._fill(source)
            elif fill:
                self._wire.ping()
            for worker, epoch, records in batches:
                self._wire.put(self._entries(worker, epoch, records), self._ttl_s)
            # Also without a new one: it may have been lost with the rows, and must name each scope.
            if beat and (vouch or fill or len(self._scopes) > known):
                self._vouch(*beat)
        except BaseException:
            with self._changed:
                self._stale = True
            raise

    def _fill(self, source: Source) -> None:
        engine, worker, epoch = source
        started = time.monotonic()
        found = read_current_state(engine, worker, epoch)
        self._wire.put(self._entries(worker, epoch, found.records), self._ttl_s)
        switches = (r.key for r in found.records if layout.KINDS[r.topic] == _SWITCH)
        self._scopes = set(switches)
        self._filled_seq = found.seq
        self._filled_at = started
        log.debug("mirror.filled", rows=len(found.records), seq=found.seq)

    def _entries(
        self, worker: str, epoch: int, records: Iterable[OutboxRecord]
    ) -> Iterable[MirrorEntry]:
        """Rows to write: of each key the last, for the ones before it would be replaced."""
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

    def _vouch(self, value: bytes, until: float) -> None:
        beat = layout.decode_field(value, layout.MirrorHeartbeat)
        if beat is None:
            log.error("mirror.heartbeat_refused", value=value[:200])
            return
        now = time.monotonic()
        # Rows must outlive what vouches for them.
        rows_s = 0.0 if self._filled_at is None else self._filled_at + self._ttl_s - now
        valid_s = (micros(beat.valid_until) - self._clock()) / SECOND
        ttl_s = min(until - now, valid_s, rows_s)
        if ttl_s <= 0:
            return
        scopes = sorted(self._scopes)
        keys = [layout.row_key(self._prefix, _SWITCH, scope) for scope in scopes]
        keys += [layout.scopes_key(self._prefix)] if scopes else []
        there = self._wire.present(keys)
        if there < len(keys):
            raise MirrorLostError(f"{len(keys) - there} of {len(keys)} keys are gone from Redis")
        table = encode(layout.MirrorTable(self._filled_seq, scopes))
        key = layout.heartbeat_key(self._prefix)
        self._wire.put([MirrorEntry(key, value, beat.worker, beat.epoch, beat.seq, table)], ttl_s)

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
    """What went wrong, without the command that redis-py puts before it."""
    said = " ".join(str(error).split()).rpartition("caused error: ")[2]
    return f"{type(error).__name__}: {said}"
