"""The schema's history leads to the tables that the code uses, and back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from memory import database, migrations
from memory.columns import escape
from memory.models import Base, is_of_the_models
from memory.rows import user_hash
from memory.store import open_store
from tests.memory.parts import SPEC, every_cell, sqlite_bytes


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


SECRET = "the blue teapot \x00 of Wilhelmina's grandmother"
OLDER = (
    "INSERT INTO person (platform, user_hash, pseudonym, created_at) "
    "VALUES ('discord', :hash, 'guest-1', '2026-05-01 12:00:00')",
    "UPDATE house SET guests = 1",
    "INSERT INTO scene (name, kind, place, premise, spec, status, messages, turns, started_at) VALUES "
    "('meeting', 'conversation', 'terminal', '', :spec, 'open', 5, 1, '2026-05-01 12:00:00')",
    *(
        "INSERT INTO generation (kind, address, weights_sha256, engine, engine_version, form, prompt, "
        "prompt_sha256, prompt_message_ids, prompt_has_human, sampling, seed, text, token_ids, "
        "finish_reason, started_at, duration_s, scene_id, turn, speaker, chosen) VALUES "
        f"('turn', 'ember@base-000400', :sha, 'embedded', '0.1.0', 'transcript', {prompt}, :sha, "
        f"'{ids}', {has_human}, '{{}}', 0, 'Yes.', '[1, 2]', 'stop', '2026-05-01 12:00:00', 0.5, 1, 1, "
        f"'Ember', {chosen})"
        for prompt, ids, has_human, chosen in (
            (":secret", "[1, 2, 3]", "true", "true"),
            ("'somebody said'", "[]", "true", "false"),
            ("'no person'", "[1]", "false", "false"),
            ("NULL", "[2]", "true", "false"),
        )
    ),
    *(
        "INSERT INTO message (scene_id, sequence, speaker, person_id, origin, text, generation_id, "
        "nonce, place, status, created_at) VALUES "
        f"(1, {row}, '{speaker}', {person}, '{origin}', {words}, {sample}, 'n{row}', 'terminal', "
        "'posted', '2026-05-01 12:00:00')"
        for row, speaker, person, origin, words, sample in (
            (1, "Operator", "NULL", "operator", "'Begin.'", "NULL"),
            (2, "guest-1", 1, "discord", ":secret", "NULL"),
            (3, "Wilhelmina", "NULL", "parlor", ":secret", "NULL"),
            (4, "Ember", "NULL", "self", "'Yes.'", 1),
            (5, "Wilhelmina", "NULL", "parlor", "''", "NULL"),
        )
    ),
)
"""What a house of version 0001 may hold: people's words in plain text."""


async def test_what_people_said_to_an_older_version_is_sealed_and_opened_again_on_the_way_back(
    engine: AsyncEngine, empty_url: str
) -> None:
    def make_older(connection: Connection) -> None:
        migrations.upgrade(connection, "0001")
        secret = connection.execute(text("SELECT secret FROM house")).scalar_one()
        values = {
            "hash": user_hash(secret, "discord", 5),
            "spec": SPEC.model_dump_json(),
            "sha": "a" * 64,
            "secret": escape(SECRET),
        }
        for statement in OLDER:
            connection.execute(text(statement), values)

    async with database.writing(engine).begin() as connection:
        await connection.run_sync(make_older)
    before = every_cell(empty_url)
    assert "teapot" in before

    async with open_store(empty_url) as store:
        assert "teapot" not in every_cell(empty_url)
        assert b"teapot" not in (sqlite_bytes(empty_url) or b"")
        messages = await store.messages(1)
        assert [m.text for m in messages] == ["Begin.", SECRET, SECRET, "Yes.", ""]
        assert [m.person_id for m in messages] == [None, 1, 2, None, 2]
        samples = await store.generations(1)
        assert [g.prompt.text if g.prompt else None for g in samples] == [
            SECRET,
            "somebody said",
            "no person",
            None,
        ]
        assert [g.prompt_origins for g in samples] == [
            ("discord", "operator", "parlor"),
            None,
            ("operator",),
            ("discord",),
        ]
        again = await store.say(1, speaker="Wilhelmina", text="It is me.", origin="parlor")
        assert again.person_id == 2

    async with database.writing(engine).begin() as connection:
        await connection.execute(text(f"DELETE FROM message WHERE id = {again.id}"))
        await connection.run_sync(migrations.downgrade, "0001")
        await connection.execute(text("UPDATE house SET guests = 1"))
        await connection.execute(text("UPDATE scene SET messages = 5"))
    assert every_cell(empty_url).replace("0002", "0001") == before


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
