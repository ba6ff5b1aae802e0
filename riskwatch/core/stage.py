"""The stage protocol: a deterministic state machine over rows.

A stage holds configuration only. Its state is passed in. The state consists of rows, one per
entity, and tracks which rows changed since they were last collected, so that the runner writes only
these. ``step`` may not read a clock, a file, the environment, a random source, or the order of a
set; ``tests/unit/test_walls.py`` enforces this for `core`.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

Row = bytes
RowChanges = dict[str, Row | None]
"""New bytes by row key; ``None`` if the row is deleted."""

FORMAT = 2
"""Version of the rows' format, stored beside them; :mod:`riskwatch.core.migration` raises it."""

_encoder = msgspec.json.Encoder(decimal_format="string", order="deterministic")


def encode_row(value: object) -> Row:
    """Return the bytes of a state row: JSON with sorted keys, so that equal states are equal bytes.

    Examples
    --------
    >>> encode_row({"b": 1, "a": 2})
    b'{"a":2,"b":1}'
    """
    return _encoder.encode(value)


class StageState(Protocol):
    """State of a stage, as rows."""

    def drain(self) -> RowChanges:
        """Return the rows that changed since the last call, keys sorted."""
        ...

    def load(self, rows: dict[str, Row]) -> None:
        """Load the state from its rows; called once, before the first step."""
        ...


Event_contra = TypeVar("Event_contra", contravariant=True)
State_contra = TypeVar("State_contra", contravariant=True)
OutputT = TypeVar("OutputT")


class Stage(Protocol[State_contra, Event_contra, OutputT]):
    """A stage: ``step(state, event) -> outputs``, which changes only `state`."""

    name: str

    def step(self, state: State_contra, event: Event_contra) -> list[OutputT]:
        """Apply one event; a bad event produces an output, never an exception."""
        ...
