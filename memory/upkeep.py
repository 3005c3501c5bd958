"""Housekeeping: `selves memory migrate|vacuum`."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select, text

from memory import database
from memory.check import INDICES
from memory.models import Base, GenerationRow, HeardInRow, MessageRow, PersonRow
from memory.people import set_all
from memory.store import Store, open_store

LOCK_WAIT_S = 60.0
"""A migration may have to wait for a whole transaction of another program."""


async def migrate(database_url: str) -> str:
    """Bring a database to this version's schema; return the version it had before.

    Raises StoreError if there is none, or if it is newer than this Selves.
    """
    url = database.parse_url(database_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        async with open_store(database_url, create=False):
            pass  # says that there is none
    engine = database.create_engine(url, LOCK_WAIT_S)
    try:
        with database.plain_errors(url):
            async with engine.connect() as connection:
                before = await connection.run_sync(database.read_version, url)
    finally:
        await engine.dispose()
    async with open_store(database_url, lock_wait_s=LOCK_WAIT_S):
        return before or "none"


async def vacuum(store: Store) -> tuple[int, int]:
    """Give space back to the disk and bring indices and statistics up to date; return bytes before and after.

    Prompts that nobody can open since somebody was forgotten are dropped. Everything is written anew, which
    takes as much space again meanwhile, and others wait. Raises StoreError.
    """
    before = (await store.stats()).size_bytes
    await _drop_shut_prompts(store)
    with database.plain_errors(store.url):
        async with database.outside(store.engine).connect() as connection:
            if connection.dialect.name == "sqlite":
                for index in INDICES:
                    await connection.exec_driver_sql(f"INSERT INTO {index}({index}) VALUES ('rebuild')")
                for statement in ("VACUUM", "ANALYZE"):
                    await connection.exec_driver_sql(statement)
            else:
                for table in Base.metadata.tables:
                    await connection.execute(text(f'VACUUM (FULL, ANALYZE) "{table}"'))
    await database.empty_log(store.engine)
    return before, (await store.stats()).size_bytes


async def _drop_shut_prompts(store: Store) -> None:
    heard = (
        select(HeardInRow.generation_id)
        .join(MessageRow, MessageRow.id == HeardInRow.message_id)
        .join(PersonRow, PersonRow.id == MessageRow.person_id)
        .where(PersonRow.forgotten_at.is_not(None))
    )
    sealed = select(GenerationRow.id, GenerationRow.prompt_sealed_by).where(
        GenerationRow.id.in_(heard), text("prompt IS NOT NULL AND prompt_sealed_by IS NOT NULL")
    )
    async with store.writing() as session:
        forgotten = set(
            await session.scalars(select(PersonRow.id).where(PersonRow.forgotten_at.is_not(None)))
        )
        shut = [
            row.id for row in await session.execute(sealed) if not forgotten.isdisjoint(row.prompt_sealed_by)
        ]
        await set_all(session, GenerationRow, shut, prompt=None)
