"""The acceptance criteria, each as one line with its figures.

The verdict of a line is PASS, NOT REACHED or NOT JUDGED.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isinf
from statistics import median
from typing import TYPE_CHECKING, Final

from riskwatch.bench import leave_one_out
from riskwatch.bench.probability import HIGH, measure_probabilities
from riskwatch.bench.static import PLAIN
from riskwatch.bench.timeline import RAISED, strictest_of
from riskwatch.bench.trial import ENSEMBLE, aggregate_generation
from riskwatch.core.enums import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from riskwatch.bench.leave_one_out import OptionScore
    from riskwatch.bench.outcome import Outcome, Probabilities
    from riskwatch.bench.timeline import StateChange
    from riskwatch.bench.trial import Trial

    AlarmsByRule = Mapping[str, Sequence[list[StateChange]]]

PASS: Final = "PASS"  # noqa: S105 - a verdict, not a password
FAIL: Final = "NOT REACHED"
OPEN: Final = "NOT JUDGED"
EVENTS: Final = 5
"""Independent events that a series needs to be evaluated; others are only shown."""
NEAR: Final = 0.1
"""Largest accepted difference of the observed rate from the predicted one."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion: its name, its verdict, and the figures behind it."""

    name: str
    verdict: str
    said: str

    @property
    def line(self) -> str:
        """The printed line."""
        return f"{self.verdict:<11}  {self.name}: {self.said}"


def reached_text(*, reached: bool) -> str:
    """Return :data:`PASS` or :data:`FAIL`."""
    return PASS if reached else FAIL


def criteria(
    trials: Sequence[Trial], outcomes: Sequence[Outcome], made: Sequence[Probabilities]
) -> list[Criterion]:
    """Evaluate all criteria, in order."""
    alarms = leave_one_out.static_alarms(trials)
    return [
        *(compare_with_static(trials, alarms, state) for state in RAISED),
        *compare_with_plain(trials, alarms),
        ranking(trials, made),
        skill(trials, made),
        calibration(trials, made),
        causes(trials, outcomes),
        controls(trials),
        deadlines(trials),
    ]


def when(delay: float) -> str:
    """Return a delay in words.

    Examples
    --------
    >>> when(-1800.0), when(5400.0), when(float("inf"))
    ('30 min before', '90 min after', 'never')
    """
    if isinf(delay):
        return "never"
    return f"{abs(delay) / 60:.0f} min {'before' if delay < 0 else 'after'}"


def compare_with_static(trials: Sequence[Trial], alarms: AlarmsByRule, state: State) -> Criterion:
    """Compare the ensemble with the best static rule of the other events, fact by fact.

    Over seeds of one case the medians are compared.
    """
    name = f"{state.value} never later than the best static rule of the other episodes"
    ensemble = leave_one_out.ensemble_scores(trials, state)
    options = leave_one_out.static_scores(trials, alarms, state)
    late, compared = [], 0
    for case in dict.fromkeys(trial.case.name for trial in trials):
        rows = [n for n, trial in enumerate(trials) if trial.case.name == case]
        facts = leave_one_out.required_facts(trials[rows[0]], state)
        chosen = (
            leave_one_out.best_static(options, ensemble, trials[rows[0]].case.kin)
            if facts
            else None
        )
        if chosen is None:
            continue
        for i, fact in enumerate(facts):
            compared += 1
            ours = median(ensemble[n].delays_s[i] for n in rows)
            theirs = median(options[chosen][n].delays_s[i] for n in rows)
            if ours > theirs:
                late.append(f"{case} {fact.scope} {when(ours)}, {chosen} {when(theirs)}")
    if not compared:
        return Criterion(name, OPEN, "no event asks for it, or there is no other event")
    count = f"on {compared - len(late)} of {compared} events"
    return Criterion(name, reached_text(reached=not late), "; ".join([count, *late]))


def compare_with_plain(trials: Sequence[Trial], alarms: AlarmsByRule) -> list[Criterion]:
    """Compare the ensemble's dial with the plain rule: at its false alarms, and at its lead.

    For each event, the dial is set by the other events alone. A miss counts as never over all
    events. A rule on prices cannot detect the fault of a counterparty, so events of coins are also
    evaluated separately.
    """
    coins = [t for t in trials if all(fact.asset for fact in t.case.facts)]
    rows = {trial: n for n, trial in enumerate(map(id, trials))}
    plain = leave_one_out.static_scores(trials, {PLAIN.name: alarms[PLAIN.name]}, State.WATCH)[
        PLAIN.name
    ]
    out = []
    for where, mine in (("all events", list(trials)), ("events of coins", coins)):
        theirs = [plain[rows[id(trial)]] for trial in mine]
        out += _compare_option(mine, theirs, where)
    return out


