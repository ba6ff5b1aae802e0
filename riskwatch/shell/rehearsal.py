"""A rehearsal: events through the embedded pipeline in memory, nothing stored.

What the ledger and the market say does not depend on who decides. So they run once, and the risk
stage runs over what they said as often as there are deciders to compare. Together this puts out
what a replay does (a test holds it), without its transactions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from riskwatch.core.clock import MINUTE, micros
from riskwatch.core.events import Tick
from riskwatch.core.outputs import Output
from riskwatch.shell import bootstrap
from riskwatch.shell.clockwork import Grid
from riskwatch.shell.pipeline import Effects, Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from riskwatch.core.events import Event
    from riskwatch.shell.config import Config
    from riskwatch.shell.pipeline import Reading


def overheard(
    config: Config, events: Iterable[Event], tick_us: int = MINUTE
) -> tuple[list[Any], list[Output]]:
    """Run ledger and market over events in order of time.

    Parameters
    ----------
    config : Config
        Of the stages.
    events : iterable of Event
        In order of time.
    tick_us : int
        Width of the event-time grid, microseconds.

    Returns
    -------
    tuple of (list, list of Output)
        Inputs of the risk stage in order (readings, news, ticks), and what ledger and market put
        out beside them (data quality, refusals).
    """
    first = Pipeline([bootstrap.ledger_slot(config), bootstrap.market_slot(config)])
    risk = bootstrap.risk_slot(config)
    heard: list[Any] = []
    said: list[Output] = []
    effects, grid = Effects(), Grid(tick_us)

    def hand_over(event: Any) -> None:
        if first.takes(type(event)):
            first.apply(event, effects)
        for made in effects.outputs:
            if isinstance(made, Output):
                said.append(made)
            else:
                heard.append(made)
        effects.outputs.clear()
        effects.inputs.clear()
        if type(event) in risk.takes:
            heard.append(event)

    for event in events:
        for us in grid.before(micros(event.ts)):
            hand_over(Tick(us))
        hand_over(event)
    for us in grid.closing():
        hand_over(Tick(us))
    return heard, said


def decided(config: Config, heard: Iterable[Any]) -> Iterator[Output | Reading]:
    """Run the risk stage over what was overheard; yields what it puts out, in order."""
    risk = Pipeline([bootstrap.risk_slot(config)])
    effects = Effects()
    for event in heard:
        risk.apply(event, effects)
        yield from effects.outputs
        effects.outputs.clear()
        effects.inputs.clear()
