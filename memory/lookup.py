"""Which rows have the words and facts that are asked for, newest first, at a cost that follows the result.

SQLite's index gives them in that order, and is read no further than needed. PostgreSQL's gives all of them
at once in no order, which for a common word is half of the table. So there the rows are looked through from
the newest on, a stretch at a time: the first and short one row by row, where a common word is found at once,
the others through the index, each sixteen times as long as the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, column, func, literal, literal_column, select, table, union_all
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from memory.index import Facts, to_fts5, to_tsquery
from memory.models import GenerationRow, MessageRow
from memory.query import Query

Condition = ColumnElement[bool]

FIRST_STRETCH = 300
"""Rows that PostgreSQL looks at one by one, at about 25 millionths of a second each."""
LONGER = 16


class Shelf(NamedTuple):
    """A table whose words are in an index, as the migration has it."""

    row: type[MessageRow] | type[GenerationRow]
    readable: Condition
    """Which of its rows are in the index."""
    words: Callable[[Any], ColumnElement[Any]]
    """What of a row PostgreSQL's index is made of."""


LINES = Shelf(
    MessageRow,
    MessageRow.person_id.is_(None),
    lambda row: func.selves_words(row.text, row.address, row.speaker, row.origin, row.created_at),
)
SAMPLES = Shelf(
    GenerationRow,
    ~GenerationRow.chosen,
    lambda row: func.selves_words(row.text, row.address, row.speaker, row.kind, row.started_at),
)


async def newest(
    session: AsyncSession,
    shelf: Shelf,
    query: Query | None,
    facts: Facts,
    conditions: Sequence[Condition],
    *,
    below: int,
    above: int = 0,
    most: int,
) -> list[int]:
    """Return up to `most` ids of rows with these words and facts, below one id and above another, newest
    first. Fewer only when there are no more.
    """
    key = shelf.row.id
    if query is None and not facts:
        plain = select(key).where(shelf.readable, key < below, key > above, *conditions)
        return list(await session.scalars(plain.order_by(key.desc()).limit(most)))
    if session.get_bind().dialect.name == "sqlite":
        return await _sqlite(session, shelf, to_fts5(query, facts), conditions, below, above, most)
    return await _postgresql(session, shelf, to_tsquery(query, facts), conditions, below, above, most)


async def among(
    session: AsyncSession,
    shelf: Shelf,
    conditions: Sequence[Condition],
    *,
    below: int,
    above: int = 0,
    most: int,
) -> list[int]:
    """Return ids like `newest`, when the conditions name few rows by their ids: those are looked at first."""
    # sums have no index
    key = shelf.row.id + 0
    inside = [shelf.readable, key > above, key < below, *conditions]
    return list(await session.scalars(select(shelf.row.id).where(*inside).order_by(key.desc()).limit(most)))


async def _sqlite(
    session: AsyncSession,
    shelf: Shelf,
    asked: str,
    conditions: Sequence[Condition],
    below: int,
    above: int,
    most: int,
) -> list[int]:
    name = f"{shelf.row.__tablename__}_words"
    words = table(name, column("rowid"))
    found = select(words.c.rowid).where(
        literal_column(name).op("MATCH")(asked), words.c.rowid < below, words.c.rowid > above
    )
    if conditions:
        found = found.join(shelf.row, shelf.row.id == words.c.rowid).where(*conditions)
    return list(await session.scalars(found.order_by(words.c.rowid.desc()).limit(most)))


async def _postgresql(
    session: AsyncSession,
    shelf: Shelf,
    asked: str,
    conditions: Sequence[Condition],
    below: int,
    above: int,
    most: int,
) -> list[int]:
    key = shelf.row.id
    # behind a SELECT its value is not known to the planner, which would take a phrase for something rare
    wanted = select(literal(asked).cast(TSQUERY)).scalar_subquery()
    stretches: list[Select[tuple[int]]] = []
    for lowest, end in _stretches(below, above):
        inside = (shelf.readable, key >= lowest, key < end)
        if not stretches:
            # with an offset, even of nothing, this is done first and the words are compared row by row
            rows = select(shelf.row).where(*inside, *conditions).order_by(key.desc()).offset(0).subquery()
            row = aliased(shelf.row, rows)
            ids = select(row.id).where(shelf.words(row).op("@@")(wanted)).order_by(row.id.desc())
        else:
            # ordered by a sum, which no index has, so that the index over words is used
            has = shelf.words(shelf.row).op("@@")(wanted)
            ids = select(key).where(*inside, has, *conditions).order_by((key + 0).desc())
        stretches.append(ids.limit(most).subquery().select())
    if not stretches:
        return []
    # one after another, and none of them when those before had enough
    return list(await session.scalars(union_all(*stretches).limit(most)))


def _stretches(below: int, above: int) -> Iterator[tuple[int, int]]:
    """Yield from which id to below which each stretch goes, the newest first."""
    length = FIRST_STRETCH
    while below > above + 1:
        lowest = max(above + 1, below - length)
        yield lowest, below
        below, length = lowest, length * LONGER
