"""The checks after a run through the workers; each breach is one line."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from riskwatch.contracts.codec import decode, stamp_arrival
from riskwatch.contracts.outputs import decode_internal, decode_output, encode_output
from riskwatch.contracts.refusal import Refusal
from riskwatch.core.dedupe import DedupeWindow
from riskwatch.core.money import canonical
from riskwatch.core.outputs import EventRejected, KillSwitchChanged, Output
from riskwatch.engine import bootstrap
from riskwatch.engine.pipeline import Effects
from riskwatch.engine.replay import open_database
from riskwatch.engine.runner import SEEN
from riskwatch.store.projections import DECISION_LOG, EXPOSURE, KILLSWITCH, POSITION
from riskwatch.store.truth import DEAD_LETTER, RISK_JOURNAL, STATE_ROW, WORKER_PROGRESS
from riskwatch.worker.worker import LEDGER_TOPICS, RISK_TOPICS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

    from sqlalchemy.engine import Connection, Engine

    from tests.chaos.lab import Lab, Published

INTERNAL: Final = ("tick", "reading", "market", "partition_fault")


@dataclass
class Outcome:
    """What a database knows in the end.

    Attributes
    ----------
    holdings : dict
        Exact amounts, by (book, counterparty, account, asset, component).
    positions : dict
        Exact quantities of open positions.
    decisions : list
        (scope, previous, state, rule, time), in the order of time.
    """

    holdings: dict[tuple[str, ...], str]
    positions: dict[tuple[str, ...], str]
    decisions: list[tuple[str, str, str, str, datetime]]


def outcome(url: str) -> Outcome:
    """Read the end of a run."""
    e, p, d = EXPOSURE.c, POSITION.c, DECISION_LOG.c
    with open_database(url) as engine, engine.connect() as conn:
        holdings = conn.execute(
            select(e.book, e.counterparty, e.account, e.asset, e.component, e.amount)
        )
        positions = conn.execute(select(p.book, p.counterparty, p.account, p.instrument, p.qty))
        decisions = conn.execute(
            select(d.scope, d.previous, d.state, d.rule, d.ts).order_by(d.ts, d.scope)
        )
        return Outcome(
            {tuple(r[:5]): str(canonical(r[5])) for r in holdings},
            {tuple(r[:4]): str(canonical(r[4])) for r in positions},
            [(r[0], r[1], r[2], r[3], r[4]) for r in decisions],
        )


def same_outcome(expected: Outcome, found: Outcome, delay: timedelta) -> list[str]:
    """Holdings to the last digit; the same decisions, each once, at most `delay` apart."""
    out = []
    if found.holdings != expected.holdings:
        keys = sorted(
            k
            for k in {*found.holdings, *expected.holdings}
            if found.holdings.get(k) != expected.holdings.get(k)
        )
        k = keys[0]
        out.append(
            f"{len(keys)} of {len(expected.holdings)} holdings differ, the first is {k}: "
            f"{found.holdings.get(k)} and not {expected.holdings.get(k)}"
        )
    if found.positions != expected.positions:
        out.append("open positions differ")
    for scope in sorted({d[0] for d in (*found.decisions, *expected.decisions)}):
        want = [d for d in expected.decisions if d[0] == scope]
        have = [d for d in found.decisions if d[0] == scope]
        if [d[:4] for d in want] != [d[:4] for d in have]:
            out.append(
                f"{scope}: decisions were {[d[2] for d in have]} and not {[d[2] for d in want]}"
            )
            continue
        late = [abs(h[4] - w[4]) for w, h in zip(want, have, strict=True)]
        if late and max(late) > delay:
            out.append(f"{scope}: a decision came {max(late)} apart, at most {delay} is allowed")
    return out


def replayed(engine: Engine, worker: str = "risk") -> list[Output]:
    """Replay the journal of the risk worker embedded; returns what it puts out."""
    pipeline = bootstrap.risk_pipeline(bootstrap.configuration())
    effects = Effects()
    c = RISK_JOURNAL.c
    with engine.connect() as conn:
        rows = conn.execute(
            select(c.kind, c.payload).where(c.worker == worker).order_by(c.seq)
        ).all()
    out: list[Output] = []
    for kind, payload in rows:
        fact: Any
        if kind in INTERNAL:
            fact = decode_internal(bytes(payload))
        else:
            event = decode(bytes(payload))
            assert not isinstance(event, Refusal)
            fact = stamp_arrival(event, event.ts)
        if kind == "market":
            continue  # what the market stage said: the replay says it by itself
        pipeline.apply(fact, effects)
        out += [o for o in effects.outputs if isinstance(o, Output)]
        effects.outputs.clear()
        effects.inputs.clear()
    return [o for o in out if not isinstance(o, EventRejected) and o.topic is not None]


def consumed(records: Iterable[Published]) -> list[Published]:
    """What a reader sees who never goes backwards: per topic and worker, rising places alone."""
    last: dict[tuple[str, str], int] = {}
    out = []
    for r in records:
        place = (r.topic, r.worker)
        if r.seq > last.get(place, 0):
            last[place] = r.seq
            out.append(r)
    return out


def topics_hold(lab: Lab) -> list[str]:
    """The journal replayed is what is on the topics, byte by byte; nothing twice, or backwards."""
    out: list[str] = []
    found_all = [r for r in lab.published() if r.topic != "riskwatch.heartbeat"]
    records = [r for r in found_all if r.worker == "risk"]
    values: dict[tuple[str, int], bytes] = {}
    out += [
        f"{r.worker} {r.seq} was published with two contents"
        for r in records
        if values.setdefault((r.worker, r.seq), r.value) != r.value
    ]
    seen = sorted((r for r in consumed(records)), key=lambda r: r.seq)
    epochs = [r.epoch for r in seen]
    if len({r.seq for r in seen}) != len(seen):
        out.append("one place was published on two topics")
    ids = [decode_output(r.value).id for r in seen]
    if len(set(ids)) != len(ids):
        out.append(f"{len(ids) - len(set(ids))} outputs have the id of another")
    with open_database(lab.database) as engine:
        expected = [encode_output(o) for o in replayed(engine)]
        switches = _switches(engine)
    found = [r.value for r in seen]
    if found != expected:
        at = next(
            (i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b),
            min(len(found), len(expected)),
        )
        out.append(
            f"the journal gives {len(expected)} outputs and the topics have {len(found)}: they "
            f"differ from number {at} on"
        )
    last = {
        o.scope: o.decision_id
        for r in seen
        if isinstance(o := decode_output(r.value), KillSwitchChanged)
    }
    if last != switches:
        out.append(f"the topic of the switches ends at {last}, SQL at {switches}")
    late = [r for r in records for epoch, seq in lab.fences if r.epoch <= epoch and r.seq >= seq]
    if late:
        out.append(
            f"{len(late)} records of a leader that was replaced were published, from "
            f"{late[0].epoch}/{late[0].seq} on: it cannot have committed them"
        )
    if any(b < a for a, b in pairwise(epochs)):
        # An older epoch may only repeat what it had committed itself.
        out.append("an older epoch published after a newer one")
    return out


def _switches(engine: Engine) -> dict[str, str]:
    k = KILLSWITCH.c
    with engine.connect() as conn:
        return {row.scope: row.decision_id for row in conn.execute(select(k.scope, k.decision_id))}


def _rows(conn: Connection, worker: str, stage: str) -> dict[str, bytes]:
    """State rows of one stage."""
    s = STATE_ROW.c
    query = select(s.key, s.body).where(s.worker == worker, s.stage == stage)
    return {row.key: bytes(row.body) for row in conn.execute(query)}


def conserved(lab: Lab) -> list[str]:
    """Every message that was published was read once, and came to something."""
    out = []
    p, d = WORKER_PROGRESS.c, DEAD_LETTER.c
    with open_database(lab.database) as engine, engine.connect() as conn:
        rows = conn.execute(select(p.worker, p.read, p.applied, p.duplicate, p.rejected)).all()
        dead = len(conn.execute(select(d.position)).all())
        for worker, _, applied, _, _ in rows:
            window = DedupeWindow()
            window.load(_rows(conn, worker, SEEN))
            if len(window) != applied:
                out.append(f"{worker}: {applied} applied, but {len(window)} are remembered")
        j = RISK_JOURNAL.c
        kept = conn.execute(
            select(func.count()).where(j.worker == "risk", j.kind.not_in(("tick", "market")))
        ).scalar_one()
    for worker, read, applied, duplicate, rejected in rows:
        if read != applied + duplicate + rejected:
            out.append(f"{worker}: {read} read, {applied} + {duplicate} + {rejected} accounted for")
    ledger = sum(r[1] for r in rows if r[0].startswith("ledger/"))
    risk = sum(r[1] for r in rows if r[0] == "risk")
    if ledger != lab.sent.count(LEDGER_TOPICS):
        out.append(f"ledger read {ledger} of {lab.sent.count(LEDGER_TOPICS)}")
    if risk != lab.ends(RISK_TOPICS):
        out.append(f"risk read {risk} of {lab.ends(RISK_TOPICS)}")
    applied = sum(r[2] for r in rows if r[0] == "risk")
    if kept != applied:
        out.append(f"risk applied {applied}, its journal has {kept}")
    if dead != sum(r[4] for r in rows):
        out.append(f"{dead} dead letters for {sum(r[4] for r in rows)} refusals")
    return out
