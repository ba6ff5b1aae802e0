r"""Evidence as a bettor's capital: how sure we may be that one forecaster is better.

Whoever doubts that the challenger is better sells bets on every label: the challenger wins what
the other's log loss exceeds its own by. If its expected loss is never smaller than the other's,
given what was known when both spoke, then no way of betting makes money on average, and the
capital exceeds :math:`1/\alpha` at any time whatever with probability at most :math:`\alpha`
(Ville). The bets are fixed shares of the capital, side by side (Waudby-Smith and Ramdas,
"Estimating means of bounded random variables by betting", JRSS B 86, 2024; of forecasters: Choe
and Ramdas, "Comparing sequential forecasters", Operations Research 72, 2024).

Three things make it right here:

* **Overlapping horizons.** Time is cut into cells, and cells go round robin to as many
  processes that two cells of one process never have a horizon in common. The evidence is the
  mean of the processes' capitals.
* **Several scopes at once.** What a cell wins is added up over all its labels, whichever scope
  they are of, and multiplies the capital once: that needs no independence between scopes.
* **Bounded losses.** What a label could cost at most is known when both have spoken. A cell may
  lose one nat in all; a label that could cost more than is left of it counts for less.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

BETS: Final = (0.5, 0.25, 0.125, 0.0625, 0.03125)
"""Shares of the capital that are staked per nat."""
MOST: Final = 48
"""Processes at most."""
LARGEST: Final = 1e12
"""Evidence is never stated to be more."""


class Cells(msgspec.Struct, frozen=True):
    """How time is cut for one horizon.

    Attributes
    ----------
    width : int
        Of a cell, microseconds.
    processes : int
        How many take turns.

    Examples
    --------
    >>> cells = Cells.of(horizon=60, every=20)
    >>> cells
    Cells(width=20, processes=4)
    >>> [cells.at(us) for us in (0, 19, 20, 80)]
    [(0, 0), (0, 0), (1, 1), (0, 4)]
    """

    width: int
    processes: int

    @classmethod
    def of(cls, horizon: int, every: int) -> Cells:
        """Cells of about one sample each; fewer and wider ones for a very long horizon.

        Two cells of one process begin at least ``horizon + width`` apart, so that a sample in
        the later one is taken when all labels of the earlier one are known.
        """
        between = min(max(1, math.ceil(horizon / every)), MOST - 1)
        return cls(max(1, math.ceil(horizon / between)), between + 1)

    def at(self, us: int) -> tuple[int, int]:
        """Process and cell of a moment."""
        cell = us // self.width
        return cell % self.processes, cell


class Purse(msgspec.Struct, array_like=True, gc=False):
    """One process.

    Attributes
    ----------
    logs : list of float
        Log capital of each bet, over the cells that are closed.
    cell : int
        The open one; -1 before the first.
    won : float
        What the open cell has won so far, nats.
    risked : float
        What it could have lost so far, nats; at most 1.
    log : float
        Logarithm of the mean capital of the bets, the open cell included.
    """

    logs: list[float]
    cell: int = -1
    won: float = 0.0
    risked: float = 0.0
    log: float = 0.0

    def bet(self, cell: int, gain: float, worst: float) -> None:
        """Bet on one label; a cell that is closed already takes no more."""
        if cell < self.cell:
            return
        if cell > self.cell:
            if self.won:
                self.logs = self._now()
            self.cell, self.won, self.risked = cell, 0.0, 0.0
        room = 1.0 - self.risked
        stake = 1.0 if -worst <= room else max(0.0, room / -worst)
        self.won += stake * gain
        self.risked = min(1.0, self.risked - stake * min(0.0, worst))
        self.log = log_mean(self._now())

    def _now(self) -> list[float]:
        won = max(self.won, -1.0)  # a rounded sum must not ruin anybody
        return [log + math.log1p(bet * won) for log, bet in zip(self.logs, BETS, strict=True)]


class Capital(msgspec.Struct, gc=False):
    """What betting on one forecaster against another has come to.

    Attributes
    ----------
    purses : list of Purse
        One per process.

    Examples
    --------
    >>> capital = Capital.fresh(1)
    >>> for cell in range(90):
    ...     gain, worst = gains(0.3, 0.1, label=cell % 3 == 0)
    ...     capital.bet((0, cell), gain, worst)
    >>> capital.e_value > 20.0
    True
    """

    purses: list[Purse]

    @classmethod
    def fresh(cls, processes: int) -> Capital:
        """Capital 1 in every process."""
        return cls([Purse([0.0] * len(BETS)) for _ in range(processes)])

    def bet(self, at: tuple[int, int], gain: float, worst: float) -> None:
        """Bet on one label.

        Parameters
        ----------
        at : tuple of int
            Process and cell of the sample (:meth:`Cells.at`).
        gain : float
            Loss of the other less one's own, nats.
        worst : float
            The least that `gain` could have been, nats.
        """
        self.purses[at[0]].bet(at[1], gain, worst)

    @property
    def e_value(self) -> float:
        """Mean capital over the processes, from 1 before any label; at most `LARGEST`."""
        log = log_mean([purse.log for purse in self.purses])
        return math.exp(min(log, math.log(LARGEST)))


def gains(one: float, other: float, *, label: bool) -> tuple[float, float]:
    """What `one` gained on `other`, and the least that it could have, nats.

    Parameters
    ----------
    one, other : float
        Probabilities within (0, 1).
    label : bool
        What became of it.
    """
    if_true = math.log(one / other)
    if_false = math.log((1.0 - one) / (1.0 - other))
    return (if_true if label else if_false), min(if_true, if_false)


def log_mean(logs: list[float]) -> float:
    """Logarithm of the mean of what `logs` are the logarithms of."""
    top = max(logs)
    return top + math.log(sum(math.exp(log - top) for log in logs) / len(logs))
