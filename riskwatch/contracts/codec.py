"""Decoding and encoding of wire events; :func:`decode` never raises, for any bytes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec
from msgspec import inspect

from riskwatch.contracts import structure, validation
from riskwatch.contracts.outputs import encode_plain
from riskwatch.contracts.refusal import Refusal, excerpt, json_refusal, refuse, shape_refusal
from riskwatch.contracts.validation import CHECKS, PLAIN_DECIMAL, check_number
from riskwatch.core.enums import RejectReason
from riskwatch.core.events import LEDGER_EVENTS, WireEvent
from riskwatch.core.money import canonical

if TYPE_CHECKING:
    from riskwatch.core.events import Event


# Shapes of event types, derived from the types themselves.


class EventShape(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of one event type.

    Attributes
    ----------
    decoder : msgspec.json.Decoder
        Decodes JSON to the type.
    numbers, rows : tuple of str
        Decimal fields, and fields that are lists of rows of decimals.
    times : tuple of str
        Time fields.
    names, texts : tuple of str
        String fields with a pattern, and fields with free text.
    optional : tuple of str
        Fields that may be left out and in which an empty text says the same: decimals, and in facts
        of accounts names, too.
    check : callable
        Its check function in :mod:`riskwatch.contracts.validation`.
    """

    decoder: msgspec.json.Decoder[WireEvent]
    numbers: tuple[str, ...]
    rows: tuple[str, ...]
    times: tuple[str, ...]
    names: tuple[str, ...]
    texts: tuple[str, ...]
    optional: tuple[str, ...]
    check: Callable[[Any], Refusal | None]


_FIELD_GROUPS: Final[dict[type[inspect.Type], str]] = {
    inspect.DecimalType: "numbers",
    inspect.TupleType: "rows",
    inspect.DateTimeType: "times",
    inspect.DictType: "texts",
    inspect.LiteralType: "",
    inspect.IntType: "",
    inspect.BoolType: "",
    inspect.NoneType: "",
}


def _field_groups(kind: inspect.Type) -> set[str]:
    """Return the groups of fields (attributes of `EventShape`) of a type, "" for none.

    A field of an unsupported type raises KeyError here, at import.
    """
    if isinstance(kind, inspect.UnionType):
        return {group for each in kind.types for group in _field_groups(each)}
    if isinstance(kind, inspect.ListType):
        return _field_groups(kind.item_type)
    if isinstance(kind, inspect.StrType):
        return {"texts" if kind.pattern is None else "names"}
    return {_FIELD_GROUPS[type(kind)]}


_SIZE: Final = "qty"
"""A field that only `contracts` may replace: an empty text is a fault, as in a required field."""


def _shape(event_type: type[Event]) -> EventShape:
    info = inspect.type_info(event_type)
    assert isinstance(info, inspect.StructType), "events are structs"
    groups: dict[str, list[str]] = {k: [] for k in ("numbers", "rows", "times", "names", "texts")}
    venue = event_type in LEDGER_EVENTS
    for field in info.fields:
        for group in _field_groups(field.type) - {""}:
            groups[group].append(field.name)
    return EventShape(
        decoder=msgspec.json.Decoder(event_type),
        check=CHECKS[event_type],
        optional=tuple(
            field.name
            for field in info.fields
            if not field.required
            and field.name != _SIZE
            and (field.name in groups["numbers"] or (venue and field.name in groups["names"]))
        ),
        **{group: tuple(fields) for group, fields in groups.items()},
    )


def tag_of(struct: type[msgspec.Struct]) -> str:
    """Return the value of `type` that names a struct on the wire.

    Examples
    --------
    >>> from riskwatch.core.events import OpenOrder
    >>> tag_of(OpenOrder)
    'open_order'
    """
    tag = struct.__struct_config__.tag
    assert isinstance(tag, str), f"{struct.__name__} has no tag"
    return tag


