"""Finding what was said: words, filters, near-duplicates folded, newest first; or the best of the newest.

    page = await search(store, 'lamp "old moon" -rain', Filters(lineage="ember"), limit=20)
    more = await search(store, 'lamp "old moon" -rain', Filters(lineage="ember"), after=page.next)
    page = await more_like(store, message_id)

What selves and the operator said is found through the indices over words. People's words are sealed and in
none: they are looked through only when asked for (`Filters.people`), opened one by one from the newest on,
so many in one search.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from memory import fold, ranking
from memory.filters import Filters
from memory.finding import Found, Lines, Samples, Sealed, Stream, newest_of_all, read_lines
from memory.models import MessageRow, ScoreRow, WritingRow
from memory.people import in_parts
from memory.query import Query, Snippet, any_of, marks, parse, snippet, words_in
from memory.scores import LESS_IS_BETTER, NAMES, Name
from memory.store import Store
from selves.errors import StoreError, UsageError

Sort = Literal["newest", "best", "zlib", "repeats", "copied", "novelty", "surprise"]
SORTS: tuple[Sort, ...] = ("newest", "best", *NAMES)

RANKED = 1000
"""Anything but the newest first is an order of so many of the newest that were found."""
FOLDED = 10
"""For each text that is shown, so many are read at most, near-duplicates all of them."""
OPENED = 20_000
"""People's lines that one search opens at most."""
TELLING_WORDS = 8
"""More of the same is what has these of a text's words, as rare as there are."""
COMPARED = 1000
"""Lines that tell which words are rare."""

