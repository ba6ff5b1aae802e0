"""Commands: authentication, roles, idempotency and age; records and alerts of refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from riskwatch.core.clock import MINUTE, moment
from riskwatch.core.enums import Cause, RejectReason, State
from riskwatch.core.events import Tick
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    CommandApplied,
    CommandRefused,
    DecisionMade,
    EventRejected,
    KillSwitchChanged,
)
from riskwatch.core.risk.commands import MAX_RECORDS
from riskwatch.core.risk.gate import MAX_REPEATS
from riskwatch.core.risk.stage import RiskStage
from riskwatch.core.risk.state import IdempotencyRow, ScopeRow
from riskwatch.engine import bootstrap
from tests.support.people import OPERATORS, SCOPE, answer, command, people, request_of, until
from tests.support.risk import asset, at, desk, held, market, of

if TYPE_CHECKING:
    from riskwatch.core.outputs import Output
    from tests.support.risk import Desk


def test_a_halt_counts_at_once() -> None:
    """Decision, switch and alert are outputs of the command, not of the next tick."""
    d = people()
    out = d.tell(command("rita", "halt", 1, reason="fire in the machine room"))
    assert answer(out) == "applied"
    (made,) = of(out, DecisionMade)
    assert (made.previous, made.state, made.cause) == (State.NORMAL, State.HALT, Cause.OPERATOR)
    assert made.reasons == ["halted by rita: fire in the machine room"]
    (switch,) = of(out, KillSwitchChanged)
    assert (switch.effective, switch.decision_id) == (State.HALT, made.id)
    assert switch.valid_until == moment(at(1) + MINUTE)
    assert of(out, AlertRaised)[0].severity is State.HALT


@pytest.mark.parametrize(
    "scope",
    ["firm", "book:arb", "counterparty:ftx", "asset:NEVERSEEN", "venue-asset:nowhere/USDC"],
)
def test_every_kind_of_scope_is_halted_and_stays(scope: str) -> None:
    """Unknown scopes can be halted, too; ticks and readings do not change the HALT."""
    d = people()
    d.tell(command("rita", "halt", 1, scope))
    for minute in range(2, 400, 7):
        d.tick(minute, market(minute, asset(seen=minute)), held(minute, ("USDC", "10")))
    assert d.state.scopes[scope].state is State.HALT
    assert [m.state for m in of(d.out, DecisionMade, scope)] == [State.HALT]


@pytest.mark.parametrize(
    ("sent", "scope"),
    [
        ("asset:XBT", "asset:BTC"), ("asset:xbt", "asset:BTC"),
        ("counterparty:kraken-pro", "counterparty:kraken"),
        ("venue-asset:kraken-pro/XXBT", "venue-asset:kraken/BTC"),
        ("account:okex/main", "account:okx/main"), ("asset:NEVERSEEN", "asset:NEVERSEEN"),
    ],
)  # fmt: skip
def test_a_command_for_an_alias_counts_for_its_name(sent: str, scope: str) -> None:
    """The signature covers the scope as it was sent; what it changes has the canonical name."""
    names = bootstrap.configuration().name_table
    d = people(names=names)
    assert answer(d.tell(command("rita", "halt", 1, sent))) == "applied"
    assert list(d.state.scopes) == [scope]


def test_nobody_is_known_without_a_verifier() -> None:
    """By default every command is refused, and an unknown asset stays NORMAL."""
    d = desk()
    assert answer(d.tell(command("ann", "halt", 1))) == "OPERATOR_UNKNOWN"
    assert not d.state.scopes


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"operator": "eve"}, "OPERATOR_UNKNOWN"),
        ({"operator": "old"}, "OPERATOR_DISABLED"),
        ({"operator": "bob"}, "SIGNATURE_INVALID"),
        ({"signature": ""}, "UNSIGNED"),
        ({"signature": "00" * 64}, "SIGNATURE_INVALID"),
        ({"scope": "asset:USDT"}, "SIGNATURE_INVALID"),
        ({"reason": "other"}, "SIGNATURE_INVALID"),
        ({"args": {"a": 1}}, "SIGNATURE_INVALID"),
        ({"event_id": "other"}, "SIGNATURE_INVALID"),
        ({"idempotency_key": "other"}, "SIGNATURE_INVALID"),
        ({"action": "silence"}, "SIGNATURE_INVALID"),
        ({"source_seq": 3}, "SIGNATURE_INVALID"),
    ],
)
def test_what_is_not_authentic_is_refused_recorded_and_told(
    changed: dict[str, object], why: str
) -> None:
    """The command is a dead letter, and its identity stays usable for the true sender."""
    d = people()
    good = command("ann", "halt", 1)
    out = d.tell(msgspec.structs.replace(good, **changed))
    assert answer(out) == why
    (refused,) = of(out, CommandRefused)
    assert not refused.authentic
    (rejected,) = of(out, EventRejected)
    assert rejected.reason is RejectReason.COMMAND_REFUSED
    (told,) = of(out, AlertRaised)
    assert told.severity is State.WATCH
    assert why in told.reasons[0]
    assert not d.state.scopes
    assert not d.state.commands
    assert answer(d.tell(good)) == "applied"


def test_the_hexadecimal_digits_of_a_signature_are_its_only_spelling() -> None:
    """Capital letters, white space and longer texts are refused."""
    d = people()
    good = command("ann", "halt", 1)
    for text in (good.signature.upper(), good.signature + " ", good.signature + "00"):
        assert answer(d.tell(msgspec.structs.replace(good, signature=text))) == "SIGNATURE_INVALID"


def test_refusals_are_told_ever_more_seldom() -> None:
    """Alerts come at the 1st, 2nd, 4th and 8th refusal; every refusal is recorded."""
    d = people()
    for n in range(10):
        bad = msgspec.structs.replace(command("ann", "halt", 1), event_id=f"x{n}", operator=f"e{n}")
        d.tell(bad)
    assert len(of(d.out, CommandRefused)) == 10
    raised = of(d.out, AlertRaised)
    assert len(raised) == 4
    assert {a.alert for a in raised} == {"command|?"}
    assert of(d.tell(Tick(at(30))), AlertResolved) == []
    (over,) = of(d.tell(Tick(at(62))), AlertResolved)
    assert over.opened_id == raised[0].id
    assert not d.state.refusals


def refuse(d: Desk, number: int, minutes: float, who: str = "vic", **forged: str) -> list[Output]:
    """Have commands refused within one minute; return the outputs."""
    out = []
    for n in range(number):
        bad = command(who, "halt", minutes, key=f"{who}-{minutes}-{n}")
        out += d.tell(msgspec.structs.replace(bad, **forged))
    return out


def test_refused_commands_without_end_are_counted_and_told() -> None:
    """A viewer who floods makes a bounded number of records an hour, and one alert says so."""
    d = people()
    out = refuse(d, 3 * MAX_RECORDS, 1)
    assert len(of(out, CommandRefused)) == MAX_RECORDS
    assert len(out) < MAX_RECORDS + 12
    told = [a.title for a in of(out, AlertRaised) if "counted only" in a.title]
    assert told[0] == (
        f"{MAX_RECORDS + 1} commands refused, in the name of vic; beyond {MAX_RECORDS} an hour "
        "they are counted only, so far 1"
    )
    assert len(told) == 2  # and at the next power of two
    assert d.state.refusals["vic"].count == 3 * MAX_RECORDS
    # The room of an hour is new; the end of the flood says the number.
    assert len(of(refuse(d, 5, 60.5), CommandRefused)) == 0
    assert len(of(refuse(d, 5, 61.5), CommandRefused)) == 5
    (last,) = of(d.tell(Tick(at(125))), AlertRaised)
    assert last.title.endswith(f"so far {2 * MAX_RECORDS + 5}")
    assert not d.state.refusals


def test_a_flood_of_one_name_leaves_records_of_others() -> None:
    """Forged commands in the name of an operator take no room of what the operator signs."""
    d = people()
    refuse(d, 2 * MAX_RECORDS, 1, "tom", signature="00")
    refuse(d, 2 * MAX_RECORDS, 1, "vic")
    assert answer(d.tell(command("tom", "release", 2))) == "ROLE_FORBIDDEN"
    assert answer(d.tell(command("rita", "release", 2))) == "ROLE_FORBIDDEN"
    assert answer(d.tell(command("vic", "halt", 70))) == "ROLE_FORBIDDEN"
    assert answer(d.tell(command("rita", "halt", 70))) == "applied"


def test_a_forged_command_is_a_dead_letter_also_beyond_the_records() -> None:
    """Its bytes are kept, as those of every bad message."""
    d = people()
    out = refuse(d, MAX_RECORDS + 7, 1, "ann", signature="00")
    assert len(of(out, EventRejected)) == MAX_RECORDS + 7
    assert len(of(out, CommandRefused)) == MAX_RECORDS


def test_counts_of_refusals_survive_a_restart() -> None:
    """A restart opens no new room."""
    d = people()
    refuse(d, MAX_RECORDS, 1)
    rows = {key: row for key, row in d.state.drain().items() if row is not None}
    d.state = d.stage.fresh()
    d.state.load(rows)
    assert len(of(refuse(d, 9, 2), CommandRefused)) == 0


@pytest.mark.parametrize(("late", "why"), [(4.9, "applied"), (5.1, "STALE")])
def test_what_was_signed_long_ago_is_stale(late: float, why: str) -> None:
    """The age counts to the broker's arrival time."""
    d = people()
    made = command("ann", "halt", 10)
    arrived = moment(at(10 + late))
    assert answer(d.tell(msgspec.structs.replace(made, arrived=arrived))) == why


