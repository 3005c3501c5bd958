"""A copy of everything in one file, made while the house is running: `selves memory backup`.

The file is a SQLite database, whatever the house's own is: so it is also the way from SQLite to PostgreSQL
and back. It has no keys (`keys.py`), so people's words in it are open only to who has those too, and no index
over words, which `restore.py` makes anew.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from memory import database, portable
from memory.keys import keys_of_house, write_keys
from memory.models import Base
from memory.portable import Digest, Hasher
from memory.store import Store
from memory.whole import private_file
from selves.errors import StoreError
from selves.speech import Frozen

MANIFEST = "backup"
"""The table in a backup that says what is in it."""
OnRows = Callable[[int], None]
"""Told how many more rows were copied."""

_ONE_MOMENT: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
"""In SQLite every transaction sees one moment."""


class Manifest(Frozen):
    """What a backup says of itself."""

    house_id: str
    version: str
    """Of the schema."""
    made_at: datetime
    tables: dict[str, Digest]
    """In the order in which they can be filled: what is pointed at comes first."""

    @property
    def rows(self) -> int:
        return sum(digest.rows for digest in self.tables.values())


def tables_kept() -> list[str]:
    """Return the names of all tables that are in a backup, in the order in which they can be filled."""
    return [table.name for table in Base.metadata.sorted_tables if table.name != portable.KEPT_APART]


def insert_sql(table: str, columns: list[str]) -> str:
    """Return the INSERT into a SQLite table."""
    names = ", ".join(f'"{name}"' for name in columns)
    return f'INSERT INTO "{table}" ({names}) VALUES ({", ".join("?" * len(columns))})'


async def count_rows(store: Store) -> int:
    """Return how many rows a backup would have now."""
    with database.plain_errors(store.url):
        async with store.engine.connect() as connection:
            return sum([await connection.run_sync(portable.count, table) for table in tables_kept()])


async def back_up(
    store: Store, target: Path, *, keys: Path | None = None, on_rows: OnRows = lambda _rows: None
) -> Manifest:
    """Write everything as it is at one moment to `target`, and the keys to `keys`; return what was written.

    Others may go on writing. An older backup at `target` is replaced when the new one is whole. Raises
    StoreError or DiskError; what was at `target` is then untouched.
    """
    if target.exists():
        read_manifest(target)  # never over something else
    with private_file(target) as partial:
        url = URL.create("sqlite", database=str(partial))
        engine = create_engine(url)
        try:
            with database.plain_errors(store.url):
                async with store.engine.connect() as connection:
                    if connection.dialect.name == "postgresql":
                        await connection.execution_options(**_ONE_MOMENT)
                    manifest = await connection.run_sync(
                        _copy, engine, store.house.house_id, store.clock(), on_rows
                    )
        finally:
            engine.dispose()
    if keys is not None:
        async with store.reading() as session:
            write_keys(keys, await keys_of_house(session))
    return manifest


def _copy(source: Connection, engine: Engine, house_id: str, made_at: datetime, on_rows: OnRows) -> Manifest:
    tables: dict[str, Digest] = {}
    with database.plain_errors(engine.url):
        target = engine.connect()
    try:
        for name in tables_kept():
            # no foreign keys: the rows are checked when they come into a database again
            _write(
                target,
                str(
                    CreateTable(Base.metadata.tables[name], include_foreign_key_constraints=[]).compile(
                        engine
                    )
                ),
            )
            insert, hasher = insert_sql(name, portable.columns(source, name)), Hasher()
            for rows in portable.read(source, name):
                _write(target, insert, rows)
                hasher.add(rows)
                on_rows(len(rows))
            tables[name] = hasher.digest()
        manifest = Manifest(house_id=house_id, version=database.HEAD, made_at=made_at, tables=tables)
        _write(target, f"CREATE TABLE {MANIFEST} (manifest TEXT NOT NULL)")
        _write(target, f"INSERT INTO {MANIFEST} VALUES (?)", (manifest.model_dump_json(),))
        with database.plain_errors(engine.url):
            target.commit()
    finally:
        target.close()
    return manifest


def _write(target: Connection, statement: str, rows: Any = ()) -> None:
    with database.plain_errors(target.engine.url):
        target.exec_driver_sql(statement, rows)


def open_backup(path: Path) -> Engine:
    """Return an engine on a backup that changes nothing in it."""
    return create_engine(f"sqlite:///file:{_quoted(path)}?mode=ro&immutable=1&uri=true")


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def read_manifest(path: Path) -> Manifest:
    """Return what a backup says of itself. Raises StoreError if it is none, or damaged."""
    if not path.is_file():
        raise StoreError(f"there is no backup {path}", "`selves memory backup` makes one")
    engine = open_backup(path)
    try:
        with engine.connect() as connection:
            tables = portable.tables(connection)
            if MANIFEST not in tables:
                what = "a database" if "alembic_version" in tables else "something else"
                raise StoreError(
                    f"{path} is {what}, not a backup",
                    "`selves memory backup FILE` makes one; SELVES_DATABASE_URL names the database to use",
                )
            return Manifest.model_validate_json(
                connection.exec_driver_sql(f"SELECT manifest FROM {MANIFEST}").scalar_one()
            )
    except DBAPIError as error:
        raise StoreError(
            f"{path} is no backup, or is damaged ({error.orig})",
            "name a file that `selves memory backup` made",
        ) from error
    finally:
        engine.dispose()
