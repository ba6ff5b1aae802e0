"""The guard's subscription to the Redis mirror: asked again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.client.guard.source import Source, row_of
from riskwatch.client.mirror import MirrorReader
from riskwatch.contracts.heartbeat import decode_heartbeat
from riskwatch.core.clock import SECOND

if TYPE_CHECKING:
    from riskwatch.client.guard.trust import Belief
    from riskwatch.client.mirror import Switches

_EVERY_S: Final = 0.05
_SHARE: Final = 9.0
"""Pause after an answer, in times of what it took: a large table costs a tenth of one core."""
GARBLED: Final = "cannot be read"


class RedisSource(Source):
    """Asks Redis twenty times a second, less often where that takes long.

    Parameters
    ----------
    belief : Belief
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

    def __init__(self, belief: Belief, url: str, prefix: str) -> None:
        super().__init__("redis", belief)
        wall = belief.calendar.wall
        self._reader = MirrorReader(url, prefix, lambda: int(wall() * SECOND))

    def follow(self) -> None:
        """Ask until the end."""
        try:
            while not self.stop.is_set():
                began = self.belief.clock()
                self._take(self._reader.killswitch_all())
                self.belief.settle()
                took = self.belief.clock() - began
                self.stop.wait(max(_EVERY_S, _SHARE * took))
        finally:
            self._reader.close()

    def _take(self, found: Switches) -> None:
        if not found.known:
            # Also where Redis answers: what it lacks is what would vouch for it.
            self.belief.lost(self.name, found.why)
            return
        with self.belief.lock:  # what came together shows together
            applied = self.belief.calendar.wall()
            for scope, seen in found.scopes.items():
                if seen.value is not None:
                    had = self.belief.table.get(scope)
                    if had is not None and had.last >= seen.seq:
                        continue
                    place = (seen.worker, seen.epoch, seen.seq)
                    self.belief.row(row_of(seen.value, place, applied))
                elif GARBLED in seen.why:
                    self.belief.bad(scope)
            try:
                self.belief.beat(decode_heartbeat(found.beat))
            except ValueError as error:
                self.belief.lost(self.name, f"the heartbeat cannot be read: {error}")
                return
            self.belief.answered(self.name)
