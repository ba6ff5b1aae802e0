"""Explains decisions and alerts in words: what, when, why, and the smallest change."""

from __future__ import annotations

from math import exp, fsum
from typing import TYPE_CHECKING, Any, Final

from riskwatch.core.clock import micros, rfc3339
from riskwatch.core.money import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal

    from riskwatch.contracts.audit import AuditLink
    from riskwatch.store.queries import ResultRow

CAUSES: Final = {
    "issuer": "the coin's own value moved, on two or more independent venues",
    "coin": "a coin left what it is pegged to; liquidity and issuer are not told apart",
    "venue": "several assets of one venue moved together, against the rest",
    "market": "everything moved",
    "feed": "one feed is stale or an outlier, and others contradict it",
    "counterparty": "the counterparty's own conduct: withdrawals, credit events, ratings",
    "limit": "our own limit, without any fault of theirs",
    "operator": "a person commanded it",
    "unknown": "too few live feeds to say",
    "none": "nothing is the matter",
}
_QUALITIES: Final = {
    "good": "the data behind it was good",
    "stale": "part of the data behind it was stale",
    "unknown": "the quality of the data behind it was unknown",
}


_FAR: Final = 700.0
"""Logit beyond which a probability is 0 or 1 to the last digit."""
_EXACT: Final = 1e-4
"""Largest error of a probability whose parts count as exact: it is stored rounded."""
WAIT_TEXTS: Final = {
    "dwell_s": "it must hold for {} s",
    "observations": "and for at least this many observations: {}",
    "exit": "it lets go below {} times its threshold",
    "exit_dwell_s": "and after {} s there (a HALT stays until people release it)",
}
"""Texts of a rule's waiting conditions, by their names among a decision's limits."""


def explain_alert(alert: ResultRow) -> list[str]:
    """Return the lines that describe an alert and its status.

    :func:`explain_decision` describes the decision behind it.
    """
    often = f", raised {alert['raised']} times" if alert["raised"] > 1 else ""
    ends = f"resolved {_when(alert['resolved_ts'])}" if alert["resolved_ts"] else "still open"
    return [
        f"Alert {alert['alert']}: {alert['title']}",
        f"  id {alert['id']}",
        f"  {alert['severity']} on {alert['scope']}, opened {_when(alert['opened_ts'])}, {ends}",
        f"  last raised {_when(alert['last_ts'])}{often}",
        f"  cause: {_cause(alert['cause'])}",
        f"  our exposure: {_usd(alert['exposure_usd'])}",
        *_listed("Why", alert["reasons"]),
    ]


def summarize_alert(alert: ResultRow) -> str:
    """Return one line that says which alert it is, and whether it is open."""
    ends = f"resolved {_when(alert['resolved_ts'])}" if alert["resolved_ts"] else "still open"
    return f"Alert {alert['alert']}, {alert['severity']}, {ends}: {alert['title']}"


_REASONS: Final = 3
"""Most reasons in a summary."""


def summarize_decision(d: ResultRow, switches: Iterable[ResultRow] = ()) -> list[str]:
    """Return the few lines of a decision that matter in a crisis; see :func:`explain_decision`.

    Every bad quality of the data and every feed that contradicts is in them.

    Parameters
    ----------
    d : dict
        Row of ``decision_log``.
    switches : iterable of dict
        Rows of ``killswitch_history`` that it caused; the summary has the last of each scope.
    """
    by = "the static rules" if d["generation"] == "rules" else f"generation {d['generation']}"
    hidden = len(d["reasons"]) - _REASONS
    more = [f"  - and {hidden} more (--details)"] if hidden > 0 else []
    last = {s["scope"]: s for s in switches}
    doubt = [] if d["quality"] == "good" else [f"  {_QUALITIES.get(d['quality'], d['quality'])}"]
    return [
        *_headline(d),
        f"  by {by} ({d['rule']})",
        *_listed("Why, the strongest reason first", d["reasons"][:_REASONS]),
        *more,
        f"Cause: {_cause(d['cause'])}",
        *doubt,
        *_named("  contradict", d["refute"]),
        *_flip(d["flip"]),
        *_dollars(d["exposure_usd"], d["el_usd"], d["exit_cost_usd"]),
        *(
            f"Kill switch: {s['scope']} {s['effective']} from {_when(s['ts'])}"
            for s in last.values()
        ),
        f"All values and feeds: riskwatch explain {d['id'][:12]} --details",
    ]


