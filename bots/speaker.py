"""The Discord client of one self. It only speaks: the registrar alone listens, so that all is heard once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import discord

NEEDS = discord.Permissions(view_channel=True, send_messages=True, read_message_history=True)
"""Reading history is for replies, and for finding out after a crash what it has said already."""
INTENTS = discord.Intents(guilds=True)
GUILD_WAIT_S = 0.5
"""How long discord.py waits for another server before it says that it is ready."""


class LeanClient(discord.Client):
    """A client without caches that never pings anybody; `on_online` is told whenever it is ready (again)."""

    def __init__(self, intents: discord.Intents, on_online: Callable[[], None], guild_wait_s: float) -> None:
        # they will never need the libraries for voice channels that discord.py would miss aloud
        discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
        super().__init__(
            intents=intents,
            allowed_mentions=discord.AllowedMentions.none(),
            max_messages=None,
            chunk_guilds_at_startup=False,
            member_cache_flags=discord.MemberCacheFlags.none(),
            guild_ready_timeout=guild_wait_s,
        )
        self._on_online = on_online

    async def on_ready(self) -> None:
        self._on_online()

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        # discord.py goes on waiting for servers after it was closed, and then has no loop to say so
        if not self.is_closed():
            super().dispatch(event, *args, **kwargs)


class Speaker(LeanClient):
    """The client of one self, with the fewest intents there are."""

    def __init__(self, on_online: Callable[[], None], guild_wait_s: float = GUILD_WAIT_S) -> None:
        super().__init__(INTENTS, on_online, guild_wait_s)
