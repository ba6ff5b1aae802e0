"""How far a fill goes from the consumer to a holding, counted on the way of one."""

from __future__ import annotations

import sys
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import riskwatch
from riskwatch.core.events import Fill
from riskwatch.core.ledger.holding import LedgerHolding
from riskwatch.engine import bootstrap
from riskwatch.engine.record import InputRecord
from riskwatch.worker.merge import InboundMessage
from tests.support.desks import ZERO, LocalPartitions
from tests.support.docs import steps
from tests.support.toy import fill_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

MOST_FUNCTIONS: Final = 12
MOST_FILES: Final = 9
FILL: Final = fill_line(1, 0.001)
PACKAGE: Final = Path(riskwatch.__file__).parent

Step = tuple[str, str]
"""File and function."""


def holds(value: Any) -> bool:
    """Whether a value is the fill, as message, record or event, or a collection that has it."""
    if isinstance(value, InboundMessage):
        return value.value == FILL
    if isinstance(value, InputRecord):
        return value.raw == FILL
    if isinstance(value, Fill):
        return value.event_id == "f1"
    return isinstance(value, list | tuple) and any(holds(item) for item in value)


def stack(frame: FrameType | None) -> Iterator[Step]:
    """Functions of the package that are running, innermost first."""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            # A comprehension is a part of its function.
            name = frame.f_code.co_qualname.partition(".<locals>")[0]
            yield str(path.relative_to(PACKAGE.parent)), name
        frame = frame.f_back


@contextmanager
def traced(path: dict[Step, None]) -> Iterator[None]:
    """Collect the functions that hand the fill on, in the order in which they are done with it."""

    def see(frame: FrameType, event: str, arg: Any) -> None:
        changes = event == "call" and frame.f_code is LedgerHolding.apply.__code__
        queued = event == "c_return" and isinstance(getattr(arg, "__self__", None), deque)
        if changes or (queued and holds(list(arg.__self__))):
            path.update(dict.fromkeys(stack(frame)))
        elif event == "return" and holds(arg):
            path.update(dict.fromkeys(list(stack(frame))[:1]))

    sys.setprofile(see)
    try:
        yield
    finally:
        sys.setprofile(None)


def test_a_fill_goes_a_short_way_to_its_holding(root: Path) -> None:
    """At most twelve functions in nine files, from the consumer's hand-over to the holding.

    A function of the package is on the way if it hands the fill on, in any of its forms (message,
    record or event, alone or among others): it runs when a queue of the worker has taken the fill,
    it runs when the holding is changed (and is then the holding's own or a caller of it), or it
    returns the fill. Functions that are asked something about the fill and answer it (is its key
    right, when did it arrive) are not on the way, for it does not pass through them. Above the
    partition manager stand only the loop of the process and Faust. The page for developers names
    the same functions.
    """
    config = bootstrap.configuration()
    desk = LocalPartitions(slot=lambda: bootstrap.ledger_slot(config))
    desk.assign([ZERO])
    path: dict[Step, None] = {}
    with traced(path):
        desk.enqueue(ZERO, [InboundMessage(0, 0, b"kraken", FILL, ())], 1)
        desk.work()
    store = desk.benches["ledger/0"].store
    held = [key for key in store.rows["ledger"] if key.startswith("cell/kraken/b/a//BTC")]
    assert (desk.applied("ledger/0"), len(held)) == (1, 1)
    told = "\n".join(f"{file}: {function}" for file, function in path)
    assert len(path) <= MOST_FUNCTIONS, told
    assert len({file for file, _ in path}) <= MOST_FILES, told
    assert set(path) == set(steps(root, "The way of a fill")), told
