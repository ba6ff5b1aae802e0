"""The report of a run: one self-contained HTML file."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

from riskwatch.bench.criteria import FAIL, PASS
from riskwatch.bench.leave_one_out import DIAL
from riskwatch.bench.plots import svg
from riskwatch.core.clock import rfc3339
from riskwatch.version import ENGINE

if TYPE_CHECKING:
    from riskwatch.bench.scoreboard import Scoreboard
    from riskwatch.bench.trial import Trial


def page(board: Scoreboard, config: str) -> str:
    """Return the report of a run; `config` is the digest of the configuration.

    Raises
    ------
    RiskwatchError
        If matplotlib is not installed.
    """
    source = (files("riskwatch.bench") / "page.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    table, scores = board.table(), board.scores()
    first = {trial.case.name: trial for trial in reversed(board.trials)}
    return environment.from_string(source).render(
        engine=ENGINE,
        config=config,
        trials=len(board.trials),
        verdicts=[{"line": c, "kind": _kind(c.verdict)} for c in board.criteria],
        rates=board.rates(),
        dial=", ".join(f"{p:g}" for p in DIAL),
        cases=[
            _case(trial, table, scores, sum(t.case.name == name for t in board.trials))
            for name, trial in sorted(first.items())
        ],
    )


def _kind(verdict: str) -> str:
    return {PASS: "good", FAIL: "bad"}.get(verdict, "open")


def _case(
    trial: Trial, table: list[dict[str, Any]], scores: list[dict[str, Any]], seeds: int
) -> dict[str, Any]:
    case = trial.case
    return {
        "name": case.name,
        "title": case.title,
        "window": f"{rfc3339(case.start)} to {rfc3339(case.end)}",
        "seeds": seeds,
        "recorded": case.recorded,
        "facts": [
            {
                "what": fact.what,
                "kind": "negative control" if fact.control else "event",
                "scope": fact.scope,
                "causes": " or ".join(cause.value for cause in fact.causes),
                "onset": rfc3339(fact.onset),
                "over": "" if fact.over is None else rfc3339(fact.over),
                "answer": fact.answer.value,
            }
            for fact in case.facts
        ],
        "rows": [row for row in table if row["episode"] == case.name],
        "scores": [row for row in scores if row["episode"] == case.name],
        "plot": svg(trial),
    }
