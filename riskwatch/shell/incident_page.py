"""The report of an incident as one HTML page that needs nothing but itself."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader, select_autoescape
from jinja2.runtime import Undefined

from riskwatch.core.clock import micros, moment, text
from riskwatch.core.reasons import State, strictest
from riskwatch.shell.incident import YARDSTICK_S
from riskwatch.store.explain import CAUSES, number

if TYPE_CHECKING:
    from riskwatch.shell.incident import Incident, Row
    from riskwatch.store.bundle import Manifest

SHOWN: Final = 12
"""Holdings that the page shows of one moment."""
LEFT: Final = 190
"""Where the lanes of the timeline begin, of 1000."""
MARKS: Final = 5


def page(incident: Incident, manifest: Manifest, span: tuple[int, int]) -> bytes:
    """Render the report.

    Parameters
    ----------
    incident : Incident
        What happened.
    manifest : Manifest
        Of the bundle that the page belongs to.
    span : tuple of int
        Beginning and end, event time in microseconds.
    """
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"when": when, "since": since, "money": money, "number": shown}
    reached = drawn(incident, span)
    states = [State(s["effective"]) for s in incident.switches]
    largest = max((float(s.decision["exposure_usd"]) for s in incident.scenes), default=0.0)
    return (
        made.get_template("incident.html")
        .render(
            incident=incident,
            manifest=manifest,
            begin=text(span[0]),
            end=text(span[1]),
            lanes=lanes(incident.switches, reached),
            marks=marks(reached),
            measured=[s for s in incident.scenes if s.last_input_s is not None],
            yardstick=YARDSTICK_S,
            worst=strictest(states).value,
            largest=money(largest),
            causes=CAUSES,
            shown=SHOWN,
        )
        .encode()
    )


def drawn(incident: Incident, span: tuple[int, int]) -> tuple[int, int]:
    """Stretch that the timeline shows: what happened, with a margin, within what was asked."""
    times = [_us(s["ts"]) for s in incident.switches]
    if not times:
        return span
    margin = max((max(times) - min(times)) // 10, 60_000_000)
    return max(span[0], min(times) - margin), min(span[1], max(times) + margin)


def lanes(switches: list[Row], span: tuple[int, int]) -> list[dict[str, Any]]:
    """Bars of the timeline: per scope, the effective state from each change to the next.

    Examples
    --------
    >>> switch = {"scope": "firm", "effective": "HALT", "ts": "1970-01-01T00:00:50Z"}
    >>> [bar["x"] for bar in lanes([switch], (0, 100_000_000))[0]["bars"]]
    [190.0, 595.0]
    """
    out: dict[str, list[tuple[int, str]]] = {}
    for switch in switches:
        found = out.setdefault(switch["scope"], [(span[0], State.NORMAL.value)])
        found.append((_us(switch["ts"]), switch["effective"]))
    made = []
    for scope in sorted(out):
        changes = out[scope]
        ends = [us for us, _ in changes[1:]] + [span[1]]
        bars = [
            {
                "x": _x(us, span),
                "w": round(max(_x(end, span) - _x(us, span), 1.0), 1),
                "state": state,
                "since": text(us),
            }
            for (us, state), end in zip(changes, ends, strict=True)
        ]
        made.append({"scope": scope, "bars": bars})
    return made


def marks(span: tuple[int, int]) -> list[dict[str, Any]]:
    """Times under the timeline."""
    step = (span[1] - span[0]) / MARKS
    days = span[1] - span[0] > 86_400_000_000
    form = "%d %b %H:%M" if days else "%H:%M:%S"
    out = []
    for n in range(MARKS + 1):
        us = round(span[0] + n * step)
        anchor = "start" if n == 0 else "end" if n == MARKS else "middle"
        out.append({"x": _x(us, span), "label": moment(us).strftime(form), "anchor": anchor})
    return out


def when(ts: str) -> str:
    """Write a time to the second, without its zone: the page says UTC once.

    Examples
    --------
    >>> when("2023-03-11T03:13:00.5Z")
    '2023-03-11 03:13:00'
    """
    return datetime.fromisoformat(ts).strftime("%Y-%m-%d %H:%M:%S")


def since(ts: str) -> str:
    """Write when something began; what a replay begins with has no time."""
    return "the beginning of the replay" if _us(ts) == 0 else when(ts)


def money(amount: Any) -> str:
    """Dollars with separators; nothing where none are known.

    Examples
    --------
    >>> money("1234567.891"), money(None)
    ('1,234,568', '')
    """
    if amount is None or isinstance(amount, Undefined):
        return ""
    return f"{float(amount):,.0f}"


def shown(value: Any) -> str:
    """Write a number as people read it, anything else as it is."""
    return number(float(value)) if isinstance(value, int | float) else str(value)


def _x(us: int, span: tuple[int, int]) -> float:
    """Place of a time on the timeline, of 1000."""
    width = max(span[1] - span[0], 1)
    share = min(max((us - span[0]) / width, 0.0), 1.0)
    return round(LEFT + (1000 - LEFT) * share, 1)


def _us(ts: str) -> int:
    return micros(datetime.fromisoformat(ts))
