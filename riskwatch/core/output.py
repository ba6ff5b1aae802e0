"""What every output carries."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec

from riskwatch.version import ENGINE


class Output(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="type"):
    """What every output carries: `id`, `cause_id`, event time `ts` and `engine`."""

    topic: ClassVar[str | None] = None

    id: str
    cause_id: str
    ts: datetime
    engine: str = ENGINE

    def key(self) -> str:
        """Key of the record on its topic, and of its row in SQL."""
        raise NotImplementedError(type(self).__name__)
