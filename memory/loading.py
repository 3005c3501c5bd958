"""The rows of a backup into an open transaction of an empty database, and their proof."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from memory import portable
from memory.backup import Manifest, OnRows, insert_sql
from memory.database import plain_errors
from memory.keys import Erased, Keys
from memory.migrations import upgrade
from memory.models import GenerationRow, HouseRow, MessageRow, PersonKeyRow, PersonRow
from memory.portable import Hasher, Row
from selves.errors import StoreError


def load(
    connection: Connection, backup: Connection, manifest: Manifest, keys: Keys | None, on_rows: OnRows
) -> int:
    """Make the tables, as the version of the backup had them, and fill them; what came is read back.

    Returns how many words were erased again. `on_rows` is told of every row twice: written, and proved.
    Raises StoreError when the backup is not what it says, or the rows came otherwise.
    """
    upgrade(connection, manifest.version)
    postgresql = connection.dialect.name == "postgresql"
    if postgresql:
        connection.execute(text("SET LOCAL TIME ZONE 'UTC'"))
    else:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    connection.exec_driver_sql("DELETE FROM house")
    for table, digest in manifest.tables.items():
        names, hasher = portable.columns(backup, table), Hasher()
        for rows in _of_backup(backup, table):
            hasher.add(rows)
            if postgresql:
                _copy(connection, table, names, rows)
            else:
                connection.exec_driver_sql(insert_sql(table, names), rows)
            on_rows(len(rows))
        if hasher.digest() != digest:
            raise StoreError(
                f"the backup is damaged: its table {table} is not what was written", "take another backup"
            )
    for table, digest in manifest.tables.items():
        if portable.digest(connection, table) != digest:
            raise StoreError(
                f"the rows of {table} came out otherwise than they are in the backup",
                "nothing was replaced; please report this, with the version of the database",
            )
        on_rows(digest.rows)
    _put_keys(connection, keys)
    if postgresql:
        _count_on(connection, list(manifest.tables))
    return _erase_again(connection, keys.erased) if keys else 0


def _of_backup(backup: Connection, table: str) -> Iterator[list[Row]]:
    """The rows of a backup; what cannot be read in it is said of it, not of the database they go to."""
    with plain_errors(backup.engine.url):
        yield from portable.read(backup, table)


def _copy(connection: Connection, table: str, names: list[str], rows: list[Row]) -> None:
    columns = ", ".join(f'"{name}"' for name in names)
    statement = f'COPY "{table}" ({columns}) FROM STDIN'
    driver: Any = connection.connection.dbapi_connection
    driver.run_async(lambda raw: _copy_async(raw, statement, rows))


async def _copy_async(raw: Any, statement: str, rows: Iterable[Row]) -> None:
    import psycopg

    try:
        async with raw.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                await copy.write_row(row)
    except psycopg.Error as error:
        raise DBAPIError(statement, None, error) from error


def _put_keys(connection: Connection, keys: Keys | None) -> None:
    """Put in what no backup has; without it, people who come again are strangers."""
    connection.execute(update(HouseRow).values(secret=keys.secret if keys else secrets.token_hex(32)))
    if keys is None:
        return
    people = {(person.id, person.created_at): person.key for person in keys.people}
    there = connection.execute(select(PersonRow.id, PersonRow.created_at)).all()
    known = [
        {"person_id": row.id, "key": key} for row in there if (key := people.get((row.id, row.created_at)))
    ]
    if known:
        connection.execute(insert(PersonKeyRow), known)


def _erase_again(connection: Connection, erased: Erased) -> int:
    """Erase what the house has erased since; return how much of that was still there."""
    statuses = {(row_id, at): status for row_id, at, status in erased.messages}
    spoken = _still(
        connection, select(MessageRow.id, MessageRow.created_at).where(MessageRow.text != ""), statuses
    )
    sample = select(GenerationRow.id, GenerationRow.started_at)
    said = _still(connection, sample.where(GenerationRow.text != ""), erased.samples)
    asked = _still(connection, sample.where(GenerationRow.prompt.is_not(None)), erased.prompts)
    for statement, values in (
        (
            update(MessageRow).where(MessageRow.id == bindparam("of")).values(text=""),
            [{"of": key[0], "status": statuses[key]} for key in spoken],
        ),
        (
            update(GenerationRow).where(GenerationRow.id == bindparam("of")).values(text="", token_ids=[]),
            [{"of": key[0]} for key in said],
        ),
        (
            update(GenerationRow).where(GenerationRow.id == bindparam("of")).values(prompt=None),
            [{"of": key[0]} for key in asked],
        ),
    ):
        if values:
            connection.execute(statement, values)
    return len(spoken) + len(said) + len(asked)


def _still(connection: Connection, query: Any, erased: Iterable[Any]) -> list[Any]:
    gone = set(erased)
    return [key for row in connection.execute(query) if (key := tuple(row)) in gone] if gone else []


def _count_on(connection: Connection, tables: list[str]) -> None:
    """Let PostgreSQL's new ids begin after those that came."""
    for table in tables:
        if "id" in portable.columns(connection, table):
            connection.execute(
                text(
                    f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) "
                    f'FROM "{table}" HAVING max(id) IS NOT NULL'
                )
            )