_PLACE = re.compile(r"(\d{1,18})\.(\d{1,18})\.(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Same:
    """Where a text stands that says almost the same."""

    message_id: int | None
    generation_id: int | None


@dataclass(frozen=True, slots=True)
class Hit:
    """A text that was found, with the part that shows why."""

    found: Found
    snippet: Snippet
    alike: tuple[Same, ...]
    """Near-duplicates of it that were found and are not shown."""
    scores: dict[str, float]


@dataclass(frozen=True, slots=True)
class Page:
    """What one search shows."""

    hits: tuple[Hit, ...]
    next: str | None
    """What to give as `after` for the page behind this one; None when there is none."""
    opened: int
    """How many of people's lines were opened and looked through."""


async def search(
    store: Store,
    typed: str = "",
    filters: Filters | None = None,
    *,
    limit: int = 20,
    after: str | None = None,
    sort: Sort = "newest",
    folded: bool = True,
) -> Page:
    """Find texts that have what was typed (see `memory/query.py`) and pass the filters.

    With nothing typed everything that passes the filters is found. Newest first are pages that go on; any
    other order is one of the newest 1000 that are found, and has no pages. Raises UsageError when nothing
    could be found so, or `after` is no page's.
    """
    wanted = Filters() if filters is None else filters
    wanted.check()
    query = parse(typed) if typed.strip() else None
    if sort == "best" and query is None:
        raise UsageError("without words nothing fits them best", "type some, or choose another order")
    if sort != "newest" and after is not None:
        raise UsageError(
            f"only the newest first have pages, not {sort!r}", "leave `after` out, or raise the limit"
        )
    place = None if after is None else _read_place(after)
    async with store.reading() as session:
        streams = await _streams(session, store, query, wanted, place)
        if sort == "newest":
            groups = await _merged(session, streams, limit, folded=folded)
            hits = await _hits(session, query, groups)
            places = [stream.below if stream else 0 for stream in streams]
        else:
            groups = await _merged(session, streams, RANKED, folded=False)
            hits = await _ordered(session, query, groups, sort, limit, folded=folded)
            places = [0]
    return Page(
        hits=tuple(hits),
        next=".".join(map(str, places)) if any(places) else None,
        opened=sum(stream.opened for stream in streams if isinstance(stream, Sealed)),
    )


async def more_like(
    store: Store, message_id: int, filters: Filters | None = None, *, limit: int = 20
) -> Page:
    """Find texts that share a message's rarest words, those that share most first.

    Raises StoreError if there is no such message, or no words are left of it.
    """
    wanted = Filters() if filters is None else filters
    wanted.check()
    async with store.reading() as session:
        this = await read_lines(session, MessageRow.id == message_id, 1)
        words = [word.word for found in this for word in words_in(found.text)]
        if not words:
            raise StoreError(
                f"there is no message {message_id} in the database" if not this else "it has no words",
                "`selves memory search` and `selves memory transcript` show what there is",
            )
        others = await read_lines(
            session, MessageRow.person_id.is_(None) & (MessageRow.id != message_id), COMPARED
        )
        query = any_of(ranking.rarest(words, [found.text for found in others], TELLING_WORDS))
        streams = await _streams(session, store, query, wanted, None)
        groups = await _merged(session, streams, RANKED, folded=False)
        groups = [group for group in groups if group[0].message_id != message_id]
        hits = await _ordered(session, query, groups, "best", limit, folded=True)
    opened = sum(stream.opened for stream in streams if isinstance(stream, Sealed))
    return Page(tuple(hits), None, opened)


def _read_place(after: str) -> list[int]:
    place = _PLACE.fullmatch(after)
    if place is None:
        raise UsageError(f"{after!r} is no place in a search", "give what the page before gave as `next`")
    return [int(part) for part in place.groups()]


async def _streams(
    session: AsyncSession,
    store: Store,
    query: Query | None,
    filters: Filters,
    place: Sequence[int] | None,
) -> tuple[Stream | None, Stream | None, Stream | None]:
    """The streams that can have anything, in the order in which a page's place names them."""
    filters = filters.with_kinds(set(await session.scalars(select(WritingRow.kind).distinct())))
    if place is None:
        messages, generations = await newest_of_all(session)
        place = (messages, generations, messages)
    lines, samples, sealed = place
    return (
        Lines(query, filters, lines, store.clock()) if filters.has_lines and lines else None,
        Samples(query, filters, samples, store.clock()) if filters.has_samples and samples else None,
        Sealed(query, filters, sealed, OPENED) if filters.has_people and sealed else None,
    )


async def _merged(
    session: AsyncSession, streams: Sequence[Stream | None], most: int, *, folded: bool
) -> list[list[Found]]:
    """Take from the streams what is newest, until there are `most` texts, each with its near-duplicates."""
    groups: list[list[Found]] = []
    shapes: list[fold.Shape] = []
    taken = 0
    while len(groups) < most and taken < most * FOLDED:
        heads = [
            (found.at, found.message_id or 0, stream)
            for stream in streams
            if stream and (found := await stream.first(session, most + 1 + taken))
        ]
        # what is left of a stream that stopped may be newer than all these
        if not heads or any(stream and stream.stopped for stream in streams):
            break
        found = max(heads, key=lambda head: head[:2])[2].take()
        taken += 1
        shape = fold.shape_of(found.text) if folded else frozenset()
        same = fold.first_alike(shape, shapes) if folded else None
        if same is not None:
            groups[same].append(found)
        else:
            groups.append([found])
            shapes.append(shape)
    return groups


async def _ordered(
    session: AsyncSession,
    query: Query | None,
    groups: Sequence[Sequence[Found]],
    sort: Sort,
    limit: int,
    *,
    folded: bool,
) -> list[Hit]:
    """Put what was found into another order, and fold it then, so that the first of its like stays."""
    everything = [found for group in groups for found in group]
    if sort == "best":
        assert query is not None
        values: list[float] = ranking.rank(query, [found.text for found in everything])
    else:
        scores = await _scores(session, everything)
        sign = -1.0 if sort in LESS_IS_BETTER else 1.0
        values = [
            sign * scores.get(found.generation_id or 0, {}).get(cast(Name, sort), sign * float("-inf"))
            for found in everything
        ]
    order = sorted(range(len(everything)), key=lambda i: -values[i])
    kept: list[list[Found]] = []
    shapes: list[fold.Shape] = []
    for i in order:
        shape = fold.shape_of(everything[i].text) if folded else frozenset()
        same = fold.first_alike(shape, shapes) if folded else None
        if same is not None:
            kept[same].append(everything[i])
        elif len(kept) == limit:
            break
        else:
            kept.append([everything[i]])
            shapes.append(shape)
    return await _hits(session, query, kept)


async def _hits(session: AsyncSession, query: Query | None, groups: Sequence[Sequence[Found]]) -> list[Hit]:
    scores = await _scores(session, [group[0] for group in groups])
    return [
        Hit(
            found=first,
            snippet=snippet(first.text, marks(query, words_in(first.text)) if query else ()),
            alike=tuple(Same(found.message_id, found.generation_id) for found in others),
            scores=scores.get(first.generation_id or 0, {}),
        )
        for first, *others in groups
    ]


async def _scores(session: AsyncSession, found: Sequence[Found]) -> dict[int, dict[str, float]]:
    scores: dict[int, dict[str, float]] = {}
    for part in in_parts(one.generation_id for one in found if one.generation_id is not None):
        query = select(ScoreRow).where(ScoreRow.generation_id.in_(part)).order_by(ScoreRow.name)
        for row in await session.scalars(query):
            scores.setdefault(row.generation_id, {})[row.name] = row.value
    return scores
