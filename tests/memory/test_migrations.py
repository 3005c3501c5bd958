"""The schema's history leads to the tables that the code uses, and back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import AsyncEngine

from memory import database, migrations
from memory.models import Base, is_of_the_models
from memory.store import open_store
from tests.memory.parts import SPEC


@pytest.fixture
async def engine(empty_url: str) -> AsyncIterator[AsyncEngine]:
    made = database.create_engine(database.parse_url(empty_url), lock_wait_s=5)
    yield made
    await made.dispose()


async def test_the_newest_migration_is_what_the_code_expects() -> None:
    assert migrations.newest_version() == database.HEAD
    assert database.HEAD in migrations.known_versions()


async def test_tables_and_migrations_agree(engine: AsyncEngine) -> None:
    def differences(connection: Connection) -> Any:
        migrations.upgrade(connection)
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_object": is_of_the_models,
            },
        )
        return compare_metadata(context, Base.metadata)

    async with database.writing(engine).begin() as connection:
        assert await connection.run_sync(differences) == []


async def test_migrations_lead_up_and_down_and_up_again(engine: AsyncEngine, empty_url: str) -> None:
    def tables(connection: Connection) -> set[str]:
        names = inspect(connection).get_table_names()
        return {name for name in names if name != "alembic_version" and "_words" not in name}

    async with database.writing(engine).begin() as connection:
        await connection.run_sync(migrations.upgrade)
        assert await connection.run_sync(tables) == set(Base.metadata.tables)
    async with database.writing(engine).begin() as connection:
        await connection.run_sync(migrations.downgrade, "base")
        assert await connection.run_sync(tables) == set()
    async with open_store(empty_url) as store:
        await store.begin_scene(SPEC, place="terminal")


async def test_a_migration_that_fails_leaves_nothing_behind(engine: AsyncEngine, empty_url: str) -> None:
    async def fail() -> None:
        async with database.writing(engine).begin() as connection:
            await connection.run_sync(migrations.upgrade)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        await fail()
    async with engine.connect() as connection:
        assert await connection.run_sync(lambda c: inspect(c).get_table_names()) == []
    async with open_store(empty_url) as store:
        assert await store.scenes() == []


def test_a_current_database_opens_without_loading_alembic(database_url: str) -> None:
    script = (
        "import asyncio, sys\n"
        "from memory.store import open_store\n"
        "async def main():\n"
        f"    async with open_store({database_url!r}) as store: await store.stats()\n"
        "asyncio.run(main())\n"
        "sys.exit('alembic' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
