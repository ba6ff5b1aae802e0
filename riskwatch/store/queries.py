"""Read-only queries of the command line and the dashboard."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import column, create_engine, func, or_, select, table, true
from sqlalchemy.pool import StaticPool

from riskwatch.core.enums import HaltEffect, State
from riskwatch.core.money import ZERO, add, canonical, sub, usd
from riskwatch.core.risk.state import LimitOverrideRow, scope_key, scope_row
from riskwatch.core.scopes import (
    ACCOUNT,
    ASSET,
    BANK,
    BOOK,
    COUNTERPARTY,
    FIRM,
    GROUP,
    ISSUER,
    LINKED,
    VENUE_ASSET,
    parse,
)
from riskwatch.errors import StoreError
from riskwatch.store.engine import open_engine, translate_errors
from riskwatch.store.history import copy_at, first_moment
from riskwatch.store.migrate import require_current, upgrade
from riskwatch.store.projections import (
    ADVISORY_LOG,
    ALERT,
    ASSET_VALUE,
    AUTHORITY_CHANGE,
    DECISION_LOG,
    EXPOSURE,
    HALT_EFFECT,
    KILLSWITCH,
    KILLSWITCH_HISTORY,
    MODEL_STANDING,
    OPERATOR_COMMAND,
    PNL,
    POSITION,
    SCOPE_CONTROL,
    SCORE,
)
from riskwatch.store.reference import REF_ASSET, REF_BACKING, REF_PARTY
from riskwatch.store.state_rows import current_row
from riskwatch.store.truth import HEARTBEAT
from riskwatch.store.types import UtcTime, time_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnClause, ColumnElement, Table, TableClause
    from sqlalchemy.engine import Connection

    from riskwatch.core.risk.state import ScopeRow


# Queries about models.

_HEIGHT = {"shadow": 0, "advisory": 1, "bounded": 2, "full": 3}


def authority_records(conn: Connection, generation: str | None = None) -> list[ResultRow]:
    """Return the record of every generation by target, the highest authority first."""
    query = select(MODEL_STANDING)
    if generation is not None:
        query = query.where(MODEL_STANDING.c.generation == generation)
    rows = [dict(row) for row in conn.execute(query).mappings()]
    return sorted(
        rows,
        key=lambda row: (row["target"], -_HEIGHT.get(row["authority"], 0), row["generation"]),
    )


def authority_changes(conn: Connection, generation: str) -> list[ResultRow]:
    """Return every change of a generation's authority, in order of time."""
    c = AUTHORITY_CHANGE.c
    query = select(AUTHORITY_CHANGE).where(c.generation == generation).order_by(c.ts, c.id)
    return [dict(row) for row in conn.execute(query).mappings()]


def last_features(conn: Connection) -> dict[str, dict[str, float]]:
    """Return the features of the last score by generation."""
    query = select(SCORE.c.generation, SCORE.c.features).order_by(SCORE.c.ts, SCORE.c.scope)
    rows = conn.execute(query).all()
    return {row.generation: row.features for row in rows}


# Queries about commands and controls.


def command_outcome(conn: Connection, cause_id: str) -> ResultRow | None:
    """Return the first outcome of the command with this id; ``None`` before there is one.

    An authentic outcome precedes a forged one, and the first outcome precedes those of repeats.
    """
    c = OPERATOR_COMMAND.c
    query = select(OPERATOR_COMMAND).where(c.cause_id == cause_id)
    found = conn.execute(query.order_by(c.authentic.desc(), c.ts, c.id)).mappings().first()
    return None if found is None else dict(found)


def command_history(conn: Connection, scope: str | None, limit: int) -> list[ResultRow]:
    """Return commands, the newest first."""
    c = OPERATOR_COMMAND.c
    query = select(OPERATOR_COMMAND).order_by(c.ts.desc(), c.commanded_at.desc(), c.id).limit(limit)
    if scope is not None:
        query = query.where(c.scope == scope)
    return [dict(row) for row in conn.execute(query).mappings()]


def scope_controls(conn: Connection) -> dict[str, ResultRow]:
    """Return the controls in force and the pending requests of people, by scope."""
    query = select(SCOPE_CONTROL).order_by(SCOPE_CONTROL.c.scope)
    return {row["scope"]: dict(row) for row in conn.execute(query).mappings()}


def scope_state(conn: Connection, scope: str) -> ScopeRow:
    """Read the risk stage's row of a scope, in the format of this build."""
    return scope_row(current_row(conn, "risk", scope_key(scope)))


