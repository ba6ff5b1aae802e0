"""The roll of order paths: what each applied, how long that took, and who is late with a HALT.

No I/O and no clock of its own: it is told records with the times that the broker gave them.
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
"""Seconds within which a client must have applied a HALT: of the five in which people are told."""
SILENT_S: Final = 20.0
"""Seconds after which a client that said nothing is taken for silent: four of its pauses."""
MAX_CLIENTS: Final = 10_000
"""Most clients."""


class PublishedSwitch(msgspec.Struct, frozen=True):
    """What a scope was told last, and when the broker got it."""

    scope: str
    state: State
    decision_id: str
    seq: int
    published: datetime


class ReceivedAck(msgspec.Struct, frozen=True):
    """What a client said last, and when the broker got it."""

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
    """Keeps who applied what.

    Parameters
    ----------
    late_s : float
        Seconds that a client has to apply a HALT.

    Attributes
    ----------
    heard : dict of str to Heard
        By client.
    """

    def __init__(self, late_s: float = LATE_S) -> None:
        self._late = timedelta(seconds=late_s)
        self.heard: dict[str, ReceivedAck] = {}
        self._told: dict[str, PublishedSwitch] = {}
        # First word of a client about a decision; waits until the decision itself was seen.
        self._first: dict[tuple[str, str], tuple[str, datetime, datetime]] = {}
        self._written: dict[tuple[str, str], str] = {}

    def add_switch(self, output: KillSwitchChanged, seq: int, at: datetime) -> None:
        """Take note of what order paths were told."""
        had = self._told.get(output.scope)
        if had is not None and seq <= had.seq:
            return
        self._told[output.scope] = PublishedSwitch(
            output.scope, output.effective, output.decision_id, seq, at
        )

    def add_ack(self, ack: Ack, at: datetime) -> None:
        """Take note of what a client applied."""
        if ack.client not in self.heard and len(self.heard) >= MAX_CLIENTS:
            return
        self.heard[ack.client] = ReceivedAck(ack, at)
        for scope, applied in ack.scopes.items():
            key = (ack.client, scope)
            first = self._first.get(key)
            if first is None or first[0] != applied.decision_id:
                self._first[key] = (applied.decision_id, applied.applied_ts, at)

    def forget(self, client: str) -> None:
        """Expect nothing of a client any more, and know nothing of it."""
        self.heard.pop(client, None)
        for store in (self._first, self._written):
            for key in [key for key in store if key[0] == client]:
                del store[key]

    def new_ack_times(self) -> list[tuple[Any, ...]]:
        """Rows of `client_ack` that are new since the last call."""
        rows = []
        for (client, scope), (decision, applied, arrived) in self._first.items():
            told = self._told.get(scope)
            done = self._written.get((client, scope)) == decision
            if done or told is None or told.decision_id != decision:
                continue
            self._written[client, scope] = decision
            # Who began after the decision did not take that long: it was not there.
            heard = self.heard.get(client)
            if heard is None or heard.ack.started > told.published:
                continue
            seconds = max(0.0, (arrived - told.published).total_seconds())
            rows.append(
                (client, scope, decision, told.state.value, told.published, applied, arrived,
                 seconds)
            )  # fmt: skip
        return rows

    def late_clients(self, now: datetime) -> Iterator[LateClient]:
        """Every client that should have applied a HALT by now, and did not say that it did."""
        halts = [
            told
            for told in self._told.values()
            if told.state is State.HALT and now - told.published >= self._late
        ]
        for client, heard in self.heard.items():
            if heard.ack.ended:
                continue
            for halt in halts:
                has = heard.ack.scopes.get(halt.scope)
                if has is not None and has.decision_id == halt.decision_id:
                    continue
                # More scopes than an acknowledgement names: its place says that it is there.
                if has is None and heard.ack.left_out and heard.ack.seq >= halt.seq:
                    continue
                yield LateClient(
                    client, halt.scope, halt.decision_id, late_reason(heard, now), halt.published
                )

    def rows(self, now: datetime) -> list[tuple[Any, ...]]:
        """Rows of `client`."""
        late: dict[str, list[str]] = {}
        for found in self.late_clients(now):
            late.setdefault(found.client, []).append(found.scope)
        return [
            (
                client, heard.arrived, heard.ack.started, heard.ack.ended, heard.ack.epoch,
                heard.ack.seq, heard.ack.beat_ts, heard.ack.digest, heard.ack.floor.value,
                heard.ack.why, heard.ack.sources, msgspec.to_builtins(heard.ack.unwound),
                sorted(late.get(client, [])),
            )
            for client, heard in self.heard.items()
        ]  # fmt: skip


def late_reason(heard: ReceivedAck, now: datetime) -> str:
    """What is known of a client that is late."""
    silent = (now - heard.arrived).total_seconds()
    if silent > SILENT_S:
        return f"nothing was heard of it for {silent:.0f} s"
    if heard.ack.floor is not State.NORMAL:
        return f"it fails closed at {heard.ack.floor.value}: {heard.ack.why}"
    troubled = [f"{name}: {state}" for name, state in heard.ack.sources.items() if state != "ok"]
    return "; ".join(troubled) or "it speaks, and did not apply it"
