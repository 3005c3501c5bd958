"""The Discord client of one self.

In servers it only speaks: the registrar alone listens there, so that all is heard once. What is said to the
self in private nobody else can hear.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import discord

from bots.hearing import TAKE_BACK, Event, Gone, edited, heard, is_from_person

NEEDS = discord.Permissions(
    view_channel=True, send_messages=True, read_message_history=True, send_messages_in_threads=True
)
"""Reading history is for replies, and for finding out after a crash what it has said already."""
INTENTS = discord.Intents(guilds=True, dm_messages=True, dm_reactions=True)
"""What is said in private comes with its words, whether the Message Content intent is on or not."""
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
    """The client of one self, with the fewest intents there are; it hears what is said to it in private.

    `private` is given each event of private conversations, with the channel's id.
    """

    def __init__(
        self,
        on_online: Callable[[], None],
        guild_wait_s: float = GUILD_WAIT_S,
        *,
        private: Callable[[int, Event], None] | None = None,
    ) -> None:
        super().__init__(INTENTS, on_online, guild_wait_s)
        self._private = private

    def _pass_on(self, channel_id: int, guild_id: int | None, event: Event | None) -> None:
        if guild_id is None and event is not None and self._private is not None:
            self._private(channel_id, event)

    async def on_message(self, message: discord.Message) -> None:
        if message.guild is None and is_from_person(message):
            self._pass_on(message.channel.id, None, heard(message, {}))

    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        self._pass_on(payload.channel_id, payload.guild_id, edited(payload.message, {}))

    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        self._pass_on(payload.channel_id, payload.guild_id, Gone(payload.message_id))

    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        if payload.emoji.name == TAKE_BACK and payload.user_id == payload.message_author_id:
            self._pass_on(payload.channel_id, payload.guild_id, Gone(payload.message_id))