def test_what_comes_after_its_time_is_stale() -> None:
    """The age counts to the time of the stage if that is later than the arrival."""
    d = people()
    d.tick(30, market(30, asset()))
    assert answer(d.tell(command("ann", "halt", 20))) == "STALE"
    assert answer(d.tell(command("ann", "halt", 29))) == "applied"


def test_a_halt_is_as_old_as_its_way_to_the_broker() -> None:
    """A time of the last evaluation that is ahead makes no HALT stale; all else keeps the rule."""
    d = people()
    d.tick(120, market(120, asset()))
    halt, release = command("ann", "halt", 10), command("ann", "release", 10)
    arrived = moment(at(10.5))
    assert answer(d.tell(msgspec.structs.replace(halt, arrived=arrived))) == "applied"
    assert answer(d.tell(msgspec.structs.replace(release, arrived=arrived))) == "STALE"
    old = command("ann", "halt", 1)
    assert answer(d.tell(msgspec.structs.replace(old, arrived=arrived))) == "STALE"


def test_a_halt_of_a_clock_far_ahead_takes_effect_at_its_arrival_and_once() -> None:
    """It is remembered until no copy of it could be fresh, long after other keys are dropped."""
    d = people(key_memory_s=3_600.0)
    made = command("ann", "halt", 24 * 60, key="k")
    out = d.tell(msgspec.structs.replace(made, arrived=moment(at(10))))
    assert answer(out) == "applied"
    assert {o.ts for o in out} == {moment(at(10))}
    d.tell(command("ann", "halt", 600, "asset:DAI"))
    copy = msgspec.structs.replace(made, arrived=moment(at(601)))
    assert answer(d.tell(copy)) == "REPLAYED"


