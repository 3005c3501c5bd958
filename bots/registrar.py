"""The one bot that listens: it hears the configured channels once, and serves the slash commands.

It alone asks for the Message Content intent. What it hears goes into the rooms, in order; it decides nothing
about answers itself.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import discord
from discord import app_commands

from bots.account import Account
from bots.hearing import TAKE_BACK, Edited, Gone, ThreadBegan, heard, is_from_person, plain_text
from bots.room import Room
from bots.speaker import GUILD_WAIT_S, LeanClient
from selves.cast import Cast
from selves.errors import DiscordError

log = logging.getLogger("selves.bots")

NEEDS = discord.Permissions(
    view_channel=True, send_messages=True, read_message_history=True, add_reactions=True
)
INTENTS = discord.Intents(guilds=True, guild_messages=True, message_content=True, guild_reactions=True)
HAND = ("✋", "🛑")
"""As a reaction on any message, in any colour of skin: silence."""
PRIVACY = """\
**What is kept.** What you write in the channels where the selves live, for 30 days, under a made-up name \
(`guest-3`) and sealed with a key of your own: neither your name nor your id. Edits and deletions are followed. What the selves say is kept \
for good, with the weights that said it.
**What is not.** A message that begins with `.` or 🙈, or that you mark with a 🙈 reaction.
**What it is for.** So that the selves can answer. Your words are never used to train a model: Discord's \
rules forbid it, and so do ours.
**Asking.** Whoever runs this house can show you all that is kept of you, and forget you.
**Silence.** `/halt`, or ✋ on any message."""


class Registrar(LeanClient):
    """The listening client. `speakers` are the selves' accounts by name, `rooms` the channels by id."""

    def __init__(
        self,
        cast: Cast,
        speakers: Mapping[str, Account],
        rooms: Mapping[int, Room],
        on_online: Callable[[], None],
        guild_wait_s: float = GUILD_WAIT_S,
    ) -> None:
        super().__init__(INTENTS, on_online, guild_wait_s)
        self._cast, self._speakers, self._rooms = cast, speakers, rooms
        self.tree = app_commands.CommandTree(self)
        self._add_commands()

    # ------------------------------------------------------------------ hearing
    # discord.py starts each handler as a task of its own, in the order of the events. That order is kept as
    # long as a handler reaches its room without waiting for anything.

    async def setup_hook(self) -> None:
        await self._sync_commands()

    async def on_message(self, message: discord.Message) -> None:
        room = self._rooms.get(message.channel.id)
        if room is not None and is_from_person(message):
            room.take(heard(message, room.selves))

    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        room, message = self._rooms.get(payload.channel_id), payload.message
        # without an edited_at it is Discord that changed something: a link's preview came, a thread began
        if room is not None and message.edited_at is not None and not message.author.bot:
            text = plain_text(message.content, room.selves)
            room.take(Edited(message.id, text, message.edited_at))

    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        if room := self._rooms.get(payload.channel_id):
            room.take(Gone(payload.message_id))

    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        if room := self._rooms.get(payload.channel_id):
            for message_id in sorted(payload.message_ids):
                room.take(Gone(message_id))

    async def on_thread_create(self, thread: discord.Thread) -> None:
        if room := self._rooms.get(thread.parent_id):
            # a thread that begins at a message has the message's id
            room.take(ThreadBegan(thread.id, thread.id))

    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        room = self._rooms.get(payload.channel_id)
        if room is None or (payload.member is not None and payload.member.bot):
            return
        if payload.emoji.name.startswith(HAND):
            log.info("%s: somebody raised a hand", room.channel.place)
            room.halt()
        elif payload.emoji.name == TAKE_BACK and payload.user_id == payload.message_author_id:
            room.take(Gone(payload.message_id))

    # ------------------------------------------------------------------ slash commands

    def _add_commands(self) -> None:
        @self.tree.command(name="who", description="Which selves are here, and which ages they are")
        @app_commands.guild_only()
        async def who(interaction: discord.Interaction) -> None:
            await self._tell(interaction, self.who())

        @self.tree.command(name="scene", description="Let the selves play a scene in this channel")
        @app_commands.describe(name="Which scene of the cast file")
        @app_commands.guild_only()
        @app_commands.default_permissions(manage_messages=True)
        async def scene(interaction: discord.Interaction, name: str) -> None:
            await self._tell(interaction, self._play(interaction, name))

        @scene.autocomplete("name")
        async def scene_names(_: discord.Interaction, typed: str) -> list[app_commands.Choice[str]]:
            names = [s.name for s in self._cast.scene if typed.casefold() in s.name]
            return [app_commands.Choice(name=name, value=name) for name in names[:25]]

        @self.tree.command(name="halt", description="Silence: stop the scene in this channel")
        @app_commands.guild_only()
        async def halt(interaction: discord.Interaction) -> None:
            room = self._rooms.get(interaction.channel_id or 0)
            if room is not None:
                room.halt()
            await self._tell(interaction, "Silence." if room else self._elsewhere(), ephemeral=room is None)

        @self.tree.command(name="privacy", description="What is kept of what you write here")
        @app_commands.guild_only()
        async def privacy(interaction: discord.Interaction) -> None:
            await self._tell(interaction, PRIVACY)

    async def _tell(self, interaction: discord.Interaction, text: str, *, ephemeral: bool = True) -> None:
        try:
            await interaction.response.send_message(text[:2000], ephemeral=ephemeral)
        except discord.HTTPException as error:
            log.warning("a slash command could not be answered: %s", error)

    def _play(self, interaction: discord.Interaction, name: str) -> str:
        room = self._rooms.get(interaction.channel_id or 0)
        if room is None:
            return self._elsewhere()
        spec = next((s for s in self._cast.scene if s.name == name.strip()), None)
        if spec is None:
            known = ", ".join(s.name for s in self._cast.scene) or "none yet"
            return f"There is no scene `{name[:100]}`. There are: {known}."
        try:
            waits = room.play_soon(spec, f"command:{interaction.id}")
        except DiscordError as error:
            return str(error.problem)
        return f"`{spec.name}` follows when this is over." if waits else f"`{spec.name}` begins."

    def _elsewhere(self) -> str:
        return f"The selves live in {', '.join(f'<#{channel}>' for channel in self._rooms)}."

    def who(self) -> str:
        """Return who is in the cast: name, age, and whether it can speak."""
        lines = []
        for persona in self._cast.persona:
            account = self._speakers.get(persona.name)
            state = "not on Discord" if account is None else "here" if account.online.is_set() else "offline"
            lines.append(f"**{persona.name}**: `{persona.address}`, {state}")
        return "\n".join(lines)

    async def _sync_commands(self) -> None:
        """Register the commands if Discord has others. Creating them is limited to 200 a day."""
        try:
            assert self.application_id is not None
            there = await self.http.get_global_commands(self.application_id)
            ours = [command.to_dict(self.tree) for command in self.tree.get_commands()]
            if _essence(there) != _essence(ours):
                await self.tree.sync()
                log.info("slash commands registered: %s", ", ".join(f"/{c['name']}" for c in ours))
        except discord.HTTPException as error:
            # the selves can do without; some servers of one's own have no slash commands
            log.warning("slash commands could not be registered: %s", error)


def _essence(commands: Sequence[Mapping[str, Any]]) -> str:
    """What of a list of commands decides whether they are the same."""
    kept = [
        {
            "name": command["name"],
            "description": command["description"],
            "permissions": str(command.get("default_member_permissions") or ""),
            "options": [
                [
                    o["name"],
                    o["description"],
                    int(o["type"]),
                    bool(o.get("required")),
                    bool(o.get("autocomplete")),
                ]
                for o in command.get("options") or []
            ],
        }
        for command in commands
    ]
    return json.dumps(sorted(kept, key=lambda command: str(command["name"])))
