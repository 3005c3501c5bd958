"""Proof that what is kept is whole: `selves memory check`.

Everything is read once: pages and indices by the database, rows by us. A row is wrong when it could not have
been written so: a scene with a gap, a nonce of another place, a prompt that is not what its hash says, words
of somebody who was forgotten.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, or_, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from memory import database, people, portable, rows
from memory.backup import OnRows, tables_kept
from memory.models import GenerationRow, HouseRow, MessageRow, PersonKeyRow, PersonRow, SceneRow
from memory.store import Store

AT_ONCE = 1000
SHOWN = 5
"""Ids that a problem names."""
INDICES = ("message_words", "generation_words")

Wrong = tuple[str, list[int]]
"""What is wrong, and the ids of the rows that are."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at, and what is wrong."""

    looked_at: dict[str, int]
    """Table -> rows; of messages and samples, those that were read."""
    shut: int
    """People's messages that cannot be read, as nobody has their key: after a restore without keys."""
    problems: tuple[str, ...]


PAGES, MESSAGES, SAMPLES, WORDS = "pages and pointers", "messages", "samples", "indices over words"
OnPart = Callable[[str, int], None]
"""Told of which part how much more was looked at."""


async def parts_to_check(store: Store, newest: int | None = None) -> dict[str, int]:
    """Return how much of each part `check` will tell of."""
    parts = {PAGES: 1}
    async with store.reading() as session:
        for part, model in ((MESSAGES, MessageRow), (SAMPLES, GenerationRow)):
            rows_there = await session.scalar(select(func.count(model.id))) or 0
            parts[part] = rows_there if newest is None else min(rows_there, newest)
    if newest is None and store.engine.dialect.name == "sqlite":
        parts[WORDS] = len(INDICES)
    return parts


async def check(
    store: Store, *, newest: int | None = None, on_part: OnPart = lambda _part, _more: None
) -> Report:
    """Look for everything that should not be. Others may go on, but for a moment when nobody can write.

    With `newest` only so many messages and samples are read, and SQLite's pages and indices are not compared
    with each other; then nobody waits. Raises StoreError when the database cannot be read at all.
    """
    wrong: list[Wrong] = []
    with database.plain_errors(store.url):
        async with store.engine.connect() as connection:
            sqlite = connection.dialect.name == "sqlite"
            look = partial(_sqlite, quick=newest is not None) if sqlite else _postgresql
            problems = await connection.run_sync(look)
            looked_at = {table: await connection.run_sync(portable.count, table) for table in tables_kept()}
    async with store.reading() as session:
        wrong += [await _scenes(session), *await _people(session)]
        shut = await _shut(session)
    on_part(PAGES, 1)
    looked_at["message"], found = await _each(
        store, _messages(store.house.house_id), newest, partial(on_part, MESSAGES)
    )
    wrong += found
    looked_at["generation"], found = await _each(store, _generations(), newest, partial(on_part, SAMPLES))
    wrong += found
    if sqlite and newest is None:
        async for problem in _indices(store, partial(on_part, WORDS)):
            problems.append(problem)
    return Report(looked_at, shut, (*problems, *_told(wrong)))


def _told(wrong: Iterable[Wrong]) -> Iterator[str]:
    together: dict[str, list[int]] = {}
    for what, ids in wrong:
        together.setdefault(what, []).extend(ids)
    for what, ids in together.items():
        if ids:
            more = f" and {len(ids) - SHOWN:,} more" if len(ids) > SHOWN else ""
            yield f"{what}: {', '.join(map(str, ids[:SHOWN]))}{more}"


def _sqlite(connection: Connection, *, quick: bool) -> list[str]:
    how = "quick_check" if quick else "integrity_check"
    found = connection.exec_driver_sql(f"PRAGMA {how}").scalars().all()
    pages = [f"a page is damaged: {line}" for line in found if line != "ok"]
    pointers = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    return pages + [
        f"row {row[1]} of {row[0]} points at a row of {row[2]} that is not there" for row in pointers
    ]


async def _indices(store: Store, on_rows: OnRows) -> AsyncIterator[str]:
    """Compare the indices over words with the words."""
    for index in INDICES:
        try:
            async with database.writing(store.engine).connect() as connection:
                await connection.exec_driver_sql(
                    f"INSERT INTO {index}({index}, rank) VALUES('integrity-check', 1)"
                )
        except DBAPIError as error:
            if not database.is_damaged(error):
                raise database.explain(error, store.url) from error
            yield f"the index {index} is not what the words say (`selves memory vacuum` makes it anew)"
        on_rows(1)


def _postgresql(connection: Connection) -> list[str]:
    invalid = connection.scalars(
        text(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid AND indrelid = ANY "
            "(SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace)"
        )
    )
    problems = [f"the index {name} is not valid" for name in invalid]
    for table in tables_kept():
        # the one row of `house` has its number from the migration
        if table != HouseRow.__tablename__ and "id" in portable.columns(connection, table):
            behind = connection.scalar(
                text(
                    "SELECT max(id) > coalesce(pg_sequence_last_value("
                    f"pg_get_serial_sequence('{table}', 'id')::regclass), 0) FROM \"{table}\""
                )
            )
            if behind:
                problems.append(f"the counter of {table} is behind its rows")
    return problems


