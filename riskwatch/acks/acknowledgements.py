"""The acknowledgements of order paths: what each applied, how fast, and which are late.

The module does no I/O and reads no clock: callers pass records with the broker's times.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.contracts.acks import Ack
from riskwatch.core.enums import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.outputs import KillSwitchChanged

LATE_S: Final = 2.0
"""Time within which a client must apply a HALT, seconds; people must be notified within five."""
SILENT_S: Final = 20.0
"""Time without an acknowledgement after which a client is silent, seconds: four intervals."""
MAX_CLIENTS: Final = 10_000
"""Most clients that are stored."""


class PublishedSwitch(msgspec.Struct, frozen=True):
    """The last switch of a scope, and the broker's time when it was published."""

    scope: str
    state: State
    decision_id: str
    seq: int
    published: datetime


class ReceivedAck(msgspec.Struct, frozen=True):
    """The last acknowledgement of a client, and the broker's time when it arrived."""

    ack: Ack
    arrived: datetime


class LateClient(msgspec.Struct, frozen=True, order=True):
    """A client that did not apply a HALT in time."""

    client: str
    scope: str
    decision_id: str
    why: str
    published: datetime


class Acknowledgements:
    """Stores which client applied which switch.

    Parameters
    ----------
    late_s : float
        Time that a client has to apply a HALT, seconds.

    Attributes
    ----------
    received : dict of str to ReceivedAck
        The last acknowledgement, by client.
    """

    def __init__(self, late_s: float = LATE_S) -> None:
        self._late = timedelta(seconds=late_s)
        self.received: dict[str, ReceivedAck] = {}
        self._published: dict[str, PublishedSwitch] = {}
        # First acknowledgement of a decision by a client, until the decision itself arrives.
        self._first: dict[tuple[str, str], tuple[str, datetime, datetime]] = {}
        self._written: dict[tuple[str, str], str] = {}

    def add_switch(self, output: KillSwitchChanged, seq: int, at: datetime) -> None:
        """Store a published switch, unless a later one is stored."""
        before = self._published.get(output.scope)
        if before is not None and seq <= before.seq:
            return
        self._published[output.scope] = PublishedSwitch(
            output.scope, output.effective, output.decision_id, seq, at
        )

    def add_ack(self, ack: Ack, at: datetime) -> None:
        """Store the acknowledgement of a client, which arrived at `at`."""
        if ack.client not in self.received and len(self.received) >= MAX_CLIENTS:
            return
        self.received[ack.client] = ReceivedAck(ack, at)
        for scope, applied in ack.scopes.items():
            key = (ack.client, scope)
            first = self._first.get(key)
            if first is None or first[0] != applied.decision_id:
                self._first[key] = (applied.decision_id, applied.applied_ts, at)

    def forget(self, client: str) -> None:
        """Delete everything about a client. It is not expected to acknowledge any more."""
        self.received.pop(client, None)
        for store in (self._first, self._written):
            for key in [key for key in store if key[0] == client]:
                del store[key]

    def new_ack_times(self) -> list[tuple[Any, ...]]:
        """Return the rows of `client_ack` that are new since the last call."""
        rows = []
        for (client, scope), (decision, applied, arrived) in self._first.items():
            switch = self._published.get(scope)
            done = self._written.get((client, scope)) == decision
            if done or switch is None or switch.decision_id != decision:
                continue
            self._written[client, scope] = decision
            # The time of a client that started after the decision is no measure.
            received = self.received.get(client)
            if received is None or received.ack.started > switch.published:
                continue
            seconds = max(0.0, (arrived - switch.published).total_seconds())
            rows.append(
                (client, scope, decision, switch.state.value, switch.published, applied, arrived,
                 seconds)
            )  # fmt: skip
        return rows

    def late_clients(self, now: datetime) -> Iterator[LateClient]:
        """Yield every client that did not acknowledge a HALT in time."""
        halts = [
            switch
            for switch in self._published.values()
            if switch.state is State.HALT and now - switch.published >= self._late
        ]
        for client, received in self.received.items():
            if received.ack.ended:
                continue
            for halt in halts:
                has = received.ack.scopes.get(halt.scope)
                if has is not None and has.decision_id == halt.decision_id:
                    continue
                # An acknowledgement may leave scopes out; then its sequence number decides.
                if has is None and received.ack.left_out and received.ack.seq >= halt.seq:
                    continue
                yield LateClient(
                    client, halt.scope, halt.decision_id, late_reason(received, now), halt.published
                )

    def rows(self, now: datetime) -> list[tuple[Any, ...]]:
        """Return the rows of `client`."""
        late: dict[str, list[str]] = {}
        for found in self.late_clients(now):
            late.setdefault(found.client, []).append(found.scope)
        return [
            (
                client, last.arrived, last.ack.started, last.ack.ended, last.ack.epoch,
                last.ack.seq, last.ack.beat_ts, last.ack.digest, last.ack.floor.value,
                last.ack.why, last.ack.sources, msgspec.to_builtins(last.ack.unwound),
                sorted(late.get(client, [])),
            )
            for client, last in self.received.items()
        ]  # fmt: skip


def late_reason(received: ReceivedAck, now: datetime) -> str:
    """Return the reason why a client is late, as far as it is known."""
    silent = (now - received.arrived).total_seconds()
    if silent > SILENT_S:
        return f"nothing was heard of it for {silent:.0f} s"
    if received.ack.floor is not State.NORMAL:
        return f"it fails closed at {received.ack.floor.value}: {received.ack.why}"
    troubled = [f"{name}: {state}" for name, state in received.ack.sources.items() if state != "ok"]
    return "; ".join(troubled) or "it speaks, and did not apply it"
