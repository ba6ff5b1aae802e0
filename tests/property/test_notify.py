"""Notifications over random histories: none is lost, and none is held that must go out.

``RISKWATCH_FUZZ`` sets the number of examples (default 150); see ``make fuzz``.
"""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from riskwatch.core.alerting.config import SILENCEABLE_KINDS, Matcher
from riskwatch.core.alerting.dispatch import MAX_UNREPORTED_RESOLVED
from riskwatch.core.alerting.notification import (
    MAX_ITEMS,
    AlertDisposition,
    Notification,
    NotificationKind,
)
from riskwatch.core.alerting.notifier import Notifier
from riskwatch.core.alerting.state import NotifyState
from riskwatch.core.clock import SECOND
from riskwatch.core.enums import State
from riskwatch.core.scopes import covering_scopes
from tests.unit.core.alerting import samples

if TYPE_CHECKING:
    from riskwatch.core.alerting.config import NotifyConfig, Route
    from riskwatch.core.alerting.notification import NotifierOutput

SCOPES: Final = (
    "firm", "counterparty:kraken", "asset:USDC", "venue-asset:kraken/USDC", "book:arb",
)  # fmt: skip
STATES: Final = (State.WATCH, State.REDUCE, State.HALT)
EXAMPLES: Final = int(os.environ.get("RISKWATCH_FUZZ", "150"))
often = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LONG_S: Final = 1_000_000.0

routes = st.builds(
    samples.route,
    name=st.just("pager"),
    group_by=st.sampled_from([(), ("scope",), ("asset",), ("severity",), ("alert",)]),
    group_wait_s=st.sampled_from([0.0, 10.0, 60.0]),
    repeat_s=st.sampled_from([0.0, 30.0, 600.0]),
    escalate_after_s=st.sampled_from([0.0, 45.0]),
    escalate_to=st.just("boss"),
    match=st.sampled_from(
        [(), (Matcher(severity=(State.HALT,)),), (Matcher(scope_kind=("asset", "venue-asset")),)]
    ),
)
bosses = st.builds(
    samples.route,
    name=st.just("boss"),
    group_by=st.sampled_from([(), ("scope",)]),
    match=st.sampled_from([(), (Matcher(severity=(State.HALT,)),)]),
    resolved=st.booleans(),
)
configs = st.builds(samples.config, routes, bosses)
alerts = st.tuples(
    st.just("raise"),
    st.sampled_from(SCOPES),
    st.sampled_from(STATES),
    st.sampled_from(["", "|data"]),
)
others = st.tuples(
    st.sampled_from(["over", "over|data", "silence", "unsilence", "ack", "lift", "pass"]),
    st.sampled_from(SCOPES),
)
lives = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, 10.0, 29.0, 61.0, 700.0]), alerts | others), max_size=40
)


class History:
    """Runs a random history, and tracks open alerts and silences independently."""

    def __init__(self, config: NotifyConfig, *, restarts: bool) -> None:
        self.config = config
        self.notifier = Notifier(config)
        self.state = NotifyState()
        self.restarts = restarts
        self.stored: dict[str, bytes] = {}
        self.now = 0.0
        self.raises = 0
        self.open: dict[str, Any] = {}
        self.silences: dict[str, float] = {}
        self.outputs: list[NotifierOutput] = []
        self.batches: list[tuple[float, list[NotifierOutput]]] = []

    def live(self, life: list[tuple[float, tuple[Any, ...]]]) -> None:
        """Run the history, in batches of one output."""
        for pause, (what, scope, *more) in life:
            self.now += pause
            self.silences = {s: u for s, u in self.silences.items() if u > self.now}
            us = samples.START + round(self.now * SECOND)
            output = self.output(what, scope, more)
            outputs = [] if output is None else self.notifier.handle(self.state, output, "risk", us)
            outputs += self.notifier.tick(self.state, us)
            self.outputs += outputs
            self.batches.append((self.now, outputs))
            self.check(output)
            self.store()

    def store(self) -> None:
        """Store the changed rows; with restarts, reload the state from them."""
        for key, row in self.state.drain().items():
            if row is None:
                self.stored.pop(key, None)
            else:
                self.stored[key] = row
        if self.restarts:
            self.state = NotifyState()
            self.state.load(dict(self.stored))

    def output(self, what: str, scope: str, more: list[Any]) -> Any:
        """Make the output of an action, and update the tracked alerts and silences."""
        if what == "raise":
            severity, key = more[0], f"{scope}{more[1]}"
            self.raises += 1
            made = samples.raised(scope, severity, alert=key, id=f"r{self.raises}")
            self.open[key] = made
            return made
        if what.startswith("over"):
            key = scope + what.removeprefix("over")
            self.open.pop(key, None)
            return samples.over(key, scope)
        if what == "silence":
            self.silences[scope] = self.now + 100
            return samples.silence(scope, self.now + 100)
        if what == "unsilence":
            self.silences.pop(scope, None)
            return samples.command("silence", scope, end=True)
        if what == "ack":
            return samples.command("acknowledge", scope)
        return samples.decided(scope, State.REDUCE) if what == "lift" else None

    def routes_for(self, alert: Any) -> list[Route]:
        """Return the routes that match an alert."""
        row = self.state.alerts[alert.alert]
        return [r for r in self.config.routes.values() if r.matches(row, self.config.level(row))]

    def words(self) -> dict[tuple[str, str], AlertDisposition]:
        """Return the last disposition of each raise and route."""
        return {(s.raise_id, s.route): s for s in self.outputs if isinstance(s, AlertDisposition)}

    def check(self, output: Any) -> None:
        """Assert the invariants of every moment."""
        words = self.words()
        assert set(self.state.alerts) == set(self.open)
        for key, alert in self.open.items():
            takers = self.routes_for(alert)
            for route in takers:
                word = words[alert.id, route.id]
                if alert.severity is State.HALT:
                    assert word.fate.value == "notified", "a HALT waits for nobody"
                if word.fate.value == "silenced":
                    assert alert.scope in self.silences, "no silence covers it"
                    assert self.state.alerts[key].about in SILENCEABLE_KINDS
                if word.fate.value == "inhibited":
                    above = word.why.removesuffix(" is at HALT")
                    assert above in covering_scopes(alert.scope)
                    assert self.open[above].severity is State.HALT
            assert takers or words[alert.id, ""].fate.value == "unrouted"
        if output is not None and getattr(output, "severity", None) is State.HALT:
            notified = [s for s in self.batches[-1][1] if isinstance(s, Notification)]
            for route in self.routes_for(output):
                assert any(
                    n.route == route.id and output.id in [i.raise_id for i in n.items]
                    for n in notified
                )
        held = len(self.open)
        assert len(self.state.groups) <= len(self.config.routes) * (
            len(SCOPES) * 2 + MAX_UNREPORTED_RESOLVED
        )
        assert len(self.state.silences) <= len(SCOPES)
        assert len(self.state.alerts) == held


