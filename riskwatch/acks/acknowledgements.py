"""The acknowledgements of order paths: what each applied, how fast, and which are late.

The module does no I/O and reads no clock: callers pass records with the broker's times.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.contracts.acks import Ack
from riskwatch.contracts.refusal import Refusal, refuse
from riskwatch.core.enums import RejectReason, State

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from riskwatch.core.outputs import KillSwitchChanged

LATE_S: Final = 2.0
"""Time within which a client must apply a HALT, seconds; people must be notified within five."""
SILENT_S: Final = 20.0
"""Time without an acknowledgement after which a client is silent, seconds: four intervals."""
MAX_CLIENTS: Final = 10_000
"""Most clients that are stored. A client with a key is always stored."""
MAX_UNKNOWN: Final = 16
"""Most scopes of a client that riskwatch has not published: their switch may still be on its way.

The switch topic is read first, so an honest client names more of them only for a moment.
"""


class PublishedSwitch(msgspec.Struct, frozen=True):
    """The last switch of a scope, and the broker's time when it was published."""

    scope: str
    state: State
    decision_id: str
    seq: int
    published: datetime


class ReceivedAck(msgspec.Struct, frozen=True):
    """The last acknowledgement of a client, and the broker's time when it arrived.

    `since` is the start of its process, and never after the first arrival: a client cannot start
    in the future, whatever its clock says.
    """

    ack: Ack
    arrived: datetime
    since: datetime


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
    keyed : container of str
        Clients with a key, for which there is always room.

    Attributes
    ----------
    received : dict of str to ReceivedAck
        The last acknowledgement, by client.
    """

    def __init__(self, late_s: float = LATE_S, keyed: Container[str] = ()) -> None:
        self._late = timedelta(seconds=late_s)
        self.keyed = keyed
        self.received: dict[str, ReceivedAck] = {}
        self._published: dict[str, PublishedSwitch] = {}
        # By client and scope: first acknowledgement of a decision, until the decision itself
        # arrives, and the decision whose time is known. Only scopes of the last acknowledgement.
        self._first: dict[str, dict[str, tuple[str, datetime, datetime]]] = {}
        self._written: dict[str, dict[str, str]] = {}

    def add_switch(self, output: KillSwitchChanged, seq: int, at: datetime) -> None:
        """Store a published switch, unless a later one is stored."""
        before = self._published.get(output.scope)
        if before is not None and seq <= before.seq:
            return
        self._published[output.scope] = PublishedSwitch(
            output.scope, output.effective, output.decision_id, seq, at
        )

    def add_ack(self, ack: Ack, at: datetime) -> Refusal | None:
        """Store the acknowledgement of a client, which arrived at `at`; refuse it without room."""
        if not self._has_room(ack.client):
            return refuse(RejectReason.LIMIT_REACHED, f"{MAX_CLIENTS} clients are stored already")
        ack = self._bounded(ack)
        before = self.received.get(ack.client)
        since = min(ack.started, at)
        if before is not None and before.ack.started == ack.started:
            since = before.since
        self.received[ack.client] = ReceivedAck(ack, at, since)
        known, first = self._first.get(ack.client, {}), {}
        for scope, applied in ack.scopes.items():
            found = known.get(scope)
            if found is None or found[0] != applied.decision_id:
                found = (applied.decision_id, applied.applied_ts, at)
            first[scope] = found
        self._first[ack.client] = first
        written = self._written.get(ack.client, {})
        self._written[ack.client] = {s: d for s, d in written.items() if s in first}
        return None

    def _has_room(self, client: str) -> bool:
        """Whether a client can be stored; of others, the one that ended first makes room."""
        if client in self.received or client in self.keyed or len(self.received) < MAX_CLIENTS:
            return True
        ended = [(r.arrived, name) for name, r in self.received.items() if r.ack.ended]
        if ended:
            self.forget(min(ended)[1])
        return bool(ended)

    def _bounded(self, ack: Ack) -> Ack:
        """Drop scopes that were not published beyond :data:`MAX_UNKNOWN`; count them as left out.

        A client names the scopes of the switch topic. Whoever writes random ones costs no memory.
        """
        unknown = [scope for scope in ack.scopes if scope not in self._published]
        drop = set(unknown[MAX_UNKNOWN:])
        if not drop:
            return ack
        scopes = {scope: at for scope, at in ack.scopes.items() if scope not in drop}
        return msgspec.structs.replace(ack, scopes=scopes, left_out=ack.left_out + len(drop))

    def forget(self, client: str) -> None:
        """Delete everything about a client. It is not expected to acknowledge any more."""
        for store in (self.received, self._first, self._written):
            store.pop(client, None)

    def new_ack_times(self) -> list[tuple[Any, ...]]:
        """Return the rows of `client_ack` that are new since the last call."""
        rows = []
        for client, first in self._first.items():
            received, written = self.received[client], self._written[client]
            for scope, (decision, applied, arrived) in first.items():
                switch = self._published.get(scope)
                if written.get(scope) == decision or switch is None:
                    continue
                if switch.decision_id != decision:
                    continue
                written[scope] = decision
                # The time of a client that started after the decision is no measure.
                if received.since > switch.published:
                    continue
                seconds = max(0.0, (arrived - switch.published).total_seconds())
                rows.append(
                    (client, scope, decision, switch.state.value, switch.published, applied,
                     arrived, seconds)
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
