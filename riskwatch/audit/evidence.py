"""The registers that an auditor asks for, of a period: from the audit chain and from SQL.

Registers of the chain are as of the last row of the period, and their rows say which row of the
chain they come from. Registers of SQL tables are as of the time of writing; only the signature of
the bundle covers them. What riskwatch does not hold is a register too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from jinja2 import Environment, FileSystemLoader, select_autoescape
from sqlalchemy import func, or_, select

from riskwatch.core.clock import SECOND, micros, moment, rfc3339
from riskwatch.core.outputs import (
    HALT_NOT_EFFECTIVE,
    AuthorityChanged,
    CommandApplied,
    CommandRefused,
    ConfigurationChanged,
    ControlChanged,
    DecisionAdvised,
    DecisionMade,
    DeploymentAdopted,
    DrillSignalled,
    HighWaterMarkSet,
    KillSwitchChanged,
)
from riskwatch.core.risk.config import ask_rule_id
from riskwatch.core.scopes import kind_of_scope
from riskwatch.core.text import visible
from riskwatch.store.audit import BEYOND, audit_rows
from riskwatch.store.bundle import json_lines
from riskwatch.store.clients import CLIENT_ACK
from riskwatch.store.drills import DRILL
from riskwatch.store.projections import ALERT, HALT_EFFECT
from riskwatch.store.queries import json_value
from riskwatch.store.schema import METADATA
from riskwatch.store.truth import DEPLOYMENT
from riskwatch.store.types import UtcTime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqlalchemy import ColumnElement, Select, Table
    from sqlalchemy.engine import Connection

    from riskwatch.contracts.audit import AuditLink
    from riskwatch.store.bundle import BundleManifest

Row = dict[str, Any]

PAGE: Final = "evidence.html"
MAX_SHOWN: Final = 200
"""Most rows of one register that the page shows; the file of the register has all."""
NOT_HELD: Final = "not held here"
HALT: Final = "HALT"
MAX_CELL: Final = 400
"""Most characters of one cell of the page."""
_RANKS: Final = {"NORMAL": 0, "WATCH": 1, "REDUCE": 2, HALT: 3}
_ENDS: Final = re.compile(r", until (\S+)$")
_LIMIT_PATHS: Final = ("limits.", "policy.risk.pretrade")

MISSING: Final[tuple[Row, ...]] = (
    {"what": "three-way reconciliation (venue, own fills, custodian or bank), ageing and owner",
     "status": NOT_HELD, "held": "holdings as events state them, and alerts about their quality"},
    {"what": "times of failovers and restores", "status": NOT_HELD,
     "held": "the present lease; adoptions of the database are in deployment.jsonl"},
    {"what": "clock offset of each minute", "status": NOT_HELD,
     "held": "a metric of the running worker; riskwatch stores no series of it"},
    {"what": "cloud and other providers of infrastructure", "status": NOT_HELD,
     "held": "venues, custodians, issuers and banks of the reference data: third_parties.jsonl"},
    {"what": "owner, reason of the number and last review of a rule or limit", "status": NOT_HELD,
     "held": "its thresholds, its last firing and the last drill: rules.jsonl"},
    {"what": "approver of a model's ceiling, and its validation", "status": NOT_HELD,
     "held": "since which recorded configuration the ceiling holds: models.jsonl"},
    {"what": "utilisation of each limit over time", "status": NOT_HELD,
     "held": "its last measurement; decisions that a limit caused: limit_breaches.jsonl. A breach "
     "while the scope is stricter for another reason makes no decision of its own"},
    {"what": "orders that clients refused by price collar, order value or message rate",
     "status": NOT_HELD, "held": "the bounds: policy.risk.pretrade in configuration_end.jsonl"},
    {"what": "confirmation by a venue that orders were cancelled", "status": NOT_HELD,
     "held": "acknowledgements of clients, and fills and resting orders after a HALT"},
    {"what": "delivery of each page to a person", "status": "not in this bundle",
     "held": "the tables notice and notice_word"},
)  # fmt: skip
"""What an auditor may ask for and does not find in the bundle, and what is there in its place."""


@dataclass(frozen=True, slots=True)
class EvidenceRegister:
    """One register of a bundle.

    Attributes
    ----------
    name, title, source : str
        Name of its file without suffix, title, and where its rows come from.
    rows : list of dict
        Its rows, as JSON values.
    """

    name: str
    title: str
    source: str
    rows: list[Row]

    @property
    def columns(self) -> list[str]:
        """Return the names of all fields, in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row))


