"""What a type cannot say of an event: signs, order, and fields that need one another.

One function per type, found by :data:`CHECKS`. Each answers with the first rule that is broken,
or ``None``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from riskwatch.contracts.refusal import Refusal, refuse
from riskwatch.contracts.structure import inside
from riskwatch.core import events
from riskwatch.core.money import ZERO
from riskwatch.core.reasons import RejectReason

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from riskwatch.core.events import Event

_ARGS_DEPTH: Final = 8
_ARGS_VALUES: Final = 256
_ARGS_INT: Final = 2**63


def positive(event: Event, *names: str) -> Refusal | None:
    """Refuse the first of the fields `names` that is there and not above zero."""
    for name in names:
        value: Decimal | None = getattr(event, name)
        if value is not None and value <= ZERO:
            return refuse(RejectReason.FIELD_RANGE, f"{name} must be > 0, was {value}")
    return None


def not_negative(event: Event, *names: str) -> Refusal | None:
    """Refuse the first of the fields `names` that is there and below zero."""
    for name in names:
        value: Decimal | None = getattr(event, name)
        if value is not None and value < ZERO:
            return refuse(RejectReason.FIELD_RANGE, f"{name} must be >= 0, was {value}")
    return None


def _missing(name: str, why: str) -> Refusal:
    return refuse(RejectReason.FIELD_MISSING, f"{name} is required {why}")


def _execution(event: events.Fill | events.FillCorrection) -> Refusal | None:
    """Check what holds for a fill and for the correction that restates it."""
    if event.kind != "spot" and event.instrument is None:
        return _missing("instrument", f"where kind is {event.kind}")
    if event.fee is not None and event.fee_asset is None:
        return _missing("fee_asset", "where there is a fee")
    # Asked directly first: this is the hot path, and a loop over names is twice as slow.
    if event.qty > ZERO and event.price > ZERO:
        return None
    return positive(event, "qty", "price")


def _fill(event: events.Fill) -> Refusal | None:
    refusal = _execution(event)
    if refusal is None and event.reference_price is not None:
        return positive(event, "reference_price")
    return refusal


def _balance(event: events.Balance) -> Refusal | None:
    return not_negative(event, "free", "locked", "borrowed")


def _position(event: events.Position) -> Refusal | None:
    return positive(event, "entry_price", "mark_price", "liquidation_price")


def _transfer(event: events.Transfer) -> Refusal | None:
    return positive(event, "amount")


def _open_order(event: events.OpenOrder) -> Refusal | None:
    return not_negative(event, "qty") or positive(event, "price")


def _loan(event: events.Loan) -> Refusal | None:
    return not_negative(event, "amount")


def _peg(event: events.Peg) -> Refusal | None:
    return positive(event, "price") or not_negative(event, "volume", "supply", "redeemed")


def _quote(event: events.Quote) -> Refusal | None:
    bid, ask = event.bid, event.ask
    if bid is None and ask is None and event.last is None:
        return _missing("one of bid, ask and last", "to state a price")
    if bid is not None and ask is not None and bid > ask:
        return refuse(RejectReason.FIELD_RANGE, f"bid must be <= ask, was {bid} over {ask}")
    if event.depth is not None and any(x < ZERO for row in event.depth for x in row):
        return refuse(RejectReason.FIELD_RANGE, "depth must hold numbers >= 0")
    return positive(event, "bid", "ask", "last") or not_negative(
        event, "bid_size", "ask_size", "volume"
    )


def _credit(event: events.Credit) -> Refusal | None:
    if event.kind == "retraction" and event.retracts is None:
        return _missing("retracts", "where kind is retraction")
    return not_negative(event, "ratio")


def _command(event: events.Command) -> Refusal | None:
    """Arguments are free in form, so they are bounded here: depth, count, whole numbers."""
    level: list[Any] = [event.args]
    count = 0
    for _ in range(_ARGS_DEPTH + 1):
        level = inside(level)
        count += len(level)
        if count > _ARGS_VALUES:
            return refuse(RejectReason.FIELD_RANGE, f"args must hold <= {_ARGS_VALUES} values")
        if any(isinstance(x, int) and not -_ARGS_INT <= x < _ARGS_INT for x in level):
            return refuse(RejectReason.NUMBER_TOO_LARGE, "args: whole numbers must fit 64 bits")
        if not level:
            return None
    return refuse(RejectReason.FIELD_RANGE, f"args must nest at most {_ARGS_DEPTH} levels")


def _free(_event: Event) -> Refusal | None:
    """For types that say it all by their shape."""
    return None


CHECKS: Final[dict[type[Event], Callable[[Any], Refusal | None]]] = {
    events.Fill: _fill,
    events.FillCorrection: _execution,
    events.Settlement: _free,
    events.Balance: _balance,
    events.Position: _position,
    events.Transfer: _transfer,
    events.OpenOrder: _open_order,
    events.Loan: _loan,
    events.Peg: _peg,
    events.Quote: _quote,
    events.Credit: _credit,
    events.LegalEntity: _free,
    events.NettingSet: _free,
    events.Command: _command,
}
"""The rules of each type of event."""
