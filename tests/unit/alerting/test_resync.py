"""Resynchronisation with SQL: open alerts that the topic does not have."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from riskwatch.alerting.resync import resync
from riskwatch.core.alerting.config import AlertKind, Matcher
from riskwatch.core.alerting.notification import Notification
from riskwatch.core.clock import DAY, moment
from riskwatch.core.enums import QualityIssue, State
from riskwatch.core.outputs import ControlChanged, DataQualityRaised
from riskwatch.store.batch import Batch, Counts, SequencedOutput
from riskwatch.store.transaction import commit, take_lease
from tests.support.mirror import switch
from tests.unit.core.alerting.samples import START, Desk, config, over, raised, route, silence

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from riskwatch.core.outputs import Output

COIN = "asset:USDC"


def stored(engine: Engine, *outputs: Output) -> None:
    """Make outputs true in SQL."""
    kept = take_lease(engine, "risk", "test")
    read = kept.counts.read + len(outputs)
    places = [SequencedOutput(kept.next_seq + n, output) for n, output in enumerate(outputs)]
    commit(engine, Batch("risk", kept.epoch, outputs=places, counts=Counts(read, read)))


def control(scope: str, **given: object) -> ControlChanged:
    """What people have in force."""
    return ControlChanged(id=f"x{scope}", cause_id="c", ts=moment(START), scope=scope, **given)  # type: ignore[arg-type]


def test_a_first_start_tells_what_is_open(engine: Engine) -> None:
    """Alerts with their ids and times, silences, acknowledgements; data quality if it is asked."""
    until = moment(START) + timedelta(hours=1)
    first, again = raised(COIN), raised(COIN, State.REDUCE)
    quiet, gone, seen = raised("asset:DAI"), raised("asset:UST"), raised("book:arb", State.HALT)
    issue = DataQualityRaised(
        id="q", cause_id="c", ts=moment(START), issue=QualityIssue.PRICE_MISSING,
        subject="asset:XYZ", detail="no feed",
    )  # fmt: skip
    stored(
        engine, first, again, quiet, gone, over("asset:UST"), seen, issue,
        control("asset:DAI", silence_by="ann", silence_until=until),
        control("book:arb", acknowledged_by="bob", acknowledged_ts=until),
    )  # fmt: skip
    quality = route("ops", match=(Matcher(about=(AlertKind.QUALITY,)),))
    desk = Desk(config(route(), quality))
    resync(engine, desk.notifier, desk.state, START)
    said = [*desk.at(0), *desk.at(10)]
    assert sorted((n.route, n.items[0].alert) for n in said) == [
        ("ops", "quality|risk|PRICE_MISSING|asset:XYZ"),
        ("pager", COIN),
        ("pager", "book:arb"),
    ]
    row = desk.state.alerts[COIN]
    assert (row.opened_id, row.last_id) == (first.id, again.id)
    assert desk.state.alerts["book:arb"].acked_by == "bob"
    assert desk.disposition(quiet.id)[0] == "silenced"


def test_later_it_brings_what_is_remembered_up_to_date(engine: Engine) -> None:
    """What ended meanwhile is told to be over; what is known is not told again."""
    kept, ended = raised(COIN, State.HALT), raised("asset:DAI", State.HALT)
    desk = Desk()
    desk.at(0, kept, ended, silence("asset:UST", 600))
    stored(engine, kept, switch(COIN, State.REDUCE, 1))
    said = resync(engine, desk.notifier, desk.state, START)
    said += desk.notifier.tick(desk.state, START + DAY)
    told = [(n.kind.value, [i.alert for i in n.items]) for n in said if isinstance(n, Notification)]
    assert told == [("resolved", ["asset:DAI"]), ("repeat", [COIN])]
    assert desk.state.silences == {}
    assert desk.state.alerts[COIN].state is State.REDUCE