@dataclass(slots=True)
class ChainRegisters:
    """Registers of the chain; :meth:`add` takes its rows in order, from the first one.

    Rows before `first` are read because a breach of the period may have begun there.

    Attributes
    ----------
    first : int
        First row of the period.
    """

    first: int
    last_before: Row | None = None
    configuration: Row | None = None
    configuration_at_begin: Row | None = None
    switches: list[Row] = field(default_factory=list)
    limits: list[Row] = field(default_factory=list)
    overrides: list[Row] = field(default_factory=list)
    commands: list[Row] = field(default_factory=list)
    refused: list[Row] = field(default_factory=list)
    kills: list[Row] = field(default_factory=list)
    limit_changes: list[Row] = field(default_factory=list)
    configurations: list[Row] = field(default_factory=list)
    drills: list[Row] = field(default_factory=list)
    rebases: list[Row] = field(default_factory=list)
    authority: list[Row] = field(default_factory=list)
    adoptions: list[Row] = field(default_factory=list)
    moves: dict[tuple[str, str], Row] = field(default_factory=dict)
    ceilings: dict[str, Row] = field(default_factory=dict)
    fired: dict[str, Row] = field(default_factory=dict)
    drilled: dict[str, Row] = field(default_factory=dict)
    acknowledged: list[Row] = field(default_factory=list)
    _open: dict[tuple[str, str], Row] = field(default_factory=dict)
    _halted: set[str] = field(default_factory=set)
    _decisions: dict[str, Row] = field(default_factory=dict)
    _requests: dict[str, Row] = field(default_factory=dict)
    _overriding: dict[str, str] = field(default_factory=dict)
    _handlers: dict[str, Callable[[int, Row], None]] = field(init=False)

    def __post_init__(self) -> None:
        self._handlers = {
            DecisionMade.__name__: self._decided,
            DecisionAdvised.__name__: self._advised,
            KillSwitchChanged.__name__: self._switched,
            CommandApplied.__name__: self._applied,
            CommandRefused.__name__: self._rejected,
            ControlChanged.__name__: self._controlled,
            ConfigurationChanged.__name__: self._recorded,
            DrillSignalled.__name__: self._signalled,
            AuthorityChanged.__name__: self._moved,
            HighWaterMarkSet.__name__: self._rebased,
            DeploymentAdopted.__name__: self._adopted,
        }

    def add(self, link: AuditLink) -> None:
        """Take one row of the chain."""
        value: Row = msgspec.json.decode(link.payload)
        self._handlers[link.kind](link.seq, value)
        if link.seq < self.first:
            self.configuration_at_begin = self.configuration
            self.last_before = {"row": link.seq, "digest": link.digest}

    def person(self, name: str) -> Row:
        """Return role and function of a person in the configuration in force."""
        content = (self.configuration or {}).get("content", {})
        known = content.get("operators", {}).get("operators", {}).get(name, {})
        return {"who": name, "role": known.get("role", ""), "function": known.get("function", "")}

    def _inside(self, seq: int) -> bool:
        return seq >= self.first

    def _decided(self, seq: int, value: Row) -> None:
        scope, state, limit = value["scope"], value["state"], value["cause"] == "limit"
        about = {name: value[name] for name in ("id", "rule", "generation", "cause", "reasons")}
        self._decisions[scope] = about
        self.fired[value["rule"]] = {"row": seq, "ts": value["ts"], "scope": scope, "state": state}
        key = ("limit", scope)
        known = self._open.get(key)
        if limit and state != "NORMAL":
            self._breach(key, self.limits, seq, value, state)
        elif known is not None and _RANKS[state] < _RANKS[known["state"]]:
            self._cure(key, seq, value["ts"])

    def _advised(self, seq: int, value: Row) -> None:
        found = {"row": seq, "ts": value["ts"], "scope": value["scope"], "state": value["state"]}
        self.fired[value["rule"]] = found | {"advisory": True}

    def _switched(self, seq: int, value: Row) -> None:
        scope, effective = value["scope"], value["effective"]
        halts, halted = effective == HALT, scope in self._halted
        if halts != halted:
            (self._halted.add if halts else self._halted.discard)(scope)
            if self._inside(seq):
                self.kills.append(self._kill(seq, value, "halt" if halts else "halt ended"))
        if effective == "NORMAL":
            self._cure(("switch", scope), seq, value["ts"])
        else:
            self._breach(("switch", scope), self.switches, seq, value, effective)

    def _kill(self, seq: int, value: Row, what: str) -> Row:
        decided = self._decisions.get(value["scope"], {})
        known = decided if decided.get("id") == value["decision_id"] else {}
        return {
            "row": seq, "ts": value["ts"], "scope": value["scope"], "what": what,
            "effective": value["effective"], "decision_id": value["decision_id"],
            "rule": known.get("rule", ""), "cause": value["cause"], "reasons": value["reasons"],
            "cause_id": value["cause_id"], "people": [],
        }  # fmt: skip

    def _breach(
        self, key: tuple[str, str], register: list[Row], seq: int, value: Row, state: str
    ) -> None:
        """Begin or go on with a breach."""
        row = self._open.get(key)
        if row is None:
            row = self._open[key] = {
                "scope": value["scope"], "began": value["ts"], "began_row": seq, "state": state,
                "worst": state, "rules": [], "ended": None, "ended_row": None,
                "time_to_cure_s": None,
            }  # fmt: skip
            register.append(row)
        row["state"] = state
        row["worst"] = max(row["worst"], state, key=_RANKS.__getitem__)
        rule = self._decisions.get(value["scope"], {}).get("rule", "")
        if rule and rule not in row["rules"]:
            row["rules"].append(rule)

    def _cure(self, key: tuple[str, str], seq: int, ts: str) -> None:
        row = self._open.pop(key, None)
        if row is not None:
            row |= {"ended": ts, "ended_row": seq, "time_to_cure_s": _seconds(row["began"], ts)}

    def _applied(self, seq: int, value: Row) -> None:
        request = self._requests.get(value.get("request_id") or "", {})
        row = {
            "row": seq, "ts": value["ts"], "action": value["action"],
            "of_request": request.get("action", ""), "scope": value["scope"],
            "outcome": value["outcome"], **self.person(value["operator"]), "role": value["role"],
            "reason": value["reason"], "detail": value["detail"], "args": value["args"],
            "request_id": value.get("request_id"), "cause_id": value["cause_id"],
        }  # fmt: skip
        if value["outcome"] == "requested":
            self._requests[value["request_id"]] = row
        if value["action"] == "acknowledge":
            self.acknowledged.append(row)
        if not self._inside(seq):
            return
        self.commands.append(row)
        if row["outcome"] == "repeated":
            return
        action = row["of_request"] or row["action"]
        if action == "set_limit" and row["outcome"] in ("applied", "approved"):
            ends = _ENDS.search(row["detail"])
            people = [_said(row), *([_said(request)] if request else [])]
            self.limit_changes.append(
                {"row": seq, "ts": row["ts"], "by": "command", "changes": [row["detail"]],
                 "raise_ends": ends.group(1) if ends else None, "signed_by": people}
            )  # fmt: skip

    def _rejected(self, seq: int, value: Row) -> None:
        if self._inside(seq):
            names = ("ts", "action", "scope", "operator", "role", "reason", "refusal", "detail")
            kept = {name: value[name] for name in (*names, "authentic", "commanded_at")}
            self.refused.append({"row": seq, **kept})

    def _controlled(self, seq: int, value: Row) -> None:
        scope, by = value["scope"], value.get("override_by")
        key = ("override", scope)
        same = f"{by}/{value.get('override_approved_by')}/{value.get('override_until')}"
        if key in self._open and (by is None or self._overriding[scope] != same):
            self._cure(key, seq, value["ts"])
        if by is not None and key not in self._open:
            self._overriding[scope] = same
            asked = next(
                (r["reason"] for r in reversed(self._requests.values())
                 if (r["action"], r["scope"], r["who"]) == ("override", scope, by)), "",
            )  # fmt: skip
            approved = self.person(value.get("override_approved_by") or "")
            row = self._open[key] = {
                "scope": scope, "to": value["override_state"], "began": value["ts"],
                "began_row": seq, "asked_by": self.person(by), "approved_by": approved,
                "reason": asked, "until": value["override_until"], "ended": None,
                "ended_row": None, "time_to_cure_s": None,
            }  # fmt: skip
            self.overrides.append(row)

    def _recorded(self, seq: int, value: Row) -> None:
        before, self.configuration = self.configuration, {"row": seq, **value}
        content, signed = value["content"], value.get("signed_by", [])
        for name, ceiling in _ceilings(content):
            if self.ceilings.get(name, {}).get("ceiling") != ceiling:
                self.ceilings[name] = {"ceiling": ceiling, "row": seq, "ts": value["ts"]}
        if not self._inside(seq):
            return
        names = ("ts", "digest", "previous", "engine", "changes")
        short = {"row": seq, **{name: value[name] for name in names}, "signed_by": signed}
        self.configurations.append(short)
        about = [each for each in value["changes"] if each.startswith(_LIMIT_PATHS)]
        if before is not None and not about and _limits(before["content"]) != _limits(content):
            about = ["limits or bounds of orders; the changes that are listed do not name them"]
        if about or before is None:
            about = about or ["first record: all limits"]
            people = [self.person(each) for each in signed]
            self.limit_changes.append(
                {"row": seq, "ts": value["ts"], "by": "files", "changes": about,
                 "raise_ends": None, "signed_by": people}
            )  # fmt: skip

    def _signalled(self, seq: int, value: Row) -> None:
        names = ("id", "ts", "scope", "plan", "person", "reason", "expect")
        row = {"row": seq, **{name: value[name] for name in names}}
        self.drilled[kind_of_scope(value["scope"])] = row
        if self._inside(seq):
            self.drills.append(row | self.person(value["person"]))

    def _moved(self, seq: int, value: Row) -> None:
        names = ("ts", "target", "generation", "former", "authority", "ceiling", "reason", "by")
        row = {"row": seq, **{name: value[name] for name in names}, "detail": value["detail"]}
        self.moves[value["target"], value["generation"]] = row
        if self._inside(seq):
            self.authority.append(row)

    def _rebased(self, seq: int, value: Row) -> None:
        if self._inside(seq):
            people = [self.person(value[name]) for name in ("requested_by", "approved_by")]
            self.rebases.append({"row": seq, **_without_type(value), "people": people})

    def _adopted(self, seq: int, value: Row) -> None:
        self.adoptions.append({"row": seq, **_without_type(value)})

    def finish(self) -> None:
        """Name the people of each kill, and leave out what had ended before the period."""
        by_cause: dict[str, list[Row]] = {}
        for row in self.commands:
            by_cause.setdefault(row["cause_id"], []).append(row)
        for kill in self.kills:
            for row in by_cause.get(kill["cause_id"], []):
                asked = self._requests.get(row["request_id"] or "")
                found = [asked] if asked is not None and asked is not row else []
                kill["people"] += [_said(each) for each in (*found, row)]
        for register in (self.switches, self.limits, self.overrides):
            register[:] = [
                row | {"began_before": row["began_row"] < self.first}
                for row in register
                if row["ended_row"] is None or row["ended_row"] >= self.first
            ]


