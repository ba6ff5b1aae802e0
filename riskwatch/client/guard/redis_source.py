"""The guard's subscription to the Redis mirror: it polls the mirror."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.client.guard.source import SwitchSource, row_of
from riskwatch.client.mirror import MirrorReader
from riskwatch.contracts.heartbeat import decode_heartbeat
from riskwatch.core.clock import SECOND

if TYPE_CHECKING:
    from riskwatch.client.guard.trust import TrustState
    from riskwatch.client.mirror import MirrorSwitches

_EVERY_S: Final = 0.05
_SHARE: Final = 9.0
"""Pause after a poll, as a multiple of its duration: a large table uses a tenth of one core."""
GARBLED: Final = "cannot be read"


class RedisSource(SwitchSource):
    """Polls Redis twenty times a second, and less often if a poll takes long.

    Parameters
    ----------
    trust : TrustState
        State that receives the rows.
    url : str
        URL of Redis.
    prefix : str
        Key prefix that the writer uses.

    Raises
    ------
    ConfigError
        If `url` is not a valid Redis URL.
    """

    def __init__(self, trust: TrustState, url: str, prefix: str) -> None:
        super().__init__("redis", trust)
        wall = trust.calendar.wall
        lag_s = trust.terms.lag_s
        self._reader = MirrorReader(url, prefix, lambda: int(wall() * SECOND), lag_s)

    def follow(self) -> None:
        """Poll until the source stops."""
        try:
            while not self.stop.is_set():
                began = self.trust.clock()
                self._take(self._reader.killswitch_all())
                self.trust.settle()
                took = self.trust.clock() - began
                self.stop.wait(max(_EVERY_S, _SHARE * took))
        finally:
            self._reader.close()

    def _take(self, found: MirrorSwitches) -> None:
        if not found.known:
            # This applies even if Redis answers: without a heartbeat its rows are not verified.
            self.trust.mark_lost(self.name, found.why)
            return
        try:
            beat = decode_heartbeat(found.beat)
        except ValueError as error:
            self.trust.mark_lost(self.name, f"the heartbeat cannot be read: {error}")
            return
        with self.trust.lock:  # rows of one poll become visible together
            if self.trust.refuses_table(beat):
                self.trust.mark_lost(self.name, self.trust.deployment.fault)
                return
            applied = self.trust.calendar.wall()
            for scope, reading in found.scopes.items():
                if reading.value is not None:
                    had = self.trust.table.get(scope)
                    if had is not None and had.last >= reading.seq:
                        continue
                    place = (reading.worker, reading.epoch, reading.seq)
                    self.trust.row(row_of(reading.value, place, applied), beat.deployment)
                elif GARBLED in reading.why:
                    self.trust.mark_unreadable(scope)
            self.trust.beat(beat)
            self.trust.mark_answered(self.name)
