"""What a guard does with messages of another deployment: it fails closed, and says why."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from riskwatch.client.guard.deployment import SOURCE
from riskwatch.client.guard.switch import run_drill
from riskwatch.core.enums import State
from riskwatch.errors import ConfigError
from tests.support.drills import signal
from tests.unit.client.guard.test_switch import COIN, ORDER, Guarded

if TYPE_CHECKING:
    from riskwatch.contracts.heartbeat import Heartbeat

HERE, THERE = "prod", "staging"


def of(g: Guarded, deployment: str, **changes: Any) -> Heartbeat:
    """Return a heartbeat of a deployment that confirms the whole table."""
    return msgspec.structs.replace(g.truth.beat(), deployment=deployment, **changes)


def beat(g: Guarded, deployment: str) -> Guarded:
    """Deliver such a heartbeat, and let the guard look at it."""
    g.trust.beat(of(g, deployment))
    return g.later(0)


@pytest.mark.parametrize("other", [THERE, "embedded", ""], ids=["other", "embedded", "old"])
def test_a_heartbeat_of_another_deployment_verifies_nothing(other: str) -> None:
    """From the beginning and later; the reason and the acknowledgement name both deployments."""
    g = Guarded(deployment=HERE)
    beat(g, other)
    answer = g.switch.allows(**ORDER)
    assert (answer.allowed, answer.state) == (False, State.HALT)
    for words in (other or "no deployment", f"this guard obeys deployment {HERE}"):
        assert words in answer.reason
        assert words in g.switch.acknowledgement().sources[SOURCE]
    beat(g, HERE)
    assert g.switch.allows(**ORDER)
    for _ in range(30):
        g.trust.beat(of(g, other, seq=10**6))
        g.later(5)
    assert not g.switch.allows(**ORDER)
    assert (other or "no deployment") in g.switch.allows(**ORDER).reason


def test_a_switch_of_another_deployment_is_not_applied() -> None:
    """Neither a NORMAL in place of a HALT nor a HALT; the own table stays verified."""
    g = Guarded(deployment=HERE)
    halt = g.truth.decide(COIN, State.HALT)
    g.trust.row(halt, HERE)
    beat(g, HERE)
    released = msgspec.structs.replace(
        halt, state=State.NORMAL, decision_id="staged", seq=99, epoch=9
    )
    for deployment in (THERE, "embedded"):
        g.trust.row(released, deployment)
        g.later(0.1)
        answer = g.switch.allows(**ORDER)
        assert (answer.allowed, answer.state) == (False, State.HALT)
        assert deployment in g.switch.acknowledgement().sources[SOURCE]
    g.trust.row(msgspec.structs.replace(released, scope="firm", state=State.HALT), THERE)
    beat(g, HERE)
    assert g.switch.state() is State.NORMAL


def test_an_old_switch_counts_if_the_own_heartbeat_confirms_it() -> None:
    """A compacted topic holds switches of the build before deployments."""
    g = Guarded(deployment=HERE)
    g.trust.row(g.truth.decide(COIN, State.HALT))
    beat(g, HERE)
    assert g.switch.allows(**ORDER).state is State.HALT
    assert g.switch.allows(counterparty="kraken")


def test_a_guard_without_a_deployment_obeys_the_first_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once one is verified, no other is; not even after the history was read again."""
    g = Guarded()
    assert g.switch.deployment == ""
    with caplog.at_level(logging.WARNING, "riskwatch.client"):
        g.trust.row(g.truth.decide(COIN, State.WATCH), HERE)
        beat(g, HERE)
    assert g.switch.allows(**ORDER)
    assert g.switch.deployment == g.switch.acknowledgement().deployment == HERE
    assert any(f"obeys deployment {HERE}" in line.getMessage() for line in caplog.records)
    g.trust.reset("another history")
    beat(g, THERE)
    assert not g.switch.allows(**ORDER)
    assert THERE in g.switch.allows(**ORDER).reason


def test_a_heartbeat_that_does_not_agree_decides_nothing() -> None:
    """A stray heartbeat of another table does not make its deployment the one to obey."""
    g = Guarded()
    g.trust.beat(of(g, THERE, digest="x"))
    g.later(0)
    g.time.pass_(1)
    beat(g, HERE)
    assert g.switch.deployment == HERE
    assert g.switch.allows(**ORDER)


def test_switches_of_two_deployments_are_confirmed_by_neither() -> None:
    """Equal ticks give equal decisions in two deployments, so the digests may agree."""
    g = Guarded()
    g.trust.row(g.truth.decide(COIN, State.WATCH), THERE)
    g.trust.row(g.truth.decide("firm", State.WATCH), HERE)
    for deployment in (HERE, THERE):
        g.time.pass_(1)
        beat(g, deployment)
        answer = g.switch.allows(**ORDER)
        assert not answer
        assert "give the guard a deployment" in answer.reason
    assert g.switch.deployment == ""
    named = Guarded(deployment=HERE)
    named.trust.row(named.truth.decide(COIN, State.WATCH), HERE)
    assert beat(named, HERE).switch.allows(**ORDER)


def test_old_heartbeats_go_on_where_no_deployment_is_known() -> None:
    """A worker of the build before has no id; the first that has one is obeyed from then on."""
    g = Guarded()
    assert beat(g, "").switch.allows(**ORDER)
    assert g.switch.deployment == ""
    g.time.pass_(15)
    assert beat(g, HERE).switch.allows(**ORDER)
    assert g.switch.deployment == HERE
    g.time.pass_(61)
    beat(g, "")
    assert not g.switch.allows(**ORDER)


def test_what_was_refused_is_no_longer_shown_once_it_stops() -> None:
    """After two heartbeats of the own deployment."""
    g = Guarded(deployment=HERE)
    beat(g, THERE)
    g.time.pass_(1)
    beat(g, HERE)
    assert SOURCE in g.switch.acknowledgement().sources
    g.time.pass_(1)
    beat(g, HERE)
    assert SOURCE not in g.switch.acknowledgement().sources


@pytest.mark.parametrize("other", [THERE, "embedded", ""], ids=["other", "embedded", "old"])
def test_a_drill_of_another_deployment_is_not_answered(other: str) -> None:
    """It is shown as refused; the own one is answered, and the answer names the deployment."""
    g = Guarded(deployment=HERE)
    assert g.trust.refuses_drill(other)
    assert SOURCE in g.switch.acknowledgement().sources
    assert not g.trust.refuses_drill(HERE)
    assert (signal().deployment or "") == ""
    answer = run_drill(g.trust, g.switch._order_check, "desk-1", signal(deployment=HERE))
    assert answer.deployment == HERE


@pytest.mark.parametrize("bad", ["", "Prod", "embedded", 7])
def test_a_deployment_that_is_none_is_refused(bad: Any) -> None:
    """At construction, with what it must be."""
    with pytest.raises(ConfigError, match="kill switch: deployment"):
        Guarded(deployment=bad)