def evidence_registers(
    conn: Connection, worker: str, period: list[AuditLink], span: tuple[int, int]
) -> list[EvidenceRegister]:
    """Return all registers of a period, in the order of the page.

    Parameters
    ----------
    conn : Connection
        See :func:`riskwatch.store.queries.open_reader`.
    worker : str
        Worker of the chain.
    period : list of AuditLink
        The rows of its chain within the period; it may be empty.
    span : tuple of int
        Beginning and end, event time in microseconds.
    """
    chain = ChainRegisters(period[0].seq if period else BEYOND)
    last = period[-1].seq if period else BEYOND
    for link in audit_rows(conn, worker, to_us=span[1]):
        if link.seq <= last:
            chain.add(link)
    chain.finish()
    return [
        EvidenceRegister(
            "missing", "Not held here", "riskwatch itself", [dict(r) for r in MISSING]
        ),
        EvidenceRegister("period", "Period", _CHAIN, [_period(worker, period, span, chain)]),
        *_chain_registers(chain),
        *_configured(chain),
        *_stored(conn, chain, span),
    ]


_CHAIN: Final = "the audit chain"
_CONFIGURATION: Final = "configurations recorded in the audit chain"
_SQL: Final = "SQL tables as of the time of writing; the chain does not cover them"


def _period(
    worker: str, period: list[AuditLink], span: tuple[int, int], chain: ChainRegisters
) -> Row:
    return {
        "worker": worker, "begin": rfc3339(span[0]), "end": rfc3339(span[1]),
        "rows": len(period), "first": period[0].seq if period else 0,
        "last": period[-1].seq if period else 0, "last_row_before": chain.last_before,
        "engines": sorted({link.engine for link in period}),
    }  # fmt: skip


