"""The Discord client of one self. It only speaks: the registrar alone listens, so that all is heard once."""

from __future__ import annotations

from collections.abc import Callable

import discord

NEEDS = discord.Permissions(view_channel=True, send_messages=True, read_message_history=True)
"""Reading history is for replies, and for finding out after a crash what it has said already."""
GUILD_WAIT_S = 2.0
"""How long discord.py waits for another guild before it says that it is ready."""


class Speaker(discord.Client):
    """A client with the fewest intents and no caches; `on_online` is told whenever it is ready (again)."""

    def __init__(self, on_online: Callable[[], None], guild_wait_s: float = GUILD_WAIT_S) -> None:
        super().__init__(
            intents=discord.Intents(guilds=True),
            allowed_mentions=discord.AllowedMentions.none(),
            max_messages=None,
            chunk_guilds_at_startup=False,
            member_cache_flags=discord.MemberCacheFlags.none(),
            guild_ready_timeout=guild_wait_s,
        )
        self._on_online = on_online

    async def on_ready(self) -> None:
        self._on_online()
