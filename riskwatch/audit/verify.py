"""Whether stored decisions are what the engine decides: derived again, and compared.

Only what this engine decided is derived again, and only from rows that it may go on from: the
beginning of the journal, its own checkpoints, or the checkpoint at the last entry of the engine
before it. A decision of another engine is checked by the policy of this one. If the policy asks
for something else, the verdict says so and is ``unknown``: the rules may have been others.
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


# Running the policy again on the inputs that a decision stored, where nothing else is left.
#
# It says less than the journal: the inputs are taken as they are, and dwell is not seen. It does
# say whether these inputs, under the configuration that was recorded, ask for what was decided.


def check_policy(decision: DecisionMade, config: Config) -> Iterator[str]:
    """Say where the policy, on the stored inputs, does not lead to what was decided.

    Parameters
    ----------
    decision : DecisionMade
        As stored.
    config : Config
        That counted when it fell.
    """
    engine = RuleEngine(config.rules, config.policy.risk)
    try:
        watching = engine.of(decision.scope)
    except ValueError as error:
        yield str(error)
        return
    rules = {rule.id: rule for rule, _ in watching.rules}
    severities = {}
    for name, known in sorted(rules.items()):
        severity, condition = known.severity(decision.features)
        if condition is not None:
            severities[name] = quantise(severity)
    if decision.previous is State.HALT:
        yield "a HALT was left, which data never does"
    if decision.generation == RULES_GENERATION and decision.contributions != severities:
        yield f"severities are {severities}, stored are {decision.contributions}"
    rule = rules.get(decision.rule)
    if rule is None:
        yield f"the configuration has no rule {decision.rule}"
        return
    if decision.limits:
        yield from _check_ask(decision, rule, severities.get(rule.id))
    elif decision.state is not State.NORMAL:
        yield f"nothing asked for {decision.state.value}"
    elif severities.get(rule.id, 0.0) >= rule.exit:
        yield f"{rule.id} let go at severity {severities[rule.id]:g}, not below {rule.exit:g}"


def _check_ask(decision: DecisionMade, rule: Rule, severity: float | None) -> Iterator[str]:
    """Check the rule that led."""
    if decision.limits != rule_thresholds(rule):
        yield f"thresholds of {rule.id} are {rule_thresholds(rule)}, stored are {decision.limits}"
    capped = decision.generation != RULES_GENERATION and decision.state.rank <= rule.state.rank
    if rule.state is not decision.state and not capped:
        yield f"{rule.id} asks for {rule.state.value}, decided was {decision.state.value}"
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
    """Of any output: the event that brought it about."""

    cause_id: str


@dataclass(slots=True)
class VerificationResult:
    """What came of one decision.

    Attributes
    ----------
    id : str
        The decision.
    status : str
        ``same`` (derived again, byte for byte), ``differs``, ``inputs only`` (the policy agrees
        on the stored inputs; the journal is gone or another engine decided) or ``unknown``.
        What another engine decided ``differs`` only if what is stored of it was changed.
    said : list of str
        Why, in words.
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
        Whole ids of decisions; one replay of a worker's journal does for all of its decisions.
    whole : bool
        Replay it from its first entry as long as that is kept, whatever checkpoints there are.
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
    """Derive what this engine decided, each stretch of the journal from where it may begin."""
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
    """Decode a row of the chain; ``None`` where it is of a contract that this build cannot read."""
    try:
        found = decode_output(link.payload.encode())
    except ValueError:
        return None
    return found if isinstance(found, Decision) else None


def _by_stretch(
    conn: Connection, worker: str, links: dict[str, AuditLink]
) -> Iterator[tuple[Stretch, dict[str, AuditLink]]]:
    """Sort decisions by the stretch of the journal that they fell in."""
    parts = stretches(conn, worker)
    if not parts:
        yield Stretch(ENGINE, 0, 1), links  # the replay says what is wanting
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
    """Where to begin, and which decisions to derive from there."""
    begun = not foreign(conn, worker, stretch) and has_first_entry(conn, worker)
    kept = [] if whole and begun else usable_checkpoints(conn, worker, stretch)
    least = min(link.seq for link in links.values())
    before = [found for found in kept if found.audit_seq < least]
    if before or not kept or begun:
        yield (before[0 if whole else -1] if before else None), links
        return
    # The beginning of the journal is archived, or another engine applied it: what came after the
    # oldest checkpoint need not go without.
    after = {each: link for each, link in links.items() if link.seq > kept[0].audit_seq}
    if len(after) < len(links):
        yield None, {each: link for each, link in links.items() if each not in after}
    if after:
        yield kept[0], after


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
    """Run the policy on the stored inputs, for want of better; `why` says what is wanting."""
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
    """Look for the command that a decision of a person rests on; the policy has no say in it."""
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
    """Look up the configuration that counted at a row of the chain."""
    payload = last_payload(conn, link.worker, ConfigurationChanged, link.seq)
    if payload is None:
        raise StoreError("the configuration of that time is not recorded")
    recorded = decode_output(payload)
    assert isinstance(recorded, ConfigurationChanged), "the kind was asked for"
    return restore_config(recorded)
