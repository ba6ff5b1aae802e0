"""Commands over the broker: signed, sent, decided by the real risk worker, obeyed by a guard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from sqlalchemy import select

from riskwatch.client import KillSwitch
from riskwatch.contracts.codec import decode, encode
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.core.enums import CommandRefusal as No
from riskwatch.core.enums import State
from riskwatch.core.events import Command
from riskwatch.errors import RiskwatchError
from riskwatch.store.projections import ALERT, OPERATOR_COMMAND
from tests.support.gateway import wait
from tests.support.office import Office

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCOPE: Final = "asset:USDC"
ORDER: Final[dict[str, Any]] = {"counterparty": "kraken", "asset": ("USDC", "USD"), "book": "arb"}
COMMANDS: Final = "riskwatch.commands"


@pytest.fixture
def office(
    mirror_template: bytes, tmp_path: Path, kafka_broker: str, kafka_prefix: str
) -> Iterator[Office]:
    """Return an office on the shared broker."""
    path = tmp_path / "office.db"
    path.write_bytes(mirror_template)
    connection = KafkaConnection(servers=kafka_broker, prefix=kafka_prefix)
    made = Office(tmp_path, f"sqlite:///{path}", connection)
    yield made
    made.close()


def sent(office: Office) -> list[bytes]:
    """Every command on the topic, as its bytes."""
    return [record.value for record in office.cluster.read(COMMANDS)]


def refusals(office: Office) -> list[Any]:
    """Refused commands in SQL, the oldest first."""
    c = OPERATOR_COMMAND.c
    return office.rows(select(OPERATOR_COMMAND).where(c.refusal.is_not(None)).order_by(c.ts))


def test_a_halt_and_its_release_over_the_broker(office: Office) -> None:
    """Signed, applied, told with --wait, and obeyed; released by two people, and obeyed again."""
    with office.worker(), KillSwitch("desk-1", kafka=office.connection) as guard:
        assert guard.wait_ready(30), guard.allows().reason
        assert guard.allows(**ORDER)
        done = office.turn("halt", SCOPE, "--reason", "fire", name="rita")
        assert done.exit_code == 0, (done.output, done.exception)
        bound = "it binds its orders; nothing is held on it"
        assert done.stdout == f"halt of {SCOPE} applied: halted; {bound}\n"
        wait(lambda: not guard.allows(**ORDER), "the guard does not stop")
        answer = guard.allows(**ORDER)
        assert (answer.state, answer.scope) == (State.HALT, SCOPE)
        assert "halted by rita: fire" in answer.reason

        asked = office.turn("release", SCOPE, "--yes", "--reason", "fire is out")
        assert asked.exit_code == 0, (asked.output, asked.exception)
        assert f"release of {SCOPE} requested" in asked.stdout
        assert not guard.allows(**ORDER)
        same = office.turn("approve", SCOPE, "--yes", "--reason", "me again")
        assert isinstance(same.exception, RiskwatchError)
        assert No.SAME_PERSON in str(same.exception)
        other = office.turn("approve", SCOPE, "--yes", "--reason", "seen", name="bob")
        assert other.exit_code == 0, (other.output, other.exception)
        assert other.stdout.startswith(f"approve of {SCOPE} approved: released to NORMAL")
        wait(lambda: guard.allows(**ORDER), "the guard does not go on")
    assert [(h["operator"], h["action"], h["outcome"]) for h in office.history()] == [
        ("rita", "halt", "applied"),
        ("ann", "release", "requested"),
        ("ann", "approve", "refused"),
        ("bob", "approve", "approved"),
    ]


def test_what_may_not_be_is_refused_recorded_and_alerted(office: Office) -> None:
    """Unsigned, replayed, beyond a role, by a stranger: nothing moves, all of it is told."""
    with office.worker(), KillSwitch("desk-1", kafka=office.connection) as guard:
        assert guard.wait_ready(30), guard.allows().reason
        beyond = office.turn("halt", SCOPE, "--reason", "me", name="vic")
        assert isinstance(beyond.exception, RiskwatchError)
        assert No.ROLE_FORBIDDEN in str(beyond.exception)
        assert office.turn("halt", SCOPE, "--reason", "fire").exit_code == 0
        assert office.turn("release", SCOPE, "--yes", "--reason", "out").exit_code == 0
        approved = office.turn("approve", SCOPE, "--yes", "--reason", "seen", name="bob")
        assert approved.exit_code == 0, (approved.output, approved.exception)
        wait(lambda: guard.allows(**ORDER), "the guard does not go on")

        halt = sent(office)[1]
        made = decode(halt)
        assert isinstance(made, Command)
        unsigned = msgspec.structs.replace(
            made, event_id="forged", idempotency_key="forged", signature=""
        )
        stranger = msgspec.structs.replace(made, event_id="stranger", operator="eve")
        for raw in (halt, encode(unsigned), encode(stranger), halt):
            office.cluster.write(COMMANDS, SCOPE.encode(), raw)
        last = office.turn("halt", "book:last", "--yes", "--reason", "mark")
        assert last.exit_code == 0, (last.output, last.exception)
        assert guard.allows(**ORDER), guard.allows(**ORDER).reason
        found = refusals(office)
        assert [(row.operator, row.refusal, row.authentic) for row in found] == [
            ("vic", No.ROLE_FORBIDDEN, True),
            ("ann", No.REPLAYED, True),
            ("ann", No.UNSIGNED, False),
            ("eve", No.OPERATOR_UNKNOWN, False),
            ("ann", No.REPLAYED, True),
        ]
        alerts = {row.alert for row in office.rows(select(ALERT)) if row.resolved_ts is None}
        assert {"command|vic", "command|ann", "command|?"} <= alerts
