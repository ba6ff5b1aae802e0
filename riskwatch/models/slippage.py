"""What a fill costs, as a quantile, learned from our own fills by asset and size.

The prior is the square-root law of market impact (B. Tóth et al., "Anomalous price impact and the
critical nature of liquidity in financial markets", Phys. Rev. X 1, 2011): half the spread plus
``Y * sigma * sqrt(Q / V)``. What is learned is by how much the wanted quantile is more or less
than the law says, as a factor per bucket of size; it is 1 before any fill.
"""

from __future__ import annotations

from bisect import bisect_right
from math import exp, inf, isfinite, log
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from river import base

from riskwatch.core.clock import SECOND
from riskwatch.core.money import quantise
from riskwatch.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.risk.scorer import ImpactLaw, SlippageConfig

REACH: Final = log(64.0)
"""The factor stays within 1/64 to 64."""
FLOOR_BP: Final = 0.1
"""The law says at least this much where it is to be scaled, bp: nothing times nothing."""


class PinballFactor(base.Regressor):
    r"""A quantile of a target as a multiple of a prior, by online subgradient of the pinball loss.

    ``q = prior * exp(w)`` with `w` at 0 before any observation. The subgradient of the pinball
    loss [1]_ with respect to `q` is ``1[y <= q] - quantile``; a step of fixed size against it,
    taken in `w` so that `q` stays positive and steps are relative, is

    .. math:: w \leftarrow w + \mathrm{lr} \, (\mathrm{quantile} - 1[y \le q])

    Whatever the sequence, and as long as `w` does not meet its bounds, the share of observations
    at or below what was said differs from `quantile` by at most
    ``(2 * REACH + lr) / (lr * n)`` after `n` of them [2]_.

    Parameters
    ----------
    quantile : float
        In (0, 1).
    lr : float
        Size of a step, in (0, 1].

    Raises
    ------
    ValueError
        If one of them is out of its range.

    References
    ----------
    .. [1] R. Koenker and G. Bassett, "Regression Quantiles", Econometrica 46 (1978).
    .. [2] I. Gibbs and E. Candès, "Adaptive Conformal Inference Under Distribution Shift",
       NeurIPS 2021: proposition 4.1, whose argument this is.

    Examples
    --------
    >>> model = PinballFactor(quantile=0.9, lr=0.1)
    >>> model.predict_one({"prior": 4.0})
    4.0
    >>> for _ in range(200):
    ...     model.learn_one({"prior": 4.0}, 12.0)
    >>> 11.0 < model.predict_one({"prior": 4.0}) < 13.2
    True
    """

    def __init__(self, quantile: float = 0.9, lr: float = 0.1) -> None:
        if not 0.0 < quantile < 1.0:
            raise ValueError(f"quantile must be in (0, 1), was {quantile}")
        if not 0.0 < lr <= 1.0:
            raise ValueError(f"lr must be in (0, 1], was {lr}")
        self.quantile = quantile
        self.lr = lr
        self.logarithm = 0.0

    def predict_one(self, x: Mapping[Any, Any]) -> float:
        """Quantile of what is to come, in the unit of ``x["prior"]``."""
        return float(x["prior"]) * exp(self.logarithm)

    def learn_one(self, x: Mapping[Any, Any], y: float) -> None:
        """Learn from one observation; one that is not finite teaches nothing."""
        if not isfinite(y):
            return
        step = self.quantile - (1.0 if y <= self.predict_one(x) else 0.0)
        self.logarithm = max(-REACH, min(REACH, self.logarithm + self.lr * step))


class SlippageBucket(msgspec.Struct, array_like=True, gc=False):
    """What was learned of fills of one size.

    Attributes
    ----------
    logarithm : float
        Of the factor on the law.
    count, within : int
        Fills, and how many cost no more than was said before them.
    loss_sum, law_loss_sum : float
        Sums of pinball losses of what was said, and of the law alone, bp.
    """

    logarithm: float = 0.0
    count: int = 0
    within: int = 0
    loss_sum: float = 0.0
    law_loss_sum: float = 0.0


class SlippageRow(msgspec.Struct):
    """What was learned of one asset, and what became of the horizons in which it was asked.

    Attributes
    ----------
    buckets : dict of str to Bucket
        By the upper edge of the size, USD: what was learned of edges that are not configured
        now is left alone.
    asked : int
        When the present horizon began, microseconds; -1 while we hold none of it.
    filled : bool
        Whether there was a fill in it.
    labelled, unlabelled, censored : int
        Horizons with a fill; without one; and without one because we had left: that says
        nothing of what it would have cost.
    missed : int
        Fills of which too little was known to learn from them.
    """

    buckets: dict[str, SlippageBucket] = {}
    asked: int = -1
    filled: bool = False
    labelled: int = 0
    unlabelled: int = 0
    censored: int = 0
    missed: int = 0


