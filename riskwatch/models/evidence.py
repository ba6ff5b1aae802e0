"""Evidence about generations: losses, calibration, e-values and the authority record."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

CLIP: Final = 1e-4
"""Losses use probabilities clipped to [CLIP, 1 - CLIP], so a label costs at most 9.2103 nats."""


_TOP: Final = 1.0 - CLIP


def clip_probability(probability: float) -> float:
    """Return the probability clipped to [CLIP, 1 - CLIP].

    Examples
    --------
    >>> clip_probability(0.0), clip_probability(0.3)
    (0.0001, 0.3)
    """
    if probability < CLIP:
        return CLIP
    return min(_TOP, probability)


class Evidence(msgspec.Struct, gc=False):
    """Losses of one generation on one scope and target, over matured labels.

    Attributes
    ----------
    count, positives : int
        Number of labels, and of true labels.
    log_loss_sum : float
        Sum of log losses, nats.
    brier_sum : float
        Sum of squared errors of the clipped probability.
    events : int
        Number of independent events: true labels with no other true label shortly before.
    event_us : int
        Time of the sample of the last true label, microseconds; -1 before the first.

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
        """Add one matured label.

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
        """Add a true label whose sample was taken at `us`; return whether it is a new event.

        It is a new event if no sample within `gap` microseconds before it was true.
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


BINS: Final = 10
"""Bins of a :class:`ReliabilityTable`."""


class BrierDecomposition(msgspec.Struct, frozen=True):
    """The Brier score in parts: ``brier = reliability - resolution + uncertainty + within``.

    Murphy, "A new vector partition of the probability score", Journal of Applied Meteorology 12,
    1973. `within` is the part that binning hides, because the probabilities of one bin differ
    (Stephenson, Coelho and Jolliffe, "Two extra components in the Brier score decomposition",
    Weather and Forecasting 23, 2008).
    """

    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


class ReliabilityTable(msgspec.Struct, gc=False):
    """Calibration of one generation on one target, over all scopes.

    The table compares stated probabilities with outcomes, in ten bins of the probability.

    Attributes
    ----------
    counts : list of int
        Number of labels by bin.
    said : list of float
        Sum of the stated probabilities by bin.
    trues : list of int
        Number of true labels by bin.
    log_loss_sum : float
        Sum of log losses, nats.
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
        """Add one matured label."""
        p = clip_probability(probability)
        at = min(int(p * BINS), BINS - 1)
        self.counts[at] += 1
        self.said[at] += p
        self.trues[at] += label
        self.log_loss_sum -= math.log(p) if label else math.log1p(-p)
        self.brier_sum += (p - label) ** 2

    @property
    def labels(self) -> int:
        """Number of labels."""
        return sum(self.counts)

    @property
    def positives(self) -> int:
        """Number of true labels."""
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


# E-values by betting: how sure we may be that one forecaster is better than another.
#
# On each label the challenger bets against the other forecaster and wins the difference of their
# log losses. Suppose that the challenger's expected loss is never smaller than the other's, given
# the information at the time of both predictions. Then no betting strategy makes money on average,
# and the capital ever exceeds :math:`1/\alpha` with probability at most :math:`\alpha` (Ville).
# The bets are fixed shares of the capital, side by side (Waudby-Smith and Ramdas, "Estimating means
# of bounded random variables by betting", JRSS B 86, 2024; for forecasters: Choe and Ramdas,
# "Comparing sequential forecasters", Operations Research 72, 2024).
#
# Three properties of the stream need care:
#
# * **Overlapping horizons.** Time is cut into cells. Cells are assigned round robin to so many
#   processes that two cells of one process never share a horizon. The evidence is the mean of the
#   processes' capitals.
# * **Several scopes.** The gains of a cell are summed over all its labels of all scopes, and
#   multiply the capital once. This needs no independence between scopes.
# * **Bounded losses.** The largest cost of a label is known when both predictions are. A cell may
#   lose one nat in all. A label that could cost more than the rest of that nat counts for less.

BET_SHARES: Final = (0.5, 0.25, 0.125, 0.0625, 0.03125)
"""Shares of the capital to stake per nat."""
MAX_PROCESSES: Final = 48
"""Largest number of processes."""
MAX_EVIDENCE: Final = 1e12
"""Upper bound of a reported e-value."""


class HorizonCells(msgspec.Struct, frozen=True):
    """Division of time into cells for one horizon.

    Attributes
    ----------
    width : int
        Width of a cell, microseconds.
    processes : int
        Number of processes that take turns.

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
        """Return cells of about one sample each; fewer and wider ones for a very long horizon.

        Two cells of one process begin at least ``horizon + width`` apart. So all labels of the
        earlier cell are known when a sample of the later cell is taken.
        """
        between = min(max(1, math.ceil(horizon / every)), MAX_PROCESSES - 1)
        return cls(max(1, math.ceil(horizon / between)), between + 1)

    def at(self, us: int) -> tuple[int, int]:
        """Return the process and the cell of a moment."""
        cell = us // self.width
        return cell % self.processes, cell


