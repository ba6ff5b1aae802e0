"""How the mirror is written: one script, which never lets a row go backwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from riskwatch.contracts.mirror import EPOCH, SEQ, TABLE, VALUE, WORKER, connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
class Entry:
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


class Wire:
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
        self._redis = connect(url, *SETTING)
        self._put = self._redis.register_script(_PUT)

    def ping(self) -> None:
        """Ask for any answer.

        Raises
        ------
        redis.RedisError
            As every method, if Redis does not answer, or refuses.
        """
        self._redis.ping()

    def put(self, entries: Iterable[Entry], ttl_s: float) -> int:
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