def test_a_command_that_comes_again_does_nothing() -> None:
    """A repeat is recorded as such: no decision, no switch, no alert."""
    d = people()
    d.tell(command("ann", "halt", 1, key="k"))
    out = d.tell(command("ann", "halt", 2, key="k"))
    assert answer(out) == "repeated"
    assert [type(o) for o in out] == [CommandApplied]


def test_a_script_that_repeats_a_command_for_ever_fills_no_log() -> None:
    """The answers to one command are bounded, and so are the records of refusals beyond them."""
    d = people()
    d.tell(command("ann", "halt", 1, key="k"))
    answers = [answer(d.tell(command("ann", "halt", 2 + i / 100, key="k"))) for i in range(90)]
    assert answers == ["repeated"] * MAX_REPEATS + ["RATE_LIMITED"] * (90 - MAX_REPEATS)
    records = sum(
        len(of(d.tell(command("ann", "halt", 3 + i / 1_000, key="k")), CommandRefused))
        for i in range(MAX_RECORDS)
    )
    assert records == MAX_RECORDS - (90 - MAX_REPEATS)


def test_the_very_message_again_is_refused_and_told_each_time() -> None:
    """A copied message is refused within and after the window, each time with its own id."""
    d = people()
    made = command("ann", "halt", 1, key="k")
    d.tell(made)
    copies = [msgspec.structs.replace(made, arrived=moment(at(late))) for late in (2, 3, 400)]
    out = [d.tell(copy) for copy in copies]
    assert [answer(o) for o in out] == ["REPLAYED", "REPLAYED", "STALE"]
    refused = [one for o in out for one in of(o, CommandRefused)]
    assert len({one.id for one in refused}) == 3
    assert [len(of(o, AlertRaised)) for o in out] == [1, 1, 0]
    assert not [one for o in out for one in of(o, KillSwitchChanged)]