def _compare_option(
    trials: Sequence[Trial], plain: Sequence[OptionScore], where: str
) -> list[Criterion]:
    first = f"{where}: at the false alarms of {PLAIN.name}, a median lead at least as long"
    second = f"{where}: at the lead of {PLAIN.name}, at most half its false alarms"
    if len({trial.case.kin for trial in trials}) < 2:
        return [Criterion(name, OPEN, "there is no other event") for name in (first, second)]
    lead, alarms = leave_one_out.median_delay, leave_one_out.count_false_alarms
    options = leave_one_out.dial_scores(trials)
    quiet: list[OptionScore] = []
    quick: list[OptionScore] = []
    for n, trial in enumerate(trials):
        kin = trial.case.kin
        theirs = leave_one_out.exclude_event(plain, kin)
        a = leave_one_out.fastest_within_alarms(options, kin, alarms(theirs))
        b = leave_one_out.quietest_within_delay(options, kin, lead(theirs))
        quiet += [options[a][n]] if a is not None else []
        quick += [options[b][n]] if b is not None else []
    as_quiet, as_quick = len(quiet) == len(trials), len(quick) == len(trials)
    reached = as_quiet and alarms(quiet) <= alarms(plain) and lead(quiet) <= lead(plain)
    halved = as_quick and lead(quick) <= lead(plain) and 2 * alarms(quick) <= alarms(plain)
    return [
        Criterion(
            first,
            reached_text(reached=reached),
            f"median {when(lead(quiet))} with {alarms(quiet)} false alarms, "
            f"the rule {when(lead(plain))} with {alarms(plain)}"
            + ("" if as_quiet else "; on some event no setting is as quiet"),
        ),
        Criterion(
            second,
            reached_text(reached=halved),
            f"{alarms(quick)} false alarms at median {when(lead(quick))}, "
            f"the rule {alarms(plain)} at {when(lead(plain))}"
            + ("" if as_quick else "; on some event no setting is as fast"),
        ),
    ]


def aggregate_criteria(
    trials: Sequence[Trial], made: Sequence[Probabilities]
) -> list[Probabilities]:
    """Return the measures of the ensemble probability alone."""
    names = {(t.case.name, t.seed): aggregate_generation(t.scores) for t in trials}
    return [each for each in made if names[each.case, each.seed] == each.generation]


def ranking(trials: Sequence[Trial], made: Sequence[Probabilities]) -> Criterion:
    """Compare average precision with that of ranking by the size of the deviation."""
    name = "average precision at least that of ranking by |deviation|"
    recorded = _recorded_cases(trials)
    rows = [
        (each.judged.ap, each.ap_deviation, each)
        for each in aggregate_criteria(trials, made)
        if each.case in recorded and each.events >= EVENTS
    ]
    known = [(a, b, e) for a, b, e in rows if a is not None and b is not None]
    if not known:
        return Criterion(name, OPEN, f"no recorded series with {EVENTS} independent events")
    worse = [f"{e.case} {e.scope} {e.target} {a:.3f} against {b:.3f}" for a, b, e in known if a < b]
    ours = sum(a for a, _, _ in known) / len(known)
    theirs = sum(b for _, b, _ in known) / len(known)
    figures = f"mean {ours:.3f} against {theirs:.3f} on {len(known)} series"
    return Criterion(
        name, reached_text(reached=not worse and ours > theirs), "; ".join([figures, *worse])
    )


def skill(trials: Sequence[Trial], made: Sequence[Probabilities]) -> Criterion:
    """Evaluate the Brier skill of the ensemble probability against climatology, by target."""
    name = "positive Brier skill against climatology"
    out, reached = [], True
    for target, rows in _by_target(aggregate_criteria(trials, made)).items():
        pooled = measure_probabilities(*rows)
        if pooled.skill is None:
            continue
        reached = reached and pooled.skill > 0.0
        out.append(f"{target} {pooled.skill:+.3f} on {pooled.samples} samples")
    if not out:
        return Criterion(name, OPEN, "no target has labels of both kinds")
    return Criterion(name, reached_text(reached=reached), "; ".join(out))


