"""The heartbeat on the wire: it confirms the whole table of scopes until a stated time."""

from __future__ import annotations

from datetime import datetime
from math import inf
from typing import Final

import msgspec

from riskwatch.contracts.pretrade import PretradeTable
from riskwatch.core.enums import State

TOPIC: Final = "riskwatch.heartbeat"
LAG_S: Final = 90.0
"""How far a worker's last tick may be before or behind its heartbeat for its readers, seconds."""


class GuardPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The policy that guards follow.

    Attributes
    ----------
    outage_reduce_s : float or None
        How long REDUCE lasts in an outage before HALT, seconds; ``None`` for without end.
    closing_usd, closing_share : float
        At a HALT of claims, closing orders pass up to the larger of these USD and this share of the
        position, per scope and hour.
    unlisted : State
        State of an order with a name that nothing lists; NORMAL from workers without it.
    """

    outage_reduce_s: float | None = None
    closing_usd: float = 250_000.0
    closing_share: float = 0.25
    unlisted: State = State.NORMAL

    def __post_init__(self) -> None:
        """Refuse what is no number of zero or more, and no state.

        Raises
        ------
        ValueError
            If a value is none.
        """
        if not isinstance(self.unlisted, State):
            raise ValueError(  # noqa: TRY004 - as every other value
                f"policy.unlisted must be a state, was {self.unlisted!r}"
            )
        for name in ("outage_reduce_s", "closing_usd", "closing_share"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value < inf:
                raise ValueError(f"policy.{name} must be a number of 0 or more, was {value}")


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag="heartbeat"):
    """One heartbeat.

    Attributes
    ----------
    worker, epoch : str, int
        Worker that sends it, and epoch of its lease.
    seq : int
        Sequence number of the last output in the table.
    digest : str
        Digest of scopes, effective states and decisions
        (:func:`riskwatch.core.scopes.table_digest`).
    scopes : int
        Number of scopes.
    ts, valid_until : datetime
        When it was created, and until when it is valid.
    engine : str
        Engine version.
    deployment : str
        Deployment that sends it; empty in heartbeats of builds that knew no deployments.
    reached : datetime or None
        Time of the last tick, at which the rules were evaluated. ``None`` before the first event,
        in a replay through the workers, and from workers of earlier versions.
    pretrade : PretradeTable, optional
        Limits before the trade; absent if the policy names no client.
    restriction_digest : str
        Digest of scopes, what they restrict, and decisions; empty from workers without it. Then
        every switch restricts everything.
    policy : GuardPolicy or None
        The policy that guards follow; ``None`` from workers without it.
    names_digest : str
        Digest of the table of names (:class:`riskwatch.core.names.NameTable`); empty without one.
    """

    worker: str
    epoch: int
    seq: int
    digest: str
    scopes: int
    ts: datetime
    valid_until: datetime
    engine: str = ""
    deployment: str = ""
    reached: datetime | None = None
    pretrade: PretradeTable | msgspec.UnsetType = msgspec.UNSET
    restriction_digest: str = ""
    policy: GuardPolicy | None = None
    names_digest: str = ""


def tick_fault(made: datetime, reached: datetime | None, lag_s: float) -> str | None:
    """Return why a heartbeat of time `made` does not show that ticks pass; ``None`` if it does.

    Without ticks nothing is decided, so such a heartbeat confirms a table that nobody looks after.

    Examples
    --------
    >>> from datetime import UTC, timedelta
    >>> made = datetime(2023, 3, 11, tzinfo=UTC)
    >>> tick_fault(made, made - timedelta(hours=2), 90.0)
    'the worker decides nothing: its last tick was 7200 s before its heartbeat'
    >>> tick_fault(made, made + timedelta(hours=2), 90.0)
    'the worker decides nothing: its last tick is 7200 s ahead of its heartbeat'
    >>> tick_fault(made, None, 90.0)
    """
    if reached is None:
        return None
    behind_s = (made - reached).total_seconds()
    if -lag_s <= behind_s <= lag_s:
        return None
    place = "was {:.0f} s before" if behind_s > 0 else "is {:.0f} s ahead of"
    return f"the worker decides nothing: its last tick {place.format(abs(behind_s))} its heartbeat"


_decoder: Final = msgspec.json.Decoder(Heartbeat)


def decode_heartbeat(raw: bytes) -> Heartbeat:
    """Decode a heartbeat.

    Raises
    ------
    ValueError
        If the bytes are no heartbeat, or one of its times has no time zone.
    """
    heartbeat = _decoder.decode(raw)
    times = [heartbeat.ts, heartbeat.valid_until, heartbeat.reached]
    if heartbeat.pretrade is not msgspec.UNSET:
        times += [heartbeat.pretrade.measured, heartbeat.pretrade.until]
    if any(time is not None and time.tzinfo is None for time in times):
        raise ValueError("a time of the heartbeat has no time zone")
    return heartbeat
