"""Whatever happens, what binds is the same with advisory rules, limits and asks as without."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest

from riskwatch.contracts.signing import Ed25519Verifier
from riskwatch.core.enums import Cause, Mode, State
from riskwatch.core.events import Credit, Tick
from riskwatch.core.outputs import DecisionAdvised, LimitMeasured
from riskwatch.core.reference import Limit
from riskwatch.core.risk.config import PeopleConfig, RiskConfig
from riskwatch.core.risk.stage import RiskStage
from riskwatch.core.rules import Condition, Rule, RulePack
from riskwatch.engine import bootstrap
from riskwatch.models.ensemble import Ensemble
from tests.support.people import OPERATORS, command
from tests.support.risk import (
    LIMITS,
    REFERENCE,
    RULES,
    Desk,
    asset,
    at,
    bitcoin,
    held,
    market,
    news,
    venue,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.outputs import Output
    from riskwatch.core.risk.stage import RiskEvent

SEEDS = range(12)
CONFIG = bootstrap.configuration()
MODELS = CONFIG.policy.models


def tried_rules(random: Random) -> tuple[Rule, ...]:
    """Advisory copies of shipped rules, lower or higher, slower or faster."""
    out = []
    for rule in random.sample(RULES.rules, 8):
        factor = random.choice((0.1, 0.5, 0.9, 2.0))
        out.append(
            msgspec.structs.replace(
                rule,
                id=f"{rule.id}.tried",
                state=random.choice((State.WATCH, State.REDUCE, State.HALT)),
                any=tuple(msgspec.structs.replace(c, at=c.at * factor) for c in rule.any),
                dwell_s=random.choice((0.0, 60.0, 600.0)),
                exit_dwell_s=random.choice((0.0, 300.0)),
                mode=Mode.ADVISORY,
            )
        )
    discount = Condition(feature="discount_bp", at=5.0)
    out.append(
        Rule(id="always", scope_kind="asset", state=State.HALT, any=(discount,), dwell_s=30.0,
             mode=Mode.ADVISORY)
    )  # fmt: skip
    return tuple(out)


def tried_limits(random: Random) -> tuple[Limit, ...]:
    """Advisory limits on what has a limit already, and on what has none."""
    subjects = (
        ("counterparty", "kraken"),
        ("book", "mm"),
        ("asset", "*"),
        ("firm", "*"),
        ("bank", "svb"),
    )
    return tuple(
        Limit(id=f"{kind}-tried", scope_kind=kind, subject=subject, mode=Mode.ADVISORY,
              hard_usd=random.choice((10_000.0, 200_000.0, 9_000_000.0)))
        for kind, subject in subjects
    )  # fmt: skip


def made(random: Random, *, advisory: bool) -> Desk:
    """A stage with the shipped models, and with everything that is tried out or without it."""
    rules, limits = tried_rules(random), tried_limits(random)
    asks = CONFIG.policy.risk.asks
    tried = msgspec.structs.replace(
        asks[0], at=0.01, dwell_s=0.0, observations=1, state=State.HALT, mode=Mode.ADVISORY
    )
    assert tried.rule_id not in [ask.rule_id for ask in asks]
    config = RiskConfig(asks=(*asks, tried) if advisory else asks, people=PeopleConfig())
    pack = RulePack(rules=(*RULES.rules, *rules)) if advisory else RULES
    known = (
        msgspec.structs.replace(LIMITS, limits=(*LIMITS.limits, *limits)) if advisory else LIMITS
    )
    stage = RiskStage(config, REFERENCE, known, pack, Ensemble(MODELS), Ed25519Verifier(OPERATORS))
    return Desk(stage)


def history(random: Random) -> Iterator[RiskEvent]:
    """Two hours: a coin that wanders, holdings that come and go, news, commands, and silence."""
    bp, seen, minute = 0.0, 1, 0.0
    while minute < 150:
        minute += random.choice((0.5, 1.0, 1.0, 1.0, 4.0, 25.0))
        if random.random() < 0.8:
            bp += random.uniform(-40.0, 35.0)
            seen += random.choice((0, 1, 1, 2))
            cause = random.choice((Cause.ISSUER, Cause.FEED, Cause.VENUE))
            coins = [asset(bp=bp, seen=seen, cause=cause), bitcoin(seen=seen)]
            yield market(minute, *coins, venues=[venue(dislocation_bp=random.uniform(0.0, 400.0))])
        if random.random() < 0.4:
            amounts = (str(random.randint(0, 900_000)), str(random.randint(0, 60)))
            yield held(minute, ("USDC", amounts[0]), ("BTC", amounts[1]))
        if random.random() < 0.05:
            yield news(Credit, minute, f"c{minute}", subject="kraken", kind="withdrawals_suspended")
        if random.random() < 0.1:
            action = random.choice(("halt", "release", "acknowledge"))
            scope = random.choice(("asset:USDC", "counterparty:kraken", "firm"))
            yield command("ann", action, minute, scope, key=f"{action}{minute}")
        yield Tick(at(minute))


def binds(outputs: list[Output]) -> list[Output]:
    """All but what is advised, and the use of limits that only advise."""
    return [
        o
        for o in outputs
        if not isinstance(o, DecisionAdvised)
        and not (isinstance(o, LimitMeasured) and o.limit.endswith("-tried"))
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_what_binds_is_the_same_with_and_without(seed: int) -> None:
    """Outputs and rows, to the byte; and over a restart in the middle, what is advised too."""
    without, beside, again = (
        made(Random(seed), advisory=advisory) for advisory in (False, True, True)
    )
    events = list(history(Random(f"events/{seed}")))
    for desk in (without, beside):
        desk.tell(*events)
    assert binds(beside.out) == without.out
    advised = [o for o in beside.out if isinstance(o, DecisionAdvised)]
    assert advised
    rows = {
        key: row
        for key, row in beside.state.drain().items()
        if not key.startswith("advisory/") and "-tried|" not in key
    }
    assert rows == without.state.drain()
    middle = len(events) // 2
    again.tell(*events[:middle])
    second = made(Random(seed), advisory=True)
    second.state.load({key: row for key, row in again.state.drain().items() if row is not None})
    second.tell(*events[middle:])
    assert again.out + second.out == beside.out
    open_ids: dict[str, str] = {}
    for each in advised:
        assert each.state.rank >= each.in_force.rank
        assert each.opened_id == open_ids.get(each.scope, each.id)
        if each.ended:
            del open_ids[each.scope]
        else:
            open_ids[each.scope] = each.opened_id
