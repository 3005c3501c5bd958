"""All that one person left: their lines, the prompts that held them, who quoted them, what was made of it.

Nothing is changed here. Quotations are looked for where selves could have read the words: in samples whose
prompts held them, then in those whose prompts held such a quotation, and so on, wherever that was; in lines
that are no samples, in the scenes where the person spoke and those that branch off from them; and in
everything that selves wrote while they were trained.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import BigInteger, case, cast, exists, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from memory import sealing
from memory.models import (
    CheckpointRow,
    ExportItemRow,
    ExportRow,
    FeedbackRow,
    GenerationRow,
    HeardInRow,
    MessageRow,
    PersonRow,
    PickRow,
    SceneRow,
    WritingRow,
)
from memory.people import in_parts, keys_of
from memory.quotes import Quotes
from memory.spoilt import HOLDS_PROMPTS, exports_made_of, exports_retelling, exports_showing
from selves.lineage import AgeCard, came_of

AT_ONCE = 2000
"""So many samples are held in memory at a time."""


@dataclass
class Traces:
    """Ids of what one person left."""

    messages: dict[int, int | None] = field(default_factory=dict)
    """Their lines, with the platform's ids."""
    names: set[str] = field(default_factory=set)
    """What they are called in their lines, other than their pseudonym."""
    quotes: Quotes = field(default_factory=lambda: Quotes(()))
    """What they said."""
    scenes: set[int] = field(default_factory=set)
    """Where they spoke, and what branches off."""
    prompts: set[int] = field(default_factory=set)
    """Samples whose prompts held their words, or may have."""
    shut: set[int] = field(default_factory=set)
    """Those of them that are sealed with their key, so that nobody can read them without it."""
    held: int = 0
    """How many of these prompts can still be read."""
    open_prompts: bool = False
    """Whether some of them are not sealed."""
    quoting: set[int] = field(default_factory=set)
    """Samples that quote them."""
    quoting_lines: set[int] = field(default_factory=set)
    """Lines of selves and the operator that quote them."""
    diaries: set[str] = field(default_factory=set)
    """Ages that quote them in what they wrote while they were trained."""
    picks: set[int] = field(default_factory=set)
    """Editors' marks on any of this, or that quote them."""
    feedback: int = 0
    exports: set[int] = field(default_factory=set)
    """Files that were made of any of this."""
    checkpoints: tuple[str, ...] = ()
    """Ages that read such files, or came of one that did."""


async def find_traces(session: AsyncSession, person: PersonRow, here: Sequence[AgeCard] = ()) -> Traces:
    """Return what a person left, as far as their key still opens it; `here` are the ages on the disk."""
    traces = Traces()
    traces.quotes = quotes = await _their_lines(session, person, traces)
    await _follow_branches(session, traces)
    for part in in_parts(traces.messages):
        heard = select(HeardInRow.generation_id).where(HeardInRow.message_id.in_(part))
        traces.prompts.update(await session.scalars(heard))
    # nobody knows whose words these hold
    named = exists().where(HeardInRow.generation_id == GenerationRow.id)
    nameless = select(GenerationRow.id).where(
        text("prompt_has_human AND prompt IS NOT NULL AND prompt_sealed_by IS NULL"), ~named
    )
    if traces.messages:
        traces.prompts.update(await session.scalars(nameless))
    if quotes:
        readers = set(traces.prompts)
        readers.update(await session.scalars(select(WritingRow.generation_id)))
        await _lines_that_quote(session, quotes, traces)
        await _follow_quotations(session, readers, traces)
    await _look_at_seals(session, person, traces)
    await _picks_of(session, quotes, traces)
    count = select(func.count()).select_from(FeedbackRow).where(FeedbackRow.person_id == person.id)
    traces.feedback = await session.scalar(count) or 0
    await _exports_of(session, traces, here)
    return traces