def _chain_registers(chain: ChainRegisters) -> Iterator[EvidenceRegister]:
    for name, title, rows in (
        ("switch_breaches", "Breaches: scopes that were not NORMAL, with time to cure",
         chain.switches),
        ("limit_breaches", "Breaches: decisions that a limit caused, with time to cure",
         chain.limits),
        ("kills", "Kills and releases", chain.kills),
        ("overrides", "Overrides of a HALT", chain.overrides),
        ("commands", "Commands of people", chain.commands),
        ("refused_commands", "Refused commands", chain.refused),
        ("limit_changes", "Changes of limits, and who signed", chain.limit_changes),
        ("rebases", "High-water marks that people set", chain.rebases),
        ("configurations", "Changes of the configuration", chain.configurations),
        ("authority", "Changes of the authority of models", chain.authority),
    ):  # fmt: skip
        yield EvidenceRegister(name, title, _CHAIN, rows)


def _configured(chain: ChainRegisters) -> Iterator[EvidenceRegister]:
    """Yield the registers of the configuration in force at the end of the period."""
    content = (chain.configuration or {}).get("content", {})
    for name, title, record in (
        ("configuration_begin", "Configuration in force at the beginning",
         chain.configuration_at_begin),
        ("configuration_end", "Configuration in force at the end", chain.configuration),
    ):  # fmt: skip
        rows = [] if record is None else [_without_type(record)]
        yield EvidenceRegister(name, title, _CONFIGURATION, rows)
    for name, title, found in (
        ("limits", "Limits at the end; commands may have changed them", _limits_of(content)),
        ("rules", "Rules and asks at the end", _rules_of(content, chain)),
        ("models", "Models at the end", _models_of(content, chain)),
        ("third_parties", "Third parties at the end", _parties_of(content)),
    ):
        yield EvidenceRegister(name, title, _CONFIGURATION, list(found))


