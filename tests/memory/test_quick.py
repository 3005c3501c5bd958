"""The driver of SQLite gives all rows, in order, whether they came along with the statement or not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from memory.database import open_database, parse_url
from memory.quick import AHEAD

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
