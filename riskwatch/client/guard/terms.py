"""How long a guard waits for what."""

from __future__ import annotations

from math import inf

import msgspec

from riskwatch.errors import ConfigError


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How long is waited for what, seconds.

    Attributes
    ----------
    reduce_s : float
        From failing closed, how long REDUCE holds before it is HALT.
    lost_s : float
        Longest time without an answer from any server.
    grace_s : float
        How long a heartbeat may differ from the table: the message that explains it travels on
        another topic.
    skew_s : float
        How far a heartbeat may be ahead of this machine's clock.
    jump_s : float
        Largest step of this machine's clock that is not a jump.
    longest_s : float
        Longest life of a heartbeat that is believed.
    rebuild_s : float
        How long the table may differ before everything is read again.
    """

    reduce_s: float = 30.0
    lost_s: float = 5.0
    grace_s: float = 2.0
    skew_s: float = 2.0
    jump_s: float = 1.0
    longest_s: float = 300.0
    rebuild_s: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what would never end a wait: nothing is later than NaN.

        Raises
        ------
        ConfigError
            If one of them is no time.
        """
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not 0.0 <= value < inf:
                raise ConfigError("kill switch", f"terms.{name}", "seconds, 0 or more", value)
