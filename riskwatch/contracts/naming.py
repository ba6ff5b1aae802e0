"""Canonical names of events: what in each event is a name, and which numbers its unit scales.

An event is decoded, and its signature and its key are checked, with the names as they were sent.
Then :func:`canonical_event` gives it the names and the amounts that all stages use.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from riskwatch.contracts.refusal import Refusal, excerpt, refuse
from riskwatch.contracts.topics import TOPICS, key_of, topic_of
from riskwatch.contracts.validation import check_number
from riskwatch.core import events
from riskwatch.core.clock import micros
from riskwatch.core.enums import RejectReason
from riskwatch.core.money import EXACT, canonical
from riskwatch.core.names import (
    ASSET_NAME,
    INSTRUMENT_NAME,
    PARTY_NAME,
    UNITY,
    canonical_name,
)
from riskwatch.core.readings import CounterpartyReading, PartitionFault

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from riskwatch.core.events import WireEvent
    from riskwatch.core.names import NameTable
    from riskwatch.core.readings import LedgerMessage


class NamedFields(msgspec.Struct, frozen=True, kw_only=True):
    """The names of one type of event.

    Attributes
    ----------
    parties : tuple of str
        Fields that name a counterparty; assets are spelled as the first of them spells them.
    assets : mapping of str to tuple of str
        By field that names an asset (or several), the fields that are amounts of it.
    prices : mapping of (str, str) to tuple of str
        By the fields of the priced asset and of the asset in which it is priced, the prices.
    rows : mapping of str to str
        By field of rows (bp, amount, amount), the field of the asset of these amounts.
    defaults : mapping of str to str
        By field of an asset that may be absent, the field of the asset that is meant then.
    """

    parties: tuple[str, ...] = ()
    assets: Mapping[str, tuple[str, ...]] = {}
    prices: Mapping[tuple[str, str], tuple[str, ...]] = {}
    rows: Mapping[str, str] = {}
    defaults: Mapping[str, str] = {}


_PAIR: Final = ("base", "quote")
NAMED_FIELDS: Final[dict[type[events.Event], NamedFields]] = {
    events.Fill: NamedFields(
        parties=("counterparty",),
        assets={"base": ("qty",), "quote": (), "fee_asset": ("fee",), "settle": ()},
        prices={_PAIR: ("price", "reference_price")},
    ),
    events.FillCorrection: NamedFields(
        parties=("counterparty",),
        assets={
            "base": ("qty", "amended_qty"),
            "quote": (),
            "fee_asset": ("fee",),
            "settle": (),
        },
        prices={_PAIR: ("price", "amended_price")},
    ),
    events.Settlement: NamedFields(parties=("counterparty",)),
    events.Balance: NamedFields(
        parties=("counterparty",),
        assets={"asset": ("free", "locked", "borrowed", "unrealized_pnl")},
    ),
    events.Position: NamedFields(
        parties=("counterparty",),
        assets={
            "base": ("qty", "delta"),
            "quote": (),
            "settle": ("unrealized_pnl", "option_value"),
        },
        prices={_PAIR: ("entry_price", "mark_price", "liquidation_price")},
    ),
    events.Transfer: NamedFields(
        parties=("counterparty", "to_counterparty"),
        assets={"asset": ("amount",), "fee_asset": ("fee",)},
        defaults={"fee_asset": "asset"},
    ),
    events.Adjustment: NamedFields(
        parties=("counterparty",), assets={"asset": ("amount",), "to_asset": ("to_amount",)}
    ),
    events.OpenOrder: NamedFields(
        parties=("counterparty",),
        assets={"base": ("qty",), "quote": ()},
        prices={_PAIR: ("price",)},
    ),
    events.Loan: NamedFields(parties=("counterparty",), assets={"asset": ("amount",)}),
    events.AccountSnapshot: NamedFields(parties=("counterparty",), assets={"assets": ()}),
    events.Peg: NamedFields(
        parties=("venue",),
        assets={"asset": ("volume", "supply", "redeemed"), "peg": ()},
        prices={("asset", "peg"): ("price", "rate")},
    ),
    events.Quote: NamedFields(
        parties=("venue",),
        assets={"base": ("bid_size", "ask_size", "volume"), "quote": ()},
        prices={_PAIR: ("bid", "ask", "last")},
        rows={"depth": "base"},
    ),
    events.Credit: NamedFields(parties=("subject",), assets={"assets": ()}),
    events.LegalEntity: NamedFields(parties=("counterparty",)),
    events.NettingSet: NamedFields(parties=("counterparty",)),
    # The scope of a command is signed: the risk stage makes it canonical after it has checked that.
    events.Command: NamedFields(),
}
"""Names by type of event; a field with a name that is of neither kind stands in `OWN_NAMES`."""
OWN_NAMES: Final = frozenset(
    {
        "source",
        "account",
        "accounts",
        "to_account",
        "wallet",
        "to_wallet",
        "book",
        "agency",
        "jurisdiction",
        "network",
    }
    | {"networks", "entity", "netting_set", "operator"}
)
"""Fields whose names are the firm's or the sender's own, and stay as they are."""
UNSCALED: Final = frozenset(
    {"contracts", "amended_contracts", "contract_size", "gamma", "vega", "theta", "iv"}
)
"""Numbers without a unit of an asset, with one that depends on the contract, or of no effect."""
_DERIVATIVES: Final = (events.Fill, events.FillCorrection, events.Position, events.OpenOrder)
_SIZED: Final = (events.Fill, events.FillCorrection, events.Position)
_LEDGER: Final = events.LEDGER_EVENTS
_NAMELESS: Final = (Refusal, CounterpartyReading, PartitionFault)


def _names_of(kind: type[events.Event]) -> Callable[[Any], Any] | None:
    """Return a function that reads all names of an event; ``None`` if one is a list, or none."""
    fields = NAMED_FIELDS[kind]
    names = (*fields.parties, *fields.assets)
    listed = kind in (events.Credit, events.AccountSnapshot)
    return attrgetter(*names) if names and not listed else None


_NAMES_OF: Final = {kind: _names_of(kind) for kind in NAMED_FIELDS}


class NamePlan(NamedTuple):
    """What canonical names change in an event: fields by their new values, and units by field."""

    changes: dict[str, Any]
    units: dict[str, Decimal]


_NO_CHANGE: Final = NamePlan({}, {})
_CACHED: Final = 65_536
"""Most combinations of names whose plan is remembered."""


class EventNamer:
    """Gives events canonical names; it remembers which combinations of names change what.

    Parameters
    ----------
    table : NameTable
        The table of names.
    """

    def __init__(self, table: NameTable) -> None:
        self.table = table
        self._plans: dict[tuple[Any, ...], NamePlan] = {}

    def changed(self, event: WireEvent | LedgerMessage | Refusal) -> WireEvent | Refusal | None:
        """Return an event with canonical names, if it has others; see :func:`canonical_event`.

        Messages between workers have canonical names already.
        """
        if not self.table.digest or isinstance(event, _NAMELESS):
            return None
        names, us = _NAMES_OF[type(event)], micros(event.ts)
        if names is None:
            plan = _plan(event, self.table, us)
        else:
            key = (type(event), _is_instrument(event), self.table.period(us), names(event))
            known = self._plans.get(key)
            plan = _plan(event, self.table, us) if known is None else known
            if known is None:
                if len(self._plans) >= _CACHED:
                    self._plans.clear()
                self._plans[key] = plan
        return _apply(event, plan) if plan.changes else None


def canonical_event(event: WireEvent, table: NameTable) -> WireEvent | Refusal:
    """Return an event with canonical names, and with amounts and prices in canonical units.

    An event whose names are canonical is returned as it is. One whose numbers do not fit the
    contract in canonical units is refused.

    Parameters
    ----------
    event : WireEvent
        A decoded event.
    table : NameTable
        The table of names.
    """
    plan = _plan(event, table, micros(event.ts)) if table.digest else _NO_CHANGE
    return _apply(event, plan) if plan.changes else event


def _plan(event: WireEvent, table: NameTable, us: int) -> NamePlan:
    """Return what canonical names change in an event of a time, microseconds."""
    fields = NAMED_FIELDS[type(event)]
    changes: dict[str, Any] = {}
    units: dict[str, Decimal] = {}
    venue = None
    for name in fields.parties:
        party: str | None = getattr(event, name)
        if party is None:
            continue
        venue = venue or party
        found = canonical_name(table, PARTY_NAME, None, party, us)
        if found.name != party:
            changes[name] = found.name
    for name in fields.assets:
        value: Any = getattr(event, name)
        if isinstance(value, list):
            several = [canonical_name(table, ASSET_NAME, venue, each, us).name for each in value]
            if several != value:
                changes[name] = list(dict.fromkeys(several))
        elif value is None:
            default = fields.defaults.get(name, name)
            if name == "settle":
                default = "base" if getattr(event, "contract_type", None) == "inverse" else "quote"
            units[name] = units.get(default, UNITY)
        else:
            kind = INSTRUMENT_NAME if name == "base" and _is_instrument(event) else ASSET_NAME
            found = canonical_name(table, kind, venue, value, us)
            if found.name != value or found.unit != UNITY:
                changes[name], units[name] = found.name, found.unit
    return NamePlan(changes, units)


def _apply(event: WireEvent, plan: NamePlan) -> WireEvent | Refusal:
    if all(unit == UNITY for unit in plan.units.values()):
        return msgspec.structs.replace(event, **plan.changes)
    changes = dict(plan.changes)
    fault = _scale(event, NAMED_FIELDS[type(event)], plan.units, changes)
    return msgspec.structs.replace(event, **changes) if fault is None else fault


def _is_instrument(event: WireEvent) -> bool:
    """Whether the base of an event may be spelled as its instrument."""
    if not isinstance(event, _DERIVATIVES):
        return False
    return event.instrument is not None or getattr(event, "kind", "") != "spot"


def _scale(
    event: WireEvent,
    fields: NamedFields,
    units: Mapping[str, Decimal],
    changes: dict[str, Any],
) -> Refusal | None:
    """Add the scaled numbers to the changes; return why one does not fit the contract."""
    factors = {
        name: units.get(asset, UNITY) for asset, named in fields.assets.items() for name in named
    }
    for (base, quote), prices in fields.prices.items():
        factor = EXACT.divide(units.get(quote, UNITY), units.get(base, UNITY))
        factors |= dict.fromkeys(prices, factor)
    scaled: dict[str, Any] = {}
    for name, factor in factors.items():
        value: Decimal | None = getattr(event, name)
        if value is not None and factor != UNITY:
            scaled[name] = canonical(EXACT.multiply(value, factor))
    if isinstance(event, _SIZED) and event.contracts is not None:
        unit = _contract_unit(event, units)
        if unit != UNITY:
            size = UNITY if event.contract_size is None else event.contract_size
            scaled["contract_size"] = canonical(EXACT.multiply(size, unit))
    numbers = list(scaled.items())
    for name, asset in fields.rows.items():
        rows, unit = getattr(event, name), units.get(asset, UNITY)
        if rows is not None and unit != UNITY:
            sizes = (UNITY, unit, unit)
            scaled[name] = [tuple(map(canonical, map(EXACT.multiply, row, sizes))) for row in rows]
            numbers += [(name, value) for row in scaled[name] for value in row]
    changes |= scaled
    return next((fault for name, value in numbers if (fault := _fault(name, value))), None)


def _contract_unit(
    event: events.Fill | events.FillCorrection | events.Position, units: Mapping[str, Decimal]
) -> Decimal:
    """Return the factor of the size of a contract, which depends on the form of the contract."""
    base, quote = (units.get(name, UNITY) for name in _PAIR)
    if event.kind == "option" or event.contract_type in (None, "linear"):
        return base
    if event.contract_type == "inverse":
        return quote
    settle = quote if event.settle is None else units.get("settle", UNITY)
    return EXACT.divide(EXACT.multiply(settle, base), quote)


def _fault(name: str, value: Decimal) -> Refusal | None:
    """Return why a number in canonical units does not fit the contract."""
    fault = check_number(name, format(value, "f"))
    if fault is None:
        return None
    return refuse(fault.reason, f"in the unit of its canonical name, {fault.detail}")


def stable_event(event: WireEvent, table: NameTable) -> WireEvent | Refusal:
    """Return an event as a sender may send it: canonical as far as a second look changes nothing.

    A venue may spell one coin by the canonical name of another. Such a name is sent as it is, and
    the receiver makes it canonical.
    """
    found = canonical_event(event, table)
    if isinstance(found, Refusal) or canonical_event(found, table) == found:
        return found
    parties = {name: getattr(found, name) for name in NAMED_FIELDS[type(event)].parties}
    return msgspec.structs.replace(event, **parties)


def refuse_alias(event: WireEvent, found: WireEvent, partitions: int) -> Refusal | None:
    """Refuse a ledger record under another spelling of its counterparty, of several partitions.

    The partition follows from the spelling. Another one has the counterparty's other facts.

    Parameters
    ----------
    event, found : WireEvent
        The event as it was sent, and with canonical names.
    partitions : int
        Number of partitions of its topic.
    """
    if partitions == 1 or not isinstance(event, _LEDGER):
        return None
    sent, right = key_of(event), key_of(found)
    if sent == right:
        return None
    return refuse(
        RejectReason.NAME_ALIAS,
        f"{TOPICS[topic_of(event)].key} must be {excerpt(right)}, was {excerpt(sent)}, which is "
        "another name of it and lies in another partition: publish with the canonical name",
    )
