"""Checks of events beyond their types: signs, ranges, and fields that depend on one another.

:data:`CHECKS` has one function per event type. Each returns the refusal of the first broken rule,
or ``None``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from riskwatch.contracts.refusal import Refusal, excerpt, refuse
from riskwatch.contracts.structure import inner_values
from riskwatch.core import events
from riskwatch.core.enums import RejectReason
from riskwatch.core.money import MAX_SCALE, ZERO, mul
from riskwatch.core.text import hidden_character, name_fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from riskwatch.core.events import Event


# Times.

EARLIEST: Final = datetime(2009, 1, 1, tzinfo=UTC)
"""First accepted time: the year of the first cryptocurrency."""
LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
"""First time that is no longer accepted."""
MAX_AHEAD: Final = timedelta(seconds=5)
"""Maximum time by which an event may be after its arrival: the tolerated difference of clocks."""


def in_utc(event: Event, names: tuple[str, ...]) -> dict[str, datetime] | Refusal:
    """Return the times of `event` that are not in UTC, converted; refuse one out of range.

    Parameters
    ----------
    event : Event
        The decoded event.
    names : tuple of str
        Its time fields.
    """
    changes: dict[str, datetime] = {}
    for name in names:
        value: datetime | None = getattr(event, name)
        if value is None:
            continue
        if not EARLIEST <= value < LATEST:
            return out_of_range(name, value)
        if value.tzinfo is not UTC:  # in range, so no shift can leave the calendar
            changes[name] = value.astimezone(UTC)
    return changes


def out_of_range(name: str, value: datetime) -> Refusal:
    """Return the refusal of a time before :data:`EARLIEST` or from :data:`LATEST` on."""
    return refuse(
        RejectReason.TS_OUT_OF_RANGE,
        f"{name} must be from {EARLIEST.date()} and before {LATEST.date()}, "
        f"was {value.isoformat()}",
    )


def is_halt(event: Event) -> bool:
    """Whether an event is a person's HALT."""
    return isinstance(event, events.Command) and event.action == "halt"


def check_not_future(event: Event) -> Refusal | None:
    """Refuse an event whose time is more than :data:`MAX_AHEAD` after its arrival.

    Decoding calls it for messages with `arrived`. The first hop, which stamps `arrived`, calls it
    again after :func:`riskwatch.contracts.codec.stamp_arrival`.

    A HALT is not refused: the clock of the person who sends it, or that of the broker, may be wrong
    when it is needed most. It takes effect at its arrival.
    """
    if is_halt(event):
        return None
    if event.arrived is not None and event.ts - event.arrived > MAX_AHEAD:
        return refuse(
            RejectReason.TS_FROM_FUTURE,
            f"ts must be at most {MAX_AHEAD.seconds} s after arrived, "
            f"was {event.ts.isoformat()} with arrived {event.arrived.isoformat()}",
        )
    return None


# Numbers: texts of plain decimals, finite and bounded.

_DIGITS: Final = 24
"""Maximum number of integer digits of a number below :data:`riskwatch.core.money.MAX_ABS`."""
_LONGEST: Final = 64

PLAIN_DECIMAL: Final = re.compile(rf"-?[0-9]{{1,{_DIGITS}}}(?:\.[0-9]{{1,{MAX_SCALE}}})?\Z").match
"""Matches plain decimals that need no further check, because their length bounds them."""

_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?0*(?P<exponent>[0-9]+))?\Z")
_NOT_FINITE: Final = re.compile(r"[+-]?(?:s?nan[0-9]*|inf|infinity)\Z", re.IGNORECASE)


def check_number(name: str, value: object) -> Refusal | None:
    """Refuse a JSON value of the field `name` that is not a number of the contract.

    An exponent within bounds is accepted, because languages print small decimals that way. The text
    is checked before a decimal is made of it, so ``1E+999999`` costs nothing.

    Parameters
    ----------
    name : str
        Field, for the error message.
    value : object
        Its JSON value; ``None`` passes, because the type decides whether the field may be absent.

    Examples
    --------
    >>> check_number("qty", "0.5"), check_number("qty", "5E-8")
    (None, None)
    >>> [check_number("qty", x).reason.name for x in (0.5, "NaN", "1E-19", "1_000")]
    ['FIELD_TYPE', 'NUMBER_NOT_FINITE', 'NUMBER_TOO_FINE', 'FIELD_TYPE']
    """
    if value is None or (type(value) is str and PLAIN_DECIMAL(value)):
        return None
    if not isinstance(value, str):
        return refuse(
            RejectReason.FIELD_TYPE,
            f"{name} must be a string that holds a decimal, was {excerpt(value)}",
        )
    if _NOT_FINITE.match(value):
        return refuse(
            RejectReason.NUMBER_NOT_FINITE, f"{name} must be finite, was {excerpt(value)}"
        )
    found = _NUMBER.match(value)
    if found is None:
        return refuse(
            RejectReason.FIELD_TYPE, f"{name} must be a plain decimal, was {excerpt(value)}"
        )
    reason = _excess(value, found["exponent"] or "0")
    if reason is None:
        return None
    most = (
        f"{_DIGITS} integer"
        if reason is RejectReason.NUMBER_TOO_LARGE
        else f"{MAX_SCALE} fractional"
    )
    return refuse(reason, f"{name} must have at most {most} digits, was {excerpt(value)}")


