"""The guard's subscription to the Redis mirror: asked again and again."""

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
"""Pause after an answer, in times of what it took: a large table costs a tenth of one core."""
GARBLED: Final = "cannot be read"


class RedisSource(SwitchSource):
    """Asks Redis twenty times a second, less often where that takes long.

    Parameters
    ----------
    trust : Belief
        What is told.
    url : str
        Of Redis.
    prefix : str
        As the writer has it.

    Raises
    ------
    ConfigError
        If `url` is none.
    """

    def __init__(self, belief: TrustState, url: str, prefix: str) -> None:
        super().__init__("redis", belief)
        wall = belief.calendar.wall
        self._reader = MirrorReader(url, prefix, lambda: int(wall() * SECOND))

    def follow(self) -> None:
        """Ask until the end."""
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
            # Also where Redis answers: what it lacks is what would vouch for it.
            self.trust.mark_lost(self.name, found.why)
            return
        with self.trust.lock:  # what came together shows together
            applied = self.trust.calendar.wall()
            for scope, seen in found.scopes.items():
                if seen.value is not None:
                    had = self.trust.table.get(scope)
                    if had is not None and had.last >= seen.seq:
                        continue
                    place = (seen.worker, seen.epoch, seen.seq)
                    self.trust.row(row_of(seen.value, place, applied))
                elif GARBLED in seen.why:
                    self.trust.mark_unreadable(scope)
            try:
                self.trust.beat(decode_heartbeat(found.beat))
            except ValueError as error:
                self.trust.mark_lost(self.name, f"the heartbeat cannot be read: {error}")
                return
            self.trust.mark_answered(self.name)