def limit_override(conn: Connection, limit: str) -> LimitOverrideRow | None:
    """Return what people's commands made of a limit; ``None`` if it is as configured."""
    body = current_row(conn, "risk", f"hard/{limit}")
    return None if body is None else msgspec.json.decode(body, type=LimitOverrideRow)


def exposure_of(conn: Connection, scope: str) -> tuple[Decimal, Decimal, int]:
    """Return gross and net exposure of a scope, USD, and the number of rows without a price.

    Of a trader and of a network it is not known what they hold: the exposure is that of the firm.
    """
    names = ("book", "counterparty", "account", "asset", "component", "net_usd")
    view = table("exposure_now", *(column(name) for name in names))
    at = parse(scope)
    query = select(view.c.component, view.c.net_usd)
    if at.kind == VENUE_ASSET:
        query = query.where(view.c.counterparty == at.name, view.c.asset == at.asset)
    elif at.kind == ACCOUNT:
        query = query.where(view.c.counterparty == at.name, view.c.account == at.account)
    elif at.kind in LINKED:
        query = query.where(_touches_members(conn, view, scope))
    elif at.kind in (BOOK, COUNTERPARTY, ASSET):
        query = query.where(view.c[at.kind] == at.name)
    gross = net = Decimal(0)
    unpriced = 0
    for component, value in conn.execute(query):
        if component == "open_order":
            continue
        if value is None:
            unpriced += 1
            continue
        dollars = value if isinstance(value, Decimal) else usd(float(value))
        gross, net = gross + abs(dollars), net + dollars
    return gross, net, unpriced


def _touches_members(conn: Connection, view: TableClause, scope: str) -> ColumnElement[bool]:
    """Return the condition that a row belongs to a member of a group, issuer or bank.

    The switch of the scope has the members; without any, it binds everything.
    """
    k = KILLSWITCH.c
    members = conn.execute(select(k.members).where(k.scope == scope)).scalar() or []
    if not members:
        return true()
    found = [parse(each) for each in members]
    return or_(*(view.c[at.kind] == at.name for at in found))


def known_names(conn: Connection) -> dict[str, set[str]]:
    """Return the names that are held, quoted or listed, by kind of scope.

    An account is named by its venue and account, with a ``/`` in between. Nobody lists traders and
    networks.
    """
    books, parties, assets = set[str](), set[str](), set[str]()
    accounts = set[str]()
    for found in (EXPOSURE, POSITION):
        books.update(conn.scalars(select(found.c.book).distinct()))
        held = conn.execute(select(found.c.counterparty, found.c.account).distinct())
        accounts.update(f"{counterparty}/{account}" for counterparty, account in held)
        parties.update(conn.scalars(select(found.c.counterparty).distinct()))
    parties.update(conn.scalars(select(REF_PARTY.c.party)))
    for asset in (
        EXPOSURE.c.asset, POSITION.c.base, POSITION.c.quote, ASSET_VALUE.c.asset, REF_ASSET.c.asset,
    ):  # fmt: skip
        assets.update(conn.scalars(select(asset).distinct()))
    for scope in conn.scalars(select(KILLSWITCH.c.scope)):
        at = parse(scope)
        for kind, names in ((BOOK, books), (COUNTERPARTY, parties), (ASSET, assets)):
            names.update({at.name} if at.kind == kind else ())
        if at.kind == VENUE_ASSET:
            parties.add(at.name)
            assets.add(at.asset)
    listed = dict.fromkeys((GROUP, ISSUER, BANK), parties)
    return {BOOK: books, COUNTERPARTY: parties, ASSET: assets, ACCOUNT: accounts, **listed}


ResultRow = dict[str, Any]
GROUPS: Final = ("counterparty", "issuer", "asset", "book")
"""Groupings of exposure."""
_DOLLARS: Final = ("long_usd", "short_usd", "gross_usd", "net_usd", "derivatives_usd")
_RANKS: Final = {"HALT": 3, "REDUCE": 2, "WATCH": 1}
_SHOWN: Final = 10


@contextmanager
def open_reader(url: str) -> Iterator[Connection]:
    """Open a database of this build's schema for reading, and close it afterwards.

    Raises
    ------
    StoreError
        If the database is missing, has an older schema, or refuses.
    StoreUnavailableError
        If the database does not answer.
    """
    engine = open_engine(url, readonly=True)
    try:
        with (
            translate_errors(engine.url.render_as_string(hide_password=True)),
            engine.connect() as conn,
        ):
            require_current(conn)
            yield conn
    finally:
        engine.dispose()