async def _their_lines(session: AsyncSession, person: PersonRow, traces: Traces) -> Quotes:
    found = await session.execute(
        select(
            MessageRow.id, MessageRow.platform_id, MessageRow.speaker, MessageRow.scene_id, MessageRow.text
        ).where(MessageRow.person_id == person.id)
    )
    key = (await keys_of(session, [person.id])).get(person.id)
    said = []
    for message_id, platform_id, speaker, scene_id, sealed in found:
        traces.messages[message_id] = platform_id
        traces.scenes.add(scene_id)
        traces.names.add(speaker)
        if sealed and key is not None:
            try:
                said.append(sealing.unseal(sealed, [key]))
            except ValueError:
                continue  # sealed with a key that was lost before: there is nothing to compare
    traces.names.discard(person.pseudonym)
    return Quotes(said)


async def _look_at_seals(session: AsyncSession, person: PersonRow, traces: Traces) -> None:
    for part in in_parts(traces.prompts):
        there = await session.execute(
            select(GenerationRow.id, GenerationRow.prompt_sealed_by).where(
                GenerationRow.id.in_(part), GenerationRow.prompt.is_not(None)
            )
        )
        for sample_id, sealed_by in there:
            if person.id in (sealed_by or ()):
                traces.shut.add(sample_id)
                traces.held += person.forgotten_at is None
            else:
                traces.held += 1
                traces.open_prompts |= sealed_by is None


async def _follow_branches(session: AsyncSession, traces: Traces) -> None:
    branches = await session.execute(
        select(SceneRow.id, MessageRow.scene_id)
        .join(MessageRow, MessageRow.id == SceneRow.from_message_id)
        .where(text("from_message_id IS NOT NULL"))
    )
    links = branches.all()
    while new := {branch for branch, trunk in links if trunk in traces.scenes} - traces.scenes:
        traces.scenes |= new


async def find_later_traces(session: AsyncSession, before: Traces) -> Traces:
    """Return what came of quotations since they were looked for."""
    traces = Traces(
        scenes=before.scenes,
        quotes=before.quotes,
        prompts=set(before.prompts),
        quoting=set(before.quoting),
        quoting_lines=set(before.quoting_lines),
    )
    await _follow_quotations(session, (), traces)
    return Traces(
        prompts=traces.prompts - before.prompts,
        quoting=traces.quoting - before.quoting,
        quoting_lines=traces.quoting_lines - before.quoting_lines,
    )


async def _follow_quotations(session: AsyncSession, readers: Collection[int], traces: Traces) -> None:
    """Look at what these samples say, then at those that read what was found, and so on."""
    followed: set[int] = set()
    while readers or traces.quoting_lines - followed:
        await _samples_that_quote(session, readers, traces.quotes, traces)
        known = set(traces.prompts)
        if new := traces.quoting_lines - followed:
            await _prompts_that_quote(session, traces.quotes, traces)
            await _prompts_elsewhere(session, new, traces)
        followed = set(traces.quoting_lines)
        readers = traces.prompts - known


async def _samples_that_quote(
    session: AsyncSession, ids: Collection[int], quotes: Quotes, traces: Traces
) -> None:
    """Look at what these samples say, and note the lines that were made of those that quote."""
    samples = select(GenerationRow.id, GenerationRow.kind, GenerationRow.address, GenerationRow.text)
    new: set[int] = set()
    for part in in_parts(sorted(ids)):
        async for rows in _pages(session, samples.where(GenerationRow.id.in_(part))):
            for row in rows:
                if quotes.are_in(row.text):
                    new.add(row.id)
                    if row.kind != "turn":
                        traces.diaries.add(row.address)
    traces.quoting |= new
    for part in in_parts(new):
        lines = select(MessageRow.id).where(MessageRow.generation_id.in_(part))
        traces.quoting_lines.update(await session.scalars(lines))


async def _lines_that_quote(session: AsyncSession, quotes: Quotes, traces: Traces) -> None:
    """Lines of the operator, or of a log that came in, which no sample was made into."""
    lines = select(MessageRow.id, MessageRow.text).where(
        MessageRow.person_id.is_(None), MessageRow.generation_id.is_(None)
    )
    for part in in_parts(traces.scenes):
        async for rows in _pages(session, lines.where(MessageRow.scene_id.in_(part))):
            traces.quoting_lines.update(row.id for row in rows if quotes.are_in(row.text))


