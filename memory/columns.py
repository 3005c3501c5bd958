"""Column types that make SQLite and PostgreSQL behave alike: moments, and any text that Python can hold.

Neither database takes every Python string: PostgreSQL refuses NUL, and both refuse lone surrogates, which
young selves and broken terminals do produce. Such a character is stored visibly as `␛` and four hex digits
(NUL is `␛0000`), and `␛` itself as `␛241b`, so that nothing is lost and ordinary text is stored as it is.
"""

# ruff: noqa: ARG002 - SQLAlchemy hands every column type its dialect

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer, Text
from sqlalchemy.types import TypeDecorator

ESCAPE = "\u241b"
_UNSTORABLE = re.compile(f"[\x00{ESCAPE}\ud800-\udfff]")
_ESCAPED = re.compile(f"{ESCAPE}([0-9a-f]{{4}})")

Id = BigInteger().with_variant(Integer, "sqlite")
"""A primary key that counts up by itself; SQLite does so only for INTEGER."""


def escape(text: str) -> str:
    """Return `text` as both databases can hold it; `unescape` gives exactly `text` back."""
    return _UNSTORABLE.sub(lambda match: f"{ESCAPE}{ord(match[0]):04x}", text)


def unescape(text: str) -> str:
    """Undo `escape`."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)


class AnyText(TypeDecorator[str]):
    """Text that may hold any Python string; see the top of this file."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else escape(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else unescape(value)


class AnyJson(TypeDecorator[Any]):
    """JSON whose strings may hold any Python string; numbers that JSON lacks (NaN, infinities) become
    null.
    """

    impl = JSON(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return _walk(value, escape)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return _walk(value, unescape)


def _walk(value: Any, change: Any) -> Any:
    match value:
        case str():
            return change(value)
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {change(key): _walk(item, change) for key, item in value.items()}
        case list() | tuple():
            return [_walk(item, change) for item in value]
        case _:
            return value


def dump_json(value: Any) -> str:
    """How JSON is written into the database: compact and readable."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class Moment(TypeDecorator[datetime]):
    """A moment in time: aware and in UTC in Python, on both databases.

    SQLite has no zones: there it is stored as UTC without one. Naive datetimes are refused (ValueError).
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