@contextmanager
def open_reader_at(url: str, ts: datetime) -> Iterator[Connection]:
    """Open what a database said at `ts`, as a database of its own in memory.

    Its tables of latest rows hold the rows of `ts`, so every view and query about them works as it
    does now. Reference data is that of now. Other tables are empty.

    Raises
    ------
    StoreError
        As :func:`open_reader`, and if the history begins later.
    """
    with open_reader(url) as source:
        begins = first_moment(source)
        if begins is None or ts < begins:
            since = "is empty" if begins is None else f"begins at {time_text(begins)}"
            raise StoreError(f"nothing is known of {time_text(ts)}: the history {since}")
        engine = create_engine("sqlite://", poolclass=StaticPool)
        try:
            upgrade(engine)
            with engine.begin() as target:
                copy_at(source, target, ts, (REF_ASSET, REF_PARTY, REF_BACKING))
            with engine.connect() as conn:
                yield conn
        finally:
            engine.dispose()


def exposures(conn: Connection, by: str) -> list[ResultRow]:
    """Return the rows of the view ``exposure_by_<by>``, largest gross first; USD to the cent.

    Parameters
    ----------
    conn : Connection
        See :func:`open_reader`.
    by : str
        One of :data:`GROUPS`.

    Raises
    ------
    StoreError
        If `by` is something else.
    """
    if by not in GROUPS:
        raise StoreError(f"exposure is grouped by {', '.join(GROUPS)}, not by {by!r}")
    keys = ["party", "level", "via", "share", "additive"] if by == "issuer" else [by]
    columns: list[ColumnClause[Any]] = [
        column(name) for name in (*keys, *_DOLLARS, "unpriced_rows")
    ]
    view = table(f"exposure_by_{by}", *columns, column("ts", UtcTime))
    rows = [dict(row) for row in conn.execute(select(view)).mappings()]
    for row in rows:
        row.update({name: _cents(row[name]) for name in _DOLLARS})
        if by == "issuer":
            row["additive"] = bool(row["additive"])
    rows.sort(key=lambda row: (-row["gross_usd"], *(str(row[key]) for key in keys)))
    return rows


def results(conn: Connection) -> list[ResultRow]:
    """Return the rows of the view ``pnl_today``: the firm, then accounts and books by name."""
    names = [c.name for c in PNL.columns if c.name != "output_id"]
    view = table("pnl_today", *(column(name, PNL.c[name].type) for name in names))
    rows = [dict(row) for row in conn.execute(select(view)).mappings()]
    rows.sort(key=lambda row: (row["scope"] != FIRM, row["scope"]))
    return rows


def positions(conn: Connection) -> list[ResultRow]:
    """Return the rows of the view ``position_now``, the largest notional first."""
    names = [c.name for c in POSITION.columns if c.name != "output_id"]
    view = table("position_now", *(column(name, POSITION.c[name].type) for name in names))
    rows = [dict(row) for row in conn.execute(select(view)).mappings()]
    keys = [c.name for c in POSITION.primary_key.columns]
    rows.sort(
        key=lambda row: (
            row["notional_usd"] is not None,
            -abs(row["notional_usd"] or ZERO),
            *(row[key] for key in keys),
        )
    )
    return rows


def exact_totals(conn: Connection, by: str) -> dict[tuple[str, str], Decimal]:
    """Return the exact net quantity by (group, asset), in units of the asset.

    The sum is computed here because SQL cannot add text exactly. Borrowed amounts count
    negative, and resting orders do not count. By issuer, only assets of the issuer itself
    count, without look-through: a share of a quantity is an estimate.

    Raises
    ------
    decimal.Inexact
        If a total does not fit the exact context, which bounded input cannot cause.
    """
    c = EXPOSURE.c
    if by == "issuer":
        query = select(REF_ASSET.c.issuer, c.asset, c.component, c.amount).join(
            REF_ASSET, REF_ASSET.c.asset == c.asset
        )
        query = query.where(REF_ASSET.c.issuer.is_not(None))
    else:
        query = select(c[by], c.asset, c.component, c.amount)
    totals: dict[tuple[str, str], Decimal] = {}
    for group, asset, component, amount in conn.execute(query):
        if component != "open_order":
            fold = sub if component == "borrowed" else add
            totals[group, asset] = fold(totals.get((group, asset), ZERO), amount)
    return {key: canonical(totals[key]) for key in sorted(totals)}


def alerts(conn: Connection, *, all_of_them: bool) -> list[ResultRow]:
    """Return open alerts by severity and exposure, or all alerts, the newest first."""
    query = select(ALERT)
    if all_of_them:
        rows = [dict(row) for row in conn.execute(query).mappings()]
        return sorted(rows, key=lambda row: (row["opened_ts"], row["id"]), reverse=True)
    query = query.where(ALERT.c.resolved_ts.is_(None))
    rows = [dict(row) for row in conn.execute(query).mappings()]
    return sorted(
        rows,
        key=lambda row: (-_RANKS.get(row["severity"], 0), -row["exposure_usd"], row["alert"]),
    )