UNITS: Final = {"bp": "bp", "usd": "USD", "s": "s", "h": "h", "days": "days"}
"""Units by the last word of a feature's name."""


def unit_of(name: str) -> str:
    """Return the unit of a feature by its name; empty for a share, a count or a probability.

    Examples
    --------
    >>> unit_of("discount_bp"), unit_of("pending_age_s"), unit_of("limit_ratio")
    ('bp', 's', '')
    """
    return UNITS.get(name.rpartition("_")[2], "")


def explain_decision(
    d: ResultRow, switches: Iterable[ResultRow] = (), row: AuditLink | None = None
) -> list[str]:
    """Return the lines that explain a decision and the smallest change that would alter it.

    Parameters
    ----------
    d : dict
        Row of ``decision_log``.
    switches : iterable of dict
        Rows of ``killswitch_history`` that it caused.
    row : AuditLink, optional
        Its row of the audit chain.
    """
    by = "the static rules" if d["generation"] == "rules" else f"generation {d['generation']}"
    return [
        *_headline(d),
        f"  id {d['id']}, after {d['cause_id']}",
        f"  asked for by {by} ({d['rule']}), engine {d['engine']}",
        *_listed("Why", d["reasons"]),
        *_values(d["features"], d["limits"]),
        f"Cause: {_cause(d['cause'])}",
        f"  {_QUALITIES.get(d['quality'], d['quality'])}",
        *_named("  agree", d["support"]),
        *_named("  contradict", d["refute"]),
        *_contributions(d),
        *_flip(d["flip"]),
        *_dollars(d["exposure_usd"], d["el_usd"], d["exit_cost_usd"]),
        *_switched(switches),
        *_record(row),
    ]


def _switched(switches: Iterable[ResultRow]) -> list[str]:
    return [f"Kill switch: {s['scope']} {s['effective']} from {_when(s['ts'])}" for s in switches]


def _headline(d: ResultRow) -> list[str]:
    """Say what was decided, or what advisory rules would have decided."""
    when = _when(d["ts"])
    if "in_force" not in d:
        return [f"Decision: {d['scope']} from {d['previous']} to {d['state']}, {when}"]
    nobody = "  it is advisory: it binds nobody"
    if d["state"] == d["in_force"]:
        return [f"Advised no more: {d['scope']} stays {d['in_force']}, {when}", nobody]
    return [f"Advised: {d['scope']} would be {d['state']}, not {d['in_force']}, {when}", nobody]


def format_number(x: float) -> str:
    """Format a number with at most six significant digits, without exponent where possible.

    Examples
    --------
    >>> format_number(180.0), format_number(0.0312345678), format_number(1234567.0)
    ('180', '0.0312346', '1,234,567')
    """
    return f"{x:,.0f}" if x == round(x) and abs(x) < 1e15 else f"{x:.6g}"


def _values(features: Mapping[str, float], limits: Mapping[str, float]) -> list[str]:
    lines = []
    for name in sorted(limits):
        if name in WAIT_TEXTS:
            continue
        at, value = limits[name], features.get(name)
        if value is None:
            lines.append(f"  {name}: no value, threshold {_valued(name, at)}")
            continue
        times = f" ({value / at:.2f} times)" if at else ""
        lines.append(f"  {name}: {_valued(name, value)}, threshold {_valued(name, at)}{times}")
    rest = [
        f"{name} {_valued(name, features[name])}" for name in sorted(features) if name not in limits
    ]
    if rest:
        lines.append(f"  also seen: {', '.join(rest)}")
    lines += [
        f"  {words.format(format_number(limits[name]))}"
        for name, words in WAIT_TEXTS.items()
        if name in limits
    ]
    return ["Values against thresholds:", *lines] if lines else []


