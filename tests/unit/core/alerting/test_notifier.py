"""The notifier: each rule of when a route is notified."""

from __future__ import annotations

import pytest

from riskwatch.core.alerting import state
from riskwatch.core.alerting.config import AlertKind, Matcher
from riskwatch.core.alerting.notifier import OVERFLOW_ALERT_KEY
from riskwatch.core.clock import moment
from riskwatch.core.enums import QualityIssue, State
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved, StageFaulted
from tests.unit.core.alerting.samples import (
    START,
    Desk,
    command,
    config,
    decided,
    kinds,
    over,
    raised,
    route,
    silence,
)

COIN = "asset:USDC"
CELL = "venue-asset:kraken/USDC"


def test_a_group_waits_and_is_told_together() -> None:
    """Alerts with equal grouping fields are in one notification, after the wait."""
    desk = Desk(config(route(group_by=("asset",))))
    assert desk.at(0, raised(COIN)) == []
    assert desk.at(5, raised(CELL, State.REDUCE)) == []
    assert desk.at(9.9) == []
    (told,) = desk.at(10)
    assert (told.kind.value, told.group) == ("firing", "asset=USDC")
    assert [item.alert for item in told.items] == [CELL, COIN]
    assert desk.at(11) == []


def test_a_halt_waits_for_nobody() -> None:
    """A HALT is notified at once, together with its waiting group."""
    desk = Desk(config(route(group_by=())))
    waiting = raised("book:arb")
    assert desk.at(0, waiting) == []
    assert desk.disposition(waiting.id)[0] == "grouped"
    (told,) = desk.at(1, raised(COIN, State.HALT))
    assert [item.alert for item in told.items] == [COIN, "book:arb"]
    assert told.group == "all"
    assert desk.disposition(waiting.id) == ("notified", "told")


def test_a_repeat_of_a_record_is_told_once() -> None:
    """A repeated raise with the same id changes nothing."""
    desk = Desk()
    alert = raised(COIN, State.HALT)
    assert len(desk.at(0, alert, alert)) == 1
    desk.at(1, command("acknowledge", COIN))
    assert desk.at(2, alert) == []
    row = desk.state.alerts[COIN]
    assert (row.raised, row.acked_by) == (1, "ann")
    assert desk.disposition(alert.id) == ("notified", "told")


def test_more_of_an_open_alert_is_told() -> None:
    """A further raise of the same key gives a further notification of the same episode."""
    desk = Desk()
    (first,) = desk.at(0, raised(COIN, State.HALT))
    (second,) = desk.at(1, raised(COIN, State.HALT))
    assert first.items[0].episode == second.items[0].episode
    assert first.id != second.id
    assert second.items[0].raised == 2


def test_a_raise_that_waits_is_told_by_the_next() -> None:
    """Each raise has a disposition; that of the older one names the newer."""
    desk = Desk()
    first, second = raised(COIN), raised(COIN, State.REDUCE)
    desk.at(0, first)
    desk.at(1, second)
    assert desk.disposition(first.id) == ("grouped", f"raised again as {second.id}")


def test_it_is_repeated_until_somebody_acknowledges_it() -> None:
    """Repeats keep the interval and end with an acknowledgement, until it gets worse."""
    desk = Desk()
    desk.at(0, raised(COIN, State.REDUCE))
    assert kinds(desk.at(10)) == [("pager", "firing", [COIN])]
    assert desk.at(3_609) == []
    assert kinds(desk.at(3_610)) == [("pager", "repeat", [COIN])]
    assert desk.at(7_000) == []
    assert desk.at(7_210, command("acknowledge", COIN)) == []
    assert desk.at(90_000) == []
    (worse,) = desk.at(90_001, raised(COIN, State.HALT))
    assert worse.items[0].acknowledged_by == ""
    assert kinds(desk.at(93_601)) == [("pager", "repeat", [COIN])]


def test_it_goes_to_the_second_route_if_nobody_acknowledges_it() -> None:
    """It escalates once, and both routes are notified of its end."""
    desk = Desk(
        config(
            route(escalate_after_s=900.0, escalate_to="boss"),
            route("boss", match=(Matcher(scope=("book:none",)),)),
        )
    )
    desk.at(0, raised(COIN, State.HALT))
    assert desk.at(899) == []
    (told,) = desk.at(900)
    assert kinds([told]) == [("boss", "escalated", [COIN])]
    assert told.origin == "pager"
    assert desk.at(1_800) == []
    assert desk.at(1_900, over(COIN)) == []
    assert kinds(desk.at(1_910)) == [("pager", "resolved", [COIN]), ("boss", "resolved", [COIN])]


def test_what_gets_worse_has_its_own_time() -> None:
    """The time for an acknowledgement starts again at a HALT, which escalates as well."""
    desk = Desk(
        config(
            route(escalate_after_s=900.0, escalate_to="boss", group_wait_s=0.0),
            route("boss", match=(Matcher(scope=("book:none",)),)),
        )
    )
    desk.at(0, raised(COIN))
    assert kinds(desk.at(900)) == [("boss", "escalated", [COIN])]
    desk.at(1_000, raised(COIN, State.HALT))
    assert desk.at(1_899) == []
    assert kinds(desk.at(1_900)) == [("boss", "escalated", [COIN])]


