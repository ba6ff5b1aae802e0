"""Reader of the Redis mirror. A value that no heartbeat verifies is reported as absent."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

import redis

from riskwatch.client.fork import INHERITED
from riskwatch.contracts import mirror as layout
from riskwatch.contracts.heartbeat import LAG_S, tick_fault
from riskwatch.contracts.outputs import decode_output
from riskwatch.core.clock import micros
from riskwatch.core.enums import State
from riskwatch.core.outputs import (
    AssetValued,
    CounterpartyAssessed,
    ExposureChanged,
    KillSwitchChanged,
    LimitMeasured,
    PositionChanged,
    ScoreUpdated,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Score = ScoreUpdated | AssetValued
Exposure = ExposureChanged | PositionChanged | CounterpartyAssessed | LimitMeasured
_SWITCH: Final = "killswitch"
_CHUNK: Final = 512
_GARBAGE: Final = {b"": b""}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MirrorReading(Generic[T]):
    """The result of reading one key of the mirror.

    Attributes
    ----------
    kind : {"absent", "normal", "row"}
        ``absent``: nothing is known, and `why` gives the reason. ``normal``: the scope is known to
        have no row. ``row``: `value` is current.
    value : KillSwitchChanged and so on, or None
        The row.
    why : str
        Why nothing is known.
    worker, epoch, seq : str, int, int
        Worker that wrote the row, its epoch, and the sequence number of the row.
    """

    kind: Literal["absent", "normal", "row"]
    value: T | None = None
    why: str = ""
    worker: str = ""
    epoch: int = 0
    seq: int = 0

    @property
    def effective(self) -> State:
        """State of a switch to obey: HALT where nothing is known.

        Examples
        --------
        >>> absent = MirrorReading("absent", why="no heartbeat")
        >>> absent.effective.value, MirrorReading("normal").effective.value
        ('HALT', 'NORMAL')
        """
        if self.kind == "normal":
            return State.NORMAL
        found = getattr(self.value, "effective", None)
        return found if isinstance(found, State) else State.HALT


@dataclass(frozen=True, slots=True)
class MirrorSwitches:
    """The states of all switches at one moment.

    Attributes
    ----------
    known : bool
        Whether there was a valid heartbeat.
    why : str
        Why there was none.
    scopes : dict of str to MirrorReading
        Every scope that has a row.
    beat : bytes
        The encoded heartbeat.
    """

    known: bool
    why: str = ""
    scopes: dict[str, MirrorReading[KillSwitchChanged]] = field(default_factory=dict)
    beat: bytes = b""

    def reading(self, scope: str) -> MirrorReading[KillSwitchChanged]:
        """Return the reading of one scope; a scope without a row is normal."""
        if not self.known:
            return MirrorReading("absent", why=self.why)
        return self.scopes.get(scope, MirrorReading("normal"))


class _UnknownError(Exception):
    """Nothing is known; the message gives the reason. Internal to this module."""


class MirrorReader:
    """Reads the Redis mirror.

    It raises no error when Redis is unavailable or slow, or returns data that cannot be decoded. It
    returns an ``absent`` reading in these cases.

    Parameters
    ----------
    url : str
        URL of Redis.
    prefix : str
        Key prefix that the writer uses.
    clock : callable, optional
        Returns microseconds since 1970, to check whether a heartbeat is still valid. The default is
        the clock of this machine.
    lag_s : float
        How far the worker's last tick may be before or behind its heartbeat, seconds.
    deployment : str or None
        Deployment whose rows are read; ``None`` for whichever wrote them.

    Raises
    ------
    ConfigError
        If `url` is not a valid Redis URL.
    """

    def __init__(
        self,
        url: str,
        prefix: str = "",
        clock: Callable[[], int] | None = None,
        lag_s: float = LAG_S,
        deployment: str | None = None,
    ) -> None:
        self._redis: Any = layout.connect_redis(url, "mirror", "url")
        self._pid = os.getpid()
        self._prefix = prefix
        self._clock = clock or _wall
        self._lag_s = lag_s
        self._deployment = deployment
        self._beat = b""

    def killswitch(self, scope: str) -> MirrorReading[KillSwitchChanged]:
        """Return the reading of the switch of a scope."""
        try:
            beat, verified, rows = self._ask(_SWITCH, [scope])
        except _UnknownError as unknown:
            return MirrorReading("absent", why=str(unknown))
        return _switch(scope, rows[0], beat, verified)

    def killswitch_all(self) -> MirrorSwitches:
        """Return the readings of all switches."""
        try:
            beat, verified, _ = self._ask(_SWITCH, [])
            scopes = self._scopes(verified)
            # The heartbeat is read again together with the rows, so that both show one moment.
            beat, verified, rows = self._ask(_SWITCH, scopes)
            raw = self._beat
        except _UnknownError as unknown:
            return MirrorSwitches(known=False, why=str(unknown))
        seen = {
            scope: _switch(scope, row, beat, verified)
            for scope, row in zip(scopes, rows, strict=True)
        }
        return MirrorSwitches(
            known=True,
            scopes={name: found for name, found in seen.items() if found.kind != "normal"},
            beat=raw,
        )

    def score(self, key: str) -> MirrorReading[Score]:
        """Return the reading of a score: ``asset:<id>`` or ``scope|target|generation``."""
        return self._row("score", key, (ScoreUpdated, AssetValued))

    def exposure(self, key: str) -> MirrorReading[Exposure]:
        """Return the reading of an exposure row, by its key on the topic.

        An amount of zero means that the row was closed.
        """
        kinds = (ExposureChanged, PositionChanged, CounterpartyAssessed, LimitMeasured)
        return self._row("exposure", key, kinds)

    def close(self) -> None:
        """Close the connection."""
        if os.getpid() != self._pid:
            return  # the connection is the parent's
        self._redis.close()

    def _row(self, kind: str, key: str, types: tuple[type[Any], ...]) -> MirrorReading[Any]:
        try:
            beat, verified, rows = self._ask(kind, [key])
        except _UnknownError as unknown:
            return MirrorReading("absent", why=str(unknown))
        return _read(key, rows[0], types, beat, verified)

    def _ask(
        self, kind: str, keys: list[str]
    ) -> tuple[layout.MirrorHeartbeat, layout.MirrorTable, list[dict[bytes, bytes]]]:
        """Return the heartbeat and the rows of one moment.

        More than 512 rows are read in several requests, so they show several moments.
        """
        heart = layout.heartbeat_key(self._prefix)
        rows: list[dict[bytes, bytes]] = []
        for at in range(0, len(keys) or 1, _CHUNK):
            asked = [layout.row_key(self._prefix, kind, key) for key in keys[at : at + _CHUNK]]

            def fetch(pipe: Any, asked: Iterable[str] = asked) -> None:
                for key in (*asked, heart):
                    pipe.hgetall(key)

            *found, last = self._call(fetch)
            rows += found
        beat = layout.decode_field(last.get(layout.VALUE.encode()), layout.MirrorHeartbeat)
        verified = layout.decode_field(last.get(layout.TABLE.encode()), layout.MirrorTable)
        if not last:
            raise _UnknownError("there is no heartbeat")
        if beat is None or verified is None:
            raise _UnknownError("the heartbeat cannot be read")
        if self._deployment not in (None, beat.deployment):
            named = f"deployment {beat.deployment}" if beat.deployment else "no deployment"
            raise _UnknownError(f"the heartbeat is of {named}, not of {self._deployment}")
        if micros(beat.valid_until) <= self._clock():
            raise _UnknownError(f"the heartbeat was valid until {beat.valid_until.isoformat()}")
        fault = beat.ts and tick_fault(beat.ts, beat.reached, self._lag_s)
        if fault:
            raise _UnknownError(fault)
        self._beat = last[layout.VALUE.encode()]
        return beat, verified, rows

    def _scopes(self, verified: layout.MirrorTable) -> list[str]:
        """Return every scope that has a row, both at the heartbeat and after it."""
        listed = self._call(lambda pipe: pipe.smembers(layout.scopes_key(self._prefix)))[0]
        if not isinstance(listed, set) or (verified.scopes and not listed):
            raise _UnknownError("the list of scopes was lost")
        return sorted({name.decode(errors="replace") for name in listed}.union(verified.scopes))

    def _call(self, fill: Callable[[Any], object]) -> list[Any]:
        if os.getpid() != self._pid:
            raise _UnknownError(f"mirror: {INHERITED}")
        pipe = self._redis.pipeline(transaction=True)
        try:
            fill(pipe)
            answers: list[Any] = pipe.execute(raise_on_error=False)
        except (redis.RedisError, OSError) as error:
            raise _UnknownError(f"Redis does not answer: {error}") from error
        # A key of another Redis type cannot be decoded, which differs from a missing key.
        return [_GARBAGE if isinstance(found, redis.ResponseError) else found for found in answers]


def _switch(
    scope: str, row: dict[bytes, bytes], beat: layout.MirrorHeartbeat, verified: layout.MirrorTable
) -> MirrorReading[KillSwitchChanged]:
    if not row and scope not in verified.scopes:
        return MirrorReading("normal")
    return _read(scope, row, (KillSwitchChanged,), beat, verified)


def _read(
    key: str,
    row: dict[bytes, bytes],
    types: tuple[type[Any], ...],
    beat: layout.MirrorHeartbeat,
    verified: layout.MirrorTable,
) -> MirrorReading[Any]:
    if not row:
        return MirrorReading("absent", why="there is no such row")
    worker = row.get(layout.WORKER.encode(), b"").decode(errors="replace")
    epoch = layout.decode_number(row.get(layout.EPOCH.encode()))
    seq = layout.decode_number(row.get(layout.SEQ.encode()))
    raw = row.get(layout.VALUE.encode(), b"")
    try:
        value = decode_output(raw)
    except ValueError:
        value = None
    if epoch is None or seq is None or not isinstance(value, types) or value.key() != key:
        return MirrorReading("absent", why="the row cannot be read")
    if worker != beat.worker or seq < verified.seq:
        return MirrorReading("absent", why="the row is not current any more")
    return MirrorReading("row", value, "", worker, epoch, seq)


def _wall() -> int:
    return time.time_ns() // 1_000