async def _prompts_that_quote(session: AsyncSession, quotes: Quotes, traces: Traces) -> None:
    """Lines that quote them were read again by those who spoke after."""
    prompts = select(
        GenerationRow.id,
        GenerationRow.prompt_message_ids,
        # whose lines are not named, the prompt itself must be looked at
        case((GenerationRow.prompt_sealed_by.is_(None), GenerationRow.prompt)).label("open"),
    )
    for part in in_parts(traces.scenes):
        async for rows in _pages(session, prompts.where(GenerationRow.scene_id.in_(part))):
            traces.prompts.update(
                row.id
                for row in rows
                if not traces.quoting_lines.isdisjoint(row.prompt_message_ids or ())
                or (not row.prompt_message_ids and quotes.are_in(row.open or ""))
            )


async def _prompts_elsewhere(session: AsyncSession, lines: Collection[int], traces: Traces) -> None:
    """Such lines may have been read in other scenes too: a letter that is answered, a day that is retold."""
    made_of = await session.execute(
        select(func.count(), func.count(MessageRow.generation_id), func.min(MessageRow.generation_id)).where(
            MessageRow.id.in_(lines)
        )
    )
    count, samples, first = made_of.one()
    sqlite = session.get_bind().dialect.name == "sqlite"
    ids = func.json_each if sqlite else func.json_array_elements_text
    read = ids(GenerationRow.prompt_message_ids).table_valued("value")
    value: Any = read.c.value if sqlite else cast(read.c.value, BigInteger)
    prompts = select(GenerationRow.id).where(GenerationRow.prompt.is_not(None))
    if count == samples:  # nobody read a line before its sample was there
        prompts = prompts.where(GenerationRow.id > first)
    for part in in_parts(lines):
        found = prompts.where(exists().where(value.in_(part)).select_from(read))
        traces.prompts.update(await session.scalars(found))


async def _pages(session: AsyncSession, query: Any) -> AsyncIterator[Sequence[Any]]:
    """The rows of a query, not all of them in memory at a time."""
    stream = await session.stream(query, execution_options={"yield_per": AT_ONCE})
    async for rows in stream.partitions():
        yield rows


async def _picks_of(session: AsyncSession, quotes: Quotes, traces: Traces) -> None:
    lines = {*traces.messages, *traces.quoting_lines}
    picks = await session.execute(
        select(PickRow.id, PickRow.message_id, PickRow.generation_id, PickRow.value).where(
            PickRow.kind != "retract"
        )
    )
    traces.picks = {
        row.id
        for row in picks
        if row.message_id in lines or row.generation_id in traces.quoting or quotes.are_in(row.value or "")
    }


async def _exports_of(session: AsyncSession, traces: Traces, here: Sequence[AgeCard]) -> None:
    if await session.scalar(select(ExportRow.id).limit(1)) is None:
        return
    traces.exports = await exports_showing(session, {*traces.messages, *traces.quoting_lines})
    read = or_(HOLDS_PROMPTS, ExportRow.purpose == "train")
    for column in (ExportItemRow.generation_id, ExportItemRow.other_id):
        for part in in_parts(sorted(traces.quoting)):
            traces.exports |= await exports_made_of(session, column.in_(part))
        for part in in_parts(sorted(traces.prompts)):
            traces.exports |= await exports_made_of(session, column.in_(part), read)
    traces.exports |= await exports_retelling(session, traces.prompts)
    traces.checkpoints = await ages_that_read(session, traces.exports, here)


async def ages_that_read(
    session: AsyncSession, exports: Collection[int], here: Sequence[AgeCard] = ()
) -> tuple[str, ...]:
    """Addresses of ages whose cards name a file of these exports, and of all that came of them.

    Memory knows of ages that somebody talked to; `here` are those on the disk.
    """
    if not exports:
        return ()
    files = await session.scalars(select(ExportRow.files).where(ExportRow.id.in_(exports)))
    hashes = {sha256 for named in files for sha256 in named.values()}
    rows = await session.execute(
        select(CheckpointRow.address, CheckpointRow.parent, CheckpointRow.card).order_by(
            CheckpointRow.created_at, CheckpointRow.id
        )
    )
    known = [row.card | {"address": row.address, "parent": row.parent} for row in rows]
    return came_of([*known, *(card.model_dump(mode="json") for card in here)], hashes)
