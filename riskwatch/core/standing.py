"""Facts that go out about models: how far each may go, and how good it has been."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from riskwatch.core.output import Output


class AuthorityChanged(Output, frozen=True, kw_only=True, gc=False):
    """A model generation may do more or less than before, on one target.

    Attributes
    ----------
    former, authority : str
        Before and after: ``shadow``, ``advisory``, ``bounded`` or ``full``.
    ceiling : str
        How far it may ever go.
    reason : str
        ``evidence``, ``reverse`` (evidence against it), ``drift``, ``stale``, ``check``,
        ``ceiling`` (the configuration) or ``command``.
    detail : str
        The same in words.
    by : str
        Who: ``evidence`` rules themselves, or an operator.
    evidence : dict of str to float
        The numbers that it rests on.
    """

    topic: ClassVar[str | None] = "riskwatch.alerts"

    target: str
    generation: str
    former: str
    authority: str
    ceiling: str
    reason: str
    detail: str
    by: str
    evidence: dict[str, float]

    def key(self) -> str:
        """``target|generation``."""
        return f"{self.target}|{self.generation}"


class ModelMeasured(Output, frozen=True, kw_only=True, gc=False):
    """How good one generation has been on one target, over all scopes; for SQL alone.

    Attributes
    ----------
    authority, ceiling : str
        How far it may go now, and ever.
    reason : str
        Of the last change of its authority, as of :class:`AuthorityChanged`; empty before one.
    changed : datetime or None
        When that was.
    quarantined : bool
        Whether it failed a check and waits for people.
    e_up, e_down : float
        Evidence that it is better than what it challenges, and that it is worse than the rules.
    needed : float
        Value of `e_up` from which it is promoted; 0 where it cannot be.
    labels, positives, events, entities : int
        Matured labels, those that were true, independent events, scopes with any.
    log_loss, brier : float
        Means; nats, and squared error.
    reliability, resolution, uncertainty : float
        Parts of the Brier score.
    bins : list
        Per tenth of the probability: labels, sum of probabilities, trues.
    """

    topic: ClassVar[str | None] = None

    target: str
    generation: str
    authority: str
    ceiling: str
    reason: str
    changed: datetime | None
    quarantined: bool
    e_up: float
    e_down: float
    needed: float
    labels: int
    positives: int
    events: int
    entities: int
    log_loss: float
    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    bins: list[list[float]]

    def key(self) -> str:
        """``target|generation``."""
        return f"{self.target}|{self.generation}"
