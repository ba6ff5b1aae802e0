"""Facts that go out about authority: changes with their reasons, and records of generations."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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
    from riskwatch.models.judge import Judge, TargetAuthority
    from riskwatch.models.ladder_state import LadderState
    from riskwatch.models.rungs import Rung
    from riskwatch.models.standing import Standing


class Reason(NamedTuple):
    """Why an authority changes.

    Attributes
    ----------
    reason : str
        ``evidence``, ``reverse``, ``drift``, ``stale``, ``ceiling``, ``check`` or ``command``.
    detail : str
        In words.
    numbers : mapping
        What it rests on, beside what the record says.
    by : str
        Who decided: ``evidence``, or a person.
    cause_id : str
        Identity of the command; empty where time and labels decided.
    """

    reason: str
    detail: str
    numbers: Mapping[str, float] = {}
    by: str = "evidence"
    cause_id: str = ""


def record_numbers(standing: Standing) -> dict[str, float]:
    """Return what the record of a generation says, by name."""
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


def authority_changed(
    here: TargetAuthority, rung: Rung, standing: Standing, to: Authority, why: Reason
) -> AuthorityChanged:
    """Make the fact that an authority changes; `standing` is the record before it."""
    cause = why.cause_id or f"tick/{here.us}"
    # Two changes of one generation at one moment are two facts.
    key = f"{here.target}|{rung.name}|{standing.tests}"
    evidence = record_numbers(standing) | dict(why.numbers)
    return AuthorityChanged(
        id=output_id(cause, "AuthorityChanged", key),
        cause_id=cause,
        ts=moment(here.us),
        target=here.target,
        generation=rung.name,
        former=standing.authority,
        authority=to.value,
        ceiling=rung.ceiling.value,
        reason=why.reason,
        detail=why.detail,
        by=why.by,
        evidence={name: quantise(value) for name, value in sorted(evidence.items())},
    )


def model_measurements(judge: Judge, state: LadderState, us: int) -> Iterator[ModelMeasured]:
    """Yield the records that changed and are due to go out."""
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
        yield _measured(judge.at(state, target, us), name, standing)


def _measured(here: TargetAuthority, name: str, standing: Standing) -> ModelMeasured:
    rung = here.judge.rungs.get(name)
    authority = ceiling = here.served_authority()
    able = False
    if rung is not None:
        authority, ceiling = here.of(rung), rung.ceiling
        able = name != RULES and authority.rank < ceiling.rank and not standing.quarantined
    table, cause, key = standing.table, f"tick/{here.us}", f"{here.target}|{name}"
    parts = table.decomposition
    bins = zip(table.counts, table.said, table.trues, strict=True)
    return ModelMeasured(
        id=output_id(cause, "ModelMeasured", key),
        cause_id=cause,
        ts=moment(here.us),
        target=here.target,
        generation=name,
        authority=authority.value,
        ceiling=ceiling.value,
        reason=standing.reason,
        changed=None if standing.since < 0 else moment(standing.since),
        quarantined=standing.quarantined,
        e_up=_e(standing.up),
        e_down=_e(standing.down),
        needed=here.judge.needed(standing) if able else 0.0,
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