def notices(outputs: list[NotifierOutput]) -> list[Notification]:
    """Return the notifications among the outputs of the notifier."""
    return [s for s in outputs if isinstance(s, Notification)]


@often
@given(configs, lives)
def test_what_holds_of_every_notice(config: NotifyConfig, life: Any) -> None:
    """No resolved before firing, no repeat before its time, and no id twice."""
    lived = History(config, restarts=False)
    lived.live(life)
    notified: dict[str, set[str]] = defaultdict(set)
    last: dict[tuple[str, str], int] = {}
    ids = set()
    for notice in notices(lived.outputs):
        assert notice.id not in ids
        ids.add(notice.id)
        assert 1 <= len(notice.items) <= MAX_ITEMS
        place = (notice.route, notice.group)
        for item in notice.items:
            if notice.kind is NotificationKind.RESOLVED:
                assert item.episode in notified[notice.route], "over before it fired"
                assert item.status == "resolved"
        if notice.kind is NotificationKind.REPEAT:
            every = config.routes[notice.route].repeat_s
            assert every
            assert notice.us - last[place] >= every * SECOND
            assert not any(item.acknowledged_by for item in notice.items)
        if notice.kind is NotificationKind.ESCALATED:
            assert (notice.route, notice.origin) == ("boss", "pager")
        if notice.kind in (NotificationKind.FIRING, NotificationKind.REPEAT):
            last[place] = notice.us
        if notice.kind is not NotificationKind.RESOLVED:
            notified[notice.route] |= {item.episode for item in notice.items}


@often
@given(configs, lives)
def test_nothing_is_lost(config: NotifyConfig, life: Any) -> None:
    """After all silences and HALTs have ended, every open alert was notified to its routes."""
    lived = History(config, restarts=False)
    lived.live(life)
    halted = [a for a in lived.open.values() if a.severity is State.HALT]
    ends = [(0.0, (f"over{a.alert.removeprefix(a.scope)}", a.scope)) for a in halted]
    lived.live([*ends, (LONG_S, ("pass", "firm")), (100.0, ("pass", "firm"))])
    words = lived.words()
    for alert in lived.open.values():
        for route in lived.routes_for(alert):
            assert words[alert.id, route.id].fate.value == "notified"
    # Every raise has a disposition, and a notified one names its notification.
    raised = [what for _, what in life if what[0] == "raise"]
    assert len({raise_id for raise_id, _ in words}) == len(raised)
    known = {notice.id: notice for notice in notices(lived.outputs)}
    for word in words.values():
        if word.fate.value == "notified":
            assert word.raise_id in [i.raise_id for i in known[word.notice_id].items]
        assert word.why


@often
@given(configs, lives)
def test_a_restart_changes_nothing(config: NotifyConfig, life: Any) -> None:
    """Outputs and rows are equal with and without restarts."""
    runs = [History(config, restarts=restarts) for restarts in (False, True)]
    for run in runs:
        run.live(life)
    assert runs[0].outputs == runs[1].outputs
    assert runs[0].stored == runs[1].stored