def test_an_acknowledgement_prevents_escalation() -> None:
    """The acknowledgement must arrive in time."""
    desk = Desk(config(route(escalate_after_s=900.0, escalate_to="boss"), route("boss")))
    desk.at(0, raised(COIN, State.HALT))
    desk.at(800, command("acknowledge", COIN))
    assert desk.at(5_000) == []


def test_refused_commands_cannot_be_acknowledged_away() -> None:
    """An acknowledgement of the firm's alert does not cover refused commands."""
    desk = Desk()
    desk.at(0, raised("firm", State.REDUCE), raised("firm", alert="command|ann"))
    desk.at(10, command("acknowledge", "firm"))
    assert kinds(desk.at(4_000)) == [("pager", "repeat", ["command|ann"])]


def test_a_halt_hides_what_it_covers() -> None:
    """Alerts on its scope and below are held back, and notified when the HALT ends."""
    desk = Desk()
    hidden, dark = raised(CELL), raised(COIN, alert=f"{COIN}|data")
    desk.at(0, raised(COIN, State.HALT), hidden, dark)
    assert desk.at(60) == []
    assert desk.disposition(hidden.id) == ("inhibited", f"{COIN} is at HALT")
    assert desk.disposition(dark.id)[0] == "inhibited"
    assert desk.at(61, over(COIN)) == []
    told = kinds(desk.at(71))
    assert ("pager", "resolved", [COIN]) in told
    assert ("pager", "firing", [CELL]) in told


@pytest.mark.parametrize(
    ("above", "below", "hides"),
    [
        ("firm", "book:arb", True),
        ("firm", CELL, True),
        ("counterparty:kraken", CELL, True),
        ("counterparty:binance", CELL, False),
        ("counterparty:kraken", COIN, False),
        ("book:arb", COIN, False),
        (CELL, COIN, False),
    ],
)
def test_what_covers_what(above: str, below: str, hides: bool) -> None:
    """A scope covers another if it binds all orders that the other binds."""
    desk = Desk()
    lower = raised(below)
    desk.at(0, raised(above, State.HALT), lower)
    desk.at(20)
    assert desk.disposition(lower.id)[0] == ("inhibited" if hides else "notified")


def test_what_asks_for_people_is_never_hidden() -> None:
    """Requests, refused commands, faults and disobeying clients are never held back."""
    desk = Desk()
    asking = [
        raised("firm", alert="firm|request"),
        raised("firm", alert="command|ann"),
        raised("worker:ledger/1", State.REDUCE, alert="worker:ledger/1|fault"),
        raised(COIN, State.HALT, alert=f"client:gw|{COIN}"),
    ]
    desk.at(0, raised("firm", State.HALT), silence("firm", 600), *asking)
    desk.at(20)
    assert {desk.disposition(alert.id)[0] for alert in asking} == {"notified"}


def test_a_route_hides_only_behind_what_it_tells() -> None:
    """A route that is not notified of the HALT is notified of the alerts below it."""
    desk = Desk(config(route(match=(Matcher(severity=(State.WATCH,)),)), route("all")))
    lower = raised(CELL)
    desk.at(0, raised(COIN, State.HALT), lower)
    desk.at(20)
    assert desk.disposition(lower.id)[0] == "notified"
    assert desk.disposition(lower.id, "all")[0] == "inhibited"


def test_a_halt_that_is_lifted_hides_nothing() -> None:
    """Under an override the alert stays open, but the state of its scope is lower."""
    desk = Desk()
    lower = raised(CELL)
    desk.at(0, raised(COIN, State.HALT), lower)
    desk.at(1, decided(COIN, State.REDUCE))
    desk.at(20)
    assert desk.disposition(lower.id)[0] == "notified"


def test_a_silence_holds_back_until_it_ends() -> None:
    """Operator and reason are recorded, and open alerts are notified at its end."""
    desk = Desk()
    quiet = raised(COIN)
    desk.at(0, silence(COIN, 600), quiet)
    assert desk.at(599) == []
    fate, why = desk.disposition(quiet.id)
    assert (fate, why.split(" until")[0], why[-5:]) == ("silenced", "by ann", "known")
    desk.at(600)
    assert kinds(desk.at(610)) == [("pager", "firing", [COIN])]


def test_a_silence_ends_by_command() -> None:
    """The silence ends at once."""
    desk = Desk()
    desk.at(0, silence(COIN, 600), raised(COIN))
    desk.at(20, command("silence", COIN, end=True))
    assert kinds(desk.at(30)) == [("pager", "firing", [COIN])]


def test_a_silence_holds_back_no_halt_and_no_other_scope() -> None:
    """A silence covers its own scope only."""
    desk = Desk()
    desk.at(0, silence(COIN, 600), silence("firm", 600))
    assert kinds(desk.at(1, raised(COIN, State.HALT))) == [("pager", "firing", [COIN])]
    other = raised("book:arb")
    desk.at(2, other)
    desk.at(12)
    assert desk.disposition(other.id)[0] == "notified"