def _limits_of(content: Row) -> Iterator[Row]:
    for limit in content.get("limits", {}).get("limits", []):
        yield {**limit, "owner": NOT_HELD, "last_review": NOT_HELD}


def _rules_of(content: Row, chain: ChainRegisters) -> Iterator[Row]:
    """Yield each rule and ask with its thresholds; a drill is of a scope, so of its kind."""
    for rule in content.get("rules", {}).get("rules", []):
        yield _rule(rule["id"], rule["scope_kind"], rule["state"], rule["any"], chain)
    for ask in content.get("policy", {}).get("risk", {}).get("asks", []):
        name = ask_rule_id(ask["generation"], ask["target"], ask["state"])
        at = {"feature": f"p.{ask['target']}", "at": ask["at"]}
        yield _rule(name, ask.get("scope_kind", "asset"), ask["state"], [at], chain)


def _rule(name: str, kind: str, state: str, thresholds: list[Row], chain: ChainRegisters) -> Row:
    return {
        "rule": name, "scope_kind": kind, "state": state, "thresholds": thresholds,
        "last_firing": chain.fired.get(name), "last_drill_of_this_kind": chain.drilled.get(kind),
        "owner": NOT_HELD, "reason_of_the_number": NOT_HELD, "last_review": NOT_HELD,
    }  # fmt: skip


