"""Column types that behave alike on SQLite and Postgres, and the metadata of all tables."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import JSON, DateTime, MetaData, Numeric, Text
from sqlalchemy.types import TypeDecorator

from riskwatch.core.money import canonical

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.types import TypeEngine


METADATA: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


_NUL = "\x00"


def exact_text(value: Decimal) -> str:
    """Return the digits of a decimal without exponent or trailing zeros.

    Equal numbers have equal text.

    Raises
    ------
    ValueError
        If `value` is not a finite decimal.

    Examples
    --------
    >>> exact_text(Decimal("1.50")), exact_text(Decimal("1E+3")), exact_text(Decimal("-0.0"))
    ('1.5', '1000', '0')
    """
    if type(value) is not Decimal or not value.is_finite():
        raise ValueError(f"amount must be a finite Decimal, was {value!r}")
    if not value:
        return "0"
    digits = format(value, "f")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def time_text(value: datetime) -> str:
    """Return UTC text of fixed width; the order of texts is the order in time.

    Raises
    ------
    ValueError
        If `value` has no time zone.

    Examples
    --------
    >>> time_text(datetime(2023, 3, 11, 3, 13, tzinfo=UTC))
    '2023-03-11T03:13:00.000000Z'
    """
    if value.tzinfo is not UTC:
        if value.tzinfo is None:
            raise ValueError(f"time must carry a zone, was {value!r}")
        value = value.astimezone(UTC)
    return value.isoformat(timespec="microseconds")[:-6] + "Z"


def clean_text(text: str) -> str:
    """Replace NUL and lone surrogates by U+FFFD, because the databases cannot store them.

    Only free text (details, notes, titles) can contain them; names and ids cannot.

    Examples
    --------
    >>> clean_text("a" + chr(0) + "b") == "a" + chr(0xFFFD) + "b"
    True
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace(_NUL, "\ufffd") if _NUL in text else text


def dump_json(value: object) -> str:
    """Encode JSON with sorted keys. Amounts become text, and NaN is refused.

    Raises
    ------
    ValueError
        If `value` contains a number that is not finite.

    Examples
    --------
    >>> dump_json({"b": 1.0, "a": Decimal("0.10")})
    '{"a":"0.1","b":1.0}'
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)
    if "\\u0000" in text or "\\ud" in text:
        text = json.dumps(
            _clean_all(json.loads(text)), sort_keys=True, separators=(",", ":"), allow_nan=False
        )
    return text


def stored_value(value: Any) -> Any:
    """Return a value as it is read back from a column, with cleaned text.

    Examples
    --------
    >>> stored_value(["a" + chr(0)]) == ["a" + chr(0xFFFD)]
    True
    """
    if isinstance(value, list | dict):
        return json.loads(dump_json(value))
    return clean_text(value) if isinstance(value, str) else value


def _plain(value: object) -> str:
    if isinstance(value, Decimal):
        return exact_text(value)
    raise TypeError(f"a JSON column holds text, numbers, lists and objects, not {value!r}")


def _clean_all(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_clean_all(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(key): _clean_all(item) for key, item in value.items()}
    return value


class ExactDecimal(TypeDecorator[Decimal]):
    """An exact amount: NUMERIC without bounds on Postgres, canonical text on SQLite."""

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return NUMERIC or TEXT."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else Numeric())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Return the digits to store. A float is refused, because it is not exact."""
        if value is None:
            return None
        text = exact_text(value)
        return text if dialect.name == "sqlite" else Decimal(text)

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Return the exact amount."""
        del dialect
        return None if value is None else canonical(Decimal(value))


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC: TIMESTAMP WITH TIME ZONE on Postgres, sortable text on SQLite."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return TIMESTAMPTZ or TEXT."""
        return dialect.type_descriptor(
            Text() if dialect.name == "sqlite" else DateTime(timezone=True)
        )

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Return text on SQLite. A time without a zone is refused."""
        if value is None:
            return None
        text = time_text(value)
        return text if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return the moment in UTC."""
        del dialect
        if value is None:
            return None
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.astimezone(UTC)


class FreeText(TypeDecorator[str]):
    """Free text of a sender; characters that cannot be stored are replaced."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return text that both databases accept."""
        del dialect
        return None if value is None else clean_text(value)


class Json(TypeDecorator[Any]):
    """JSON stored as text (on Postgres as JSON, not JSONB, which would change digits)."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return JSON or TEXT."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else JSON())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Return text on SQLite. On Postgres the engine's serializer is :func:`dump_json`."""
        return dump_json(value) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Return lists, dicts, text and numbers."""
        return json.loads(value) if dialect.name == "sqlite" else value
