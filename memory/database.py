"""Opening a database, and saying in plain words why it cannot be used.

SQLite is set up so that several processes may write at once without losing or doubling anything:
write-ahead log, writers that wait for each other from their first statement on (BEGIN IMMEDIATE; with
SQLite's default two writers read the same newest sequence number), and erased text overwritten
(secure_delete).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from memory import quick
from memory.columns import dump_json
from selves.errors import StoreError

HEAD = "0003"
"""The newest migration; a database at this version opens without loading Alembic."""

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
_MIGRATION_LOCK = 0x5E1F
"""Key of PostgreSQL's advisory lock that a migrating process holds."""
FORGETTING_LOCK = 0x5E20
"""Key of the one that whoever keeps a turn shares, and that a forgetting holds alone before it ends."""


def parse_url(database_url: str) -> URL:
    """Read a SQLAlchemy URL for SQLite (a file) or PostgreSQL, filling in the driver. Raises StoreError."""
    examples = "use sqlite:////path/to/selves.db or postgresql://user:password@host/database"
    try:
        url = make_url(database_url)
    except ArgumentError as error:
        raise StoreError("the database URL cannot be read", examples) from error
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise StoreError(f"there is no way to store in {url.drivername!r}", examples)
    if driver == "sqlite+aiosqlite" and url.database in (None, "", ":memory:"):
        raise StoreError("a database in memory would forget everything", examples)
    return url.set(drivername=driver)