@pytest.mark.parametrize(
    "other",
    [
        command("ann", "halt", 2, "asset:USDT", key="k"),
        command("ann", "halt", 2, key="k", reason="something else"),
        command("bob", "halt", 2, key="k"),
        command("ann", "silence", 2, key="k", until="2023-03-11T01:00:00Z"),
    ],
)
def test_a_key_is_good_for_one_command(other: object) -> None:
    """Another scope, reason, operator or action under a used key is refused."""
    d = people()
    d.tell(command("ann", "halt", 1, key="k"))
    assert answer(d.tell(other)) == "KEY_REUSED"  # type: ignore[arg-type]


def test_what_was_refused_is_refused_again_under_its_key() -> None:
    """A copy cannot succeed later; a new attempt needs a new key."""
    d = people()
    assert answer(d.tell(command("ann", "release", 1, key="k"))) == "NOT_HALTED"
    d.tell(command("rita", "halt", 2))
    assert answer(d.tell(command("ann", "release", 3, key="k"))) == "NOT_HALTED"
    assert answer(d.tell(command("ann", "release", 3, key="l"))) == "requested"


def test_an_unauthentic_command_does_not_use_a_key_up() -> None:
    """A sender without a valid signature cannot block a key."""
    d = people()
    good = command("ann", "halt", 1, key="k")
    d.tell(msgspec.structs.replace(good, reason="forged"))
    assert answer(d.tell(good)) == "applied"


def test_keys_are_forgotten_when_their_commands_would_be_stale() -> None:
    """The number of keys is bounded; a HALT is accepted even if they are full."""
    d = people(max_keys=6)
    for n in range(3):
        d.tell(command("ann", "halt", 1, f"asset:A{n}"))
        assert answer(d.tell(command("ann", "halt", 1, f"asset:A{n}", key=f"k{n}"))) != "STALE"
    assert len(d.state.commands) == 3
    assert answer(d.tell(command("ann", "release", 2, "asset:A0"))) == "RATE_LIMITED"
    assert answer(d.tell(command("ann", "halt", 2, "asset:NEW"))) == "applied"
    assert len(d.state.commands) == 3
    d.tick(20, market(20, asset()))
    assert answer(d.tell(command("ann", "release", 20, "asset:A0"))) == "requested"
    assert len(d.state.commands) <= 3


def test_the_table_of_keys_is_bounded_over_all_operators() -> None:
    """When it is full, a HALT is accepted, nothing else, and old keys make room."""
    d = people(max_keys=4)
    for n in range(2):
        d.tell(command("ann", "halt", 1, f"asset:A{n}"))
        d.tell(command("rita", "halt", 1, f"asset:B{n}"))
    assert len(d.state.commands) == 4
    assert answer(d.tell(command("bob", "release", 2, "asset:A0"))) == "RATE_LIMITED"
    assert answer(d.tell(command("bob", "halt", 2, "asset:NEW"))) == "applied"
    assert len(d.state.commands) == 4
    assert answer(d.tell(command("bob", "release", 20, "asset:A0"))) == "requested"


