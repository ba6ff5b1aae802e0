"""What came of a drill: who answered and how fast, and whether anything real changed. No I/O."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.store.clients import quantile

if TYPE_CHECKING:
    from riskwatch.contracts.acks import DrillAck
    from riskwatch.core.outputs import DrillSignalled

PASSED, FAILED, DISTURBED = "passed", "failed", "disturbed"


class Answered(msgspec.Struct, frozen=True):
    """One client at a drill.

    Attributes
    ----------
    client : str
        Who.
    stopped_s : float
        From the moment of the signal to when its copy of the table refused orders, by the clocks
        of broker (of the risk worker, if a plan asked) and client.
    round_trip_s : float
        From the moment of the signal to the broker's receipt of its word: of a commanded drill,
        both are the broker's clock, and all that lies between command and answer is in it.
    problems : list of str
        What was not as it must be.
    """

    client: str
    stopped_s: float
    round_trip_s: float
    problems: list[str]


class Real(msgspec.Struct, frozen=True):
    """What is real, around a drill.

    Attributes
    ----------
    before, after : str
        Digest of the table of scopes in SQL: once the drill was heard of, and at its end. Empty
        before it if that was not looked at in time.
    decided : list of str
        Real decisions since the signal.
    caused : int
        Real switches that the drill itself turned.
    """

    before: str
    after: str
    decided: list[str] = []
    caused: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a drill.

    Attributes
    ----------
    outcome : str
        ``passed``; ``failed``: a client did not answer, or not as it must, or the drill changed
        something real; ``disturbed``: a real decision was made meanwhile, so that nothing is
        shown about what did not change.
    plan : str
        Plan that asked for it; empty if `person` did.
    expected, silent : list of str
        Clients that should answer, and those of them that did not.
    p50_s, p99_s, slowest_s : float or None
        Round trips of the clients that answered.
    real : Real
        The real table of scopes.
    """

    id: str
    scope: str
    plan: str
    person: str
    reason: str
    sent: datetime
    outcome: str
    problems: list[str]
    expected: list[str]
    silent: list[str]
    answered: list[Answered]
    p50_s: float | None
    p99_s: float | None
    slowest_s: float | None
    real: Real


def judged(
    signal: DrillSignalled, expected: list[str], answered: list[Answered], real: Real
) -> Report:
    """Say what came of it."""
    silent = sorted({*expected} - {found.client for found in answered})
    problems = [f"{client} did not answer" for client in silent]
    problems += [f"{found.client}: {what}" for found in answered for what in found.problems]
    if not expected and not answered:
        problems.append("there is no client to exercise")
    if real.caused:
        problems.append(f"the drill itself turned {real.caused} real switches")
    if not real.before:
        problems.append("heard of too late to say whether anything real changed")
    outcome = FAILED if problems else PASSED
    if real.before and real.before != real.after:
        why = ", ".join(real.decided)
        problems.append(f"a real decision was made during the drill: {why}" if why else _CHANGED)
        if outcome == PASSED:
            outcome = DISTURBED if why else FAILED
    times = sorted(found.round_trip_s for found in answered)
    return Report(
        id=signal.id,
        scope=signal.scope,
        plan=signal.plan,
        person=signal.person,
        reason=signal.reason,
        sent=signal.ts,
        outcome=outcome,
        problems=problems,
        expected=expected,
        silent=silent,
        answered=sorted(answered, key=lambda found: found.client),
        p50_s=quantile(times, 0.5),
        p99_s=quantile(times, 0.99),
        slowest_s=times[-1] if times else None,
        real=real,
    )


_CHANGED: Final = "the real table of scopes changed, and no decision says why"


def told(report: Report) -> str:
    """Report for people."""
    lines = [
        f"Drill {report.id} of {report.scope}: {report.outcome.upper()}",
        f"signalled {report.sent.isoformat()} by {report.person}: {report.reason}",
        f"{len(report.answered)} clients answered, {len(report.expected)} were expected",
    ]
    if report.slowest_s is not None:
        lines.append(
            f"round trip p50 {report.p50_s:.3f} s, p99 {report.p99_s:.3f} s, "
            f"slowest {report.slowest_s:.3f} s"
        )
    lines += [
        f"  {found.client}: stopped after {found.stopped_s:.3f} s, heard after "
        f"{found.round_trip_s:.3f} s"
        for found in report.answered
    ]
    lines += [f"  {client}: NO ANSWER" for client in report.silent]
    real = report.real
    same = "the same before and after" if real.before == real.after else "NOT SHOWN TO BE THE SAME"
    lines.append(f"real table of scopes: {same} ({real.before or 'not known'}, {real.after})")
    lines.append(f"real switches that the drill turned: {real.caused}")
    lines += [f"PROBLEM: {what}" for what in report.problems]
    return "\n".join(lines) + "\n"


def answered(ack: DrillAck, signal: DrillSignalled, arrived: datetime) -> Answered:
    """Look at what a client said, which the broker got at `arrived`."""
    checks = {
        "an order in the scope was not refused": ack.refused,
        "a cancel was refused": ack.cancelled,
        "its real table changed": ack.digest_before == ack.digest_after,
        "what its real table says of the order changed": ack.real_before is ack.real_after,
        "it answered for another scope": ack.scope == signal.scope,
    }
    return Answered(
        ack.client,
        (ack.applied_ts - signal.ts).total_seconds(),
        (arrived - signal.ts).total_seconds(),
        [what for what, fine in checks.items() if not fine],
    )


def row_of(done: Report) -> tuple[object, ...]:
    """Row of the table of drills."""
    return (
        done.id, done.scope, done.person, done.reason, done.sent, done.outcome,
        len(done.expected), len(done.answered), done.slowest_s, done.real.before,
        done.real.after, msgspec.to_builtins(done),
    )  # fmt: skip