@pytest.mark.parametrize("until", ["tomorrow", "2023-03-11T00:00:00", 7])
def test_a_silence_without_an_end_silences_nothing(until: object) -> None:
    """Such a command is never accepted; a record of one has no effect."""
    desk = Desk()
    desk.at(0, command("silence", COIN, until=until), raised(COIN))
    assert kinds(desk.at(10)) == [("pager", "firing", [COIN])]


def test_resolved_is_told_where_it_fired() -> None:
    """Silenced routes and routes without `resolved` are not notified."""
    desk = Desk(config(route(), route("mute", resolved=False)))
    desk.at(0, silence("book:arb", 600), raised("book:arb"), raised(COIN, State.HALT))
    desk.at(1, over("book:arb"), over(COIN))
    assert kinds(desk.at(11)) == [("pager", "resolved", [COIN])]
    assert desk.at(1_000) == []


def test_what_was_short_is_told_all_the_same() -> None:
    """An alert that ends within its group's wait is notified before its end."""
    desk = Desk()
    assert kinds(desk.at(0, raised(COIN), over(COIN))) == [("pager", "firing", [COIN])]
    assert kinds(desk.at(10)) == [("pager", "resolved", [COIN])]
    assert desk.state.alerts == {}
    assert desk.state.groups == {}


def test_the_end_of_one_episode_comes_before_the_next() -> None:
    """The order holds even if the next is a HALT, which does not wait."""
    desk = Desk()
    desk.at(0, raised(COIN, State.HALT))
    desk.at(1, over(COIN))
    assert [n.kind.value for n in desk.at(2, raised(COIN, State.HALT))] == ["resolved", "firing"]


def test_what_no_route_takes_is_on_record() -> None:
    """The disposition records that no route takes it."""
    desk = Desk(config(route(match=(Matcher(severity=(State.HALT,)),))))
    alert = raised(COIN)
    assert desk.at(0, alert) == []
    assert desk.disposition(alert.id, "") == ("unrouted", "no route takes it")


def test_many_alerts_are_told_in_several_notices() -> None:
    """Each notification has twenty alerts, the most severe first, and none is left out."""
    desk = Desk(config(route(group_by=())))
    desk.at(0, *(raised(f"asset:A{n}", usd=str(n)) for n in range(45)))
    told = desk.at(10)
    assert [len(n.items) for n in told] == [20, 20, 5]
    assert told[0].items[0].alert == "asset:A44"
    assert {w.fate.value for w in desk.words if w.notice_id} == {"notified"}
    (again,) = desk.at(4_000)
    assert (len(again.items), again.more) == (20, 25)


def test_there_is_an_end_to_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alerts beyond the bound are counted in one alert; a HALT among them is notified."""
    monkeypatch.setattr("riskwatch.core.alerting.notifier.MAX_ALERTS", 3)
    monkeypatch.setattr("riskwatch.core.alerting.notifier._ROOM", 2)
    desk = Desk()
    desk.at(0, *(raised(f"asset:A{n}") for n in range(3)))
    beyond = raised("asset:B", State.HALT)
    told = desk.at(1, beyond)
    assert kinds(told) == [("pager", "firing", [OVERFLOW_ALERT_KEY])]
    assert "asset:B is HALT" in told[0].title
    assert desk.disposition(beyond.id)[0] == "grouped"
    desk.at(20, over("asset:A0"), over("asset:A1"))
    assert OVERFLOW_ALERT_KEY not in desk.state.alerts
    assert state.MAX_ALERTS == 10_000


def test_faults_are_alerts() -> None:
    """A failed worker is notified like any other alert."""
    desk = Desk()
    fault = StageFaulted(
        id="f", cause_id="c", ts=moment(START), worker="ledger/1", stream="s", position=1,
        crashes=3, error="boom", counterparties=[],
    )  # fmt: skip
    desk.at(0, fault)
    assert kinds(desk.at(10)) == [("pager", "firing", ["worker:ledger/1|fault"])]


def test_data_quality_is_told_to_those_who_ask() -> None:
    """Only such routes take it; the same issue of two workers gives two alerts."""
    asks = route("ops", match=(Matcher(about=(AlertKind.QUALITY,)),), group_by=())
    desk = Desk(config(route(), asks))
    issue = DataQualityRaised(
        id="q", cause_id="c", ts=moment(START), issue=QualityIssue.PRICE_MISSING,
        subject="asset:XYZ", detail="no feed",
    )  # fmt: skip
    gone = DataQualityResolved(
        id="g", cause_id="c", ts=moment(START), issue=issue.issue, subject=issue.subject
    )
    desk.at(0, issue)
    assert kinds(desk.at(10)) == [("ops", "firing", ["quality|risk|PRICE_MISSING|asset:XYZ"])]
    desk.notifier.handle(desk.state, gone, "ledger/1", START)
    assert desk.at(30) == []
    desk.at(31, gone)
    assert kinds(desk.at(60))[0][:2] == ("ops", "resolved")
