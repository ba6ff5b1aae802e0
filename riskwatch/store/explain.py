"""A decision in plain words: what, when, why, and what would have changed it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from riskwatch.core.clock import micros, text
from riskwatch.core.money import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal

    from riskwatch.store.queries import Found

CAUSES: Final = {
    "issuer": "the coin's own value moved, on two or more independent venues",
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


PATIENCE: Final = {
    "dwell_s": "it must hold for {} s",
    "observations": "and for at least this many observations: {}",
    "exit": "it lets go below {} times its threshold",
    "exit_dwell_s": "and after {} s there (a HALT stays until people release it)",
}
"""How long a rule waits, by the names that a decision's limits carry beside the thresholds."""


def explain_alert(alert: Found) -> list[str]:
    """Say what an alert is about, and where it stands.

    The decision behind it is for :func:`explain_decision`.
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


def explain_decision(d: Found, switches: Iterable[Found] = ()) -> list[str]:
    """Say what was decided, when, by whom, why, and what would have altered it.

    Parameters
    ----------
    d : dict
        Row of ``decision``.
    switches : iterable of dict
        Rows of ``killswitch_history`` that it brought about.
    """
    by = "the static rules" if d["generation"] == "rules" else f"generation {d['generation']}"
    return [
        f"Decision: {d['scope']} from {d['previous']} to {d['state']}, {_when(d['ts'])}",
        f"  id {d['id']}, after {d['cause_id']}",
        f"  asked for by {by} ({d['rule']}), engine {d['engine']}",
        *_listed("Why", d["reasons"]),
        *_values(d["features"], d["limits"]),
        f"Cause: {_cause(d['cause'])}",
        f"  {_QUALITIES.get(d['quality'], d['quality'])}",
        *_named("  agree", d["support"]),
        *_named("  contradict", d["refute"]),
        *_contributions(d["contributions"], rules=d["generation"] == "rules"),
        *_flip(d["flip"]),
        *_dollars(d["exposure_usd"], d["el_usd"], d["exit_cost_usd"]),
        *(
            f"Kill switch: {s['scope']} {s['effective']} from {_when(s['ts'])}, valid until "
            f"{_when(s['valid_until'])}"
            for s in switches
        ),
    ]


def number(x: float) -> str:
    """Write a number with at most six digits that matter, and no exponent where it is readable.

    Examples
    --------
    >>> number(180.0), number(0.0312345678), number(1234567.0)
    ('180', '0.0312346', '1,234,567')
    """
    return f"{x:,.0f}" if x == round(x) and abs(x) < 1e15 else f"{x:.6g}"


def _values(features: Mapping[str, float], limits: Mapping[str, float]) -> list[str]:
    lines = []
    for name in sorted(limits):
        if name in PATIENCE:
            continue
        at, value = limits[name], features.get(name)
        if value is None:
            lines.append(f"  {name}: no value, threshold {number(at)}")
            continue
        times = f" ({value / at:.2f} times)" if at else ""
        lines.append(f"  {name}: {number(value)}, threshold {number(at)}{times}")
    rest = [f"{name} {number(features[name])}" for name in sorted(features) if name not in limits]
    if rest:
        lines.append(f"  also seen: {', '.join(rest)}")
    lines += [
        f"  {words.format(number(limits[name]))}"
        for name, words in PATIENCE.items()
        if name in limits
    ]
    return ["Values against thresholds:", *lines] if lines else []


def _contributions(parts: Mapping[str, float], *, rules: bool) -> list[str]:
    if not parts:
        return []
    unit = "severity, 1 is the threshold" if rules else "logit units, they add up"
    largest = sorted(parts.items(), key=lambda part: (-abs(part[1]), part[0]))
    width = max(len(name) for name in parts)
    return [
        f"Contributions ({unit}):",
        *(f"  {name:<{width}}  {value:+.4g}" for name, value in largest),
    ]


def _flip(flip: Mapping[str, Any]) -> list[str]:
    if not flip:
        return ["Smallest change that would have altered it: none is known"]
    if "feature" not in flip:
        return [f"What would have altered it: {flip.get('needed')}"]
    unit = f" {flip['unit']}" if flip.get("unit") else ""
    needed, value = _shown(flip.get("needed")), _shown(flip.get("value"))
    change = f"{flip.get('feature')} at {needed}{unit} instead of {value}{unit}"
    return [f"Smallest change that would have altered it: {change}"]


def _shown(value: Any) -> str:
    return number(value) if isinstance(value, int | float) else str(value)


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
    return text(micros(ts))


def _usd(amount: Decimal) -> str:
    return f"{amount:,.2f} USD"