class BettingProcess(msgspec.Struct, array_like=True, gc=False):
    """Capital of one betting process.

    Attributes
    ----------
    logs : list of float
        Log capital of each bet, over the closed cells.
    cell : int
        The open cell; -1 before the first.
    won : float
        Gain of the open cell so far, nats.
    risked : float
        Largest possible loss of the open cell so far, nats; at most 1.
    log : float
        Logarithm of the mean capital of the bets, the open cell included.
    """

    logs: list[float]
    cell: int = -1
    won: float = 0.0
    risked: float = 0.0
    log: float = 0.0

    def bet(self, cell: int, gain: float, worst: float) -> None:
        """Bet on one label. A label of a closed cell is ignored."""
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
        won = max(self.won, -1.0)  # rounding must not push the loss beyond 1 nat
        return [log + math.log1p(bet * won) for log, bet in zip(self.logs, BET_SHARES, strict=True)]


class Capital(msgspec.Struct, gc=False):
    """Capital of a bettor on one forecaster against another.

    Attributes
    ----------
    purses : list of BettingProcess
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
        """Return capital 1 in every process."""
        return cls([BettingProcess([0.0] * len(BET_SHARES)) for _ in range(processes)])

    def bet(self, at: tuple[int, int], gain: float, worst: float) -> None:
        """Bet on one label.

        Parameters
        ----------
        at : tuple of int
            Process and cell of the sample (:meth:`HorizonCells.at`).
        gain : float
            Loss of the other forecaster less the loss of this one, nats.
        worst : float
            Smallest possible value of `gain`, nats.
        """
        self.purses[at[0]].bet(at[1], gain, worst)

    @property
    def e_value(self) -> float:
        """Mean capital over the processes: 1 before any label, at most :data:`MAX_EVIDENCE`."""
        log = log_mean([process.log for process in self.purses])
        return math.exp(min(log, math.log(MAX_EVIDENCE)))


def gains(one: float, other: float, *, label: bool) -> tuple[float, float]:
    """Return the gain of `one` over `other`, and its smallest possible value, nats.

    Parameters
    ----------
    one, other : float
        Probabilities within (0, 1).
    label : bool
        The label.
    """
    if_true = math.log(one / other)
    if_false = math.log((1.0 - one) / (1.0 - other))
    return (if_true if label else if_false), min(if_true, if_false)


def log_mean(logs: list[float]) -> float:
    """Return the logarithm of the mean of ``exp(log)`` over `logs`."""
    top = max(logs)
    return top + math.log(sum(math.exp(log - top) for log in logs) / len(logs))


class LabelWait(msgspec.Struct, gc=False):
    """Time since which a target waits for a label.

    Attributes
    ----------
    asked : int
        First time that it was open since its last label, microseconds; -1 if it does not wait.
    seen : int
        Last time, to the hour, that it was open and its measure could give a label, microseconds;
        -1 if that was not recorded.
    """

    asked: int = -1
    seen: int = -1


class AuthorityRecord(msgspec.Struct, gc=False):
    """Authority record of one generation on one target, over all scopes.

    Attributes
    ----------
    authority : str
        Its authority now.
    since : int
        Time of the last change of authority, microseconds; -1 if there was none.
    reason : str
        Reason of that change; empty before the first.
    tests : int
        Number of tests for promotion, with the current one. Each test gets a smaller share of
        alpha.
    held : int
        Time at which the evidence of this test sufficed, microseconds; -1 if it does not. The
        test is decided once every label that was pending then is known.
    quarantined : bool
        Whether it failed a check. Only a command raises it again.
    up, down : Capital or None
        Evidence that it is better than its rival, and that it is worse than the rules, since
        the last change of authority; ``None`` before any label.
    drift : dict
        State of the drift test.
    table : ReliabilityTable
        Calibration over its whole life.
    events, entities : int
        Number of independent events, and of scopes that had any event.
    shown : int
        Time at which the record was last emitted, microseconds; -1 for never.
    fresh : bool
        Whether the record changed since.
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
        """Change the authority, and reset the evidence."""
        self.authority, self.since, self.reason = authority, us, reason
        self.tests += 1
        self.held = -1
        self.up = self.down = None
        self.drift = {}
        self.fresh = True