def test_who_may_not_command_takes_no_room_for_a_release() -> None:
    """A thousand refused commands of a viewer, a trader and a risk officer leave room for all."""
    d = people(max_keys=64)
    d.tell(command("rita", "halt", 1))
    before = dict(d.state.commands)
    for n in range(350):
        for who, action in (("vic", "halt"), ("tom", "silence"), ("rita", "release")):
            told = of(d.tell(command(who, action, 2, key=f"{who}{n}")), CommandRefused)
            assert [o.refusal.value for o in told] == ["ROLE_FORBIDDEN"] * (n < MAX_RECORDS)
    assert d.state.commands == before
    asked = d.tell(command("ann", "release", 3))
    assert answer(asked) == "requested"
    out = d.tell(command("bob", "approve", 3.5, request=request_of(asked)))
    assert answer(out) == "approved"


@pytest.mark.parametrize("flooder", ["ann", "rita", "tom"])
def test_a_flood_of_one_operator_leaves_room_for_others(flooder: str) -> None:
    """An operator who may command has a bounded part; two others release after the flood."""
    d = people(max_keys=64, max_operator_keys=16)
    for n in range(500):
        d.tell(command(flooder, "halt", 1, "book:arb", key=f"k{n}"))
    assert len(d.state.commands) == 16
    other = "bob" if flooder == "ann" else "ann"
    assert answer(d.tell(command(other, "halt", 2))) == "applied"
    assert answer(d.tell(command(other, "release", 3))) == "requested"
    if flooder != "tom":
        late = d.tell(command(flooder, "silence", 3, "asset:X", until=until(30)))
        assert answer(late) == "RATE_LIMITED"


def test_all_who_may_not_release_together_leave_half_of_the_room() -> None:
    """Traders and risk officers who flood together do not keep supervisors from releasing."""
    d = people(max_keys=32, max_operator_keys=16)
    for n in range(40):
        d.tell(command("tom", "halt", 1, "book:arb", key=f"t{n}"))
        d.tell(command("rita", "halt", 1, key=f"r{n}"))
    assert len(d.state.commands) == 16
    asked = d.tell(command("ann", "release", 2))
    assert answer(d.tell(command("bob", "approve", 3, request=request_of(asked)))) == "approved"


def test_keys_of_an_older_build_count_to_the_whole_alone() -> None:
    """A stored key without an operator decodes, and takes nobody's own part."""
    old = msgspec.json.decode(b'[1,"d","applied",false,"e"]', type=IdempotencyRow)
    d = people(max_keys=32, max_operator_keys=2)
    for n in range(20):
        d.state.commands[f"old{n}"] = msgspec.structs.replace(old, us=at(1))
    assert answer(d.tell(command("rita", "halt", 2))) == "applied"
    assert answer(d.tell(command("ann", "release", 3))) == "requested"