def killswitches(conn: Connection) -> list[ResultRow]:
    """Return the kill switch of every scope, the strictest first; at HALT also its `effect`."""
    k, e = KILLSWITCH.c, HALT_EFFECT.c
    halted = (e.scope == k.scope) & (k.state == State.HALT.value)
    query = select(KILLSWITCH, e.effect).outerjoin(HALT_EFFECT, halted)
    rows = [dict(row) for row in conn.execute(query).mappings()]
    for row in rows:
        if row["state"] == State.HALT.value:
            row["effect"] = row["effect"] or HaltEffect.UNKNOWN.value
    return sorted(rows, key=lambda row: (-_RANKS.get(row["effective"], 0), row["scope"]))


def confirmed_until(conn: Connection) -> datetime | None:
    """Return until when the last heartbeat confirms the switches; ``None`` if there was none."""
    found: datetime | None = conn.execute(select(func.max(HEARTBEAT.c.valid_until))).scalar()
    return found


def find_alert_and_decision(
    conn: Connection, prefix: str
) -> tuple[ResultRow | None, ResultRow | None]:
    """Find an alert and a decision by an id or the beginning of one.

    Returns
    -------
    tuple
        The alert, if the id belongs to one, and the decision, if there is one.
        A row of `advisory_log` counts as a decision, and has the column ``in_force``.

    Raises
    ------
    StoreError
        If nothing has such an id, or several rows have.
    """
    if not prefix or prefix.strip("0123456789abcdef"):
        raise StoreError(f"an id is hexadecimal digits, was {prefix!r}")
    like = prefix + "%"
    decisions = [*_by_id(conn, DECISION_LOG, like), *_by_id(conn, ADVISORY_LOG, like)]
    raised = _by_id(conn, ALERT, like)
    if not decisions and not raised:
        raise StoreError(f"no decision and no alert has an id that begins with {prefix}")
    if len(decisions) + len(raised) > 1:
        names = [f"{r['id']} (decision on {r['scope']})" for r in decisions]
        names += [f"{r['id']} (alert {r['alert']})" for r in raised]
        more = ", ..." if len(names) > _SHOWN else ""
        raise StoreError(f"{prefix} could be {', '.join(names[:_SHOWN])}{more}")
    if decisions:
        return None, decisions[0]
    of = raised[0]["decision_id"]
    made = _by_id(conn, DECISION_LOG, of) if of else []
    return raised[0], made[0] if made else None


def advised_now(conn: Connection) -> list[ResultRow]:
    """What advisory rules would have in force now, the strictest first."""
    c = ADVISORY_LOG.c
    last = select(c.scope, func.max(c.ts).label("ts")).group_by(c.scope).subquery()
    query = select(ADVISORY_LOG).join(last, (c.scope == last.c.scope) & (c.ts == last.c.ts))
    rows = [dict(row) for row in conn.execute(query.where(c.state != c.in_force)).mappings()]
    return sorted(rows, key=lambda row: (-_RANKS.get(row["state"], 0), row["scope"]))


def advised_counts(conn: Connection) -> dict[str, int]:
    """How often each rule or ask was the first to advise something, by its id."""
    c = ADVISORY_LOG.c
    query = select(c.rule, func.count()).where(c.id == c.opened_id).group_by(c.rule)
    return {row[0]: row[1] for row in conn.execute(query.order_by(c.rule))}


def switches_of(conn: Connection, decision_id: str) -> list[ResultRow]:
    """Return the switch changes of a decision, in order of time."""
    c = KILLSWITCH_HISTORY.c
    query = select(KILLSWITCH_HISTORY).where(c.decision_id == decision_id).order_by(c.ts, c.id)
    return [dict(row) for row in conn.execute(query).mappings()]


def json_value(value: Any) -> Any:
    """Convert a value for JSON: decimals and times become text.

    Examples
    --------
    >>> json_value(Decimal("1E+3"))
    '1000'
    """
    if isinstance(value, Decimal):
        return format(value, "f")
    return time_text(value) if isinstance(value, datetime) else value


def _by_id(conn: Connection, where: Table, like: str) -> list[ResultRow]:
    ids = [where.c.id, where.c.last_id] if where is ALERT else [where.c.id]
    match = or_(*(c.like(like) for c in ids))
    query = select(where).where(match).order_by(where.c.id).limit(_SHOWN + 1)
    return [dict(row) for row in conn.execute(query).mappings()]


def _cents(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else usd(float(value))
