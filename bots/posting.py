"""Posting what was kept: afterwards it stands there, or it is known why it never will."""

from __future__ import annotations

import logging
from collections.abc import Awaitable

from memory.outbox import give_up
from memory.store import Store
from memory.types import Message
from selves.errors import RefusedError

log = logging.getLogger("selves.bots")


async def post_kept(store: Store, message: Message, posting: Awaitable[int | None]) -> Message | None:
    """Await the posting of a kept message, and note what became of it; None if it was refused for good.

    Raises whatever else `posting` raises, and StoreError: the message is then still to be posted.
    """
    try:
        platform_id = await posting
    except RefusedError as error:
        log.error("%s: message %d is given up: %s", message.place, message.id, error)
        await give_up(store, message, error.problem)
        return None
    return await store.mark_posted(message.id, platform_id)
