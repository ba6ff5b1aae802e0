"""What ``riskwatch fit`` measures on drawn paths alone: priors of targets, and asks for WATCH."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.core.clock import SECOND
from riskwatch.errors import RiskwatchError
from riskwatch.scenarios.drawn import levels, weight

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from riskwatch.models.rungs import Question


def priors(asked: Sequence[Question], draws: int) -> Iterator[str]:
    """Yield a table of ``models.toml`` for every depeg target, with what it is worth.

    Fitted on every second drawn path, and judged on the others.
    """
    from riskwatch.fitting.priors import measured, samples  # noqa: PLC0415 - NumPy

    paths, weights = _drawn(draws)
    for question in _discounts(asked):
        target = question.target
        every_s = question.every / SECOND
        half = [samples(target, every_s, paths[k::2], weights[k::2]) for k in (0, 1)]
        try:
            made = measured(*half)
        except ValueError as error:
            yield f"# {target.id}: none ({error})"
            continue
        yield f"# {target.id}: {made.samples} samples, {made.positives} true; on the other half"
        yield (
            f"# log loss {made.log_loss:.4f}, base rate {made.base_log_loss:.4f}; from 0.2 on "
            f"said {made.said:.2f}, came {made.came:.2f}"
        )
        yield (
            f"prior = {{ probability = {made.probability:g}, slope = {made.slope:g}, "
            f"floor = {made.floor:g} }}"
        )


def asks(asked: Sequence[Question], draws: int) -> Iterator[str]:
    """Yield how asks for WATCH do on the lowest onset of a coin's discount.

    Raises
    ------
    RiskwatchError
        If there is none.
    """
    from riskwatch.fitting.asks import tried  # noqa: PLC0415

    onsets = [question for question in _discounts(asked) if question.target.start is None]
    if not onsets:
        raise RiskwatchError("no onset of a discount is configured, so nothing can ask for WATCH")
    lowest = min(onsets, key=lambda q: (q.target.threshold, q.target.horizon_s))
    yield f"{lowest.id}: alarms in vain per coin and month; minutes before the break, median"
    paths, weights = _drawn(draws)
    for each in tried(lowest.rule, lowest.target.threshold, paths, weights):
        yield f"{each.name:36}  {each.vain:.3f}  {each.lead_min:+.0f}"


def _drawn(draws: int) -> tuple[list[list[float]], list[float]]:
    """Paths, and how much each counts."""
    return [levels(n) for n in range(draws)], [weight(n) for n in range(draws)]


def _discounts(asked: Sequence[Question]) -> list[Question]:
    """Questions about a coin below its peg, which is what the paths are of."""
    return [q for q in asked if q.target.kind == "depeg" and q.target.side == "discount"]
