"""One figure per case: price, value, probability and states over time, as inline SVG.

The same trial gives the same bytes for one build of matplotlib, because the figure contains no date
and no random id.
"""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any, Final

from riskwatch.bench.trial import ENSEMBLE, RULES, aggregate_generation, onset
from riskwatch.core.clock import moment
from riskwatch.core.enums import State
from riskwatch.errors import RiskwatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from riskwatch.bench.timeline import StateChange
    from riskwatch.bench.trial import Trial

POINTS: Final = 1_500
"""Most points of one line; of each interval the value furthest from zero is kept."""
COLOURS: Final = {
    State.WATCH: "#f2c14e",
    State.REDUCE: "#f08a4b",
    State.HALT: "#c8312b",
}
LINES: Final = ("#1f4e79", "#5b8c5a", "#8e5ea2", "#b0722b", "#4a4a4a")
MARKS: Final = (10, 20, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000)
"""Ticks of the axis of deviations, bp, in both directions."""
SCOPES: Final = 7
"""Most scopes whose states are drawn."""


def require_plots() -> None:
    """Refuse to draw without matplotlib.

    Raises
    ------
    RiskwatchError
        If matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401, PLC0415 - an optional extra
    except ImportError as error:
        raise RiskwatchError(
            "--html draws with matplotlib: install riskwatch[report], or leave --html out"
        ) from error


def svg(trial: Trial) -> str:
    """Return the figure of a trial.

    Raises
    ------
    RiskwatchError
        If matplotlib is not installed.
    """
    require_plots()
    import matplotlib as mpl  # noqa: PLC0415 - an optional extra
    from matplotlib.figure import Figure  # noqa: PLC0415

    settings: Any = {"svg.hashsalt": "riskwatch", "svg.fonttype": "none", "font.size": 8}
    with mpl.rc_context(settings):
        scopes = _scopes(trial)
        heights = [3.0, 1.6, 0.35 * len(scopes) + 0.4]
        figure = Figure(figsize=(9.0, sum(heights) + 0.4), layout="constrained")
        axes = figure.subplots(3, 1, sharex=True, height_ratios=heights)
        _deviations(axes[0], trial)
        _probabilities(axes[1], trial)
        _states(axes[2], trial, scopes)
        for axis in axes:
            _facts(axis, trial)
            axis.spines[["top", "right"]].set_visible(False)
        axes[2].set_xlim(moment(trial.case.start), moment(trial.case.end))
        out = StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": "riskwatch"})
    text = out.getvalue()
    return text[text.index("<svg") :]


def thin(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Keep at most about :data:`POINTS` points, of each interval the one furthest from zero."""
    step = -(-len(points) // POINTS)
    chunks = (points[i : i + step] for i in range(0, len(points), max(1, step)))
    return [max(chunk, key=lambda point: abs(point[1])) for chunk in chunks]


def _deviations(axis: Any, trial: Trial) -> None:
    for feed, points in sorted(trial.prices.items()):
        kept = thin(points)
        times, values = [moment(us) for us, _ in kept], [value for _, value in kept]
        axis.plot(times, values, lw=0.5, color="#b9c2cb", label=f"price {feed}")
    for n, (asset, series) in enumerate(sorted(trial.seen.items())):
        kept = thin([(s.us, s.deviation_bp) for s in series if s.trusted])
        times, values = [moment(us) for us, _ in kept], [value for _, value in kept]
        axis.plot(times, values, lw=0.9, color=LINES[n % len(LINES)], label=f"value {asset}")
    axis.set_yscale("symlog", linthresh=20)
    low, high = axis.get_ylim()
    axis.set_ylim(min(low, -MARKS[1]), max(high, MARKS[1]))
    low, high = axis.get_ylim()
    marks = [m for m in (*(-mark for mark in MARKS), 0, *MARKS) if low <= m <= high]
    axis.set_yticks(marks, [f"{mark:+d}" if mark else "0" for mark in marks])
    axis.minorticks_off()
    axis.axhline(0.0, color="#999999", lw=0.5)
    axis.set_ylabel("bp from peg")
    if trial.seen:
        axis.legend(loc="lower left", fontsize=7, frameon=False, ncols=4)


def _probabilities(axis: Any, trial: Trial) -> None:
    name, aggregate = onset(trial.scores), aggregate_generation(trial.scores)
    mine = [s for s in trial.scores if s.target == name]
    for generation in dict.fromkeys(s.generation for s in mine):
        for n, scope in enumerate(sorted({s.scope for s in mine})):
            kept = thin(
                [
                    (s.us, s.probability)
                    for s in mine
                    if s.generation == generation and s.scope == scope
                ]
            )
            style = {"lw": 1.1, "ls": "-"} if generation == aggregate else {"lw": 0.6, "ls": ":"}
            times, values = [moment(us) for us, _ in kept], [p for _, p in kept]
            axis.plot(times, values, color=LINES[n % len(LINES)], **style)
    axis.set_ylim(0.0, 1.0)
    axis.set_ylabel("probability")
    if name:
        axis.set_title(f"{name}: {aggregate} solid, others dotted", fontsize=7, loc="left")


def _scopes(trial: Trial) -> list[tuple[str, str]]:
    """Return contender and scope of each row of states; the scopes of the facts come first."""
    rows: dict[tuple[str, str], None] = {}
    for fact in trial.case.facts:
        rows[ENSEMBLE, fact.scope] = None
        rows[RULES, fact.scope] = None
    for change in trial.changes[ENSEMBLE]:
        rows[ENSEMBLE, change.scope] = None
    return list(rows)[:SCOPES] or [(ENSEMBLE, "")]


def _states(axis: Any, trial: Trial, rows: Sequence[tuple[str, str]]) -> None:
    for n, (contender, scope) in enumerate(rows):
        mine = [c for c in trial.changes[contender] if c.scope == scope]
        for change, end in _stretches(mine, trial.case.end):
            width = (moment(end) - moment(change.us)) if end > change.us else 0
            axis.barh(n, width, left=moment(change.us), height=0.7, color=COLOURS[change.state])
    axis.set_yticks(range(len(rows)), [f"{scope}  {who}" for who, scope in rows], fontsize=6.5)
    axis.set_ylim(len(rows) - 0.4, -0.6)


def _stretches(mine: Sequence[StateChange], end: int) -> list[tuple[StateChange, int]]:
    ends = [*(change.us for change in mine), end][1:]
    return [(c, e) for c, e in zip(mine, ends, strict=True) if c.state is not State.NORMAL]


def _facts(axis: Any, trial: Trial) -> None:
    for fact in trial.case.facts:
        axis.axvline(moment(fact.onset), color="#c8312b", lw=0.9, ls="--")
        if fact.over is not None:
            axis.axvline(moment(fact.over), color="#5b8c5a", lw=0.9, ls="--")
