"""Matching of alerts by routes, and level and kind of alerts."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from riskwatch.core.alerting.config import AlertKind, AlertLevel, Matcher, alert_kind
from riskwatch.core.alerting.state import NotifyState
from riskwatch.core.clock import SECOND, moment
from riskwatch.core.enums import State
from tests.unit.core.alerting.samples import START, Desk, config, over, raised, route

COIN = "asset:USDC"


@pytest.mark.parametrize(
    ("severity", "usd", "alert", "level"),
    [
        (State.HALT, "0", None, AlertLevel.HIGH),
        (State.HALT, "5e6", None, AlertLevel.CRITICAL),
        (State.REDUCE, "50000", None, AlertLevel.MEDIUM),
        (State.REDUCE, "5e6", None, AlertLevel.HIGH),
        (State.REDUCE, "10", None, AlertLevel.LOW),
        (State.WATCH, "50000", None, AlertLevel.LOW),
        (State.WATCH, "1", None, AlertLevel.LOW),
        (State.WATCH, "5e6", None, AlertLevel.MEDIUM),
        (State.REDUCE, "0", "worker:x|fault", AlertLevel.MEDIUM),
        (State.HALT, "0", f"client:gw|{COIN}", AlertLevel.CRITICAL),
    ],
)
def test_how_much_it_matters(
    severity: State, usd: str, alert: str | None, level: AlertLevel
) -> None:
    """The level is the severity, adjusted by our exposure."""
    desk = Desk()
    desk.at(0, raised(COIN, severity, usd=usd, alert=alert))
    (told,) = desk.at(10) or [*Desk().at(0, raised(COIN, severity, usd=usd, alert=alert))]
    assert told.level is level
    assert told.items[0].exposure_usd == Decimal(usd)


@pytest.mark.parametrize(
    ("matcher", "taken"),
    [
        (Matcher(), True),
        (Matcher(severity=(State.WATCH, State.REDUCE)), True),
        (Matcher(severity=(State.HALT,)), False),
        (Matcher(level_from=AlertLevel.MEDIUM), True),
        (Matcher(level_from=AlertLevel.HIGH), False),
        (Matcher(usd_from=50_000.0), True),
        (Matcher(usd_from=50_000.01), False),
        (Matcher(scope_kind=("asset",)), True),
        (Matcher(scope_kind=("book",)), False),
        (Matcher(scope=(COIN,)), True),
        (Matcher(scope=("asset:DAI",)), False),
        (Matcher(about=(AlertKind.STATE,)), True),
        (Matcher(about=(AlertKind.FAULT,)), False),
    ],
)
def test_matchers(matcher: Matcher, taken: bool) -> None:
    """An alert must meet all given conditions."""
    desk = Desk(config(route(match=(matcher,))))
    desk.at(0, raised(COIN, State.REDUCE))
    assert bool(desk.at(10)) is taken


def test_lanes() -> None:
    """A record with an old sequence number or an old epoch is not new."""
    state = NotifyState()
    given = [(1, 1), (1, 2), (1, 2), (1, 1), (2, 3), (1, 4), (2, 4)]
    assert [state.advance_cursor("risk", *at) for at in given] == [
        True, True, False, False, True, False, True,
    ]  # fmt: skip
    assert state.advance_cursor("clients", 1, 1)


def test_kinds_of_alerts() -> None:
    """The kind follows from the key that a stage gives the alert."""
    keys = ("firm|folded", "asset:X|request", "worker:a|fault", "something", "client:a|firm")
    assert [alert_kind(key, "asset:X").value for key in keys] == [
        "folded", "request", "fault", "other", "client",
    ]  # fmt: skip


def test_records_of_the_past_change_nothing() -> None:
    """An old raise, already known from SQL, opens no alert and reverts nothing."""
    desk = Desk()
    old = raised(COIN, State.HALT)
    new = raised(COIN, State.HALT, us=START + SECOND)
    assert len(desk.at(0, new, old)) == 1
    assert desk.state.alerts[COIN].last_id == new.id
    former = msgspec.structs.replace(over(COIN), ts=moment(START), opened_id="another")
    desk.at(1, former)
    assert COIN in desk.state.alerts
    desk.at(2, msgspec.structs.replace(former, opened_id=new.id))
    assert COIN not in desk.state.alerts
    assert [n.kind.value for n in desk.at(20, old, new)] == ["resolved"]
    again = raised(COIN, State.HALT, us=START + SECOND)
    assert [n.kind.value for n in desk.at(21, again)] == ["firing"]
    assert desk.state.ended == {}


def test_what_is_over_is_not_known_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest ended alert is dropped."""
    monkeypatch.setattr("riskwatch.core.alerting.state.MAX_ENDED", 2)
    desk = Desk()
    for n in range(3):
        scope = f"asset:A{n}"
        desk.at(n, raised(scope, us=START + n), over(scope))
    assert list(desk.state.ended) == ["asset:A1", "asset:A2"]
    assert desk.state.drain()["ended/asset:A0"] is None
