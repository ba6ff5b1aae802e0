"""What is said of authority: changes with their grounds, and where everybody stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.core.clock import SECOND, moment
from riskwatch.core.ids import output_id
from riskwatch.core.money import quantise
from riskwatch.core.risk.models import SERVED
from riskwatch.core.standing import AuthorityChanged, ModelMeasured
from riskwatch.models.rungs import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from riskwatch.models.base import Authority
    from riskwatch.models.capital import Capital
    from riskwatch.models.judge import Judge
    from riskwatch.models.ladder_state import LadderState
    from riskwatch.models.rungs import Rung
    from riskwatch.models.standing import Standing


def numbers(standing: Standing) -> dict[str, float]:
    """Return what is known of a generation's worth, by name."""
    table = standing.table
    return {
        "e_up": _e(standing.up),
        "e_down": _e(standing.down),
        "test": float(standing.tests),
        "labels": float(table.labels),
        "positives": float(table.positives),
        "events": float(standing.events),
        "entities": float(standing.entities),
        "log_loss": quantise(table.log_loss),
        "brier": quantise(table.decomposition.brier),
    }


def changed(
    us: int, target: str, rung: Rung, standing: Standing, to: Authority, reason: str, detail: str,
    *, by: str = "evidence", numbers: Mapping[str, float], cause_id: str = "",
) -> AuthorityChanged:  # fmt: skip
    """Say that an authority changes; `standing` is as before it."""
    cause = cause_id or f"tick/{us}"
    # Two changes of one generation at one moment are two facts.
    key = f"{target}|{rung.name}|{standing.tests}"
    return AuthorityChanged(
        id=output_id(cause, "AuthorityChanged", key),
        cause_id=cause,
        ts=moment(us),
        target=target,
        generation=rung.name,
        former=standing.authority,
        authority=to.value,
        ceiling=rung.ceiling.value,
        reason=reason,
        detail=detail,
        by=by,
        evidence={name: quantise(value) for name, value in sorted(numbers.items())},
    )


def measured(judge: Judge, state: LadderState, us: int) -> Iterator[ModelMeasured]:
    """Say where everybody stands whose standing changed, if it is due."""
    every = int(judge.config.status_s * SECOND)
    due = [
        key
        for key, s in state.standings.items()
        if s.fresh and (s.shown < 0 or us - s.shown >= every or s.since == us)
    ]
    for key in sorted(due):
        standing = state.standings[key]
        target, _, name = key.rpartition("|")
        if name != SERVED and name not in judge.rungs:
            continue
        standing.shown, standing.fresh = us, False
        state.mark(f"standing/{key}")
        yield _measured(judge, state, us, target, name, standing)


def _measured(
    judge: Judge, state: LadderState, us: int, target: str, name: str, standing: Standing
) -> ModelMeasured:
    rung = judge.rungs.get(name)
    authority = ceiling = judge.served(state, target)
    able = False
    if rung is not None:
        authority, ceiling = judge.authority(state, f"{target}|{name}", rung), rung.ceiling
        able = name != RULES and authority.rank < ceiling.rank and not standing.quarantined
    table, cause, key = standing.table, f"tick/{us}", f"{target}|{name}"
    parts = table.decomposition
    bins = zip(table.counts, table.said, table.trues, strict=True)
    return ModelMeasured(
        id=output_id(cause, "ModelMeasured", key),
        cause_id=cause,
        ts=moment(us),
        target=target,
        generation=name,
        authority=authority.value,
        ceiling=ceiling.value,
        reason=standing.reason,
        changed=None if standing.since < 0 else moment(standing.since),
        quarantined=standing.quarantined,
        e_up=_e(standing.up),
        e_down=_e(standing.down),
        needed=judge.needed(standing) if able else 0.0,
        labels=table.labels,
        positives=table.positives,
        events=standing.events,
        entities=standing.entities,
        log_loss=quantise(table.log_loss),
        brier=quantise(parts.brier),
        reliability=quantise(parts.reliability),
        resolution=quantise(parts.resolution),
        uncertainty=quantise(parts.uncertainty),
        bins=[[float(n), quantise(said), float(trues)] for n, said, trues in bins],
    )


def _e(capital: Capital | None) -> float:
    """Return evidence as it is stated: 1 before any."""
    return 1.0 if capital is None else quantise(capital.e_value)
