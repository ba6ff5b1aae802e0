"""Whom the risk stage asks for scores, and for what a fill will cost.

The models themselves live in :mod:`riskwatch.models`, which `core` does not import: the
composition root hands a :class:`Scorer` in.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.outputs import AuthorityChanged, Output
    from riskwatch.core.risk.models import Scored
    from riskwatch.core.stage import StageState


class Law(msgspec.Struct, frozen=True, gc=False):
    """The square-root law of market impact for one asset now: what a fill costs before we know.

    Attributes
    ----------
    spread_bp : float
        Half of the quoted spread, bp.
    root_bp : float
        Impact of one dollar, bp; it grows with the root of the value.
    """

    spread_bp: float
    root_bp: float

    def bp(self, value: float) -> float:
        """Cost of a fill of `value` USD, bp.

        Examples
        --------
        >>> Law(1.0, 0.01).bp(1e6)
        11.0
        """
        return self.spread_bp + self.root_bp * sqrt(value)


class Slipper(Protocol):
    """Says what a fill will cost, and learns from what it did."""

    def bp(self, state: Any, asset: str, value: float, law: Law) -> float:
        """Quantile of the slippage of a fill of `value` USD, bp; the law's before any fill."""
        ...

    def learn(self, state: Any, asset: str, value: float, law: Law, bp: float) -> None:
        """Learn from a fill of `value` USD that slipped by `bp`; what was said is judged first."""
        ...

    def miss(self, state: Any, asset: str) -> None:
        """Count a fill of which too little is known to learn from it."""
        ...

    def ask(self, state: Any, us: int, asset: str, *, held: bool) -> None:
        """Take note of time passing, and of whether we hold the asset."""
        ...


class SquareRoot:
    """The law itself, which learns nothing."""

    def bp(self, state: Any, asset: str, value: float, law: Law) -> float:
        """Slippage by the law, bp."""
        del state, asset
        return law.bp(value)

    def learn(self, state: Any, asset: str, value: float, law: Law, bp: float) -> None:
        """Change nothing."""

    def miss(self, state: Any, asset: str) -> None:
        """Change nothing."""

    def ask(self, state: Any, us: int, asset: str, *, held: bool) -> None:
        """Change nothing."""


class Scorer(Protocol):
    """Scores scopes and learns from what becomes of them.

    Attributes
    ----------
    slippage : Slipper
        What fills cost; its state is that of the scorer.
    """

    slippage: Slipper

    def fresh(self) -> StageState:
        """Make the state of models that have seen nothing."""
        ...

    def observe(
        self,
        state: Any,
        us: int,
        scope: str,
        kind: str,
        features: Mapping[str, float],
        *,
        labelled: bool,
        ours: bool = True,
        due: bool = True,
    ) -> list[Scored]:
        """Score a scope, then learn from labels that have matured, then take a new sample.

        Parameters
        ----------
        state : StageState
            As made by :meth:`fresh`; changed in place.
        us : int
            Event time, microseconds.
        scope, kind : str
            Which scope, and its kind.
        features : mapping
            What is known of it now.
        labelled : bool
            Whether the measure can be trusted as a label now.
        ours : bool
            Whether we have anything on the scope now: where not, targets that rest on our own
            dealings are censored.
        due : bool
            Whether scores go out now. Where not, those are left out that may ask for nothing.
        """
        ...

    def report(self, state: Any, us: int) -> list[Output]:
        """Say what changed since the last report, and how good everybody is, where it is due.

        Parameters
        ----------
        state : StageState
            Changed in place.
        us : int
            Event time, microseconds.
        """
        ...

    def move(
        self,
        state: Any,
        us: int,
        target: str,
        generation: str,
        to: str,
        *,
        by: str,
        why: str,
        cause_id: str,
    ) -> AuthorityChanged:
        """Change the authority of a generation because a person says so.

        Parameters
        ----------
        state : StageState
            Changed in place.
        us : int
            Event time, microseconds.
        target, generation : str
            Whose authority on what.
        to : str
            ``shadow``, ``advisory``, ``bounded`` or ``full``; this also ends a quarantine.
        by, why : str
            Who says so, and the reason given.
        cause_id : str
            Identity of the command.

        Raises
        ------
        ModelError
            If it cannot be: no such target, generation or authority, beyond the ceiling, the
            rules', or nothing would change. Then nothing has changed.
        """
        ...
