"""What became of a line that was kept to be posted, by whichever process."""

from __future__ import annotations

from sqlalchemy import select

from memory.models import MessageRow
from memory.store import Store


async def posted_as(store: Store, nonce: str) -> int | None:
    """Return the platform's id of the message with this nonce, once it was posted."""
    query = select(MessageRow.platform_id).where(MessageRow.nonce == nonce, MessageRow.status != "pending")
    async with store.reading(brief=True) as session:
        return await session.scalar(query)
