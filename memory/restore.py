"""A backup made into a database again, SQLite or PostgreSQL: `selves memory restore`.

What is there is kept beside the new database, which takes its place in one step when all rows have been read
back and are those of the backup. Keys come from a keys file, or from the database that is replaced. Whoever
was forgotten and whatever expired since the backup was made is erased again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, create_engine, func, inspect, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from memory import database
from memory.backup import Manifest, OnRows, open_backup, read_manifest
from memory.keys import Keys, keys_of_house
from memory.loading import load
from memory.models import Base, PersonKeyRow, PersonRow
from memory.store import Clock, Store, open_store, utc_now
from memory.upkeep import vacuum
from memory.whole import SIDES, private_file
from selves.errors import StoreError, UsageError


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of a restore."""

    rows: int
    people: int
    shut: int
    """People whose words cannot be read, since nobody had their key."""
    forgotten: tuple[str, ...]
    """People who were forgotten after the backup was made, and now again."""
    expired: int
    """Messages whose time had come since."""
    kept: str | None
    """Where the database is that was there before: a file, or a schema in PostgreSQL."""


@dataclass(frozen=True, slots=True)
class _Job:
    backup: Path
    manifest: Manifest
    url: URL
    keys: Keys | None
    clock: Clock
    on_rows: OnRows
    lock_wait_s: float


async def restore(
    backup: Path,
    database_url: str,
    *,
    replace: bool = False,
    keys: Keys | None = None,
    without_keys: bool = False,
    clock: Clock = utc_now,
    on_rows: OnRows = lambda _rows: None,
    lock_wait_s: float = 10.0,
) -> Restored:
    """Make a database of a backup.

    What is there already is an error unless `replace`, which keeps it beside. Its keys are used where `keys`
    gives none; that they cannot be read is an error unless `without_keys`. `on_rows` is told of every row
    twice. Raises StoreError, UsageError or DiskError; the database is then as it was.
    """
    from memory.migrations import known_versions

    url, manifest = database.parse_url(database_url), read_manifest(backup)
    if manifest.version not in known_versions():
        raise StoreError(
            f"{backup} was made by a newer version of Selves (schema {manifest.version})",
            "update Selves: pip install --upgrade selves",
        )
    if keys is not None and keys.house_id != manifest.house_id:
        raise UsageError(
            "these are the keys of another house", "name the file that this house's backups wrote"
        )
    there = await _is_there(url, lock_wait_s)
    if there and not replace:
        raise StoreError(
            f"there is a database {database.show(url)} already",
            "say --replace to put the backup in its place (the old one is kept beside it), "
            "or name another one in SELVES_DATABASE_URL",
        )
    if keys is None and there and not without_keys:
        keys = await _old_keys(database_url, manifest)
    job = _Job(backup, manifest, url, keys, clock, on_rows, lock_wait_s)
    into = _into_sqlite if url.get_backend_name() == "sqlite" else _into_postgresql
    return await into(job, there)


async def _is_there(url: URL, lock_wait_s: float) -> bool:
    """Whether there is something that must not be lost, a damaged database included."""
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "")
        if not path.exists() or (path.is_file() and path.stat().st_size == 0):
            return False
    engine = database.create_engine(url, lock_wait_s)
    try:
        with database.plain_errors(url):
            async with engine.connect() as connection:
                return await connection.run_sync(database.read_version, url) is not None
    except StoreError:
        if url.get_backend_name() == "postgresql":
            raise
        return True
    finally:
        await engine.dispose()


async def _old_keys(database_url: str, manifest: Manifest) -> Keys | None:
    """The keys of the database that is to be replaced; None if it is another house's."""
    try:
        async with open_store(database_url, create=False) as store, store.reading() as session:
            keys = await keys_of_house(session)
    except StoreError as error:
        raise StoreError(
            f"the keys of people's words cannot be had from the database that is there: {error.problem}",
            "name the keys file with --keys, or say --without-keys: people's words then stay shut",
        ) from error
    return keys if keys.house_id == manifest.house_id else None


def _load_from_file(connection: Connection, job: _Job) -> int:
    engine = open_backup(job.backup)
    try:
        with engine.connect() as backup:
            return load(connection, backup, job.manifest, job.keys, job.on_rows)
    finally:
        engine.dispose()


