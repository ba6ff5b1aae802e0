"""What every fact that goes out has in common, and how it is stamped."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, TypedDict

import msgspec

from riskwatch.core.clock import moment
from riskwatch.core.ids import output_id
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


class Stamp(TypedDict):
    """The fields of an output that say what it comes from."""

    id: str
    cause_id: str
    ts: datetime


class Origin(msgspec.Struct, frozen=True, gc=False):
    """What outputs come from, and when. It stamps each of them.

    Attributes
    ----------
    cause_id : str
        Identity of the causing event, or ``tick/<time>``.
    ts : datetime
        Event time.
    occasion : str
        What ids are made of where one event comes again and again, and each time counts; else
        empty, and they are made of `cause_id`.

    Examples
    --------
    >>> sorted(Origin.tick(0).stamp(Output, "asset:USDC"))
    ['cause_id', 'id', 'ts']
    """

    cause_id: str
    ts: datetime
    occasion: str = ""

    @classmethod
    def tick(cls, us: int) -> Origin:
        """Return the origin of what a tick brings about, `us` in microseconds."""
        return cls(f"tick/{us}", moment(us))

    def stamp(self, kind: type[Output], key: str) -> Stamp:
        """Return id, cause and time of the output of `kind` about `key`."""
        return {
            "id": output_id(self.occasion or self.cause_id, kind.__name__, key),
            "cause_id": self.cause_id,
            "ts": self.ts,
        }
