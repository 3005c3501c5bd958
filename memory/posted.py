"""From a platform's ids to what is kept: which message stands there, and who somebody is here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from memory.models import MessageRow
from memory.people import Known, meet, read_messages
from memory.types import Message

if TYPE_CHECKING:
    from memory.store import Store


async def message_at(store: Store, platform_id: int) -> Message | None:
    """Return the message that has this id on its platform; None if it was never kept."""
    async with store.reading() as session:
        row = await session.scalar(select(MessageRow).where(MessageRow.platform_id == platform_id))
        return None if row is None else (await read_messages(session, [row]))[0]


async def person_at(store: Store, platform: str, user_id: int) -> Known:
    """Return who this user is here; somebody new is met. The id itself is not kept."""
    async with store.writing() as session:
        return await meet(session, store.house, platform, user_id, store.clock())
