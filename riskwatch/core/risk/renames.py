"""What people and rules decided about a name that is an alias now: its canonical name has it.

The stage does this once, before its first event under another table of names. The strictest state
wins, a HALT stays latched, and nothing that loosens (an override, a grant, an open request) passes
from one name to another. The former switch stays where it is published, because an order path that
does not have the new table yet still looks it up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from riskwatch.core.enums import State
from riskwatch.core.money import add, mul
from riskwatch.core.names import UNITY, canonical_scope, own_asset
from riskwatch.core.restriction import combine, restrictions_at
from riskwatch.core.risk.decision import Intervention, control_changed, resolve_alerts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from riskwatch.core.names import NameTable
    from riskwatch.core.outputs import Output
    from riskwatch.core.readings import Holding
    from riskwatch.core.restriction import Restrictions
    from riskwatch.core.risk.decision import DecisionWriter
    from riskwatch.core.risk.state import ControlRow, RiskState, ScopeRow

_CAUSE: Final = "names/"


def adopt_names(state: RiskState, table: NameTable, writer: DecisionWriter) -> list[Output]:
    """Give every scope its canonical name, and return what changed.

    Parameters
    ----------
    state : RiskState
        The state, whose rows were written under another table.
    table : NameTable
        The table that holds now.
    writer : DecisionWriter
        Writes decisions and switches.
    """
    us, out = state.meta.looked, []
    for scope in sorted(dict.fromkeys([*state.scopes, *state.controls])):
        name = canonical_scope(table, scope, us)
        if name != scope:
            out += _adopt(state, scope, name, f"{_CAUSE}{table.digest}/{scope}", writer)
    for party in sorted(state.parties):
        held = state.parties[party]
        found = canonical_holdings(table, party, held.holdings, us)
        if found != held.holdings:
            held.holdings, held.unshown = found, True
            state.meta.holdings = state.meta.news = True
            state.mark(f"party/{party}")
    state.meta.names = table.digest
    state.mark("meta")
    return out


def _adopt(
    state: RiskState, scope: str, name: str, cause: str, writer: DecisionWriter
) -> list[Output]:
    row, control = state.scopes.get(scope), state.controls.pop(scope, None)
    state.mark(f"control/{scope}")
    if row is None:
        return []
    held = _latched(row, control)
    reasons = [f"{scope} is {name} now, and was {row.state.value}", *row.reasons][:16]
    by = Intervention(cause, state.meta.looked, "names", reasons)
    out = resolve_alerts(state, scope, by)
    del state.scopes[scope]
    state.mark(f"scope/{scope}")
    for kind, rows in (
        ("effect", state.effects),
        ("advisory", state.advisories),
        ("score", state.published_scores),
    ):
        if rows.pop(scope, None) is not None:
            state.mark(f"{kind}/{scope}")
    known = state.scopes.get(name)
    if not held:
        if known is None or known.state.rank < row.state.rank:
            out += writer.intervene(state, name, row.state, by, row.restriction)
        return out
    if known is not None:
        also = _latched(known, state.controls.get(name))
        held = combine([*held.items(), *also.items()])
    out += _drop_control(state, name, by)
    if known is not None and known.state is State.HALT:
        known.restriction = held
        known.reasons = [*known.reasons, *reasons][-16:]
        out.append(writer.restate(state, name, by))
    else:
        out += writer.intervene(state, name, State.HALT, by, held)
    return out


def _latched(row: ScopeRow, control: ControlRow | None) -> Restrictions:
    """Return what a HALT restricts that is latched or overridden; empty if there is none."""
    if row.state is State.HALT:
        return restrictions_at(State.HALT, row.restriction)
    if control is not None and control.override is not None:
        return restrictions_at(State.HALT, control.override.restriction)
    return {}


def _drop_control(state: RiskState, name: str, by: Intervention) -> list[Output]:
    """End what loosens the HALT of a name: its override, its grant and its open request."""
    control = state.controls.pop(name, None)
    if control is None:
        return []
    state.mark(f"control/{name}")
    return [control_changed(state, name, by.origin)]


def canonical_holdings(
    table: NameTable, party: str, holdings: Iterable[Holding], us: int
) -> list[Holding]:
    """Return holdings under their canonical names and in their units; equal ones are one.

    The ledger may keep a holding under the spelling of a former table.
    """
    found: dict[tuple[str, ...], Holding] = {}
    for each in holdings:
        meant = own_asset(table, party, each.asset, us)
        if meant.name != each.asset or meant.unit != UNITY:
            amount, missing = mul(each.amount, meant.unit), mul(each.missing, meant.unit)
            named = replace(each, asset=meant.name, amount=amount, missing=missing)
        else:
            named = each
        key = (named.book, named.account, named.wallet, named.asset, named.component)
        had = found.get(key)
        if had is not None:
            amount, missing = add(had.amount, named.amount), add(had.missing, named.missing)
            named = replace(had, amount=amount, missing=missing)
        found[key] = named
    return list(found.values())
