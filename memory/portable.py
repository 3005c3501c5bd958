"""Rows as plain tuples, the same from SQLite and from PostgreSQL: what backups are made of and compared by.

The tables are taken from the database itself and not from `models.py`, so that a backup of an older version
can be read by a newer one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, Inspector, inspect
from sqlalchemy.types import JSON, Boolean, DateTime, String

Row = tuple[Any, ...]
AT_ONCE = 1000
"""Rows that are held at a time."""

KEPT_APART = "person_key"
"""The table that is in no backup."""
BLANK = {("house", "secret")}
"""Columns that are in no backup: whoever has the secret can try out whether a person is in it."""


class Digest(NamedTuple):
    """What a table holds: how many rows, and the sha256 of all of them in the order of their keys."""

    rows: int
    sha256: str


class Hasher:
    """Makes a digest of rows as they pass."""

    def __init__(self) -> None:
        self.rows = 0
        self._hash = hashlib.sha256()

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._hash.update(repr(row).encode("utf-8", "surrogatepass"))
            self.rows += 1

    def digest(self) -> Digest:
        return Digest(self.rows, self._hash.hexdigest())


def tables(connection: Connection) -> list[str]:
    """Return the names of all tables."""
    return inspect(connection).get_table_names()


def columns(connection: Connection, table: str) -> list[str]:
    """Return the names of a table's columns, sorted: a column that came later is elsewhere in a new table."""
    return sorted(column["name"] for column in inspect(connection).get_columns(table))


def read(connection: Connection, table: str) -> Iterator[list[Row]]:
    """Yield all rows of a table in the order of its key, in lists; their values are as `columns` says.

    A moment is text in UTC, as SQLite keeps it; JSON is the text that was written; true is 1.
    """
    result = connection.exec_driver_sql(
        _select(inspect(connection), table), execution_options={"stream_results": True}
    )
    for part in result.partitions(AT_ONCE):
        yield [tuple(row) for row in part]


def digest(connection: Connection, table: str) -> Digest:
    """Return the digest of a table as it is."""
    hasher = Hasher()
    for rows in read(connection, table):
        hasher.add(rows)
    return hasher.digest()


def count(connection: Connection, table: str) -> int:
    found: int = connection.exec_driver_sql(f'SELECT count(*) FROM "{table}"').scalar_one()
    return found


def _select(inspector: Inspector, table: str) -> str:
    postgresql = inspector.dialect.name == "postgresql"
    found = {column["name"]: column["type"] for column in inspector.get_columns(table)}
    wanted = ", ".join(_plain(table, name, kind, postgresql) for name, kind in sorted(found.items()))
    key = inspector.get_pk_constraint(table)["constrained_columns"]
    # PostgreSQL would sort text by its language
    order = ", ".join(
        f'"{name}" COLLATE "C"' if postgresql and isinstance(found[name], String) else f'"{name}"'
        for name in key
    )
    return f'SELECT {wanted} FROM "{table}"' + (f" ORDER BY {order}" if order else "")


def _plain(table: str, name: str, kind: Any, postgresql: bool) -> str:
    if (table, name) in BLANK:
        return f"'' AS \"{name}\""
    match kind:
        case JSON():
            return f'CAST("{name}" AS TEXT)'  # SQLite keeps JSON that is only a number as a number
        case Boolean() if postgresql:
            return f'CAST("{name}" AS INTEGER)'
        case DateTime() if postgresql:
            return f"to_char(\"{name}\" AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
        case _:
            return f'"{name}"'
