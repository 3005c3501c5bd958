"""The one bot that listens: it hears the channels once, and serves the commands.

It alone asks for the Message Content intent. What it hears goes into the rooms, in order; it decides nothing
about answers itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import aiohttp
import discord

from bots import asking, commands_about, commands_config, commands_talk, menus, privacy, voting
from bots.buttons import Button, Press
from bots.desk import Desk, Tree
from bots.hearing import TAKE_BACK, Gone, ThreadBegan, edited, heard, is_from_person
from bots.room import Room
from bots.speaker import GUILD_WAIT_S, LeanClient
from selves.errors import SelvesError

log = logging.getLogger("selves.bots")

NEEDS = discord.Permissions(
    view_channel=True,
    send_messages=True,
    read_message_history=True,
    add_reactions=True,
    create_public_threads=True,
    send_messages_in_threads=True,
)
INTENTS = discord.Intents(
    guilds=True, guild_messages=True, message_content=True, guild_reactions=True, dm_messages=True
)
HAND = ("✋", "🛑")
"""As a reaction on any message, in any colour of skin: silence."""


class Registrar(LeanClient):
    """The listening client; `desk` is what its commands work with."""

    def __init__(self, desk: Desk, on_online: Callable[[], None], guild_wait_s: float = GUILD_WAIT_S) -> None:
        super().__init__(INTENTS, on_online, guild_wait_s)
        self.desk = desk
        self.presses: dict[str, Press] = {}
        """What each kind of button does."""
        self.tree = Tree(self)
        self._works: set[asyncio.Task[None]] = set()
        self._noting = asyncio.Lock()
        """Held while a reaction is noted, so that one that was taken back is noted before that."""
        for module in (commands_talk, commands_about, commands_config, privacy, voting, asking):
            module.add_commands(self.tree, desk, self.presses)
        menus.add_commands(self.tree, desk)

    async def setup_hook(self) -> None:
        self.add_dynamic_items(Button)
        await self._sync_commands()

    async def on_ready(self) -> None:
        await super().on_ready()
        self.give_notice_soon()

    async def close(self) -> None:
        for task in self._works:
            task.cancel()
        await super().close()

    # ------------------------------------------------------------------ hearing
    # discord.py starts each handler as a task of its own, in the order of the events. That order is kept as
    # long as a handler reaches its room without waiting for anything.

    def _room(self, channel_id: int) -> Room | None:
        channel = self.get_channel(channel_id)
        return self.desk.rooms.find(channel_id, getattr(channel, "parent_id", None))

    async def on_message(self, message: discord.Message) -> None:
        if not is_from_person(message) or message.guild is None:
            return
        if room := self._room(message.channel.id):
            room.take(heard(message, room.selves))

    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        if (room := self._room(payload.channel_id)) and (event := edited(payload.message, room.selves)):
            room.take(event)

    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        if room := self._room(payload.channel_id):
            room.take(Gone(payload.message_id))

    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        if room := self._room(payload.channel_id):
            for message_id in sorted(payload.message_ids):
                room.take(Gone(message_id))

    async def on_thread_create(self, thread: discord.Thread) -> None:
        if room := self.desk.rooms.get(thread.parent_id):
            # a thread that begins at a message has the message's id
            room.take(ThreadBegan(thread.id, thread.id))

    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        room = self._room(payload.channel_id)
        if room is None or (payload.member is not None and payload.member.bot):
            return
        if payload.emoji.name.startswith(HAND):
            log.info("%s: somebody raised a hand", room.channel.place)
            room.halt()
        elif payload.emoji.name == TAKE_BACK and payload.user_id == payload.message_author_id:
            room.take(Gone(payload.message_id))
        else:
            self._note_reaction(payload, removed=False)

    async def on_raw_reaction_remove(self, payload: discord.RawReactionActionEvent) -> None:
        if self._room(payload.channel_id) is not None:
            self._note_reaction(payload, removed=True)

    def _note_reaction(self, payload: discord.RawReactionActionEvent, *, removed: bool) -> None:
        user = discord.Object(payload.user_id)
        own = {account.user_id for account in (*self.desk.speakers.values(), self.desk.registrar)}
        if payload.user_id not in own:
            self._work(self._note(payload.message_id, user, payload.emoji.name, removed=removed))

    async def _note(self, message_id: int, user: discord.abc.Snowflake, emoji: str, *, removed: bool) -> None:
        async with self._noting:
            await voting.note_reaction(self.desk, message_id, user, emoji, removed=removed)

    # ------------------------------------------------------------------ beside

    def _work(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something in the background; that it fails is logged."""

        async def carefully() -> None:
            try:
                await work
            except (SelvesError, discord.HTTPException, aiohttp.ClientError, OSError) as error:
                log.error("the registrar: %s", error)

        task = asyncio.create_task(carefully())
        self._works.add(task)
        task.add_done_callback(self._works.discard)

    def give_notice_soon(self) -> None:
        """Tell in each channel what is heard there, where that was not told yet."""
        if self.desk.cast.discord.notice:
            self._work(self._give_notice())

    async def _give_notice(self) -> None:
        for channel in self.desk.rooms.channels:
            await privacy.give_notice(self.desk, self, self.desk.rooms[channel])

    async def _sync_commands(self) -> None:
        """Register the commands if Discord has others. Creating them is limited to 200 a day."""
        try:
            assert self.application_id is not None
            there = await self.http.get_global_commands(self.application_id)
            ours = [command.to_dict(self.tree) for command in self.tree.get_commands()]
            if _essence(there) != _essence(ours):
                await self.tree.sync()
                log.info("commands registered: %s", ", ".join(c["name"] for c in ours))
        except discord.HTTPException as error:
            # the selves can do without; some servers of one's own have no slash commands
            log.warning("slash commands could not be registered: %s", str(error).partition("\n")[0])


def _essence(commands: Sequence[Mapping[str, Any]]) -> str:
    """What of a list of commands decides whether they are the same."""
    kept = [
        {
            **_option(command),
            "type": int(command.get("type") or 1),
            "permissions": str(command.get("default_member_permissions") or ""),
        }
        for command in commands
    ]
    return json.dumps(sorted(kept, key=lambda command: str(command["name"])))


def _option(option: Mapping[str, Any]) -> dict[str, Any]:
    """What of a command or an option decides, with all that is within it."""
    return {
        "name": option["name"],
        "description": option.get("description") or "",
        "type": int(option.get("type") or 1),
        "required": bool(option.get("required")),
        "autocomplete": bool(option.get("autocomplete")),
        "bounds": [option.get(k) for k in ("min_value", "max_value", "min_length", "max_length")],
        "options": [_option(within) for within in option.get("options") or []],
    }