SHAPES_BY_TYPE: Final[dict[type[Event], EventShape]] = {t: _shape(t) for t in get_args(WireEvent)}
"""Shapes by event type."""
SHAPES_BY_TAG: Final[dict[str, EventShape]] = {
    tag_of(t): shape for t, shape in SHAPES_BY_TYPE.items()
}
"""Shapes by the value of `type` on the wire."""


SIZE_LIMIT: Final = 2**20
"""Maximum size of one message, bytes."""


def decode(raw: bytes) -> WireEvent | Refusal:
    """Decode an event, or return why the bytes are no event; it never raises.

    Parameters
    ----------
    raw : bytes
        One message, or one line of NDJSON with or without its newline.

    Returns
    -------
    WireEvent or Refusal
        An event that satisfies every rule of the contract, with times in UTC.

    Examples
    --------
    >>> peg = decode(b'{"type":"peg","v":1,"event_id":"7","ts":"2023-03-11T03:13:00Z",'
    ...              b'"source":"oracle","asset":"USDC","venue":"oracle","price":"0.97"}')
    >>> peg.price
    Decimal('0.97')
    >>> decode(b'{"type":"peg"}').reason.name
    'VERSION_UNSUPPORTED'
    """
    if len(raw) > SIZE_LIMIT:
        return refuse(
            RejectReason.MESSAGE_TOO_LARGE, f"size={len(raw)} bytes, limit={SIZE_LIMIT} bytes"
        )
    event: WireEvent | Refusal
    plain: dict[str, Any] | Refusal | None = None
    shape: EventShape | Refusal | None = None
    try:  # the only place where decoder errors are caught
        plain = structure.read_object(raw)
        if isinstance(plain, Refusal):
            return plain
        shape = _shape_of(plain)
        if isinstance(shape, Refusal):
            return shape
        event = _check_numbers(plain, shape) or shape.decoder.decode(raw)
    except (ValueError, RecursionError) as error:
        if shape is None or isinstance(error, RecursionError):
            event = json_refusal(error, raw)
        else:
            assert isinstance(plain, dict), "a message with a shape is an object"
            assert isinstance(shape, EventShape), "a refusal was returned"
            event = shape_refusal(error, plain, shape.times)
    if isinstance(event, Refusal):
        return _decode_without_blanks(plain, shape) or event
    shape = SHAPES_BY_TYPE[type(event)]
    utc = validation.in_utc(event, shape.times)
    if isinstance(utc, Refusal):
        return utc
    if utc:
        event = msgspec.structs.replace(event, **utc)
    refusal = validation.check_not_future(event) or shape.check(event)
    if refusal is None and not validation.is_plain_ascii(raw):
        refusal = _check_texts(event, shape)
    return event if refusal is None else refusal


def _shape_of(plain: dict[str, Any]) -> EventShape | Refusal:
    """Return the shape of a message's type; refuse an unknown type or version."""
    tag, version = plain.get("type"), plain.get("v")
    shape = SHAPES_BY_TAG.get(tag) if isinstance(tag, str) else None
    if shape is None:
        return refuse(RejectReason.TYPE_UNKNOWN, f"type must name an event, was {excerpt(tag)}")
    # `type`, not `isinstance`, because True equals 1.
    if version != 1 or type(version) is not int:
        return refuse(RejectReason.VERSION_UNSUPPORTED, f"v must be 1, was {excerpt(version)}")
    return shape


def _check_numbers(plain: dict[str, Any], shape: EventShape) -> Refusal | None:
    """Refuse numbers that are not texts of the contract, before msgspec makes decimals of them."""
    get, is_plain = (
        plain.get,
        PLAIN_DECIMAL,
    )  # local names: this is the hottest loop of the boundary
    for name in shape.numbers:
        value = get(name)
        if value is None or (type(value) is str and is_plain(value)):
            continue
        refusal = check_number(name, value)
        if refusal is not None:
            return refusal
    for name in shape.rows:
        rows = plain.get(name)
        for row in rows if isinstance(rows, list) else ():
            for value in row if isinstance(row, list) else ():
                refusal = check_number(name, value)
                if refusal is not None:
                    return refusal
    return None


