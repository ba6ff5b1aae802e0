"""Sizes of derivatives: quantities or contracts of an event as the size of its position."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from msgspec.structs import replace

from riskwatch.core.events import FillCorrection
from riskwatch.core.instruments import OPTION, SIZED_BY_CONTRACTS
from riskwatch.core.ledger.outputs import fact_conflict
from riskwatch.core.ledger.trades import instrument_of
from riskwatch.core.money import ZERO, canonical, mul, sub

if TYPE_CHECKING:
    from collections.abc import Iterable

    from riskwatch.core.events import Fill, Position
    from riskwatch.core.ledger.holding import LedgerHolding
    from riskwatch.core.ledger.outputs import LedgerParameters
    from riskwatch.core.ledger.party import LedgerParty

_Execution = TypeVar("_Execution", bound="Fill | FillCorrection")
ONE: Final = Decimal(1)
AGREEMENT: Final = Decimal("0.01")
"""Largest difference of a quantity in the base from the contracts of an inverse contract, as a
share: the quantity depends on the price."""


class ContractTerms(NamedTuple):
    """What does not change about an instrument; `form` is empty if nothing states it."""

    kind: str = ""
    form: str = ""
    contract_size: Decimal | None = None
    settle: str = ""

    @property
    def is_sized_by_contracts(self) -> bool:
        """Whether the size of a position is not an amount of the base."""
        return self.form in SIZED_BY_CONTRACTS and self.kind != OPTION


def contract_terms(
    parameters: LedgerParameters,
    party: LedgerParty,
    event: Fill | FillCorrection | Position,
    name: str,
) -> ContractTerms:
    """Return the terms of an instrument: as the event says, as was said before, or as listed.

    Raises
    ------
    FactRefusedError
        ``FACT_CONFLICT`` if the event contradicts what was stated before.
    """
    listed = parameters.reference.instrument(party.name, name)
    known = ContractTerms()
    if listed is not None:
        size = None if listed.contract_size is None else Decimal(repr(listed.contract_size))
        known = ContractTerms(listed.kind, listed.contract_type, size, listed.settle)
    peers = party.places.get(("position", event.account, name), [])
    for peer in peers:
        extra = peer.extra
        if extra is not None and extra.form:
            known = ContractTerms(extra.kind, extra.form, extra.contract_size, extra.settle)
    form, settle = event.contract_type or "", event.settle or ""
    for what, said, was in (("contract_type", form, known.form), ("settle", settle, known.settle)):
        if said and was and said != was:
            raise fact_conflict(f"instrument={name} {what}={said} was={was}")
    kind = event.kind or known.kind
    size = event.contract_size or known.contract_size
    found = ContractTerms(kind, form or known.form, size, settle or known.settle)
    if found.is_sized_by_contracts and not known.form:
        _check_upgrade(peers, name, found.form)
    return found


def _check_upgrade(peers: Iterable[LedgerHolding], name: str, form: str) -> None:
    """Refuse another form of an instrument whose fills counted as amounts of the base."""
    for peer in peers:
        if peer.line.amount and peer.snap is None:
            raise fact_conflict(
                f"instrument={name} contract_type={form} was=linear: {canonical(peer.line.amount)} "
                "units of the base are counted from fills that did not say so"
            )


def position_size(event: Position, terms: ContractTerms) -> Decimal:
    """Return the signed size of a position, in the unit of its form.

    Raises
    ------
    FactRefusedError
        ``FACT_CONFLICT`` if `qty` and `contracts` do not agree, or contracts are needed.
    """
    name = event.instrument or f"{event.base}/{event.quote}"
    if event.contracts is None:
        size = ZERO if event.qty is None else event.qty
        if size and terms.is_sized_by_contracts:
            raise _needs_contracts(name, terms.form)
        return signed(size, event.side) if event.hedged is False else size
    size = mul(event.contracts, terms.contract_size or ONE)
    size = signed(size, event.side)
    price = event.mark_price or event.entry_price
    if event.qty is not None:
        _check_agreement(name, terms, (event.qty, size), price)
    return size


def signed(size: Decimal, side: str | None) -> Decimal:
    """Return a size with the sign of its side; one of a long position keeps its own.

    Examples
    --------
    >>> signed(Decimal(3), "short"), signed(Decimal(-3), "short"), signed(Decimal(-3), None)
    (Decimal('-3'), Decimal('-3'), Decimal('-3'))
    """
    return size.copy_abs().copy_negate() if side == "short" and size else size


def sized(parameters: LedgerParameters, party: LedgerParty, event: _Execution) -> _Execution:
    """Return a fill of a derivative (or a correction of one) with its size as `qty`.

    Raises
    ------
    FactRefusedError
        ``FACT_CONFLICT`` as of :func:`position_size`.
    """
    name = instrument_of(event)
    terms = contract_terms(parameters, party, event, name)
    if event.contracts is None:
        if terms.is_sized_by_contracts:
            raise _needs_contracts(name, terms.form)
        return event
    unit = terms.contract_size or ONE
    size = mul(event.contracts, unit)
    if event.qty:
        _check_agreement(name, terms, (event.qty, size), event.price)
    changes = {"qty": size}
    if isinstance(event, FillCorrection) and event.amended_contracts is not None:
        changes["amended_qty"] = mul(event.amended_contracts, unit)
    return replace(event, **changes)


def _needs_contracts(name: str, form: str) -> Exception:
    return fact_conflict(
        f"instrument={name} is {form}: its size is not an amount of the base; state contracts"
    )


def _check_agreement(
    name: str, terms: ContractTerms, sizes: tuple[Decimal, Decimal], price: Decimal | None
) -> None:
    """Refuse a quantity that is not the size that the contracts give."""
    qty, size = sizes
    by_contracts, tolerance = size, ZERO
    if terms.is_sized_by_contracts:
        if terms.form != "inverse" or not price:
            raise fact_conflict(
                f"instrument={name} qty={canonical(qty)}: of {terms.form} contracts an amount of "
                "the base cannot be checked; state contracts alone"
            )
        qty = mul(qty, price)
        tolerance = mul(AGREEMENT, size.copy_abs())
    if sub(qty, by_contracts).copy_abs() > tolerance:
        raise fact_conflict(
            f"instrument={name} qty={canonical(sizes[0])} does not agree with its contracts, "
            f"which are {canonical(size)} in units of "
            f"{'the quote' if terms.is_sized_by_contracts else 'the base'}"
        )


def note_terms(party: LedgerParty, event: Fill, terms: ContractTerms, name: str) -> None:
    """Store what a fill states of an instrument with the positions that it changed."""
    if not terms.form:
        return
    for peer in party.places.get(("position", event.account, name), []):
        extra = peer.extra
        if extra is not None and extra.form != terms.form:
            kind, form, size, settle = terms
            peer.extra = replace(extra, kind=kind, form=form, contract_size=size, settle=settle)
            peer.dirty[peer.key] = peer


def group_amounts(event: Fill, terms: ContractTerms) -> tuple[str, Decimal, Decimal]:
    """Return the quote, the amount of base and the turnover of a derivative fill.

    The fill has its size as `qty`. The amount of base of an inverse contract is rounded.
    """
    size, price = event.qty, event.price
    if not terms.is_sized_by_contracts:
        return event.quote, size, mul(size, price)
    if terms.form != "inverse":
        return terms.settle or event.quote, size, mul(size, price)
    amount = size if not price else Decimal(repr(float(size) / float(price)))
    return event.quote, amount, size
