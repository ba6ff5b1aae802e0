"""Bytes to events and back. :func:`decode` never raises, whatever the bytes are."""

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
from riskwatch.core.events import WireEvent

if TYPE_CHECKING:
    from riskwatch.core.events import Event


# What the codec must know of each event type, read off the types themselves.


class EventShape(msgspec.Struct, frozen=True, kw_only=True):
    """One event type.

    Attributes
    ----------
    decoder : msgspec.json.Decoder
        Fits JSON to the type.
    numbers, rows : tuple of str
        Fields that are a decimal, and that are lists of rows of decimals.
    times : tuple of str
        Fields that are a time.
    names, texts : tuple of str
        Fields that hold strings of a stated pattern, and free text.
    check : callable
        Its function of :mod:`riskwatch.contracts.validation`.
    """

    decoder: msgspec.json.Decoder[WireEvent]
    numbers: tuple[str, ...]
    rows: tuple[str, ...]
    times: tuple[str, ...]
    names: tuple[str, ...]
    texts: tuple[str, ...]
    check: Callable[[Any], Refusal | None]


_SORTS: Final[dict[type[inspect.Type], str]] = {
    inspect.DecimalType: "numbers",
    inspect.TupleType: "rows",
    inspect.DateTimeType: "times",
    inspect.DictType: "texts",
    inspect.LiteralType: "",
    inspect.IntType: "",
    inspect.BoolType: "",
    inspect.NoneType: "",
}


def _sorts_of(kind: inspect.Type) -> set[str]:
    """Say which sorts of fields (attributes of `EventShape`) a type belongs to, "" for none.

    A field of a type that nobody thought of raises KeyError here, at import.
    """
    if isinstance(kind, inspect.UnionType):
        return {sort for each in kind.types for sort in _sorts_of(each)}
    if isinstance(kind, inspect.ListType):
        return _sorts_of(kind.item_type)
    if isinstance(kind, inspect.StrType):
        return {"texts" if kind.pattern is None else "names"}
    return {_SORTS[type(kind)]}


def _shape(event_type: type[Event]) -> EventShape:
    info = inspect.type_info(event_type)
    assert isinstance(info, inspect.StructType), "events are structs"
    sorts: dict[str, list[str]] = {k: [] for k in ("numbers", "rows", "times", "names", "texts")}
    for field in info.fields:
        for sort in _sorts_of(field.type) - {""}:
            sorts[sort].append(field.name)
    return EventShape(
        decoder=msgspec.json.Decoder(event_type),
        check=CHECKS[event_type],
        **{sort: tuple(fields) for sort, fields in sorts.items()},
    )


def tag_of(struct: type[msgspec.Struct]) -> str:
    """Read the value of `type` that names a struct on the wire.

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
"""By event type."""
SHAPES_BY_TAG: Final[dict[str, EventShape]] = {
    tag_of(t): shape for t, shape in SHAPES_BY_TYPE.items()
}
"""By the value of `type` on the wire."""


SIZE_LIMIT: Final = 2**20
"""Most bytes of one message."""


def decode(raw: bytes) -> WireEvent | Refusal:
    """Decode the event that `raw` holds, or say why it is none. Never raises.

    Parameters
    ----------
    raw : bytes
        One message, or one line of NDJSON with or without its newline.

    Returns
    -------
    WireEvent or Refusal
        An event that keeps every rule of the contract, its times in UTC.

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
    shape: EventShape | Refusal | None = None
    try:  # the one place where errors of the decoders are caught
        plain = structure.read_object(raw)
        if isinstance(plain, Refusal):
            return plain
        shape = _shape_of(plain)
        if isinstance(shape, Refusal):
            return shape
        event = _numbers(plain, shape) or shape.decoder.decode(raw)
    except (ValueError, RecursionError) as error:
        if shape is None or isinstance(error, RecursionError):
            event = json_refusal(error, raw)
        else:
            event = shape_refusal(error)
    if isinstance(event, Refusal):
        return event
    shape = SHAPES_BY_TYPE[type(event)]
    utc = validation.in_utc(event, shape.times)
    if isinstance(utc, Refusal):
        return utc
    if utc:
        event = msgspec.structs.replace(event, **utc)
    refusal = validation.check_not_future(event) or shape.check(event)
    if refusal is None and not validation.is_plain_ascii(raw):
        refusal = _hidden(event, shape)
    return event if refusal is None else refusal


def _shape_of(plain: dict[str, Any]) -> EventShape | Refusal:
    """Look up the type that a message claims to be, in a version that this build reads."""
    tag, version = plain.get("type"), plain.get("v")
    shape = SHAPES_BY_TAG.get(tag) if isinstance(tag, str) else None
    if shape is None:
        return refuse(RejectReason.TYPE_UNKNOWN, f"type must name an event, was {excerpt(tag)}")
    # `type` and not `isinstance`, for True equals 1.
    if version != 1 or type(version) is not int:
        return refuse(RejectReason.VERSION_UNSUPPORTED, f"v must be 1, was {excerpt(version)}")
    return shape


def _numbers(plain: dict[str, Any], shape: EventShape) -> Refusal | None:
    """Whether all numbers are texts of the contract; judged before msgspec makes decimals."""
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


def _hidden(event: WireEvent, shape: EventShape) -> Refusal | None:
    """Whether some text of the event holds what cannot be seen or stored."""
    for fields, free in ((shape.names, False), (shape.texts, True)):
        for name in fields:
            refusal = validation.check_text(name, getattr(event, name), free=free)
            if refusal is not None:
                return refusal
    return None


def encode(event: WireEvent) -> bytes:
    """Canonical wire bytes: fields as declared, defaults left out, plain decimals, times in Z.

    Examples
    --------
    >>> line = (b'{"type":"settlement","v":1,"event_id":"9","ts":"2023-03-11T03:13:00Z",'
    ...         b'"source":"desk","counterparty":"kraken","account":"main","book":"arb",'
    ...         b'"fill_id":"8","status":"delivered"}')
    >>> encode(decode(line)) == line
    True
    """
    return encode_plain(event)


def stamp_arrival(event: WireEvent, arrived: datetime) -> WireEvent:
    """`event` with `arrived` set where it is absent; an earlier stamp stays.

    A live worker stamps its clock and then asks
    :func:`riskwatch.contracts.validation.check_not_future`;
    a replay stamps `ts`.

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