def _excess(text: str, exponent_digits: str) -> RejectReason | None:
    """Return why a number is out of bounds, by its parts and without arithmetic."""
    large, fine = RejectReason.NUMBER_TOO_LARGE, RejectReason.NUMBER_TOO_FINE
    if len(exponent_digits) > len(str(_DIGITS)):
        return fine if "e-" in text.lower() else large
    if len(text) > _LONGEST:
        return large if len(text.lstrip("-").partition(".")[0]) > _DIGITS else fine
    x = Decimal(text)
    exponent = x.as_tuple().exponent
    assert isinstance(exponent, int), "only finite numbers get here"
    if exponent >= _DIGITS or (x and x.adjusted() >= _DIGITS):
        return large
    return fine if exponent < -MAX_SCALE else None


# Texts: no control characters and no invisible characters.
#
# Patterns of the types already refuse ASCII controls in names. Other such characters occur only in
# a message that is not ASCII or that has escapes (``\u0000``) or DEL, so all others skip this
# check. NUL matters most, because PostgreSQL cannot store it in text.

# C0 and C1 controls, except line breaks and tabs, and surrogates.
_find_control: Final = re.compile(
    "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\ud800-\\udfff]"
).search
# Invisible characters that Unicode counts as letters or marks: joiners, fillers, variation
# selectors. `str.isprintable` finds zero-width and bidirectional marks. With both checks, two names
# cannot differ in invisible characters only.
_find_blank: Final = re.compile(
    "[\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u2800\\u3164\\ufe00-\\ufe0f\\uffa0"
    "\\U000e0100-\\U000e01ef]"
).search


def is_plain_ascii(raw: bytes) -> bool:
    r"""Whether no string in the JSON `raw` can contain a character that must be checked.

    Examples
    --------
    >>> is_plain_ascii(b'{"a":"b"}'), is_plain_ascii(b'{"a":"\\u0000"}')
    (True, False)
    """
    # A backslash may begin an escape; DEL is the only control that JSON allows unescaped.
    return raw.isascii() and 0x5C not in raw and 0x7F not in raw


def check_text(name: str, value: object, *, free: bool) -> Refusal | None:
    r"""Refuse control characters in `value`, at any depth, and invisible characters in names.

    Parameters
    ----------
    name : str
        Field, for the error message.
    value : object
        A string, or lists and mappings of strings; anything else passes.
    free : bool
        Whether it is free text, in which line breaks and tabs are allowed.

    Examples
    --------
    >>> check_text("note", "two\nlines", free=True)
    >>> check_text("asset", "US\u200bDC", free=False).detail
    'asset must not hold the character U+200B'
    """
    if isinstance(value, str):
        if free:
            found = _find_control(value)
            bad = found and found.group()
        elif value.isprintable():
            found = _find_blank(value)
            bad = found and found.group()
        else:
            bad = next(c for c in value if not c.isprintable())
        if not bad:
            return None
        return refuse(
            RejectReason.FIELD_RANGE, f"{name} must not hold the character U+{ord(bad):04X}"
        )
    if isinstance(value, dict):
        parts: list[object] = [*value.keys(), *value.values()]
    elif isinstance(value, list):
        parts = value
    else:
        return None
    return next((r for x in parts if (r := check_text(name, x, free=free))), None)


def check_command_text(event: object) -> Refusal | None:
    r"""Refuse a command with a hidden character in its reason, or a name that looks like another.

    A reason is shown to the person who approves, so it is one line that shows what it holds. This
    is checked where a command enters and not in :func:`riskwatch.contracts.codec.decode`, because
    journals of earlier versions must stay readable.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from riskwatch.core.events import Command
    >>> made = Command(v=1, event_id="7", ts=datetime(2023, 3, 11, tzinfo=UTC), source="cli",
    ...     operator="ann", action="halt", scope="firm", reason="\u202e", idempotency_key="k")
    >>> check_command_text(made).detail
    'reason must not hold the character U+202E'
    """
    if not isinstance(event, events.Command):
        return None
    bad = hidden_character(event.reason)
    if bad is not None:
        return refuse(RejectReason.FIELD_RANGE, f"reason must not hold the character {bad}")
    fault = name_fault(event.operator)
    if fault:
        return refuse(RejectReason.FIELD_RANGE, f"operator {fault}")
    return None


