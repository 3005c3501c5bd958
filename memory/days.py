"""What was said in a stretch of time where a self was present, as far as its diary may tell of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from memory.firewall import Facts, facts_of_messages, verdict
from memory.letters import DIARY
from memory.models import GenerationRow, MessageRow, SceneRow
from memory.people import in_parts, read_messages
from memory.store import Store
from memory.types import Message


class Said(NamedTuple):
    """Lines in the order they were said, scene by scene."""

    messages: list[Message]
    left_out: dict[str, int]
    """Why -> how many lines the diary may not tell of."""


async def said_between(store: Store, speaker: str, since: datetime, until: datetime) -> Said:
    """Return what was said from `since` up to `until` in scenes in which a self spoke then.

    People's words are in it only with their consent to `diary`, and what may not be shown is left out.
    """
    during = (MessageRow.created_at >= since, MessageRow.created_at < until)
    present = (
        select(MessageRow.scene_id)
        .join(SceneRow, MessageRow.scene_id == SceneRow.id)
        .where(
            *during, MessageRow.speaker == speaker, MessageRow.address.is_not(None), SceneRow.place != DIARY
        )
    )
    query = (
        select(MessageRow)
        .where(
            *during, MessageRow.scene_id.in_(present), MessageRow.status.not_in(("pending", "undelivered"))
        )
        .order_by(MessageRow.scene_id, MessageRow.sequence)
    )
    async with store.reading() as session:
        found = list(await session.scalars(query))
        facts = await facts_of_messages(session, [row.id for row in found])
        verdicts = {row.id: verdict("diary", facts[row.id]) for row in found}
        told = await read_messages(session, [row for row in found if verdicts[row.id].allowed])
    left_out: dict[str, int] = {}
    for allowed, reason in verdicts.values():
        if not allowed:
            left_out[reason] = left_out.get(reason, 0) + 1
    return Said([m for m in told if not m.shut and m.text], left_out)


async def still_told(store: Store, messages: Sequence[Message]) -> list[Message]:
    """Return those lines of a diary that it may tell of again.

    Not what was deleted or reported since, nor what tells of words whose author took the consent to `diary`
    back; also where it tells of a line of the diary that does.
    """
    async with store.reading() as session:
        told = {message.id: {message.id} for message in messages}
        new = set(told)
        while new:  # a month tells of weeks, and they of days
            behind = await _entries_in(session, new)
            new = set()
            for ids in told.values():
                more = {inner for line in ids for inner in behind.get(line, ())} - ids
                ids |= more
                new |= more
        facts = await facts_of_messages(session, sorted({line for ids in told.values() for line in ids}))
    fine = {
        line
        for line, fact in facts.items()
        if verdict("diary", fact).allowed
        and all(verdict("diary", Facts(source)).allowed for source in fact.read)
    }
    return [message for message in messages if told[message.id] <= fine]


async def _entries_in(session: AsyncSession, ids: Collection[int]) -> dict[int, set[int]]:
    """Line -> the lines of diaries that stood in the prompt it came from."""
    found: dict[int, set[int]] = {}
    prompts = select(MessageRow.id, GenerationRow.prompt_message_ids).join(
        GenerationRow, GenerationRow.id == MessageRow.generation_id
    )
    for part in in_parts(sorted(ids)):
        found |= {
            line: set(read) for line, read in await session.execute(prompts.where(MessageRow.id.in_(part)))
        }
    written: set[int] = set()
    of_diaries = select(MessageRow.id).join(SceneRow, SceneRow.id == MessageRow.scene_id)
    for part in in_parts(sorted(set().union(*found.values()))):
        query = of_diaries.where(MessageRow.id.in_(part), SceneRow.place == DIARY)
        written |= set(await session.scalars(query))
    return {line: read & written for line, read in found.items()}
