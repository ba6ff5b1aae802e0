"""Routing inside one worker process: which stage takes what, in which order.

Embedded, a pipeline is ``[ledger, market, risk]``; the workers on Kafka run ``[ledger]`` and
``[market, risk]``. What one stage puts out and a later one takes is handed over at once;
everything else leaves: outputs, to be projected and published, and readings, to another worker.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from riskwatch.core.readings import LedgerMessage, MarketReading

if TYPE_CHECKING:
    from collections.abc import Iterable

    from riskwatch.core.outputs import Output
    from riskwatch.core.stage import Row, RowChanges, Stage, StageState

Reading = LedgerMessage | MarketReading


@dataclass(frozen=True, slots=True)
class StageSlot:
    """One stage in its place.

    Attributes
    ----------
    stage : Stage
        What decides.
    state : StageState
        Its rows; changed by :meth:`Pipeline.apply` alone.
    takes : tuple of type
        Classes of the events, ticks and readings that it is handed, exactly these.
    journal : bool
        Whether its inputs are kept in the journal.
    """

    stage: Stage[Any, Any, Any]
    state: StageState
    takes: tuple[type, ...]
    journal: bool = False


@dataclass(slots=True)
class Effects:
    """What inputs brought about, in order; the runner empties it after each.

    Attributes
    ----------
    inputs : list
        Events, ticks and readings for the journal.
    outputs : list
        What leaves the worker: outputs, and readings that no stage here takes.
    """

    inputs: list[Any] = field(default_factory=list)
    outputs: list[Output | Reading] = field(default_factory=list)


class Pipeline:
    """The stages of one worker, in order.

    Parameters
    ----------
    slots : iterable of Slot
        From first to last. An input is handed to every slot that takes it, in this order.
    keep_events : bool, optional
        Journal the inputs of every slot, not only of those that ask for it.

    Raises
    ------
    ValueError
        If there is no slot, or two stages have one name.
    """

    def __init__(self, slots: Iterable[StageSlot], *, keep_events: bool = False) -> None:
        self.slots = tuple(slots)
        names = [slot.stage.name for slot in self.slots]
        if not names or len(dict.fromkeys(names)) != len(names):
            raise ValueError(f"stages must have names of their own, were {names}")
        self._routes: dict[type, tuple[tuple[StageSlot, bool], ...]] = {}
        for kind in dict.fromkeys(kind for slot in self.slots for kind in slot.takes):
            takers = [slot for slot in self.slots if kind in slot.takes]
            # An input that several stages take is journalled once, where it is first needed.
            first = next((slot for slot in takers if keep_events or slot.journal), None)
            self._routes[kind] = tuple((slot, slot is first) for slot in takers)

    def takes(self, kind: type) -> bool:
        """Whether some stage takes inputs of this class."""
        return kind in self._routes

    def apply(self, event: Any, effects: Effects) -> None:
        """Hand one input to the stages that take it, and their readings to those after them."""
        for slot, journalled in self._routes[type(event)]:
            if journalled:
                effects.inputs.append(event)
            for output in slot.stage.step(slot.state, event):
                if type(output) in self._routes:
                    self.apply(output, effects)
                else:
                    effects.outputs.append(output)

    def load(self, rows: dict[str, dict[str, Row]]) -> None:
        """Give every stage its stored rows. Called once, before the first input."""
        for slot in self.slots:
            slot.state.load(rows.get(slot.stage.name, {}))

    def drain(self) -> dict[str, RowChanges]:
        """Rows that changed since the last call, per stage; stages without any are left out."""
        return {slot.stage.name: changes for slot in self.slots if (changes := slot.state.drain())}
