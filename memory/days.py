"""What was said in a stretch of time where a self was present, as far as its diary may tell of it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select

from memory.firewall import facts_of_messages, verdict
from memory.letters import DIARY
from memory.models import MessageRow, SceneRow
from memory.people import read_messages
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
        .where(*during, MessageRow.scene_id.in_(present), MessageRow.status != "pending")
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