async def _scenes(session: AsyncSession) -> Wrong:
    counted = (
        select(
            MessageRow.scene_id.label("scene"),
            func.count().label("messages"),
            func.min(MessageRow.sequence).label("first"),
            func.max(MessageRow.sequence).label("last"),
        )
        .group_by(MessageRow.scene_id)
        .subquery()
    )
    # numbers are unique in their scene, so as many as the last one says, from 1 on, have no gap
    gaps = (
        select(SceneRow.id)
        .join(counted, counted.c.scene == SceneRow.id, isouter=True)
        .where(
            or_(
                SceneRow.messages != func.coalesce(counted.c.messages, 0),
                counted.c.messages != counted.c.last,
                counted.c.first != 1,
            )
        )
        .order_by(SceneRow.id)
    )
    return "messages of a scene are missing", list(await session.scalars(gaps))


async def _people(session: AsyncSession) -> list[Wrong]:
    forgotten = select(PersonRow.id).where(PersonRow.forgotten_at.is_not(None))
    keys = select(PersonKeyRow.person_id).where(PersonKeyRow.person_id.in_(forgotten))
    words = select(MessageRow.id).where(MessageRow.person_id.in_(forgotten), MessageRow.text != "")
    return [
        ("a person who was forgotten still has a key", list(await session.scalars(keys))),
        ("a message of somebody who was forgotten still has words", list(await session.scalars(words))),
    ]


async def _shut(session: AsyncSession) -> int:
    return (
        await session.scalar(
            select(func.count(MessageRow.id)).where(
                MessageRow.person_id.is_not(None),
                MessageRow.text != "",
                MessageRow.person_id.not_in(select(PersonKeyRow.person_id)),
            )
        )
        or 0
    )


async def _each(store: Store, look: _Look, newest: int | None, on_rows: OnRows) -> tuple[int, list[Wrong]]:
    """Look at all rows of a table, or at the newest, some at a time; return how many, and what is wrong."""
    key = look.columns[0]
    wrong: list[Wrong] = []
    last = looked_at = 0
    if newest is not None:
        async with store.reading() as session:
            last = await session.scalar(select(key).order_by(key.desc()).offset(newest).limit(1)) or 0
    while True:
        # one session for some rows: who reads for a long time keeps SQLite's log from being emptied
        async with store.reading() as session:
            query = select(*look.columns).where(key > last).order_by(key).limit(AT_ONCE)
            found = (await session.execute(query)).all()
            if not found:
                return looked_at, wrong
            keys = await people.keys_of(session, look.people(found))
        wrong += look.wrong(found, keys)
        last = found[-1].id
        looked_at += len(found)
        on_rows(len(found))


class _Look(NamedTuple):
    """What is read of a table's rows (as whole objects they would take three times as long), and judged."""

    columns: Sequence[Any]
    people: Callable[[Sequence[Any]], set[int]]
    wrong: Callable[[Sequence[Any], rows.Keys], list[Wrong]]


def _messages(house_id: str) -> _Look:
    def wrong(found: Sequence[Any], keys: rows.Keys) -> list[Wrong]:
        nonces = [row.id for row in found if row.nonce != rows.nonce(house_id, row.scene_id, row.sequence)]
        sealed = [row for row in found if row.text and row.person_id in keys]
        shut = [row.id for row in sealed if rows.opened(row.text, [row.person_id], keys) is None]
        return [
            ("the nonce of a message is that of another place", nonces),
            ("a message does not open with its person's key (damaged, or restored without keys)", shut),
        ]

    row = MessageRow
    return _Look(
        (row.id, row.scene_id, row.sequence, row.nonce, row.person_id, row.text),
        lambda found: {row.person_id for row in found if row.person_id is not None},
        wrong,
    )


def _generations() -> _Look:
    def wrong(found: Sequence[Any], keys: rows.Keys) -> list[Wrong]:
        other, shut = [], []
        for row in found:
            prompt = rows.to_prompt(row, keys)
            if prompt is not None and prompt.sha256 != row.prompt_sha256:
                other.append(row.id)
            elif prompt is None and row.prompt is not None and keys.keys() >= set(row.prompt_sealed_by):
                shut.append(row.id)
        return [
            ("the prompt of a sample is not what its hash says", other),
            ("the prompt of a sample does not open with its people's keys", shut),
        ]

    row = GenerationRow
    return _Look(
        (
            row.id,
            row.form,
            row.prompt,
            row.prompt_sha256,
            row.prompt_sealed_by,
            row.prompt_message_ids,
            row.prompt_has_human,
        ),
        lambda found: {person for row in found for person in row.prompt_sealed_by or ()},
        wrong,
    )