def _models_of(content: Row, chain: ChainRegisters) -> Iterator[Row]:
    """Yield each generation; on a target without a last move it has the initial authority."""
    for made in content.get("policy", {}).get("models", {}).get("generations", []):
        name = _generation(made)
        moves = {t: row for (t, of), row in sorted(chain.moves.items()) if of == name}
        yield {
            "generation": name, "model": made["model"],
            "initial_authority": made.get("authority", "shadow"), "last_move_by_target": moves,
            "ceiling": chain.ceilings[name]["ceiling"], "ceiling_since": chain.ceilings[name],
            "approver": NOT_HELD, "validation": NOT_HELD,
        }  # fmt: skip


def _parties_of(content: Row) -> Iterator[Row]:
    """Yield each party of the reference data, and the issuers and banks that are only named."""
    reference = content.get("reference", {})
    parties: Row = reference.get("parties", {})
    named: dict[str, str] = {}
    for asset in reference.get("assets", {}).values():
        if asset.get("issuer"):
            named.setdefault(asset["issuer"], "issuer")
    for party in parties.values():
        for part in party.get("backing", []):
            named.setdefault(part["holder"], "bank")
    for name in sorted({*parties, *named}):
        known = parties.get(name, {"kind": named.get(name)})
        yield {"party": name, "listed": name in parties, **known}


def _stored(
    conn: Connection, chain: ChainRegisters, span: tuple[int, int]
) -> Iterator[EvidenceRegister]:
    """Yield the registers of SQL tables."""
    begin, end = moment(span[0]), moment(span[1])
    k, a = CLIENT_ACK.c, ALERT.c
    acks = select(CLIENT_ACK).where(k.acked_ts.between(begin, end)).order_by(k.acked_ts, *k)
    overlap = (a.opened_ts <= end, or_(a.resolved_ts.is_(None), a.resolved_ts >= begin))
    alerts = _rows(conn, select(ALERT).where(*overlap).order_by(a.opened_ts, a.id))
    effects = select(HALT_EFFECT).where(HALT_EFFECT.c.halted_at <= end)
    ineffective = [row for row in alerts if row["title"].startswith(HALT_NOT_EFFECTIVE)]
    deployments = select(DEPLOYMENT).order_by(DEPLOYMENT.c.number)
    for name, title, rows in (
        ("drills", "Drills, with their results", list(_drill_results(conn, chain, span))),
        ("acknowledgements", "Acknowledgements of clients, by wall clock", _rows(conn, acks)),
        ("halt_not_effective", "Findings that a HALT did not take effect", ineffective),
        ("halt_effects", "HALTs in force, and what was measured after them",
         _rows(conn, effects.order_by(HALT_EFFECT.c.scope))),
        ("incidents", "Incidents: alerts with their times",
         [_incident(row, chain, span) for row in alerts]),
        ("deployment", "Deployment and its adoptions, by wall clock", _rows(conn, deployments)),
        ("retention", "What is in SQL, from when to when", list(_retention(conn))),
    ):  # fmt: skip
        yield EvidenceRegister(name, title, _SQL, rows)


def _drill_results(conn: Connection, chain: ChainRegisters, span: tuple[int, int]) -> Iterator[Row]:
    """Yield each drill of the chain with its result, and results that the chain does not know."""
    d = DRILL.c
    for row in chain.drills:
        result = next(iter(_rows(conn, select(DRILL).where(d.id == row["id"]))), None)
        outcome = result["outcome"] if result else "no result is stored"
        yield row | {"outcome": outcome, "result": result}
    known = {row["id"] for row in chain.drills}
    within = d.sent_ts.between(moment(span[0]), moment(span[1]))
    for result in _rows(conn, select(DRILL).where(within).order_by(d.sent_ts, d.id)):
        if result["id"] not in known:
            about = {"id": result["id"], "ts": result["sent_ts"], "scope": result["scope"]}
            outcome = "the chain of the period has no such signal"
            yield {"row": None, **about, "outcome": outcome, "result": result}


