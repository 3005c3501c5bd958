"""`/talk`, `/scene` and `/halt`: beginning to talk, letting them talk, and silence."""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands

from bots.buttons import Press
from bots.desk import Choice, Desk, choices, tell
from bots.room import Room
from selves.errors import UsageError

THREAD_NAME = 90


async def begin_talk(desk: Desk, interaction: discord.Interaction, name: str) -> tuple[discord.Thread, Room]:
    """Begin a thread in which everything is said to one self."""
    room = desk.room(interaction)
    persona = desk.persona(name)
    if room.where.parent or room.where.private or not isinstance(interaction.channel, discord.TextChannel):
        raise UsageError("You are in a thread already. Use this in the channel itself.")
    thread = await interaction.channel.create_thread(
        name=f"Talk with {persona.name}"[:THREAD_NAME],
        type=discord.ChannelType.public_thread,
        auto_archive_duration=10080,
        reason="/talk",
    )
    opened = desk.rooms.open_thread(thread.id, parent=room.where.channel_id, begins_at=None, to=persona.name)
    return thread, opened


def add_commands(tree: app_commands.CommandTree[Any], desk: Desk, _: dict[str, Press]) -> None:
    """Add the three commands."""

    @tree.command(name="talk", description="Begin a thread in which you talk with one self")
    @app_commands.describe(who="With whom")
    @app_commands.guild_only()
    async def talk(interaction: discord.Interaction, who: str) -> None:
        thread, opened = await begin_talk(desk, interaction, who)
        await tell(interaction, f"{opened.where.to} listens in {thread.mention}.", public=True)

    talk.autocomplete("who")(desk.suggest_selves)

    @tree.command(name="scene", description="Let the selves play a scene in this channel")
    @app_commands.describe(name="Which scene of the cast file")
    @app_commands.guild_only()
    @app_commands.default_permissions(manage_messages=True)
    async def scene(interaction: discord.Interaction, name: str) -> None:
        room = desk.room(interaction)
        if room.where.parent:
            raise UsageError("Scenes are played in the channel itself.")
        spec = next((s for s in desk.cast.scene if s.name == name.strip()), None)
        if spec is None:
            known = ", ".join(s.name for s in desk.cast.scene) or "none yet"
            raise UsageError(f"There is no scene `{name[:100]}`. There are: {known}.")
        waits = room.play_soon(spec, f"command:{interaction.id}")
        await tell(
            interaction, f"`{spec.name}` follows when this is over." if waits else f"`{spec.name}` begins."
        )

    @scene.autocomplete("name")
    async def scene_names(_: discord.Interaction, typed: str) -> list[Choice]:
        return choices(typed, (s.name for s in desk.cast.scene))

    @tree.command(name="halt", description="Silence: stop the scene in this channel")
    @app_commands.guild_only()
    async def halt(interaction: discord.Interaction) -> None:
        desk.room(interaction).halt()
        await tell(interaction, "Silence.", public=True)