def _decode_without_blanks(plain: object, shape: object) -> WireEvent | Refusal | None:
    """Decode a message without its optional fields that are empty texts; ``None`` if it has none.

    Venues write ``""`` for what is not there. They write zero as a number, too, which is exact; any
    other number must be a text, because it may have lost digits.
    """
    if not isinstance(plain, dict) or not isinstance(shape, EventShape):
        return None
    blank = [name for name in shape.optional if plain.get(name) == ""]
    zero = [n for n in shape.numbers if type(plain.get(n)) in (int, float) and plain[n] == 0]
    if not blank and not zero:
        return None
    stated = {key: value for key, value in plain.items() if key not in blank}
    return decode(msgspec.json.encode(stated | dict.fromkeys(zero, "0")))


def _check_texts(event: WireEvent, shape: EventShape) -> Refusal | None:
    """Refuse texts with characters that are invisible or cannot be stored."""
    for fields, free in ((shape.names, False), (shape.texts, True)):
        for name in fields:
            refusal = validation.check_text(name, getattr(event, name), free=free)
            if refusal is not None:
                return refusal
    return None


def encode(event: WireEvent) -> bytes:
    """Return canonical wire bytes: fields in order, no defaults, plain decimals, times in UTC.

    Examples
    --------
    >>> line = (b'{"type":"settlement","v":1,"event_id":"9","ts":"2023-03-11T03:13:00Z",'
    ...         b'"source":"desk","counterparty":"kraken","account":"main","book":"arb",'
    ...         b'"fill_id":"8","status":"delivered"}')
    >>> encode(decode(line)) == line
    True
    """
    return encode_plain(event)


def content_bytes(event: WireEvent) -> bytes:
    """Return the canonical bytes of what an event says: equal for equal content, without `arrived`.

    Unlike in :func:`encode`, equal numbers have equal texts.

    Examples
    --------
    >>> line = (b'{"type":"peg","v":1,"event_id":"7","ts":"2023-03-11T03:13:00Z",'
    ...         b'"source":"oracle","asset":"USDC","venue":"oracle","price":"%s"}')
    >>> content_bytes(decode(line % b"0.970")) == content_bytes(decode(line % b"0.97"))
    True
    """
    shape = SHAPES_BY_TYPE[type(event)]
    changes: dict[str, Any] = {} if event.arrived is None else {"arrived": None}
    for name in shape.numbers:
        value = getattr(event, name)
        # Only such a text has another shorter one.
        if value is not None and str(value)[-1] == "0":
            changes[name] = canonical(value)
    for name in shape.rows:
        rows = getattr(event, name)
        if rows is not None:
            changes[name] = [tuple(map(canonical, row)) for row in rows]
    return encode_plain(msgspec.structs.replace(event, **changes) if changes else event)


def stamp_arrival(event: WireEvent, arrived: datetime) -> WireEvent:
    """Return `event` with `arrived` set if it is absent; an earlier stamp stays.

    A live worker stamps its clock and then calls
    :func:`riskwatch.contracts.validation.check_not_future`. A replay stamps `ts`.

    Raises
    ------
    ValueError
        If `arrived` has no time zone.

    Examples
    --------
    >>> event = decode(b'{"type":"peg","v":1,"event_id":"7","ts":"2023-03-11T03:13:00Z",'
    ...                b'"source":"oracle","asset":"USDC","venue":"oracle","price":"0.97"}')
    >>> stamp_arrival(event, event.ts).arrived == event.ts
    True
    """
    if event.arrived is not None:
        return event
    if arrived.tzinfo is None:
        raise ValueError("arrived must carry a time zone")
    return msgspec.structs.replace(event, arrived=arrived.astimezone(UTC))
