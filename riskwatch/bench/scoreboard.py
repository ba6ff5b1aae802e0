"""A whole run of the scoreboard: its scores, and the rows of tables and pages."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from riskwatch.bench.criteria import Criterion, criteria
from riskwatch.bench.outcome import (
    Outcome,
    Probabilities,
    generation_of,
    outcomes,
    probabilities,
)
from riskwatch.bench.timeline import RAISED
from riskwatch.core.clock import rfc3339
from riskwatch.core.enums import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from riskwatch.bench.trial import Trial

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scoreboard:
    """Trials with all their scores."""

    trials: list[Trial]
    outcomes: list[Outcome]
    probabilities: list[Probabilities]
    criteria: list[Criterion]

    @classmethod
    def of(cls, trials: Sequence[Trial]) -> Scoreboard:
        """Score trials."""
        scored = [outcome for trial in trials for outcome in outcomes(trial)]
        judged = [each for trial in trials for each in probabilities(trial)]
        return cls(list(trials), scored, judged, criteria(trials, scored, judged))

    def results(self) -> list[Row]:
        """Return one row per trial, contender and fact, by the columns of ``scoreboard_result``."""
        scores = {(t.case.name, t.seed): t.scores for t in self.trials}
        return [
            {
                "episode": o.case,
                "seed": o.seed,
                "contender": o.contender,
                "scope": o.scope,
                "generation": generation_of(o.contender, scores[o.case, o.seed]),
                "watch_s": o.delays_s[State.WATCH],
                "reduce_s": o.delays_s[State.REDUCE],
                "halt_s": o.delays_s[State.HALT],
                "false_watch": o.false[State.WATCH],
                "false_reduce": o.false[State.REDUCE],
                "false_halt": o.false[State.HALT],
                "entity_months": o.entity_months,
                "cause": o.cause,
                "cause_right": o.cause_right,
                "exposed_usd": o.exposed_usd,
                "normal_s": o.normal_s,
                "latched": o.latched,
                "event": o.event,
            }
            for o in self.outcomes
        ]

    def judgements(self) -> list[Row]:
        """Return a row per series and generation, by the columns of ``scoreboard_probability``."""
        return [
            {
                "episode": p.case,
                "seed": p.seed,
                "scope": p.scope,
                "target": p.target,
                "generation": p.generation,
                "samples": p.judged.samples,
                "positives": p.judged.positives,
                "events": p.events,
                "average_precision": p.judged.ap,
                "deviation_precision": p.ap_deviation,
                "log_loss": p.judged.log_loss,
                "brier": p.judged.brier,
                "climatology": p.judged.climatology,
                "high": p.judged.high,
                "high_said": p.judged.high_said,
                "high_rate": p.judged.high_rate,
            }
            for p in self.probabilities
        ]

    def verdicts(self) -> list[Row]:
        """Return one row per criterion, by the columns of ``scoreboard_criterion``."""
        return [
            {"position": n, "criterion": c.name, "verdict": c.verdict, "said": c.said}
            for n, c in enumerate(self.criteria)
        ]

    def table(self) -> list[Row]:
        """Return one row of text per case, fact and contender: medians over seeds."""
        groups: dict[tuple[str, str, int, str], list[Outcome]] = {}
        for o in self.outcomes:
            groups.setdefault((o.case, o.scope, o.onset, o.contender), []).append(o)
        return [
            {
                "episode": case,
                "scope": scope,
                "onset": rfc3339(onset)[:10],
                "contender": contender,
                **{s.value: minutes([o.delays_s[s] for o in rows]) for s in RAISED},
                "false W/R/H": "/".join(str(sum(o.false[s] for o in rows)) for s in RAISED),
                "cause": _causes(rows),
                "USD at HALT": format_usd([o.exposed_usd for o in rows]),
                "back to NORMAL": _back(rows),
            }
            for (case, scope, onset, contender), rows in groups.items()
        ]

    def rates(self) -> list[Row]:
        """Return one row per contender: false alarms per entity-month by state, over all cases."""
        out = []
        for contender in dict.fromkeys(o.contender for o in self.outcomes):
            rows = [o for o in self.outcomes if o.contender == contender]
            months = sum(o.entity_months for o in rows)
            row: Row = {"contender": contender, "entity-months": f"{months:.2f}"}
            for state in RAISED:
                row[state.value] = f"{sum(o.false[state] for o in rows) / months:.3f}"
            out.append(row)
        return out

    def scores(self) -> list[Row]:
        """Return one row per case, scope, target and generation: means over seeds."""
        groups: dict[tuple[str, str, str, str], list[Probabilities]] = {}
        for p in self.probabilities:
            groups.setdefault((p.case, p.scope, p.target, p.generation), []).append(p)
        return [
            {
                "episode": key[0],
                "scope": key[1],
                "target": key[2],
                "generation": key[3],
                "events": f"{_mean([float(p.events) for p in rows]):.1f}",
                "samples": str(sum(p.judged.samples for p in rows)),
                "AP": number([p.judged.ap for p in rows]),
                "AP of |deviation|": number([p.ap_deviation for p in rows]),
                "log loss": number([p.judged.log_loss for p in rows]),
                "Brier": number([p.judged.brier for p in rows], 4),
                "climatology": number([p.judged.climatology for p in rows], 4),
            }
            for key, rows in groups.items()
        ]


def minutes(delays: Sequence[float | None]) -> str:
    """Return the median of the known delays in minutes with its sign, and how many are known.

    Examples
    --------
    >>> minutes([60.0, 120.0, 600.0]), minutes([None]), minutes([-90.0, None])
    ('+2', 'never', '-2 (1 of 2)')
    """
    known = [delay for delay in delays if delay is not None]
    if not known:
        return "never"
    tail = "" if len(known) == len(delays) else f" ({len(known)} of {len(delays)})"
    return f"{median(known) / 60:+.0f}{tail}"


def format_usd(amounts: Sequence[float | None]) -> str:
    """Return the median of amounts in USD; a dash if there is none."""
    known = [amount for amount in amounts if amount is not None]
    return f"{median(known):,.0f}" if known else "-"


def number(values: Sequence[float | None], digits: int = 3) -> str:
    """Return the mean of the known values; a dash if there is none."""
    known = [value for value in values if value is not None]
    return f"{_mean(known):.{digits}f}" if known else "-"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _causes(rows: Sequence[Outcome]) -> str:
    if rows[0].cause_right is None:
        return "-"
    named = "/".join(dict.fromkeys(o.cause for o in rows))
    return named if all(o.cause_right for o in rows) else f"{named} (WRONG)"


def _back(rows: Sequence[Outcome]) -> str:
    if any(o.latched for o in rows):
        return "latched"
    known = [o.normal_s for o in rows if o.normal_s is not None]
    return f"{median(known) / 3600:.1f} h" if known else "-"
