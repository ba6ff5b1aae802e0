"""The record of one generation on one target: its authority, and what that rests on."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

# Running accounts of how good a generation's probabilities were.

CLIP: Final = 1e-4
"""Probabilities are judged within [CLIP, 1 - CLIP], so one label costs at most 9.2103 nats."""


_TOP: Final = 1.0 - CLIP


def clip_probability(probability: float) -> float:
    """`probability` as it is judged.

    Examples
    --------
    >>> clip_probability(0.0), clip_probability(0.3)
    (0.0001, 0.3)
    """
    if probability < CLIP:
        return CLIP
    return min(_TOP, probability)


class Evidence(msgspec.Struct, gc=False):
    """Losses of one generation on one target, over matured labels only.

    Attributes
    ----------
    count, positives : int
        Labels, and how many of them were true.
    log_loss_sum : float
        Sum of log losses, nats.
    brier_sum : float
        Sum of squared errors, of the clipped probability too.
    events : int
        Trues that were not merely more of the same: each a while after the one before.
    event_us : int
        When the sample of the last true was taken, microseconds; -1 before the first.

    Examples
    --------
    >>> evidence = Evidence()
    >>> evidence.add(0.5, label=True)
    >>> evidence.add(0.0, label=False)
    >>> round(evidence.log_loss, 4), round(evidence.brier, 4)
    (0.3466, 0.125)
    """

    count: int = 0
    positives: int = 0
    log_loss_sum: float = 0.0
    brier_sum: float = 0.0
    events: int = 0
    event_us: int = -1

    def add(self, probability: float, *, label: bool) -> None:
        """Account for one matured label.

        Raises
        ------
        ValueError
            If `probability` is not within [0, 1].
        """
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"probability must be in [0, 1], was {probability}")
        p = clip_probability(probability)
        self.count += 1
        self.positives += label
        self.log_loss_sum -= math.log(p) if label else math.log1p(-p)
        self.brier_sum += (p - label) ** 2

    def add_event(self, us: int, gap: int) -> bool:
        """Note a true whose sample was taken at `us`; whether it is another event.

        It is if no sample within `gap` before it was true.
        """
        fresh = self.event_us < 0 or us - self.event_us > gap
        self.event_us = max(self.event_us, us)
        self.events += fresh
        return fresh

    @property
    def log_loss(self) -> float:
        """Mean log loss, nats; 0 before any label."""
        return self.log_loss_sum / self.count if self.count else 0.0

    @property
    def brier(self) -> float:
        """Mean squared error; 0 before any label."""
        return self.brier_sum / self.count if self.count else 0.0


# Whether what was called 20 % happened in a fifth of the cases: a table that fits in one row.

BINS: Final = 10


class BrierDecomposition(msgspec.Struct, frozen=True):
    """The Brier score in parts: ``brier = reliability - resolution + uncertainty + within``.

    Murphy, "A new vector partition of the probability score", Journal of Applied Meteorology 12,
    1973. `within` is what the bins hide: probabilities of one bin are not all alike
    (Stephenson, Coelho and Jolliffe, "Two extra components in the Brier score decomposition",
    Weather and Forecasting 23, 2008).
    """

    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


class ReliabilityTable(msgspec.Struct, gc=False):
    """What was said and what happened, over all scopes of one target and generation.

    Attributes
    ----------
    counts : list of int
        Labels by tenth of the probability that was said.
    said : list of float
        Sums of those probabilities.
    trues : list of int
        How many of them came true.
    log_loss_sum : float
        Nats.
    brier_sum : float
        Sum of squared errors.

    Examples
    --------
    >>> table = ReliabilityTable()
    >>> for n in range(10):
    ...     table.add(0.2, label=n < 2)
    >>> table.counts[2], round(table.said[2], 6), table.trues[2]
    (10, 2.0, 2)
    >>> parts = table.decomposition
    >>> round(parts.reliability, 6), round(parts.resolution, 6), round(parts.uncertainty, 6)
    (0.0, 0.0, 0.16)
    """

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * BINS)
    said: list[float] = msgspec.field(default_factory=lambda: [0.0] * BINS)
    trues: list[int] = msgspec.field(default_factory=lambda: [0] * BINS)
    log_loss_sum: float = 0.0
    brier_sum: float = 0.0

    def add(self, probability: float, *, label: bool) -> None:
        """Account for one matured label."""
        p = clip_probability(probability)
        at = min(int(p * BINS), BINS - 1)
        self.counts[at] += 1
        self.said[at] += p
        self.trues[at] += label
        self.log_loss_sum -= math.log(p) if label else math.log1p(-p)
        self.brier_sum += (p - label) ** 2

    @property
    def labels(self) -> int:
        """How many labels there were."""
        return sum(self.counts)

    @property
    def positives(self) -> int:
        """How many were true."""
        return sum(self.trues)

    @property
    def log_loss(self) -> float:
        """Mean log loss, nats; 0 before any label."""
        labels = self.labels
        return self.log_loss_sum / labels if labels else 0.0

    @property
    def decomposition(self) -> BrierDecomposition:
        """Brier score in parts; zeros before any label."""
        labels = self.labels
        if not labels:
            return BrierDecomposition(0.0, 0.0, 0.0, 0.0, 0.0)
        base = self.positives / labels
        reliability = resolution = 0.0
        for count, stated, trues in zip(self.counts, self.said, self.trues, strict=True):
            if count:
                reliability += count * (stated / count - trues / count) ** 2
                resolution += count * (trues / count - base) ** 2
        brier = self.brier_sum / labels
        reliability, resolution = reliability / labels, resolution / labels
        uncertainty = base * (1.0 - base)
        within = brier - (reliability - resolution + uncertainty)
        return BrierDecomposition(brier, reliability, resolution, uncertainty, within)


# Evidence as a bettor's capital: how sure we may be that one forecaster is better.
#
# Whoever doubts that the challenger is better sells bets on every label: the challenger wins what
# the other's log loss exceeds its own by. If its expected loss is never smaller than the other's,
# given what was known when both spoke, then no way of betting makes money on average, and the
# capital exceeds :math:`1/\alpha` at any time whatever with probability at most :math:`\alpha`
# (Ville). The bets are fixed shares of the capital, side by side (Waudby-Smith and Ramdas,
# "Estimating means of bounded random variables by betting", JRSS B 86, 2024; of forecasters: Choe
# and Ramdas, "Comparing sequential forecasters", Operations Research 72, 2024).
#
# Three things make it right here:
#
# * **Overlapping horizons.** Time is cut into cells, and cells go round robin to as many
#   processes that two cells of one process never have a horizon in common. The evidence is the
#   mean of the processes' capitals.
# * **Several scopes at once.** What a cell wins is added up over all its labels, whichever scope
#   they are of, and multiplies the capital once: that needs no independence between scopes.
# * **Bounded losses.** What a label could cost at most is known when both have spoken. A cell may
#   lose one nat in all; a label that could cost more than is left of it counts for less.

BET_SHARES: Final = (0.5, 0.25, 0.125, 0.0625, 0.03125)
"""Shares of the capital that are staked per nat."""
MAX_PROCESSES: Final = 48
"""Processes at most."""
MAX_EVIDENCE: Final = 1e12
"""Evidence is never stated to be more."""


class HorizonCells(msgspec.Struct, frozen=True):
    """How time is cut for one horizon.

    Attributes
    ----------
    width : int
        Of a cell, microseconds.
    processes : int
        How many take turns.

    Examples
    --------
    >>> cells = HorizonCells.of(horizon=60, every=20)
    >>> cells
    HorizonCells(width=20, processes=4)
    >>> [cells.at(us) for us in (0, 19, 20, 80)]
    [(0, 0), (0, 0), (1, 1), (0, 4)]
    """

    width: int
    processes: int

    @classmethod
    def of(cls, horizon: int, every: int) -> HorizonCells:
        """Cells of about one sample each; fewer and wider ones for a very long horizon.

        Two cells of one process begin at least ``horizon + width`` apart, so that a sample in
        the later one is taken when all labels of the earlier one are known.
        """
        between = min(max(1, math.ceil(horizon / every)), MAX_PROCESSES - 1)
        return cls(max(1, math.ceil(horizon / between)), between + 1)

    def at(self, us: int) -> tuple[int, int]:
        """Process and cell of a moment."""
        cell = us // self.width
        return cell % self.processes, cell


class BettingProcess(msgspec.Struct, array_like=True, gc=False):
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
        return [log + math.log1p(bet * won) for log, bet in zip(self.logs, BET_SHARES, strict=True)]


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

    purses: list[BettingProcess]

    @classmethod
    def fresh(cls, processes: int) -> Capital:
        """Capital 1 in every process."""
        return cls([BettingProcess([0.0] * len(BET_SHARES)) for _ in range(processes)])

    def bet(self, at: tuple[int, int], gain: float, worst: float) -> None:
        """Bet on one label.

        Parameters
        ----------
        at : tuple of int
            Process and cell of the sample (:meth:`HorizonCells.at`).
        gain : float
            Loss of the other less one's own, nats.
        worst : float
            The least that `gain` could have been, nats.
        """
        self.purses[at[0]].bet(at[1], gain, worst)

    @property
    def e_value(self) -> float:
        """Mean capital over the processes, from 1 before any label; at most `LARGEST`."""
        log = log_mean([process.log for process in self.purses])
        return math.exp(min(log, math.log(MAX_EVIDENCE)))


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


class LabelWait(msgspec.Struct, gc=False):
    """How long a target has waited for a label.

    Attributes
    ----------
    asked : int
        When it was first asked since its last label, microseconds; -1 if not since.
    """

    asked: int = -1


class AuthorityRecord(msgspec.Struct, gc=False):
    """Record of one generation on one target, over all scopes.

    Attributes
    ----------
    authority : str
        How far it may go now.
    since : int
        When its authority last changed, microseconds; -1 if it never did.
    reason : str
        Of that change; empty before one.
    tests : int
        Tests of whether it deserves more, this one counted: each gets a smaller share of alpha.
    held : int
        When the evidence of this test sufficed, microseconds; -1 if it does not. The test is
        decided once every label that was awaited then is known.
    quarantined : bool
        Whether it failed a check; only a command lets it rise again.
    up, down : Capital or None
        Evidence that it is better than what it challenges, and worse than the rules, since
        its authority last changed; ``None`` before any label.
    drift : dict
        State of the test for drift.
    table : Reliability
        What it stated and what happened, over its whole life.
    events, entities : int
        Independent events that it was judged on, and scopes that had any event.
    shown : int
        When this was last put out, microseconds; -1 for never.
    fresh : bool
        Whether it changed since.
    """

    authority: str
    since: int = -1
    reason: str = ""
    tests: int = 1
    held: int = -1
    quarantined: bool = False
    up: Capital | None = None
    down: Capital | None = None
    drift: dict[str, Any] = {}
    table: ReliabilityTable = msgspec.field(default_factory=ReliabilityTable)
    events: int = 0
    entities: int = 0
    shown: int = -1
    fresh: bool = True

    def set_authority(self, authority: str, us: int, reason: str) -> None:
        """Change authority; evidence about the old authority no longer counts."""
        self.authority, self.since, self.reason = authority, us, reason
        self.tests += 1
        self.held = -1
        self.up = self.down = None
        self.drift = {}
        self.fresh = True