async def _into_sqlite(job: _Job, there: bool) -> Restored:
    path = Path(job.url.database or "")
    kept = None
    with private_file(path) as partial:
        url = job.url.set(database=str(partial))
        engine = database.create_engine(url, job.lock_wait_s)
        try:
            with database.plain_errors(url):
                async with database.writing(engine).begin() as connection:
                    erased = await connection.run_sync(_load_from_file, job)
        finally:
            await engine.dispose()
        forgotten, expired, people, shut = await _afterwards(job, f"sqlite:///{partial}", erased)
        if there:
            kept = str(_keep_beside(path, job))
    return Restored(job.manifest.rows, people, shut, forgotten, expired, kept)


def _keep_beside(path: Path, job: _Job) -> Path:
    """Give the old file a second name, under which it stays. Raises StoreError while somebody has it open."""
    names = (f"{path.stem}.before-{_stamp(job)}{again}{path.suffix}" for again in ("", *range(-2, -1000, -1)))
    kept = next(kept for name in names if not (kept := path.with_name(name)).exists())
    engine = create_engine(
        URL.create("sqlite", database=str(path)), connect_args={"timeout": job.lock_wait_s}
    )
    try:
        with engine.connect() as connection:
            # empties the log into the file; refused while any other process has it open
            connection.exec_driver_sql("PRAGMA journal_mode = DELETE")
    except DBAPIError as error:
        if not database.is_damaged(error):
            raise database.explain(error, job.url) from error
    finally:
        engine.dispose()
    # a log that a damaged file could not take would be taken for the new one's
    for side in SIDES:
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + side).rename(kept.with_name(kept.name + side))
    try:
        os.link(path, kept)
    except OSError:  # some file systems know no second names
        path.rename(kept)
    return kept


async def _into_postgresql(job: _Job, there: bool) -> Restored:
    kept = f"selves_before_{_stamp(job).lower()}" if there else None
    engine = database.create_engine(job.url, job.lock_wait_s)
    try:
        with database.plain_errors(job.url):
            async with engine.begin() as connection:
                if kept is not None:
                    await connection.run_sync(_move_tables, kept)
                erased = await connection.run_sync(_load_from_file, job)
    finally:
        await engine.dispose()
    address = job.url.render_as_string(hide_password=False)
    forgotten, expired, people, shut = await _afterwards(job, address, erased)
    return Restored(job.manifest.rows, people, shut, forgotten, expired, kept)


def _move_tables(connection: Connection, schema: str) -> None:
    """Move the house's tables into a schema of their own, with their indices, counters and functions."""
    connection.execute(text(f'CREATE SCHEMA "{schema}"'))
    ours = {*Base.metadata.tables, "alembic_version"}
    for table in inspect(connection).get_table_names():
        if table in ours:
            connection.execute(text(f'ALTER TABLE "{table}" SET SCHEMA "{schema}"'))
    functions = connection.scalars(
        text(
            "SELECT oid::regprocedure::text FROM pg_proc "
            r"WHERE pronamespace = current_schema()::regnamespace AND proname LIKE 'selves\_%'"
        )
    )
    for function in functions.all():
        connection.execute(text(f'ALTER FUNCTION {function} SET SCHEMA "{schema}"'))


def _stamp(job: _Job) -> str:
    return job.clock().strftime("%Y%m%dT%H%M%SZ")


async def _afterwards(job: _Job, address: str, erased: int) -> tuple[tuple[str, ...], int, int, int]:
    """Bring it up to date: the schema, and what was erased since; count the people, and those without key."""
    async with open_store(address, clock=job.clock) as store:
        forgotten = tuple([who async for who in _forget_again(store, job.keys)])
        expired = await store.expire(store.clock())
        if erased or forgotten or expired:
            await vacuum(store)  # so that the words leave the disk too
        async with store.reading() as session:
            people = await session.scalar(select(func.count(PersonRow.id))) or 0
            shut = await session.scalar(
                select(func.count(PersonRow.id)).where(
                    PersonRow.forgotten_at.is_(None), PersonRow.id.not_in(select(PersonKeyRow.person_id))
                )
            )
    return forgotten, expired, people, shut or 0


async def _forget_again(store: Store, keys: Keys | None) -> AsyncIterator[str]:
    gone = {(person.id, person.created_at) for person in keys.people if person.key is None} if keys else set()
    async with store.reading() as session:
        there = await session.scalars(select(PersonRow).where(PersonRow.forgotten_at.is_(None)))
        again = [person.pseudonym for person in there if (person.id, person.created_at) in gone]
    from memory.forget import forget

    for pseudonym in again:
        await forget(store, pseudonym)
        yield pseudonym
