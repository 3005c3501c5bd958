"""Reading back what stands in a channel: what was missed while nobody listened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import aiohttp
import discord

from bots.hearing import TAKE_BACK, Heard, heard, is_from_person, is_kept_out
from selves.errors import DiscordError

PAGE = 100
"""Catching up looks at so many messages at least."""
LONGEST_GAP = 1000
"""Catching up looks back over so many messages at most."""


class History(NamedTuple):
    """What stands in a channel."""

    oldest: int | None
    """The oldest message that was looked at; None when none could be read."""
    ids: set[int]
    """All messages since, except those that their authors want kept out."""
    heard: list[Heard]
    """Those of people, oldest first."""


async def read_history(
    client: discord.Client, channel_id: int, *, since: int, known: set[int], selves: Mapping[int, str]
) -> History:
    """Look back until something is known, and never to before `since`. Raises DiscordError."""
    found: list[Heard] = []
    ids: set[int] = set()
    oldest, met_known, looked_at = None, False, 0
    try:
        history = client.get_partial_messageable(channel_id).history(limit=LONGEST_GAP)
        async for message in history:
            if message.id < since or (met_known and looked_at >= PAGE):
                break
            oldest, looked_at = message.id, looked_at + 1
            met_known = met_known or message.id in known
            if is_kept_out(message.content) or await _is_taken_back(message):
                continue
            ids.add(message.id)
            if is_from_person(message):
                found.append(heard(message, selves))
    except (discord.HTTPException, aiohttp.ClientError, OSError, RuntimeError) as error:
        raise DiscordError(
            f"the history of channel {channel_id} cannot be read: {error}",
            "`selves bots check` says whether a permission is missing",
        ) from error
    return History(oldest, ids, found[::-1])


async def _is_taken_back(message: discord.Message) -> bool:
    """Whether its author has put a 🙈 on it."""
    for reaction in message.reactions:
        if str(reaction.emoji) == TAKE_BACK:
            return any([user.id == message.author.id async for user in reaction.users()])
    return False