def calibration(trials: Sequence[Trial], made: Sequence[Probabilities]) -> Criterion:
    """Compare observed with predicted rates among predictions of 0.2 and more, by target."""
    name = f"observed rate within {NEAR:g} of the stated one from {HIGH:g} on"
    out, reached = [], True
    for target, rows in _by_target(aggregate_criteria(trials, made)).items():
        pooled = measure_probabilities(*rows)
        if pooled.high_said is None or pooled.high_rate is None:
            continue
        reached = reached and abs(pooled.high_said - pooled.high_rate) <= NEAR
        out.append(
            f"{target} said {pooled.high_said:.2f}, came {pooled.high_rate:.2f} of {pooled.high}"
        )
    if not out:
        return Criterion(name, OPEN, "nothing was predicted with that probability")
    return Criterion(name, reached_text(reached=reached), "; ".join(out))


def _by_target(
    made: Sequence[Probabilities],
) -> dict[str, tuple[list[float], list[bool]]]:
    found: dict[str, tuple[list[float], list[bool]]] = {}
    for each in made:
        predicted, labels = found.setdefault(each.target, ([], []))
        predicted += each.said
        labels += each.labels
    return found


def causes(trials: Sequence[Trial], outcomes: Sequence[Outcome]) -> Criterion:
    """Evaluate whether the ensemble named a correct cause of every fact of the pack.

    Every seed counts. Recordings are listed separately, because prices alone do not show why a
    venue does not pay out.
    """
    name = "cause right on every episode of the pack"
    recorded = _recorded_cases(trials)
    named = [o for o in outcomes if o.contender == ENSEMBLE and o.cause_right is not None]
    mine = [o for o in named if o.case not in recorded]
    if not mine:
        return Criterion(name, OPEN, "there is nothing to name a cause of")
    parts = [_count_right(mine)]
    if len(named) > len(mine):
        parts.append(f"recordings {_count_right([o for o in named if o.case in recorded])}")
    reached = all(o.cause_right for o in mine)
    return Criterion(name, reached_text(reached=reached), "; ".join(parts))


def _recorded_cases(trials: Sequence[Trial]) -> set[str]:
    """Return the names of the cases that are recordings."""
    return {trial.case.name for trial in trials if trial.case.recorded}


def _count_right(outcomes: Sequence[Outcome]) -> str:
    """Return the number of correct causes, and list the wrong ones."""
    wrong = [f"{o.case} {o.scope} seed {o.seed} {o.cause}" for o in outcomes if not o.cause_right]
    return "; ".join([f"{len(outcomes) - len(wrong)} of {len(outcomes)} runs", *wrong])


def controls(trials: Sequence[Trial]) -> Criterion:
    """Evaluate whether every negative control stays at REDUCE or below."""
    name = "negative controls never above REDUCE, and never HALT"
    mine = [trial for trial in trials if trial.case.control]
    if not mine:
        return Criterion(name, OPEN, "there is no negative control")
    halted = []
    for trial in mine:
        worst = strictest_of(trial.changes[ENSEMBLE], ("asset", "counterparty", "venue-asset"))
        if worst is State.HALT:
            scopes = {c.scope for c in trial.changes[ENSEMBLE] if c.state is State.HALT}
            halted.append(f"{trial.case.name} seed {trial.seed} {', '.join(sorted(scopes))}")
    figures = f"{len(mine) - len(halted)} of {len(mine)} runs"
    return Criterion(name, reached_text(reached=not halted), "; ".join([figures, *halted]))


def deadlines(trials: Sequence[Trial]) -> Criterion:
    """Evaluate whether every required state was reached by its deadline."""
    name = "what had to be said was said in time"
    missed, required = [], 0
    for trial in trials:
        changes = trial.changes[ENSEMBLE]
        for scope, state, by in trial.case.deadlines:
            required += 1
            in_time = [c.us for c in changes if c.scope == scope and c.state.rank >= state.rank]
            if min(in_time, default=by + 1) > by:
                late = min(in_time, default=None)
                when_ = "never" if late is None else f"{(late - by) / 60e6:.0f} min late"
                missed.append(f"{trial.case.name} seed {trial.seed} {scope} {state} {when_}")
    if not required:
        return Criterion(name, OPEN, "no episode has a deadline")
    figures = f"{required - len(missed)} of {required}"
    return Criterion(name, reached_text(reached=not missed), "; ".join([figures, *missed]))
