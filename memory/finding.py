"""What a search reads, newest first: lines, samples that became no line, and people's lines.

Each stream is read a batch at a time, so that what is read follows what is shown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, cast

from sqlalchemy import case, func, literal, null, select
from sqlalchemy.ext.asyncio import AsyncSession

from memory.filters import LETTERS, Condition, Filters, facts, facts_of, of_lines, of_samples
from memory.index import Facts
from memory.lookup import LINES, SAMPLES, Shelf, among, newest
from memory.models import GenerationRow, MessageRow, SceneRow
from memory.people import read_messages
from memory.query import Query, matches, plain_words

OPENED_AT_ONCE = 500
"""People's lines in one batch."""
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """A text that meets what was asked for."""

    kind: str
    message_id: int | None
    """None for a sample that became no line."""
    generation_id: int | None
    """None for what no self said."""
    scene_id: int | None
    scene_kind: str | None
    speaker: str | None
    address: str | None
    origin: str
    at: datetime
    text: str


class Stream:
    """One of the three, from below an id on; below 0 nothing is left of it."""

    row: ClassVar[type[MessageRow] | type[GenerationRow]] = MessageRow

    def __init__(self, query: Query | None, filters: Filters, below: int) -> None:
        self._query = query
        self._filters = filters
        self._read_below = below
        self._taken_below = below
        self._waiting: deque[Found] = deque()
        self._above = 0
        self._begun = False

    async def first(self, session: AsyncSession, batch: int) -> Found | None:
        """Return the newest that was not taken, None when nothing is left; read only so much at once."""
        while not self._waiting and self._read_below != 0 and self.goes_on:
            if not self._begun:
                await self._begin(session)
                self._begun = True
            found, self._read_below = await self._read(session, self._read_below, min(batch, BATCH))
            self._waiting += found
        return self._waiting[0] if self._waiting else None

    def take(self) -> Found:
        """Take the one that `first` returned."""
        found = self._waiting.popleft()
        self._taken_below = self._id(found)
        return found

    @property
    def below(self) -> int:
        """Where to go on another time."""
        return self._taken_below if self._waiting else self._read_below

    @property
    def goes_on(self) -> bool:
        """Whether more may be read in this search."""
        return True

    @property
    def stopped(self) -> bool:
        """Whether something is left that may not be read in this search."""
        return not self._waiting and self._read_below != 0 and not self.goes_on

    def _id(self, found: Found) -> int:
        return cast(int, found.message_id)

    async def _begin(self, session: AsyncSession) -> None:
        """Look only where the scene is that is asked for."""
        if self._filters.scene is None:
            return
        row = self.row
        span = select(func.min(row.id), func.max(row.id)).where(row.scene_id == self._filters.scene)
        first, last = cast(tuple[int | None, int | None], (await session.execute(span)).one())
        if first is None or last is None:
            self._read_below = 0
            return
        self._above = first - 1
        self._read_below = min(self._read_below, last + 1)

    async def _read(self, session: AsyncSession, below: int, most: int) -> tuple[list[Found], int]:
        """Return the next batch, and below which id to go on."""
        raise NotImplementedError


class Indexed(Stream):
    """Words that are in an index; the few that an editor picked are read themselves."""

    shelf: ClassVar[Shelf]

    def __init__(self, query: Query | None, filters: Filters, below: int, now: datetime) -> None:
        super().__init__(query, filters, below)
        row = self.row
        self._facts: Facts = facts(filters, now, samples=row is GenerationRow)
        self._conditions = of_samples(filters) if row is GenerationRow else of_lines(filters)
        if filters.marks:
            self._conditions += facts_of(filters, row)
        if query is None:
            self._conditions.append(row.text != "")

    async def _read(self, session: AsyncSession, below: int, most: int) -> tuple[list[Found], int]:
        span = {"below": below, "above": self._above, "most": most}
        if self._filters.marks:
            ids = await among(session, self.shelf, self._conditions, **span)
        else:
            ids = await newest(session, self.shelf, self._query, self._facts, self._conditions, **span)
        found = await self._load(session, ids) if ids else []
        if self._filters.marks:
            found = [one for one in found if _meets(one, self._query)]
        return found, ids[-1] if len(ids) == most else 0

    async def _load(self, session: AsyncSession, ids: Sequence[int]) -> list[Found]:
        """Return the texts with these ids, newest first."""
        raise NotImplementedError


