"""The pipeline of one worker: it routes each input to the stages that take it.

An embedded pipeline is ``[ledger, market, risk]``; the workers on Kafka run ``[ledger]`` and
``[market, risk]``. A reading that a later stage takes goes to that stage at once. Everything else
leaves the worker: outputs are projected and published, readings go to another worker.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from riskwatch.core.names import IDENTITY
from riskwatch.core.readings import LedgerMessage, MarketReading

if TYPE_CHECKING:
    from collections.abc import Iterable

    from riskwatch.core.names import NameTable
    from riskwatch.core.outputs import Output
    from riskwatch.core.stage import Row, RowChanges, Stage, StageState

Reading = LedgerMessage | MarketReading


@dataclass(frozen=True, slots=True)
class StageSlot:
    """One stage of a pipeline, with its state and its inputs.

    Attributes
    ----------
    stage : Stage
        The stage.
    state : StageState
        State of the stage; only :meth:`Pipeline.apply` changes it.
    takes : tuple of type
        Classes of events, ticks and readings that the stage takes; subclasses do not count.
    journal : bool
        Whether the journal records its inputs.
    """

    stage: Stage[Any, Any, Any]
    state: StageState
    takes: tuple[type, ...]
    journal: bool = False


@dataclass(slots=True)
class Effects:
    """The effects of inputs, in order. The runner empties both lists after each input.

    Attributes
    ----------
    inputs : list
        Events, ticks and readings for the journal.
    outputs : list
        Outputs, and readings that no stage of the worker takes.
    """

    inputs: list[Any] = field(default_factory=list)
    outputs: list[Output | Reading] = field(default_factory=list)


class Pipeline:
    """The stages of one worker, in order.

    Parameters
    ----------
    slots : iterable of StageSlot
        From first to last. An input goes to every slot that takes it, in this order.
    keep_events : bool, optional
        Record the inputs of every slot in the journal, not only of those with ``journal``.
    names : NameTable, optional
        Canonical names that events get before they are applied; without it they stay.

    Raises
    ------
    ValueError
        If there is no slot, or two stages have one name.
    """

    def __init__(
        self,
        slots: Iterable[StageSlot],
        *,
        keep_events: bool = False,
        names: NameTable = IDENTITY,
    ) -> None:
        self.slots = tuple(slots)
        self.names = names
        stages = [slot.stage.name for slot in self.slots]
        if not stages or len(dict.fromkeys(stages)) != len(stages):
            raise ValueError(f"stages must have names of their own, were {stages}")
        self._routes: dict[type, tuple[tuple[StageSlot, bool], ...]] = {}
        for kind in dict.fromkeys(kind for slot in self.slots for kind in slot.takes):
            takers = [slot for slot in self.slots if kind in slot.takes]
            # The journal records an input once, although several stages may take it.
            first = next((slot for slot in takers if keep_events or slot.journal), None)
            self._routes[kind] = tuple((slot, slot is first) for slot in takers)

    def takes(self, kind: type) -> bool:
        """Whether some stage takes inputs of this class."""
        return kind in self._routes

    def apply(self, event: Any, effects: Effects) -> None:
        """Pass one input to the stages that take it, and their readings to later stages."""
        for slot, journalled in self._routes[type(event)]:
            if journalled:
                effects.inputs.append(event)
            for output in slot.stage.step(slot.state, event):
                if type(output) in self._routes:
                    self.apply(output, effects)
                else:
                    effects.outputs.append(output)

    def load(self, rows: dict[str, dict[str, Row]]) -> None:
        """Load the stored rows of every stage. Called once, before the first input."""
        for slot in self.slots:
            slot.state.load(rows.get(slot.stage.name, {}))

    def drain(self) -> dict[str, RowChanges]:
        """Return the rows that changed since the last call, per stage with changes."""
        return {slot.stage.name: changes for slot in self.slots if (changes := slot.state.drain())}