def create_engine(url: URL, lock_wait_s: float) -> AsyncEngine:
    """Return an engine whose connections are set up for several writers. Connects to nothing yet."""
    if url.get_backend_name() == "sqlite":
        engine = create_async_engine(
            url,
            json_serializer=dump_json,
            connect_args={"timeout": lock_wait_s, "isolation_level": None, "async_creator_fn": quick.connect},
        )
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    options = f"-c lock_timeout={int(lock_wait_s * 1000)} -c client_encoding=utf8"
    return create_async_engine(
        url, json_serializer=dump_json, connect_args={"options": options, "connect_timeout": 10}
    )


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("foreign_keys=ON", "synchronous=NORMAL", "secure_delete=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    driver: Any = connection.connection.driver_connection
    driver.is_brief = False
    begin = options.get("begin", "BEGIN")
    if begin:
        connection.exec_driver_sql(begin)
    driver.is_brief = options.get("brief", False)


def writing(engine: AsyncEngine) -> AsyncEngine:
    """Return the same engine for transactions that write: on SQLite they take the write lock first."""
    return engine.execution_options(begin="BEGIN IMMEDIATE")


def brief(engine: AsyncEngine) -> AsyncEngine:
    """Return the same engine for statements that find a few rows by an index, or write a few.

    On SQLite the event loop waits for them; see `quick`.
    """
    return engine.execution_options(brief=True)


def outside(engine: AsyncEngine) -> AsyncEngine:
    """Return the same engine for statements that may not be in a transaction."""
    return engine.execution_options(begin=None, isolation_level="AUTOCOMMIT")


def glancing(engine: AsyncEngine) -> AsyncEngine:
    """Return the same engine for single statements that read, which need no transaction."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(begin=None)
    return outside(engine)


@asynccontextmanager
async def open_database(url: URL, *, create: bool, lock_wait_s: float) -> AsyncIterator[AsyncEngine]:
    """Yield an engine on a database that is at this version's schema, made or migrated if need be.

    Raises StoreError when it is unreachable, locked, damaged, somebody else's or of a newer version.
    """
    if url.get_backend_name() == "sqlite":
        _make_file(url, create)
    with plain_errors(url):
        engine = create_engine(url, lock_wait_s)
    try:
        with plain_errors(url):
            await _make_current(engine, url, lock_wait_s)
        yield engine
    finally:
        await engine.dispose()


def _make_file(url: URL, create: bool) -> None:
    """Make an empty file that only its owner may read; SQLite gives its log the same permissions."""
    path = Path(url.database or "")
    if not create and not path.exists():
        raise StoreError(
            f"nothing is kept yet: there is no database {path}",
            "`selves scene play NAME` or `selves memory register` makes one; SELVES_HOME says where it is",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # a file that is there is never opened here: closing it again would drop this process's locks on it
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise StoreError(
            f"the database {path} cannot be made: {error.strerror or error}",
            "check SELVES_HOME or SELVES_DATABASE_URL, and the folder's permissions",
        ) from error


async def _make_current(engine: AsyncEngine, url: URL, lock_wait_s: float) -> None:
    if url.get_backend_name() == "sqlite":
        await _use_write_ahead_log(engine, lock_wait_s)
    async with engine.connect() as connection:
        if await connection.run_sync(read_version, url) == HEAD:
            return
    async with writing(engine).begin() as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        await connection.run_sync(_migrate_if_older, url)
    # what people said was sealed on the way, and was there in plain text before
    await empty_log(engine)


async def _use_write_ahead_log(engine: AsyncEngine, lock_wait_s: float) -> None:
    """Switch a new file to the write-ahead log.

    SQLite does not wait for other processes here, however long its busy timeout, so this waits itself.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + lock_wait_s
    async with outside(engine).connect() as connection:
        while True:
            try:
                await connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                return
            except DBAPIError as error:
                if not _is_locked(error) or clock() > deadline:
                    raise
                await asyncio.sleep(0.01)


def read_version(connection: Connection, url: URL) -> str | None:
    """Return the schema version, or None for an empty database. Raises StoreError if it is not ours."""
    tables = inspect(connection).get_table_names()
    if "alembic_version" in tables:
        version: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        return version
    if tables:
        raise StoreError(
            f"{show(url)} holds other things ({', '.join(tables[:3])}), not a Selves database",
            "name another database in SELVES_DATABASE_URL",
        )
    return None


def _migrate_if_older(connection: Connection, url: URL) -> None:
    # asked again: another process may have migrated while this one waited for the lock
    version = read_version(connection, url)
    if version == HEAD:
        return
    from memory.migrations import known_versions, upgrade

    if version is not None and version not in known_versions():
        raise StoreError(
            f"{show(url)} was written by a newer version of Selves (schema {version}; this one knows {HEAD})",
            "update Selves: pip install --upgrade selves",
        )
    upgrade(connection)


def show(url: URL) -> str:
    """Return a URL as people may see it: without its password; for SQLite the file's path."""
    return url.database or "" if url.get_backend_name() == "sqlite" else url.render_as_string()


@contextmanager
def plain_errors(url: URL) -> Iterator[None]:
    """Turn what the database's drivers raise into a StoreError that says what to do."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in ("psycopg", "psycopg_binary"):
            raise
        raise StoreError("PostgreSQL needs the package psycopg", 'pip install "selves[postgres]"') from error
    except (TimeoutError, PoolTimeoutError) as error:
        raise StoreError(
            f"the database {show(url)} does not answer", "is it running and reachable?"
        ) from error
    except DBAPIError as error:
        raise explain(error, url) from error
    except OverflowError as error:  # SQLite's driver, for a whole number of more than 64 bits
        raise StoreError("nothing here has so large a number", "check the number that was given") from error


def _is_locked(error: DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_damaged(error: DBAPIError) -> bool:
    """Whether SQLite says that what it read is damaged, or is no database."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def explain(error: DBAPIError, url: URL) -> StoreError:
    """Say in plain words what a driver's error means for the database at `url`."""
    name = show(url)
    if url.get_backend_name() == "sqlite":
        if _is_locked(error):
            return locked(url)
        problem, fix = _explain_sqlite(error, name)
    else:
        problem, fix = _explain_postgresql(error, name)
    return StoreError(problem, fix)


def locked(url: URL) -> StoreError:
    """Return what to say when another writer does not come to an end."""
    return StoreError(
        f"the database {show(url)} is locked: another program has been writing to it for too long",
        "close the other program (an open editor such as `sqlite3` or DB Browser?) and try again",
    )


def _explain_sqlite(error: DBAPIError, name: str) -> tuple[str, str]:
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    match code:
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return (
                f"the database {name} could not be written, the disk is full or failing ({error.orig}); "
                "what was kept before is untouched",
                "free some space and run the same command again",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return (
                f"the database {name} is damaged, or is no database ({error.orig})",
                "restore it from a backup; until then move the file away and a new one is made",
            )
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return (
                f"the database {name} cannot be opened for writing ({error.orig})",
                "check the permissions of the file and of its folder, which must be writable too",
            )
        case _:
            return f"the database {name} refused: {error.orig}", ""


def _explain_postgresql(error: DBAPIError, name: str) -> tuple[str, str]:
    state: str = getattr(error.orig, "sqlstate", None) or ""
    detail = str(error.orig).strip()
    match state[:2], state:
        case _, "55P03":
            return (
                f"the database {name} is locked: another program has been writing to it for too long",
                "close the other program and try again",
            )
        case "53", _:
            return (
                f"the database {name} is out of resources ({detail}); what was kept before is untouched",
                "free disk space or connections on the server and run the same command again",
            )
        # a connection that was refused has no code, only words
        case "", _ if "password" in detail or "authentication" in detail or "role " in detail:
            return (
                f"the database {name} refuses the login ({detail})",
                "check user and password in SELVES_DATABASE_URL",
            )
        case "", _ if "does not exist" in detail:
            return f"there is no database {name} ({detail})", "make it first: `createdb NAME`"
        case (("" | "08" | "57"), _):
            return (
                f"the database {name} cannot be reached ({detail})",
                "is PostgreSQL running there? Check SELVES_DATABASE_URL",
            )
        case "XX", _:
            return f"the database {name} is damaged ({detail})", "restore it from a backup"
        case _:
            return f"the database {name} refused: {detail}", ""


async def empty_log(engine: AsyncEngine) -> bool:
    """Make text that was erased leave SQLite's log too, and return whether it did.

    It cannot while another process is reading from the log. In the file itself it was overwritten
    (secure_delete). PostgreSQL reuses the old rows' space by itself; its own log and backups turn over by
    their own settings.
    """
    if engine.dialect.name == "sqlite":
        async with outside(engine).connect() as connection:
            busy, *_ = (await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")).one()
            return not busy
    return True
