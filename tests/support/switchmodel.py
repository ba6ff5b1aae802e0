"""The life of one switch as a small machine: an alphabet of inputs, and what must always hold."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.core.clock import MINUTE, moment
from riskwatch.core.enums import Cause, State
from riskwatch.core.events import Command, Tick
from riskwatch.core.operators import Operator, Operators, Role
from riskwatch.core.outputs import CommandApplied
from riskwatch.core.reference import LimitsConfig
from riskwatch.core.risk.config import PeopleConfig, RiskConfig
from riskwatch.core.risk.rule_engine import RuleEngine
from riskwatch.core.risk.stage import RiskStage
from riskwatch.core.rules import Condition, Rule, RulePack
from tests.support.risk import REFERENCE, ZERO_US, NoScorer, asset, held, market

if TYPE_CHECKING:
    from riskwatch.core.outputs import Output
    from riskwatch.core.risk.state import RiskState
    from riskwatch.core.stage import Row

SCOPE: Final = "asset:USDC"
UNSEEN: Final = "asset:NEVERSEEN"
PEOPLE: Final = {"ann": Role.SUPERVISOR, "bob": Role.SUPERVISOR, "rita": Role.RISK}
LETTERS: Final = ("bad", "good", "silent", "halt", "release", "approve", "override", "restart")
"""Bad tick, good tick, tick without data; rita halts; ann asks for a release, or an override; bob
approves whatever waits; drain and load."""
MORE: Final = (*LETTERS, "self-approve", "forged", "retire", "silence", "stale", "unwind")
"""And what people should not, or seldom, do."""


def _rule(state: State, at: float, **fields: Any) -> Rule:
    return Rule(
        id=state.value.lower(),
        scope_kind="asset",
        state=state,
        any=(Condition(feature="discount_bp", at=at),),
        unless_cause=(Cause.FEED,),
        exit=0.7,
        **fields,
    )


RULES: Final = RulePack(
    rules=(
        _rule(State.HALT, 250.0, dwell_s=60.0, observations=2, exit_dwell_s=120.0),
        _rule(State.WATCH, 20.0, dwell_s=0.0, observations=1, exit_dwell_s=60.0),
    )
)
MACHINE: Final = RuleEngine(RULES).of(SCOPE)


class Trusting:
    """A verifier that takes the word ``signed`` for a signature: what follows is modelled."""

    def __init__(self) -> None:
        self.known = Operators(
            operators={n: Operator(id=n, role=r, public_key=n) for n, r in PEOPLE.items()}
        ).operators

    def operator(self, name: str) -> Operator | None:
        """Look an operator up."""
        return self.known.get(name)

    def is_independent(self, *names: str) -> bool:
        """Say yes: functions are not modelled."""
        del names
        return True

    def verify(self, operator: Operator, message: bytes, signature: str) -> bool:
        """Whether it says so."""
        del operator, message
        return signature == "signed"


def stage() -> RiskStage:
    """Make the stage that is modelled: it looks at every tick, and works out no credit views."""
    people = PeopleConfig(request_s=240.0, override_max_s=180.0)
    config = RiskConfig(report_s=60.0, revalue_s=1e10, unknown_reduce_s=120.0, people=people)
    limits = LimitsConfig(equity_usd=1e6, limits=())
    return RiskStage(config, REFERENCE, limits, RULES, NoScorer(), Trusting())


class Life:
    """One life of a switch: where it is, and how to go on.

    Attributes
    ----------
    state : RiskState
        Of the stage.
    us : int
        Event time.
    seen : int
        Observations of the coin so far.
    step : int
        Inputs so far.
    """

    def __init__(self, of: RiskStage) -> None:
        self.stage = of
        self.state = of.fresh()
        self.us, self.seen, self.step = ZERO_US, 1, 0
        self.rows: dict[str, Row] = {}
        of.step(self.state, held(0, ("USDC", "500000")))
        of.step(self.state, market(0, asset()))
        of.step(self.state, Tick(self.us))
        self.save()

    def save(self) -> None:
        """Write down what changed."""
        for key, row in self.state.drain().items():
            if row is None:
                self.rows.pop(key, None)  # a row that came and went in between was never written
            else:
                self.rows[key] = row

    def pack(self) -> Packed:
        """Keep this life as it is now, to go on from more than once."""
        state = pickle.dumps(self.state, pickle.HIGHEST_PROTOCOL)
        return Packed(self.stage, self.us, self.seen, self.step, state, dict(self.rows))

    def live(self, letter: str) -> list[Output]:
        """Take one input; everything that must hold is asserted."""
        before = picture(self.state, None) if letter == "restart" else None
        was, control, holding = self.standing(), self.control(), self.holding()
        request = None if control is None else control.request
        self.step += 1
        out = self._live(letter)
        self.save()
        now = self.standing()
        done = [o for o in out if isinstance(o, CommandApplied) and o.outcome == "approved"]
        if was is State.HALT and now is not State.HALT:
            assert letter == "approve", f"{letter} led out of HALT"
            assert done, "nobody approved it"
            assert request is not None, "nobody had asked for it"
            assert request.by == "ann"
            assert bool(holding) == (request.action == "override")
        if control is not None and control.override is not None:
            left = self.control()
            lifted = left is not None and left.override is not None
            assert lifted or now is State.HALT or (done and not holding), "an override lost a latch"
        if letter == "halt":
            assert now is State.HALT
        if before is not None:
            assert picture(self.state, None) == before, "a restart changed something"
        assert UNSEEN not in self.state.scopes
        assert self.state.scopes.keys() <= {SCOPE}
        return out

    def standing(self) -> State:
        """Where the switch stands."""
        row = self.state.scopes.get(SCOPE)
        return State.NORMAL if row is None else row.state

    def control(self) -> Any:
        """What people have in force: as it is now, whatever comes."""
        found = self.state.controls.get(SCOPE)
        return None if found is None else msgspec.structs.replace(found)

    def holding(self) -> list[Rule]:
        """Whether what asks for HALT still does."""
        row = self.state.scopes.get(SCOPE)
        return [] if row is None else MACHINE.holding(row)

    def _live(self, letter: str) -> list[Output]:
        if letter in ("bad", "good", "silent"):
            self.us += MINUTE
            if letter != "silent":
                self.seen += 1
                bp = -300.0 if letter == "bad" else 0.0
                minutes = (self.us - ZERO_US) / MINUTE
                self.stage.step(self.state, market(minutes, asset(bp=bp, seen=self.seen)))
            return list(self.stage.step(self.state, Tick(self.us)))
        if letter == "restart":
            self.state = self.stage.fresh()
            self.state.load(self.rows)
            return []
        return list(self.stage.step(self.state, self._command(letter)))

    def _command(self, letter: str) -> Command:
        who = {"halt": "rita", "approve": "bob", "forged": "bob", "unwind": "rita"}
        request = None if (c := self.control()) is None else c.request
        args: dict[str, Any] = {}
        action = {"self-approve": "approve", "forged": "approve", "stale": "approve"}.get(
            letter, letter
        )
        if action == "approve":
            args = {"request": "none" if request is None else request.id}
        elif action in ("override", "silence", "unwind"):
            args = {"until": moment(self.us + 2 * MINUTE).isoformat()}
        return Command(
            v=1, event_id=f"e{self.step}", ts=moment(self.us) - timedelta(hours=letter == "stale"),
            source="model", operator=who.get(letter, "ann" if letter != "stale" else "bob"),
            action=action, scope=SCOPE, reason="model",  # type: ignore[arg-type]
            idempotency_key=f"k{self.step}", args=args or None, arrived=moment(self.us),
            signature="" if letter == "forged" else "signed",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Packed:
    """A life at rest, as bytes: copied faster than objects, and nothing for the collector."""

    stage: RiskStage
    us: int
    seen: int
    step: int
    state: bytes
    rows: dict[str, Row]

    def life(self) -> Life:
        """A life that has been the same so far."""
        made = object.__new__(Life)
        made.stage, made.us, made.seen, made.step = self.stage, self.us, self.seen, self.step
        made.state, made.rows = pickle.loads(self.state), dict(self.rows)
        return made


_DROPPED: Final = {"reasons", "reason", "decision_id", "shown", "grounds", "sent_us", "sent_bp"}
_IDS: Final = {"id", "alert_id", "dark_id", "alert"}


def picture(state: RiskState, us: int | None) -> bytes:
    """Everything that can matter of a state.

    With `us`, as seen from that time: moments are distances from it, ids and words are left out
    but for whether they are there, counters of observations are left out but for what is new.
    Two lives with one picture have the same future. Without, the whole of it.
    """
    whole: dict[str, Any] = {
        name: getattr(state, name)
        for name in ("assets", "venues", "parties", "credit", "scopes", "limits", "sent", "issues",
                     "faults", "controls", "commands", "refusals", "limit_overrides",
                     "budget", "meta")
    }  # fmt: skip
    plain = msgspec.to_builtins(whole)
    if us is not None:
        for name in ("commands", "refusals", "issues", "sent", "budget"):
            del plain[name]
        for row in plain["assets"].values():
            row["observations"] = row["reading"].pop("observations") - row["observations"]
        plain = _relative(plain, us)
    return msgspec.json.encode(plain, order="deterministic")


def _relative(value: Any, us: int, name: str = "") -> Any:
    if isinstance(value, dict):
        return {k: _relative(v, us, k) for k, v in value.items() if k not in _DROPPED}
    if isinstance(value, list):
        return [_relative(v, us, name) for v in value]
    if isinstance(value, str) and name in _IDS:
        return bool(value)
    if type(value) is int and value > 10**15:
        return us - value
    return value