_ARGS_DEPTH: Final = 8
_ARGS_VALUES: Final = 256
_ARGS_INT: Final = 2**63


def check_positive(event: Event, *names: str) -> Refusal | None:
    """Refuse the first of the fields `names` that is present and not above zero."""
    for name in names:
        value: Decimal | None = getattr(event, name)
        if value is not None and value <= ZERO:
            return refuse(RejectReason.FIELD_RANGE, f"{name} must be > 0, was {value}")
    return None


def check_not_negative(event: Event, *names: str) -> Refusal | None:
    """Refuse the first of the fields `names` that is present and below zero."""
    for name in names:
        value: Decimal | None = getattr(event, name)
        if value is not None and value < ZERO:
            return refuse(RejectReason.FIELD_RANGE, f"{name} must be >= 0, was {value}")
    return None


_NO_SIZE: Final = ("one of `qty` and `contracts`", "to state a size")


def _missing(name: str, why: str) -> Refusal:
    return refuse(RejectReason.FIELD_MISSING, f"{name} is required {why}")


def _execution(event: events.Fill | events.FillCorrection) -> Refusal | None:
    """Check the common rules of a fill and of the correction that restates it."""
    if event.kind != "spot" and event.instrument is None:
        return _missing("instrument", f"where kind is {event.kind}")
    if event.fee is not None and event.fee_asset is None:
        return _missing("fee_asset", "where there is a fee")
    # This is the hot path: a loop over names is twice as slow as this direct check.
    if event.contracts is None and event.qty > ZERO and event.price >= ZERO:
        return None
    return _sizes(event) or check_not_negative(event, "price")


def _sizes(event: events.Fill | events.FillCorrection) -> Refusal | None:
    """Check that the size of an execution is stated, above zero."""
    stated = event.qty is not events.NO_QTY
    if event.contracts is None:
        return check_positive(event, "qty") if stated else _missing(*_NO_SIZE)
    if event.kind == "spot":
        return refuse(RejectReason.FIELD_RANGE, "contracts are for a derivative, was kind spot")
    refusal = check_positive(event, "contracts", "contract_size")
    return refusal or (check_positive(event, "qty") if stated else None)


def _fill(event: events.Fill) -> Refusal | None:
    refusal = _execution(event)
    if refusal is None and event.reference_price is not None:
        return check_positive(event, "reference_price")
    return refusal


def _fill_correction(event: events.FillCorrection) -> Refusal | None:
    if event.fill_id is None and event.trade_id is None:
        return _missing("one of trade_id and fill_id", "to name the trade")
    amended = (event.amended_qty, event.amended_price, event.amended_contracts)
    changes = any(value is not None for value in amended)
    if changes != (event.status == "amend"):
        if not changes:
            return _missing("one of amended_qty and amended_price", "where status is amend")
        if event.amended_contracts is not None and event.contracts is None:
            return _missing("contracts", "where there are amended_contracts")
        detail = "amended_qty and amended_price are for status amend, was bust"
        return refuse(RejectReason.FIELD_RANGE, detail)
    refusal = _execution(event) or check_positive(event, "amended_qty", "amended_contracts")
    return refusal or check_not_negative(event, "amended_price")


_INDEBTED: Final = ("margin", "derivatives", "unified")
"""Types of wallets whose balance may be negative: a debt."""


def _balance(event: events.Balance) -> Refusal | None:
    refusal = check_not_negative(event, "locked", "borrowed") or _covers(event)
    if refusal is None and event.free < ZERO and event.kind != "margin":
        if event.wallet_type in _INDEBTED:
            return None
        return refuse(
            RejectReason.FIELD_RANGE,
            f"free must be >= 0, was {event.free}; below 0 it is a debt, which needs a wallet_type "
            f"of {', '.join(_INDEBTED)}",
        )
    return refusal


def _covers(event: events.Balance | events.Position) -> Refusal | None:
    """Refuse a snapshot of a book that names no book."""
    if event.covers == "book" and event.book == events.UNALLOCATED:
        return _missing("book", "where covers is book")
    return None


def _position(event: events.Position) -> Refusal | None:
    # Of a flat position, or of one without a liquidation price, venues state a price of zero.
    prices = ("entry_price", "mark_price", "liquidation_price")
    refusal = check_not_negative(event, *prices) or _covers(event) or _contracts(event)
    qty = event.qty
    if refusal is not None or qty is None:
        return refusal
    wrong = {"long": qty < ZERO, "short": qty > ZERO}
    if event.side is not None and wrong[event.side]:
        sign = ">= 0 of a long" if event.side == "long" else "<= 0 of a short"
        return refuse(RejectReason.FIELD_RANGE, f"qty must be {sign} position, was {qty}")
    return None


