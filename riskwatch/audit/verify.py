"""The verification of stored decisions: derive them again and compare.

Only decisions of this engine are derived again, and only from valid starting points: the beginning
of the journal, its own checkpoints, or the checkpoint at the last entry of the engine before it. A
decision of another engine is checked against the policy of this one. If the policy asks for
something else, the result says so and is ``unknown``, because the rules may differ.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import select

from riskwatch.audit.rederivation import JournalGoneError, Rederivation, foreign, has_first_entry
from riskwatch.config.recorder import restore_config
from riskwatch.contracts.audit import AuditLink, link_digest
from riskwatch.contracts.outputs import decode_output, encode_output
from riskwatch.core.enums import State
from riskwatch.core.money import quantise
from riskwatch.core.outputs import (
    CommandApplied,
    ConfigurationChanged,
    DecisionAdvised,
    DecisionMade,
)
from riskwatch.core.risk.decision import OPERATOR
from riskwatch.core.risk.explanation import rule_thresholds
from riskwatch.core.risk.rule_engine import RuleEngine
from riskwatch.core.risk.scorer import RULES_GENERATION
from riskwatch.core.rules import requested_state
from riskwatch.errors import StoreError
from riskwatch.store.audit import AUDIT_CHAIN, BEYOND, Stretch, audit_row, last_payload, stretches
from riskwatch.store.checkpoints import CheckpointError, usable_checkpoints
from riskwatch.store.project import PROJECTIONS, LogTable
from riskwatch.version import ENGINE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import Connection

    from riskwatch.config.config import Config
    from riskwatch.core.rules import Rule
    from riskwatch.store.checkpoints import Checkpoint


def check_policy(decision: DecisionMade, config: Config) -> Iterator[str]:
    """Yield the differences between a decision and the policy on its stored inputs.

    This check proves less than the journal: it trusts the inputs, and does not check the dwell
    time. It shows whether the inputs, with the recorded configuration, ask for the decision.

    Parameters
    ----------
    decision : DecisionMade
        The stored decision.
    config : Config
        The configuration in effect at its time.
    """
    engine = RuleEngine(config.rules, config.policy.risk)
    try:
        evaluator = engine.of(decision.scope)
    except ValueError as error:
        yield str(error)
        return
    rules = {rule.id: rule for rule, _ in evaluator.rules}
    severities, states = {}, {}
    for name, known in sorted(rules.items()):
        severity, condition = known.severity(decision.features)
        if condition is not None:
            severities[name] = quantise(severity)
            states[name] = requested_state(known, condition, decision.features)
    if decision.previous is State.HALT:
        yield "a HALT was left, which data never does"
    if decision.generation == RULES_GENERATION and decision.contributions != severities:
        yield f"severities are {severities}, stored are {decision.contributions}"
    rule = rules.get(decision.rule)
    if rule is None:
        yield f"the configuration has no rule {decision.rule}"
        return
    if decision.limits:
        asked = states.get(rule.id, rule.state)
        yield from _check_ask(decision, rule, asked, severities.get(rule.id))
    elif decision.state is not State.NORMAL:
        yield f"nothing asked for {decision.state.value}"
    elif severities.get(rule.id, 0.0) >= rule.exit:
        yield f"{rule.id} let go at severity {severities[rule.id]:g}, not below {rule.exit:g}"


def _check_ask(
    decision: DecisionMade, rule: Rule, asked: State, severity: float | None
) -> Iterator[str]:
    """Yield the differences of the leading rule."""
    if decision.limits != rule_thresholds(rule):
        yield f"thresholds of {rule.id} are {rule_thresholds(rule)}, stored are {decision.limits}"
    capped = decision.generation != RULES_GENERATION and decision.state.rank <= asked.rank
    if asked is not decision.state and not capped:
        yield f"{rule.id} asks for {asked.value}, decided was {decision.state.value}"
    if decision.state.rank > decision.previous.rank:
        if severity is None or severity < 1.0:
            yield f"{rule.id} has severity {severity}, which does not ask for anything"
        if decision.cause in rule.unless_cause:
            yield f"{rule.id} holds still under cause {decision.cause.value}"


SAME: Final = "same"
DIFFERS: Final = "differs"
INPUTS_ONLY: Final = "inputs only"
UNKNOWN: Final = "unknown"
Decision = DecisionMade | DecisionAdvised
"""What can be derived again: what was decided, and what advisory rules would have decided."""
_LOGS: Final[dict[str, LogTable]] = {
    kind.__name__: log
    for kind in (DecisionMade, DecisionAdvised)
    for log in PROJECTIONS[kind]
    if isinstance(log, LogTable)
}


class _Caused(msgspec.Struct):
    """The cause of any output."""

    cause_id: str


@dataclass(slots=True)
class VerificationResult:
    """The result for one decision.

    Attributes
    ----------
    id : str
        Id of the decision.
    status : str
        ``same`` (derived again, byte for byte), ``differs``, ``inputs only`` (the policy agrees
        on the stored inputs; the journal is gone or another engine decided) or ``unknown``.
        A decision of another engine ``differs`` only if its stored rows were changed.
    said : list of str
        The reasons, as text.
    """

    id: str
    status: str = UNKNOWN
    said: list[str] = field(default_factory=list)


def verify(
    conn: Connection, ids: Sequence[str], *, whole: bool = False
) -> list[VerificationResult]:
    """Derive decisions again from the database alone, and compare.

    Parameters
    ----------
    conn : Connection
        See :func:`riskwatch.store.queries.open_reader`.
    ids : sequence of str
        Full ids of decisions. All decisions of a worker take one replay of its journal.
    whole : bool
        Replay from the first entry of the journal, if it exists, and ignore checkpoints.
    """
    verdicts: dict[str, VerificationResult] = {}
    waiting: dict[str, dict[str, AuditLink]] = {}
    for each in dict.fromkeys(ids):
        verdict = verdicts[each] = VerificationResult(each)
        link = audit_row(conn, each)
        if link is None:
            verdict.said.append("it has no row in the audit chain: it is older, or was put in")
            continue
        wrong = _stored(conn, link)
        if wrong:
            verdict.status = DIFFERS
            verdict.said += wrong
        elif _decision(link) is None:
            verdict.said.append(f"engine {link.engine} wrote it as this build cannot read it")
        elif link.engine != ENGINE:
            why = f"engine {link.engine} decided, this is {ENGINE}: install that one to derive it"
            _by_policy(conn, link, verdict, why)
        else:
            waiting.setdefault(link.worker, {})[each] = link
    for worker, links in waiting.items():
        _derive(conn, worker, links, verdicts, whole=whole)
    return list(verdicts.values())


def _derive(
    conn: Connection,
    worker: str,
    links: dict[str, AuditLink],
    verdicts: dict[str, VerificationResult],
    *,
    whole: bool,
) -> None:
    """Derive the decisions of this engine, each stretch of the journal from a valid start."""
    for stretch, found in _by_stretch(conn, worker, links):
        for start, part in _parts(conn, worker, stretch, found, whole=whole):
            why = foreign(conn, worker, stretch) if start is None else ""
            if why:
                for each, link in part.items():
                    _by_policy(conn, link, verdicts[each], why)
            else:
                replay = Rederivation(conn, worker, start, last=stretch.last)
                _replay(conn, replay, part, verdicts)


def _stored(conn: Connection, link: AuditLink) -> list[str]:
    """Compare a row of the chain with its own digest and with the table of decisions."""
    if link_digest(link) != link.digest:
        return [f"row {link.seq} of the audit chain was changed"]
    log = _LOGS.get(link.kind, _LOGS[DecisionMade.__name__])
    table = log.table
    row = conn.execute(select(table).where(table.c.id == link.id)).one_or_none()
    if row is None:
        return [f"it is in the audit chain and not in {table.name}"]
    names = [c.name for c in table.columns]
    decision = _decision(link)
    if decision is None:
        own = link.engine == ENGINE
        return [f"row {link.seq} of the audit chain is no decision"] if own else []
    chained = dict(zip(names, log.stored(decision), strict=True))
    stored = dict(zip(names, tuple(row), strict=True))
    return [
        f"{name}: {table.name} has {stored[name]!r}, the audit chain {chained[name]!r}"
        for name in names
        if stored[name] != chained[name]
    ]


def _decision(link: AuditLink) -> Decision | None:
    """Decode a row of the chain; ``None`` if this build cannot read its contract."""
    try:
        found = decode_output(link.payload.encode())
    except ValueError:
        return None
    return found if isinstance(found, Decision) else None


def _by_stretch(
    conn: Connection, worker: str, links: dict[str, AuditLink]
) -> Iterator[tuple[Stretch, dict[str, AuditLink]]]:
    """Yield the stretches of the journal, each with its decisions."""
    parts = stretches(conn, worker)
    if not parts:
        yield Stretch(ENGINE, 0, 1), links  # the replay reports what is missing
        return
    ends = [*(after.audit_seq for after in parts[1:]), BEYOND]
    for at, (part, end) in enumerate(zip(parts, ends, strict=True)):
        begin = part.audit_seq if at else 0
        found = {each: link for each, link in links.items() if begin < link.seq < end}
        if found:
            yield part, found


def _parts(
    conn: Connection, worker: str, stretch: Stretch, links: dict[str, AuditLink], *, whole: bool
) -> Iterator[tuple[Checkpoint | None, dict[str, AuditLink]]]:
    """Yield starting points, each with the decisions to derive from it."""
    begun = not foreign(conn, worker, stretch) and has_first_entry(conn, worker)
    checkpoints = [] if whole and begun else usable_checkpoints(conn, worker, stretch)
    least = min(link.seq for link in links.values())
    before = [found for found in checkpoints if found.audit_seq < least]
    if before or not checkpoints or begun:
        yield (before[0 if whole else -1] if before else None), links
        return
    # The beginning of the journal is archived, or another engine applied it. Decisions after the
    # oldest checkpoint can still be derived.
    after = {each: link for each, link in links.items() if link.seq > checkpoints[0].audit_seq}
    if len(after) < len(links):
        yield None, {each: link for each, link in links.items() if each not in after}
    if after:
        yield checkpoints[0], after


def _replay(
    conn: Connection,
    replay: Rederivation,
    links: dict[str, AuditLink],
    verdicts: dict[str, VerificationResult],
) -> None:
    left = dict(links)
    try:
        for output in replay.outputs():
            link = left.pop(output.id, None)
            if link is not None:
                _compare(encode_output(output), link, verdicts[output.id], replay)
            if not left:
                return
    except JournalGoneError as error:
        for each, link in left.items():
            _by_policy(conn, link, verdicts[each], str(error))
        return
    except StoreError as error:
        status = DIFFERS if isinstance(error, CheckpointError) else UNKNOWN
        for each in left:
            verdicts[each].status = status
            verdicts[each].said.append(str(error))
        return
    for each in left:
        verdicts[each].status = DIFFERS
        verdicts[each].said.append(
            f"the journal of {replay.worker} ({replay.read:,} entries{_since(replay)}) does not "
            "bring it about"
        )


def _since(replay: Rederivation) -> str:
    start = replay.start
    return "" if start is None else f" after the checkpoint at entry {start.journal:,}"


def _compare(
    found: bytes, link: AuditLink, verdict: VerificationResult, replay: Rederivation
) -> None:
    if found == link.payload.encode():
        verdict.status = SAME
        verdict.said.append(
            f"{replay.read:,} entries of the journal{_since(replay)} give the same "
            f"{len(found):,} bytes, row {link.seq} of the audit chain of {link.worker}"
        )
        return
    verdict.status = DIFFERS
    ours, theirs = msgspec.json.decode(found), msgspec.json.decode(link.payload)
    verdict.said += [
        f"{name}: stored {theirs.get(name)!r}, derived {ours.get(name)!r}"
        for name in sorted({**ours, **theirs})
        if ours.get(name) != theirs.get(name)
    ] or ["the same content in other bytes"]


def _by_policy(conn: Connection, link: AuditLink, verdict: VerificationResult, why: str) -> None:
    """Check a decision by the policy; `why` is the reason why it cannot be derived again."""
    verdict.said.append(f"not derived from the journal: {why}")
    decision = _decision(link)
    assert decision is not None, "it was read before"
    if isinstance(decision, DecisionAdvised):
        verdict.said.append("it bound nobody: only the journal tells what advisory rules saw")
        return
    if decision.generation == OPERATOR:
        _by_command(conn, link, decision, verdict)
        return
    try:
        config = _configuration(conn, link)
    except StoreError as error:
        verdict.said.append(str(error))
        return
    wrong = list(check_policy(decision, config))
    moved = f"{decision.previous.value} to {decision.state.value} by {decision.rule}"
    lines = wrong or [f"the policy asks for the same: {moved}"]
    verdict.said += [f"on the stored inputs, {line}" for line in lines]
    verdict.status = DIFFERS if wrong else INPUTS_ONLY
    if wrong and link.engine != ENGINE:
        verdict.status = UNKNOWN
        verdict.said.append(
            f"that is the policy of engine {ENGINE}: only engine {link.engine} can say whether the "
            "decision is right"
        )


def _by_command(
    conn: Connection, link: AuditLink, decision: DecisionMade, verdict: VerificationResult
) -> None:
    """Find the command that caused an operator's decision; the policy does not apply to it."""
    c = AUDIT_CHAIN.c
    query = select(c.seq, c.payload).where(c.worker == link.worker, c.us == link.us)
    for seq, payload in conn.execute(query.where(c.kind == CommandApplied.__name__)):
        if msgspec.json.decode(payload, type=_Caused).cause_id == decision.cause_id:
            verdict.status = INPUTS_ONLY
            verdict.said.append(f"a person commanded it ({decision.rule}), row {seq} of the chain")
            return
    verdict.said.append(
        f"it follows from what people did before ({decision.rule}): the policy has no say in it"
    )


def _configuration(conn: Connection, link: AuditLink) -> Config:
    """Return the configuration in effect at a row of the chain."""
    payload = last_payload(conn, link.worker, ConfigurationChanged, link.seq)
    if payload is None:
        raise StoreError("the configuration of that time is not recorded")
    recorded = decode_output(payload)
    assert isinstance(recorded, ConfigurationChanged), "the kind was asked for"
    return restore_config(recorded)