class SlippageState(Protocol):
    """Where the rows of slippage lie.

    Attributes
    ----------
    slippage : dict of str to SlippageRow
        By asset.
    """

    slippage: dict[str, SlippageRow]

    def mark(self, row: str) -> None:
        """Remember that a row changed and must be written."""
        ...


class SlippageEstimator:
    """Slippage of fills by asset and size; see :class:`riskwatch.core.risk.scorer.SlippageModel`.

    Parameters
    ----------
    config : SlippageConfig
        Quantile, sizes, pace.
    most : int
        Most assets that are learned about.

    Raises
    ------
    ModelError
        If a value is out of its range.
    """

    def __init__(self, config: SlippageConfig, most: int) -> None:
        sizes = config.sizes_usd
        if list(sizes) != sorted(dict.fromkeys(sizes)) or not all(0.0 < s < inf for s in sizes):
            raise ModelError(f"slippage: sizes_usd must be positive and ascend, were {sizes}")
        if not 0.0 < config.horizon_s < inf:
            raise ModelError(f"slippage: horizon_s must be positive, was {config.horizon_s}")
        if not 0.0 < config.rate <= 1.0:
            raise ModelError(f"slippage: rate must be in (0, 1], was {config.rate}")
        try:
            self._model = PinballFactor(config.quantile, config.rate)
        except ValueError as error:
            raise ModelError(f"slippage: {error}") from error
        self.config = config
        self.most = most
        self._names = [*(f"{size:g}" for size in sizes), "inf"]

    def bp(self, state: SlippageState, asset: str, value: float, law: ImpactLaw) -> float:
        """Quantile of the slippage of a fill of `value` USD, bp.

        It never falls with the size: a large fill costs at least what a smaller one does.
        """
        row = state.slippage.get(asset)
        if row is None:
            return law.bp(value)
        mine = bisect_right(self.config.sizes_usd, value)
        stated = self._quantile(row.buckets.get(self._names[mine]), law.bp(value))
        for name, edge in zip(self._names[:mine], self.config.sizes_usd, strict=False):
            if name in row.buckets:
                stated = max(stated, self._quantile(row.buckets[name], law.bp(edge)))
        return quantise(stated)

    def learn(
        self, state: SlippageState, asset: str, value: float, law: ImpactLaw, bp: float
    ) -> None:
        """Judge what was said of a fill of this size, then learn what it cost."""
        row = state.slippage.get(asset)
        if row is None:
            if len(state.slippage) >= self.most:
                return
            row = state.slippage[asset] = SlippageRow()
        name = self._names[bisect_right(self.config.sizes_usd, value)]
        bucket = row.buckets.setdefault(name, SlippageBucket())
        prior = law.bp(value)
        stated = self._quantile(bucket, prior)
        bucket.count += 1
        bucket.within += bp <= stated
        bucket.loss_sum += self._loss(stated, bp)
        bucket.law_loss_sum += self._loss(prior, bp)
        self._model.logarithm = bucket.logarithm
        self._model.learn_one({"prior": max(prior, FLOOR_BP)}, bp)
        bucket.logarithm = self._model.logarithm
        row.filled = True
        state.mark(f"slippage/{asset}")

    def miss(self, state: SlippageState, asset: str) -> None:
        """Count a fill of which too little is known to learn from it."""
        row = state.slippage.get(asset)
        if row is not None:
            row.missed += 1
            state.mark(f"slippage/{asset}")

    def ask(self, state: SlippageState, us: int, asset: str, *, held: bool) -> None:
        """Close a horizon that is over: labelled, unlabelled, or censored because we left."""
        row = state.slippage.get(asset)
        if row is None or (row.asked < 0 and not held):
            return
        if row.asked >= 0:
            if us - row.asked < self.config.horizon_s * SECOND:
                return
            if row.filled:
                row.labelled += 1
            elif held:
                row.unlabelled += 1
            else:
                row.censored += 1
        row.asked, row.filled = us if held else -1, False
        state.mark(f"slippage/{asset}")

    def _quantile(self, bucket: SlippageBucket | None, prior: float) -> float:
        """Quantile by the law times what was learned; the law itself before anything was."""
        if bucket is None or not bucket.count:
            return prior
        self._model.logarithm = bucket.logarithm
        return self._model.predict_one({"prior": max(prior, FLOOR_BP)})

    def _loss(self, stated: float, bp: float) -> float:
        """Pinball loss, bp."""
        tau = self.config.quantile
        return (bp - stated) * (tau if bp > stated else tau - 1.0)
