"""Exposures: the USD value of every holding, summed by everything whose failure can lose it.

Quantities are exact. Values are estimates: they are floats here, and cents in outputs. Sums run
over sorted names. They assume no netting: `long` and `short` are kept apart.

Each value and each sum is at most :data:`riskwatch.core.money.MAX_USD`. A sum that reaches it is
unknown, and at least that large: it breaches limits, and no short exposure is netted against it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from riskwatch.core.clock import MINUTE
from riskwatch.core.instruments import INVERSE, OPTION, SIZED_BY_CONTRACTS, value_position
from riskwatch.core.money import MAX_USD, canonical, quantise, saturated
from riskwatch.core.outputs import position_place
from riskwatch.core.risk.claims import UNOPENED, claims_of
from riskwatch.core.risk.state import Valuation
from riskwatch.core.scopes import ASSET, BANK, COUNTERPARTY, GROUP, ISSUER, kind_of_scope, parse

if TYPE_CHECKING:
    from riskwatch.core.instruments import PositionValue
    from riskwatch.core.readings import OpenPosition
    from riskwatch.core.reference import Reference
    from riskwatch.core.risk.state import PartyRow, RiskState

_K = TypeVar("_K")

READING_MAX_AGE: Final = 15 * MINUTE
"""A reading is current for this long; the market stage reports every five minutes."""
_PAR: Final = Valuation(1.0, "price", 0)
PRICED_SD_BP: Final = 2_000.0
"""A value with a larger standard deviation does not count as a price, bp."""
MAX_BASIS: Final = 1.25
"""Largest price of a contract divided by the price of its base that counts as a basis."""
BORROWED_COMPONENT: Final = "borrowed"
OPEN_ORDER_COMPONENT: Final = "open_order"


class ExposureSums(msgspec.Struct, gc=False):
    """Exposure sums of one group.

    Attributes
    ----------
    long, short : float
        Sums of positive values, and of negative values (as a positive number), USD.
    orders : float
        Value that open orders could still add, USD.
    derivatives : float
        Sum of the absolute notionals of open positions, USD; of options that of the deltas.
    delta : float
        Sum of the signed deltas of open positions, USD.
    """

    long: float = 0.0
    short: float = 0.0
    orders: float = 0.0
    derivatives: float = 0.0
    delta: float = 0.0

    @property
    def holdings(self) -> float:
        """Sum of the absolute values of holdings, without derivatives, USD."""
        return min(self.long + self.short, MAX_USD)

    @property
    def gross(self) -> float:
        """Sum of absolute exposures, derivatives included, USD; limits apply to it."""
        return min(self.long + self.short + self.derivatives, MAX_USD)

    @property
    def net(self) -> float:
        """Long minus short holdings, USD; it does not state that netting is enforceable."""
        return self.long if self.long >= MAX_USD else self.long - self.short

    @property
    def net_delta(self) -> float:
        """Holdings long minus short, and the deltas of positions, USD."""
        return self.long if self.long >= MAX_USD else saturated(self.net + self.delta)

    @property
    def ours(self) -> float:
        """Our exposure at stake: holdings, open orders and open positions, USD."""
        return min(self.gross + self.orders, MAX_USD)

    @property
    def is_saturated(self) -> bool:
        """Whether one of the sums is the maximum, so that its real value is unknown."""
        return max(self.long, self.short, abs(self.orders), self.derivatives) >= MAX_USD

    def add(self, component: str, value: float) -> None:
        """Add the value of a holding, USD; what is borrowed is positive and counts as short."""
        if component == OPEN_ORDER_COMPONENT:
            self.orders += value
        elif (value < 0.0) != (component == BORROWED_COMPONENT):
            self.short += abs(value)
        else:
            self.long += abs(value)

    def add_position(self, worth: PositionValue) -> None:
        """Add a position; one that nothing values adds nothing."""
        exposure = worth.exposure_usd
        if exposure is not None:
            self.derivatives += abs(exposure)
            self.delta += exposure if worth.delta_usd is None else worth.delta_usd

    def merge(self, other: ExposureSums, share: float = 1.0) -> None:
        """Add a share of other sums."""
        if other.is_saturated:
            share = 1.0  # of what is not known, a share is not known either
        self.long += other.long * share
        self.short += other.short * share
        self.orders += other.orders * share
        self.derivatives += other.derivatives * share
        self.delta += other.delta * share
        self.saturate()

    def saturate(self) -> None:
        """Bound each sum."""
        if self.is_saturated:
            self.long = saturated(self.long)
            self.short = saturated(self.short)
            self.orders = saturated(self.orders)
            self.derivatives = saturated(self.derivatives)
            self.delta = saturated(self.delta)


class Exposures(msgspec.Struct, gc=False):
    """Exposure sums by everything whose failure can lose holdings.

    ``cells`` are sums by (counterparty, asset), ``claims`` by (counterparty, account).
    """

    asset: dict[str, ExposureSums]
    party: dict[str, ExposureSums]
    issuer: dict[str, ExposureSums]
    bank: dict[str, ExposureSums]
    book: dict[str, ExposureSums]
    group: dict[str, ExposureSums]
    firm: ExposureSums
    cells: dict[tuple[str, str], ExposureSums]
    claims: dict[tuple[str, str], ExposureSums]


def price_of(asset: str, state: RiskState) -> float | None:
    """Return the price in USD per unit, or ``None`` if nothing says what a unit is worth.

    The last price is kept when feeds stop: an old price is a better estimate than none, and the
    quality flag says that it is old. What was never priced has its :class:`.state.MarkRow`.
    """
    if asset == "USD":
        return 1.0
    row = state.assets.get(asset)
    if row is not None and row.price is not None:
        return row.price
    mark = state.marks.get(asset)
    found = None if mark is None else mark.valuation
    return None if found is None else found.price


def valuation_of(asset: str, state: RiskState, us: int) -> Valuation | None:
    """Return :func:`price_of` with what says it and when; ``None`` if nothing does."""
    if asset == "USD":
        return _PAR
    row = state.assets.get(asset)
    if row is not None and row.price is not None:
        is_now = row.reading.live > 0 and us - row.us <= READING_MAX_AGE
        return Valuation(row.price, "price" if is_now else "last_price", row.price_us)
    mark = state.marks.get(asset)
    return None if mark is None else mark.valuation


def value_of(amount: Decimal, price: float) -> float:
    """Dollars of an amount at a price, at most :data:`riskwatch.core.money.MAX_USD`."""
    return saturated(float(amount) * price)


def sum_exposures(state: RiskState, reference: Reference) -> Exposures:
    """Sum every priced holding by counterparty, asset, issuer, bank, book, group and firm."""
    prices = {a: v.price for a, m in state.marks.items() if (v := m.valuation) is not None}
    prices["USD"] = 1.0
    prices |= {a: row.price for a, row in state.assets.items() if row.price is not None}
    cells: dict[tuple[str, str], ExposureSums] = {}
    claims: dict[tuple[str, str], ExposureSums] = {}
    books: dict[str, ExposureSums] = {}
    for name in sorted(state.parties):
        row = state.parties[name]
        for holding in claims_of(row.holdings):
            price = prices.get(holding.asset)
            if price is not None and holding.amount:
                value = value_of(holding.amount, price)
                _at(cells, (name, holding.asset)).add(holding.component, value)
                _at(claims, (name, holding.account)).add(holding.component, value)
        for holding in row.holdings:
            price = prices.get(holding.asset)
            if price is not None and holding.amount and holding.basis != UNOPENED:
                _at(books, holding.book).add(holding.component, value_of(holding.amount, price))
        for position in row.positions:
            worth = value_position(position, prices.get, basis_of(row, position))
            if position.qty and worth.exposure_usd is not None:
                _at(cells, (name, position.base)).add_position(worth)
                _at(claims, (name, position.account)).add_position(worth)
                _at(books, position.book).add_position(worth)
    for sums in (*cells.values(), *claims.values(), *books.values()):
        sums.saturate()
    out = Exposures(
        asset={},
        party={},
        issuer={},
        bank={},
        book=books,
        group={},
        firm=ExposureSums(),
        cells=cells,
        claims=claims,
    )
    for (party, asset), sums in sorted(cells.items()):
        _gather(out, party, asset, sums, reference)
    return out


def position_key(position: OpenPosition) -> str:
    """Return ``book/account/instrument`` of a position, with wallet and side if it states them."""
    place = position_place(position.account, position.wallet, position.side)
    return f"{position.book}/{place}/{position.instrument}"


def basis_of(row: PartyRow, position: OpenPosition) -> float:
    """Return the price of a contract divided by that of its base, at the last stated mark."""
    found = row.bases.get(position_key(position))
    return 1.0 if found is None else found[1]


def base_delta(state: RiskState, row: PartyRow, position: OpenPosition) -> Decimal:
    """Return the delta of a position in units of its base.

    It is exact where the size is an amount of the base. The whole size counts of an option whose
    delta is not known.
    """
    is_option = position.kind == OPTION
    if not is_option and position.form not in SIZED_BY_CONTRACTS:
        return position.qty
    worth = value_position(position, lambda a: price_of(a, state), basis_of(row, position))
    if worth.delta is not None:
        return canonical(Decimal(f"{saturated(worth.delta):.8f}"))
    if position.form == INVERSE and not is_option and position.entry_price:
        return canonical(Decimal(f"{float(position.qty) / float(position.entry_price):.8f}"))
    return position.qty


def anchor_marks(state: RiskState) -> None:
    """Compare each newly stated mark of a position with the price of its base.

    Until the next statement the contract moves with its base. A mark that is far from the price is
    no basis: it is implausible.
    """
    for name in sorted(state.parties):
        row = state.parties[name]
        if not row.positions and not row.bases:
            continue
        found: dict[str, tuple[int, float]] = {}
        for position in row.positions:
            key = position_key(position)
            known = row.bases.get(key)
            if position.mark_price is None or not position.qty or position.kind == OPTION:
                continue
            if known is not None and known[0] == position.confirmed:
                found[key] = known
                continue
            price, quote = price_of(position.base, state), price_of(position.quote, state)
            if price and quote:
                basis = quantise(float(position.mark_price) * quote / price, 9)
                near = 1.0 / MAX_BASIS <= basis <= MAX_BASIS
                found[key] = (position.confirmed, basis if near else 1.0)
        if found != row.bases:
            row.bases = found
            state.mark(f"party/{name}")


def _gather(
    out: Exposures, party: str, asset: str, sums: ExposureSums, reference: Reference
) -> None:
    """Add the sums of one counterparty and asset to every group that they belong to."""
    out.firm.merge(sums)
    _at(out.asset, asset).merge(sums)
    _at(out.party, party).merge(sums)
    group = reference.party(party).group
    if group is not None:
        _at(out.group, group).merge(sums)
    issuer = reference.asset(asset).issuer
    if issuer is not None:
        _at(out.issuer, issuer).merge(sums)
        for backing in reference.party(issuer).backing:
            _at(out.bank, backing.holder).merge(sums, backing.share)


def bound_scopes(scope: str, reference: Reference) -> dict[str, float]:
    """Return the scopes whose limits also count what is held on an asset or a counterparty.

    Parameters
    ----------
    scope : str
        ``asset:<id>`` or ``counterparty:<id>``; any other has none.
    reference : Reference
        Issuers, banks and groups.

    Returns
    -------
    dict of str to float
        Share that counts, by scope: the issuer of an asset, the banks behind the issuer by their
        share of the backing, the group of a counterparty.
    """
    kind = kind_of_scope(scope)
    if kind not in (ASSET, COUNTERPARTY):
        return {}
    name = parse(scope).name
    if kind == COUNTERPARTY:
        group = reference.party(name).group
        return {} if group is None else {f"{GROUP}:{group}": 1.0}
    issuer = reference.asset(name).issuer
    if issuer is None:
        return {}
    found = {f"{ISSUER}:{issuer}": 1.0}
    for backing in reference.party(issuer).backing:
        bank = f"{BANK}:{backing.holder}"
        found[bank] = found.get(bank, 0.0) + backing.share
    return found


def _at(table: dict[_K, ExposureSums], key: _K) -> ExposureSums:
    found = table.get(key)
    if found is None:
        found = table[key] = ExposureSums()
    return found
