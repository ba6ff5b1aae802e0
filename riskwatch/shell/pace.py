"""How fast a unit works, how long it waits, and what cannot wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from riskwatch.core.clock import SECOND
from riskwatch.core.events import Command, Credit
from riskwatch.core.readings import PartitionFault

URGENT: Final = (Command, Credit, PartitionFault)
"""What is decided upon at once, and not at the next tick."""
PATIENCE_US: Final = 2 * SECOND
"""How long a partition that the broker says has more may keep the others waiting."""
QUIET_US: Final = SECOND
"""After such a silence, a clock of events takes the step that ends it."""
LINGER_US: Final = 50_000
"""How long what can wait may wait for company: a transaction costs as much for one as for many."""
SLICE: Final = 100
"""Records that are applied before the clock is looked at."""
LONGEST_S: Final = 0.5
"""Seconds after which a batch is closed, however few records it has."""
NEAR_US: Final = 2 * SECOND
"""So near to the moment, a worker that was behind publishes as things happen."""
OLD_US: Final = 30 * SECOND
"""If outputs are older when the worker has caught up, it is history: only the last ones go out."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a unit works.

    Attributes
    ----------
    clock : {"wall", "event"}
        Whether time passes by itself, or by events alone.
    batch : int
        Most records in one transaction.
    renew_us : int
        After how long without a commit the lease is renewed.
    alone : bool
        Whether the lease says which process works, and not the assignment of partitions: such
        a unit never takes a lease that another one holds.
    linger_us : int
        How long after a batch the next one waits to be full, unless something urgent is in it.
    """

    clock: Literal["wall", "event"] = "wall"
    batch: int = 2_000
    renew_us: int = 3 * SECOND
    alone: bool = False
    linger_us: int = 0
