"""Commands that cross deployments: they are refused, told and change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from riskwatch.core.command_signing import command_bytes, intent_digest
from riskwatch.core.deployment import EMBEDDED, UNBOUND
from riskwatch.core.enums import CommandRefusal as No
from riskwatch.core.enums import RejectReason, State
from riskwatch.core.outputs import (
    AlertRaised,
    CommandApplied,
    CommandRefused,
    DrillSignalled,
    EventRejected,
)
from riskwatch.core.risk.config import DrillPlan, RiskConfig
from riskwatch.core.risk.stage import RiskStage
from tests.support.people import SCOPE, answer, command, people, request_of, until
from tests.support.risk import LIMITS, REFERENCE, RULES, Desk, NoScorer, of

if TYPE_CHECKING:
    from riskwatch.core.events import Command

HERE, THERE = "prod", "staging"
KINDS: list[tuple[str, str, dict[str, Any]]] = [
    ("ann", "halt", {}),
    ("ann", "release", {}),
    ("ann", "approve", {"request": "0" * 32}),
    ("ann", "override", {"until": until(60)}),
    ("ann", "drill", {"scope": "firm"}),
    ("ann", "set_limit", {"limit": "usdc", "hard_usd": "1"}),
    ("ann", "set_limit", {"limit": "usdc", "hard_usd": "9000000"}),
    ("rita", "unwind", {"until": until(20)}),
    ("rita", "silence", {"until": until(20)}),
    ("rita", "acknowledge", {}),
    ("ann", "retire", {}),
    ("ann", "promote", {"scope": "firm", "target": "t", "generation": "g", "to": "full"}),
    ("ann", "demote", {"scope": "firm", "target": "t", "generation": "g", "to": "shadow"}),
]
IDS = [f"{action}-{n}" for n, (_, action, _) in enumerate(KINDS)]


def kept(d: Desk) -> str:
    """Return as text what commands can change, without the count of refusals."""
    found = d.state
    return repr((found.scopes, found.controls, found.limit_overrides, found.commands))


def halted(deployment: str = HERE) -> Desk:
    """Return a desk of a deployment at which the scope is at HALT."""
    d = people(deployment=deployment)
    assert answer(d.tell(command("rita", "halt", 1, deployment=deployment))) == "applied"
    return d


@pytest.mark.parametrize("deployment", [THERE, EMBEDDED, UNBOUND], ids=["other", "embedded", "old"])
@pytest.mark.parametrize(("who", "action", "args"), KINDS, ids=IDS)
def test_a_command_for_another_deployment_has_no_effect(
    who: str, action: str, args: dict[str, Any], deployment: str
) -> None:
    """Whatever it asks for: a refusal, a dead letter and an alert say so, and no row changes."""
    d = halted()
    before = kept(d)
    out = d.tell(command(who, action, 2, deployment=deployment, **args))
    (refused,) = of(out, CommandRefused)
    assert (refused.refusal, refused.authentic) == (No.DEPLOYMENT_FOREIGN, True)
    assert HERE in refused.detail
    assert (deployment or "older riskwatch") in refused.detail
    assert (refused.deployment or "") == deployment
    (letter,) = of(out, EventRejected)
    assert letter.reason is RejectReason.COMMAND_REFUSED
    assert "DEPLOYMENT_FOREIGN" in letter.detail
    (alert,) = of(out, AlertRaised)
    assert "DEPLOYMENT_FOREIGN" in alert.reasons[0]
    assert kept(d) == before


def test_a_release_that_was_rehearsed_elsewhere_releases_nothing() -> None:
    """Its bytes, handed over one by one within five minutes, meet a real HALT of the scope."""
    staging, prod = halted(THERE), halted(HERE)
    asked = command("ann", "release", 2, deployment=THERE)
    request = request_of(staging.tell(asked))
    approved = command("bob", "approve", 3, deployment=THERE, request=request)
    assert answer(staging.tell(approved)) == "approved"
    assert staging.state.scopes[SCOPE].state is State.NORMAL
    assert answer(prod.tell(asked)) == answer(prod.tell(approved)) == "DEPLOYMENT_FOREIGN"
    assert prod.state.scopes[SCOPE].state is State.HALT
    assert not prod.state.controls


def test_request_ids_of_two_deployments_differ() -> None:
    """So no approval of one names a request of the other; the alert has the id of the request."""
    found = []
    for deployment in (HERE, THERE, EMBEDDED):
        d = halted(deployment)
        out = d.tell(command("ann", "release", 2, deployment=deployment))
        (alert,) = of(out, AlertRaised)
        assert alert.id == request_of(out)
        approved = d.tell(command("bob", "approve", 3, deployment=deployment, request=alert.id))
        assert answer(approved) == "approved"
        found.append(alert.id)
    assert len({*found}) == len(found)


def test_the_refused_command_uses_up_no_key() -> None:
    """The person may sign it again, for this deployment, under its key."""
    d = people(deployment=HERE)
    assert answer(d.tell(command("ann", "halt", 1, key="k"))) == "DEPLOYMENT_FOREIGN"
    assert answer(d.tell(command("ann", "halt", 2, key="k", deployment=HERE))) == "applied"


def test_a_changed_deployment_breaks_the_signature() -> None:
    """Nobody turns a command for one deployment into one for another, or for none."""
    d = people(deployment=HERE)
    for other in (THERE, UNBOUND):
        made: Command = command("ann", "halt", 1, deployment=other)
        out = d.tell(replace(made, deployment=HERE))
        (refused,) = of(out, CommandRefused)
        assert (refused.refusal, refused.authentic) == (No.SIGNATURE_INVALID, False)


def test_bytes_and_intent_name_the_deployment() -> None:
    """They differ between any two deployments, and from those without one."""
    made = [command("ann", "halt", 1, key="k", deployment=each) for each in ("", HERE, THERE)]
    assert len({command_bytes(each) for each in made}) == len({intent_digest(m) for m in made}) == 3


def test_the_embedded_replay_takes_old_commands_and_no_live_ones() -> None:
    """Old files hold commands without a deployment; one for a live deployment is for that one."""
    for deployment, outcome in (
        (UNBOUND, "applied"), (EMBEDDED, "applied"), (HERE, "DEPLOYMENT_FOREIGN"),
    ):  # fmt: skip
        assert answer(people().tell(command("ann", "halt", 1, deployment=deployment))) == outcome


def test_a_journal_without_a_deployment_takes_old_commands_alone() -> None:
    """As the builds that wrote it did."""
    old = people(deployment=UNBOUND)
    assert answer(old.tell(command("ann", "halt", 1))) == "applied"
    assert answer(old.tell(command("ann", "halt", 2, deployment=HERE))) == "DEPLOYMENT_FOREIGN"


def test_answers_and_drills_name_the_deployment() -> None:
    """That of the command, or of the stage if a plan is due; a replay in one process names none."""
    d = people(deployment=HERE)
    out = d.tell(command("ann", "drill", 1, "firm", deployment=HERE))
    assert of(out, CommandApplied)[0].deployment == HERE
    assert of(out, DrillSignalled)[0].deployment == HERE
    plan = DrillPlan(id="often", scope="firm", every_s=3_600.0)
    for deployment, named in ((HERE, HERE), (EMBEDDED, ""), (UNBOUND, "")):
        config = RiskConfig(drills=(plan,))
        desk = Desk(RiskStage(config, REFERENCE, LIMITS, RULES, NoScorer(), deployment=deployment))
        for minute in (0, 61, 122):
            desk.tick(minute)
        assert {found.deployment or "" for found in of(desk.out, DrillSignalled)} == {named}