class Lines(Indexed):
    """Lines of selves and the operator."""

    shelf = LINES

    async def _load(self, session: AsyncSession, ids: Sequence[int]) -> list[Found]:
        row = MessageRow
        columns = (
            row.id,
            row.generation_id,
            row.scene_id,
            SceneRow.kind,
            row.speaker,
            row.address,
            row.origin,
            row.created_at,
            row.text,
        )
        query = select(*columns).join(SceneRow, SceneRow.id == row.scene_id)
        found = await session.execute(query.where(row.id.in_(ids)).order_by(row.id.desc()))
        return [Found("letter" if line[3] in LETTERS else "line", *line) for line in found]


class Samples(Indexed):
    """Writings and candidates."""

    shelf = SAMPLES
    row = GenerationRow

    def _id(self, found: Found) -> int:
        return cast(int, found.generation_id)

    async def _load(self, session: AsyncSession, ids: Sequence[int]) -> list[Found]:
        row = GenerationRow
        kind = case((row.turn.is_(None), row.kind), else_="candidate")
        columns = (
            kind,
            null(),
            row.id,
            row.scene_id,
            SceneRow.kind,
            row.speaker,
            row.address,
            literal("self"),
            row.started_at,
            row.text,
        )
        query = select(*columns).join(SceneRow, SceneRow.id == row.scene_id, isouter=True)
        found = await session.execute(query.where(row.id.in_(ids)).order_by(row.id.desc()))
        return [Found(*sample) for sample in found]


class Sealed(Stream):
    """People's lines, opened one by one; at most so many in one search."""

    def __init__(self, query: Query | None, filters: Filters, below: int, most_opened: int) -> None:
        super().__init__(query, filters, below)
        self.opened = 0
        self._most_opened = most_opened
        self._conditions = [*of_lines(filters), *facts_of(filters, MessageRow)]

    @property
    def goes_on(self) -> bool:
        return self.opened < self._most_opened

    async def _read(self, session: AsyncSession, below: int, most: int) -> tuple[list[Found], int]:
        most = OPENED_AT_ONCE  # whatever is asked for: few of them may be what is looked for
        key = MessageRow.id
        conditions = [MessageRow.person_id.is_not(None), key < below, key > self._above, *self._conditions]
        asked = select(key).where(*conditions).order_by(key.desc())
        ids = list(await session.scalars(asked.limit(most)))
        found = await read_lines(session, key.in_(ids), most) if ids else []
        self.opened += len(ids)
        met = [f for f in found if f.text and _meets(f, self._query)]
        return met, ids[-1] if len(ids) == most else 0


def _meets(found: Found, query: Query | None) -> bool:
    return query is None or matches(query, plain_words(found.text))


async def newest_of_all(session: AsyncSession) -> tuple[int, int]:
    """Return below which ids all messages and all samples are."""
    message, generation = select(func.max(MessageRow.id)), select(func.max(GenerationRow.id))
    newest = await session.execute(select(message.scalar_subquery(), generation.scalar_subquery()))
    last = cast(tuple[int | None, int | None], newest.one())
    return (last[0] or 0) + 1, (last[1] or 0) + 1


async def read_lines(session: AsyncSession, condition: Condition, most: int) -> list[Found]:
    """Return the newest lines that meet a condition, opened, newest first."""
    query = (
        select(MessageRow, SceneRow.kind)
        .join(SceneRow, SceneRow.id == MessageRow.scene_id)
        .where(condition)
        .order_by(MessageRow.id.desc())
        .limit(most)
    )
    rows: Sequence[Any] = (await session.execute(query)).all()
    messages = await read_messages(session, [row for row, _ in rows])
    return [
        Found(
            kind="letter" if scene_kind in LETTERS else "line",
            message_id=message.id,
            generation_id=message.generation_id,
            scene_id=message.scene_id,
            scene_kind=scene_kind,
            speaker=message.speaker,
            address=message.address,
            origin=message.origin,
            at=message.created_at,
            text=message.text,
        )
        for message, (_, scene_kind) in zip(messages, rows, strict=True)
    ]
