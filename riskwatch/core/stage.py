"""What a stage is: a deterministic state machine over rows.

A stage holds configuration only. Its state is passed in, is made of rows (one per entity), and
knows which rows changed since they were last collected, so that the runner writes dirty rows
only. ``step`` may not read a clock, a file, the environment, a random source, or the order of a
set; ``tests/unit/test_walls.py`` holds `core` to that.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

Row = bytes
RowChanges = dict[str, Row | None]
"""Row key to its new bytes, or ``None`` where the row is gone."""

FORMAT = 1
"""Version of the rows' format, stored beside them; :mod:`riskwatch.core.migration` raises it."""

_encoder = msgspec.json.Encoder(decimal_format="string", order="deterministic")


def encode_row(value: object) -> Row:
    """Bytes of a state row: JSON with sorted keys, so equal states are equal bytes.

    Examples
    --------
    >>> encode_row({"b": 1, "a": 2})
    b'{"a":2,"b":1}'
    """
    return _encoder.encode(value)


class StageState(Protocol):
    """State of a stage, as rows."""

    def drain(self) -> RowChanges:
        """Rows that changed since the last call, keys sorted."""
        ...

    def load(self, rows: dict[str, Row]) -> None:
        """Become the state that these rows describe. Called once, before the first step."""
        ...


Event_contra = TypeVar("Event_contra", contravariant=True)
State_contra = TypeVar("State_contra", contravariant=True)
OutputT = TypeVar("OutputT")


class Stage(Protocol[State_contra, Event_contra, OutputT]):
    """``step(state, event) -> outputs``; mutates `state` and nothing else."""

    name: str

    def step(self, state: State_contra, event: Event_contra) -> list[OutputT]:
        """Apply one event. A bad event is an output, never an exception."""
        ...
