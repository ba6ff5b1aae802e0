"""Operators with keys, signed commands, and a risk stage that accepts them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from riskwatch.contracts.signing import Ed25519Verifier, public_key_text, sign
from riskwatch.core.deployment import EMBEDDED
from riskwatch.core.events import Command
from riskwatch.core.names import IDENTITY
from riskwatch.core.operators import Operator, Operators, Role
from riskwatch.core.outputs import CommandApplied, CommandRefused
from riskwatch.core.risk.config import PeopleConfig, RiskConfig
from riskwatch.core.risk.stage import RiskStage
from tests.support.risk import LIMITS, REFERENCE, RULES, START, Desk, NoScorer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from riskwatch.core.names import NameTable
    from riskwatch.core.outputs import Output
    from riskwatch.core.reference import LimitsConfig
    from riskwatch.core.rules import RulePack

ROLES: Final = {
    "ann": Role.SUPERVISOR,
    "bob": Role.SUPERVISOR,
    "rita": Role.RISK,
    "tom": Role.TRADER,
    "vic": Role.VIEWER,
    "old": Role.SUPERVISOR,
}
KEYS: Final = {
    name: Ed25519PrivateKey.from_private_bytes(bytes([n + 1]) * 32) for n, name in enumerate(ROLES)
}
OPERATORS: Final = Operators(
    operators={
        name: Operator(
            id=name,
            role=role,
            public_key=public_key_text(KEYS[name].public_key()),
            books=("arb", "mm") if role is Role.TRADER else (),
            disabled=name == "old",
        )
        for name, role in ROLES.items()
    }
)
SCOPE: Final = "asset:USDC"


def command(
    operator: str,
    action: str,
    minutes: float,
    scope: str = SCOPE,
    *,
    key: str = "",
    by: str = "",
    reason: str = "a drill of our own",
    deployment: str = "",
    **args: Any,
) -> Command:
    """Make a signed command; `by` signs it if it is not the operator."""
    name = key or f"{operator}-{action}-{scope}-{minutes}"
    made = Command(
        v=1, event_id=f"e-{operator}-{name}-{minutes}", ts=START + timedelta(minutes=minutes),
        source="cli", operator=operator, action=action,  # type: ignore[arg-type]
        scope=scope, reason=reason, idempotency_key=name, args=args or None,
        deployment=deployment,
    )  # fmt: skip
    return sign(made, KEYS[by or operator])


def until(minutes: float) -> str:
    """Moment as arguments have it."""
    return (START + timedelta(minutes=minutes)).isoformat()


def people(
    rules: RulePack = RULES,
    limits: LimitsConfig = LIMITS,
    scorer: Any = None,
    operators: Operators = OPERATORS,
    deployment: str = EMBEDDED,
    names: NameTable = IDENTITY,
    **settings: Any,
) -> Desk:
    """Make a risk stage that listens to the operators."""
    config = RiskConfig(people=PeopleConfig(**settings))
    verifier = Ed25519Verifier(operators)
    scored = scorer or NoScorer()
    return Desk(RiskStage(config, REFERENCE, limits, rules, scored, verifier, deployment, names))


def answer(outputs: Iterable[Output]) -> str:
    """What came of one command: its outcome, or why it was refused."""
    found = [o for o in outputs if isinstance(o, CommandApplied | CommandRefused)]
    assert len(found) == 1, found
    one = found[0]
    return one.outcome if isinstance(one, CommandApplied) else one.refusal.value


def request_of(outputs: Iterable[Output]) -> str:
    """Id of the request that a command made."""
    (one,) = [o for o in outputs if isinstance(o, CommandApplied)]
    assert one.request_id is not None
    return one.request_id
