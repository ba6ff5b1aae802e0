"""One line per figure, and the table of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes
    ----------
    what, measured, beside, target : str
        As they are shown.
    load : float
        Load average of the last minute, this run's own included.
    """

    what: str
    measured: str
    beside: str = ""
    target: str = ""
    load: float = field(default_factory=lambda: os.getloadavg()[0])


def table(figures: list[Figure]) -> str:
    """Lay figures out as a table in Markdown."""
    head = ("what", "measured", "beside", "target", "load")
    rows = [(f.what, f.measured, f.beside, f.target, f"{f.load:.1f}") for f in figures]
    wide = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [head, tuple("-" * w for w in wide), *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, wide, strict=True)) + " |"
        for line in lines
    )


def quantile(values: list[float], share: float) -> float:
    """The value that `share` of all are at most; no interpolation."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(seconds: list[float]) -> str:
    """Milliseconds at the middle and at the far end."""
    p50, p99 = (1e3 * quantile(seconds, share) for share in (0.5, 0.99))
    return f"{p50:.1f}/{p99:.1f}"