def _incident(alert: Row, chain: ChainRegisters, span: tuple[int, int]) -> Row:
    """Return an alert with the times from its opening to a person's acknowledgement and its end."""
    opened, resolved = alert["opened_ts"], alert["resolved_ts"]
    until = _us(resolved) if resolved else BEYOND
    signed = next(
        (row for row in chain.acknowledged
         if row["scope"] == alert["scope"] and _us(opened) <= _us(row["ts"]) <= until), None,
    )  # fmt: skip
    return alert | {
        "acknowledged_ts": signed["ts"] if signed else None,
        "acknowledged_by": _said(signed) if signed else None,
        "to_acknowledge_s": _seconds(opened, signed["ts"]) if signed else None,
        "to_resolve_s": _seconds(opened, resolved) if resolved else None,
        "open_at_end": until > span[1],
    }


def _retention(conn: Connection) -> Iterator[Row]:
    """Yield the number of rows of each table that has times, and the first and last time."""
    for name in sorted(METADATA.tables):
        table = METADATA.tables[name]
        column = _time_column(table)
        if column is not None:
            query = select(func.count(), func.min(column), func.max(column)).select_from(table)
            count, first, last = conn.execute(query).one()
            if column.name == "us" and count:
                first, last = rfc3339(first), rfc3339(last)
            yield {"record": str(name), "rows": count, "time": str(column.name),
                   "first": json_value(first), "last": json_value(last)}  # fmt: skip


def _time_column(table: Table) -> ColumnElement[Any] | None:
    """Return the column that says when a row of a table was made; ``None`` if it has none."""
    times = [c for c in table.columns if isinstance(c.type, UtcTime) or c.name == "us"]
    return min(times, key=lambda c: (c.name not in ("ts", "us"), not c.index), default=None)


def _rows(conn: Connection, query: Select[Any]) -> list[Row]:
    rows = conn.execute(query).mappings()
    return [{str(name): json_value(value) for name, value in row.items()} for row in rows]


def _said(row: Row) -> Row:
    names = ("row", "ts", "action", "outcome", "who", "role", "function", "reason")
    return {name: row[name] for name in names}


def _limits(content: Row) -> tuple[Any, Any]:
    risk = content.get("policy", {}).get("risk", {})
    return content.get("limits"), risk.get("pretrade")


def _ceilings(content: Row) -> Iterator[tuple[str, str]]:
    for made in content.get("policy", {}).get("models", {}).get("generations", []):
        yield _generation(made), made.get("max_authority") or made.get("authority", "shadow")


def _generation(made: Row) -> str:
    return str(made.get("name") or made["model"])


def _without_type(value: Row) -> Row:
    return {name: found for name, found in value.items() if name != "type"}


def _us(ts: str) -> int:
    return micros(datetime.fromisoformat(ts))


def _seconds(begin: str, end: str) -> float:
    return (_us(end) - _us(begin)) / SECOND


def evidence_files(registers: Iterable[EvidenceRegister]) -> dict[str, bytes]:
    """Return the files of registers by name, JSON Lines."""
    return {f"{each.name}.jsonl": json_lines(each.rows) for each in registers}


def render_evidence(registers: list[EvidenceRegister], manifest: BundleManifest) -> bytes:
    """Render the registers as one HTML page without external resources."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["cell"] = format_cell
    page = made.get_template("evidence.html")
    return page.render(registers=registers, manifest=manifest, shown=MAX_SHOWN).encode()


def format_cell(value: Any) -> str:
    """Return a value as the text of a table cell, with hidden characters shown.

    Examples
    --------
    >>> format_cell(None), format_cell(["a", 1]), format_cell("x\u202ey")
    ('-', '["a",1]', 'x<U+202E>y')
    """
    if value in (None, "", [], {}):
        return "-"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return visible(text if len(text) <= MAX_CELL else f"{text[:MAX_CELL]} (cut; see the file)")
