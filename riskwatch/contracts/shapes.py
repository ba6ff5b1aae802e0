"""What the codec must know of each event type, read off the types themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec
from msgspec import inspect

from riskwatch.contracts.guards import CHECKS
from riskwatch.contracts.refusal import Refusal
from riskwatch.core.events import WireEvent

if TYPE_CHECKING:
    from riskwatch.core.events import Event


class Shape(msgspec.Struct, frozen=True, kw_only=True):
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
        Its function of :mod:`riskwatch.contracts.guards`.
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
    """Say which sorts of fields (attributes of `Shape`) a type belongs to, "" for none.

    A field of a type that nobody thought of raises KeyError here, at import.
    """
    if isinstance(kind, inspect.UnionType):
        return {sort for each in kind.types for sort in _sorts_of(each)}
    if isinstance(kind, inspect.ListType):
        return _sorts_of(kind.item_type)
    if isinstance(kind, inspect.StrType):
        return {"texts" if kind.pattern is None else "names"}
    return {_SORTS[type(kind)]}


def _shape(event_type: type[Event]) -> Shape:
    info = inspect.type_info(event_type)
    assert isinstance(info, inspect.StructType), "events are structs"
    sorts: dict[str, list[str]] = {k: [] for k in ("numbers", "rows", "times", "names", "texts")}
    for field in info.fields:
        for sort in _sorts_of(field.type) - {""}:
            sorts[sort].append(field.name)
    return Shape(
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


SHAPE_OF: Final[dict[type[Event], Shape]] = {t: _shape(t) for t in get_args(WireEvent)}
"""By event type."""
SHAPES: Final[dict[str, Shape]] = {tag_of(t): shape for t, shape in SHAPE_OF.items()}
"""By the value of `type` on the wire."""
