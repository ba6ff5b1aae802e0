"""One solution of the price graph, with what counts for each asset."""

from __future__ import annotations

import msgspec

from riskwatch.core.market.state import bounded_value


class PriceGraphFit(msgspec.Struct, frozen=True, gc=False):
    """One solution of the graph, aligned with `live` (feeds) and `index` (assets).

    `refused` are feeds that are alive and whose price is not possible, so they are not in the fit.
    `reserved` are assets that listed venues quote. `unsolved` are assets without a value, `unused`
    are their feeds, and `dense` the feeds of a part of the graph that is too dense to solve. `part`
    is the connected part of each asset, by the feeds that count for it. `doubt` is the worst case
    of pegged assets where it is not known which of them moved, as log deviation.
    """

    live: list[str]
    index: dict[str, int]
    x: list[float]
    sd: list[float]
    share: list[float]
    residual: list[float]
    edge_sd: list[float]
    fiat: frozenset[str]
    refused: list[str] = []
    unsolved: frozenset[str] = frozenset()
    unused: list[str] = []
    dense: list[str] = []
    reserved: frozenset[str] = frozenset()
    part: list[int] = []
    doubt: dict[str, float] = {}

    def value(self, asset: str) -> float:
        """Return the log value of an asset; fiat is 0."""
        i = self.index.get(asset, -1)
        return self.x[i] if i >= 0 else 0.0

    def is_valued(self, asset: str) -> bool:
        """Whether the graph gives an asset a value within the range of values."""
        i = self.index.get(asset, -1)
        return i >= 0 and asset not in self.unsolved and bounded_value(self.x[i]) == self.x[i]

    def is_joined(self, asset: str, other: str) -> bool:
        """Whether live feeds give the value of one asset in the other.

        What a listed venue quotes, an asset that only other venues quote does not value.
        """
        if not (self.is_valued(asset) and self.is_valued(other)):
            return False
        if asset in self.reserved and other not in self.reserved:
            return False
        if asset in self.fiat and other in self.fiat:
            return True
        return self.part[self.index[asset]] == self.part[self.index[other]]
