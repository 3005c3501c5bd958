"""The driver of SQLite gives all rows, in order, wherever the statement is executed, and loses no turn."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from memory.database import open_database, parse_url
from memory.quick import AHEAD, QuickConnection, connect
from memory.store import Store, open_store
from selves.errors import StoreError

ROWS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows) SELECT i FROM n"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    async with open_database(parse_url(f"sqlite:///{tmp_path / 'x.db'}"), create=True, lock_wait_s=5) as made:
        yield made


@pytest.mark.parametrize("rows", [1, AHEAD - 1, AHEAD, AHEAD + 1, 3 * AHEAD])
async def test_an_answer_of_any_length_is_whole(engine: AsyncEngine, rows: int) -> None:
    async with engine.connect() as connection:
        found = await connection.execute(text(ROWS), {"rows": rows})
        assert list(found.scalars()) == list(range(1, rows + 1))
        streamed = await connection.stream(text(ROWS), {"rows": rows})
        assert [number async for number in streamed.scalars()] == list(range(1, rows + 1))


async def test_who_stops_reading_a_long_answer_leaves_nothing_locked(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE things (i INTEGER)"))
        many = [{"i": number} for number in range(3 * AHEAD)]
        changed = await connection.execute(text("INSERT INTO things VALUES (:i)"), many)
        assert changed.rowcount == len(many)
    async with engine.connect() as connection:
        streamed = await connection.stream(text("SELECT i FROM things ORDER BY i"))
        assert (await streamed.first()) == (0,)
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE things"))


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[QuickConnection]:
    opened = connect(str(tmp_path / "x.db"), isolation_level=None)
    async with opened:
        await opened.create_function("thread", 0, threading.get_ident)
        yield opened


async def found(connection: QuickConnection, sql: str) -> object:
    return (await (await connection.cursor().execute(sql)).fetchone())[0]


async def test_only_what_is_brief_is_done_in_the_thread_that_asks(connection: QuickConnection) -> None:
    assert await found(connection, "SELECT thread()") != threading.get_ident()
    connection.is_brief = True
    assert await found(connection, "SELECT thread()") == threading.get_ident()


async def test_what_comes_after_something_broken_off_waits_for_it(connection: QuickConnection) -> None:
    connection.is_brief = True
    go_on = threading.Event()
    broken_off = asyncio.create_task(connection._execute(go_on.wait))
    await asyncio.sleep(0)
    broken_off.cancel()
    await asyncio.wait([broken_off])
    rollback = asyncio.create_task(connection.rollback())
    statement = asyncio.create_task(found(connection, "SELECT thread()"))
    await asyncio.sleep(0)
    assert not rollback.done()
    go_on.set()
    await rollback
    assert await statement != threading.get_ident()
    assert await found(connection, "SELECT thread()") == threading.get_ident()


async def test_writers_of_one_process_have_their_turns_and_do_not_wait_for_ever(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    async with open_store(url) as store:
        began: list[int] = []

        async def write(number: int) -> None:
            async with store.writing(brief=True) as session:
                began.append(number)
                await session.execute(text("UPDATE house SET guests = guests + 1"))

        await asyncio.gather(*map(write, range(50)))
        assert began == list(range(50))
    async with open_store(url, lock_wait_s=0.01) as store, store.writing():
        with pytest.raises(StoreError, match="is locked"):
            await write_into(store)


async def write_into(store: Store) -> None:
    async with store.writing():
        pass
