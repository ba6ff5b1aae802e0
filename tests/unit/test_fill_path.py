"""How far a fill goes from the consumer to a holding, counted on the way of one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import riskwatch
from riskwatch.core.clock import SECOND
from riskwatch.core.events import Fill
from riskwatch.core.ledger.cell import Cell
from riskwatch.shell.pace import Pace
from riskwatch.shell.unit import Unit
from tests.support.desks import BATCH, ZERO, LocalDesk
from tests.support.fakes import ListPublisher, MemoryStore
from tests.support.ledgers import ledger_unit
from tests.support.toy import START_S, fill_line
from tests.support.units import message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

MOST_FUNCTIONS: Final = 12
MOST_FILES: Final = 9
EVENT_ID: Final = "f1"
PACKAGE: Final = Path(riskwatch.__file__).parent
PARTS: Final = {"shell/inbound.py": "shell/intake.py"}
"""Files that are parts of one subject, to the file that stands for it."""


def holds(value: Any, depth: int = 4) -> bool:
    """Whether a value is the fill in one of its forms, or a collection that has it."""
    if isinstance(value, Fill):
        return value.event_id == EVENT_ID
    if isinstance(value, bytes):
        return f'"{EVENT_ID}"'.encode() in value
    if depth and isinstance(value, list | tuple):
        return any(holds(item, depth - 1) for item in value)
    if depth and hasattr(value, "raw"):
        return holds(value.raw)
    return False