def _contracts(event: events.Position) -> Refusal | None:
    """Check what a position states of its contracts and greeks."""
    if event.contracts is None and event.qty is None:
        return _missing(*_NO_SIZE)
    if event.hedged is not None and event.side is None:
        return _missing("side", "where there is hedged")
    if event.delta_convention is not None and event.delta is None:
        return _missing("delta", "where there is a delta_convention")
    refusal = check_positive(event, "contract_size") or check_not_negative(event, "iv")
    if refusal is None and event.side is not None:
        return check_not_negative(event, "contracts")
    return refusal


def _transfer(event: events.Transfer) -> Refusal | None:
    return check_positive(event, "amount") or check_not_negative(event, "fee")


def _adjustment(event: events.Adjustment) -> Refusal | None:
    if (event.to_asset is None) is not (event.to_amount is None):
        return _missing("to_asset and to_amount", "together")
    if event.to_asset is None and event.kind in events.RENAMING:
        return _missing("to_asset", f"where kind is {event.kind}")
    return None


def _open_order(event: events.OpenOrder) -> Refusal | None:
    return check_not_negative(event, "qty") or check_positive(event, "price")


def _loan(event: events.Loan) -> Refusal | None:
    return check_not_negative(event, "amount")


def _peg(event: events.Peg) -> Refusal | None:
    if event.price is None and event.rate is None:
        return _missing("one of price and rate", "to state what it is worth or what it promises")
    return check_positive(event, "price", "rate") or check_not_negative(
        event, "volume", "supply", "redeemed"
    )


_NEAR_BOOK: Final = Decimal("0.01")
"""Largest distance of a last trade from a crossed book, as a share of bid and ask."""


def _is_sane(last: Decimal | None, bid: Decimal, ask: Decimal) -> bool:
    """Whether the last trade beside a crossed book may stand for the price."""
    if last is None:
        return False
    return mul(ask, 1 - _NEAR_BOOK) <= last <= mul(bid, 1 + _NEAR_BOOK)


def _quote(event: events.Quote) -> Refusal | None:
    bid, ask = event.bid, event.ask
    if bid is None and ask is None and event.last is None:
        return _missing("one of bid, ask and last", "to state a price")
    if bid is not None and ask is not None and bid > ask and not _is_sane(event.last, bid, ask):
        why = "and no last trade near them states a price"
        return refuse(RejectReason.FIELD_RANGE, f"bid must be <= ask, was {bid} over {ask}, {why}")
    if event.depth is not None and any(x < ZERO for row in event.depth for x in row):
        return refuse(RejectReason.FIELD_RANGE, "depth must hold numbers >= 0")
    return check_positive(event, "bid", "ask", "last") or check_not_negative(
        event, "bid_size", "ask_size", "volume"
    )


def _credit(event: events.Credit) -> Refusal | None:
    if event.kind == "retraction" and event.retracts is None:
        return _missing("retracts", "where kind is retraction")
    return check_not_negative(event, "ratio")


def _command(event: events.Command) -> Refusal | None:
    """Check the bounds of the free-form arguments: depth, number of values, whole numbers."""
    level: list[Any] = [event.args]
    count = 0
    for _ in range(_ARGS_DEPTH + 1):
        level = inner_values(level)
        count += len(level)
        if count > _ARGS_VALUES:
            return refuse(RejectReason.FIELD_RANGE, f"args must hold <= {_ARGS_VALUES} values")
        if any(isinstance(x, int) and not -_ARGS_INT <= x < _ARGS_INT for x in level):
            return refuse(RejectReason.NUMBER_TOO_LARGE, "args: whole numbers must fit 64 bits")
        if not level:
            return None
    return refuse(RejectReason.FIELD_RANGE, f"args must nest at most {_ARGS_DEPTH} levels")


def _no_check(_event: Event) -> Refusal | None:
    """Check nothing, for types whose shape is the only rule."""
    return None


CHECKS: Final[dict[type[Event], Callable[[Any], Refusal | None]]] = {
    events.Fill: _fill,
    events.FillCorrection: _fill_correction,
    events.Settlement: _no_check,
    events.Balance: _balance,
    events.Position: _position,
    events.Transfer: _transfer,
    events.OpenOrder: _open_order,
    events.Loan: _loan,
    events.Adjustment: _adjustment,
    events.AccountSnapshot: _no_check,
    events.Peg: _peg,
    events.Quote: _quote,
    events.Credit: _credit,
    events.LegalEntity: _no_check,
    events.NettingSet: _no_check,
    events.Command: _command,
}
"""Check function of each event type."""
