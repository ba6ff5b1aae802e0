"""State of the market stage: one row per feed, per asset and per open data-quality issue."""

from __future__ import annotations

import msgspec

from riskwatch.core.market.edges import Edge
from riskwatch.core.stage import Row, RowChanges, encode_row


class AssetState(msgspec.Struct):
    """Last solution for one asset.

    Attributes
    ----------
    x : float
        Log value against fiat.
    vol_sq : float
        Variance of its log value per minute.
    observations : int
        Ticks at which at least one fresh observation touched it.
    solved : int
        Event time of the last solution, microseconds; 0 before the first.
    established : bool
        Whether two independent venues have agreed on the present deviation since it began.
    """

    x: float = 0.0
    vol_sq: float = 0.0
    observations: int = 0
    solved: int = 0
    established: bool = False


class Issue(msgspec.Struct):
    """An open data-quality issue: since when, and when it was last seen."""

    since: int
    last: int


class Meta(msgspec.Struct):
    """What belongs to no entity: when the stage last solved and last reported."""

    solved: int = 0
    reported: int = 0
    heard: bool = False


class MarketState:
    """Rows ``edge/<venue>:<base>/<quote>``, ``asset/<id>``, ``issue/<kind>|<feed>``, ``meta``."""

    def __init__(self) -> None:
        self.edges: dict[str, Edge] = {}
        self.assets: dict[str, AssetState] = {}
        self.issues: dict[str, Issue] = {}
        self.meta = Meta()
        self.touched: dict[str, None] = {}
        self._dirty: dict[str, None] = {}

    def mark(self, row: str) -> None:
        """Remember that a row changed (or went) and must be written."""
        self._dirty[row] = None

    def drain(self) -> RowChanges:
        """Rows that changed since the last call, keys sorted."""
        out: RowChanges = {}
        for key in sorted(self._dirty):
            kind, _, name = key.partition("/")
            if kind == "edge":
                value: object | None = self.edges.get(name)
            elif kind == "asset":
                value = self.assets.get(name)
            elif kind == "issue":
                value = self.issues.get(name)
            else:
                value = [self.meta, sorted(self.touched)]
            out[key] = None if value is None else encode_row(value)
        self._dirty.clear()
        return out

    def load(self, rows: dict[str, Row]) -> None:
        """Become the state that these rows describe."""
        for key in sorted(rows):
            kind, _, name = key.partition("/")
            if kind == "edge":
                self.edges[name] = msgspec.json.decode(rows[key], type=Edge)
            elif kind == "asset":
                self.assets[name] = msgspec.json.decode(rows[key], type=AssetState)
            elif kind == "issue":
                self.issues[name] = msgspec.json.decode(rows[key], type=Issue)
            else:
                self.meta, touched = msgspec.json.decode(rows[key], type=tuple[Meta, list[str]])
                self.touched = dict.fromkeys(touched)