def _valued(name: str, value: float) -> str:
    return f"{format_number(value)} {unit_of(name)}".rstrip()


def _contributions(d: ResultRow) -> list[str]:
    parts: Mapping[str, float] = d["contributions"]
    if not parts:
        return []
    rules = d["generation"] == "rules"
    unit = "severity, 1 is the threshold" if rules else "logit units, they add up"
    largest = sorted(parts.items(), key=lambda part: (-abs(part[1]), part[0]))
    width = max(len(name) for name in parts)
    return [
        f"Contributions ({unit}):",
        *(f"  {name:<{width}}  {value:+.4g}" for name, value in largest),
        *([] if rules else _together(parts, d["features"], d["limits"])),
    ]


def _together(
    parts: Mapping[str, float], features: Mapping[str, float], limits: Mapping[str, float]
) -> list[str]:
    """Return the sum of a model's parts, and whether it gives the stated probability."""
    total = fsum(parts.values())
    share = 1.0 / (1.0 + exp(-min(max(total, -_FAR), _FAR)))
    stated = [
        features[name] for name in sorted(limits) if name.startswith("p.") and name in features
    ]
    line = f"  together {total:+.4g}, which is a probability of {100 * share:.2f} %"
    if stated and abs(stated[0] - share) > _EXACT:
        line += f"; approximate, for the model said {100 * stated[0]:.2f} %"
    return [line]


def _record(row: AuditLink | None) -> list[str]:
    if row is None:
        return []
    again = f"`riskwatch verify {row.id[:12]}` derives it again"
    return [f"Record: row {row.seq} of the audit chain of {row.worker}, {row.digest[:16]}; {again}"]


def _flip(flip: Mapping[str, Any]) -> list[str]:
    title = "Smallest change that would have altered it"
    if not flip:
        return [f"{title}: none is known"]
    if "feature" not in flip:
        return [f"{title}: {flip.get('needed')} ({flip.get('rule', 'no rule')})"]
    changes = [_changed(change) for change in (flip, *flip.get("also", ()))]
    if len(changes) == 1:
        return [f"{title}: {changes[0]}"]
    return [f"{title}, all of these together:", *(f"  - {change}" for change in changes)]


def _changed(change: Mapping[str, Any]) -> str:
    unit = f" {change['unit']}" if change.get("unit") else ""
    needed, value = _shown(change.get("needed")), _shown(change.get("value"))
    return f"{change.get('feature')} at {needed}{unit} instead of {value}{unit}"


def _shown(value: Any) -> str:
    return format_number(value) if isinstance(value, int | float) else str(value)


def _dollars(exposure: Decimal, staying: Decimal, leaving: Decimal) -> list[str]:
    if exposure == ZERO:
        so = "we hold nothing there"
    elif leaving == staying:
        so = "both cost the same"
    else:
        so = f"{'leaving' if leaving < staying else 'staying'} is cheaper"
    return [
        f"Dollars: exposed {_usd(exposure)}",
        f"  expected loss of staying {_usd(staying)}, cost of leaving {_usd(leaving)}: {so}",
    ]


def _listed(title: str, lines: Iterable[str]) -> list[str]:
    found = [f"  - {line}" for line in lines]
    return [f"{title}:", *found] if found else []


def _named(what: str, names: list[str]) -> list[str]:
    return [f"{what}: {', '.join(names)}"] if names else []


def _cause(cause: str) -> str:
    return f"{cause} ({CAUSES[cause]})" if cause in CAUSES else cause


def _when(ts: Any) -> str:
    return rfc3339(micros(ts))


def _usd(amount: Decimal) -> str:
    return f"{amount:,.2f} USD"