@pytest.mark.parametrize(
    ("operator", "action", "scope", "why"),
    [
        ("vic", "halt", "book:arb", "ROLE_FORBIDDEN"),
        ("vic", "acknowledge", SCOPE, "ROLE_FORBIDDEN"),
        ("tom", "halt", "book:arb", "applied"),
        ("tom", "halt", "book:other", "BOOK_FORBIDDEN"),
        ("tom", "halt", "firm", "BOOK_FORBIDDEN"),
        ("tom", "halt", "asset:arb", "BOOK_FORBIDDEN"),
        ("tom", "silence", "book:arb", "ROLE_FORBIDDEN"),
        ("tom", "release", "book:arb", "ROLE_FORBIDDEN"),
        ("rita", "halt", "firm", "applied"),
        ("rita", "drill", "firm", "applied"),
        ("rita", "release", SCOPE, "ROLE_FORBIDDEN"),
        ("rita", "approve", SCOPE, "ROLE_FORBIDDEN"),
        ("rita", "override", SCOPE, "ROLE_FORBIDDEN"),
        ("rita", "retire", SCOPE, "ROLE_FORBIDDEN"),
        ("rita", "set_limit", SCOPE, "ROLE_FORBIDDEN"),
        ("rita", "promote", SCOPE, "ROLE_FORBIDDEN"),
        ("ann", "halt", "asset:", "SCOPE_INVALID"),
        ("ann", "halt", "desk:g", "SCOPE_INVALID"),
        ("ann", "halt", "venue-asset:kraken", "SCOPE_INVALID"),
        ("ann", "halt", "book:a/b", "SCOPE_INVALID"),
    ],
)
def test_each_role_may_what_it_may(operator: str, action: str, scope: str, why: str) -> None:
    """A trader halts own books; risk halts anything; only supervisors loosen."""
    assert answer(people().tell(command(operator, action, 1, scope))) == why


def test_a_command_states_its_reason() -> None:
    """A blank reason is refused."""
    assert answer(people().tell(command("ann", "halt", 1, reason="  "))) == "REASON_MISSING"


def test_arguments_that_nobody_asked_for_are_refused() -> None:
    """A misspelt argument is not ignored."""
    assert answer(people().tell(command("ann", "halt", 1, untl="x"))) == "ARGUMENT_INVALID"


def test_a_halt_is_accepted_however_full_the_tables_are() -> None:
    """Scopes, controls, keys, names and issues are full: every kind of scope can be halted."""
    d = people(max_scopes=2, max_keys=3)
    for n in range(20):
        assert answer(d.tell(command("ann", "halt", 1, f"asset:X{n}"))) == "applied"
    for n in range(3):
        d.tell(command("ann", "silence", 1, f"asset:S{n}", until="2023-03-11T01:00:00Z"))
    for n in range(5_000):
        d.state.issues[f"OUT_OF_RANGE|asset:N{n}"] = 0
        d.state.scopes[f"venue-asset:n{n}/USDC"] = ScopeRow(decision_id="d")
    for scope in ("firm", "asset:NEW", "counterparty:new", "book:new", "venue-asset:new/USDC"):
        assert answer(d.tell(command("ann", "halt", 2, scope))) == "applied"
        assert d.state.scopes[scope].state is State.HALT


def test_a_key_is_kept_a_minute_longer_than_its_command_counts() -> None:
    """A clock that is up to a minute slow cannot make a copy of a command pass for a new one."""
    d = people(max_keys=1, replay_s=300.0)
    d.tell(command("ann", "halt", 0, "asset:BTC"))
    assert answer(d.tell(command("ann", "silence", 5.9, until=until(30)))) == "RATE_LIMITED"
    assert answer(d.tell(command("ann", "silence", 6.1, until=until(30)))) == "applied"


def test_a_restart_loses_nothing_that_people_did() -> None:
    """After draining and loading, the state has the same bytes and behaves the same."""
    d = people()
    d.tell(command("ann", "halt", 1))
    d.tell(command("ann", "release", 2, key="r"))
    d.tell(command("ann", "silence", 2, "asset:USDT", until="2023-03-11T01:00:00Z"))
    d.tell(command("eve", "halt", 2, by="ann"))
    rows = {k: v for k, v in d.state.drain().items() if v is not None}
    again = d.stage.fresh()
    again.load(rows)
    for step in (command("ann", "release", 3, key="r"), Tick(at(40)), Tick(at(70)), Tick(at(99))):
        assert d.stage.step(d.state, step) == d.stage.step(again, step)
    assert d.state.drain() == again.drain()


def test_operators_have_keys_of_their_own() -> None:
    """The tests rely on this: no operator can sign as another."""
    keys = [o.public_key for o in OPERATORS.operators.values()]
    assert len(dict.fromkeys(keys)) == len(keys)
    assert isinstance(people().stage, RiskStage)
